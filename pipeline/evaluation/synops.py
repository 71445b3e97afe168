"""How many weights leave each input of a layer: what a spike there costs."""

from __future__ import annotations

import numpy as np
from cotrain.hardware.builder.convolution import Axis
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
    along = Axis.padded(
        edge.input_shape[axis],
        edge.output_shape[axis],
        edge.input.kernel[axis],
        edge.input.stride[axis],
        edge.input.padding,
        transposed=edge.kind == "conv_transpose",
    )
    first = edge.input.pad[2 * axis]
    return along.count[first : first + edge.input.shape[axis]]
