"""The ceiling: what a network of plain Keras reaches on the same split, in float and without the chip.

`tools/ceiling.py` trains such networks and writes the file beside this module. A ceiling belongs to the data that it
was measured on: it stands beside a comparison only where the data's settings, the sizes of the splits and a digest of
the test split's targets are the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware import files
from cotrain.pipeline.evaluation.rows import CHIP_FIRST, run_rows
from cotrain.pipeline.metrics import bootstrap_ci
from cotrain.pipeline.runs import artifacts

SCHEMA = 1
FILE = Path(__file__).with_name(artifacts.CEILINGS)
# Settings of [data] that say what is to be found and where it is looked for; how a network sees it is its own
SETTINGS = ("name", "height", "width", "split_seed", "n_slices", "classes", "axis", "fit")
COUNTS = ("n_train", "n_validation", "n_test")


def read(path: Path | None = None) -> dict[str, Any]:
    """The measured ceilings: "schema", and "ceilings", one a network.

    Raises
    ------
    MissingError, CorruptError
        The file that comes with the package is not there, or damaged.
    """
    return files.read_json(path or FILE, damaged="install the package again")


def digest(targets: np.ndarray, names: np.ndarray, groups: np.ndarray) -> str:
    """Stands for what the test samples are and what is right for them.

    Parameters
    ----------
    targets : (n, ...)
        As `Task.as_prediction` has them.
    names, groups : (n,) str
    """
    right = artifacts.arrays_digest({"targets": np.asarray(targets, np.float32)})
    return artifacts.json_digest([right, np.asarray(names).tolist(), np.asarray(groups).tolist()])


def data_of(settings: dict[str, Any], counts: dict[str, Any], test_digest: str) -> dict[str, Any]:
    """What a ceiling is tied to.

    Parameters
    ----------
    settings : dict
        The section [data] of an experiment.
    counts : dict
        What `datasets.describe` tells.
    """
    found = {key: settings.get(key) for key in SETTINGS}
    found["classes"] = list(found["classes"] or ())
    return {**found, **{key: counts.get(key) for key in COUNTS}, "test_digest": test_digest}


def beside(
    settings: dict[str, Any], metrics: dict[str, Any], predictions: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """The ceilings of a comparison's data, the best on the validation split first.

    Parameters
    ----------
    settings : dict
        Of the experiment, by section.
    metrics, predictions : dict
        Content of metrics.json and predictions.npz.

    Returns
    -------
    list of dict
        "ceiling" (its name), "what", "seeds", "values" (one a seed), "value" (their mean), "ci95" (bootstrap over
        images or volumes of the mean over seeds), "validation"; "against": the row nearest to the chip, by how much it
        is better ("difference") and the paired interval of that; "protocols": values of each.
    """
    if not {"targets", "names", "groups"} <= set(predictions):
        return []
    there = digest(predictions["targets"], predictions["names"], predictions["groups"])
    here = data_of(settings.get("data", {}), metrics.get("dataset") or {}, there)
    found = [
        _summary(one, metrics, predictions)
        for one in read()["ceilings"]
        if one["rows"] and one["data"] == here and (one["task"], one["metric"]) == (metrics["task"], metrics["metric"])
    ]
    return sorted(found, key=lambda one: -one["validation"])


def _summary(one: dict[str, Any], metrics: dict[str, Any], predictions: dict[str, np.ndarray]) -> dict[str, Any]:
    rows = one["rows"]
    best = _over_seeds(rows)
    return {
        "ceiling": one["ceiling"], "what": one["what"], "seeds": [row["seed"] for row in rows], **best,
        "validation": float(np.mean([row["validation"] for row in rows])),
        "against": _against(_group_values(rows), metrics, predictions),
        "protocols": {
            name: _over_seeds([row["protocols"][name] for row in rows])
            for name, asked in one["protocols"].items()
            if asked == {k: v for k, v in (metrics["protocols"].get(name) or {}).items() if k != "rows"}
        },
    }  # fmt: skip


def _over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    values = [row["value"] for row in rows]
    return {"values": values, "value": float(np.mean(values)), "ci95": list(bootstrap_ci(_group_values(rows)))}


def _group_values(rows: list[dict[str, Any]]) -> np.ndarray:
    """Mean over seeds of each image or volume."""
    return np.mean([row["group_values"] for row in rows], axis=0)


def _against(ceiling: np.ndarray, metrics: dict[str, Any], predictions: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """How much better than the ceiling the row nearest to the chip is; None where no network was run."""
    rows = run_rows(metrics)
    model = next((m for m in CHIP_FIRST if m in rows), None)
    values = predictions.get(f"{model}/group_values")
    if model is None or values is None:
        return None
    difference = values - ceiling
    return {"model": model, "difference": float(difference.mean()), "ci95": list(bootstrap_ci(difference))}
