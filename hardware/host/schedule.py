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

_WORD = 64


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
    n_steps : int

    Attributes
    ----------
    bits : (n_samples, n_steps, n_words) uint64
    """

    def __init__(self, op: Any, batch: Any, n_steps: int):
        self.height = op.neurons.amplitude / batch.plan.dt
        self.output = batch.view(op.output)
        n, size = self.output.shape
        self.bits = np.zeros((n, n_steps, -(-size // _WORD)), dtype=np.uint64)
        current = np.ascontiguousarray(np.broadcast_to(batch.view(op.J), (n, size)), dtype=np.float64)
        loihi = type(op.neurons) is door.LoihiSpikingRectifiedLinear
        _spike_bits(loihi, batch.plan.dt, current, batch.view(op.state["voltage"]), self.bits)

    def play(self, t: int) -> None:
        """Write the output of step t (from 0)."""
        _play(self.bits, t, self.height, self.output)

    def count(self, total: np.ndarray, counts: np.ndarray) -> None:
        """Add the spikes of all steps to those of each sample (n,) and of each neuron (size,)."""
        _count(self.bits, total, counts)

    def lines(self, b: int) -> Any:
        """(start, lines) of a sample: ``lines[start[t] : start[t + 1]]`` spike in step t."""
        return _lines(self.bits[b])


@njit()
def _spike_bits(loihi, dt, current, voltage, bits):
    n, size = current.shape
    n_steps, n_words = bits.shape[1:]
    flat = bits.reshape(-1)
    x, v = np.empty(_WORD), np.empty(_WORD)
    for b in range(n):
        for w in range(n_words):
            silent = True
            for k in range(_WORD):
                i = _WORD * w + k
                inside = i < size
                v[k] = voltage[b, i] if inside else 0.0
                if loihi:
                    x[k] = current[b, i] * dt if inside else 0.0
                    silent = silent and not (x[k] > 0) and not (v[k] > 1)
                else:
                    x[k] = max(current[b, i], 0.0) * dt if inside else 0.0
                    silent = silent and x[k] == 0 and v[k] >= 0 and v[k] < 1
            if silent:
                continue
            at = b * n_steps * n_words + w
            if loihi:
                reset_spikes(x, v, flat, at, n_words, n_steps)
            else:
                whole_spikes(x, v, flat, at, n_words, n_steps)


@njit()
def _play(bits, t, height, output):
    for b in range(bits.shape[0]):
        for w in range(bits.shape[2]):
            word = bits[b, t - 1, w] if t > 0 else np.uint64(0)
            while word != np.uint64(0):
                output[b, _WORD * w + lowest_bit(word)] = 0.0
                word &= word - np.uint64(1)
            word = bits[b, t, w]
            while word != np.uint64(0):
                output[b, _WORD * w + lowest_bit(word)] = height
                word &= word - np.uint64(1)


@njit()
def _count(bits, total, counts):
    for b in range(bits.shape[0]):
        for t in range(bits.shape[1]):
            for w in range(bits.shape[2]):
                word = bits[b, t, w]
                total[b] += n_bits(word)
                while word != np.uint64(0):
                    counts[_WORD * w + lowest_bit(word)] += 1
                    word &= word - np.uint64(1)


@njit()
def _lines(bits):
    n_steps, n_words = bits.shape
    start = np.zeros(n_steps + 1, dtype=np.int64)
    for t in range(n_steps):
        n = 0
        for w in range(n_words):
            n += n_bits(bits[t, w])
        start[t + 1] = start[t] + n
    lines = np.empty(start[n_steps], dtype=np.int32)
    at = 0
    for t in range(n_steps):
        for w in range(n_words):
            word = bits[t, w]
            while word != np.uint64(0):
                lines[at] = _WORD * w + lowest_bit(word)
                word &= word - np.uint64(1)
                at += 1
    return start, lines
