"""What cannot be built, run or read is refused in one line, by everything that takes a network; advice works."""

from __future__ import annotations

import threading
import warnings

import nengo
import numpy as np
import pytest
import scipy.sparse
from cotrain import hardware
from cotrain.hardware.builder import refusals
from cotrain.hardware.errors import CotrainError, InputError, MisfitError
from emulator_networks import nengo_loihi
from nengo.dists import Choice

NAN, INF = float("nan"), float("inf")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def made(build, seed=1):
    with nengo.Network(seed=seed) as net:
        nengo_loihi.add_params(net)
        net.u = nengo.Node([0.5], label="u")
        net.a = nengo.Ensemble(20, 1, label="a")
        net.b = nengo.Ensemble(20, 1, label="b")
        net.h = nengo.Ensemble(20, 1, label="h")
        net.config[net.h].on_chip = False
        nengo.Connection(net.u, net.a)
        build(net)
    return net


def refused(net, misfit=False):
    """What `check` says, after everything else has refused the network in one line and left nothing behind."""
    calls = [
        lambda: hardware.compile_network(net),
        lambda: hardware.Simulator(net, "emulator"),
        lambda: hardware.Simulator(net, "reference"),
    ]
    if not misfit:  # found where it becomes integers, and partition only cuts
        calls.append(lambda: hardware.partition(net))
    for call in calls:
        with pytest.raises(CotrainError) as caught:
            call()
        assert "\n" not in str(caught.value) and " at 0x" not in str(caught.value)
    assert threading.active_count() == 1
    report = hardware.check(net)
    assert not report.fits and report.violations
    return report.violations


def neuron_weights(value):
    w = np.zeros((20, 20))
    w[3, 4] = value
    return w


def connect(pre, post, **kwargs):
    def build(net):
        ends = [getattr(net, name) for name in (pre, post)]
        if "transform" in kwargs:
            ends = [end.neurons for end in ends]
        nengo.Connection(*ends, **kwargs)

    return build


