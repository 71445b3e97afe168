"""The fast emulator against nengo-loihi's own: every compartment, at every step, to the last bit."""

from __future__ import annotations

import warnings

import nengo
import numpy as np
import pytest
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.compiler.compile import compile_network, program_from_model
from cotrain.hardware.compiler.program import Program
from cotrain.hardware.emulator.emulator import Emulator, warm_up
from cotrain.hardware.emulator.kernels import run_samples
from cotrain.hardware.emulator.memory import GENERAL, LIF, RELU, stages_of
from cotrain.hardware.emulator.updates import _decay, _wrap22, _wrap24
from cotrain.hardware.errors import InputError
from cotrain.hardware.simulator.interface import FastInterface
from cotrain.hardware.simulator.links import reference_interface
from emulator_networks import (
    STATE,
    assert_same_run,
    ensemble,
    nengo_loihi,
    random_network,
)
from nengo.dists import Choice, Uniform

discretize = import_nengo_loihi("builder.discretize")
block_module = import_nengo_loihi("block")


# --- kernels against nengo-loihi's small functions


@pytest.mark.parametrize("decay", [0, 1, 203, 741, 2048, 4094, 4095])
@pytest.mark.parametrize("offset", [0, 1])
def test_decay_is_nengo_loihis(decay, offset):
    rng = np.random.RandomState(decay)
    x = np.concatenate([[0, 1, -1, 4095, -4096, 2**23 - 1, -(2**23), 2**31 - 1], rng.randint(-(2**23), 2**23, 500)])
    x = x.astype(np.int32)
    keep = np.int32(4096 - offset - decay)
    expected = discretize.decay_int(x, np.full(x.shape, decay, np.int32), offset=offset)
    assert [_decay(v, keep) for v in x] == list(expected)


@pytest.mark.parametrize("wrap, bits", [(_wrap22, 21), (_wrap24, 23)])
def test_registers_wrap_as_nengo_loihis(wrap, bits):
    edge = 2**bits
    x = np.array(
        [0, 1, -1, edge - 1, edge, -edge, -edge - 1, 2 * edge, 3 * edge + 5, 2**31 - 1, -(2**31)], dtype=np.int64
    )
    x = x.astype(np.int32)
    expected, _ = discretize.overflow_signed(x, bits=bits)
    assert [wrap(v) for v in x] == list(expected)


def test_stages_follow_dependence():
    # 0 → 1 ⇄ 2 → 3, 0 → 3, 4 alone, 5 → 0
    stages = stages_of(6, [(0, 1), (1, 2), (2, 1), (2, 3), (0, 3), (5, 0)])
    assert sorted(map(sorted, stages)) == [[0], [1, 2], [3], [4], [5]]
    place = {k: i for i, stage in enumerate(stages) for k in stage}
    assert place[5] < place[0] < place[1] == place[2] < place[3]


# --- networks


@pytest.mark.parametrize("first", range(0, 200, 10))
def test_random_networks(first):
    """200 of them: vision, dense and recurrent, decoded, and with the host in the loop."""
    fired = 0
    for seed in range(first, first + 10):
        fired += assert_same_run(random_network(seed), steps=(5, 1, 12)).any()
    assert fired >= 8  # silence proves nothing


def _neurons():
    start = {"initial_state": {"voltage": Choice([0])}}
    return {
        "lif": nengo.LIF(**start),
        "lif-negative": nengo.LIF(min_voltage=-1, tau_ref=0.003, **start),
        "rectified": nengo.SpikingRectifiedLinear(amplitude=0.3, **start),
        "loihi-lif": nengo_loihi.LoihiLIF(tau_rc=0.05, tau_ref=0.0),
        "loihi-rectified": nengo_loihi.LoihiSpikingRectifiedLinear(),
        "regular-lif": nengo.RegularSpiking(nengo.LIFRate(), **start),
        "regular-rectified": nengo.RegularSpiking(nengo.RectifiedLinear(), **start),
    }


