"""The report's charts, each from the document (and the rates), with its alternative in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.evaluation.rows import ROWS, run_rows
from cotrain.pipeline.report import charts as svg
from cotrain.pipeline.report import tables, text
from cotrain.pipeline.report.blocks import Figure
from cotrain.pipeline.report.charts import Series
from cotrain.pipeline.tasks import metric_name

MARKS = {row.name: row.mark for row in ROWS.values()}


def css_of(model: str) -> str:
    return model if model in MARKS else "paper"


def scores(document: dict[str, Any]) -> Figure | None:
    """Score and interval of each row, with the paper's figures."""
    metrics = document["metrics"]
    rows = [r for r in metrics["rows"] if not r.get("skipped")]
    if not rows:
        return None
    paper = (document["paper"] or {}).get("rows", {})
    spread = [v for r in rows for v in (r["value"], *(r.get("ci95") or ()))] + [p["value"] for p in paper.values()]
    height = 30 * len(rows) + 56
    axes = svg.Axes((min(spread), max(spread)), (0, len(rows)), height=height, left=118, top=8, bottom=44)
    for v in svg.ticks(axes.x0, axes.x1, 6):
        x = axes.px(v)
        axes.parts.append(f'<path class="grid" d="M{x:.1f} {axes.top}V{axes.bottom}"/>')
        axes.parts.append(f'<text class="soft mid" x="{x:.1f}" y="{axes.bottom + 17}">{svg.label_number(v)}</text>')
    for i, row in enumerate(rows):
        y, css = axes.top + 15 + 30 * i, css_of(row["model"])
        axes.parts.append(f'<text class="end" x="{axes.left - 10}" y="{y + 4}">{row["model"]}</text>')
        if row.get("ci95"):
            low, high = (axes.px(v) for v in row["ci95"])
            axes.parts.append(
                f'<path class="line {css}" d="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 5}v10M{high:.1f} {y - 5}v10"/>'
            )
        axes.parts.append(svg.mark(axes.px(row["value"]), y, css, MARKS.get(row["model"], "circle")))
        if row["model"] in paper:
            axes.parts.append(svg.mark(axes.px(paper[row["model"]]["value"]), y, "paper", "triangle"))
    name = metric_name(metrics["metric"])
    axes.parts.append(f'<text class="mid" x="{(axes.left + axes.right) / 2:.0f}" y="{height - 8}">{name}</text>')
    alt = f"{name} of each model: " + ", ".join(f"{r['model']} {text.score(r['value'])}" for r in rows) + "."
    legend = ()
    if paper:
        other = "" if document["paper"]["same_data"] else ", other data set"
        alt += " In the paper: " + ", ".join(f"{m} {text.score(p['value'])}" for m, p in paper.items()) + "."
        legend = (("paper", f"paper ({document['paper']['data']}{other})", "triangle"),)
    return Figure(f"{name} with 95 % intervals; triangles are the paper's figures." if paper else
                  f"{name} with 95 % intervals.", alt, (axes.done(alt),), legend=legend)  # fmt: skip


def training(document: dict[str, Any]) -> list[Figure]:
    """Loss and validation metric over the epochs, of both trainings."""
    name = metric_name(document["metrics"]["metric"])
    figures = []
    for stage, title in (("train", "Training of the ANN"), ("finetune", "Hybrid fine-tuning")):
        history = document["histories"].get(stage) or {}
        epochs = history.get("epochs") or []
        if not epochs:
            continue
        x = tuple(e["epoch"] for e in epochs)
        lasted, kept = text.plural(x[-1], "epoch"), tables.kept(history)
        drawings, said = [], []
        keys = (
            ("loss", "loss", "converted"),
            ("metric", f"validation {name}", "hybrid"),
            ("mean_rate_hz", "rate (Hz)", "loihi-hybrid"),
        )
        for key, label, css in keys:
            if key not in epochs[-1] or epochs[-1][key] is None:
                continue
            y = tuple(e.get(key) for e in epochs)
            told = f"{label} from {next(v for v in y if v is not None):.4g} to {y[-1]:.4g}"
            said.append(told)
            line, few = Series(label, x, y, css), len(x) <= 25
            drawings.append(svg.lines([line], "epoch", label, f"{title}: {told}.", marks=few, whole_x=True))
        alt = f"{title}, {lasted}: {', '.join(said)}. {kept}"
        figures.append(Figure(f"**{title}**, {lasted}. {kept}", alt, tuple(drawings)))
    return figures


