"""Inner loops of ANN training: rates of neurons with constant input and their gradient, as vector instructions.

What one neuron does stands in the module of its kind (`pipeline.neurons`). Arrays are float32, or bfloat16 seen as
uint16, and arithmetic is float32. Nothing here or there branches on a value, calls a library or lets the compiler
approximate a division, so that the loops become vector code whose results do not depend on where in an array a neuron
lies. One thread each: Numba's own would wait for more to do on cores that TensorFlow needs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from cotrain.hardware.emulator.compiled import njit
from cotrain.pipeline.neurons.kernel_parts import TWO as _TWO
from cotrain.pipeline.neurons.kernel_parts import ZERO as _ZERO
from cotrain.pipeline.neurons.kernel_parts import load, store
from cotrain.pipeline.neurons.nengo_types import KINDS, kernel_sources
from cotrain.pipeline.training.unrolled.spikes import CHUNK

_EXACT = {"contract", "nsz"}  # what fastmath may do to a value
_SUM = {"contract", "nsz", "reassoc"}  # and to a sum


@njit(inline="always")
def outside(value: Any, low: Any, high: Any) -> Any:
    """Signed distance from the range [low, high]."""
    above, below = value - high, low - value
    return (above if above > _ZERO else _ZERO) - (below if below > _ZERO else _ZERO)


@njit(fastmath=_SUM, error_model="numpy")
def _sums(values, low, high):
    total, squares = _ZERO, _ZERO
    for i in range(values.shape[0]):
        value = load(values, i)
        distance = outside(value, low, high)
        total += value
        squares += distance * distance
    return total, squares


@functools.cache
def forward(kind: str, on_chip: bool, smoothed: bool) -> Callable:
    """``run(x, c, low, high, outputs)``: activations.

    x (n,) in units of activation. Written: outputs (n,). Returned: (2,) float32, the sums of all outputs and of their
    squared distances from the range [low, high].
    """
    value, _ = KINDS[kind].RATES[on_chip, smoothed]

    @njit(f"{kind} {on_chip} {smoothed} {kernel_sources()}", fastmath=_EXACT, error_model="numpy")
    def run(x, c, low, high, outputs):
        total, squares = 0.0, 0.0  # float64
        for first in range(0, x.shape[0], CHUNK):
            last = min(first + CHUNK, x.shape[0])
            came, out = x[first:last], outputs[first:last]
            for i in range(last - first):
                x_i = load(came, i)
                store(out, i, value(x_i, c) + (x_i - x_i))  # 0, or NaN, which log1p does not pass on
            of_chunk = _sums(out, low, high)  # still in the first-level cache
            total += of_chunk[0]
            squares += of_chunk[1]
        return np.array([total, squares], np.float32)

    return run


@functools.cache
def backward(kind: str, on_chip: bool, smoothed: bool) -> Callable:
    """``run(d_outputs, d_sums, x, outputs, c, low, high, d_x)``: the gradient of `forward`, d_x (n,), is written."""
    _, slope = KINDS[kind].RATES[on_chip, smoothed]

    @njit(f"{kind} {on_chip} {smoothed} {kernel_sources()}", fastmath=_EXACT, error_model="numpy")
    def run(d_outputs, d_sums, x, outputs, c, low, high, d_x):
        d_total, d_squares = d_sums[0], _TWO * d_sums[1]
        if d_squares == _ZERO:
            for i in range(x.shape[0]):
                store(d_x, i, (load(d_outputs, i) + d_total) * slope(load(x, i), c))
        else:
            for i in range(x.shape[0]):
                d = load(d_outputs, i) + d_total + d_squares * outside(load(outputs, i), low, high)
                store(d_x, i, d * slope(load(x, i), c))

    return run
