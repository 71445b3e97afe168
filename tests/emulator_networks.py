"""Networks for the emulator's tests, and the comparison with nengo-loihi's own emulator."""

from __future__ import annotations

import warnings

import nengo
import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.compiler.compile import program_from_model
from cotrain.hardware.emulator.emulator import Emulator
from cotrain.hardware.simulator.interface import FastInterface
from cotrain.hardware.simulator.links import reference_interface
from cotrain.hardware.simulator.recording import forget_sent
from nengo.dists import Choice, Uniform

nengo_loihi = import_nengo_loihi()
STATE = ("spiked", "voltage", "current")


def _recorded(emulator, read):
    """Let an emulator note the state of every compartment after every call of run_steps or step."""
    trace = []
    name = "step" if hasattr(emulator, "compartment") else "run_steps"
    original = getattr(emulator, name)

    def run(*args):
        original(*args)
        trace.append(read(emulator))

    setattr(emulator, name, run)
    return trace


def _reference_state(emulator):
    return [getattr(emulator.compartment, name)[None].copy() for name in STATE]


def _fast_state(interface):
    everyone = np.arange(interface.emulator.program.n_compartments)
    return [interface.emulator.read(interface.last, name, everyone) for name in STATE]


def fresh_runner(sim, interface):
    """Start a `nengo_loihi.Simulator` anew on `interface`: time, probes and host at their initial values."""
    for name in ("host_pre", "host"):
        if name in sim.sims:
            sim.sims[name].reset()
    sim.sims["emulator"] = interface
    for spike_input in sim.model.inputs:
        forget_sent(spike_input)
    sim._runner = door.StepRunner(sim.model, sim.sims, sim.precompute, sim.timers)
    sim._n_steps, sim._time = 0, 0
    sim.clear_probes()


def _run(sim, emulator, read, steps):
    trace = _recorded(emulator, read)
    fresh_runner(sim, emulator)
    for n in steps:
        sim.run_steps(n)
    state = [np.concatenate(values) for values in zip(*trace, strict=False)]
    return state, {p: np.array(sim.data[p]) for p in sim.network.all_probes}


def assert_same_run(net, steps=(7, 1, 17), seed=0, model=None):
    """`compare_runs`; returns the spikes."""
    return compare_runs(net, steps, seed, model)[0]