NOT_FINITE = {
    "dense": lambda v: connect("a", "b", transform=neuron_weights(v)),
    "vector": lambda v: connect("a", "b", transform=neuron_weights(v)[3]),
    "scalar": lambda v: lambda net: nengo.Connection(net.a, net.b, transform=v),
    "distribution": lambda v: connect("a", "b", transform=nengo.Dense((20, 20), init=Choice([v]))),
    "sparse": lambda v: connect(
        "a", "b", transform=nengo.Sparse((20, 20), init=scipy.sparse.coo_matrix(neuron_weights(v)))
    ),
    "sparse, nengo's": lambda v: connect(
        "a", "b", transform=nengo.Sparse((20, 20), init=nengo.transforms.SparseMatrix([[0, 1]], [v], (20, 20)))
    ),
    "convolution": lambda v: lambda net: nengo.Connection(
        net.a.neurons[:16],
        nengo.Ensemble(9, 1, gain=Choice([1]), bias=Choice([0])).neurons,
        transform=nengo.Convolution(1, (4, 4, 1), kernel_size=(2, 2), init=np.full((2, 2, 1, 1), v)),
    ),
    "host to chip": lambda v: connect("h", "b", transform=neuron_weights(v)),
    "chip to host": lambda v: connect("a", "h", transform=neuron_weights(v)),
    "on the host": lambda v: connect("h", "h", transform=neuron_weights(v)),
    "chip to node": lambda v: lambda net: nengo.Connection(
        net.a.neurons, nengo.Node(size_in=20), transform=np.full(20, v)
    ),
    "decoders by hand": lambda v: lambda net: nengo.Connection(
        net.a, net.b, solver=nengo.solvers.NoSolver(np.full((20, 1), v))
    ),
    "function": lambda v: lambda net: nengo.Connection(net.a, net.b, function=lambda x: v),
    "function as points": lambda v: lambda net: nengo.Connection(
        net.a, net.b, eval_points=np.zeros((2, 1)), function=np.array([[0.5], [v]])
    ),
    "gain": lambda v: lambda net: nengo.Ensemble(20, 1, gain=np.full(20, v), bias=np.zeros(20)),
    "bias": lambda v: lambda net: nengo.Ensemble(20, 1, gain=np.ones(20), bias=np.full(20, v)),
    "bias of a distribution": lambda v: lambda net: nengo.Ensemble(20, 1, gain=Choice([1]), bias=Choice([0, v])),
    "max_rates": lambda v: lambda net: nengo.Ensemble(20, 1, max_rates=Choice([v])),
    "intercepts": lambda v: lambda net: nengo.Ensemble(20, 1, intercepts=np.full(20, v)),
    "encoders": lambda v: lambda net: nengo.Ensemble(20, 1, encoders=np.full((20, 1), v)),
    "eval_points": lambda v: lambda net: nengo.Ensemble(20, 1, eval_points=np.full((20, 1), v)),
    "radius": lambda v: lambda net: nengo.Ensemble(20, 1, radius=v),
    "synapse": lambda v: lambda net: nengo.Connection(net.a, net.b, synapse=nengo.Lowpass(v)),
    "synapse of a probe": lambda v: lambda net: nengo.Probe(net.a, synapse=nengo.Lowpass(v)),
    "synapse on the host": lambda v: lambda net: nengo.Connection(
        net.h, net.h, synapse=nengo.LinearFilter([v], [1, 1])
    ),
    "tau_rc": lambda v: lambda net: nengo.Ensemble(20, 1, neuron_type=nengo.LIF(tau_rc=v)),
    "tau_ref": lambda v: lambda net: nengo.Ensemble(20, 1, neuron_type=nengo.LIF(tau_ref=v)),
    "amplitude": lambda v: lambda net: nengo.Ensemble(20, 1, neuron_type=nengo.LIF(amplitude=v)),
    "initial voltage": lambda v: lambda net: setattr(
        net.h, "neuron_type", nengo.LIF(initial_state={"voltage": Choice([v])})
    ),
    "node": lambda v: lambda net: setattr(net.u, "output", np.array([v])),
    "images": lambda v: lambda net: setattr(net.u, "output", nengo.processes.PresentInput([[v], [0.0]], 0.01)),
    "radius of an ensemble on the host": lambda v: lambda net: setattr(net.h, "radius", v),
    "product that overflows": lambda v: lambda net: nengo.Connection(
        net.a.neurons,
        nengo.Ensemble(20, 1, gain=Choice([1e200]), bias=Choice([0])).neurons,
        transform=np.full((20, 20), 1e200),
    ),
}  # fmt: skip


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("kind", list(NOT_FINITE))
def test_numbers_that_are_none(kind, value):
    try:
        net = made(NOT_FINITE[kind](value))
    except (nengo.exceptions.ValidationError, TypeError):
        return  # Nengo itself lets nobody write it
    assert refused(net)