@pytest.mark.parametrize("name", list(_neurons()))
def test_neuron_types(name):
    with nengo.Network(seed=1) as net:
        nengo_loihi.add_params(net)
        leaky = "lif" in name
        ens = nengo.Ensemble(
            200,
            1,
            neuron_type=_neurons()[name],
            gain=Choice([1.0]),
            bias=Uniform(-2, 6) if leaky else Uniform(-50, 900),
        )
        nengo.Connection(ens.neurons, ens.neurons, transform=nengo.Dense((200, 200), init=Uniform(-0.1, 0.1)))
        nengo.Probe(ens.neurons, "voltage")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        emulator = Emulator(compile_network(net))
    assert emulator.layout.layer_kind[0] == (LIF if leaky else RELU)
    spikes = assert_same_run(net, steps=(60,))
    assert 0 < spikes.mean() < 1


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("transposed", [False, True])
def test_one_network_cut_in_several_ways(channels_last, transposed):
    """Cuts change the rounding, and both emulators agree on each; the shape of runs must not depend on them."""

    def build(cut):
        with nengo.Network(seed=3) as net:
            nengo_loihi.add_params(net)
            shape = (8, 6, 4) if channels_last else (4, 8, 6)
            source = ensemble(np.random.RandomState(0), net, 192, nengo_loihi.LoihiSpikingRectifiedLinear())
            kind = nengo.ConvolutionTranspose if transposed else nengo.Convolution
            transform = kind(
                4, shape, kernel_size=(3, 3), strides=(2, 2), channels_last=channels_last, init=Uniform(-0.1, 0.2)
            )
            out = transform.output_shape.shape
            block = tuple(-(-n // c) for n, c in zip(out, cut, strict=False))
            target = ensemble(
                np.random.RandomState(1), net, int(np.prod(out)), nengo_loihi.LoihiLIF(), block=block, shape=out
            )
            nengo.Connection(source.neurons, target.neurons, transform=transform, synapse=0.003)
            nengo.Probe(target.neurons)
        return net

    for cut in [(1, 1, 1), (1, 1, 2), (2, 1, 1), (3, 2, 2)]:
        assert assert_same_run(build(cut), steps=(25,)).any()


@pytest.mark.filterwarnings("ignore")
def test_a_convolution_lies_in_long_runs():
    """A spike of a 3×3 convolution reaches three runs of 3 × filters neighbours, however the layer is cut."""
    with nengo.Network(seed=0) as net:
        nengo_loihi.add_params(net)
        source = nengo.Ensemble(6 * 6 * 2, 1, label="source")
        transform = nengo.Convolution(32, (6, 6, 2), kernel_size=(3, 3), padding="same")
        target = nengo.Ensemble(6 * 6 * 32, 1, label="target", gain=Choice([1.0]), bias=Choice([0.0]))
        net.config[target].block_shape = nengo_loihi.BlockShape((3, 6, 8), (6, 6, 32))
        nengo.Connection(source.neurons, target.neurons, transform=transform)
    layout = Emulator(compile_network(net)).layout
    interior = np.flatnonzero(layout.pattern_targets == 9 * 32)
    assert len(interior) == 1
    runs = slice(layout.pattern_start[interior[0]], layout.pattern_start[interior[0] + 1])
    assert list(layout.run_blocks[runs] * 16) == [96, 96, 96]
    # shared weights are kept once: at most one row per kind of border and channel, each 9 × 32 long at most
    assert layout.pool.size <= 9 * 2 * (9 * 32) * 2 + 128


def test_noise_of_decode_neurons():
    """NoisyDecodeNeurons: random numbers drawn as nengo-loihi draws them."""
    decode = import_nengo_loihi("decode_neurons")

    def model():
        model = import_nengo_loihi("builder").Model(dt=0.001)
        model.decode_neurons = decode.NoisyDecodeNeurons(3, noise_exp=-1.5)
        return model

    with nengo.Network(seed=2) as net:
        stimulus = nengo.Node(0.4)
        a, b = nengo.Ensemble(40, 1), nengo.Ensemble(40, 1)
        nengo.Connection(stimulus, a)
        nengo.Connection(a, b)
        nengo.Probe(b, synapse=0.01)
    assert assert_same_run(net, steps=(9, 31), seed=5, model=model()).any()
    program = program_from_model(_built(net, model()))
    assert program.noise_on.any() and program.noise_at_membrane[program.noise_on].all()
    assert GENERAL in Emulator(program).layout.layer_kind


def _built(net, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.build(net)
    return model


# --- models made by hand, for what no network gives


def _hand_made(n, weights, steps, noise_at_membrane=None, **synapse):
    """A model of one input and one block, with spikes on all lines in every step."""
    model = import_nengo_loihi("builder").Model(dt=0.001)
    lines = import_nengo_loihi("inputs").SpikeInput(len(weights))
    for t in range(1, steps + 1):
        lines.add_spikes(t, np.arange(len(weights)), permanent=True)
    model.add_input(lines)
    block = block_module.LoihiBlock(n)
    block.compartment.configure_relu()
    block.compartment.configure_filter(0.1)
    if noise_at_membrane is not None:
        block.compartment.enable_noise[::2] = True
        block.compartment.noise_exp = 0.1
        block.compartment.noise_offset = 0.3
        block.compartment.noise_at_membrane = noise_at_membrane
    model.add_block(block)
    group = block_module.Synapse(len(weights))
    group.set_weights(weights)
    block.add_synapse(group)
    axon = block_module.Axon(len(weights))
    axon.target = group
    lines.add_axon(axon)
    probe = import_nengo_loihi("probe").LoihiProbe
    for key in STATE:
        model.add_probe(probe(target=block, key=key))
    discretize.discretize_model(model)
    return model


def _assert_same_probes(model, steps, seed=0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sim = type("Sim", (), {"model": model})
        reference, fast = reference_interface(sim, seed), FastInterface(model, seed)
        for emulator in (reference, fast):
            emulator.run_steps(steps)
    for probe in model.probes:
        a, b = fast.collect_probe_output(probe), reference.collect_probe_output(probe)
        assert np.array_equal(a, b), probe.key
    return fast


@pytest.mark.parametrize("n_lines", [100, 1000])
def test_registers_overflow_alike_and_are_counted(n_lines):
    """As nengo-loihi's test_uv_overflow: 100 lines overflow the current, over 2**21 / (255 * 64) the input."""
    model = _hand_made(3, np.ones((n_lines, 3)), 15)
    block = next(iter(model.blocks))
    block.compartment.vmin = -(2**22) + 1
    block.compartment.vth[:] = discretize.VTH_MAX
    fast = _assert_same_probes(model, 15)
    q, u, x = fast.overflows[0]
    assert (q > 0) == (n_lines == 1000)
    assert (u > 0) == (n_lines == 100)


@pytest.mark.parametrize("at_membrane", [0, 1])
def test_noise_on_some_compartments(at_membrane):
    model = _hand_made(10, np.random.RandomState(0).uniform(-1, 2, (6, 10)), 30, noise_at_membrane=at_membrane)
    _assert_same_probes(model, 30, seed=3)


def test_compartments_that_differ_within_a_block():
    model = _hand_made(40, np.random.RandomState(1).uniform(-1, 2, (6, 40)), 40)
    compartment = next(iter(model.blocks)).compartment
    rng = np.random.RandomState(2)
    compartment.decay_u[:] = rng.randint(0, 4096, 40)
    compartment.decay_v[:] = rng.randint(0, 4096, 40)
    compartment.refract_delay[:] = rng.randint(0, 5, 40)
    fast = _assert_same_probes(model, 40)
    assert fast.emulator.layout.layer_kind[0] == GENERAL


def test_weights_of_more_than_16_bits():
    """Set by hand they can be any int32; they are split into digits."""
    model = _hand_made(5, np.ones((7, 5)), 6)
    group = next(iter(model.blocks)).synapses[0]
    rng = np.random.RandomState(0)
    for w in group.weights:
        w[...] = rng.randint(-(2**31), 2**31 - 1, w.shape)
    _assert_same_probes(model, 6)


def test_targets_named_twice():
    """NumPy's ``+=`` on repeated indices keeps the last; nengo-loihi's emulator does that, and so does ours."""
    model = _hand_made(5, np.ones((2, 5)), 6)
    group = next(iter(model.blocks)).synapses[0]
    group.weights = [np.array([[640, 1280, 320]], dtype=np.int32), np.array([[64]], dtype=np.int32)]
    group.indices = [np.array([[1, 3, 1]], dtype=np.int32), np.array([[4]], dtype=np.int32)]
    _assert_same_probes(model, 6)


def test_atoms_with_targets_of_their_own():
    """Population weights whose compartments depend on the atom: nengo-loihi never builds them but runs them."""
    model = _hand_made(6, np.ones((4, 6)), 8)
    block = next(iter(model.blocks))
    group = block.synapses[0]
    rng = np.random.RandomState(4)
    group.weights = [rng.randint(-200, 255, (2, 3)).astype(np.int32) * 64 for _ in range(2)]
    group.indices = [np.array([[0, 1, 2], [3, 4, 5]], dtype=np.int32), np.array([[5, 1, 0], [2, 3, 4]], dtype=np.int32)]
    group.n_axons = 2
    group.pop_type = 32
    axon = next(iter(model.inputs)).axons[0]
    axon.set_compartment_axon_map(np.array([0, 0, 1, 1]), atoms=np.array([0, 1, 0, 1]))
    _assert_same_probes(model, 8)


def test_a_line_that_spikes_twice_in_a_step_counts_twice():
    model = _hand_made(4, np.ones((3, 4)), 2)
    next(iter(model.inputs)).spikes[1] = np.array([2, 0, 2])
    _assert_same_probes(model, 4)


def test_strict_mode_raises_and_names_the_register(monkeypatch):
    model = _hand_made(3, np.ones((1000, 3)), 5)
    monkeypatch.setattr(FastInterface, "strict", True)
    with pytest.raises(nengo.exceptions.SimulationError, match="Overflow in q0"):
        FastInterface(model, 0).run_steps(5)
    monkeypatch.setattr(FastInterface, "strict", False)
    with pytest.warns(UserWarning, match="Overflow in q0"):
        FastInterface(model, 0).run_steps(5)


# --- batches of a program alone


def test_warming_up_compiles_what_programs_run(spiking_program):
    warm_up()
    known = list(run_samples.signatures)
    Emulator(spiking_program).run(_spikes(spiking_program, 1, 3), 3)
    assert known and list(run_samples.signatures) == known


@pytest.fixture(scope="module")
def spiking_program():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile_network(random_network(0))


def _spikes(program, n_samples, n_steps, seed=0):
    rng = np.random.RandomState(seed)
    return [rng.rand(n_samples, n_steps, n) < 0.3 for n in program.input_size]


def test_batch_does_not_depend_on_threads_or_order(spiking_program):
    record = {"voltage": np.arange(spiking_program.n_compartments)}
    emulator = Emulator(spiking_program, record=record)
    spikes = _spikes(spiking_program, 5, 20)
    one = emulator.run(spikes, 20, threads=1)
    two = emulator.run([s[::-1] for s in spikes], 20, threads=2)[::-1]
    for a, b in zip(one, two, strict=False):
        assert np.array_equal(a.voltages, b.voltages) and np.array_equal(a.spikes, b.spikes)
        assert np.array_equal(a.n_synops, b.n_synops)
    assert not np.array_equal(one[0].voltages, one[1].voltages)


def test_a_loaded_program_runs_the_same(tmp_path, spiking_program):
    spiking_program.save(tmp_path / "p.npz")
    again = Program.load(tmp_path / "p.npz")
    spikes = _spikes(spiking_program, 2, 15)
    for a, b in zip(Emulator(spiking_program).run(spikes, 15), Emulator(again).run(spikes, 15), strict=False):
        assert np.array_equal(a.spikes, b.spikes) and np.array_equal(a.n_spikes, b.n_spikes)


def test_synaptic_operations_are_counted(spiking_program):
    """Against a count over axons: one for each weight that a spike meets."""
    p = spiking_program
    everyone = np.arange(p.n_compartments)
    emulator = Emulator(p, record={"spiked": everyone})
    spikes = _spikes(p, 1, 12)
    recording = emulator.run(spikes, 12)[0]
    fired = emulator.read(recording, "spiked", everyone)[:-1].sum(axis=0)
    sent = [s[0, :-1].sum(axis=0) for s in spikes]
    expected = np.zeros(len(p.layers), dtype=np.int64)
    for r, source in enumerate(p.route_source):
        counts = fired[p.block_start[source] : p.block_start[source + 1]] if source >= 0 else sent[-1 - source]
        synapse = p.route_synapse[r]
        layer = p.block_layer[p.synapse_block[synapse]]
        for count, axon in zip(counts, p.route_axon[p.route_start[r] : p.route_start[r + 1]], strict=False):
            number = p.synapse_axon_start[synapse] + axon
            if axon >= 0 and p.axon_base[number] >= 0:
                entry = p.axon_entry[number]
                size = (p.entry_start[entry + 1] - p.entry_start[entry]) // p.entry_atoms[entry]
                expected[layer] += count * size
    assert expected.sum() > 0
    assert np.array_equal(recording.n_synops, expected)


def test_wrong_inputs_are_refused(spiking_program):
    emulator = Emulator(spiking_program)
    spikes = _spikes(spiking_program, 2, 10)
    with pytest.raises(InputError, match="the program has 1"):
        emulator.run([], 10)
    with pytest.raises(InputError, match="expected bool"):
        emulator.run([s.astype(float) for s in spikes], 10)
    with pytest.raises(InputError, match="expected bool"):
        emulator.run(spikes, 11)
