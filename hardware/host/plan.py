"""The parts that stay on the host: what turns inputs into spikes, and spikes into outputs, for a batch of samples.

nengo-loihi leaves two ordinary Nengo models, run by `nengo.Simulator`. Here the same operators run in the same order on
arrays that hold one row per sample. Three rules keep every bit:

- operators that work element by element are applied to the whole batch (NumPy's result does not depend on the place);
- products (dense, sparse, convolution), whose order of summation is part of the result, are the same NumPy and SciPy
  calls, sample by sample, unless it is proven that no sum rounds (`exact`);
- everything else (user functions, processes, filters) runs through the operator's own step function on the sample's
  row.

What does not change over a presentation, such as the first layer's current of a constant image, is computed in the
first step only.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import numpy as np
from cotrain.hardware.host import products
from cotrain.hardware.host.batched import BATCHED
from cotrain.hardware.host.exact import ExactConvolution
from cotrain.hardware.host.operators import failure, remembers, rng_of, with_copy
from cotrain.hardware.host.schedule import WORD, ListedSpikes, Schedule, Spikes
from nengo.builder.operator import Copy, DotInc, ElementwiseInc, Reset, SparseDotInc, TimeUpdate
from nengo.builder.probe import SimProbe
from nengo.builder.processes import SimProcess
from nengo.builder.signal import SignalDict
from nengo.builder.transforms import GeneralConvInc

_PURE = (Reset, Copy, ElementwiseInc, DotInc, SparseDotInc, GeneralConvInc)


class HostPlan:
    """What is common to all batches of one host model.

    Parameters
    ----------
    sim : nengo.Simulator
        Its model, order of operators and initial signals are used; it is not run.
    feeds : dict of {Signal: bool}
        Signals that are given from outside (input nodes, and the nodes that receive from the chip), and whether they
        stay the same over a presentation.
    senders : dict of {id of a process: key}
        The nodes that send to the chip.
    neurons : dict of {Signal: label}
        Outputs of spiking neurons to be counted.
    """

    def __init__(self, sim: Any, feeds: Any, senders: Any, neurons: Any):
        self.sim, self.model, self.dt = sim, sim.model, sim.model.dt
        self.feeds, self.senders, self.neurons = feeds, senders, neurons
        self.order = [op for op in sim.step_order if not isinstance(op, (SimProbe, TimeUpdate))]
        self.fed = fed = {sig.base for sig in feeds}
        self.order = [op for op in self.order if not any(s.base in fed for s in op.sets)]
        self.time_ops = [op for op in sim.step_order if isinstance(op, TimeUpdate)]
        self._shared: Dict[object, bool] = {}
        self.constant = self._constant_signals()
        self.once = [op for op in self.order if self._is_constant(op)]
        self.remembering = [op for op in self.order if remembers(op)]
        self.schedule = Schedule(self, _PURE)
        self.alias: Dict[object, object] = {}  # base signals that are copies, and what of
        self.elided: set = set()  # the operators that copy them
        self._find_copies()
        convolutions = [op for op in self.order if isinstance(op, GeneralConvInc)]
        self.exact = {op: ExactConvolution(op, sim.signals[op.W]) for op in convolutions}
        self.portions = {op: products.portion(op) for op in convolutions}
        self.filters: Dict[object, Any] = {}  # of operators: see `batched`

    def _is_constant(self, op):
        return isinstance(op, _PURE) and all(s.base in self.constant for s in op.incs + op.sets)

    def _constant_signals(self):
        """Base signals that have the same value in every step, by elimination."""
        constant = {sig.base for op in self.order for sig in op.all_signals}
        constant -= {sig.base for sig, same in self.feeds.items() if not same}
        for op in self.time_ops:
            constant -= {sig.base for sig in op.all_signals}
        changed = True
        while changed:
            changed = False
            for op in self.order:
                reads_constant = all(s.base in constant for s in op.reads)
                if isinstance(op, _PURE) and reads_constant and not op.updates:
                    outputs = [s.base for s in op.sets + op.incs]
                    if all(o in constant for o in outputs):
                        continue
                for s in op.sets + op.incs + op.updates:
                    if s.base in constant:
                        constant.discard(s.base)
                        changed = True
        return constant

    def _find_copies(self):
        """Signals that hold nothing but another one, from the moment they are written: one array serves both."""
        at = {op: k for k, op in enumerate(self.order)}
        writers: Dict[object, list] = {}
        readers: Dict[object, list] = {}
        for op in self.order:
            for s in op.sets + op.incs + op.updates:
                writers.setdefault(s.base, []).append(op)
            for s in op.reads:
                readers.setdefault(s.base, []).append(op)
        for op in self.order:
            if not isinstance(op, Copy) or op.src_slice is not None or op.dst_slice is not None:
                continue
            src, dst = op.src, op.dst
            kinds = [(s.shape, s.dtype, s is s.base, self.shared(s.base)) for s in (src, dst)]
            if kinds[0] != kinds[1] or kinds[0][2:] != (True, False) or dst in self.fed:
                continue
            resets = [w for w in writers[dst] if w is not op]
            zero = all(isinstance(w, Reset) and w.dst is dst and w.value == 0 and at[w] < at[op] for w in resets)
            if not zero or len(resets) != int(op.inc) or writers[dst].count(op) != 1:
                continue
            if all(at[w] < at[op] for w in writers.get(src, [])) and all(at[r] > at[op] for r in readers.get(dst, [])):
                self.alias[dst] = self.alias.get(src, src)
                self.elided.update([op, *resets])

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be run after the first step."""
        return not self.schedule.needed and not self.model.probes

    @property
    def repeatable(self) -> bool:
        """Whether running all operators again gives the same: nothing is added to that was not set before."""
        known: set = set()
        for op in self.order:
            if any(s.base not in known for s in op.incs):
                return False
            known.update(s for s in op.sets if s is s.base)
        return True

    def row_bytes(self) -> int:
        """Memory of one sample."""
        bases = {s.base for op in self.sim.step_order for s in op.all_signals} - set(self.alias)
        return sum(base.nbytes for base in bases if not self.shared(base))

    def shared(self, base: Any) -> bool:
        """Whether all samples use one array, that of the simulator (weights)."""
        if base not in self._shared:
            self._shared[base] = base.sparse or (base.readonly and base not in self.fed)
        return self._shared[base]