UNBUILDABLE = {
    "neuron type": lambda net: setattr(net.b, "neuron_type", nengo.Izhikevich()),
    "alpha": lambda net: nengo.Connection(net.a, net.b, synapse=nengo.Alpha(0.01)),
    "noise": lambda net: setattr(net.a, "noise", nengo.processes.WhiteNoise()),
    "a part of the neurons": lambda net: nengo.Connection(net.a.neurons[0], net.b.neurons[0], transform=0.01),
    "an array of neurons": lambda net: nengo.Connection(net.a.neurons, net.b.neurons[np.arange(20)[::-1]]),
    "list of dimensions": lambda net: nengo.Connection(net.a, nengo.Ensemble(20, 3)[[2]]),
    "convolution of decoded values": lambda net: nengo.Connection(
        nengo.Ensemble(20, 16),
        nengo.Ensemble(9, 1).neurons,
        transform=nengo.Convolution(1, (4, 4, 1), kernel_size=(2, 2)),
    ),
    "convolution in one dimension": lambda net: nengo.Connection(
        net.a.neurons[:16],
        nengo.Ensemble(14, 1).neurons,
        transform=nengo.Convolution(1, (16, 1), kernel_size=(3,), strides=(1,)),
    ),
    "different gains": lambda net: nengo.Connection(
        net.a.neurons[:16], nengo.Ensemble(9, 1).neurons, transform=nengo.Convolution(1, (4, 4, 1), kernel_size=(2, 2))
    ),
    "sparse to the host": lambda net: nengo.Connection(
        net.a.neurons, net.h.neurons, transform=nengo.Sparse((20, 20), init=scipy.sparse.eye(20))
    ),
    "voja": lambda net: nengo.Connection(net.a, net.b, learning_rule_type=nengo.Voja()),
    "probe of a connection": lambda net: nengo.Probe(nengo.Connection(net.a, net.b), "weights"),
    "probe of a refractory time": lambda net: nengo.Probe(net.a.neurons, "refractory_time"),
    "probe of an input": lambda net: nengo.Probe(net.a, "input"),
    "probe of encoders": lambda net: nengo.Probe(net.a, "scaled_encoders"),
    "probe of one neuron's refractory time": lambda net: nengo.Probe(net.a.neurons[[3, 1]], "refractory_time"),
    "gain without bias": lambda net: setattr(net.b, "gain", np.ones(20)),
    "vector through a passthrough node": lambda net: through(net, np.linspace(0, 1, 20)),
    "distribution through a passthrough node": lambda net: through(net, nengo.dists.Uniform(0, 1)),
    "lists through a passthrough node": lambda net: through(net, 1.0, [3, 1, 2], [2, 3, 1]),
    "huge bias": lambda net: nengo.Ensemble(20, 1, gain=np.ones(20), bias=np.full(20, 1e9)),
    "many neurons": lambda net: nengo.Ensemble(10**12, 1),
    "many dimensions": lambda net: nengo.Ensemble(10, 10**10),
    "many weights": lambda net: nengo.Connection(
        nengo.Ensemble(10**6, 1).neurons, nengo.Ensemble(10**6, 1).neurons, transform=nengo.dists.Uniform(0, 1)
    ),
    "many decoders": lambda net: nengo.Connection(nengo.Ensemble(10**6, 1), net.b),
}  # fmt: skip


def through(net, transform, post=slice(None), pre=slice(None)):
    relay = nengo.Node(size_in=20)
    n = np.arange(20)[post].size
    nengo.Connection(net.a.neurons[:n], relay[post], transform=transform, synapse=None)
    n = np.arange(20)[pre].size
    nengo.Connection(relay[pre], net.b.neurons, transform=np.full((20, n), 0.01))


@pytest.mark.parametrize("kind", list(UNBUILDABLE))
def test_parts_that_cannot_be_built(kind):
    violations = refused(made(UNBUILDABLE[kind]), misfit=kind == "huge bias")
    assert all(v.change for v in violations)


class TensorNode(nengo.Node):
    """What NengoDL's has in its place: an output that nobody else can run."""


@pytest.mark.parametrize("index", [[[1, 2]], np.array([[3], [4]])], ids=["row", "column"])
def test_indices_of_several_axes(index):
    net = made(lambda net: nengo.Probe(net.a.neurons[index]))
    assert refused(net)[0].rule == "indices"
    net = made(lambda net: nengo.Connection(net.a.neurons[index], nengo.Node(size_in=2)))
    assert refused(net)[0].rule == "indices"


@pytest.mark.parametrize("seed", [-1, 2**32, 2**40])
def test_seeds_of_networks(seed):
    with nengo.Network() as net:
        nengo.Ensemble(5, 1)
    net.seed = seed
    assert refused(net)[0].rule == "seeds"


def test_tensor_nodes():
    net = made(lambda net: nengo.Connection(net.a, TensorNode(lambda t, x: x, size_in=1, label="softmax")))
    (violation,) = refused(net)
    assert violation.rule == "tensor_node" and "softmax" in violation.layer


def test_all_refusals_at_once():
    net = made(connect("a", "b", transform=neuron_weights(NAN)))
    net.seed = 2**40
    assert [v.rule for v in refused(net)] == ["finite", "seeds"]
    with pytest.raises(InputError, match="1 more"):
        hardware.compile_network(net)


