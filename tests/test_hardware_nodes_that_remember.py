"""Functions and processes that keep something: every sample of `predict` starts from what they held at the call."""

from __future__ import annotations

import collections
import functools
import itertools
import random
import types
import warnings

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.errors import CotrainError, InputError, UnsupportedError
from cotrain.hardware.host.copies import LARGE_ARRAY_BYTES, Copies
from emulator_networks import nengo_loihi

N_STEPS = 30


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Delay:
    def __init__(self, steps=4):
        self.past = collections.deque([np.zeros(1)] * steps)

    def __call__(self, t, x):
        self.past.append(np.array(x))
        return self.past.popleft()

    step = __call__


class Pair:
    """Two nodes that share one object."""

    def __init__(self):
        self.total = np.zeros(1)
        self.seen = self.total[:]

    def add(self, t, x):
        self.total += x
        return self.total * 0.01

    def read(self, t, x):
        return self.seen * 0.01 + x


class Walk(nengo.Process):
    """A process that keeps its place in itself, and draws from a generator of its own."""

    def __init__(self):
        super().__init__(default_size_in=1, default_size_out=1)
        self.place = {"at": 0.0}
        self.rng = np.random.RandomState(3)

    def make_state(self, shape_in, shape_out, dt, dtype=None):
        return {}

    def make_step(self, shape_in, shape_out, dt, rng, state):
        def step(t, x):
            self.place["at"] += self.rng.uniform(-0.1, 0.1) + 0.01 * x[0]
            return self.place["at"]

        return step


def closure():
    n, past = 0, np.zeros(3)

    def mean(t, x):
        nonlocal n
        past[n % 3] = x[0]
        n += 1
        return past.mean()

    return mean


def default():
    def f(t, x, past=[]):  # noqa: B006
        past.append(x[0])
        return sum(past[-3:]) / 3

    return f


def attribute():
    def f(t, x):
        f.last, now = x[0], getattr(f, "last", 0)
        return now

    return f


def counter():
    steps = itertools.count()
    return lambda t, x: x if next(steps) % 2 else -x


def noisy(rng):
    return lambda t, x: x + rng.uniform(-0.1, 0.1)


def partly(t, x, past):
    past.append(x[0])
    return past[-2] if len(past) > 1 else 0


PAST, CALLS = [], 0


def in_the_module(t, x):
    global CALLS
    CALLS += 1
    PAST.append(x[0])
    return PAST[max(0, CALLS - 4)]


def memoised():
    """What it remembers lies in a cache, of which no copy can be made."""

    @functools.cache
    def past():
        return []

    def step(t, x):
        past().append(x[0])
        return past()[max(0, len(past()) - 4)]

    return step


