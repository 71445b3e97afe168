"""The ANN in float32, with NumPy alone: rectified layers, or the chip's rates of them."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, Optional, Tuple

import numpy as np
from cotrain.pipeline.networks.arithmetic import bordered, convolve, convolve_transposed, same_border
from cotrain.pipeline.networks.spec import IMAGE, Edge, NetworkSpec, Params

VALUES_AT_ONCE = 20_000_000  # that bound a batch
PROBABILITY_LEAST = 1e-9

Activate = Callable[[str, np.ndarray], np.ndarray]


def rectified(_: str, x: np.ndarray) -> np.ndarray:
    """What a layer makes of its input where its neurons are ideal."""
    return np.maximum(x, 0)


def layer_outputs(
    spec: NetworkSpec, params: Params, images: np.ndarray, activate: Activate = rectified
) -> Dict[str, np.ndarray]:
    """Outputs of every layer and of the readout.

    Parameters
    ----------
    images : ndarray
        (n_samples, height, width, channels).
    activate : function
        (layer's name, its input) -> its output.

    Returns
    -------
    dict
        {layer: (n_samples, *output_shape) float32}, the readout's linear.
    """
    outputs = {IMAGE: np.asarray(images, np.float32)}
    for layer in (*spec.layers, spec.readout):
        x = np.zeros((len(images), *layer.output_shape), np.float32) + params[f"{layer.name}.bias"]
        for edge in layer.edges():
            x += linear(edge, outputs[edge.source], params[edge.param])
        outputs[layer.name] = x if layer is spec.readout else activate(layer.name, x)
    del outputs[IMAGE]
    return outputs


def in_batches(
    spec: NetworkSpec, params: Params, images: np.ndarray, activate: Optional[Activate] = None
) -> Iterator[Dict[str, np.ndarray]]:
    """`layer_outputs` of so many images at once that memory stays bounded."""
    values = spec.n_neurons + spec.readout.n_neurons + int(np.prod(spec.input_shape))
    size = int(np.clip(VALUES_AT_ONCE // values, 1, 256))
    for first in range(0, len(images), size):
        yield layer_outputs(spec, params, images[first : first + size], activate or rectified)


def linear(edge: Edge, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """An edge's map of (n, *shape of the source), without the bias."""
    if edge.kind == "dense":
        return (x.reshape(len(x), -1) @ kernel).reshape(len(x), *edge.output_shape)
    entry = edge.input
    x = bordered(x, entry.pad)
    small, large = edge.output_shape, x.shape[1:]
    if edge.kind == "conv_transpose":
        small, large = large, small
    before: Tuple[int, ...] = (0, 0)
    if entry.padding == "same":
        before = tuple(same_border(large[i], small[i], entry.kernel[i], entry.stride[i]) for i in (0, 1))
    if edge.kind == "conv_transpose":
        return convolve_transposed(x, kernel, entry.stride, (before[0], before[1]), (large[0], large[1]))
    after = [max((small[i] - 1) * entry.stride[i] + entry.kernel[i] - large[i] - before[i], 0) for i in (0, 1)]
    return convolve(x, kernel, entry.stride, (before[0], after[0], before[1], after[1]))


def finished(spec: NetworkSpec, readout: np.ndarray) -> np.ndarray:
    """What the model says: the readout, or its sigmoid or soft-max over the last axis."""
    if spec.final == "sigmoid":
        return 0.5 * (1 + np.tanh(0.5 * readout))
    if spec.final == "softmax":
        shifted = np.exp(readout - readout.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)
    return readout


def unfinished(spec: NetworkSpec, outputs: np.ndarray) -> np.ndarray:
    """Readouts whose `finished` are these outputs: logits, up to what float32 holds of a probability near 0 or 1."""
    if spec.final == "linear":
        return outputs
    p = np.clip(outputs.astype(np.float64), PROBABILITY_LEAST, 1)
    return np.log(p / np.maximum(1 - p, PROBABILITY_LEAST)) if spec.final == "sigmoid" else np.log(p)
