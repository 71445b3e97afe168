"""Activations of a model that was made elsewhere, brought to the rates of the chip without changing its function.

A rectified channel may be divided by any positive number if what listens to it is multiplied by it: relu(a x) =
a relu(x). Each channel is divided by a high percentile of its positive activations on training images, so that an
activation of 1, which is `neurons.rate_scale_hz` spikes a second, is what its strongest neurons reach (Rueckauer et al.
2017, section 2.2.1, for layers; Kim et al. 2020, "Spiking-YOLO", section 3.1, for channels). Divided by one number for
the layer, weak channels would have so few spikes that short synapses leave nothing of them.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import numpy as np
from cotrain.pipeline.networks.forward import in_batches
from cotrain.pipeline.networks.spec import IMAGE, NetworkSpec, Params

PERCENTILE = 99.9  # of the positive activations of a channel; those above are the share that is told as clipped
WEAKEST = 0.1  # of the layer's percentile: a channel that hardly ever fires is not blown up any further
SAMPLES = 256  # images that are looked at, spread over those that are there
VALUES = 2_000_000  # of a layer that are kept for the percentile


def scaled(
    spec: NetworkSpec, params: Params, images: np.ndarray, percentile: float = PERCENTILE
) -> Tuple[Params, List[Dict[str, Any]]]:
    """Parameters of the same function whose channels reach 1.

    Parameters
    ----------
    images : ndarray
        (n_samples, height, width, channels), of the training split.
    percentile : float
        In per cent.

    Returns
    -------
    params : dict of ndarray
    layers : list of dict
        For each layer ``name``, ``scale`` and ``scale_least`` (the model's activation that became 1 in its strongest
        and in its weakest channel), ``percentile``, ``above`` (share of positive activations that are larger) and
        ``largest`` (in units of the channel's scale); a layer that never was above 0 keeps its units.
    """
    chosen = images[np.linspace(0, len(images) - 1, min(len(images), SAMPLES)).astype(int)]
    n_batches = 0
    seen: Dict[str, List[np.ndarray]] = {layer.name: [] for layer in spec.layers}
    largest = {layer.name: np.zeros(layer.units, np.float32) for layer in spec.layers}
    every = {layer.name: max(1, layer.n_neurons * len(chosen) // VALUES) for layer in spec.layers}
    for outputs in in_batches(spec, params, chosen):
        n_batches += 1
        for name, values in seen.items():
            channels = outputs[name].reshape(-1, len(largest[name]))
            np.maximum(largest[name], channels.max(axis=0), out=largest[name])
            values.append(channels[n_batches % every[name] :: every[name]])
    scales: Dict[str, np.ndarray] = {}
    layers = []
    for layer in spec.layers:
        values = np.concatenate(seen[layer.name])
        n_positive = int((values > 0).sum())
        scale = _of_channels(values, percentile) if n_positive else np.ones(layer.units, np.float32)
        scales[layer.name] = scale
        layers.append({
            "name": layer.name,
            "scale": float(scale.max()),
            "scale_least": float(scale.min()),
            "percentile": percentile,
            "above": float((values > scale).sum() / max(n_positive, 1)),
            "largest": float((largest[layer.name] / scale).max()),
        })  # fmt: skip
    return divided(spec, params, scales), layers


def _of_channels(values: np.ndarray, percentile: float) -> np.ndarray:
    """The percentile of the positive values (n, units) of each channel, (units,) float32."""
    own = [column[column > 0] for column in values.T]
    found = np.array([np.percentile(part, percentile) if len(part) else 0.0 for part in own], np.float32)
    return np.maximum(found, WEAKEST * found.max())


def divided(spec: NetworkSpec, params: Params, scales: Dict[str, np.ndarray]) -> Params:
    """Parameters of the same function with each layer's channels divided by its scales; the readout stays as it is."""
    found = {}
    for layer in (*spec.layers, spec.readout):
        out = scales.get(layer.name, np.ones(layer.units, np.float32))
        for edge in layer.edges():
            kernel = params[edge.param]
            if edge.source != IMAGE:  # dense kernels have all pixels of a channel, channels last
                source = scales[edge.source]
                kernel = (kernel.reshape(-1, len(source), kernel.shape[-1]) * source[:, None]).reshape(kernel.shape)
            found[edge.param] = (kernel / out).astype(np.float32)
        found[f"{layer.name}.bias"] = (params[f"{layer.name}.bias"] / out).astype(np.float32)
    return found


def raised(spec: NetworkSpec, params: Params, gain: float, of_last: float = 1.0) -> Params:
    """Parameters of the same function with `gain` times the activations, `of_last` in layers that the readout hears.

    Few steps need rates: at 10 Hz a neuron is silent for 32 steps as often as not. A last layer whose strongest neurons
    are near one spike a step stays as it is; one of few neurons can well do with more.
    """
    scales = {
        layer.name: np.full(layer.units, 1 / (of_last if layer.name in spec.readout.sources else gain), np.float32)
        for layer in spec.layers
    }
    return divided(spec, params, scales)
