"""What a presentation that stops early gives: accuracy against steps, spikes and energy."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.evaluation.rows import ROWS, run_rows
from cotrain.pipeline.report import charts as svg
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Figure, Fold, Table, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import energy
from cotrain.pipeline.tasks import metric_name


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """The course of scores and spikes, and the energy until then."""
    energy_j = energy.over_steps(inputs.trajectory, inputs.metrics, inputs.spec, inputs.placement)
    return {"trajectory": {**inputs.trajectory, "energy_j_estimate": energy_j}}


def blocks(document: dict[str, Any], inputs: Inputs) -> list[Block]:
    """Charts; their numbers folded away."""
    if not document["trajectory"].get("n_steps"):
        return [Text("No spiking row was run, so nothing happened over time.", "note")]
    return [_charts(document), Fold("The numbers of these charts", (_table(document),))]


def _charts(document: dict[str, Any]) -> Figure:
    trajectory, metrics = document["trajectory"], document["metrics"]
    name, rows = metric_name(metrics["metric"]), run_rows(metrics)
    models = [m for m in ROWS if m in trajectory["models"]]
    steps = trajectory["n_steps"]
    levels = [(rows[m]["value"], m, m) for m in ("constant", "ann") if m in rows]
    legend = tuple((m, m, ROWS[m].mark) for m in models)

    def chart(x_of: dict[str, list[float]], x_label: str, log: bool) -> tuple[str, str]:
        series = [
            svg.Series(
                m, tuple(x_of[m]), tuple(trajectory["models"][m]), m, "" if ROWS[m].on_chip else "dash", ROWS[m].mark
            )
            for m in models
            if m in x_of
        ]
        told = "; ".join(
            f"{s.label} {text.score(s.y[0])} at {text.si(s.x[0])}, {text.score(s.y[-1])} at {text.si(s.x[-1])}"
            for s in series
        )
        alt = f"{name} against {x_label}: {told}."
        return svg.lines(series, x_label, name, alt, log_x=log, levels=levels), alt

    spikes, energy_j = trajectory.get("spikes") or {}, trajectory.get("energy_j_estimate") or {}
    charts = [chart({m: steps for m in models}, "steps of a presentation", False)]
    if spikes:
        charts.append(chart(spikes, "spikes per inference", True))
    if energy_j:
        micro = {m: [1e6 * v for v in values] for m, values in energy_j.items()}
        charts.append(chart(micro, "energy per inference (µJ, estimate)", True))
    caption = (
        f"{name} if the presentation stops early, against steps, spikes and energy (estimate, input streamed). "
        "Each mark is one number of steps; dotted: rows that know no time. Spikes in time are NengoDL's."
    )
    return Figure(caption, " ".join(alt for _, alt in charts), tuple(drawing for drawing, _ in charts), legend=legend)


def _table(document: dict[str, Any]) -> Table:
    found = document["trajectory"]
    name = metric_name(document["metrics"]["metric"])
    heads, columns = ["Steps"], [[str(step) for step in found["n_steps"]]]
    for model, values in found["models"].items():
        heads.append(f"{model}: {name}")
        columns.append([text.score(v) for v in values])
    for key, what, unit in (("spikes", "spikes", ""), ("energy_j_estimate", "energy, estimate", "J")):
        for model, values in (found.get(key) or {}).items():
            shown_unit, cells = text.column(values, unit)
            heads.append(text.in_head(f"{model}: {what}", shown_unit))
            columns.append(cells)
    rows = tuple(zip(*columns, strict=True))
    return Table("If a presentation stops early.", tuple(heads), rows, "r" * len(heads), tall=len(rows) > 12)
