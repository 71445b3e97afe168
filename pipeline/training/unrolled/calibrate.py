"""Kernels and biases of a converted network, set so that its spikes tell what the model's activations are.

A neuron of the chip drops what exceeds its threshold when it spikes, has no voltage below rest, and hears its inputs
one spike at a time: its rate is lower than its activation where that is large, and above 0 where the sum of its inputs
is below 0 but fluctuates. Layer after layer, on training images and without labels, the kernel of each channel is
scaled and its bias shifted until mean and slope of its spikes are those of the activation (in the manner of Li et al.
2021, "A free lunch from ANN", section 4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.networks import IMAGE, Params
from cotrain.pipeline.networks.forward import in_batches
from cotrain.pipeline.neurons.nengo_types import tf
from cotrain.pipeline.training.backend import Job
from cotrain.pipeline.training.unrolled import layerwise
from cotrain.pipeline.training.unrolled.trainer import incoming, neurons_of

ROUNDS = 8
DAMPING = 0.7
GAIN = (0.5, 2.0)  # of a channel, in a round
VALUES = 40_000_000  # of a layer's spikes over all steps, that bound the images that are looked at


def calibrated(
    job: Job, params: Params, images: np.ndarray, most: int = 64
) -> tuple[Params, list[dict[str, str | float]]]:
    """Parameters whose spikes are closest to the activations that `params` have without spikes.

    Parameters
    ----------
    job : Job
        Of the hybrid: its steps and its synapse.
    images : ndarray
        (n_samples, height, width, channels), of the training split.
    most : int
        Images that are looked at.

    Returns
    -------
    params : dict of ndarray
    layers : list of dict
        ``name`` and ``correlation``, of the layer's mean spikes with the activations that they stand for, over all
        neurons and images that were looked at; last of the readout.
    """
    spec, told = job.spec, []
    size = max(layer.n_neurons for layer in spec.layers) * job.n_steps
    n = int(np.clip(VALUES // size, 4, most))
    chosen = images[np.linspace(0, len(images) - 1, min(len(images), n)).astype(int)]
    parts = list(in_batches(spec, params, chosen))
    wanted = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    model, c, _ = neurons_of(job)
    weights = np.zeros((2, job.n_steps), np.float32)
    weights[1, -job.readout_steps :] = 1 / job.readout_steps
    steps, means, found = {IMAGE: tf.constant(chosen[None], tf.float32)}, {}, dict(params)
    for layer in spec.layers:
        n_steps = steps[layer.sources[0]].shape[0]
        flat = {name: tf.reshape(steps[name], (-1, *steps[name].shape[2:])) for name in layer.sources}
        tensors = {edge.param: tf.constant(found[edge.param]) for edge in layer.edges()}
        currents = tf.reshape(incoming(layer, flat, tensors, tf.float32), (n_steps, -1, *layer.output_shape))
        gain, bias = np.ones(layer.units, np.float32), found[f"{layer.name}.bias"].astype(np.float32)
        best: Any = None
        for _ in range(ROUNDS + 1):
            outputs, both = layerwise.spikes(model, c, currents * gain, tf.constant(bias), job.n_steps, weights)
            error, factor, shift = _differences(wanted[layer.name], both[1].numpy())
            if best is None or error < best[0]:
                best = error, gain, bias, outputs, both[1]
            gain = gain * np.clip(factor, *GAIN) ** DAMPING
            bias = bias + DAMPING * shift
        _, gain, bias, steps[layer.name], means[layer.name] = best
        for edge in layer.edges():
            found[edge.param] = (found[edge.param] * gain).astype(np.float32)
        found[f"{layer.name}.bias"] = bias.astype(np.float32)
        told.append(_told(layer.name, wanted[layer.name], means[layer.name].numpy()))
    tensors = {edge.param: tf.constant(found[edge.param]) for edge in spec.readout.edges()}
    name, bias = spec.readout.name, found[f"{spec.readout.name}.bias"]
    read, target = incoming(spec.readout, means, tensors, tf.float32).numpy() + bias, wanted[spec.readout.name]
    told.append(_told(name, target, read))
    gain, shift = _least_squares(target, read)
    for edge in spec.readout.edges():
        found[edge.param] = (found[edge.param] * gain).astype(np.float32)
    found[f"{name}.bias"] = (gain * bias + shift).astype(np.float32)
    return found, told


def _told(name: str, wanted: np.ndarray, got: np.ndarray) -> dict[str, str | float]:
    a, b = (x.ravel() - x.mean(dtype=np.float64) for x in (wanted, got))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return {"name": name, "correlation": float(a @ b) / size if size else 0.0}


def _least_squares(wanted: np.ndarray, got: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(gain, shift) of each channel for which gain * got + shift is closest to `wanted`."""
    a, s = (x.reshape(-1, x.shape[-1]).astype(np.float64) for x in (wanted, got))
    a0, s0 = a - a.mean(axis=0), s - s.mean(axis=0)
    var = (s0 * s0).mean(axis=0)
    gain = np.divide((a0 * s0).mean(axis=0), var, out=np.ones(a.shape[1]), where=var > 1e-12).clip(*GAIN)
    return gain.astype(np.float32), (a.mean(axis=0) - gain * s.mean(axis=0)).astype(np.float32)


def _differences(wanted: np.ndarray, got: np.ndarray):
    """(mean squared error, factor and shift for each channel that would bring `got` to `wanted`)."""
    a, s = (x.reshape(-1, x.shape[-1]).astype(np.float64) for x in (wanted, got))
    a0, s0 = a - a.mean(axis=0), s - s.mean(axis=0)
    var = (a0 * a0).mean(axis=0)
    slope = np.divide((a0 * s0).mean(axis=0), var, out=np.ones(a.shape[1]), where=var > 1e-12)
    factor = 1 / np.clip(slope, 1e-3, 1e3)
    return float(((a - s) ** 2).mean()), factor.astype(np.float32), (a.mean(axis=0) - s.mean(axis=0)).astype(np.float32)
