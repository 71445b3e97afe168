"""What is refused by name: values that would come out as wrong integers, and parts that fail only in the run.

nengo_loihi builds NaN and infinite weights into other integers without a word, lets probes through that its emulator
cannot read and nodes that only NengoDL can run, and asks for any amount of memory. Each function here is named after
what it refuses, takes the network (or, after the build, the model) and returns all that it finds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Iterator, List, Tuple, Type

import nengo
import numpy as np
import scipy.sparse
from cotrain.hardware.builder.arguments import MAX_SEED
from cotrain.hardware.builder.convolution import axes_of
from cotrain.hardware.builder.names import without_address
from cotrain.hardware.errors import CotrainError, InputError, MisfitError, UnsupportedError
from nengo.base import FrozenObject
from nengo.exceptions import BuildError
from nengo.params import iter_params
from nengo.utils.graphs import toposort
from nengo.utils.simulator import operator_dependency_graph

KEEP_PASSTHROUGH = "pass remove_passthrough=False (cotrain check: --keep-passthrough)"
READABLE = ("spiked", "voltage", "current")  # what the chip lets out of a neuron, in nengo_loihi's words


@dataclass(frozen=True)
class Refusal:
    """One reason why a network is not built."""

    rule: str
    part: str
    reason: str
    change: str
    kind: Type[CotrainError] = InputError

    def __str__(self) -> str:
        return f"{self.part}: {self.reason}; {self.change}"


def name_of(obj: Any) -> str:
    """An object as the user knows it."""
    return without_address(obj)


def _objects(net: nengo.Network) -> list:
    return net.all_ensembles + net.all_nodes + net.all_connections + net.all_probes


# ------------------------------------------------------------------------------------------- before the build


def not_finite(net: nengo.Network) -> Iterator[Refusal]:
    """No number of a network may be NaN or infinite: as integers they would be others."""
    for obj in _objects(net):
        seen: set = set()
        for path, value in _numbers(obj, "", seen):
            wrong = _first_not_finite(value, path)
            if wrong is not None:
                yield Refusal("finite", name_of(obj), f"{path} holds {wrong}", "give it a finite number")


def _numbers(obj: Any, path: str, seen: set) -> Iterator[Tuple[str, Any]]:
    """(name, number or array) of everything that an object is described by."""
    for name in iter_params(obj):
        try:
            value = getattr(obj, name)
        except Exception:  # a parameter that can only be set
            continue
        where = f"{path}.{name}" if path else name
        yield from _inside(value, where, seen)


def _inside(value: Any, where: str, seen: set) -> Iterator[Tuple[str, Any]]:
    if isinstance(value, (float, complex, np.floating, np.ndarray)):
        yield where, value
    elif scipy.sparse.issparse(value):
        yield where, value.data
    elif isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value):
        yield where, np.asarray(value, dtype=float)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _inside(inner, f"{where}[{key!r}]", seen)
    elif isinstance(value, (FrozenObject, nengo.transforms.SparseMatrix)) and id(value) not in seen:
        seen.add(id(value))
        yield from _numbers(value, where, seen)
        if hasattr(value, "data") and not isinstance(value, nengo.base.NengoObject):
            yield from _inside(value.data, f"{where}.data", seen)


def _first_not_finite(value: Any, path: str) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "fc" or not array.size:
        return None
    # neurons without a lower limit of the voltage
    bad = np.isnan(array) if path.endswith("min_voltage") else ~np.isfinite(array)
    return array[bad].ravel()[0] if bad.any() else None


def seeds_too_large(net: nengo.Network) -> Iterator[Refusal]:
    """NumPy takes seeds of 32 bits."""
    for obj in [net] + net.all_networks + _objects(net):
        holders = [("seed", obj)]
        holders += [(f"{n}.seed", getattr(obj, n, None)) for n in ("output", "noise", "synapse", "neuron_type")]
        for path, holder in holders:
            seed = getattr(holder, "seed", None)
            if isinstance(seed, (int, np.integer)) and not 0 <= seed <= MAX_SEED:
                yield Refusal("seeds", name_of(obj), f"{path} is {seed}", f"use a number from 0 to {MAX_SEED}")


def tensor_nodes(net: nengo.Network) -> Iterator[Refusal]:
    """NengoDL's TensorNodes run in NengoDL's simulator only."""
    for node in net.all_nodes:
        if any(kind.__name__ == "TensorNode" for kind in type(node).__mro__):
            change = "write it as a nengo.Node with a NumPy function of (t, x), or leave it to what reads the output"
            yield Refusal("tensor_node", name_of(node), "a TensorNode runs in NengoDL only", change, UnsupportedError)


def probes_of_connections(net: nengo.Network) -> Iterator[Refusal]:
    """nengo_loihi reads nodes, ensembles and neurons."""
    for probe in net.all_probes:
        if isinstance(probe.obj, (nengo.Connection, nengo.connection.LearningRule)):
            reason = "nengo_loihi cannot read connections and learning rules"
            change = "probe the ensemble, neurons or node at one of its ends"
            yield Refusal("probes", name_of(probe), reason, change, UnsupportedError)


def indices_of_several_axes(net: nengo.Network) -> Iterator[Refusal]:
    """Nengo takes ``neurons[[[1, 2]]]``, whose output then has an axis that nothing else has."""
    places = [(probe, "the probe's index", getattr(probe, "slice", None)) for probe in net.all_probes]
    for end in ("pre", "post"):
        places += [(c, f"{end}'s index", getattr(c, f"{end}_slice", None)) for c in net.all_connections]
    for obj, what, index in places:
        if index is not None and not isinstance(index, slice) and np.ndim(index) > 1:
            yield Refusal("indices", name_of(obj), f"{what} has {np.ndim(index)} axes", "give one list of numbers")


# Nengo's defaults (nengo.builder.ensemble.gen_eval_points, nengo.utils.builder.default_n_eval_points)
def _n_eval_points(ensemble: nengo.Ensemble) -> int:
    if ensemble.n_eval_points is not None:
        return int(ensemble.n_eval_points)
    if isinstance(ensemble.eval_points, np.ndarray):
        return len(ensemble.eval_points)
    return max(int(np.clip(500 * ensemble.dimensions, 750, 2500)), 2 * ensemble.n_neurons)


_FLOAT = 8  # bytes
_COPIES = 3  # of weights, while they are turned into integers
_PER_NEURON = 200  # bytes: gains, biases, compartments in floating point and in integers


def memory() -> int:
    """Bytes that this process may use."""
    limits = []
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        import resource

        limits += [n for n in (resource.getrlimit(resource.RLIMIT_AS)[0],) if n != resource.RLIM_INFINITY]
    except (AttributeError, ImportError, ValueError, OSError):  # not on this platform
        pass
    return min(limits) if limits else 1 << 62


def absurd_sizes(net: nengo.Network) -> Iterator[Refusal]:
    """What a network asks for in memory is known before it is built."""
    room = memory()
    for ensemble in net.all_ensembles:
        n, d, points = ensemble.n_neurons, ensemble.dimensions, _n_eval_points(ensemble)
        need = n * (_PER_NEURON + _COPIES * d * _FLOAT) + points * d * _FLOAT
        decoded = any(c.pre_obj is ensemble for c in net.all_connections)
        decoded = decoded or any(p.obj is ensemble for p in net.all_probes)
        if decoded and not isinstance(ensemble.neuron_type, nengo.Direct):
            need += points * n * _FLOAT
        yield from _too_large(ensemble, need, room, "use fewer neurons, dimensions or evaluation points")
    for node in net.all_nodes:
        yield from _too_large(node, _COPIES * (node.size_in + node.size_out) * _FLOAT, room, "make it smaller")
    for conn in net.all_connections:
        if isinstance(conn.transform, nengo.Dense) and len(conn.transform.shape) == 2:
            need = _COPIES * int(np.prod([int(n) for n in conn.transform.shape], dtype=object)) * _FLOAT
            yield from _too_large(conn, need, room, "connect fewer neurons, or use a convolution or nengo.Sparse")


def _too_large(obj: Any, need: int, room: int, change: str) -> Iterator[Refusal]:
    if need > room:
        reason = f"building it takes about {need / 2**30:,.0f} GiB of memory, and {room / 2**30:,.1f} are there"
        yield Refusal("size", name_of(obj), reason, change, MisfitError)


BEFORE = (absurd_sizes, not_finite, seeds_too_large, tensor_nodes, probes_of_connections, indices_of_several_axes)


def before_build(net: nengo.Network) -> List[Refusal]:
    """All that can be told from the network alone."""
    return [refusal for rule in BEFORE for refusal in rule(net)]


# ---------------------------------------------------------------------------------------------- after the build


def probes_not_readable(model: Any) -> Iterator[Refusal]:
    """The chip lets out spikes, voltages and currents of neurons."""
    for probe in model.nengo_probes:
        read = model.objs[probe].get("out")
        if read is not None and read.key not in READABLE:
            change = "probe 'output', 'voltage' or 'input' of its neurons, or the ensemble's decoded value"
            reason = f"{probe.attr!r} cannot be read from the chip"
            yield Refusal("probes", name_of(probe), reason, change, UnsupportedError)


def built_not_finite(model: Any) -> Iterator[Refusal]:
    """Numbers that were computed: decoders, gains of distributions, sums of large weights."""
    change = "look for a function, distribution or product that gives no finite number"
    for block in model.blocks:
        at = block.compartment
        for name in ("bias", "vth", "decay_u", "decay_v", "refract_delay"):
            if not np.isfinite(getattr(at, name)).all():
                yield Refusal("finite", name_of(block.label), f"its {name} on the chip is not finite", change)
        for synapse in block.synapses:
            if not all(np.isfinite(w).all() for w in synapse.weights):
                yield Refusal("finite", name_of(block.label), "weights into it are not finite", change)
    for probe in model.probes:
        if not all(w is None or np.isfinite(w).all() for w in probe.weights):
            parts = ", ".join(name_of(block.label) for block in probe.target)
            yield Refusal("finite", parts, "weights from it to the host are not finite", change)
    for host in (model.host_pre, model.host):
        for signal in dict.fromkeys(s.base for op in host.operators for s in op.all_signals):
            start = signal.initial_value
            values = start.data if scipy.sparse.issparse(start) else start
            if np.asarray(values).dtype.kind == "f" and not np.isfinite(values).all():
                name = without_address(signal.name)
                yield Refusal("finite", name, "this part of what runs on the host is not finite", change)


def crossed_passthrough(model: Any) -> Iterator[Refusal]:
    """A passthrough node that is written to and read by lists of indices is merged wrongly by nengo_loihi 1.1.

    ``np.eye(n)[slice_out, slice_in]`` picks pairs where both are lists; it was meant to pick rows and columns.
    """
    gone = [c for c in model.split.passthrough.to_remove if isinstance(c, nengo.Connection)]
    for node in model.toplevel.all_nodes:
        written = any(c.post_obj is node and not isinstance(c.post_slice, slice) for c in gone)
        read = any(c.pre_obj is node and not isinstance(c.pre_slice, slice) for c in gone)
        if node.output is None and written and read:
            reason = "nengo_loihi would merge its lists of indices pair by pair into wrong numbers"
            yield Refusal("passthrough", name_of(node), reason, KEEP_PASSTHROUGH, UnsupportedError)


def misplaced_transposed(model: Any) -> Iterator[Refusal]:
    """nengo_loihi puts a transposed convolution with padding "same" beside its place, unless its output is smallest.

    Its padding (`nengo_loihi.conv.conv2d_loihi_weights`) is Nengo's where the output is (input - 1) * stride + 1 long.
    """
    for conn in model.toplevel.all_connections:
        transform, post = conn.transform, getattr(conn.post_obj, "ensemble", None)
        if not isinstance(transform, nengo.transforms.ConvolutionTranspose) or transform.padding != "same":
            continue
        if post is None or not isinstance(conn.pre_obj, nengo.ensemble.Neurons) or not model.split.on_chip(post):
            continue
        there, wanted = transform.output_shape.spatial_shape, []
        for axis in axes_of(transform):
            smallest, spread = (axis.n_in - 1) * axis.stride + 1, axis.kernel - 1
            theirs = min(max(axis.n_out + spread - smallest, 0), 2 * spread) // 2
            wanted.append(axis.n_out if theirs == axis.before else smallest)
        if tuple(wanted) != tuple(there):
            reason = (
                f"nengo_loihi puts a transposed convolution with padding 'same' and outputs of {tuple(there)} beside "
                "its place"
            )
            change = f"use padding='valid', or output_shape {tuple(wanted)} in space"
            yield Refusal("transposed", name_of(conn), reason, change, UnsupportedError)


def cycles(model: Any) -> Iterator[Refusal]:
    """What runs on the host needs an order; a loop needs a synapse somewhere."""
    for host in (model.host_pre, model.host):
        try:
            toposort(operator_dependency_graph(host.operators))
        except BuildError:
            reason = "connections between nodes and ensembles on the host form a loop without a synapse"
            yield Refusal("cycles", "the host", reason, "give one of them a synapse, nengo.Lowpass(0) at the least")


AFTER = (probes_not_readable, built_not_finite, crossed_passthrough, misplaced_transposed, cycles)


def after_build(model: Any) -> List[Refusal]:
    """All that shows once the network is built."""
    return [refusal for rule in AFTER for refusal in rule(model)]


def raise_first(found: List[Refusal]) -> None:
    """Raise the first of some refusals.

    Raises
    ------
    CotrainError
        Its attribute ``refusals`` holds all of them.
    """
    if found:
        more = "" if len(found) == 1 else f" ({len(found) - 1} more: hardware.check(net) lists them)"
        error = found[0].kind(f"{found[0]}{more}")
        error.refusals, error.part, error.reason = tuple(found), found[0].part, found[0].reason
        raise error