def test_sizes_are_known_before_memory_is_asked_for(monkeypatch):
    monkeypatch.setattr(refusals, "memory", lambda: 1 << 20)
    net = made(connect("a", "b", transform=neuron_weights(0.1)))
    assert hardware.check(net).fits
    with net:
        nengo.Connection(
            net.a.neurons, nengo.Ensemble(10_000, 1, label="wide").neurons, transform=np.ones((10_000, 20))
        )
    with pytest.raises(MisfitError, match="wide.*GiB of memory"):
        hardware.compile_network(net)


# --- advice, followed


def test_on_chip_false_is_said_where_it_helps_and_then_helps():
    tried = 0
    for kind, build in UNBUILDABLE.items():
        if kind.startswith(("many", "huge")):
            continue
        net = made(build)
        (violation,) = hardware.check(net).violations
        if "off the chip: " not in violation.change:
            continue
        tried += 1
        assert all(net.config[e].on_chip is (False if e is net.h else None) for e in net.all_ensembles)
        lines = violation.change.split("off the chip: ")[1]
        names = {e.label or "ensemble": e for e in net.all_ensembles}
        exec(lines, {"net": net, **names})
        with hardware.Simulator(net, "emulator") as sim:
            sim.run_steps(3)
            sim.predict({net.u: np.zeros((2, 1, 1))}, 3)
    assert tried >= 4


def test_keeping_passthrough_nodes_is_said_where_it_helps_and_then_helps():
    for kind in ("vector", "distribution", "lists"):
        net = made(UNBUILDABLE[f"{kind} through a passthrough node"])
        (violation,) = hardware.check(net).violations
        assert "remove_passthrough=False" in violation.change
        assert hardware.check(net, remove_passthrough=False).violations == ()
        hardware.partition(net, remove_passthrough=False)
        with hardware.Simulator(net, "emulator", remove_passthrough=False) as sim:
            sim.run_steps(3)


@pytest.mark.parametrize("kind", ["probe of a refractory time", "probe of an input", "probe of encoders"])
def test_the_probes_that_are_advised_can_be_read(kind):
    (violation,) = hardware.check(made(UNBUILDABLE[kind])).violations
    assert "'output', 'voltage' or 'input' of its neurons, or the ensemble's decoded value" in violation.change
    net = made(
        lambda net: [nengo.Probe(net.a.neurons, key) for key in ("output", "voltage", "input")] + [nengo.Probe(net.a)]
    )
    for target in ("emulator", "reference"):
        with hardware.Simulator(net, target) as sim:
            sim.run_steps(3)
            assert all(len(sim.data[p]) == 3 for p in net.probes)


def _spread(padding, output):
    """A transposed convolution of 3 by 3 pixels, kernel 3, stride 2, from one layer of the chip to another."""
    transform = nengo.transforms.ConvolutionTranspose(
        1, (3, 3, 1), (*output, 1), kernel_size=(3, 3), strides=(2, 2), padding=padding, init=np.full((3, 3, 1, 1), 0.1)
    )
    with nengo.Network(seed=1) as net:
        pixels = nengo.Node(np.ones(9), label="pixels")
        alike = {"gain": Choice([100]), "bias": Choice([0])}
        small = nengo.Ensemble(9, 1, label="small", **alike)
        large = nengo.Ensemble(int(np.prod(output)), 1, label="large", **alike)
        nengo.Connection(pixels, small.neurons)
        nengo.Connection(small.neurons, large.neurons, transform=transform, label="spread")
    return net


def test_transposed_convolutions_that_nengo_loihi_misplaces_are_refused():
    (violation,) = refused(_spread("same", (6, 6)))
    assert "spread" in str(violation) and "output_shape (5, 5)" in violation.change
    for padding, output in (("same", (5, 5)), ("valid", (7, 7))):  # what is advised
        assert hardware.check(_spread(padding, output)).violations == ()
