"""`Simulator`: nengo_loihi.Simulator's calls and NengoDL's ``predict``, on the target that is asked for."""

from __future__ import annotations

import threading
from typing import Any, Dict, Mapping, Optional

import nengo
import numpy as np
from cotrain.hardware.builder import arguments, door
from cotrain.hardware.compiler.compile import program_from_model
from cotrain.hardware.emulator.emulator import Emulator, warm_up
from cotrain.hardware.errors import InputError, MissingError, UnsupportedError
from cotrain.hardware.host.copies import Copies
from cotrain.hardware.host.operators import owner, remember, remembered_by, remembers
from cotrain.hardware.placement.cores import DT_S, LoweredNetwork, Network, as_lowered
from cotrain.hardware.progress import Progress
from cotrain.hardware.simulator.interface import FastInterface
from cotrain.hardware.simulator.links import built_simulator, host_links, learned_weights, reference_interface
from cotrain.hardware.simulator.predict import BatchRunner
from cotrain.hardware.simulator.recording import CHUNK_STEPS, check_recordings, sampled
from cotrain.hardware.simulator.results import Stats, chip_stats
from nengo.exceptions import SimulatorClosed

TARGETS = ("emulator", "reference", "loihi")


class ClosedError(InputError, SimulatorClosed):
    """A simulator is used after it was closed."""


