"""Random networks of everything that Nengo lets one write, through everything that takes a network.

Each is built, checked, placed, compiled and run, or refused: with one of our errors, in one line, and by `check`, too.
What runs gives the same numbers in run_steps, predict and on nengo-loihi's own emulator, and those of a fresh
nengo_loihi.Simulator wherever that runs. ``python tests/fuzz/networks.py 2000`` writes its counts to
``reports/fuzz.json``; a short version is ``tests/test_hardware_fuzz.py``.
"""

from __future__ import annotations

import collections
import sys
import time
import traceback
import warnings
from pathlib import Path

import nengo
import numpy as np
import scipy.sparse
from nengo.dists import Choice, Uniform

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cotrain import hardware  # noqa: E402
from cotrain.hardware.errors import CotrainError  # noqa: E402
from emulator_networks import nengo_loihi  # noqa: E402

N_STEPS = 12
ODD = 0.01  # how often something is not as it should be


class Remembers:
    def __init__(self):
        self.past = []

    def __call__(self, t, x):
        self.past.append(np.array(x))
        return self.past[-2] if len(self.past) > 1 else np.zeros_like(x)


class Maker:
    """Makes one network from one seed."""

    def __init__(self, seed):
        self.rng = np.random.RandomState(seed)
        self.net = nengo.Network(seed=seed)
        with self.net:
            nengo_loihi.add_params(self.net)
            self._make()

    def maybe(self, share):
        return self.rng.rand() < share

    def one(self, *options):
        return options[self.rng.randint(len(options))]

    def _make(self):
        self.ensembles = [self.ensemble() for _ in range(self.rng.randint(1, 5))]
        self.nodes = [nengo.Node([0.5], label="u")]
        for _ in range(self.rng.randint(1, 4)):
            self.attempt(lambda: self.nodes.append(self.node()))
        for _ in range(self.rng.randint(2, 9)):
            self.attempt(self.connection)
        for _ in range(self.rng.randint(1, 6)):
            self.attempt(self.probe)

    def attempt(self, make):
        """Nengo refuses some of what is tried here."""
        try:
            make()
        except (
            nengo.exceptions.NengoException,
            ValueError,
            TypeError,
            IndexError,
            AssertionError,
            NotImplementedError,
        ):
            pass

    # --- objects

    def neuron_type(self):
        start = {"initial_state": {"voltage": Choice([0])}}
        if self.maybe(ODD):
            return self.one(
                nengo.Izhikevich(), nengo.AdaptiveLIF(), nengo.Sigmoid(), nengo.LIF(tau_ref=0.3), nengo.Direct()
            )
        return self.one(
            nengo.LIF(**start),
            nengo.LIF(tau_rc=0.05, tau_ref=0.003, amplitude=0.3, **start),
            nengo.SpikingRectifiedLinear(**start),
            nengo_loihi.LoihiLIF(),
            nengo_loihi.LoihiSpikingRectifiedLinear(amplitude=0.5),
            nengo.RegularSpiking(nengo.LIFRate(), **start),
        )

    def ensemble(self):
        n, d = int(self.one(1, 5, 16, 30, 64)), int(self.one(1, 1, 2, 3))
        off = self.maybe(0.3)
        kwargs = {
            "max_rates": Uniform(60, 150),
            "neuron_type": self.neuron_type(),
            "label": f"e{self.rng.randint(100)}" if self.maybe(0.7) else None,
        }
        if off:
            host = (nengo.LIFRate(), nengo.PoissonSpiking(nengo.LIFRate()), nengo.Tanh(), kwargs["neuron_type"])
            kwargs["neuron_type"] = self.one(*host)
        if self.maybe(0.3):
            kwargs.update(gain=Choice([self.one(1.0, 100.0)]), bias=self.one(Uniform(0, 2), Choice([0.0]), np.zeros(n)))
        if self.maybe(0.2):
            kwargs["radius"] = 1.7
        if self.maybe(ODD):
            odd = (
                {"gain": np.ones(n)},
                {"bias": np.full(n, np.nan)},
                {"noise": nengo.processes.WhiteNoise()},
                {"encoders": np.zeros((n, d))},
                {"intercepts": Choice([1.0])},
                {"max_rates": Choice([1e5])},
                {"eval_points": np.full((3, d), np.inf)},
            )
            kwargs.update(self.one(*odd))
        try:
            ens = nengo.Ensemble(n, d, **kwargs)
        except nengo.exceptions.NengoException:
            ens = nengo.Ensemble(n, d)
        if off:
            self.net.config[ens].on_chip = False
        elif self.maybe(0.3) and n > 2:
            self.net.config[ens].block_shape = nengo_loihi.BlockShape((int(self.rng.randint(1, n)),), (n,))
        elif self.maybe(0.1):
            self.net.config[ens].on_chip = True
        return ens

    def node(self):
        d = int(self.one(1, 2, 3, 5, 16))
        if self.maybe(ODD):
            odd = (
                lambda: nengo.Node(lambda t: np.full(d, np.nan), size_out=d),
                lambda: nengo.Node(np.full(d, np.inf)),
                lambda: nengo.Node(lambda t, x: 1 / 0, size_in=d, size_out=d),
            )
            return self.one(*odd)()
        values = self.rng.uniform(-1, 1, (7, d))
        return self.one(
            lambda: nengo.Node(values[0]),
            lambda: nengo.Node(lambda t: values[int(round(t * 1000)) % 7]),
            lambda: nengo.Node(nengo.processes.PresentInput(values, 0.003)),
            lambda: nengo.Node(nengo.processes.WhiteSignal(0.1, 50, seed=1), size_out=d),
            lambda: nengo.Node(nengo.processes.WhiteNoise(scale=False), size_out=d),
            lambda: nengo.Node(size_in=d),
            lambda: nengo.Node(size_in=d),
            lambda: nengo.Node(lambda t, x: 0.5 * x, size_in=d, size_out=d),
            lambda: nengo.Node(Remembers(), size_in=d, size_out=d),
            lambda: nengo.Node(lambda t, x: None, size_in=d),
        )()

    def synapse(self):
        if self.maybe(ODD):
            return self.one(
                nengo.Alpha(0.01), nengo.LinearFilter([1], [0.1, 1]), nengo.Lowpass(1e4), nengo.synapses.Triangle(0.005)
            )
        return self.one(
            *[None] * self.maybe(0.5),
            nengo.Lowpass(0.005),
            nengo.Lowpass(0.02),
            nengo.Lowpass(0.0),
            nengo.Lowpass(0.002),
        )

    def part(self, obj, whole=0.6):
        """All of an object, or some of it by a slice, a list, an array or a mask."""
        n = max(obj.size_out, obj.size_in)
        if n < 2 or self.maybe(whole):
            return obj
        some = self.rng.choice(n, size=self.rng.randint(1, n + 1), replace=False)
        mask = np.zeros(n, dtype=bool)
        mask[some] = True
        index = self.one(slice(0, self.rng.randint(1, n + 1)), slice(None, None, -1), slice(1, n, 2), int(some[0]),
                         some.tolist(), np.sort(some), some, mask, -1)  # fmt: skip
        return obj[index]

    def end(self):
        obj = self.one(*(self.ensembles * 2 + self.nodes))
        return obj.neurons if isinstance(obj, nengo.Ensemble) and self.maybe(0.5) else obj

    def transform(self, n_in, n_out):
        w = self.rng.uniform(-0.3, 0.4, (n_out, n_in))
        if self.maybe(ODD):
            w[0, 0] = self.one(np.nan, np.inf, 1e30, 1e-30)
            return w
        sparse = scipy.sparse.coo_matrix(np.where(self.rng.rand(n_out, n_in) < 0.3, w, 0))
        kinds = [lambda: w, lambda: w, lambda: nengo.Dense((n_out, n_in), init=Uniform(-0.1, 0.2))] * 4
        kinds += [lambda: nengo.Sparse((n_out, n_in), init=sparse)]
        if n_in == n_out:
            kinds += [lambda: 0.3, lambda: w[0], lambda: nengo.transforms.NoTransform(n_in)] * 3
        if n_in == 16:
            kinds += [
                lambda: nengo.Convolution(1, (4, 4, 1), kernel_size=(2, 2)),
                lambda: nengo.Convolution(4, (4, 4, 1), strides=(2, 2)),
                lambda: nengo.Convolution(1, (1, 4, 4), channels_last=False),
                lambda: nengo.Convolution(1, (16, 1), kernel_size=(3,), strides=(1,)),
            ]
        return self.one(*kinds)()

    def connection(self):
        pre, post = self.part(self.end()), self.part(self.end(), 0.9)
        kwargs = {"synapse": self.synapse()}
        from_ensemble = isinstance(getattr(pre, "obj", pre), nengo.Ensemble)
        n_in = pre.size_out
        if from_ensemble and self.maybe(0.3):
            kwargs["function"] = self.one(np.square, np.sin, lambda x: x * 0, lambda x: np.log(x), np.abs)
        if n_in != post.size_in or self.maybe(0.6):
            kwargs["transform"] = self.transform(n_in, post.size_in)
        if from_ensemble and self.maybe(0.15):
            kwargs["solver"] = self.one(
                nengo.solvers.LstsqL2(weights=True), nengo.solvers.Lstsq(), nengo.solvers.LstsqNoise()
            )
        if self.maybe(ODD):
            kwargs["learning_rule_type"] = self.one(nengo.PES(), nengo.Voja(), nengo.BCM(), nengo.Oja())
        conn = nengo.Connection(pre, post, **kwargs)
        if conn.learning_rule_type is not None and self.maybe(0.7):
            nengo.Connection(self.one(*self.nodes), conn.learning_rule)
        if self.maybe(0.1):
            self.net.config[conn].pop_type = int(self.one(16, 32))

    def probe(self):
        if self.maybe(ODD) and self.net.connections:
            nengo.Probe(self.one(*self.net.connections), self.one("output", "weights"))
            return
        obj = self.one(*(self.ensembles + self.nodes))
        attribute = None
        if isinstance(obj, nengo.Ensemble) and self.maybe(0.6):
            obj = obj.neurons
            attribute = self.one("output", "voltage", "input", *(["refractory_time"] if self.maybe(0.2) else []))
        elif isinstance(obj, nengo.Ensemble) and self.maybe(2 * ODD):
            attribute = self.one("input", "scaled_encoders")
        every = self.one(None, None, None, 0.002, 0.0035)
        nengo.Probe(self.part(obj), attribute, synapse=self.synapse(), sample_every=every)


