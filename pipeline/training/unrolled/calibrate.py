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
from cotrain.pipeline.networks import IMAGE, Layer, Params
from cotrain.pipeline.networks.forward import in_batches
from cotrain.pipeline.neurons.nengo_types import tf
from cotrain.pipeline.training.backend import Job
from cotrain.pipeline.training.unrolled import layerwise
from cotrain.pipeline.training.unrolled.trainer import incoming, lift_into, neurons_of

ROUNDS = 8
DAMPING = 0.7
GAIN = (0.5, 2.0)  # of a channel, in a round
VALUES = 40_000_000  # of a layer's spikes over all steps, that bound the images that are run at once
IMAGES_LEAST = 4  # to which a layer's gains and biases are fitted, however large it is


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
    n = min(len(images), most)
    chosen = images[np.linspace(0, len(images) - 1, n).astype(int)]
    parts = list(in_batches(spec, params, chosen))
    wanted = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    run = _Presentation(job, chosen)
    means, found = {}, dict(params)
    for i, layer in enumerate(spec.layers):
        at_once = int(np.clip(VALUES // (layer.n_neurons * job.n_steps), 1, n))
        some = np.linspace(0, n - 1, max(at_once, min(n, IMAGES_LEAST))).astype(int)
        gain, bias = _fitted(run, layer, found, run.currents(layer, found, some), wanted[layer.name][some])
        for edge in layer.edges():
            found[edge.param] = (found[edge.param] * gain).astype(np.float32)
        found[f"{layer.name}.bias"] = bias.astype(np.float32)
        means[layer.name] = run.through(layer, found, at_once)
        run.forget({source for later in spec.layers[i + 1 :] for source in later.sources})
        told.append(_told(layer.name, wanted[layer.name], means[layer.name]))
    tensors = {edge.param: tf.constant(found[edge.param]) for edge in spec.readout.edges()}
    name, bias = spec.readout.name, found[f"{spec.readout.name}.bias"]
    read, target = incoming(spec.readout, means, tensors, tf.float32).numpy() + bias, wanted[spec.readout.name]
    told.append(_told(name, target, read))
    gain, shift = _least_squares(target, read)
    for edge in spec.readout.edges():
        found[edge.param] = (found[edge.param] * gain).astype(np.float32)
    found[f"{name}.bias"] = (gain * bias + shift).astype(np.float32)
    return found, told


class _Presentation:
    """Images as the layers of a network see them, one layer after the other, over all steps."""

    def __init__(self, job: Job, images: np.ndarray):
        self.n_steps = job.n_steps
        self.model, self.constants, _ = neurons_of(job)
        self.job = job
        self.weights = np.zeros((2, job.n_steps), np.float32)
        self.weights[1, -job.readout_steps :] = 1 / job.readout_steps
        self.steps: dict[str, np.ndarray] = {
            IMAGE: np.asarray(images[None], np.float32)
        }  # numbers of spikes, (n_steps, n, ...) uint8

    def currents(self, layer: Layer, params: Params, at: np.ndarray | slice) -> Any:
        """What comes into a layer, (n_steps, len(at), ...); of images one step, because they stay."""
        flat = {}
        for name in layer.sources:
            part = self.steps[name][:, at]
            unit = 1.0 if name == IMAGE else self.constants.unit
            flat[name] = tf.constant(part.reshape(-1, *part.shape[2:]).astype(np.float32) * np.float32(unit))
        tensors = {edge.param: tf.constant(params[edge.param]) for edge in layer.edges()}
        n_steps = len(self.steps[layer.sources[0]])
        return tf.reshape(incoming(layer, flat, tensors, tf.float32), (n_steps, -1, *layer.output_shape))

    def spikes(self, layer: Layer, currents: Any, bias: np.ndarray) -> tuple[Any, np.ndarray]:
        """(activation at each step, its mean over the last `readout_steps`)."""
        lift = lift_into(self.job, layer, self.constants)
        outputs, both = layerwise.spikes(
            self.model, self.constants, currents, tf.constant(bias, tf.float32), self.n_steps, self.weights, lift=lift
        )
        return outputs, both[1].numpy()

    def through(self, layer: Layer, params: Params, at_once: int) -> np.ndarray:
        """Run a layer on all images; its means (n, ...)."""
        n = self.steps[layer.sources[0]].shape[1]
        found, means = np.empty((self.n_steps, n, *layer.output_shape), np.uint8), []
        for first in range(0, n, at_once):
            part = slice(first, first + at_once)
            outputs, mean = self.spikes(layer, self.currents(layer, params, part), params[f"{layer.name}.bias"])
            found[:, part] = np.rint(outputs.numpy() / self.constants.unit)
            means.append(mean)
        self.steps[layer.name] = found
        return np.concatenate(means)

    def forget(self, needed: set[str]) -> None:
        """Keep what is needed alone."""
        self.steps = {name: steps for name, steps in self.steps.items() if name in needed}


def _fitted(
    run: _Presentation, layer: Layer, params: Params, currents: Any, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The gain and bias of each channel whose spikes are closest to what is wanted."""
    gain, bias = np.ones(layer.units, np.float32), params[f"{layer.name}.bias"].astype(np.float32)
    best: Any = None
    for _ in range(ROUNDS + 1):
        _, means = run.spikes(layer, currents * gain, bias)
        error, factor, shift = _differences(wanted, means)
        if best is None or error < best[0]:
            best = error, gain, bias
        gain = gain * np.clip(factor, *GAIN) ** DAMPING
        bias = bias + DAMPING * shift
    return best[1], best[2]


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
