"""Energy and time of one inference: what the rows counted, as `hardware.estimate` takes it, and what comes of it.

How input reaches the chip is decided at the board: spikes of the first layer, which runs on the host, are streamed at
each step or sent once a sample (NengoLoihi's ``precompute``). Every row is estimated both ways.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cotrain.hardware.cost.counts import Counts, read
from cotrain.hardware.cost.energy import dense_energy_j
from cotrain.hardware.cost.estimate import constants, from_counts
from cotrain.hardware.cost.measured import sentences, summary
from cotrain.pipeline.evaluation.costs import MESSAGES_ASSUMPTION, X86_ASSUMPTION, counts_of
from cotrain.pipeline.evaluation.synops import fan_out
from cotrain.pipeline.networks import NetworkSpec

WAYS = {"streamed": "input streamed at each step", "once": "input sent once a sample"}
RATE_FACTORS = (0.25, 0.5, 1.0, 2.0)
HOST_ASSUMPTION = (
    "Host: the first layer's multiply-accumulates once per image (its input does not change), its neurons at "
    "every step, and the linear readout once (it is applied to mean activities)."
)


def macs(spec: NetworkSpec) -> dict[str, int]:
    """Multiply-accumulates of each layer, taps that fall outside of the image left out."""
    return {
        layer.name: sum(int(fan_out(edge).sum()) for edge in layer.edges()) for layer in (*spec.layers, spec.readout)
    }


def counts(row: dict[str, Any], metrics: dict[str, Any], spec: NetworkSpec, placement: dict[str, Any]) -> Counts | None:
    """What a row counted, as `hardware.estimate` takes it; None where no layer of it is on the chip."""
    found = counts_of(row, spec, placement, metrics["n_steps"])
    return read(found, f"row {row['model']}") if found["layers"] else None


def estimates(metrics: dict[str, Any], spec: NetworkSpec, placement: dict[str, Any]) -> dict[str, Any]:
    """Everything that is said about energy. "estimate" is true at each level that holds joules."""
    n_steps, work = metrics["n_steps"], macs(spec)
    neurons = sum(layer.n_neurons for layer in spec.layers)
    models, over = {}, {}
    for row in metrics["rows"]:
        if row["model"].startswith("loihi") and not row.get("skipped") and row.get("layers"):
            found = counts(row, metrics, spec, placement)
            if found is not None:
                models[row["model"]] = {
                    way: {"estimate": True, **from_counts(replace(found, input=way))} for way in WAYS
                }
                over[row["model"]] = over_rates(found)
    first = [layer for layer in spec.layers if layer.name in spec.on_host]
    macs_on_host = sum(work[layer.name] for layer in (*first, spec.readout))
    host = dense_energy_j(macs_on_host, sum(layer.n_neurons for layer in first), n_steps)
    assumptions = dict.fromkeys(said for ways in models.values() for e in ways.values() for said in e["assumptions"])
    return {
        "estimate": True,
        "assumptions": [*assumptions, X86_ASSUMPTION, MESSAGES_ASSUMPTION, HOST_ASSUMPTION],
        "models": models,
        "over_steps_and_rates": over,
        "host": {"estimate": True, "cpu_j": host["cpu"], "gpu_j": host["gpu"]},
        "ann": {
            "estimate": True,
            "macs": sum(work.values()),
            **{f"{k}_j": v for k, v in dense_energy_j(sum(work.values()), neurons).items()},
        },
        "macs_per_layer": work,
        "measured": {"sentences": sentences(), **summary()},
        "constants": constants(),
    }


def scaled(found: Counts, n_steps: int, activity: float) -> Counts:
    """The same network over another number of steps, with `activity` times the spikes of an inference."""

    def times(value):
        return None if value is None else value * activity

    layers = tuple(
        replace(
            layer,
            spikes_per_inference=times(layer.spikes_per_inference),
            synops_per_inference=times(layer.synops_per_inference),
            messages_per_inference=times(layer.messages_per_inference),
        )
        for layer in found.layers
    )
    arriving = times(found.input_spikes_per_inference)
    return replace(found, n_steps=n_steps, layers=layers, input_spikes_per_inference=arriving)


def over_rates(found: Counts) -> dict[str, Any]:
    """Joules in all over steps and rates, both scaled: {way: one list a number of steps}."""
    n_steps = sorted({max(1, round(found.n_steps * share)) for share in (0.25, 0.5, 0.75, 1.0)})
    grid = {
        way: [
            [
                from_counts(scaled(replace(found, input=way), n, rate * n / found.n_steps))["energy_j"]["total"][
                    "value"
                ]
                for rate in RATE_FACTORS
            ]
            for n in n_steps
        ]
        for way in WAYS
    }
    return {"estimate": True, "n_steps": n_steps, "rate_factors": list(RATE_FACTORS), "total_j": grid}


def over_steps(
    trajectory: dict[str, Any], metrics: dict[str, Any], spec: NetworkSpec, placement: dict[str, Any]
) -> dict[str, list[float]]:
    """Joules in all of a presentation that stops early, input streamed: {model: one value per step count}.

    The emulator counts spikes per presentation, so a Loihi row takes its course in time from the same network in
    NengoDL.
    """
    result, counted = {}, trajectory.get("spikes") or {}
    for row in metrics["rows"]:
        model = row["model"]
        spikes = counted.get(model) or counted.get(model.removeprefix("loihi-"))
        if not model.startswith("loihi") or row.get("skipped") or not row.get("layers") or not spikes or not spikes[-1]:
            continue
        found = counts(row, metrics, spec, placement)
        if found is None:
            continue
        streamed = replace(found, input="streamed")
        totals = [
            from_counts(scaled(streamed, step, now / spikes[-1]))["energy_j"]["total"]["value"]
            for step, now in zip(trajectory["n_steps"], spikes, strict=True)
        ]
        if all(total is not None for total in totals):
            result[model] = totals
    return result