def compare_runs(net, steps, seed=0, model=None):
    """Every compartment at every step, and every probe, equal to the last bit; returns spikes and program.

    One build serves both, since nengo-loihi builds some networks differently each time. `steps` are the lengths of
    consecutive calls of run_steps.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with nengo_loihi.Simulator(net, target="sim", seed=seed, model=model) as sim:
            expected, expected_data = _run(sim, reference_interface(sim, seed), _reference_state, steps)
            program = program_from_model(sim.model)
            emulator = Emulator(program, record=dict.fromkeys(STATE, np.arange(program.n_compartments)))
            found, found_data = _run(sim, FastInterface(sim.model, seed, emulator), _fast_state, steps)
    for name, a, b in zip(STATE, found, expected, strict=False):
        assert a.shape == b.shape
        differ = np.argwhere(a != b)
        assert not differ.size, f"{name} differs first in step {differ[0][0]}, compartment {differ[0][1]}"
    for probe, b in expected_data.items():
        a = found_data[probe]
        assert a.dtype == b.dtype and a.shape == b.shape, probe
        assert np.array_equal(a, b), probe
    return expected[0], program


def fresh_reference(net, node, values, n_steps, seed=0):
    """What a fresh nengo_loihi.Simulator gives for one sample: values (1 or n_steps, size)."""
    kept = node.output
    try:
        if len(values) == 1:
            node.output = np.array(values[0])
        else:
            node.output = nengo.processes.PresentInput(np.array(values), presentation_time=0.001)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with nengo_loihi.Simulator(net, target="sim", seed=seed) as sim:
                sim.run_steps(n_steps)
                return {p: np.array(sim.data[p]) for p in net.all_probes}
    finally:
        node.output = kept


# --- random networks


def random_neurons(rng, host=False):
    """A neuron type that the chip has (or, on the host, that it has not)."""
    amplitude = rng.choice([1.0, 0.01, 0.37])
    start = {"initial_state": {"voltage": Choice([0])}}
    lif = {"tau_rc": rng.choice([0.01, 0.02, 0.05]), "tau_ref": rng.choice([0.0, 0.001, 0.002, 0.0035])}
    types = [
        lambda: nengo.LIF(amplitude=amplitude, min_voltage=rng.choice([0.0, -1.0]), **lif, **start),
        lambda: nengo.SpikingRectifiedLinear(amplitude=amplitude, **start),
        lambda: nengo_loihi.LoihiLIF(amplitude=amplitude, **lif),
        lambda: nengo_loihi.LoihiSpikingRectifiedLinear(amplitude=amplitude),
    ]
    if not host:
        types += [
            lambda: nengo.RegularSpiking(nengo.LIFRate(**lif), amplitude=amplitude, **start),
            lambda: nengo.RegularSpiking(nengo.RectifiedLinear(), amplitude=amplitude, **start),
        ]
    else:
        types += [lambda: nengo.LIF(amplitude=amplitude, **lif)]  # starts from random voltages
    return types[rng.randint(len(types))]()


def ensemble(rng, net, n, neurons=None, label=None, on_chip=True, block=None, shape=None):
    """Neurons with one gain, driven to some tens or hundreds of Hz."""
    neurons = random_neurons(rng, host=not on_chip) if neurons is None else neurons
    base = getattr(neurons, "base_type", neurons)
    leaky = isinstance(base, nengo.LIFRate)
    ens = nengo.Ensemble(
        n,
        1,
        neuron_type=neurons,
        gain=Choice([1.0 if leaky else 100.0]),
        bias=Uniform(0.6, 1.4) if leaky else Uniform(0, 60),
        label=label,
    )
    if not on_chip:
        net.config[ens].on_chip = False
    elif block is not None:
        net.config[ens].block_shape = nengo_loihi.BlockShape(block, shape)
    return ens


def _synapse(rng):
    tau = rng.choice([0.0, 0.002, 0.005, 0.02])
    return nengo.Lowpass(tau) if tau and rng.rand() < 0.9 else None


def random_convolutions(rng, net, source, shape, channels_last, depth):
    """A chain of convolutions and transposed convolutions with random cuts; returns the ensembles."""
    layers = []
    for _ in range(depth):
        transposed = rng.rand() < 0.3
        kind = nengo.ConvolutionTranspose if transposed else nengo.Convolution
        filters = rng.choice([1, 2, 4, 5, 8])
        kernel = int(rng.randint(1, 4))
        stride = int(rng.randint(1, kernel + 1))
        height, width = shape[:2] if channels_last else shape[1:]
        padding = "same" if kernel > min(height, width) else rng.choice(["same", "valid"])
        if transposed:
            padding = "valid"
        transform = kind(
            filters,
            shape,
            kernel_size=(kernel, kernel),
            strides=(stride, stride),
            padding=padding,
            channels_last=channels_last,
            init=Uniform(-0.3, 0.6),
        )
        out = transform.output_shape.shape
        if int(np.prod(out)) > 900 or min(out) < 1:
            break
        block = tuple(int(rng.randint(max(1, -(-n // 3)), n + 1)) for n in out) if rng.rand() < 0.6 else None
        ens = ensemble(rng, net, int(np.prod(out)), block=block, shape=out)
        conn = nengo.Connection(source, ens.neurons, transform=transform, synapse=_synapse(rng))
        # nengo-loihi asks that pop16 axons start at multiples of 4
        fours = channels_last and filters % 4 == 0 and (block is None or block[-1] % 4 == 0)
        net.config[conn].pop_type = int(rng.choice([16, 32])) if fours else 32
        layers.append(ens)
        source, shape = ens.neurons, out
    return layers


def random_network(seed):
    """A network of one of four kinds, with probes of everything that can be probed."""
    rng = np.random.RandomState(seed)
    net = nengo.Network(seed=seed)
    with net:
        nengo_loihi.add_params(net)
        (_vision, _dense, _decoded, _loop)[seed % 4](rng, net)
    return net


def _input(rng, size):
    kind = rng.randint(3)
    if kind == 0:
        return nengo.Node(rng.uniform(-1, 1, size))
    values = rng.uniform(-1, 1, (9, size))
    if kind == 1:
        return nengo.Node(nengo.processes.PresentInput(values, presentation_time=0.003))
    return nengo.Node(lambda t: values[int(round(t * 1000)) % 9])


def _probes(rng, ensembles):
    for ens in ensembles:
        nengo.Probe(ens.neurons, synapse=_synapse(rng))
        part = ens.neurons[: int(rng.randint(1, ens.n_neurons + 1)) : int(rng.randint(1, 3))]
        nengo.Probe(part, "voltage")
        nengo.Probe(part, "input")  # nengo-loihi cannot filter some slices of ensembles that were cut


def _vision(rng, net):
    channels_last = rng.rand() < 0.7
    rows, cols, channels = rng.randint(3, 10), rng.randint(3, 10), rng.randint(1, 4)
    shape = (rows, cols, channels) if channels_last else (channels, rows, cols)
    image = nengo.Node(rng.uniform(0, 1, int(np.prod(shape))), label="image")
    first = nengo.Convolution(
        int(rng.randint(1, 5)),
        shape,
        kernel_size=(1, 1),
        strides=(1, 1),
        channels_last=channels_last,
        init=Uniform(0, 1),
    )
    host = ensemble(rng, net, first.output_shape.size, on_chip=False, label="host")
    nengo.Connection(image, host.neurons, transform=first, synapse=None)
    layers = random_convolutions(rng, net, host.neurons, first.output_shape.shape, channels_last, rng.randint(1, 4))
    last = layers[-1] if layers else ensemble(rng, net, 20)
    if not layers:
        nengo.Connection(
            host.neurons, last.neurons, transform=rng.uniform(-0.3, 0.4, (20, host.n_neurons)), synapse=0.005
        )
    dense = ensemble(rng, net, int(rng.randint(5, 60)))
    nengo.Connection(
        last.neurons, dense.neurons, transform=rng.uniform(-0.2, 0.4, (dense.n_neurons, last.n_neurons)), synapse=0.003
    )
    out = nengo.Node(size_in=4)
    nengo.Connection(dense.neurons, out, transform=rng.uniform(-1, 1, (4, dense.n_neurons)), synapse=_synapse(rng))
    relay = nengo.Node(size_in=last.n_neurons)
    nengo.Connection(last.neurons, relay, synapse=None)
    sums = nengo.Node(size_in=1)
    nengo.Connection(relay, sums, transform=rng.uniform(-1, 1, (1, last.n_neurons)), synapse=0.01)
    nengo.Probe(out)
    nengo.Probe(sums)
    nengo.Probe(host.neurons)
    _probes(rng, layers + [dense])


def _dense(rng, net):
    stimulus = _input(rng, 6)
    host = ensemble(rng, net, 30, on_chip=False, label="host")
    nengo.Connection(stimulus, host.neurons, transform=rng.uniform(-1, 1, (30, 6)), synapse=rng.choice([None, 0.01]))
    layers = [ensemble(rng, net, int(rng.randint(2, 90)), block=None) for _ in range(rng.randint(2, 5))]
    for ens in layers:
        if rng.rand() < 0.4 and ens.n_neurons > 4:
            net.config[ens].block_shape = nengo_loihi.BlockShape(
                (int(rng.randint(2, ens.n_neurons)),), (ens.n_neurons,)
            )
    nengo.Connection(
        host.neurons, layers[0].neurons, transform=rng.uniform(-0.3, 0.5, (layers[0].n_neurons, 30)), synapse=0.005
    )
    for _ in range(rng.randint(2, 7)):  # any layer to any layer: recurrent, parallel, sliced
        pre, post = layers[rng.randint(len(layers))], layers[rng.randint(len(layers))]
        count = int(rng.randint(1, pre.n_neurons + 1))
        source = pre.neurons[:count] if rng.rand() < 0.5 else pre.neurons
        weights = rng.uniform(-0.3, 0.4, (post.n_neurons, source.size_out))
        whole = net.config[post].block_shape is None
        if rng.rand() < 0.3 and whole:
            weights = nengo.Sparse(weights.shape, init=_sparse(rng, weights))
        nengo.Connection(source, post.neurons, transform=weights, synapse=_synapse(rng))
    out = nengo.Node(size_in=layers[-1].n_neurons)
    nengo.Connection(layers[-1].neurons, out, synapse=nengo.Alpha(0.01))
    nengo.Probe(out, synapse=0.003)
    _probes(rng, layers)


def _sparse(rng, weights):
    import scipy.sparse

    return scipy.sparse.coo_matrix(np.where(rng.rand(*weights.shape) < 0.3, weights, 0))


def _decoded_ensemble(rng, n, dimensions):
    return nengo.Ensemble(
        n,
        dimensions,
        neuron_type=random_neurons(rng),
        max_rates=Uniform(80, 160),
        intercepts=Uniform(-0.9, 0.6),
        radius=rng.choice([1.0, 1.7]),
    )


def _decoded(rng, net):
    stimulus = _input(rng, 2)
    a, b = _decoded_ensemble(rng, int(rng.randint(20, 80)), 2), _decoded_ensemble(rng, int(rng.randint(20, 80)), 1)
    nengo.Connection(stimulus, a, synapse=rng.choice([None, 0.01]))
    nengo.Connection(a, b, function=lambda x: x[0] * x[1], synapse=_synapse(rng))
    if rng.rand() < 0.5:
        nengo.Connection(a[0], b, synapse=_synapse(rng))
    if rng.rand() < 0.5:
        nengo.Connection(b, b, synapse=0.1, transform=0.6)
    if rng.rand() < 0.5:
        nengo.Connection(b, a, transform=[[0], [1]], synapse=0.02)
    if rng.rand() < 0.5:
        nengo.Connection(a, b, function=lambda x: x[0], synapse=0.01, solver=nengo.solvers.LstsqL2(weights=True))
    c = _decoded_ensemble(rng, 30, 3)
    relay = nengo.Node(size_in=3)  # a passthrough node between chip and chip
    nengo.Connection(a, relay[:2], synapse=0.005)
    nengo.Connection(b, relay[2], synapse=0.005)
    nengo.Connection(relay, c, synapse=None)
    out = nengo.Node(size_in=1)
    nengo.Connection(b, out, function=np.square, synapse=0.01)
    for obj in (a, b, c, out):
        nengo.Probe(obj, synapse=_synapse(rng))
    _probes(rng, [a, b, c])


def _loop(rng, net):
    """Host and chip wait for each other in every step."""
    stimulus = _input(rng, 2)
    a = _decoded_ensemble(rng, 50, 2)
    nengo.Connection(stimulus, a)
    gain = float(rng.uniform(0.2, 0.8))
    half = nengo.Node(lambda t, x: gain * x, size_in=2)
    nengo.Connection(a, half, synapse=0.01)
    nengo.Connection(half, a, synapse=0.005)
    layer = ensemble(rng, net, 25)
    nengo.Connection(half, layer.neurons, transform=rng.uniform(-0.5, 1, (25, 2)), synapse=0.005)
    nengo.Probe(half)
    nengo.Probe(a, synapse=0.01)
    _probes(rng, [a, layer])
