"""What ``cotrain explore`` found: steps and rates that were tried with these parameters; nothing where nobody has."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Table, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.tasks import metric_name


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """As `pipeline.evaluation.explore` wrote it, if with these settings."""
    return {"explored": inputs.explored}


def blocks(document: dict[str, Any], inputs: Inputs | None = None) -> list[Block]:
    """Which steps and rate are recommended, and the grid."""
    found = document.get("explored")
    if not found:
        return []
    knee, name, rows = found["knee"], metric_name(found["metric"]), found["rows"]
    where = f"{found['protocol']} {found['split']} split" if found["protocol"] else f"{found['split']} split"
    advice = (
        f"Recommended: {knee['n_steps']} steps at {knee['rate_scale_hz']:g} Hz for an activation of 1, the cheapest "
        f"point within {found['tolerance']:g} of the best {name} ({text.score(knee['value'])}, "
        f"{text.si(knee['energy_j'], 'J')} estimated)."
    )
    spikes = text.column([row["spikes_per_inference"] for row in rows])[1]
    unit, energy = text.column([row["energy_j"] for row in rows], "J")
    cells = tuple(
        (
            str(row["n_steps"]), str(row["readout_steps"]), f"{row['rate_scale_hz']:g}",
            f"**{text.score(row['value'])}**" if row["knee"] else text.score(row["value"]),
            text.rate(row["mean_rate_hz"]), n_spikes, joules,
            "knee" if row["knee"] else "as trained" if row["trained"] else "",
        )
        for row, n_spikes, joules in zip(rows, spikes, energy, strict=True)
    )  # fmt: skip
    caption = (
        f"The same parameters over steps and rate scale, in the chip's integers: {found['n_samples']} samples of the "
        f"{where}. Energy is an estimate."
    )
    columns = ("Steps", "Read out", "Scale (Hz)", name, "Mean rate (Hz)", "Spikes", text.in_head("Energy", unit), "")
    return [Text(advice), Table(caption, columns, cells, "rrrrrrrl", tall=len(cells) > 12, sortable=True)]
