"""A sweep on one page: the fronts with their knees, parallel coordinates, importance, and every trial."""

from __future__ import annotations

import math
import shlex
import warnings
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.pipeline.evaluation.rows import CHIP_FIRST, MODELS
from cotrain.pipeline.report import charts, html
from cotrain.pipeline.report.blocks import Block, Code, Figure, Page, Row, Section, Table, Text
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.sweeps import sampling
from cotrain.pipeline.sweeps.plan import Objective, Plan

FRONT, OTHERS = "loihi-hybrid", "constant"  # colours of the page
READABLE = 'style="paint-order:stroke;stroke:var(--page);stroke-width:4px"'  # of a text on lines
COLUMN, FULL = 118, 830  # pixels between two axes of parallel coordinates, and of a page's width

Trial = dict[str, Any]


def render(plan: Plan, summary: dict[str, Any], folder: Path) -> bytes:
    """The page as HTML; links are relative to the sweep's folder."""
    trials, links = summary["trials"], _links(summary, folder)
    complete = [t for t in trials if t["state"] == sampling.COMPLETE]
    lead: list[Block] = [Text(_sentence(plan, summary), "verdict")]
    sections = []
    if complete:
        lead += _fronts(plan, complete, summary["pareto"], links)
        sections.append(Section("parallel", "What the good ones have in common", (_parallel(plan, complete, summary),)))
        importance = _importance(plan, complete)
        if importance:
            sections.append(Section("importance", "What matters", (importance,)))
    if summary["test"]:
        sections.append(Section("test", "The chosen points on the test split", tuple(_tests(summary))))
    sections.append(Section("trials", "All trials", tuple(_tables(plan, summary))))
    title = f"Sweep {plan.name} of {summary['base']}"
    subtitle = f"{len(trials)} of {plan.n_trials} trials, sampler {plan.sampler}; chosen on the validation split."
    text = html.render(Page(title, subtitle, tuple(lead), tuple(sections))).decode()
    for n, target in links.items():  # names of trials in tables become links
        name = f'<th scope="row">trial {n}</th>'
        text = text.replace(name, f'<th scope="row"><a href="{target}">trial {n}</a></th>')
    return text.encode()


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


def front_of_two(first: Objective, other: Objective, complete: list[Trial]) -> tuple[list[Trial], Trial | None]:
    """The trials that none beats in these two objectives, by the second one, and their knee."""
    signs = np.array([1 if o.direction == "maximize" else -1 for o in (first, other)])
    points = np.array([[t["values"][first.name], t["values"][other.name]] for t in complete]) * signs
    beaten = [
        bool(((points >= mine).all(axis=1) & (points > mine).any(axis=1)).any()) for mine in points
    ]  # fmt: skip
    best = [i for i in np.lexsort(points.T[::-1]) if not beaten[i]]
    best.sort(key=lambda i: complete[i]["values"][other.name])
    at = knee(points[best])
    return [complete[i] for i in best], None if at is None else complete[best[at]]


def _links(summary: dict[str, Any], folder: Path) -> dict[int, str]:
    """What there is to read of each trial: its report, else its log."""
    found = {}
    for t in summary["trials"]:
        where = artifacts.trial_folder(folder, t["number"])
        report = artifacts.stage_folder(where, summary["base"], "report") / artifacts.REPORT["html"]
        for target in (report, where / artifacts.TRIAL_LOG):
            if target.is_file():
                found[t["number"]] = target.relative_to(folder).as_posix()
                break
    return found


def _sentence(plan: Plan, summary: dict[str, Any]) -> str:
    states = [t["state"] for t in summary["trials"]]
    counts = ", ".join(f"{states.count(s)} {s}" for s in sampling.STATES if s in states) or "no trial yet"
    front = summary["pareto"]
    named = ", ".join(f"trial {n}" for n in front[:6]) + (f" and {len(front) - 6} more" if len(front) > 6 else "")
    return f"{counts}. Nothing beats {named}." if front else f"{counts}."


def _fronts(plan: Plan, complete: list[Trial], front: list[int], links: dict[int, str]) -> list[Block]:
    """A chart for the first objective against each other one, and how to go on from the knee."""
    first, *others = plan.objectives
    if not others:
        best = (max if first.direction == "maximize" else min)(complete, key=lambda t: t["values"][first.name])
        return [_so_far(first, complete), *_go_on(plan, best, "best")]
    figures, chosen = [], None
    for other in others:
        ends = front_of_two(first, other, complete)
        at = ends[1]
        figures.append(_front(first, other, complete, set(front), ends, links))
        chosen = chosen or at
    return [Row(tuple(figures)), *(_go_on(plan, chosen, "knee") if chosen else [])]