class Simulator:
    """Run a network on Loihi or on an emulator of it.

    Parameters
    ----------
    net : nengo.Network or LoweredNetwork
        One that was lowered (`hardware.lower`) is not built again; it serves one open simulator at a time.
    target : {"emulator", "reference", "loihi"}
        The fast emulator, nengo-loihi's own, or the board (needs NxSDK). All three run the same integers.
    seed : int
        Of the chip's noise (the network's own seed decides everything that is built).
    progress : bool
        Show progress and the time left during `predict`, on stderr.
    dt_s : float
        Step length in seconds.
    remove_passthrough : bool
        As in `nengo_loihi.Simulator`.
    threads : int, optional
        Cores used by `predict`; all by default.

    Attributes
    ----------
    data : mapping {nengo.Probe: (n_steps, size) array}
        What probes recorded during `run` and `run_steps`.
    stats : Stats
        Spikes, synaptic operations and overflows of the last `predict` or since the start of `run_steps` (target
        "emulator").
    program : Program
        The compiled network (target "emulator").

    Raises
    ------
    UnsupportedError
        On-chip learning with target "emulator", or what nengo-loihi lacks.
    MisfitError
        A block is larger than a core, or has no integer form.
    InputError
        A value or function of the network is wrong.
    MissingError
        Target "loihi" without NxSDK.
    """

    def __init__(
        self,
        net: Network,
        target: str,
        seed: int = 0,
        progress: bool = False,
        *,
        dt_s: float = DT_S,
        remove_passthrough: bool = True,
        threads: Optional[int] = None,
    ):
        self.closed = True
        if target not in TARGETS:
            raise InputError(f"target {target!r}: choose one of {', '.join(TARGETS)}")
        if not isinstance(net, (nengo.Network, LoweredNetwork)):
            raise InputError(f"network: expected a nengo.Network, got {type(net).__name__}")
        seed = arguments.seed(seed)
        dt_s = net.dt_s if isinstance(net, LoweredNetwork) and dt_s == DT_S else arguments.step_length(dt_s)
        if threads is not None:
            threads = arguments.whole_number("threads", threads, 1)
        if target == "loihi" and not door.hardware.HAS_NXSDK:
            raise MissingError("target 'loihi' needs Intel's NxSDK, which is not installed; use target='emulator'")
        self.net = net.net if isinstance(net, LoweredNetwork) else net
        self.target, self.seed, self.progress, self.threads = target, seed, progress, threads
        self.program = self.emulator = None
        compiling = threading.Thread(target=warm_up)
        if target == "emulator":
            compiling.start()
        try:
            self._lowered = as_lowered(net, dt_s, remove_passthrough, look=False)
            self._sim = built_simulator(self._lowered, seed, target)
        finally:
            if target == "emulator":
                compiling.join()
        if target == "emulator":
            try:
                self.program = program_from_model(self._sim.model)
                self.emulator = Emulator(self.program)
            except BaseException:
                self._sim.close()
                raise
        if target != "loihi":
            self._start_over()
        self._runners: Dict[tuple, BatchRunner] = {}
        self._stats: Optional[Stats] = None
        self.closed = False

    # --- nengo_loihi.Simulator's calls

    def __enter__(self) -> Simulator:
        self._open()
        self._sim.__enter__()
        return self

    def __exit__(self, exc_type, exc_value, traceback) -> None:
        self._sim.__exit__(exc_type, exc_value, traceback)
        self._runners.clear()
        self.closed = True

    def close(self) -> None:
        """Free what the simulator holds; `data` and `stats` stay."""
        self._sim.close()
        self._runners.clear()
        self.closed = True

    @property
    def data(self) -> Any:
        return self._sim.data

    @property
    def model(self) -> Any:
        """The built `nengo_loihi.builder.Model`."""
        return self._sim.model

    @property
    def dt(self) -> float:
        return self._sim.dt

    @property
    def n_steps(self) -> int:
        return self._sim.n_steps

    @property
    def time(self) -> float:
        return self._sim.time

    def run(self, time_in_seconds: float) -> None:
        """Simulate for a length of time, rounded to whole steps.

        Raises
        ------
        InputError
            As `run_steps`; the time is negative, or no number.
        """
        self._open()
        seconds = arguments.positive_seconds("run", time_in_seconds, allow_zero=True)
        steps = int(np.round(seconds / self.dt))
        if steps:
            self.run_steps(steps)
        else:
            self._sim.run(seconds)  # warns, as nengo does

    def run_steps(self, steps: int) -> None:
        """Simulate for a number of steps; probes continue in `data`.

        Raises
        ------
        InputError
            Not a whole number of at least 1, or more steps than probes can record in memory.
        """
        self._open()
        steps = arguments.whole_number("run_steps", steps, 1, arguments.MAX_STEPS)
        check_recordings(self.net.all_probes, steps, self.dt)
        self._stats = None
        while steps:
            n = steps if self.target == "loihi" else min(steps, CHUNK_STEPS)
            self._sim.run_steps(n)
            steps -= n

    def step(self) -> None:
        """Simulate one step."""
        self.run_steps(1)

    def trange(self, sample_every: Optional[float] = None) -> np.ndarray:
        """Times of the recorded steps, in seconds."""
        if sample_every is not None:
            arguments.positive_seconds("sample_every", sample_every)
        return self._sim.trange(sample_every=sample_every)

    def clear_probes(self) -> None:
        """Forget what `data` holds."""
        self._open()
        self._sim.clear_probes()

    def reset(self) -> None:
        """Go back to the state of a new simulator. (nengo_loihi.Simulator does not have this.)"""
        self._open()
        if self.target == "loihi":
            raise UnsupportedError("reset: the board cannot be reset; make a new Simulator")
        self._start_over()
        self._stats = None

    def _open(self) -> None:
        if self.closed:
            raise ClosedError("the simulator is closed; make a new one")

    def _start_over(self) -> None:
        if self.target == "emulator":
            interface = FastInterface(self._sim.model, self.seed, self.emulator)
        else:
            interface = reference_interface(self._sim, self.seed)
        self._sim.start_over(interface)

    @property
    def stats(self) -> Stats:
        if self.target != "emulator":
            raise UnsupportedError(f"stats: target {self.target!r} does not count; use target='emulator'")
        if self._stats is None:
            chip = self._sim.sims["emulator"]
            assert self.emulator is not None
            self._stats = chip_stats(
                self.emulator, chip.n_spikes[None], chip.n_synops[None], chip.overflows.sum(axis=1), chip.counts,
                max(chip.input_spikes.values(), default=0), {}, {},
            )  # fmt: skip
        return self._stats

    # --- NengoDL's

    def predict(
        self, inputs: Dict[nengo.Node, np.ndarray], n_steps: int, last_steps: Optional[int] = None
    ) -> Dict[nengo.Probe, np.ndarray]:
        """Run many samples, each from rest.

        Parameters
        ----------
        inputs : dict of {nengo.Node: array}
            (n_samples, n_steps, size), or (n_samples, 1, size) for values that stay the same. Nodes without values
            keep their own output.
        n_steps : int
        last_steps : int, optional
            Keep only this many steps at the end; all by default.

        Returns
        -------
        dict of {nengo.Probe: (n_samples, n_steps, size) array}
            For each sample, to the last bit, what a fresh nengo_loihi.Simulator returns for that input. Functions and
            processes of nodes that remember something are copied for each sample, as they are now; the user's own do
            not run. Probes with ``sample_every`` have fewer steps.

        Raises
        ------
        InputError
            A node, shape, type or value that is not allowed; a result too large for memory; a function that fails.
        UnsupportedError
            What a node remembers cannot be copied for each sample.
        """
        self._open()
        n_steps = arguments.whole_number("n_steps", n_steps, 1)
        if last_steps is not None:
            last_steps = arguments.whole_number("last_steps", last_steps, 1, n_steps)
        values = _checked(self.net, inputs, n_steps)
        n_samples = len(next(iter(values.values()))) if values else 1
        bar = Progress(f"samples on the {self.target}", n_samples, short=True) if self.progress else None
        try:
            return self._predict(values, n_samples, n_steps, last_steps, bar)
        finally:
            if bar is not None:
                bar.close()

    def _predict(self, values, n_samples, n_steps, last_steps, bar):
        if self.target == "emulator":
            runner = self._runner(values)
            out, self._stats = runner.run(
                values, n_samples, n_steps, last_steps, self.net.all_probes, bar, self.threads
            )
            return out
        if self.target == "loihi":
            raise UnsupportedError("predict: the board runs one sample at a time; use run_steps")
        return self._predict_reference(values, n_samples, n_steps, last_steps, bar)

    def _runner(self, values) -> BatchRunner:
        key = tuple((id(node), x.shape[1] == 1) for node, x in values.items())
        if key not in self._runners:
            links = host_links(self._sim)
            feeds = {node: x.shape[1] == 1 for node, x in values.items()}
            for node in feeds:
                if not any(s is not None and node in s.model.params for s in (links.host_pre, links.host)):
                    raise InputError(f"{node}: reaches neither the chip nor a probe; it cannot be given")
            labels = {e: name for e, name in self._lowered.names.host.items() if e.neuron_type.spiking}
            assert self.emulator is not None
            self._runners[key] = BatchRunner(self.emulator, links, feeds, labels, self.seed, self._sim.random_states)
        return self._runners[key]

    def _predict_reference(self, values, n_samples, n_steps, last_steps, bar):
        sim = self._sim
        learned = learned_weights(sim.model)
        initial = [w.copy() for w in learned]
        out = {}
        ops = [(owner(op, h.model), op) for h in sim.hosts for op in h.step_order if remembers(op)]
        mine = [remembered_by(op, sim.random_states) for _, op in ops]
        copies = Copies([(name, kept) for (name, _), kept in zip(ops, mine)])
        try:
            for i in range(n_samples):
                for w, start in zip(learned, initial):
                    w[...] = start
                for (_, op), kept in zip(ops, copies.fresh()):
                    remember(op, kept)
                sim.start_over(reference_interface(sim, self.seed))
                for node, x in values.items():
                    _feed(sim, node, x[i])
                sim.run_steps(n_steps)
                first_kept = n_steps - (last_steps or n_steps)
                for probe in self.net.all_probes:
                    recorded = np.flatnonzero(sampled(np.arange(1, n_steps + 1), probe.sample_every, sim.dt))
                    data = np.array(sim.data[probe]).reshape(len(recorded), probe.size_in)
                    out.setdefault(probe, []).append(data[recorded >= first_kept])
                if bar is not None:
                    bar.advance()
        finally:
            for (_, op), kept in zip(ops, mine):
                remember(op, kept)
            for w, start in zip(learned, initial):
                w[...] = start
            sim.start_over(reference_interface(sim, self.seed))
        copies.check_shared()
        return {probe: np.stack(samples) for probe, samples in out.items()}


