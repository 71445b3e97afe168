"""The passes of nengo_loihi's builder one at a time: build, cut, round to integers, validate.

nengo_loihi runs them in one call and stops at the first limit that is exceeded. Taken apart, the partitioner can
choose the cuts in between, the rules see every block, whether it fits or not, and nobody builds a network twice.
Blocks, axons, synapses, probes and random draws are those of ``nengo_loihi.builder.network.build_network``, to the
last bit (`tests/test_hardware_lowered.py`).
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any, Dict, Iterator, Optional, Tuple

import nengo
import numpy as np
from cotrain.hardware.builder import arguments, door, refusals
from cotrain.hardware.builder.fastbuild import discretize_block, fast_model, split_model, validate_model
from cotrain.hardware.errors import CotrainError, InputError, MisfitError, UnsupportedError
from nengo.builder.network import build_network, seed_network


def owners(net: nengo.Network) -> Dict[Any, nengo.Network]:
    """Map every ensemble and connection of ``net`` to the network whose config speaks for it."""
    found: Dict[Any, nengo.Network] = {}
    for sub in [net] + net.all_networks:
        found.update(dict.fromkeys(sub.ensembles + sub.connections, sub))
    return found


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Neither the global random state nor the user's warnings change because somebody looks at a network."""
    state = np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)


def build_uncut(net: nengo.Network, dt_s: float = 0.001, remove_passthrough: bool = True) -> Any:
    """Return nengo_loihi's model of ``net`` with one block per ensemble, in floating point, unchecked.

    Raises
    ------
    InputError
        ``net`` is not a nengo.Network, or a value or function in it is wrong.
    UnsupportedError
        nengo_loihi cannot put the network on the chip at all (a neuron type, synapse or transform that it lacks).
    """
    if not isinstance(net, nengo.Network):
        raise InputError(f"expected a nengo.Network, got {type(net).__name__}")
    dt_s = arguments.step_length(dt_s)
    refusals.raise_first(refusals.before_build(net))
    try:
        return _build(net, dt_s, remove_passthrough)
    except (UnsupportedError, InputError) as error:
        advice = None if error.refusals else _tried(net, dt_s, remove_passthrough, error)
        if advice is None:
            raise
        where = f"{error.part}: " if error.part and error.part not in error.reason else ""
        found = type(error)(f"nengo_loihi cannot build this network: {where}{error.reason}; {advice}")
        found.part, found.reason, found.at = error.part, error.reason, error.at
        raise found from error


def _build(net: nengo.Network, dt_s: float, remove_passthrough: bool) -> Any:
    model = fast_model(dt_s, f"{net}, dt={dt_s:f}", net)
    with door.translated(model):
        for sub in [net] + net.all_networks:
            door.add_params(sub)
        seed_network(net, seeds=model.seeds, seeded=model.seeded)
        model.split = door.Split(net, remove_passthrough=remove_passthrough)
        build_network(model, net)
        _build_around_passthrough(model, net)
    refusals.raise_first(refusals.after_build(model))
    return model


_SMALL = 20_000  # neurons of a network that is built again to try advice


def _tried(net: nengo.Network, dt_s: float, remove_passthrough: bool, error: CotrainError) -> Optional[str]:
    """What lets nengo_loihi build the network, found by building it so; None where nothing here helps."""
    if net.n_neurons > _SMALL:
        return None
    if remove_passthrough and any(node.output is None for node in net.all_nodes):
        if _builds(net, dt_s, False):
            return refusals.KEEP_PASSTHROUGH
    if isinstance(error, InputError):  # a wrong value is wrong off the chip, too
        return None
    ends = [getattr(error.at, name, None) for name in ("post_obj", "pre_obj", "obj")] + [error.at]
    ends = [getattr(end, "ensemble", end) for end in ends]
    ensembles = list(dict.fromkeys(e for e in ends if isinstance(e, nengo.Ensemble) and e in net.all_ensembles))
    for chosen in [[e] for e in ensembles] + [ensembles] * (len(ensembles) > 1):
        with _off_chip(net, chosen):
            if _builds(net, dt_s, remove_passthrough):
                names = " and ".join(e.label or "it" for e in chosen)
                lines = "; ".join(f"net.config[{e.label or 'ensemble'}].on_chip = False" for e in chosen)
                return f"change that part, or let {names} run off the chip: {lines}"
    return None


@contextlib.contextmanager
def _off_chip(net: nengo.Network, ensembles: list) -> Iterator[None]:
    kept = [net.config[e].on_chip for e in ensembles]
    for ensemble in ensembles:
        net.config[ensemble].on_chip = False
    try:
        yield
    finally:
        for ensemble, on_chip in zip(ensembles, kept):
            if on_chip is None:
                del net.config[ensemble].on_chip
            else:
                net.config[ensemble].on_chip = on_chip


def _builds(net: nengo.Network, dt_s: float, remove_passthrough: bool) -> bool:
    try:
        with undisturbed():
            return bool(_build(net, dt_s, remove_passthrough).blocks)
    except CotrainError:
        return False


def _build_around_passthrough(model: Any, net: nengo.Network) -> None:
    """Build the connections that take the place of passthrough nodes.

    nengo_loihi does this in the order of a set and without seeds, so that one network gives other integers in each
    build. Here their order follows from the network, and their seeds from the network's.
    """
    place = {obj: k for k, obj in enumerate(net.all_objects)}

    def key(conn: nengo.Connection) -> tuple:
        ends = [place.get(getattr(end, "ensemble", end), -1) for end in (conn.pre_obj, conn.post_obj)]
        parts = [np.arange(end.size_out if k == 0 else end.size_in)[part].tobytes() for k, (end, part) in enumerate(
            ((conn.pre_obj, conn.pre_slice), (conn.post_obj, conn.post_slice))
        )]  # fmt: skip
        init = getattr(conn.transform, "init", None)
        return (*ends, *parts, init.tobytes() if isinstance(init, np.ndarray) else str(init).encode())

    rng = np.random.RandomState(model.seeds[net])
    for conn in sorted(model.split.passthrough.to_add, key=key):
        model.seeds[conn], model.seeded[conn] = rng.randint(2**31 - 1), False
        model.build(conn)


def cut(model: Any) -> Dict[Any, Dict[Any, Any]]:
    """Cut the blocks of an uncut ``model`` in place, one per core; return {uncut block: {block: compartments}}."""
    with door.translated(model):
        block_map: Dict[Any, Dict[Any, Any]] = split_model(model)
    model.block_comp_map = {block: members for parts in block_map.values() for block, members in parts.items()}
    return block_map


def round_block(model: Any, block: Any) -> Tuple[Optional[float], Optional[MisfitError]]:
    """Turn a block into integers, in place.

    Returns
    -------
    (float or None, MisfitError or None)
        Integer of a voltage of 1, or why the block has no integer form.
    """
    try:
        with door.translated(model):
            return discretize_block(block), None
    except MisfitError as error:
        return None, error


def round_probes(model: Any, scale_of: Dict[Any, float]) -> None:
    """Scale what probes read to what it stands for. `scale_of`: {block: what `round_block` returned}."""
    for probe in model.probes:
        for i, block in enumerate(probe.target):
            door.discretize_probe(probe, i, scale_of[block])


def validate(model: Any) -> None:
    """Hold a model against the limits that nengo_loihi knows.

    Raises
    ------
    MisfitError
        A block is larger than a core.
    InputError
        Nothing is on the chip.
    """
    with door.translated(model):
        validate_model(model)
