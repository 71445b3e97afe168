"""Which samples are shown: best, median and worst, by rule and not by taste."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.evaluation.rows import CHIP_FIRST, ROWS
from cotrain.pipeline.tasks import task_of

CASES = ("best", "median", "worst")


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
        return [_entry(case, g, groups, values, predictions, task) for case, g in zip(CASES, picked, strict=True)]

    return {"chosen_by": chosen_by, "cases": entries(chosen_by), "own": {m: entries(m) for m in models}}


def _entry(case, g, groups, values, predictions, task):
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
