"""What makes the emulator fast changes nothing: each quicker way against the plain one, or against nengo-loihi."""

from __future__ import annotations

import pickle
import warnings

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.compiler.compile import compile_network
from cotrain.hardware.compiler.program import Program
from cotrain.hardware.emulator import vectors
from cotrain.hardware.emulator.bits import unpacked
from cotrain.hardware.emulator.emulator import Emulator
from cotrain.hardware.emulator.memory import GENERAL
from cotrain.hardware.host.schedule import _lists, _spike_bits
from cotrain.hardware.simulator.outputs import KeptSpikes, Outputs
from emulator_networks import nengo_loihi, random_network
from nengo.dists import Choice
from numba import njit

discretize = import_nengo_loihi("builder.discretize")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- compartments


@pytest.mark.parametrize("in_floats", [True, False])
def test_decay_of_vectors_is_nengo_loihis(in_floats, monkeypatch):
    """With no input u decays and nothing else; the leak of v, with u = 0, is the other one."""
    if in_floats and not vectors._rounds_to_zero(vectors_context()):
        pytest.skip("this processor has no rounding of its own for a product")
    monkeypatch.setattr(vectors, "_rounds_to_zero", lambda context: in_floats)
    update = vectors._update(True)

    @njit
    def run(registers, numbers, n):
        for place in range(0, n, vectors.LANES):
            if update(registers, numbers, place, n, place, place // vectors.LANES, n, 0, 1) != 1:
                return False
        return True

    rng = np.random.RandomState(0)
    edges = [0, 1, -1, 4095, -4096, 2**22, 2**23 - 1, 1 - 2**23, -(2**23)]
    x = np.concatenate([edges, rng.randint(-(2**23), 2**23, 4000), rng.randint(-5000, 5000, 87)]).astype(np.int32)
    still = np.zeros(x.size, dtype=np.int32)
    for decay in [0, 1, 2, 203, 741, 2048, 3095, 4094, 4095]:
        u, v = x.copy(), x.copy()
        largest, unreachable = np.int32(2**23), np.full(x.size, 2**31 - 1, dtype=np.int32)
        numbers = (
            np.int32(4095 - decay),
            np.int32(4096 - decay),
            np.int32(0),
            np.int32(-largest),
            np.int32(largest - 1),
            largest,
        )
        words = np.ones(x.size // vectors.LANES, dtype=np.uint16)
        q, r, bias = still.copy(), still.copy(), still.copy()
        assert run((q, u, v, r, bias, unreachable, words), numbers, x.size)
        assert np.array_equal(u, discretize.decay_int(x, np.full(x.shape, decay, np.int32), offset=1))
        leaked = discretize.decay_int(x, np.full(x.shape, decay, np.int32), offset=0)
        assert np.array_equal(v, np.clip(leaked + u, -(2**23), 2**23 - 1))
        assert not words.any()


def vectors_context():
    from numba.core.registry import cpu_target

    return cpu_target.target_context


def _without_probes(program, **arrays):
    """The program alone; probes of registers would make their layers run step by step."""
    arrays = {**program.arrays, **arrays}
    return Program(program.dt_s, program.layers, program.blocks, program.inputs, arrays, ())


def _runs(program, n_steps=40, rate=0.3, seed=0, change=None, record=("spiked",), n_samples=1):
    everyone = np.arange(program.n_compartments)
    emulator = Emulator(program, record=dict.fromkeys(record, everyone))
    if change is not None:
        emulator.layout = change(emulator.layout)
    rng = np.random.RandomState(seed)
    spikes = [rng.rand(n_samples, n_steps, n) < rate for n in program.input_size]
    recordings = emulator.run(spikes, n_steps, threads=1)
    return emulator, [emulator.read(r, "spiked", everyone) for r in recordings], recordings


@pytest.mark.parametrize("seed", [0, 1, 4, 5, 8, 9, 12, 16])
def test_steps_in_a_row_are_single_steps(seed):
    """Recording registers makes every layer run step by step, which the tests of the emulator hold to nengo-loihi."""
    program = _without_probes(compile_network(random_network(seed)))
    fast, spikes, found = _runs(program)
    slow, expected, single = _runs(program, record=("spiked", "voltage", "current"))
    blocks = fast.new_scratch(40).block
    feeds_forward = fast.layout.layer_kind != GENERAL
    assert (slow.new_scratch(40).block == 1).all() and (blocks[feeds_forward] >= 1).all()
    assert seed % 4 or (blocks > 1).any()
    assert np.array_equal(spikes, expected)
    for name in ("n_spikes", "n_synops", "overflows"):
        assert np.array_equal(getattr(found[0], name), getattr(single[0], name))


def test_registers_that_wrap_around_in_a_row_of_steps():
    program = compile_network(random_network(0))
    program = _without_probes(program, weights=program.weights * 400)
    _, spikes, found = _runs(program)
    _, expected, single = _runs(program, record=("spiked", "voltage", "current"))
    assert np.array_equal(spikes, expected) and np.array_equal(found[0].overflows, single[0].overflows)
    assert found[0].overflows.any() and not found[0].overflows.all()


# --- synapses


@pytest.mark.parametrize("seed", [0, 1, 4, 5, 8, 12, 16, 20])
def test_spikes_one_by_one_are_spikes_in_groups(seed):
    program = compile_network(random_network(seed))

    def never(layout):
        return layout._replace(flat_start=np.full_like(layout.flat_start, -1))

    def always(layout):
        assert (layout.flat_start >= 0).any()
        return layout._replace(flat_sources=np.ones_like(layout.flat_sources))

    (_, grouped, a), (_, single, b) = _runs(program, change=never), _runs(program, change=always)
    assert np.array_equal(grouped, single) and np.array(grouped).any()
    assert np.array_equal(a[0].n_synops, b[0].n_synops)


# --- the host's spikes


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_spikes_known_in_advance_are_nengos(first):
    """300 random layers: every spike of every step that the neuron type's own step function fires."""
    fired = 0
    for seed in range(first, first + 50):
        rng = np.random.RandomState(seed)
        loihi = bool(seed % 2)
        neurons = nengo_loihi.LoihiSpikingRectifiedLinear() if loihi else nengo.SpikingRectifiedLinear()
        n, size, n_steps = rng.randint(1, 4), rng.randint(1, 200), rng.randint(1, 120)
        dt = float(rng.choice([0.001, 0.0005, 0.0013]))
        current = rng.uniform(-0.3, 1.0, (n, size)) * rng.choice([1, 30, 400, 999]) * (0.001 / dt)
        current[rng.rand(n, size) < 0.1] = 0.0
        voltage = rng.uniform(0, 1, (n, size)) if seed % 3 else np.zeros((n, size))
        counts, bits = np.zeros(size, dtype=np.int64), np.empty((-(-size // 64), n_steps), dtype=np.uint64)
        for b in range(n):
            _spike_bits(loihi, dt, current[b], voltage[b].copy(), bits)
            start, lines = _lists(bits, counts)
            v, output = voltage[b].copy(), np.zeros(size)
            for t in range(n_steps):
                neurons.step(dt, current[b], output, v)
                assert np.array_equal(lines[start[t] : start[t + 1]], np.flatnonzero(output)), (seed, b, t)
                counts -= output != 0
                fired += np.count_nonzero(output)
        assert not counts.any()
    assert fired > 1000


def _layered(neurons, seed=0, host_probe=False):
    rng = np.random.RandomState(seed)
    with nengo.Network(seed=seed) as net:
        nengo_loihi.add_params(net)
        net.image = nengo.Node(np.zeros(24))
        host = nengo.Ensemble(70, 1, neuron_type=neurons, gain=Choice([100]), bias=Choice([5]), label="host")
        net.config[host].on_chip = False
        chip = nengo.Ensemble(
            90, 1, neuron_type=nengo_loihi.LoihiSpikingRectifiedLinear(), gain=Choice([100]), bias=Choice([3])
        )
        nengo.Connection(net.image, host.neurons, transform=rng.uniform(-1, 2, (70, 24)), synapse=None)
        nengo.Connection(host.neurons, chip.neurons, transform=rng.uniform(-0.2, 0.4, (90, 70)), synapse=0.003)
        net.probe = nengo.Probe(chip.neurons)
        net.some = nengo.Probe(chip.neurons[::40], sample_every=0.003)
        if host_probe:
            net.host = nengo.Probe(host.neurons)
    return net


@pytest.mark.parametrize("host_probe", [False, True])
@pytest.mark.parametrize("kind", ["loihi", "nengo", "nengo, above 1000 Hz"])
def test_predict_with_spikes_known_in_advance(kind, host_probe):
    neurons = nengo_loihi.LoihiSpikingRectifiedLinear() if kind == "loihi" else nengo.SpikingRectifiedLinear()
    net = _layered(neurons, host_probe=host_probe)
    images = np.random.RandomState(1).uniform(0, 1, (3, 1, 24)) * (3 if "above" in kind else 0.4)
    with hardware.Simulator(net, target="emulator", threads=1) as sim:
        found = sim.predict({net.image: images}, n_steps=30)
        stats = sim.stats
        (runner,) = sim._runners.values()
        assert runner.pre.idle != host_probe
        assert bool(runner.pre.schedule.neurons) == (kind == "loihi" or not host_probe)
        changing = sim.predict({net.image: np.repeat(images, 30, axis=1)}, n_steps=30)
        assert np.array_equal(sim.stats.neuron_spikes["host"], stats.neuron_spikes["host"])
        assert np.array_equal(sim.stats.spikes["host"], stats.spikes["host"]) and stats.spikes["host"].all()
        assert sim.stats.input_spikes_max == stats.input_spikes_max > 0
    with hardware.Simulator(net, target="reference") as sim:
        expected = sim.predict({net.image: images}, n_steps=30)
    for probe in net.all_probes:
        assert found[probe].dtype == expected[probe].dtype
        assert np.array_equal(found[probe], expected[probe]) and np.array_equal(changing[probe], expected[probe])
    assert expected[net.probe].any()


# --- what was recorded


def test_spikes_stay_bits_until_somebody_looks():
    net = _layered(nengo_loihi.LoihiSpikingRectifiedLinear())
    images = np.random.RandomState(1).uniform(0, 0.4, (5, 1, 24))
    with hardware.Simulator(net, target="emulator") as sim:
        out = sim.predict({net.image: images}, n_steps=20)
        last = sim.predict({net.image: images}, n_steps=20, last_steps=3)
    assert isinstance(out, dict) and list(out) == net.all_probes and len(out) == 2
    kept = dict.__getitem__(out, net.probe)
    assert isinstance(kept, KeptSpikes) and kept.words.nbytes * 32 == 5 * 20 * 128 * 4
    assert dict.__getitem__(last, net.probe).words.shape[1] == 3
    spikes = out[net.probe]
    assert spikes.dtype == np.float64 and spikes.shape == (5, 20, 90) and out[net.probe] is spikes
    assert set(np.unique(spikes)) == {0.0, 1000.0} and spikes.flags.writeable
    assert np.array_equal(last[net.probe], spikes[:, -3:])


@pytest.mark.parametrize(
    "way",
    [
        dict, lambda out: {**out}, lambda out: {p: x for p, x in out.items()}, lambda out: out.copy(),
        lambda out: out | {}, lambda out: {} | out, lambda out: {p: out.get(p) for p in out},
        lambda out: dict(zip(out, out.values(), strict=True)), lambda out: pickle.loads(pickle.dumps(out)),
        lambda out: {p: out.setdefault(p, 0) for p in out}, lambda out: {p: out.pop(p) for p in list(out)},
        lambda out: dict([out.popitem()]),
    ],
)  # fmt: skip
def test_every_way_to_a_value_is_an_array(way):
    from cotrain.hardware.emulator.readout import SpikeReader

    column = np.arange(63, -1, -1, dtype=np.int32)
    words = np.random.RandomState(0).randint(0, 2**62, (2, 3, 1)).astype(np.uint64)
    out = Outputs(a=KeptSpikes(SpikeReader(slice(0, 1), column, 64, np.float64(2.5)), words, 1))
    expected = np.stack([unpacked(w, column, 64) * 2.5 for w in words])
    found = way(out)
    assert list(found) == ["a"] and type(found["a"]) is np.ndarray and np.array_equal(found["a"], expected)
    # against the bits themselves, highest first
    assert np.array_equal(expected[0, 0] != 0, [bit == "1" for bit in f"{int(words[0, 0, 0]):064b}"])


def test_a_large_result_is_converted_in_threads(monkeypatch):
    net = _layered(nengo_loihi.LoihiSpikingRectifiedLinear())
    images = np.random.RandomState(1).uniform(0, 0.4, (7, 1, 24))
    with hardware.Simulator(net, target="emulator", threads=3) as sim:
        one = sim.predict({net.image: images}, n_steps=20)[net.probe]
        monkeypatch.setattr("cotrain.hardware.simulator.outputs._THREADED_BYTES", 0)
        assert np.array_equal(sim.predict({net.image: images}, n_steps=20)[net.probe], one) and one.any()


def test_a_probe_of_encoders_has_their_shape():
    """Of all that Nengo probes the only one with two axes a step."""
    with nengo.Network(seed=0) as net:
        source = nengo.Node([0.5])
        ensemble = nengo.Ensemble(6, 1)
        nengo.Connection(source, ensemble)
        probe = nengo.Probe(ensemble, "scaled_encoders", sample_every=0.002)
        nengo.Probe(ensemble.neurons)
        nengo_loihi.add_params(net)
        net.config[ensemble].on_chip = False
        chip = nengo.Ensemble(5, 1)
        nengo.Connection(source, chip)
        nengo.Probe(chip.neurons)
    with hardware.Simulator(net, "reference", seed=3) as reference:
        reference.run_steps(7)
        expected = np.array(reference.data[probe])
    with hardware.Simulator(net, "emulator", seed=3) as sim:
        found = sim.predict({source: np.full((2, 1, 1), 0.5)}, n_steps=7)[probe]
    assert expected.ndim == 3 and found.shape == (2, *expected.shape)
    np.testing.assert_array_equal(found, [expected] * 2)
