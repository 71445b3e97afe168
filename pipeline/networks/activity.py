"""Activations of a model that was made elsewhere, brought to the rates of the chip without changing its function.

A rectified layer may be divided by any positive number if the next one is multiplied by it: relu(a x) = a relu(x). Each
layer is divided by a high percentile of its positive activations on training images, so that an activation of 1, which
is `neurons.rate_scale_hz` spikes a second, is what its strongest neurons reach (Rueckauer et al. 2017, section 2.2.1).
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import numpy as np
from cotrain.pipeline.networks.forward import in_batches
from cotrain.pipeline.networks.spec import IMAGE, NetworkSpec, Params

PERCENTILE = 99.9  # of the positive activations of a layer; those above are the share that is told as clipped
SAMPLES = 256  # images that are looked at, spread over those that are there
VALUES = 2_000_000  # of a layer that are kept for the percentile


def scaled(
    spec: NetworkSpec, params: Params, images: np.ndarray, percentile: float = PERCENTILE
) -> Tuple[Params, List[Dict[str, Any]]]:
    """Parameters of the same function whose layers reach 1.

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
        For each layer ``name``, ``scale`` (the model's activation that became 1), ``percentile``, ``above`` (share of
        positive activations that are larger) and ``largest`` (in units of `scale`); a layer that never was above 0
        keeps its units.
    """
    chosen = images[np.linspace(0, len(images) - 1, min(len(images), SAMPLES)).astype(int)]
    n_batches = 0
    seen: Dict[str, List[np.ndarray]] = {layer.name: [] for layer in spec.layers}
    largest = dict.fromkeys(seen, 0.0)
    every = {layer.name: max(1, layer.n_neurons * len(chosen) // VALUES) for layer in spec.layers}
    for outputs in in_batches(spec, params, chosen):
        n_batches += 1
        for name, values in seen.items():
            flat = outputs[name].ravel()
            largest[name] = max(largest[name], float(flat.max(initial=0.0)))
            part = flat[n_batches % every[name] :: every[name]]
            values.append(part[part > 0])
    scales, layers = {IMAGE: 1.0}, []
    for layer in spec.layers:
        positive = np.concatenate(seen[layer.name]) if seen[layer.name] else np.zeros(0)
        scale = float(np.percentile(positive, percentile)) if len(positive) else 1.0
        scales[layer.name] = scale
        layers.append({
            "name": layer.name,
            "scale": scale,
            "percentile": percentile,
            "above": float(np.mean(positive > scale)) if len(positive) else 0.0,
            "largest": largest[layer.name] / scale,
        })  # fmt: skip
    return divided(spec, params, scales), layers


def divided(spec: NetworkSpec, params: Params, scales: Dict[str, float]) -> Params:
    """Parameters of the same function with each layer divided by its scale; the readout stays as it is."""
    found = {}
    for layer in (*spec.layers, spec.readout):
        out = scales.get(layer.name, 1.0)
        for edge in layer.edges():
            found[edge.param] = (params[edge.param] * (scales[edge.source] / out)).astype(np.float32)
        found[f"{layer.name}.bias"] = (params[f"{layer.name}.bias"] / out).astype(np.float32)
    return found
