"""What came back from the lab as one more row of the comparison: loihi-board."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.pipeline.evaluation.rows import BOARD as MODEL
from cotrain.pipeline.evaluation.synops import fan_out
from cotrain.pipeline.metrics import bootstrap_ci, mean_rate_hz
from cotrain.pipeline.networks import IMAGE, NetworkSpec, decode
from cotrain.pipeline.tasks import task_of


def board_row(checked: Any, scored: dict[str, np.ndarray], metrics: dict[str, Any]) -> dict[str, Any]:
    """The row of metrics.json for what a board gave.

    Parameters
    ----------
    checked : hardware.bundle.verify.Verification
    scored : dict
        predictions.npz of the deploy stage: true targets by sample.
    metrics : dict
        Its metrics.json.

    Raises
    ------
    InputError
        A sample of the bundle is not among those that were scored.
    """
    description, task = checked.description, task_of(metrics["task"])
    spec = NetworkSpec.from_dict(description["network"]["spec"])
    at = {str(name): i for i, name in enumerate(scored["names"])}
    missing = [name for name in checked.outputs if name not in at]
    if missing:
        raise InputError(
            f"sample {missing[0]} of the bundle was not scored by the deploy stage; "
            f"run: cotrain deploy {metrics['experiment']} on all samples, then verify again"
        )
    chosen = [at[name] for name in checked.outputs]

    def values(outputs):
        readout = decode(spec, np.stack(list(outputs.values()))[:, np.newaxis])
        predicted = task.predictions(readout, spec)
        return task.scores(predicted, scored["targets"][chosen], scored["groups"][chosen], metrics["class_names"])

    found = values(checked.outputs)
    n_steps, dt_s = description["n_steps"], description["dt_s"]
    started = bool(description["network"].get("lift"))
    layers = _layers(checked, spec, n_steps, dt_s, started)
    total = sum(layer["spikes_per_inference"] for layer in layers) if layers else None
    return {
        "model": MODEL,
        "value": float(found.mean()),
        "ci95": list(bootstrap_ci(found)),
        "n_samples": len(chosen),
        "emulator_value": float(values(checked.expected).mean()),  # on the same samples
        "mean_rate_hz": None if total is None else mean_rate_hz(total, spec.n_neurons, n_steps, dt_s),
        "spikes_per_inference": total,
        "synops_per_inference": sum(layer["synops_per_inference"] for layer in layers) if layers else None,
        "seconds": None,
        **({"start_spikes": 1} if started else {}),
        "layers": layers,
        "comparison": checked.comparison.to_dict(),
        "energy": checked.results.get("energy"),
        "ran_on": checked.results["ran_on"],
        "bundle": checked.manifest["digest"],
    }


def _layers(checked, spec: NetworkSpec, n_steps: int, dt_s: float, started: bool) -> list[dict[str, Any]]:
    """Layers of the row, from the samples in which each was counted; none at all if one was never counted."""
    if any(name not in checked.spikes for name in (layer.name for layer in spec.layers)):
        return []
    rows = []
    for layer in spec.layers:
        spikes = float(checked.spikes[layer.name].sum())  # per neuron, mean over samples
        rows.append({
            "name": layer.name,
            "neurons": layer.n_neurons,
            "on_chip": layer.name not in spec.on_host,
            "spikes_per_inference": spikes,
            "mean_rate_hz": mean_rate_hz(spikes, layer.n_neurons, n_steps, dt_s),
            "synops_per_inference": sum(
                float(checked.spikes[edge.source] @ fan_out(edge)) for edge in layer.edges() if edge.source != IMAGE
            ) + (layer.n_neurons if started and layer.name not in spec.on_host else 0),
        })  # fmt: skip
    return rows
