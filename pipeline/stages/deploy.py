"""Run every model on the test split: NengoDL against emulated Loihi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cotrain.hardware import terminal
from cotrain.pipeline.datasets import describe
from cotrain.pipeline.evaluation.evaluate import RowStates, evaluate
from cotrain.pipeline.evaluation.models import raster
from cotrain.pipeline.evaluation.rows import CHIP_FIRST, run_rows
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.tasks import network_for, task_of

if TYPE_CHECKING:
    from cotrain.pipeline.stages.context import Context


def run(context: Context) -> str:
    """Write metrics.json, predictions.npz, rates.npz, trajectory.json and raster.npz."""
    experiment, dataset = context.experiment.deployed(), context.dataset
    note = context.experiment.steps_note()
    if note:
        terminal.say(f"  {note}")
    spec = network_for(experiment.network, dataset)
    params = context.parameters.params
    scored = dataset.subset("test").spread(experiment.deploy.limit or None)
    constant = context.parameters.constant
    if constant is None:
        constant = task_of(dataset.task).constant(dataset.subset("train"))
    states = RowStates(context.out / artifacts.ROWS, artifacts.json_digest(context.key()))
    result = evaluate(experiment, spec, params, constant, scored, states=states)
    placement = context.read_json("quantize", artifacts.PLACEMENT)
    result.metrics.update(
        dataset=describe(dataset, len(scored)),
        split="test",
        parameters=context.parameters.source,
        board=experiment.quantize.board,
        cores=placement["cores"],
        chips=placement["chips"],
        steps_note=note,
    )
    context.write_npz(artifacts.PREDICTIONS, result.predictions)
    context.write_npz(artifacts.RATES, result.rates)
    context.write_json(artifacts.TRAJECTORY, result.trajectory)
    if "loihi-hybrid" in experiment.deploy.models:
        arrays = raster(experiment, spec, params["hybrid"], scored.images[:1])
        context.write_npz(artifacts.RASTER, {**arrays, "sample": scored.names[0]})
    context.write_json(artifacts.METRICS, result.metrics)
    return _said(result.metrics)


def _said(metrics: dict[str, Any]) -> str:
    """How the network does on the chip, against a constant answer and the ANN."""
    rows = run_rows(metrics)
    chip = next((rows[model] for model in CHIP_FIRST if model in rows), None)
    if chip is None:
        return "no network was run"
    said = f"{chip['model']} {metrics['metric']} {chip['value']:.4f}"
    constant, ann = rows.get("constant"), rows.get("ann")
    if constant:
        low, high = chip["ci95"]
        unsure = low <= constant["value"] <= high
        beats = "about that of" if unsure else "better than" if chip["value"] > constant["value"] else "worse than"
        said += f", {beats} a constant answer ({constant['value']:.4f})"
    return f"{said}; ANN {ann['value']:.4f}" if ann and ann is not chip else said
