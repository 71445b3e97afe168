"""The rows of a comparison: one table, which settings, evaluation, sweeps and the report read. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A model of the comparison."""

    name: str
    meaning: str
    mark: str  # in charts
    parameters: str = ""  # "ann" or "hybrid"; "" for none
    spiking: bool = False
    on_chip: bool = False  # all integers


ROWS = {
    row.name: row
    for row in (
        Row("constant", "best prediction that ignores the image", "cross"),
        Row("model", "your model, in the framework that it was made with", "star"),
        Row("ann", "rates, NengoDL", "square", "ann"),
        Row("converted", "ANN's parameters, spiking, NengoDL", "hollow-circle", "ann", spiking=True),
        Row("hybrid", "fine-tuned with spikes, NengoDL", "hollow-diamond", "hybrid", spiking=True),
        Row("loihi-converted", "converted, integers, emulated Loihi", "circle", "ann", spiking=True, on_chip=True),
        Row("loihi-hybrid", "hybrid, integers, emulated Loihi", "diamond", "hybrid", spiking=True, on_chip=True),
        Row("loihi-board", "hybrid, Loihi board", "triangle", "hybrid", spiking=True, on_chip=True),
    )
}
BOARD = "loihi-board"  # what came back from a lab; appended to the others
OWN = "model"  # of an experiment whose network is a model that was made elsewhere
MODELS = tuple(name for name in ROWS if name not in (BOARD, OWN))  # of every network, in their order
RUN = (MODELS[0], OWN, *MODELS[1:])  # those that are run here
CHIP_FIRST = ("loihi-hybrid", "loihi-converted", "hybrid", "converted", "ann")  # the row a verdict is about


def rows_of(own: bool, asked: tuple[str, ...]) -> dict[str, bool]:
    """The rows of a comparison, and whether each is asked for; `own`: of a model that was made elsewhere."""
    asked = RUN if set(asked) >= set(MODELS) else asked
    return {name: name in asked for name in (RUN if own else MODELS)}


def run_rows(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows of metrics.json that were run, by model."""
    return {row["model"]: row for row in metrics["rows"] if not row.get("skipped")}
