"""Steps of Nengo's operators on a batch: one row a sample, all rows at once where that keeps every bit.

Each function takes a `HostBatch` and an operator and gives its step, or None where the rows have to run by themselves.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

import numpy as np
from cotrain.hardware.host.neurons import count_spikes, neuron_step
from cotrain.hardware.host.products import convolution_step
from nengo.builder.neurons import SimNeurons
from nengo.builder.operator import Copy, ElementwiseInc, Reset
from nengo.builder.processes import SimProcess
from nengo.builder.transforms import GeneralConvInc
from nengo.synapses import LinearFilter


def _reset(batch, op):
    dst, value = batch.view(op.dst), op.value

    def run():
        dst[...] = value

    return run


def _copy(batch, op):
    if not all(s is None or isinstance(s, slice) for s in (op.src_slice, op.dst_slice)):
        return None
    src, dst = batch.view(op.src), batch.view(op.dst)
    if batch.plan.shared(op.dst.base):
        return None
    if op.dst_slice is not None:
        dst = dst[:, op.dst_slice]
    if op.src_slice is not None:
        src = src[op.src_slice] if batch.plan.shared(op.src.base) else src[:, op.src_slice]
    if op.inc:

        def run():
            np.add(dst, src, out=dst)

    else:

        def run():
            dst[...] = src

    return run


def _elementwise(batch, op):
    # a row of a batch broadcasts like the vector it is, unless a factor is a matrix
    shapes = {s.shape for s in (op.A, op.X, op.Y)}
    if len(op.Y.shape) != 1 or not shapes <= {(), op.Y.shape}:
        return None
    a, x, y = (_column(batch, s) for s in (op.A, op.X, op.Y))

    def run():
        np.add(y, a * x, out=y)

    return run


def _column(batch, sig):
    value = batch.view(sig)
    return value[:, None] if sig.shape == () and not batch.plan.shared(sig.base) else value


def _convolution(batch, op):
    rows = [
        (signals[op.X], signals[op.Y], convolution_step(op, signals, batch.plan.dt, batch.plan.portions[op]))
        for signals in (batch.row_signals(b, op) for b in range(batch.n))
    ]
    exact = batch.plan.exact[op]
    whole = batch.view(op.Y)

    def run():
        listed = batch.listed(op.X)
        if listed is not None and exact.add_listed(listed, whole):
            return
        for x, y, step in rows:
            if not exact.add(x, y):
                step()

    return run


def _neurons(batch, op):
    step = neuron_step(op, batch)
    label = batch.plan.neurons.get(op.output)
    output = batch.view(op.output)
    if step is None:  # a type that is not known to work element by element
        step = batch.row_by_row(op)
    if label is None:
        return step
    total, counts = batch.spikes[label], batch.counts[label]

    def run():
        step()
        count_spikes(output, total, counts)

    return run


def _process(batch, op):
    key = batch.plan.senders.get(id(op.process))
    if key is None:
        return _filter(batch, op) if isinstance(op.process, LinearFilter) else None
    source = batch.view(op.input)

    def run():
        batch.sent[key] = source

    return run


def _filter(batch, op):
    """A filter of first order, x ← a x; x ← x + b u (``LinearFilter.OneX``)."""
    if op.mode != "update" or op.input is None or len(op.input.shape) != 1:
        return None
    known = batch.plan.filters
    if op not in known:  # once: making a step solves equations
        row = batch.view(op.state["X"])[0]
        step = op.process.make_step(op.input.shape, op.output.shape, batch.plan.dt, None, {"X": row})
        known[op] = (step.a, step.b) if isinstance(step, LinearFilter.OneX) else None
    if known[op] is None:
        return None
    a, b = known[op]
    state, u, output = batch.view(op.state["X"]), batch.view(op.input), batch.view(op.output)
    x = state[:, 0]

    def run():
        np.multiply(x, a, out=x)
        np.add(x, b * u, out=x)
        output[...] = x

    return run


BATCHED: Dict[type, Callable[[Any, Any], Optional[Callable[[], None]]]] = {
    Reset: _reset,
    Copy: _copy,
    ElementwiseInc: _elementwise,
    GeneralConvInc: _convolution,
    SimNeurons: _neurons,
    SimProcess: _process,
}
