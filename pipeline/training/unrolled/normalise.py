"""Batch normalisation while the ANN trains, gone when it is done: what is kept is a plain kernel and a plain bias.

Before its neurons every hidden layer's input x = kernel * activity is standardised filter by filter (Ioffe and Szegedy
2015, algorithm 1)::

    y = gamma (x - mean) / sqrt(variance + EPSILON) + bias

with mean and variance of the batch in training, and their running means afterwards (algorithm 2). With those y is
linear in x, so that kernel * gamma / sqrt(variance + EPSILON) and bias - mean * gamma / sqrt(variance + EPSILON) give
the same y without it: neither the chip nor any other part of the package knows of the normalisation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.compat import import_tensorflow
from cotrain.pipeline.networks import NetworkSpec, Params

tf = import_tensorflow()

EPSILON = 1e-4  # in units of activation, squared
GAMMA = 0.5  # where gamma starts: half of the neurons fire, a strong one near rate_scale_hz
MOMENTUM = 0.98  # of the running means, per step


def initial(spec: NetworkSpec) -> tuple[Params, Params]:
    """What training with normalisation has besides the parameters.

    Returns
    -------
    gammas : dict of ndarray
        ``{"conv1.gamma": (units,), ...}``: trained.
    statistics : dict of ndarray
        ``{"conv1.mean": (units,), "conv1.variance": (units,), ...}``: followed.
    """
    gammas, statistics = {}, {}
    for layer in spec.layers:
        like = np.zeros(layer.units, np.float32)
        gammas[f"{layer.name}.gamma"] = like + np.float32(GAMMA)
        statistics[f"{layer.name}.mean"] = like
        statistics[f"{layer.name}.variance"] = like + np.float32(1)
    return gammas, statistics


def fold(spec: NetworkSpec, trained: dict, statistics: dict) -> dict:
    """Kernels and biases of the same network without normalisation; of tensors or arrays."""
    plain = {name: value for name, value in trained.items() if not name.endswith(".gamma")}
    for layer in spec.layers:
        name = layer.name
        factor = trained[f"{name}.gamma"] / (statistics[f"{name}.variance"] + EPSILON) ** 0.5
        for edge in layer.edges():
            plain[edge.param] = trained[edge.param] * factor  # the last axis is the filter's
        plain[f"{name}.bias"] = trained[f"{name}.bias"] - statistics[f"{name}.mean"] * factor
    return plain


class BatchNorm:
    """The normalisation of one training step; remembers the statistics that it saw."""

    def __init__(self, trained: dict):
        self.trained = trained
        self.seen: dict[str, Any] = {}  # as `initial`'s statistics

    def __call__(self, layer, x, bias=None):
        """x (n_samples, ..., units), without its bias, as y; without its bias where none is given."""
        gamma = self.trained[f"{layer.name}.gamma"]
        pixels = tf.reshape(x, (-1, 1, 1, x.shape[-1])) if x.shape.rank == 2 else x
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            pixels, gamma, tf.zeros_like(gamma) if bias is None else bias, epsilon=EPSILON, is_training=True
        )
        n = pixels.shape.num_elements() // x.shape[-1]
        self.seen[f"{layer.name}.mean"] = mean
        self.seen[f"{layer.name}.variance"] = variance * ((n - 1) / n)  # it gives that of a sample
        return tf.reshape(y, x.shape)
