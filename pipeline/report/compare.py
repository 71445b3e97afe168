"""Several experiments on one page, from the report.json of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline.evaluation.rows import CHIP_FIRST, OWN, ROWS, run_rows
from cotrain.pipeline.report import charts, html, markdown, text
from cotrain.pipeline.report.blocks import Block, Figure, Page, Section, Table, Text
from cotrain.pipeline.report.document import SCHEMA
from cotrain.pipeline.report.page import subtitle
from cotrain.pipeline.report.sections import costs, layers, scores, settings
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.tasks import metric_name

IN_CHART = ("constant", OWN, "ann")  # beside the row nearest to the chip


def read(folder: Path) -> dict[str, Any]:
    """The document of one experiment.

    Parameters
    ----------
    folder : Path
        ``runs/<experiment>``.

    Raises
    ------
    MissingError
        No report has been written there.
    InputError
        One of another version.
    """
    path = folder / "report" / artifacts.REPORT["json"]
    if not path.is_file():
        raise MissingError(f"{path} does not exist; run: cotrain report {folder.name}")
    document = artifacts.read_json(path)
    if document.get("schema") != SCHEMA:
        raise InputError(f"{path} is of another version of the report; run: cotrain report {folder.name} --force")
    return document


def compare(folders: list[Path]) -> bytes:
    """The HTML page of several experiments side by side.

    Parameters
    ----------
    folders : list of Path
        ``runs/<experiment>`` of each.
    """
    return html.render(page([read(Path(folder)) for folder in folders]))


def write_comparison(runs: Path, names: list[str]) -> list[Path]:
    """Write ``runs/report-<a>-<b>.html``, ``.md`` and ``.json``.

    Raises
    ------
    InputError
        Fewer than two experiments.
    """
    if len(names) < 2:
        raise InputError(f"a comparison needs two experiments or more, got {', '.join(names) or 'none'}")
    documents = [read(Path(runs) / name) for name in names]
    found = page(documents)
    paths = [artifacts.comparison_file(Path(runs), names, kind) for kind in ("html", "md", "json")]
    artifacts.write_bytes(paths[0], html.render(found))
    artifacts.write_bytes(paths[1], markdown.render(found))
    artifacts.write_json(paths[2], {"schema": 1, "kind": "loihi-cotrain comparison", "reports": documents})
    return paths


def page(documents: list[dict[str, Any]]) -> Page:
    """One chart with all, what differs between them, scores and costs with a row each; then each one's own."""
    names = [d["experiment"] for d in documents]
    shown = ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"
    metrics = list(dict.fromkeys(d["metrics"]["metric"] for d in documents))
    groups = [[d for d in documents if d["metrics"]["metric"] == metric] for metric in metrics]
    lead: list[Block] = [Text(_best(group), "verdict") for group in groups]
    if len(groups) > 1:
        lead.append(Text("Different metrics and data sets do not compare.", "note"))
    lead += [_chart(group) for group in groups]
    protocols = dict.fromkeys(name for d in documents for name in _protocols(d))
    sections = [
        Section("settings", "Settings that differ", (_settings(documents),), name="Settings"),
        Section("scores", "Scores", (_scores(documents), *(_scores(documents, p) for p in protocols))),
        Section("costs", "Costs", (_costs(documents),)),
    ]
    for d in documents:
        own: list[Block] = [Text(subtitle(d), "note"), *(Text(s) for s in d["verdict"]), scores.comparison(d)]
        own += [scores.steps(d), *scores.protocols(d), *scores.repeated(d), layers.every_row(d)]
        title = d["title"] if d["experiment"] in d["title"] else f"{d['experiment']}: {d['title']}"
        sections.append(Section(f"experiment-{d['experiment']}", title, tuple(own), open=False, name=d["experiment"]))
    subtitle_text = f"{text.plural(len(documents), 'experiment')}; each one's full report lies in its own run folder."
    return Page(f"Side by side: {shown}", subtitle_text, tuple(lead), tuple(sections))


def _chip_row(d: dict[str, Any]) -> dict[str, Any] | None:
    """The row nearest to the chip that was run."""
    rows = run_rows(d["metrics"])
    return next((rows[m] for m in CHIP_FIRST if m in rows), None)


def _best(group: list[dict[str, Any]]) -> str:
    name = metric_name(group[0]["metrics"]["metric"])
    found = [(row["value"], d["experiment"], row["model"]) for d in group if (row := _chip_row(d))]
    if not found:
        return f"No network was scored by {name}."
    value, best, model = max(found, key=lambda entry: entry[0])
    below = [
        d["experiment"] for d in group
        if (row := _chip_row(d)) and row["value"] <= run_rows(d["metrics"]).get("constant", {"value": -1.0})["value"]
    ]  # fmt: skip
    lost = f"**Not better than a constant: {', '.join(below)}.** " if below else ""
    return f"{lost}Best {name} nearest to the chip: **{best}**, {text.score(value)} ({model})."


