"""Energy, latency and NeuroBench's counts of each model, from what the rows counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.hardware.chip import energy
from cotrain.pipeline.evaluation.synops import fan_out
from cotrain.pipeline.networks import NetworkSpec
from cotrain.pipeline.report.sections.placement import MESSAGES_ASSUMPTION

HOST_ASSUMPTION = (
    "Host: the first layer's multiply-accumulates once per image (its input does not change), its neurons at "
    "every step, and the linear readout once (it is applied to mean activities)."
)


def macs(spec: NetworkSpec) -> dict[str, int]:
    """Multiply-accumulates of each layer, taps that fall outside of the image left out."""
    return {
        layer.name: sum(int(fan_out(edge).sum()) for edge in layer.edges()) for layer in (*spec.layers, spec.readout)
    }


def activities(row: dict[str, Any], spec: NetworkSpec, cores: dict[str, dict]) -> list[energy.LayerActivity]:
    """A row's layers as `hardware.chip.energy` takes them.

    Parameters
    ----------
    cores : {layer: {"cores": int, "messages_per_spike": float}}
        From the placement; a layer that is not in it counts as one core.
    """
    kinds = {layer.name: "dense" if len(layer.output_shape) == 1 else "convolution" for layer in spec.layers}
    found = []
    for layer in row["layers"]:
        place = cores.get(layer["name"], {})
        spikes = layer["spikes_per_inference"]
        per_spike = place.get("messages_per_spike")
        found.append(
            energy.LayerActivity(
                layer["name"],
                layer["neurons"],
                spikes,
                layer.get("synops_per_inference") or 0.0,
                kinds.get(layer["name"], "convolution"),
                layer.get("on_chip", True),
                max(1, place.get("cores", 1)),
                None if per_spike is None else spikes * per_spike,
            )
        )
    return found


def estimates(metrics: dict[str, Any], spec: NetworkSpec, cores: dict[str, dict]) -> dict[str, Any]:
    """Everything that is said about energy. "estimate" is true at each level that holds joules."""
    n_steps, work = metrics["n_steps"], macs(spec)
    neurons = sum(layer.n_neurons for layer in spec.layers)
    models = {}
    for row in metrics["rows"]:
        if row["model"].startswith("loihi") and not row.get("skipped") and row.get("layers"):
            found = activities(row, spec, cores)
            models[row["model"]] = {
                "keras-spiking": energy.keras_spiking(found, n_steps).as_dict(),
                "SANA-FE": energy.sana_fe(found, n_steps, chips=metrics.get("chips") or 1).as_dict(),
            }
    first = [layer for layer in spec.layers if layer.name in spec.on_host]
    macs_on_host = sum(work[layer.name] for layer in (*first, spec.readout))
    host = energy.dense_energy_j(macs_on_host, sum(layer.n_neurons for layer in first), n_steps)
    return {
        "estimate": True,
        "assumptions": [*energy.ASSUMPTIONS, MESSAGES_ASSUMPTION, HOST_ASSUMPTION],
        "models": models,
        "host": {"estimate": True, "cpu_j": host["cpu"], "gpu_j": host["gpu"]},
        "ann": {
            "estimate": True,
            "macs": sum(work.values()),
            **{f"{k}_j": v for k, v in energy.dense_energy_j(sum(work.values()), neurons).items()},
        },
        "macs_per_layer": work,
        "constants": energy.sources(),
    }


def over_steps(trajectory: dict[str, Any], metrics: dict[str, Any], found: dict[str, Any]) -> dict[str, list[float]]:
    """SANA-FE's joules of a presentation that stops early: {model: one value per step count}.

    Neuron updates grow with the steps, synapses and messages with the spikes so far. The emulator counts spikes per
    presentation, so a Loihi row takes its course in time from the same network in NengoDL.
    """
    result, counted = {}, trajectory.get("spikes") or {}
    for model, estimates in found["models"].items():
        estimate = estimates["SANA-FE"]
        spikes = counted.get(model) or counted.get(model.removeprefix("loihi-"))
        if not spikes or not spikes[-1]:
            continue
        n = trajectory["n_steps"]
        last = n[-1]
        activity = estimate["synapses_j"] + estimate["messages_j"]
        result[model] = [
            estimate["neurons_j"] * step / last + activity * now / spikes[-1]
            for step, now in zip(n, spikes, strict=True)
        ]
    return result


def neurobench(
    metrics: dict[str, Any], spec: NetworkSpec, params: dict[str, dict[str, np.ndarray]], chip_bits: int | None
) -> dict[str, Any]:
    """NeuroBench's metrics under their own names, per model and per sample.

    Footprint is in bytes; ConnectionSparsity and ActivationSparsity are fractions of zeros; SynapticOperations are per
    sample, all steps together. Dense counts every connection at every step (the host's first layer and readout once).
    Effective_MACs of spiking rows are the host's, zeros in the image counted; null for the ANN, whose zeros nobody
    counted.

    Parameters
    ----------
    params : {"ann" | "hybrid": parameters}
    chip_bits : int or None
        Synapse memory of the placement, in bits.
    """
    n_steps, work = metrics["n_steps"], macs(spec)
    on_host = sum(work[name] for name in (*spec.on_host, spec.readout.name))
    dense_ann = sum(work.values())
    result = {}
    for row in metrics["rows"]:
        model = row["model"]
        if row.get("skipped") or model == "constant":
            continue
        weights = params.get("ann" if model in ("ann", "converted", "loihi-converted") else "hybrid")
        spiking = model != "ann" and bool(row["layers"])  # a board may have counted no layer
        entry = {
            "Footprint": _footprint(weights, chip_bits if model.startswith("loihi") else None),
            "ConnectionSparsity": _zeros(weights),
            "ActivationSparsity": None,
            "SynapticOperations": {"Dense": dense_ann, "Effective_MACs": None, "Effective_ACs": 0},
        }
        if spiking:
            neurons = sum(layer["neurons"] for layer in row["layers"])
            entry["ActivationSparsity"] = 1.0 - row["spikes_per_inference"] / (neurons * n_steps)
            entry["SynapticOperations"] = {
                "Dense": on_host + (dense_ann - on_host) * n_steps,
                "Effective_MACs": on_host,
                "Effective_ACs": row["synops_per_inference"],
            }
        result[model] = entry
    return result


def _footprint(weights, chip_bits) -> int | None:
    if chip_bits is not None:
        return (chip_bits + 7) // 8
    return None if weights is None else int(sum(np.asarray(w).nbytes for w in weights.values()))


def _zeros(weights) -> float | None:
    if weights is None:
        return None
    kernels = [w for name, w in weights.items() if not name.endswith(".bias")]
    return float(sum(np.sum(k == 0) for k in kernels) / sum(k.size for k in kernels))
