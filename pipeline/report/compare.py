"""Several experiments on one page, from the report.json of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline.evaluation.rows import run_rows
from cotrain.pipeline.report import html, markdown, tables, text
from cotrain.pipeline.report.blocks import Page, Row, Section, Table, Text
from cotrain.pipeline.report.figures import scores
from cotrain.pipeline.report.page import subtitle
from cotrain.pipeline.report.sections import costs
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.tasks import metric_name


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
    """
    path = folder / "report" / artifacts.REPORT["json"]
    if not path.is_file():
        raise MissingError(f"{path} does not exist; run: cotrain report {folder.name}")
    return artifacts.read_json(path)


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
    """First the one table of all, then each experiment's own."""
    title = "Side by side: " + ", ".join(d["experiment"] for d in documents)
    sections = []
    for d in documents:
        blocks: list = [Text(subtitle(d), "note"), *(Text(s) for s in d["verdict"][1:]), tables.comparison(d)]
        chart = scores(d)
        blocks += [Row(((chart,) if chart else ()) + (tables.steps(d),)), *tables.protocols(d), *tables.seeds(d)]
        blocks.append(tables.layers(d))
        sections.append(Section(f"experiment-{d['experiment']}", d["title"], tuple(blocks)))
    sections.append(Section("settings", "Settings that differ", (_settings(documents),)))
    lead = (
        *(Text(f"{d['experiment']}: {d['verdict'][0]}", "verdict") for d in documents),
        Row((_scores(documents), _costs(documents))),
        *(_scores(documents, name) for name in dict.fromkeys(n for d in documents for n in _protocols(d))),
    )
    subtitle_text = f"{text.plural(len(documents), 'experiment')}; each one's full report lies in its own run folder."
    return Page(title, subtitle_text, lead, tuple(sections))


def _protocols(d) -> dict[str, Any]:
    return d["metrics"].get("protocols") or {}


def _scores(documents, protocol: str = "") -> Table:
    """A row per model that any of them has, a column per experiment; of one protocol, or on the samples as they are."""
    found = [_protocols(d).get(protocol, {"rows": []}) if protocol else d["metrics"] for d in documents]
    models = list(dict.fromkeys(row["model"] for one in found for row in one["rows"]))
    rows = []
    for model in models:
        line = [model]
        for one in found:
            row = next((r for r in one["rows"] if r["model"] == model), None)
            if row is None:
                line.append("no such row")
            elif row.get("skipped"):
                line.append(f"not run: {row['skipped']}")
            else:
                ci = f" ({text.interval(row['ci95'])})" if row.get("ci95") else ""
                line.append(f"{text.score(row['value'])}{ci}")
        rows.append(tuple(line))
    columns = ("Model", *(f"{d['experiment']}: {metric_name(d['metrics']['metric'])}" for d in documents))
    what = f"Scores under protocol “{protocol}”" if protocol else "Scores"
    return Table(f"{what} with 95 % intervals. Different metrics and data sets do not compare.", columns, tuple(rows))


def _costs(documents) -> Table:
    def estimated(d, way, kind, unit):
        found = d["energy"]["models"].get("loihi-hybrid", {}).get(way)
        return text.NOTHING if found is None else costs.spread(found[kind]["total"], unit)

    def of_chip(d, key, show):
        return show(run_rows(d["metrics"]).get("loihi-hybrid", {}).get(key))

    lines = {
        "neurons": lambda d: text.count(sum(layer["neurons"] for layer in _layers(d)) or None),
        "cores": lambda d: text.count(d["metrics"].get("cores")),
        "chips": lambda d: text.count(d["metrics"].get("chips")),
        "steps": lambda d: text.count(d["metrics"]["n_steps"]),
        "mean rate (Hz)": lambda d: of_chip(d, "mean_rate_hz", text.rate),
        "spikes per inference": lambda d: of_chip(d, "spikes_per_inference", text.count),
        "synaptic operations per inference": lambda d: of_chip(d, "synops_per_inference", text.count),
        "energy, estimate, input streamed": lambda d: estimated(d, "streamed", "energy_j", "J"),
        "energy, estimate, input sent once": lambda d: estimated(d, "once", "energy_j", "J"),
        "time, estimate, input streamed": lambda d: estimated(d, "streamed", "time_s", "s"),
        "time, estimate, input sent once": lambda d: estimated(d, "once", "time_s", "s"),
        "ANN on a CPU, estimate": lambda d: text.si(d["energy"]["ann"]["cpu_j"], "J"),
    }
    rows = tuple((label, *(show(d) for d in documents)) for label, show in lines.items())
    return Table("What loihi-hybrid costs.", ("Quantity", *(d["experiment"] for d in documents)), rows)


def _layers(d):
    return next((r["layers"] for r in d["metrics"]["rows"] if r.get("layers")), [])


def _settings(documents) -> Table:
    flat = [dict(tables.settings(d).rows) for d in documents]
    keys = list(dict.fromkeys(k for f in flat for k in f))
    rows = tuple(
        (key, *(f.get(key, text.NOTHING) for f in flat)) for key in keys if len({f.get(key) for f in flat}) > 1
    )
    return Table("Only what is not the same in all.", ("Setting", *(d["experiment"] for d in documents)), rows, "l" * 9)