def chance(net):
    """Whether a run depends on a seed that nengo_loihi does not set."""
    return any(isinstance(n.output, nengo.Process) and n.output.seed is None
               and not isinstance(n.output, nengo.processes.PresentInput) for n in net.all_nodes)  # fmt: skip


class Wrong(AssertionError):
    """A property does not hold."""


def one_line(error):
    if "\n" in str(error) or not str(error):
        raise Wrong(f"not one line: {error!r}")


def attempt(call):
    """(result, None), or (None, our error)."""
    try:
        return call(), None
    except CotrainError as error:
        one_line(error)
        return None, error


def remembering(net):
    return [n for n in net.all_nodes if isinstance(n.output, Remembers)]


def forget(net):
    for node in remembering(net):
        node.output.past.clear()


def data_of(sim, net):
    return {p: np.array(sim.data[p]) for p in net.all_probes}


def compare(a, b, net, what):
    for probe in net.all_probes:
        x, y = a[probe], b[probe]
        if x.size != y.size or not np.array_equal(x.reshape(y.shape), y, equal_nan=True):
            raise Wrong(f"{what}: {probe} differs")


def examine(seed) -> str:
    """What became of one network: "ran", "refused", "board refuses", "fails in the run".

    Raises
    ------
    Wrong
        A property does not hold. Any other exception that is not ours is one that a user would see.
    """
    net = Maker(seed).net
    forget(net)
    report = hardware.check(net)
    str(report.table())
    program, not_compiled = attempt(lambda: hardware.compile_network(net))
    learns = not_compiled and "on-chip learning" in str(not_compiled)  # the chip can, the emulator cannot
    if not_compiled and report.fits and not learns:
        raise Wrong(f"check says it fits, compile_network: {not_compiled}")
    sim, refused = attempt(lambda: hardware.Simulator(net, "emulator", seed=3))
    if not_compiled and not refused:
        raise Wrong("Simulator takes what compile_network refuses")
    if refused and not not_compiled:
        raise Wrong(f"Simulator refuses what compiles: {refused}")
    if refused:
        attempt(lambda: hardware.partition(Maker(seed).net))
        reference, _ = attempt(lambda: hardware.Simulator(net, "reference", seed=3))
        if reference is None and learns:
            raise Wrong(f"the advice does not work: {refused}")
        if reference is not None:
            with reference:
                attempt(lambda: reference.run_steps(3))
        return "refused"
    with sim:
        ran, failed = attempt(lambda: sim.run_steps(N_STEPS))
        stepped = None if failed else data_of(sim, net)
        forget(net)
        predicted, also_failed = attempt(lambda: sim.predict({}, N_STEPS))
        forget(net)
    if bool(failed) != bool(also_failed):
        raise Wrong(f"run_steps and predict: {failed} / {also_failed}")
    with hardware.Simulator(net, "reference", seed=3) as reference:
        _, reference_failed = attempt(lambda: reference.run_steps(N_STEPS))
        forget(net)
        if bool(failed) != bool(reference_failed):
            raise Wrong(f"emulator and reference: {failed} / {reference_failed}")
        if not failed:
            compare(data_of(reference, net), stepped, net, "reference")
    if failed:
        return "fails in the run"
    compare({p: x[0] for p, x in predicted.items()}, stepped, net, "predict")
    passthrough = bool(sim.model.split.passthrough.to_add)
    if not chance(net) and not passthrough:
        try:
            with nengo_loihi.Simulator(net, target="sim", seed=3, progress_bar=False) as theirs:
                theirs.run_steps(N_STEPS)
                found = data_of(theirs, net)
        except Exception:  # what nengo-loihi cannot do is mended here
            found = None
        forget(net)
        if found is not None:
            compare(found, stepped, net, "nengo_loihi.Simulator")
    placed, _ = attempt(lambda: hardware.partition(net))
    if placed is not None:
        hardware.compile_network(net)
    return "ran" if report.fits else "board refuses"


def examine_all(seeds, tell=print):
    """Counts of outcomes, and the seeds whose network is not treated as it should be."""
    counts, bad = collections.Counter(), {}
    for seed in seeds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                counts[examine(seed)] += 1
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                at = f"{where.filename.split('/')[-1]}:{where.lineno}"
                bad[seed] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({at})"
                tell(f"seed {seed}: {bad[seed]}")
    return counts, bad


def main(argv):
    from fuzz.counts import write

    n, first = int(argv[0]) if argv else 1000, int(argv[1]) if len(argv) > 1 else 0
    started = time.process_time()
    counts, bad = examine_all(range(first, first + n))
    seconds = round(time.process_time() - started)
    write("networks", {"networks": n, "first_seed": first, **counts, "wrong": len(bad), "cpu_seconds": seconds})
    print(dict(counts), f"{len(bad)} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
