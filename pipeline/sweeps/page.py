"""A sweep on one page: the front with its knee, parallel coordinates, importance, and every trial."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.pipeline.report import charts, html
from cotrain.pipeline.report.blocks import Figure, Page, Section, Table, Text
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.sweeps import sampling
from cotrain.pipeline.sweeps.plan import Plan

FRONT, OTHERS = "loihi-hybrid", "constant"  # colours of the page


def render(plan: Plan, summary: dict[str, Any], folder: Path) -> bytes:
    """The page as HTML; links are relative to the sweep's folder."""
    trials = summary["trials"]
    complete = [t for t in trials if t["state"] == sampling.COMPLETE]
    lead: list = [Text(_sentence(plan, summary), "verdict")]
    sections = []
    if complete:
        lead += _fronts(plan, complete, summary["pareto"])
        sections.append(Section("parallel", "What the good ones have in common", (_parallel(plan, complete, summary),)))
        importance = _importance(plan, complete)
        if importance:
            sections.append(Section("importance", "What matters", (importance,)))
    if summary["test"]:
        sections.append(Section("test", "The chosen points on the test split", (_tests(summary),)))
    sections.append(Section("trials", "All trials", (_table(plan, summary),)))
    title = f"Sweep {plan.name} of {summary['base']}"
    subtitle = f"{len(trials)} of {plan.n_trials} trials, sampler {plan.sampler}; chosen on the validation split."
    found = html.render(Page(title, subtitle, tuple(lead), tuple(sections)))
    return _with_links(found, summary, folder)


def knee(points: np.ndarray) -> int | None:
    """Index of the point of a front that is farthest from the line through its ends, both axes scaled to [0, 1]; after
    Satopää et al., "Finding a kneedle in a haystack" (2011). None for fewer than three points.

    Parameters
    ----------
    points : (n, 2) float
        Larger is better in both.
    """
    if len(points) < 3:
        return None
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    if not (span > 0).all():
        return None
    gain = ((points - low) / span).sum(axis=1)  # the line through the ends is gain = 1
    return int(gain.argmax()) if gain.max() > 1 else None


def _sentence(plan: Plan, summary: dict[str, Any]) -> str:
    states = [t["state"] for t in summary["trials"]]
    counts = ", ".join(f"{states.count(s)} {s}" for s in sampling.STATES if s in states) or "no trial yet"
    front = summary["pareto"]
    named = ", ".join(f"trial {n}" for n in front[:6]) + (" …" if len(front) > 6 else "")
    return f"{counts}. Nothing beats {named}." if front else f"{counts}."


def _fronts(plan: Plan, complete, front) -> list:
    """A chart for the first objective against each other one."""
    objectives = plan.objectives
    if len(objectives) < 2:
        one = objectives[0]
        values = [t["values"][one.name] for t in complete]
        best = np.maximum.accumulate(values) if one.direction == "maximize" else np.minimum.accumulate(values)
        numbers = tuple(float(t["number"]) for t in complete)
        series = [
            charts.Series("trials", numbers, tuple(values), OTHERS, "none"),
            charts.Series("best so far", numbers, tuple(map(float, best)), FRONT),
        ]
        drawing = charts.lines(series, "trial", one.name, f"{one.name} by trial", whole_x=True)
        return [Figure(f"{one.name} by trial, and the best so far.", f"{one.name} by trial", (drawing,))]
    first, figures = objectives[0], []
    for other in objectives[1:]:
        figures.append(_front(first, other, complete, front))
    return figures


def _front(first, other, complete, front) -> Figure:
    xs = [t["values"][other.name] for t in complete]
    ys = [t["values"][first.name] for t in complete]
    log_x = min(xs) > 0 and max(xs) / min(xs) > 20
    axes = charts.Axes((min(xs), max(xs)), (min(ys), max(ys)), log_x=log_x, left=78)
    axes.frame(other.name, first.name)
    signs = np.array([1 if first.direction == "maximize" else -1, 1 if other.direction == "maximize" else -1])
    best = sorted((t for t in complete if t["number"] in front), key=lambda t: t["values"][other.name])
    at = knee(np.array([[t["values"][first.name], t["values"][other.name]] for t in best]).reshape(-1, 2) * signs)
    for t in complete:
        x, y = t["values"][other.name], t["values"][first.name]
        css, shape = (FRONT, "square") if t["number"] in front else (OTHERS, "circle")
        drawn = charts.mark(axes.px(x), axes.py(y), css, shape)
        axes.parts.append(f"<g><title>trial {t['number']}: {escape(_values(t))}</title>{drawn}</g>")
    if at is not None:
        t = best[at]
        axes.text(t["values"][other.name], t["values"][first.name], f"knee: trial {t['number']}", "", dy=-8)
    caption = f"{first.name} against {other.name}; squares are on the front of all objectives, "
    caption += f"trial {best[at]['number']} is its knee." if at is not None else "which has no knee here."
    return Figure(caption, caption, (axes.done(caption),))


