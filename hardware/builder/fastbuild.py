"""nengo-loihi's build of a network, with its slow loops replaced.

What nengo-loihi 1.1 spends seconds on are loops over axons, pixels and weights. `fast_model` returns its Model with a
builder that runs nengo-loihi's own functions, only that the names of those loops stand for functions of ours. Nothing
of nengo-loihi is changed: the functions are copies with a table of names of their own (`_with`). Blocks, axons,
synapses and random draws come out equal to the last bit (`tests/test_hardware_fastbuild.py`). Another version of
nengo-loihi builds as it does by itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import FunctionType
from typing import Any, Dict, Optional

import nengo
import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.builder.convweights import conv2d_loihi_weights
from cotrain.hardware.builder.cutting import split_axon, split_synapse
from cotrain.hardware.builder.probes import chip_probe, split_probe

VERSION = (1, 1)  # of nengo-loihi, whose functions these are held to


def fast_model(dt_s: float, label: Optional[str] = None, net: Optional[nengo.Network] = None) -> Any:
    """A new `nengo_loihi.builder.Model` that builds fast; of `net`, nothing random that it does not read."""
    model = door.Model(dt=float(dt_s), label=label)
    if _known():
        draws = Draws(net)
        model.builder = _builder(draws)
        model.host_pre.builder = model.host.builder = _host_builder(draws)
    return model


def split_model(model: Any) -> Dict[Any, Dict[Any, Any]]:
    """As `nengo_loihi.builder.split_blocks.split_model`."""
    theirs = door.split_blocks
    if not _known():
        return theirs.split_model(model)
    by_axon = {
        name: _with(getattr(theirs, name), split_axon=split_axon) for name in ("split_block_axons", "split_input_axons")
    }
    return _with(theirs.split_model, split_synapse=split_synapse, split_probe=split_probe, **by_axon)(model)


def _known() -> bool:
    return door.version_info[:2] == VERSION


def _with(function, **names):
    """A copy of a function that sees other things under some global names."""
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _builder(draws):
    """nengo-loihi's Builder; build functions that somebody else has registered stay."""
    base, network, connection, ensemble, probe = door.Builder, door.network, door.connection, door.ensemble, door.probe
    read = {name: _with(getattr(probe, name), LoihiProbe=chip_probe()) for name in ("conn_probe", "signal_probe")}
    ours = {
        ensemble.build_ensemble: draws.given_to(ensemble.build_ensemble),
        network.build_network: _with(
            network.build_network,
            split_model=split_model,
            discretize_model=_discretize_model,
            validate_model=validate_model,
        ),
        connection.build_conv2d_connection: _with(
            connection.build_conv2d_connection, conv2d_loihi_weights=conv2d_loihi_weights
        ),
        probe.build_probe: _with(probe.build_probe, **read),
    }
    return _derived(base, ours)


def _host_builder(draws):
    """Nengo's Builder, for the ensembles on the host."""
    theirs = nengo.builder.ensemble
    ours = {theirs.build_ensemble: draws.given_to(theirs.build_ensemble)}
    return _derived(nengo.builder.Builder, ours)


def _derived(base, ours):
    builders = {kind: ours.get(function, function) for kind, function in base.builders.items()}
    return type("FastBuilder", (base,), {"builders": builders})()


# --- random draws: what takes time is NumPy's shuffling of rows, and an SVD that turns them about in many dimensions

WIDE = 256  # dimensions from which on what nobody reads is not turned: an SVD's time grows with their cube


class _QuickShuffle(np.random.RandomState):
    """Shuffles rows by their numbers: the same draws, in NumPy's loop for vectors."""

    def shuffle(self, x) -> None:
        if type(x) is not np.ndarray or x.ndim < 2 or not x.size:
            return super().shuffle(x)
        order = np.arange(len(x))
        super().shuffle(order)
        x[...] = x[order]