def large():
    table = np.linspace(0, 1, LARGE_ARRAY_BYTES // 8)
    assert table.nbytes >= LARGE_ARRAY_BYTES
    return lambda t, x: table[int(t * 1000) * 1000] * x


KINDS = {
    "callable object": lambda: [Delay()],
    "method": lambda: [Delay().step],
    "shared by two nodes": lambda: (lambda pair: [pair.add, pair.read])(Pair()),
    "closure": lambda: [closure()],
    "default argument": lambda: [default()],
    "attribute of the function": lambda: [attribute()],
    "iterator": lambda: [counter()],
    "partial": lambda: [(lambda step: lambda t, x: step(t, x))(functools.partial(partly, past=[]))],
    "process": lambda: [Walk()],
    "random numbers of its own": lambda: [noisy(np.random.RandomState(2))],
    "random numbers of the new kind": lambda: [noisy(np.random.default_rng(2))],
    "globals of the module": lambda: [in_the_module],
    "cache of a function": lambda: [memoised()],
    "large table": lambda: [large()],
    "no state": lambda: [np.sin if False else (lambda t, x: 0.5 * x)],
}  # fmt: skip


def network(outputs, loop=False):
    """Input → nodes one after the other → chip → host, and back to the first node in a loop."""
    with nengo.Network(seed=1) as net:
        net.u = nengo.Node([0.0])
        source, net.chain = net.u, []
        for output in outputs:
            process = isinstance(output, nengo.Process)
            node = nengo.Node(output) if process else nengo.Node(output, size_in=1, size_out=1)
            nengo.Connection(source, node, synapse=None)
            net.chain.append(node)
            source = node
        ens = nengo.Ensemble(30, 1)
        nengo.Connection(source, ens)
        after = nengo.Node(Delay(3), size_in=1, size_out=1)
        nengo.Connection(ens, after, synapse=0.005)
        if loop:
            nengo.Connection(after, net.chain[0], synapse=0.01, transform=0.2)
        for obj in net.chain + [ens, after]:
            nengo.Probe(obj, synapse=0.01)
    return net


X = np.random.RandomState(0).uniform(-1, 1, (5, N_STEPS, 1))


def fresh(make, loop):
    """What new networks in new simulators of nengo-loihi give, sample by sample."""
    found = []
    for row in X:
        PAST.clear()
        globals()["CALLS"] = 0
        net = network(make(), loop)
        net.u.output = lambda t, row=row: row[int(round(t * 1000)) - 1]
        with nengo_loihi.Simulator(net, target="sim", seed=0) as sim:
            sim.run_steps(N_STEPS)
        found.append([sim.data[p] for p in net.probes])
    PAST.clear()
    globals()["CALLS"] = 0
    return [np.stack(values) for values in zip(*found, strict=True)]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("loop", [False, True])
def test_every_sample_is_a_fresh_simulators(kind, loop):
    make = KINDS[kind]
    expected = fresh(make, loop)
    net = network(make(), loop)
    runs = []
    for target in ("reference", "emulator") if loop else ("emulator",):
        with hardware.Simulator(net, target, threads=2) as sim:
            runs.append(sim.predict({net.u: X}, N_STEPS))
            if target == "emulator":
                runs.append(sim.predict({net.u: X}, N_STEPS))
    for out in runs:
        for probe, values in zip(net.probes, expected, strict=True):
            assert np.array_equal(out[probe], values), probe
    assert PAST == [] and CALLS == 0  # the user's own are as they were
    assert kind == "no state" or not np.array_equal(expected[0][0], expected[0][1])


class InTheClass:
    seen: list = []

    def step(self, t, x):
        self.seen.append(x[0])
        return self.seen[0]


class CountsItself:
    calls = 0

    def step(self, t, x):
        type(self).calls += 1
        return x * self.calls


class WritesGlobals:
    def step(self, t, x):
        PAST.append(x[0])
        return PAST[0]


def generator():
    x = 0.0
    while True:
        x += 0.1
        yield x


def writes_large():
    table = np.zeros(LARGE_ARRAY_BYTES)

    def f(t, x):
        table[0] += x[0]
        return table[0]

    return f


def writes_another_module():
    """As ``import settings`` and ``settings.count += 1`` do."""
    module = types.ModuleType("settings_of_mine")
    module.__file__ = "/home/somebody/settings_of_mine.py"
    module.count = 0.0

    def f(t, x):
        module.count += 1
        return module.count * x

    return f


class NoCopies:
    def __reduce__(self):
        raise RuntimeError("not me")

    def __call__(self, t, x):
        return x


REFUSED = {
    "class attribute": lambda: InTheClass().step,
    "class counter": lambda: CountsItself().step,
    "method that writes globals": lambda: WritesGlobals().step,
    "generator": lambda: (lambda g: lambda t, x: next(g))(generator()),
    "numpy's global random numbers": lambda: lambda t, x: x * np.random.rand(),
    "python's global random numbers": lambda: lambda t, x: x * random.random(),
    "open file": lambda: (lambda f: lambda t, x: f.write("") + x)(open("/dev/null", "w")),
    "large array that it writes": writes_large,
    "attribute of a module": writes_another_module,
    "refuses to be copied": NoCopies,
}


@pytest.mark.parametrize("kind", list(REFUSED))
@pytest.mark.parametrize("target", ["emulator", "reference"])
def test_what_cannot_be_told_apart_is_refused_by_name(kind, target):
    net = network([REFUSED[kind]()])
    net.chain[0].label = "the culprit"
    with hardware.Simulator(net, target) as sim:
        with pytest.raises((UnsupportedError, InputError), match="the culprit") as caught:
            sim.predict({net.u: X}, N_STEPS)
        assert "\n" not in str(caught.value)
        if kind != "large array that it writes":
            sim.run_steps(3)  # as the message says, this works
    PAST.clear()
    InTheClass.seen.clear()


def test_objects_the_user_changes_between_calls_are_taken_as_they_are():
    class Feeder:
        value = np.zeros(1)

        def __call__(self, t):
            return self.value

    feeder = Feeder()
    with nengo.Network(seed=0) as net:
        probe = nengo.Probe(nengo.Node(feeder, size_out=1))
        nengo.Ensemble(5, 1)
    with hardware.Simulator(net, "emulator") as sim:
        for value in (1.0, 2.0):
            feeder.value = np.array([value])
            assert (sim.predict({}, 3)[probe] == value).all()


@pytest.mark.parametrize("target", ["emulator", "reference"])
@pytest.mark.parametrize(
    "output, message",
    [
        (lambda t, x: 1 / (t - 0.005 > 1e-9 or 0), "ZeroDivisionError"),
        (lambda t, x: np.nan, "non-finite"),
        (lambda t, x: None, "non-finite"),
        (lambda t, x: "a", "failed while it ran"),
    ],
)
def test_a_function_that_fails_is_named(output, message, target):
    net = network([output])
    net.chain[0].label = "the culprit"
    with hardware.Simulator(net, target) as sim:
        with pytest.raises(InputError, match=f"the culprit.*{message}"):
            sim.predict({net.u: X}, N_STEPS)
        with pytest.raises(InputError, match=f"the culprit.*{message}"):
            sim.run_steps(3)


def chance(seed):
    """Neurons that fire by chance and noise that nobody seeded, before and after the chip."""
    with nengo.Network(seed=seed) as net:
        net.u = nengo.Node([0.3])
        noise = nengo.Node(nengo.processes.WhiteNoise(scale=False), size_out=1)
        kinds = [nengo.PoissonSpiking(nengo.LIFRate()), nengo.StochasticSpiking(nengo.RectifiedLinear())]
        before, after = (nengo.Ensemble(20, 1, neuron_type=kind) for kind in kinds)
        nengo_loihi.add_params(net)
        for ens in (before, after):
            net.config[ens].on_chip = False
        ens = nengo.Ensemble(30, 1)
        nengo.Connection(net.u, before)
        nengo.Connection(noise, before, synapse=0.005)
        nengo.Connection(before, ens)
        nengo.Connection(ens, after, synapse=nengo.Alpha(0.003))
        nengo.Connection(noise, after, synapse=None)
        for obj in (noise, before.neurons, ens, after.neurons):
            nengo.Probe(obj)
    return net


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("target", ["emulator", "reference"])
def test_one_seed_gives_one_run(target, loop):
    """In run_steps, after a reset, in another simulator, and in every sample of `predict`."""

    def made(seed=0, network_seed=1):
        net = chance(network_seed)
        if loop:
            with net:
                back = nengo.Node(lambda t, x: x, size_in=1)
                nengo.Connection(net.ensembles[2], back)
                nengo.Connection(back, net.ensembles[0])
        return net, hardware.Simulator(net, target, seed=seed)

    runs = []
    for _ in range(2):
        net, sim = made()
        with sim:
            for _ in range(2):
                sim.run_steps(4)
                sim.run_steps(16)
                runs.append([np.array(sim.data[p]) for p in net.all_probes])
                sim.reset()
            out = sim.predict({net.u: np.full((3, 1, 1), 0.3)}, 20)
            changing = sim.predict({net.u: np.full((2, 20, 1), 0.3)}, 20)
        runs += [[out[p][i] for p in net.all_probes] for i in range(3)]
        runs += [[changing[p][i] for p in net.all_probes] for i in range(2)]
    for run in runs[1:]:
        for a, b in zip(run, runs[0], strict=True):
            assert a.any() and np.array_equal(a, b)
    net, sim = made(seed=1)
    with sim:
        sim.run_steps(20)
        assert not np.array_equal(sim.data[net.all_probes[0]], runs[0][0])


def test_copies_keep_what_is_shared_shared():
    """One list in two functions; views of one array; a function that calls itself."""
    kept, base = [], np.arange(6.0)
    half = base[:3]

    def write(x):
        kept.append(x)
        base[:] += x

    def read(n):
        return (len(kept), half.sum()) if n == 0 else read(n - 1)

    copies = Copies([("write", write), ("read", read)])
    for _ in range(2):
        w, r = copies.fresh()
        w(1)
        w(1)
        assert r(3) == (2, 9.0)
    assert read(0) == (0, 3.0)
    with pytest.raises(CotrainError, match="second"):
        Copies([("first", write), ("second", generator().__next__)])