def _chart(group: list[dict[str, Any]]) -> Figure:
    """A line an experiment: constant, ANN, and with its interval the row nearest to the chip."""
    name = metric_name(group[0]["metrics"]["metric"])
    lines, said = [], []
    models: dict[str, tuple[str, ...]] = {}
    for d in group:
        rows, chip = run_rows(d["metrics"]), _chip_row(d)
        chosen = [rows[m] for m in IN_CHART if m in rows and rows[m] is not chip] + ([chip] if chip else [])
        intervals = [None] * (len(chosen) - 1) + ([chip.get("ci95")] if chip else [None])
        dots = [
            charts.Dot(row["value"], row["model"], ROWS[row["model"]].mark, ci95)
            for row, ci95 in zip(chosen, intervals, strict=False)
        ]
        models |= {row["model"]: (row["model"], row["model"], ROWS[row["model"]].mark) for row in chosen}
        lines.append(charts.Dots(d["experiment"], dots))
        said.append(f"{d['experiment']} " + ", ".join(f"{row['model']} {text.score(row['value'])}" for row in chosen))
    alt = f"{name} of {text.plural(len(group), 'experiment')}: {'; '.join(said)}."
    drawing = charts.dots(lines, name, alt, charts.FULL, 28)
    caption = f"{name} of each experiment; intervals (95 %) of the row nearest to the chip."
    return Figure(caption, alt, (drawing,), "full", tuple(models[m] for m in ROWS if m in models))


def _protocols(d: dict[str, Any]) -> dict[str, Any]:
    return d["metrics"].get("protocols") or {}


def _scores(documents: list[dict[str, Any]], protocol: str = "") -> Table:
    """A row an experiment, a column per model that any has; of one protocol, or on the samples as they are."""
    of = {d["experiment"]: _protocols(d).get(protocol) if protocol else d["metrics"] for d in documents}
    models = list(dict.fromkeys(row["model"] for one in of.values() if one for row in one["rows"]))
    rows = []
    for d in documents:
        found = {row["model"]: row for row in (of[d["experiment"]] or {"rows": []})["rows"]}
        cells = [_score(found.get(model)) for model in models]
        rows.append((d["experiment"], metric_name(d["metrics"]["metric"]), *cells))
    what = f"Scores under protocol “{protocol}”" if protocol else "Scores"
    columns = ("Experiment", "Metric", *models)
    return Table(f"{what} with 95 % intervals.", columns, tuple(rows), "ll" + "r" * len(models), sortable=True)


def _score(row: dict[str, Any] | None) -> str:
    if row is None:
        return "no such row"
    if row.get("skipped"):
        return "not run"  # why, stands in its own section
    ci = f" ({text.interval(row['ci95'])})" if row.get("ci95") else ""
    return f"{text.score(row['value'])}{ci}"


def _costs(documents: list[dict[str, Any]]) -> Table:
    """A row an experiment: size, activity, energy and time of the row nearest to the chip."""

    def estimated(d: dict[str, Any], way: str, kind: str) -> dict[str, float | None] | None:
        model = costs.chip_model(d["energy"])
        return None if model is None else d["energy"]["models"][model][way][kind]["total"]

    def of_chip(d: dict[str, Any], key: str) -> Any:
        return (_chip_row(d) or {}).get(key)

    heads, columns = ["Experiment"], [[d["experiment"] for d in documents]]
    counted = {
        "Neurons": lambda d: sum(layer["neurons"] for layer in (_chip_row(d) or {}).get("layers") or ()) or None,
        "Cores": lambda d: d["metrics"].get("cores"),
        "Chips": lambda d: d["metrics"].get("chips"),
        "Steps": lambda d: d["metrics"]["n_steps"],
        "Mean rate (Hz)": lambda d: of_chip(d, "mean_rate_hz"),
        "Spikes / inference": lambda d: of_chip(d, "spikes_per_inference"),
        "Synaptic ops / inference": lambda d: of_chip(d, "synops_per_inference"),
    }
    for head, value in counted.items():
        unit, cells = text.column([value(d) for d in documents])
        heads.append(text.in_head(head, unit))
        columns.append(cells)
    for kind, unit, what in (("energy_j", "J", "Energy"), ("time_s", "s", "Time")):
        for way, how in (("streamed", "input streamed"), ("once", "input sent once")):
            shown_unit, cells = costs.spreads([estimated(d, way, kind) for d in documents], unit)
            heads.append(text.in_head(f"{what}, {how}, estimate", shown_unit))
            columns.append(cells)
    shown_unit, cells = text.column([d["energy"]["ann"]["cpu_j"] for d in documents], "J")
    heads.append(text.in_head("ANN on a CPU, estimate", shown_unit))
    columns.append(cells)
    caption = "What an inference costs, of the row nearest to the chip."
    return Table(caption, tuple(heads), tuple(zip(*columns, strict=True)), sortable=True)


def _settings(documents: list[dict[str, Any]]) -> Block:
    """Only what is not the same in all; the experiments stand where there are more of them than settings."""
    flat = [{row[0]: row[1] for row in settings.settings(d["settings"]).rows} for d in documents]
    everything = dict.fromkeys(k for f in flat for k in f if k not in ("name", "title"))
    keys = [k for k in everything if len({f.get(k) for f in flat}) > 1]
    if not keys:
        return Text("All settings are the same.")
    names = [d["experiment"] for d in documents]
    lines = [[f.get(k, text.NOTHING) for k in keys] for f in flat]
    if len(keys) < len(names):
        rows = tuple((name, *line) for name, line in zip(names, lines, strict=True))
        return Table(
            "Only what is not the same in all.", ("Experiment", *keys), rows, "l" * (1 + len(keys)), sortable=True
        )
    rows = tuple(zip(keys, *lines, strict=True))
    return Table(
        "Only what is not the same in all.", ("Setting", *names), rows, "l" * (1 + len(names)), tall=len(keys) > 14
    )