def spikes_per_layer(document: dict[str, Any]) -> Figure | None:
    """Spikes of each layer in one inference, NengoDL beside Loihi."""
    rows = run_rows(document["metrics"])
    drawings, alts, legend = [], [], []
    for kind in ("hybrid", "converted"):
        found = [(m, rows[m]) for m in (kind, f"loihi-{kind}") if m in rows and rows[m]["layers"]]
        if not found:
            continue
        names = [layer["name"] for layer in found[0][1]["layers"]]
        groups = [(m, [[(m, layer["spikes_per_inference"])] for layer in row["layers"]]) for m, row in found]
        alt = f"Spikes per layer and inference, {' against '.join(m for m, _ in found)}: " + "; ".join(
            f"{name} " + " and ".join(text.count(row["layers"][i]["spikes_per_inference"]) for _, row in found)
            for i, name in enumerate(names)
        )
        drawings.append(svg.bars(names, groups, "spikes per inference", alt + "."))
        alts.append(alt + ".")
        legend += [(m, f"{m} ({_where(m)})") for m, _ in found]
    if not drawings:
        return None
    return Figure("Spikes per layer in one inference.", " ".join(alts), tuple(drawings), legend=tuple(legend))


def _where(model: str) -> str:
    return "emulated Loihi" if ROWS[model].on_chip else "NengoDL"


def rate_scatter(document: dict[str, Any], rates: dict[str, np.ndarray]) -> list[Figure]:
    """Each neuron's rate in NengoDL against its rate on emulated Loihi, by layer."""
    figures = []
    for kind in ("hybrid", "converted"):
        agreement = {a["name"]: a for a in (document["metrics"].get("agreement", {}).get(kind) or {}).get("layers", [])}
        names = [n for n in agreement if f"{kind}/{n}" in rates and f"loihi-{kind}/{n}" in rates]
        drawings, said = [], []
        for name in names:
            a, b = (np.asarray(rates[f"{m}/{name}"], float) for m in (kind, f"loihi-{kind}"))
            r = agreement[name]["rate_correlation"]
            told = f"mean diff. {agreement[name]['rate_mean_abs_difference_hz']:.2f} Hz"
            told += "" if r is None else f", r = {r:.3f}"
            said.append(f"{name} {told}")
            alt = f"Rates of {a.size:,} neurons of {name}, NengoDL against Loihi: {told}."
            title = f"{name}\n{told}"
            drawings.append(svg.density(a, b, "NengoDL (Hz)", "Loihi (Hz)", title, alt, f"loihi-{kind}"))
        if drawings:
            caption = (
                f"Mean rate of each neuron of the **{kind}** network, NengoDL against Loihi; the stronger the colour, "
                "the more neurons. "
                "On the diagonal they agree."
            )
            figures.append(
                Figure(
                    caption, f"Agreement of rates, {kind} network: " + "; ".join(said) + ".", tuple(drawings), "small"
                )
            )
    return figures


def over_steps(document: dict[str, Any]) -> Figure | None:
    """Score against number of steps, and against spikes and estimated energy."""
    trajectory, metrics = document["trajectory"], document["metrics"]
    if not trajectory.get("n_steps"):
        return None
    name, rows = metric_name(metrics["metric"]), run_rows(metrics)
    models = [m for m in MARKS if m in trajectory["models"]]
    steps = trajectory["n_steps"]
    levels = [(rows[m]["value"], m, m) for m in ("constant", "ann") if m in rows]
    legend = tuple((css_of(m), m, MARKS[m]) for m in models)

    def chart(x_of, x_label, log):
        series = [
            Series(
                m, tuple(x_of[m]), tuple(trajectory["models"][m]), css_of(m), "" if "loihi" in m else "dash", MARKS[m]
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

    spikes, energy = trajectory.get("spikes") or {}, trajectory.get("energy_j_estimate") or {}
    charts = [chart({m: steps for m in models}, "steps of a presentation", False)]
    if spikes:
        charts.append(chart(spikes, "spikes per inference", True))
    if energy:
        micro = {m: [1e6 * v for v in values] for m, values in energy.items()}
        charts.append(chart(micro, "energy per inference (µJ, estimate)", True))
    caption = (
        f"{name} if the presentation stops early, against steps, spikes and energy (estimate, input streamed). "
        "Each mark is one number of steps; dotted: rows that know no time. Spikes in time are NengoDL's."
    )
    return Figure(caption, " ".join(alt for _, alt in charts), tuple(drawing for drawing, _ in charts), legend=legend)


def quantization(document: dict[str, Any]) -> Figure | None:
    """Error of weights and of steady rates by layer."""
    found = {kind: one["layers"] for kind, one in document["quantization"].items() if one.get("layers")}
    if not found:
        return None
    names = [layer["name"] for layer in next(iter(found.values()))]
    drawings, alts = [], []
    for key, factor, label in (
        ("weight_error", 100, "RMS error of the weights (% of their RMS)"),
        ("rate_error_hz", 1, "mean absolute error of the rates (Hz)"),
    ):
        groups = [
            (kind, [[(kind, factor * (layer.get(key) or 0.0))] for layer in layers]) for kind, layers in found.items()
        ]
        told = "; ".join(
            f"{name} " + " and ".join(f"{stacks[i][0][1]:.2g}" for _, stacks in groups) for i, name in enumerate(names)
        )
        alts.append(f"{label}, {' and '.join(found)}: {told}.")
        drawings.append(svg.bars(names, groups, label, alts[-1]))
    legend = tuple((kind, f"{kind} network") for kind in found)
    return Figure("What the chip's integers cost, layer by layer.", " ".join(alts), tuple(drawings), legend=legend)