class HostBatch:
    """The state of `n` samples on the host, from rest.

    Parameters
    ----------
    plan : HostPlan
    n : int
    seed : int or list of int
        Of what the network leaves to chance; every sample draws the same.
    remembered : list of dict
        For each sample, the copies of `remembered_by` that its operators shall use.
    n_steps : int, optional
        How many steps there will be; then what can be known of them in advance is (`schedule`).

    Attributes
    ----------
    sent : dict of {key: (n, size) array}
        What the sending nodes got in the step just done.
    direct : dict of {key: Spikes}
        What the other sending nodes get in all steps, after the first one.
    counts : dict of {label: (n_neurons,) int64}
        Spikes of each neuron of the host's ensembles, over samples and steps.
    spikes : dict of {label: (n,) int64}
        Spikes of each sample.
    """

    def __init__(self, plan: HostPlan, n: int, seed: Any = 0, remembered: Any = None, n_steps: Optional[int] = None):
        self.plan, self.n, self.t, self.n_steps = plan, n, 0, n_steps
        self.direct: Dict[object, Spikes] = {}
        self._listed: Dict[object, ListedSpikes] = {}
        self.sent: Dict[object, np.ndarray] = {}
        self.spikes = {label: np.zeros(n, dtype=np.int64) for label in plan.neurons.values()}
        self.counts = {label: np.zeros(sig.shape, dtype=np.int64) for sig, label in plan.neurons.items()}
        self._bases: Dict[object, np.ndarray] = {}
        self._rngs = [np.random.RandomState(seed) for _ in range(n)] if self._draws() else [None] * n
        self._remembered = remembered or [{}] * n
        self._time = [(self.view(op.step), self.view(op.time)) for op in plan.time_ops]
        first, every = [], []
        once = set(plan.once)
        schedule = plan.schedule
        for op in plan.order:
            if op in plan.elided:
                continue
            needed = op in schedule.needed
            if n_steps is not None and op in schedule.neurons:
                step = self._scheduled(op, needed)
            elif n_steps is None or needed or op in once:
                step = self._step(op)
            else:
                continue
            first.append(step)
            if op not in once and (n_steps is None or needed):
                every.append(step)
        self._first, self._every = first, every
        self._probes = {probe: self.view(plan.model.sig[probe]["in"]) for probe in plan.model.probes}

    def again(self) -> None:
        """Go back to the beginning, for other samples; of an `idle` plan that is `repeatable` only."""
        self.t, self.direct = 0, {}
        for values in (*self.spikes.values(), *self.counts.values()):
            values[...] = 0

    def view(self, sig: Any) -> np.ndarray:
        """(n, ...) values of a signal; of read-only signals the shared array itself."""
        base: Any = sig.base
        if self.plan.shared(base):
            return self.plan.sim.signals[sig]
        base = self.plan.alias.get(base, base)
        if base not in self._bases:
            start = np.asarray(base.initial_value)
            array = np.empty((self.n,) + start.shape, dtype=start.dtype)
            array[...] = start
            self._bases[base] = array
        array = self._bases[base]
        if sig is sig.base:
            return array
        strides = (array.strides[0],) + sig.strides
        return np.ndarray((self.n,) + sig.shape, array.dtype, array, sig.offset, strides)

    def receive(self, sig: Any, lists: List[Any], value: float) -> ListedSpikes:
        """Let a signal be spikes of one value that are known in advance; see `ListedSpikes`."""
        listed = ListedSpikes(self.view(sig), lists, value)
        self._listed[self.plan.alias.get(sig, sig)] = listed
        return listed

    def listed(self, sig: Any) -> Optional[ListedSpikes]:
        """What a whole signal was given by `receive`, if it was."""
        return self._listed.get(self.plan.alias.get(sig, sig))

    def feed(self, sig: Any, values: np.ndarray) -> None:
        self.view(sig)[...] = values

    def step(self) -> None:
        """One time step of the host model."""
        self.t += 1
        for step, time in self._time:
            step[...] = self.t
            time[...] = self.t * self.plan.dt
        with np.errstate(invalid="raise", divide="ignore"):  # as nengo.Simulator.step
            for run in self._first if self.t == 1 else self._every:
                run()

    def probed(self, probe: Any) -> Optional[np.ndarray]:
        """(n, size) values of a probe in this step, None where it takes no sample."""
        if probe.sample_every is not None and not self.t % (probe.sample_every / self.plan.dt) < 1:
            return None
        return self._probes[probe]

    # --- one operator

    def _step(self, op):
        for kind, make in BATCHED.items():
            if isinstance(op, kind):
                step = make(self, op)
                if step is not None:
                    return step
        return self.row_by_row(op)

    def _scheduled(self, op, needed):
        """Work out all spikes in the first step; play them where their values are needed."""
        plan = self.plan
        label = plan.neurons.get(op.output)
        spikes: Optional[Spikes] = None
        bits = np.empty((-(-op.output.size // WORD), self.n_steps), dtype=np.uint64)

        def run():
            nonlocal spikes
            if self.t == 1:
                unknown = np.zeros(self.n, dtype=np.int64), np.zeros(op.output.size, dtype=np.int64)
                total, counts = unknown if label is None else (self.spikes[label], self.counts[label])
                spikes = Spikes(op, self, bits, total, counts)
                self.direct.update({key: spikes for key, source in plan.schedule.direct.items() if source is op})
            if needed:
                spikes.play(self.t - 1)

        return run

    def row_signals(self, b: int, op: Any) -> SignalDict:
        signals = SignalDict()
        for sig in op.all_signals:
            value = self.view(sig)
            dict.__setitem__(signals, sig, value if self.plan.shared(sig.base) else value[b, ...])
        return signals

    def row_by_row(self, op: Any) -> Callable[[], None]:
        """The operator's own step function, on views of each sample's row."""
        plan = self.plan
        steps = []
        for b in range(self.n):
            mine = with_copy(op, self._remembered[b].get(op))
            steps.append(mine.make_step(self.row_signals(b, op), plan.dt, rng_of(op, self._rngs[b])))

        def run():
            try:
                for step in steps:
                    step()
            except Exception as error:
                raise failure(op, plan.model, error) from error

        return run

    def _draws(self):
        """Whether any operator may draw a random number."""
        return any(isinstance(op, SimProcess) and rng_of(op, self) is self for op in self.plan.order)
