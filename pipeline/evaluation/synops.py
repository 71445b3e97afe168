"""How many weights leave each input of a layer: what a spike there costs."""

from __future__ import annotations

import numpy as np
from cotrain.pipeline.networks import Layer


def fan_out(layer: Layer) -> np.ndarray:
    """Weights that leave each input of `layer`.

    Parameters
    ----------
    layer : Layer

    Returns
    -------
    (n_inputs,) int64
        Inputs at the border of a convolution reach fewer outputs.
    """
    if layer.kind == "dense":
        return np.full(layer.n_inputs, layer.units, np.int64)
    rows, columns = (_reached(layer, layer.input_shape[axis], layer.output_shape[axis]) for axis in (0, 1))
    per_pixel = np.outer(rows, columns).ravel() * layer.units
    return np.repeat(per_pixel, layer.input_shape[-1]).astype(np.int64)


def _reached(layer: Layer, n_in: int, n_out: int) -> np.ndarray:
    """Along one axis: outputs that each input reaches."""
    if layer.kind == "conv_transpose":
        starts = np.arange(n_in) * layer.stride - _before(layer, n_out, n_in)
        taps = starts[:, np.newaxis] + np.arange(layer.kernel)
        return ((taps >= 0) & (taps < n_out)).sum(axis=1)
    starts = np.arange(n_out) * layer.stride - _before(layer, n_in, n_out)
    taps = starts[:, np.newaxis] + np.arange(layer.kernel)
    return np.bincount(taps[(taps >= 0) & (taps < n_in)], minlength=n_in)


def _before(layer: Layer, n_large: int, n_small: int) -> int:
    """Padding in front of the larger side, as TensorFlow splits it: the odd pixel goes behind."""
    if layer.padding == "valid":
        return 0
    return max((n_small - 1) * layer.stride + layer.kernel - n_large, 0) // 2