def _parallel(plan: Plan, complete, summary) -> Figure:
    """One line a trial over all settings and objectives."""
    columns = [(key, [t["params"][key] for t in complete]) for key in plan.space]
    columns += [(o.name, [t["values"][o.name] for t in complete]) for o in plan.objectives]
    width, height, left = max(380, 190 * len(columns)), 280, 95
    step = (width - 2 * left) / max(len(columns) - 1, 1)
    places, parts = [], []
    for i, (name, values) in enumerate(columns):
        x = left + i * step
        spots, ends = _axis(values)
        places.append([(x, 30 + (height - 75) * (1 - s)) for s in spots])
        parts.append(f'<path class="axis" d="M{x:.1f} 30V{height - 45}"/>')
        parts.append(f'<text class="mid" x="{x:.1f}" y="{height - 8 - 16 * (i % 2)}">{escape(name)}</text>')
        for label, s in ends:
            y = 30 + (height - 75) * (1 - s)
            parts.append(f'<text class="soft" x="{x + 4:.1f}" y="{y + 4:.1f}">{escape(label)}</text>')
    front = set(summary["pareto"])
    for k, t in sorted(enumerate(complete), key=lambda pair: pair[1]["number"] in front):
        css = FRONT if t["number"] in front else OTHERS
        path = "L".join(f"{column[k][0]:.1f} {column[k][1]:.1f}" for column in places)
        title = f"<title>trial {t['number']}: {escape(_values(t))}</title>"
        parts.append(f'<g>{title}<path class="line {css}" d="M{path}"/></g>')
    alt = "Each line is a trial; those of the front stand out."
    return Figure(alt, alt, (charts.document(width, height, parts, alt),), "wide")


def _axis(values: list) -> tuple[list[float], list[tuple[str, float]]]:
    """Places in [0, 1] of a column's values, and labels of its axis."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if not numbers:
        kinds = sorted({str(v) for v in values})
        places = {kind: (i + 0.5) / len(kinds) for i, kind in enumerate(kinds)}
        return [places[str(v)] for v in values], list(places.items())
    low, high = min(values), max(values)
    log = low > 0 and high / low > 20
    scale = math.log if log else float
    span = scale(high) - scale(low) if high > low else 1.0
    places_of = [(scale(v) - scale(low)) / span if high > low else 0.5 for v in values]
    return places_of, [(charts.label_number(low), 0.0), (charts.label_number(high), 1.0)][: 2 if high > low else 1]


def _importance(plan: Plan, complete) -> Table | None:
    """How much each setting decides; PED-ANOVA (Watanabe et al., IJCAI 2023), which Optuna brings."""
    if len(complete) < 2 * len(plan.space) + 4:
        return None
    optuna = sampling.import_optuna()
    study = sampling.study_of(plan, complete)
    columns = []
    for i, objective in enumerate(plan.objectives):
        sign = 1 if objective.direction == "minimize" else -1
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        try:
            found = optuna.importance.get_param_importances(
                study, evaluator=evaluator, target=lambda trial, i=i, sign=sign: sign * trial.values[i]
            )
        except (ValueError, RuntimeError):
            return None
        columns.append(found)
    rows = tuple((key, *(f"{found.get(key, 0.0):.2f}" for found in columns)) for key in plan.space)
    return Table(
        "Share of each setting in what the best quarter of the trials has that others have not (PED-ANOVA).",
        ("Setting", *(o.name for o in plan.objectives)), rows,
    )  # fmt: skip


def _tests(summary) -> Table:
    rows = []
    for n, found in summary["test"].items():
        for row in found["rows"]:
            rate = "–" if row["mean_rate_hz"] is None else f"{row['mean_rate_hz']:.1f}"
            low, high = row["ci95"]
            rows.append((f"trial {n}", row["model"], f"{row['value']:.4f}", f"{low:.4f}–{high:.4f}", rate))
    columns = ("Trial", "Model", "Score", "95 % interval", "Rate (Hz)")
    return Table("Scored once, after the choice.", columns, tuple(rows), "llrrr")


def _table(plan: Plan, summary) -> Table:
    front = set(summary["pareto"])
    rows = []
    for t in summary["trials"]:
        params = tuple(str(t["params"][key]) if not isinstance(t["params"][key], float) else f"{t['params'][key]:.4g}"
                       for key in plan.space)  # fmt: skip
        values = tuple(f"{t['values'][o.name]:.5g}" if o.name in t["values"] else "–" for o in plan.objectives)
        state = "on the front" if t["number"] in front else t["state"]
        rows.append((f"trial {t['number']}", state, *params, *values, f"{t['seconds']:.1f}"))
    columns = ("Trial", "State", *plan.space, *(o.name for o in plan.objectives), "Seconds")
    return Table("Every trial; those on the front have a report.", columns, tuple(rows), tall=True)


def _values(trial) -> str:
    return ", ".join(f"{key} {value:.5g}" for key, value in trial["values"].items())


def _with_links(found: bytes, summary, folder: Path) -> bytes:
    """Names of trials in tables become links to their reports."""
    text = found.decode()
    for t in summary["trials"]:
        where = artifacts.trial_folder(folder, t["number"])
        report = artifacts.stage_folder(where, summary["base"], "report") / artifacts.REPORT["html"]
        target = (report if report.is_file() else where / artifacts.TRIAL_LOG).relative_to(folder)
        name = f'<th scope="row">trial {t["number"]}</th>'
        text = text.replace(name, f'<th scope="row"><a href="{target}">trial {t["number"]}</a></th>')
    return text.encode()
