"""Convolutions in NumPy, for arithmetic at reading and for `Model.predict`; no framework is started for them."""

from __future__ import annotations

from typing import Tuple

import numpy as np

Border = Tuple[int, int, int, int]  # above, below, left, right; negative: cut off


def bordered(x: np.ndarray, border: Border) -> np.ndarray:
    """x (n, height, width, channels) with zeros around it, or with sides cut off where `border` is negative."""
    above, below, left, right = border
    x = x[:, max(-above, 0) : x.shape[1] - max(-below, 0), max(-left, 0) : x.shape[2] - max(-right, 0)]
    if max(border) <= 0:
        return x
    return np.pad(x, ((0, 0), (max(above, 0), max(below, 0)), (max(left, 0), max(right, 0)), (0, 0)))


def convolve(x: np.ndarray, kernel: np.ndarray, stride: Tuple[int, int], border: Border = (0, 0, 0, 0)) -> np.ndarray:
    """out[n, i, j] = sum over a, b of x[n, i stride + a - above, j stride + b - left] @ kernel[a, b].

    Parameters
    ----------
    x : ndarray
        (n, height, width, channels).
    kernel : ndarray
        (kernel height, kernel width, channels, filters).
    stride : (int, int)
    border : (int, int, int, int)
        Rows and columns of zeros above, below, left and right; negative: rows and columns that are cut off.

    Returns
    -------
    ndarray
        (n, height out, width out, filters), of `x`'s type.
    """
    x = bordered(x, border)
    k_rows, k_cols = kernel.shape[:2]
    rows, cols = ((x.shape[1 + i] - kernel.shape[i]) // stride[i] + 1 for i in (0, 1))
    out = np.zeros((len(x), rows, cols, kernel.shape[-1]), x.dtype)
    if kernel.shape[2] == 0:
        return out
    for a in range(k_rows):
        for b in range(k_cols):
            part = x[:, a : a + (rows - 1) * stride[0] + 1 : stride[0], b : b + (cols - 1) * stride[1] + 1 : stride[1]]
            out += part @ kernel[a, b].astype(x.dtype, copy=False)
    return out


def convolve_transposed(
    x: np.ndarray, kernel: np.ndarray, stride: Tuple[int, int], crop: Tuple[int, int], shape: Tuple[int, int]
) -> np.ndarray:
    """out[n, i stride + a - crop, ...] += x[n, i, ...] @ kernel[a, ...], for outputs from 0 up to `shape`.

    Parameters
    ----------
    x : ndarray
        (n, height, width, channels).
    kernel : ndarray
        (kernel height, kernel width, channels, filters).
    stride : (int, int)
    crop : (int, int)
        Rows and columns that are cut off above and left.
    shape : (int, int)
        Height and width of the output.

    Returns
    -------
    ndarray
        (n, *shape, filters), of `x`'s type.
    """
    rows, cols = ((x.shape[1 + i] - 1) * stride[i] + kernel.shape[i] for i in (0, 1))
    full = np.zeros((len(x), max(rows, shape[0] + crop[0]), max(cols, shape[1] + crop[1]), kernel.shape[-1]), x.dtype)
    for a in range(kernel.shape[0]):
        for b in range(kernel.shape[1]):
            stop = a + (x.shape[1] - 1) * stride[0] + 1, b + (x.shape[2] - 1) * stride[1] + 1
            full[:, a : stop[0] : stride[0], b : stop[1] : stride[1]] += x @ kernel[a, b].astype(x.dtype, copy=False)
    return full[:, crop[0] : crop[0] + shape[0], crop[1] : crop[1] + shape[1]]


def same_border(n_large: int, n_small: int, kernel: int, stride: int) -> int:
    """Zeros in front, of "same" padding between sides of these lengths: TensorFlow puts the odd one behind."""
    return max((n_small - 1) * stride + kernel - n_large, 0) // 2
