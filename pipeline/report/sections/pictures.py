"""Predictions drawn over their inputs: best, median and worst, chosen by rule and not by taste."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.evaluation.rows import CHIP_FIRST, ROWS
from cotrain.pipeline.report import pictures, text
from cotrain.pipeline.report.blocks import Block, Figure, Heading, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections.verdict import unit
from cotrain.pipeline.tasks import metric_name, task_of

CASES = ("best", "median", "worst")


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """Key "cases": see `choose`."""
    return {"cases": choose(inputs.predictions, inputs.metrics["task"])}


def blocks(document: dict[str, Any], inputs: Inputs) -> list[Block]:
    """The three of the row nearest to the chip under every model, then each model's own."""
    chosen, data, metrics = document["cases"], inputs.predictions, document["metrics"]
    if not chosen["cases"]:
        return [Text("No predictions were written, so there are no pictures.", "note")]
    one = unit(metrics)
    of_group = f"Of a {one}, the sample with the largest target is drawn; the score is the {one}'s. "
    found: list[Block] = [
        Text(
            f"Best, median and worst {one} by {metric_name(metrics['metric'])} of {chosen['chosen_by']}, under every "
            f"model. {of_group if one != 'image' else ''}{legend_text(metrics)}"
        )
    ]
    for i, case in enumerate(chosen["cases"]):
        caption = f"**{case['case'].capitalize()}**: {case['sample']}"
        of_all = [(model, case) for model in case["values"]]
        found.append(panels(caption, of_all, data, metrics, () if i else legend(metrics)))
    found.append(Heading("Each model's own best, median and worst"))
    for case_name in CASES:
        own = [(m, e) for m, entries in chosen["own"].items() for e in entries if e["case"] == case_name]
        found.append(panels(f"**{case_name.capitalize()}** of each model.", own, data, metrics, samples=True))
    return found


def legend(metrics: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Of outlines; none where the task draws none."""
    if not task_of(metrics["task"]).outlined:
        return ()
    return (("truth-key", "ground truth (dashed)"), ("guess-key", "prediction (solid)"))


def legend_text(metrics: dict[str, Any]) -> str:
    """`legend` in a sentence."""
    outlined = task_of(metrics["task"]).outlined
    return "Dashed yellow: ground truth. Solid blue: prediction." if outlined else "Beside the model what it predicts."


def panels(
    caption: str,
    entries: list[tuple[str, dict[str, Any]]],
    data: dict[str, np.ndarray],
    metrics: dict[str, Any],
    legend: tuple[tuple[str, ...], ...] = (),
    samples: bool = False,
) -> Figure:
    """Samples side by side.

    Parameters
    ----------
    entries : list of (model, entry)
        Entries as `choose` gives them.
    data : dict
        predictions.npz.
    samples : bool
        Name each sample, because they differ.
    """
    task, drawings, said = task_of(metrics["task"]), [], []
    for model, entry in entries:
        i = entry["index"]
        guess = data[f"{model}/prediction"][i] if f"{model}/prediction" in data else None
        told, alt = told_of(model, entry, data, metrics)
        target = data["targets"][i] if task.outlined else None
        shown = told + (f", {entry['sample']}" if samples else "")
        drawings.append(pictures.panel(data["images"][i], target, guess if task.outlined else None, model, shown, alt))
        said.append(alt)
    return Figure(caption, "; ".join(said) + ".", tuple(drawings), "picture", legend)


def told_of(model: str, entry: dict[str, Any], data: dict[str, np.ndarray], metrics: dict[str, Any]) -> tuple[str, str]:
    """What a model made of a sample, in short and at length."""
    task, names = task_of(metrics["task"]), metrics["class_names"]
    if task.outlined:
        told = text.score(entry["values"][model])
        return told, f"{model} on {entry['sample']}: {metric_name(metrics['metric'])} {told}"
    i, guesses = entry["index"], data.get(f"{model}/prediction")
    told = "not kept" if guesses is None else task.label(guesses[i], names)
    return told, f"{model} on {entry['sample']}: {told}, it is {task.label(data['targets'][i], names)}"


def choose(predictions: dict[str, np.ndarray], task: str) -> dict[str, Any]:
    """Best, median and worst group of the model nearest to the chip, and of each model by itself.

    A group's picture is its sample with the largest target (of a volume the slice with the most foreground; an image
    is alone in its group).

    Parameters
    ----------
    predictions : dict
        predictions.npz.
    task : str
        Which one they are of.

    Returns
    -------
    dict
        "chosen_by": model or None; "cases" and "own": lists of {"case", "group", "sample", "index", "values"}, of "own"
        one list a model.
    """
    models = [m for m in ROWS if f"{m}/group_values" in predictions]
    chosen_by = next((m for m in CHIP_FIRST if m in models), None)
    if chosen_by is None:
        return {"chosen_by": None, "cases": [], "own": {}}
    values = {m: np.asarray(predictions[f"{m}/group_values"], float) for m in models}
    groups = list(predictions["group_names"])

    def entries(model):
        order = np.argsort(-values[model], kind="stable")
        picked = (order[0], order[(len(order) - 1) // 2], order[-1])
        return [entry_of(case, g, groups, values, predictions, task) for case, g in zip(CASES, picked, strict=True)]

    return {"chosen_by": chosen_by, "cases": entries(chosen_by), "own": {m: entries(m) for m in models}}


def entry_of(
    case: str,
    g: int,
    groups: list[str],
    values: dict[str, np.ndarray],
    predictions: dict[str, np.ndarray],
    task: str,
) -> dict[str, Any]:
    """Group number `g` as one of `choose`'s entries."""
    members = np.flatnonzero(predictions["groups"] == groups[g])
    size = task_of(task).size_of_target(predictions["targets"][members])
    index = int(members[int(np.argmax(size))])
    return {
        "case": case,
        "group": str(groups[g]),
        "sample": str(predictions["names"][index]),
        "index": index,
        "values": {m: float(v[g]) for m, v in values.items()},
    }
