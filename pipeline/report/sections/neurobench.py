"""NeuroBench's counts of each model, from what the rows counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.evaluation.rows import ROWS
from cotrain.pipeline.networks import NetworkSpec
from cotrain.pipeline.report.sections.energy import macs


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
        weights = params.get(ROWS[model].parameters)
        spiking = model != "ann" and bool(row["layers"])  # a board may have counted no layer
        entry = {
            "Footprint": _footprint(weights, chip_bits if ROWS[model].on_chip else None),
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