def _go_on(plan: Plan, trial: Trial, what: str) -> list[Block]:
    sets = " ".join(f"--set {shlex.quote(text)}" for text in plan.overrides(trial["params"]))
    base = plan.base if not plan.base.endswith(".toml") else Path(plan.base).name
    return [
        Text(f"The {what}, trial {trial['number']}, as an experiment:", "note"),
        Code(f"cotrain train {base} {sets}"),
    ]


def _so_far(one: Objective, complete: list[Trial]) -> Figure:
    values = [t["values"][one.name] for t in complete]
    best = np.maximum.accumulate(values) if one.direction == "maximize" else np.minimum.accumulate(values)
    numbers = tuple(float(t["number"]) for t in complete)
    series = [
        charts.Series("trials", numbers, tuple(values), OTHERS, "none"),
        charts.Series("best so far", numbers, tuple(map(float, best)), FRONT),
    ]
    drawing = charts.lines(series, "trial", one.name, f"{one.name} by trial", whole_x=True)
    return Figure(f"{one.name} by trial, and the best so far.", f"{one.name} by trial", (drawing,))


def _front(
    first: Objective, other: Objective, complete: list[Trial], front: set[int],
    line: tuple[list[Trial], Trial | None], links: dict[int, str],
) -> Figure:  # fmt: skip
    def at(t: Trial) -> tuple[float, float]:
        return axes.px(t["values"][other.name]), axes.py(t["values"][first.name])

    xs, ys = ([t["values"][o.name] for t in complete] for o in (other, first))
    log_x = min(xs) > 0 and max(xs) / min(xs) > 20
    axes = charts.Axes((min(xs), max(xs)), (min(ys), max(ys)), log_x=log_x, left=78, top=24)
    axes.frame(other.name, first.name)
    best, chosen = line
    path = "L".join("{:.1f} {:.1f}".format(*at(t)) for t in best)
    axes.parts.append(f'<path class="line dot {FRONT}" d="M{path}"/>')
    for t in sorted(complete, key=lambda t: t["number"] in front):
        css, shape = (FRONT, "square") if t["number"] in front else (OTHERS, "circle")
        if t is chosen:
            css, shape = FRONT, "hollow-diamond"
        drawn = charts.mark(*at(t), css, shape, 7 if t is chosen else 4)
        drawn = f"<title>trial {t['number']}: {escape(_values(t))}</title>{drawn}"
        target = links.get(t["number"])
        axes.parts.append(f'<a href="{escape(target)}">{drawn}</a>' if target else f"<g>{drawn}</g>")
    if chosen:
        x, y = at(chosen)
        text, right = f"knee: trial {chosen['number']}", x > axes.right - 110
        css, dx = ("end", -9) if right else ("", 9)
        axes.parts.append(f'<text class="{css}" {READABLE} x="{x + dx:.1f}" y="{max(y - 10, 12):.1f}">{text}</text>')
    caption = (
        f"{first.name} against {other.name}. Squares: nothing beats them in all objectives; the line: in these two."
    )
    caption += f" Trial {chosen['number']} is its knee." if chosen else " It has no knee."
    return Figure(caption, caption, (axes.done(caption),))


def _parallel(plan: Plan, complete: list[Trial], summary: dict[str, Any]) -> Figure:
    """One line a trial over all settings and objectives."""
    columns = [
        (key, [t["params"][key] for t in complete], choices if isinstance(choices, list) else None)
        for key, choices in plan.space.items()
    ]
    columns += [(o.name, [t["values"][o.name] for t in complete], None) for o in plan.objectives]
    left, top, bottom, height = 62, 34, 62, 330
    width = max(FULL, 2 * left + COLUMN * (len(columns) - 1))
    step = (width - 2 * left) / max(len(columns) - 1, 1)
    places, axes = [], []
    for i, (name, values, choices) in enumerate(columns):
        x = left + i * step
        spots, labels = _axis(values, choices)
        span = height - top - bottom
        places.append([(x, top + span * (1 - s)) for s in spots])
        axes.append(f'<path class="axis" d="M{x:.1f} {top}V{height - bottom}"/>')
        group, _, key = name.rpartition(".")
        lines = [group, key] if group else [key]
        for k, text in enumerate(lines):
            y = height - bottom + 30 + 14 * k
            css = "mid soft small" if group and not k else "mid small name"
            axes.append(f'<text class="{css}" x="{x:.1f}" y="{y}">{escape(text)}</text>')
        for label, s in labels:
            ends = choices is None
            place = (top - 8 if s else height - bottom + 14) if ends else top + span * (1 - s) + 4
            axes.append(f'<text class="mid small soft" {READABLE} x="{x:.1f}" y="{place:.1f}">{escape(label)}</text>')
    front, parts = set(summary["pareto"]), []
    for k, t in sorted(enumerate(complete), key=lambda pair: pair[1]["number"] in front):
        css, faint = (FRONT, "") if t["number"] in front else (OTHERS, ' opacity="0.4"')
        path = "L".join(f"{column[k][0]:.1f} {column[k][1]:.1f}" for column in places)
        title = f"<title>trial {t['number']}: {escape(_values(t))}</title>"
        parts.append(f'<g{faint}>{title}<path class="line {css}" d="M{path}"/></g>')
    alt = "Each line is a trial through its settings and figures; those that nothing beats stand out."
    return Figure(alt, alt, (charts.document(width, height, parts + axes, alt),), "full")


