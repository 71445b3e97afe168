"""How many weights leave each input of a layer: what a spike there costs."""

from __future__ import annotations

import numpy as np
from cotrain.pipeline.networks import Edge


def fan_out(edge: Edge) -> np.ndarray:
    """Weights that leave each input of `edge`.

    Parameters
    ----------
    edge : Edge

    Returns
    -------
    (size of the source,) int64
        Inputs at the border of a convolution reach fewer outputs.
    """
    if edge.kind == "dense":
        return np.full(edge.n_inputs, edge.target.n_neurons, np.int64)
    rows, columns = (_reached(edge, axis) for axis in (0, 1))
    per_pixel = np.outer(rows, columns).ravel() * edge.units
    return np.repeat(per_pixel, edge.input_shape[-1]).astype(np.int64)


def _reached(edge: Edge, axis: int) -> np.ndarray:
    """Along one axis: outputs that each pixel of the source reaches."""
    n_in, n_out = edge.input_shape[axis], edge.output_shape[axis]
    kernel, stride, padding = edge.input.kernel[axis], edge.input.stride[axis], edge.input.padding
    first = edge.input.pad[2 * axis]
    if edge.kind == "conv_transpose":
        starts = np.arange(n_in) * stride - _before(padding, kernel, stride, n_out, n_in)
        taps = starts[:, np.newaxis] + np.arange(kernel)
        reached = ((taps >= 0) & (taps < n_out)).sum(axis=1)
    else:
        starts = np.arange(n_out) * stride - _before(padding, kernel, stride, n_in, n_out)
        taps = starts[:, np.newaxis] + np.arange(kernel)
        reached = np.bincount(taps[(taps >= 0) & (taps < n_in)], minlength=n_in)
    return reached[first : first + edge.input.shape[axis]]


def _before(padding: str, kernel: int, stride: int, n_large: int, n_small: int) -> int:
    """Padding in front of the larger side, as TensorFlow splits it: the odd pixel goes behind."""
    if padding == "valid":
        return 0
    return max((n_small - 1) * stride + kernel - n_large, 0) // 2
