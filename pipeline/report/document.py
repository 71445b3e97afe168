"""The report as one JSON document: everything its tables and figures show, and what they were made with."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.datasets import NAMED
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import energy, neurobench, placement, verdict
from cotrain.pipeline.report.sections import pictures as cases

SCHEMA = 1


def build(inputs: Inputs) -> dict[str, Any]:
    """The JSON twin of the report. `metrics` is metrics.json, unchanged."""
    metrics = inputs.metrics
    document = {
        "schema": SCHEMA,
        "kind": "loihi-cotrain report",
        "experiment": inputs.experiment,
        "title": inputs.title,
        "network": inputs.spec.name,
        "metrics": metrics,
        "paper": verdict.paper_for(inputs.spec.name, metrics.get("dataset", {}).get("name", "")),
        "settings": inputs.settings,
        "steps": verdict.steps(metrics, inputs.predictions),
        "histories": inputs.histories,
        "rates": _rates(inputs),
        "trajectory": {
            **inputs.trajectory,
            "energy_j_estimate": energy.over_steps(inputs.trajectory, metrics, inputs.spec, inputs.placement),
        },
        "cases": cases.choose(inputs.predictions, metrics["task"]),
        "placement": inputs.placement,
        "quantization": inputs.quantization,
        "energy": energy.estimates(metrics, inputs.spec, inputs.placement),
        "neurobench": neurobench.neurobench(
            metrics, inputs.spec, inputs.params, placement.synapse_bits(inputs.placement)
        ),
        "stages": inputs.stages,
        "seeds": inputs.seeds,
        "explored": inputs.explored,
        "reproduce": reproduce(inputs),
    }
    document["verdict"] = verdict.sentences(document)
    return document


def _rates(inputs: Inputs) -> dict[str, list[dict[str, Any]]]:
    """Per model and layer: shares of neurons that never fired on the test samples and that fired in every step or more
    often, which the chip cannot; and the fastest one's rate."""
    every_step_hz = 1 / inputs.metrics["dt_s"]
    models = dict.fromkeys(name.split("/")[0] for name in inputs.rates)
    return {
        model: [
            {
                "name": layer.name,
                "neurons": layer.n_neurons,
                "silent": float(np.mean(rates == 0)),
                "too_fast": float(np.mean(rates > every_step_hz)),
                "fastest_hz": float(rates.max()),
            }
            for layer in inputs.spec.layers
            if (rates := inputs.rates.get(f"{model}/{layer.name}")) is not None
        ]
        for model in models
    }


def reproduce(inputs: Inputs) -> list[str]:
    """Commands that make this report again, with every setting that differs from the packaged experiment."""
    from cotrain.pipeline import experiment as experiments

    changed = []
    if inputs.experiment in experiments.names():
        packaged = experiments.load(inputs.experiment).resolved()
        changed = [f"--set {key}={_toml(value)}" for key, value in _differences(packaged, inputs.settings)]
    name = inputs.experiment if inputs.experiment in experiments.names() else f"{inputs.experiment}.toml"
    options = " ".join(["", *changed])
    data = inputs.settings["data"]["name"]
    fetch = [f"cotrain data {data}"] if data in NAMED else []  # nobody fetches your own files, or drawn ones
    train = [] if inputs.metrics.get("parameters") == "pretrained" else ["train", "finetune"]
    return fetch + [f"cotrain {verb} {name}{options}" for verb in (*train, "deploy", "report")]


def _differences(packaged: dict, used: dict, prefix: str = ""):
    for key, value in used.items():
        if isinstance(value, dict):
            yield from _differences(packaged.get(key, {}), value, f"{prefix}{key}.")
        elif packaged.get(key) != value and _listed(packaged.get(key)) != _listed(value):
            yield f"{prefix}{key}", value


def _listed(value):
    return list(value) if isinstance(value, tuple) else value


def _toml(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "'[" + ",".join(f'"{v}"' if isinstance(v, str) else str(v) for v in value) + "]'"
    return str(value)
