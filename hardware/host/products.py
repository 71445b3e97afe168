"""Convolutions on the host in portions for which BLAS wakes no threads of its own.

OpenBLAS spreads a larger product over all cores. Its threads then wait for the next product in a loop that keeps a core
busy for a tenth of a second, which `predict` has given to threads of its own: with two of them on two cores a third of
the time was lost to that loop (measured). In portions of rows each entry is the same sum in the same order, unless the
library cuts long sums otherwise; so each shape is tried on random numbers first, and where a bit differs, or for what
is not known here, Nengo's own step is taken.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np
from cotrain.hardware.builder.convolution import axes_of
from nengo import Convolution

ONE_THREAD = 4 * 65536  # multiplications (OpenBLAS, interface/gemm.c: SMP_THRESHOLD_MIN x GEMM_MULTITHREAD_THRESHOLD)
TILE = 48  # rows, a multiple of what the kernels take at once
TRIED = 2  # random matrices
MOST_TRIED = 20_000_000  # values of each


def portion(op: Any) -> Optional[int]:
    """Rows of a portion of a convolution's product; None: it is to be done at once."""
    conv = op.conv
    if not isinstance(conv, Convolution) or conv.dimensions != 2 or getattr(conv, "groups", 1) != 1:
        return None
    if any(signal.dtype != np.float64 for signal in (op.W, op.X, op.Y)):
        return None
    n_rows = int(np.prod(conv.output_shape.spatial_shape))
    n_terms, n_columns = int(np.prod(conv.kernel_shape[:-1])), conv.kernel_shape[-1]
    if n_rows * n_terms * n_columns <= ONE_THREAD or n_rows * n_terms > MOST_TRIED:
        return None
    rows = ONE_THREAD // (n_terms * n_columns)
    rows -= rows % TILE if rows > TILE else 0
    if rows < 2 or n_rows % rows == 1:  # a single row is another routine's
        return None
    rng = np.random.RandomState(0)
    for _ in range(TRIED):
        a, b = rng.standard_normal((n_rows, n_terms)), rng.standard_normal((n_terms, n_columns))
        if not np.array_equal(a.dot(b), in_portions(a, b, rows)):
            return None
    return rows


def in_portions(a: np.ndarray, b: np.ndarray, rows: int) -> np.ndarray:
    """a · b, some rows of a at a time."""
    product = np.empty((len(a), b.shape[1]))
    for first in range(0, len(a), rows):
        np.dot(a[first : first + rows], b, out=product[first : first + rows])
    return product


def convolution_step(op: Any, signals: Any, dt: float, rows: Optional[int]) -> Callable[[], None]:
    """Step function of a GeneralConvInc; `rows` is its `portion`."""
    if rows is None:
        return op.make_step(signals, dt, None)
    conv = op.conv
    weights = signals[op.W]
    x = signals[op.X].reshape(conv.input_shape.shape)
    y = signals[op.Y].reshape(conv.output_shape.shape)
    if not conv.channels_last:
        x, y = np.moveaxis(x, 0, -1), np.moveaxis(y, 0, -1)
    axes = axes_of(conv)
    reached = [max((a.n_out - 1) * a.stride + a.kernel, a.before + a.n_in) for a in axes]
    bordered = np.zeros((*reached, x.shape[-1]))
    inside = bordered[tuple(slice(a.before, a.before + a.n_in) for a in axes)]
    steps = [a.stride * step for a, step in zip(axes, bordered.strides)]
    windows = np.lib.stride_tricks.as_strided(
        bordered, (*y.shape[:2], *weights.shape[:3]), (*steps, *bordered.strides), writeable=False
    )

    def step():
        inside[...] = x
        flat = windows.reshape(y.shape[0] * y.shape[1], -1)
        y[...] += in_portions(flat, weights.reshape(-1, weights.shape[-1]), rows).reshape(y.shape)

    return step
