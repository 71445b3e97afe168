"""How far estimates lay from measured chips: the summary that stands beside every estimate (``make silicon``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

from cotrain.hardware import files
from cotrain.hardware.cost.estimate import constants

SUMMARY = Path(__file__).with_name("silicon.json")
TERMS = {
    "core_dynamic": "core dynamic", "x86": "x86", "x86 at the measured time": "x86 where the time is known",
    "leakage": "leakage", "dynamic": "core dynamic and x86 together", "total": "total", "time": "time",
}  # fmt: skip


def summary() -> Dict[str, Any]:
    """`tools/silicon.py` writes it; errors are fractions of the measurement."""
    return files.read_json(SUMMARY, damaged="install the package again")


def sentences() -> List[str]:
    """The summary in words: one line a term, the worst row named."""
    found = summary()
    said = [f"Held against {found['rows']} public measurements on Loihi 1 chips (reports/silicon.md):"]
    for term, s in found["summary"].items():
        line = f"{TERMS[term]}: {s['inside']} of {s['rows']} rows inside the range"
        if s["points"]:
            line += (
                f"; where there is a value ({s['points']}), median error {100 * s['median_error']:.1f} %, "
                f"worst {100 * s['worst_error']:.1f} % ({s['worst_row']})"
            )
        said.append(line)
    said.append(
        "fitted on those rows: " + "; ".join(f"{c['name']} ({c['fitted']})" for c in constants() if c["fitted"])
    )
    return said