def _feed(sim, node, values) -> None:
    """Let a node of a `nengo_loihi.Simulator` that was just made fresh output `values` (1 or n_steps, size)."""
    for host in (sim.sims.get("host_pre"), sim.sims.get("host")):
        if host is not None and node in host.model.params:
            sig = host.model.sig[node]["out"]
            kept = [f for f, op in zip(host._steps, host.step_order) if sig.base not in {s.base for s in op.sets}]
            host._steps = [_writer(host.signals[sig], values)] + kept


def _writer(target, values):
    target.setflags(write=True)
    rows = iter(values)

    def write():
        row = next(rows, None)
        if row is not None:
            target[...] = row

    return write


def _checked(net, inputs, n_steps) -> Dict[nengo.Node, np.ndarray]:
    """Inputs as float64 arrays."""
    nodes = set(net.all_nodes)
    values, n_samples = {}, None
    if not isinstance(inputs, Mapping):
        raise InputError(f"inputs: expected a dictionary {{node: values}}, got {type(inputs).__name__}")
    for node, x in inputs.items():
        if node not in nodes:
            raise InputError(f"{node}: not a node of this network; give one of {', '.join(map(str, net.all_nodes))}")
        if any(conn.post_obj is node for conn in net.all_connections):
            raise InputError(f"{node}: gets its values from connections; give a node without incoming connections")
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise InputError(f"{node}: expected an array of numbers ({error})") from error
        if x.dtype.kind not in "fiub":
            raise InputError(f"{node}: expected numbers, got dtype {x.dtype}")
        steps = f"1 or {n_steps}" if n_steps > 1 else "1"
        if x.ndim != 3 or x.shape[1] not in (1, n_steps) or x.shape[2] != node.size_out:
            raise InputError(f"{node}: expected shape (n_samples, {steps}, {node.size_out}), got {x.shape}")
        if n_samples is not None and len(x) != n_samples:
            raise InputError(f"{node}: {len(x)} samples, but {n_samples} for the other inputs")
        if len(x) == 0:
            raise InputError(f"{node}: no samples")
        x = x.astype(np.float64)
        if not np.isfinite(x).all():
            bad = np.argwhere(~np.isfinite(x))[0]
            raise InputError(f"{node}: value {x[tuple(bad)]} in sample {bad[0]}, step {bad[1]}, element {bad[2]}")
        values[node], n_samples = x, len(x)
    return values