class Draws:
    """Evaluation points and encoders as Nengo draws them, in many dimensions those alone that something reads.

    An ensemble whose neurons are connected, and that is neither decoded nor encoded, has no use for either. What is
    drawn after them (gains, biases) is drawn from the same random state as ever.
    """

    def __init__(self, net: Optional[nengo.Network]):
        self._known = net is not None
        self._ensemble: Any = None  # that is being built
        connections, probes = (net.all_connections, net.all_probes) if net is not None else ([], [])
        self._decoded = {c.pre_obj for c in connections} | {p.obj for p in probes}
        self._encoded = {c.post_obj for c in connections}

    def given_to(self, build_ensemble: Any) -> Any:
        """A copy of a function that builds ensembles with these draws."""
        return _with(build_ensemble, gen_eval_points=self.eval_points, get_samples=self.encoders)

    def eval_points(self, ens: Any, eval_points: Any, rng: Any, **kwargs: Any) -> Any:
        """As `nengo.builder.ensemble.gen_eval_points`."""
        self._ensemble = ens
        quick = _QuickShuffle()
        quick.set_state(rng.get_state())
        if self._needless(ens, eval_points, self._decoded):
            n = ens.n_eval_points
            n = nengo.builder.ensemble.default_n_eval_points(ens.n_neurons, ens.dimensions) if n is None else n
            _draw(eval_points, n, ens.dimensions, quick)
            points = np.broadcast_to(np.float64(np.nan), (n, ens.dimensions))
        else:
            points = nengo.builder.ensemble.gen_eval_points(ens, eval_points, rng=quick, **kwargs)
        rng.set_state(quick.get_state())
        return points

    def encoders(self, dist: Any, n: Any, d: Any = None, rng: Any = np.random) -> Any:
        """As `nengo.dists.get_samples` for the encoders of the ensemble that is being built."""
        if not self._needless(self._ensemble, dist, self._decoded | self._encoded):
            return nengo.dists.get_samples(dist, n, d, rng=rng)
        quick = _QuickShuffle()
        quick.set_state(rng.get_state())
        _draw(dist, n, d, quick)
        rng.set_state(quick.get_state())
        encoders = np.zeros((n, d))
        encoders[:, 0] = 1
        return encoders

    def _needless(self, ens, dist, readers) -> bool:
        scattered = type(dist) is nengo.dists.ScatteredHypersphere
        return self._known and scattered and ens.dimensions > WIDE and ens not in readers


def _draw(dist, n: int, d: int, rng) -> None:
    """Take from `rng` what ``dist.sample(n, d, rng)`` takes, for a `nengo.dists.ScatteredHypersphere`, d > 1."""
    dist.base.sample(n, d - 1 if dist.surface else d, rng)
    for _ in range(d):
        rng.standard_normal(d)


# --- rounding to integers: nengo-loihi's function sees each synapse group as if it had one entry


def _discretize_model(model) -> None:
    with _one_entry(s for block in model.blocks for s in block.synapses):
        door.discretize_model(model)


def discretize_block(block: Any) -> float:
    """As `nengo_loihi.builder.discretize.discretize_block`."""
    if not _known():
        return door.discretize_block(block)
    with _one_entry(block.synapses):
        return door.discretize_block(block)


@contextmanager
def _one_entry(synapses):
    """Join all entries of each synapse group; afterwards they are apart again."""
    joined = []
    for synapse in synapses:
        sizes = np.array([w.size for w in synapse.weights])
        if len(sizes) > 1 and sizes.any():
            joined.append((synapse, [w.shape for w in synapse.weights], np.cumsum(sizes).tolist(), synapse.indices))
            synapse.weights = [_flat(synapse.weights)]
            synapse.indices = [_flat(synapse.indices)]
    try:
        yield
    finally:
        for synapse, shapes, ends, indices in joined:
            flat, starts = synapse.weights[0][0], [0] + ends
            synapse.weights = [flat[a:b].reshape(shape) for a, b, shape in zip(starts, ends, shapes)]
            synapse.indices = indices


def _flat(arrays):
    return np.concatenate([a.ravel() for a in arrays])[None]


# --- validation


def validate_model(model: Any) -> None:
    """As `nengo_loihi.builder.validate.validate_model`."""
    theirs = door.validate
    if not _known():
        theirs.validate_model(model)
        return
    validate_block = _with(theirs.validate_block, validate_axon=_validate_axon)
    _with(theirs.validate_model, validate_block=validate_block)(model)


def _validate_axon(axon) -> None:
    atoms = axon.compartment_atoms
    weights = getattr(axon.target, "weights", None)
    if weights and atoms is not None:
        atoms, n_atoms = np.asarray(atoms), len(weights[0])  # the same for all its entries
        if atoms.dtype.kind in "iu" and atoms.size and atoms.min() >= 0 and atoms.max() < n_atoms:
            return
    door.validate.validate_axon(axon)
