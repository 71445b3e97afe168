"""Neurons on the host whose input stays the same: their spikes are worked out once, for all steps.

A presented image does not change, so that a rectified neuron's spikes follow from one float. The floats are those that
the step functions in `neurons` would go through, in the same order, only that they stay in registers of the processor
from the first step to the last, and spikes are kept as bits. Where the chip's input is all that such spikes are for,
nothing of the host is left to be run in a step.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Set

import nengo
import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.emulator.compiled import njit
from cotrain.hardware.emulator.vectors import lowest_bit, n_bits, reset_spikes, whole_spikes
from nengo.builder.neurons import SimNeurons
from nengo.builder.operator import Copy, Reset
from nengo.builder.processes import SimProcess

WORD = 64


class Schedule:
    """What of a `HostPlan` can be known in advance.

    Parameters
    ----------
    plan : HostPlan
    pure : tuple of types
        Operators that only compute signals from signals.

    Attributes
    ----------
    neurons : set of SimNeurons
        Operators of which the spikes are worked out for all steps at once.
    direct : dict of {key of a sender: SimNeurons}
        Senders that send these spikes as they are.
    needed : set of operators
        That have to be run in every step, or else in none.
    """

    def __init__(self, plan: Any, pure: tuple):
        self.plan, self._pure = plan, pure
        self._at = {op: k for k, op in enumerate(plan.order)}
        self._writers: Dict[Any, List[Any]] = {}
        self._readers: Dict[Any, List[Any]] = {}
        for op in plan.order:
            for s in {s.base for s in op.sets + op.incs + op.updates}:
                self._writers.setdefault(s, []).append(op)
            for s in {s.base for s in op.reads}:
                self._readers.setdefault(s, []).append(op)
        self._probed = {plan.model.sig[probe]["in"].base for probe in plan.model.probes}
        self.neurons: Set[Any] = {op for op in plan.order if self._is_steady(op)}
        self.direct: Dict[Any, Any] = {}
        self._find()
        # of the type that spikes more than once in a step, only the steps are known, not the sizes
        sizes_count = {op for op in self.neurons & self.needed if type(op.neurons) is nengo.SpikingRectifiedLinear}
        if sizes_count:
            self.neurons -= sizes_count
            self._find()

    def _find(self):
        self.direct = {}
        for op in self.plan.order:
            key = self.plan.senders.get(id(op.process)) if isinstance(op, SimProcess) else None
            source = None if key is None else self._source(op)
            if source is not None:
                self.direct[key] = source
        self.needed: Set[Any] = self._what_is_needed()

    def _is_steady(self, op) -> bool:
        if not isinstance(op, SimNeurons) or type(op.neurons) not in (
            nengo.SpikingRectifiedLinear,
            door.LoihiSpikingRectifiedLinear,
        ):
            return False
        signals = [op.J, op.output, *op.state.values()]
        if op.state_extra or list(op.state) != ["voltage"] or op.J.base not in self.plan.constant:
            return False
        if any(s is not s.base or s.ndim != 1 or s.dtype != np.float64 for s in signals[1:]):
            return False
        voltage = op.state["voltage"]
        return (
            self._writers[op.output] == [op]
            and self._writers[voltage] == [op]
            and not self._readers.get(voltage)
            and voltage not in self._probed
        )

    def _source(self, sender) -> Optional[Any]:
        """The steady neurons whose output a sender gets unchanged, in the same step."""
        signal, before = sender.input, self._at[sender]
        while signal is signal.base:
            writers = self._writers.get(signal, [])
            if any(self._at[op] > before for op in writers):
                return None
            if len(writers) == 1 and writers[0] in self.neurons:
                return writers[0] if signal is writers[0].output else None
            copies = [op for op in writers if isinstance(op, Copy)]
            resets = [op for op in writers if isinstance(op, Reset)]
            if len(copies) != 1 or len(copies) + len(resets) != len(writers) or len(resets) > 1:
                return None
            copied = copies[0]
            if copied.dst is not signal or copied.src_slice is not None or copied.dst_slice is not None:
                return None
            zero = [op for op in resets if op.dst is signal and op.value == 0 and self._at[op] < self._at[copied]]
            if len(zero) != len(resets) or (copied.inc and not zero) or copied.src.shape != signal.shape:
                return None
            signal, before = copied.src, self._at[copied]
        return None

    def _what_is_needed(self) -> Set[Any]:
        direct = {
            op
            for op in self.plan.order
            if isinstance(op, SimProcess) and self.plan.senders.get(id(op.process)) in self.direct
        }
        found: Set[Any] = set()
        waiting = [op for op in self.plan.order if not isinstance(op, self._pure) and op not in self.neurons | direct]
        bases = list(self._probed)
        while waiting or bases:
            if waiting:
                op = waiting.pop()
                if op not in found:
                    found.add(op)
                    bases.extend({s.base for s in op.all_signals})
            else:
                waiting.extend(op for op in self._writers.get(bases.pop(), []) if op not in found)
        return found


class Spikes:
    """The spikes of steady neurons in all steps of a batch.

    Parameters
    ----------
    op : SimNeurons
    batch : HostBatch
        Of which the first step has come to this operator.
    bits : (n_words, n_steps) uint64
        Written over.
    total, counts : (n_samples,) int64, (size,) int64
        Added to: spikes of each sample, and of each neuron.

    Attributes
    ----------
    lists : list of (start, lines)
        Of each sample: ``lines[start[t] : start[t + 1]]`` spike in step t (from 0).
    """

    def __init__(self, op: Any, batch: Any, bits: np.ndarray, total: np.ndarray, counts: np.ndarray):
        self.height = op.neurons.amplitude / batch.plan.dt
        self.output = batch.view(op.output)
        n, size = self.output.shape
        current = np.broadcast_to(batch.view(op.J), (n, size))
        voltage = batch.view(op.state["voltage"])
        loihi = type(op.neurons) is door.LoihiSpikingRectifiedLinear
        self.lists: List[Any] = []
        for b in range(n):
            _spike_bits(loihi, batch.plan.dt, np.ascontiguousarray(current[b]), voltage[b], bits)
            self.lists.append(_lists(bits, counts))
            total[b] += self.lists[-1][0][-1]

    def play(self, t: int) -> None:
        """Write the output of step t (from 0)."""
        for row, (start, lines) in zip(self.output, self.lists):
            if t > 0:
                row[lines[start[t - 1] : start[t]]] = 0.0
            row[lines[start[t] : start[t + 1]]] = self.height


class ListedSpikes:
    """A signal of a batch that is zero but for spikes of one value, all known in advance.

    Parameters
    ----------
    signal : (n_samples, size) array
        It will hold each step's spikes, for whoever reads it.
    lists : list of (start, lines)
        As of `Spikes`.
    value : float
        Of a spike.
    """

    def __init__(self, signal: np.ndarray, lists: List[Any], value: float):
        self.signal, self.value, self.t = signal, value, -1
        signal[...] = 0.0
        first = np.cumsum([0] + [len(lines) for _, lines in lists])
        self.start = np.stack([start + at for (start, _), at in zip(lists, first)])
        self.lines = np.concatenate([lines for _, lines in lists])

    def write(self, t: int) -> None:
        """Go on to step t."""
        if t != self.t:
            _move(self.start, self.lines, self.t, t, self.value, self.signal)
            self.t = t


@njit()
def _move(start, lines, before, now, value, signal):
    for b in range(signal.shape[0]):
        if before >= 0:
            for k in range(start[b, before], start[b, before + 1]):
                signal[b, lines[k]] = 0.0
        for k in range(start[b, now], start[b, now + 1]):
            signal[b, lines[k]] = value


@njit()
def _spike_bits(loihi, dt, current, voltage, bits):
    """Write the spikes of one sample, (n_words, n_steps)."""
    size = current.size
    n_words, n_steps = bits.shape
    flat = bits.reshape(-1)
    x, v = np.empty(WORD), np.empty(WORD)
    for w in range(n_words):
        silent = True
        for k in range(WORD):
            i = WORD * w + k
            inside = i < size
            v[k] = voltage[i] if inside else 0.0
            if loihi:
                x[k] = current[i] * dt if inside else 0.0
                silent = silent and not (x[k] > 0) and not (v[k] > 1)
            else:
                x[k] = max(current[i], 0.0) * dt if inside else 0.0
                silent = silent and x[k] == 0 and v[k] >= 0 and v[k] < 1
        if silent:
            bits[w] = 0
        elif loihi:
            reset_spikes(x, v, flat, w * n_steps, 1, n_steps)
        else:
            whole_spikes(x, v, flat, w * n_steps, 1, n_steps)


@njit()
def _lists(bits, counts):
    """(start, lines) of one sample's bits; counts are added to."""
    n_words, n_steps = bits.shape
    start = np.zeros(n_steps + 1, dtype=np.int64)
    for w in range(n_words):
        for t in range(n_steps):
            start[t + 1] += n_bits(bits[w, t])
    start = np.cumsum(start)
    lines, at = np.empty(start[n_steps], dtype=np.int32), start.copy()
    for w in range(n_words):
        for t in range(n_steps):
            word, k = bits[w, t], at[t]
            while word != np.uint64(0):
                line = WORD * w + lowest_bit(word)
                word &= word - np.uint64(1)
                lines[k] = line
                counts[line] += 1
                k += 1
            at[t] = k
    return start, lines