def _axis(values: list, choices: list | None) -> tuple[list[float], list[tuple[str, float]]]:
    """Places in [0, 1] of a column's values, and labels of its axis."""
    if choices is not None:
        places = {str(choice): (i + 0.5) / len(choices) for i, choice in enumerate(choices)}
        return [places[str(v)] for v in values], list(places.items())
    low, high = min(values), max(values)
    log = low > 0 and high / low > 20
    scale = math.log if log else float
    span = scale(high) - scale(low) if high > low else 1.0
    spots = [(scale(v) - scale(low)) / span if high > low else 0.5 for v in values]
    return spots, [(_short(low), 0.0), (_short(high), 1.0)][: 2 if high > low else 1]


def _short(value: Any) -> str:
    """A number with as many digits as are read."""
    if isinstance(value, float) and value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _importance(plan: Plan, complete: list[Trial]) -> Table | None:
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
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # it looks for low targets: so they are made
                found = optuna.importance.get_param_importances(
                    study, evaluator=evaluator, target=lambda trial, i=i, sign=sign: sign * trial.values[i]
                )
        except (ValueError, RuntimeError):
            return None
        columns.append(found)
    rows = tuple((key, *(f"{found.get(key, 0.0):.2f}" for found in columns)) for key in plan.space)
    return Table(
        "Share of each setting in what sets the best tenth of the trials apart from all (PED-ANOVA); few trials say "
        "little.",
        ("Setting", *(o.name for o in plan.objectives)), rows, sortable=True,
    )  # fmt: skip


def _tests(summary: dict[str, Any]) -> list[Block]:
    """One table a protocol: a row a trial, a column a model."""
    tables: list[Block] = []
    protocols = dict.fromkeys(name for found in summary["test"].values() for name in found.get("protocols", {}))
    for protocol in ("", *protocols):
        of_trial = {}
        for n, found in summary["test"].items():
            rows = found["protocols"].get(protocol, {"rows": []})["rows"] if protocol else found["rows"]
            of_trial[n] = {row["model"]: row for row in rows}
        models = [model for model in MODELS if any(model in rows for rows in of_trial.values())]
        chip = next((model for model in CHIP_FIRST if model in models), "")
        cells = tuple(
            (f"trial {n}", *(_score(rows.get(model)) for model in models), _rate(rows.get(chip)))
            for n, rows in of_trial.items()
        )
        where = f"Protocol “{protocol}”: the same test images, moved" if protocol else "The test images as they are"
        caption = f"{where}. Scored once, after the choice; 95 % intervals in brackets."
        columns = ("Trial", *models, f"{chip}: rate (Hz)" if chip else "Rate (Hz)")
        tables.append(Table(caption, columns, cells, sortable=True))
    return tables


def _score(row: dict[str, Any] | None) -> str:
    return "–" if row is None else f"{row['value']:.3f} [{row['ci95'][0]:.3f}, {row['ci95'][1]:.3f}]"


def _rate(row: dict[str, Any] | None) -> str:
    return "–" if row is None or row["mean_rate_hz"] is None else f"{row['mean_rate_hz']:.1f}"


def _tables(plan: Plan, summary: dict[str, Any]) -> list[Block]:
    front = set(summary["pareto"])
    rows, reasons = [], []
    for t in summary["trials"]:
        params = tuple(_param(t["params"][key]) for key in plan.space)
        values = tuple(_short(t["values"][o.name]) if o.name in t["values"] else "–" for o in plan.objectives)
        state = "on the front" if t["number"] in front else t["state"]
        rows.append((f"trial {t['number']}", state, *params, *values, f"{t['seconds']:.1f}"))
        if "error" in t:
            reasons.append((f"trial {t['number']}", t["state"], t["error"]))
    columns = ("Trial", "State", *plan.space, *(o.name for o in plan.objectives), "Seconds")
    caption = "Every trial; its name leads to its report, or to what it printed."
    tables: list[Block] = [Table(caption, columns, tuple(rows), "ll", tall=True, sortable=True)]
    if reasons:
        tables.append(
            Table("Why some have no figures.", ("Trial", "State", "Reason"), tuple(reasons), "lll", tall=True)
        )
    return tables


def _param(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(trial: Trial) -> str:
    settings = ", ".join(f"{key} {_param(value)}" for key, value in trial["params"].items())
    return ", ".join(f"{key} {value:.5g}" for key, value in trial["values"].items()) + f" ({settings})"
