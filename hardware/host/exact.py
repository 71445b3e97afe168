"""Sums of floats that may be taken in any order, because none of them rounds.

Spikes have one height c, so a convolution of spikes adds products c·w. Where every such product, and every sum of
them that can occur, is a multiple of one power of two and less than 2^53 times that power, float64 holds all of them
exactly; then adding only where there is a spike gives the same bits as the matrix product over all inputs. With
weights that were float32 this is nearly always so.
"""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
from cotrain.hardware.builder.convolution import axes_of
from cotrain.hardware.emulator.compiled import njit
from nengo import Convolution
from nengo.transforms import ConvolutionTranspose

_MANTISSA = 53


def lowest_bit(values: np.ndarray) -> np.ndarray:
    """Exponent of the lowest set bit of each float (of 0: a large number)."""
    values = np.asarray(values, dtype=np.float64)
    mantissa, exponent = np.frexp(values)
    integer = np.abs(mantissa * 2.0**_MANTISSA).astype(np.int64)
    _, low = np.frexp((integer & -integer).astype(np.float64))
    return np.where(values == 0, 4096, exponent - _MANTISSA + low - 1)


def sums_are_exact(weights: np.ndarray, c: float) -> bool:
    """Whether all sums of the products ``c * weights``, each used at most once, are exact in float64.

    Parameters
    ----------
    weights : (n_terms, n_sums) float array
    """
    if not np.isfinite(weights).all() or not np.isfinite(c):
        return False
    lowest = int(lowest_bit(weights).min()) + int(lowest_bit(np.array(c)))
    largest = np.abs(weights).sum(axis=0).max(initial=0.0) * abs(c) * (1 + 1e-9)
    if largest == 0:
        return True
    return -1000 < lowest < 900 and bool(largest < 2.0 ** (_MANTISSA + lowest))


class ExactConvolution:
    """A 2-D convolution of spikes, transposed or not, channels last, that visits only the spikes.

    `add` returns False where exactness is not proven; the caller then uses nengo's own operator.
    """

    def __init__(self, op: Any, weights: np.ndarray) -> None:
        conv = op.conv
        self.weights = np.ascontiguousarray(weights, dtype=np.float64)
        known = isinstance(conv, (Convolution, ConvolutionTranspose))
        self.supported = known and conv.dimensions == 2 and conv.channels_last
        self.known: Dict[float, bool] = {}
        if not self.supported:
            return
        rows, columns = axes_of(conv)
        self.rows, self.columns = rows.outputs, columns.outputs
        self.shape = np.array([columns.n_in, conv.input_shape.n_channels, columns.n_out], dtype=np.int64)

    def add(self, x: np.ndarray, y: np.ndarray) -> bool:
        """y += convolution of x, if x holds zeros and one other value only; else do nothing and return False."""
        if not self.supported:
            return False
        spikes, same = _spikes(x)
        if not spikes.size:
            return True
        c = x[spikes[0]]
        if not self._is_exact(c) or not same:
            return False
        total = np.zeros(y.size)
        _scatter(spikes, c, self.weights, self.rows, self.columns, self.shape, total)
        y += total
        return True

    def add_listed(self, listed: Any, y: np.ndarray) -> bool:
        """`add` for all samples of `schedule.ListedSpikes`, in the step where they are; y (n_samples, size)."""
        if not self.supported or not self._is_exact(listed.value):
            return False
        _scatter_listed(
            listed.start, listed.lines, listed.t, listed.value, self.weights, self.rows, self.columns, self.shape, y
        )
        return True

    def _is_exact(self, c: float) -> bool:
        if c not in self.known:
            kernel = self.weights
            self.known[c] = sums_are_exact(kernel.reshape(-1, kernel.shape[-1]), c)
        return self.known[c]


@njit()
def _scatter_listed(start, lines, t, c, kernel, rows, columns, shape, y):
    for b in range(y.shape[0]):
        spikes = lines[start[b, t] : start[b, t + 1]]
        if spikes.size:
            total = np.zeros(y.shape[1])
            _scatter(spikes, c, kernel, rows, columns, shape, total)
            for i in range(total.size):
                y[b, i] += total[i]


@njit()
def _spikes(x):
    """Indices of the values that are not zero, and whether these are all equal."""
    spikes = np.empty(x.size, dtype=np.int64)
    n, same, c = 0, True, 0.0
    for i in range(x.size):
        if x[i] != 0:
            c = x[i] if n == 0 else c
            same = same and x[i] == c
            spikes[n] = i
            n += 1
    return spikes[:n], same


@njit()
def _scatter(spikes, c, kernel, rows, columns, shape, total):
    n_columns, channels, out_columns = shape
    kr, kc, _, filters = kernel.shape
    for spike in spikes:
        channel = spike % channels
        row, column = spike // channels // n_columns, spike // channels % n_columns
        for i in range(kr):
            if rows[row, i] < 0:
                continue
            for j in range(kc):
                if columns[column, j] < 0:
                    continue
                at = (rows[row, i] * out_columns + columns[column, j]) * filters
                for f in range(filters):
                    total[at + f] += c * kernel[i, j, channel, f]
