"""The report as one JSON document: everything its tables and figures show, and what they were made with."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import FIRST_SCREEN, SECTIONS

SCHEMA = 2  # 1: energy without terms of time, no "decision"


def build(inputs: Inputs) -> dict[str, Any]:
    """The JSON twin of the report. `metrics` is metrics.json, unchanged."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "loihi-cotrain report",
        "experiment": inputs.experiment,
        "title": inputs.title,
        "network": inputs.spec.name,
        "metrics": inputs.metrics,
    }
    for row in (*SECTIONS, FIRST_SCREEN):
        document.update(row.facts(inputs, document))
    return document
