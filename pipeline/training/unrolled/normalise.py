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


def unfold(spec: NetworkSpec, params: Params, means: Params, variances: Params) -> tuple[Params, Params]:
    """The inverse of `fold`: a network with normalisation that gives what `params` give without.

    Kernels are divided by the deviation of what they give, which is where training holds them; gamma is the deviation.

    Parameters
    ----------
    params : dict of ndarray
        Of the plain network.
    means, variances : dict of ndarray
        By layer, (units,): of the inputs x without bias.

    Returns
    -------
    trained, statistics : dict of ndarray
        All parameters with gammas; and as `initial` gives them.
    """
    trained, statistics = dict(params), {}
    for layer in spec.layers:
        name = layer.name
        deviation = np.sqrt(variances[name] + EPSILON)
        for edge in layer.edges():
            trained[edge.param] = (params[edge.param] / deviation).astype(np.float32)
        statistics[f"{name}.mean"] = (means[name] / deviation).astype(np.float32)
        statistics[f"{name}.variance"] = (variances[name] / deviation**2).astype(np.float32)
        trained[f"{name}.gamma"] = (deviation * np.sqrt(statistics[f"{name}.variance"] + EPSILON)).astype(np.float32)
        trained[f"{name}.bias"] = (params[f"{name}.bias"] + means[name]).astype(np.float32)
    return trained, statistics


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


class Moments:
    """Stands where `BatchNorm` does and changes nothing: it sums up what would be normalised."""

    def __init__(self):
        self.sums: dict[str, Any] = {}  # by layer: (2, units), of x and of its square
        self.n: dict[str, int] = {}  # by layer: how many a filter

    def __call__(self, layer, x, bias=None):
        flat = tf.reshape(tf.cast(x, tf.float32), (-1, x.shape[-1]))
        self.sums[layer.name] = tf.stack([tf.reduce_sum(flat, 0), tf.reduce_sum(flat**2, 0)])
        self.n[layer.name] = flat.shape[0]
        return x if bias is None else x + tf.cast(bias, x.dtype)


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
