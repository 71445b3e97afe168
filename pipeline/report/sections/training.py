"""The two trainings: curves for all, every epoch for those who open it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cotrain.pipeline.report import charts as svg
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Figure, Fold, Table, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.tasks import metric_name

STAGES = {"train": "Training of the ANN", "finetune": "Hybrid fine-tuning"}
FEW_EPOCHS = 25  # up to so many, each gets a mark


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """Both histories as they were written."""
    return {"histories": inputs.histories}


def blocks(document: dict[str, Any], inputs: Inputs) -> list[Block]:
    """Curves; a table of epochs folded away; a line where there was no training."""
    found: list[Block] = []
    tables: list[Block] = []
    for stage, title in STAGES.items():
        history = document["histories"].get(stage) or {}
        if history.get("epochs"):
            found.append(_curves(title, history, metric_name(document["metrics"]["metric"])))
            tables.append(_epochs(stage, history))
            start = document["settings"].get(stage, {}).get("start", "")
            if start:
                found.append(Text(f"It started from the parameters of `{'/'.join(Path(start).parts[-3:])}`.", "note"))
            continue
        pretrained = document["metrics"].get("parameters") == "pretrained"
        reason = "the parameters that come with the package were used" if pretrained else "none was written"
        if history:
            reason = "it ran for no epoch"
        found.append(Text(f"No history of the {stage} stage: {reason}.", "note"))
    return [*found, *([Fold("Every epoch", tuple(tables))] if tables else [])]


def kept(history: dict[str, Any]) -> str:
    """Which epoch's parameters a training returned; epoch 0 is before its first step."""
    best = history.get("best_epoch")
    if best is None:
        return ""
    return f"Epoch {best} was kept." if best else "Epoch 0 was kept: no epoch was better than the parameters before."


def _curves(title: str, history: dict[str, Any], name: str) -> Figure:
    """Loss, validation metric and rate over the epochs."""
    epochs = history["epochs"]
    x = tuple(e["epoch"] for e in epochs)
    lasted = text.plural(x[-1], "epoch")
    drawings, said = [], []
    keys = (
        ("loss", "loss", "converted"),
        ("metric", f"validation {name}", "hybrid"),
        ("mean_rate_hz", "rate (Hz)", "loihi-hybrid"),
    )
    for key, label, css in keys:
        if epochs[-1].get(key) is None:
            continue
        y = tuple(e.get(key) for e in epochs)
        told = f"{label} from {next(v for v in y if v is not None):.4g} to {y[-1]:.4g}"
        said.append(told)
        line = svg.Series(label, x, y, css)
        alt = f"{title}: {told}."
        drawings.append(svg.lines([line], "epoch", label, alt, marks=len(x) <= FEW_EPOCHS, whole_x=True))
    alt = f"{title}, {lasted}: {', '.join(said)}. {kept(history)}"
    return Figure(f"**{title}**, {lasted}. {kept(history)}", alt, tuple(drawings))


def _epochs(stage: str, history: dict[str, Any]) -> Table:
    epochs = history["epochs"]
    keys = [k for k in epochs[-1] if isinstance(epochs[-1][k], int | float) and k != "epoch"]
    columns = [text.column([e.get(k) for e in epochs], digits=4)[1] for k in keys]
    rows = tuple((str(e["epoch"]), *cells) for e, *cells in zip(epochs, *columns, strict=True))
    heads = ("Epoch", *(k.replace("_hz", " (Hz)").replace("_", " ") for k in keys))
    return Table(f"Epochs of `{stage}`. {kept(history)}", heads, rows, tall=len(rows) > 12)
