"""Scores of all rows, paper and ceiling beside them, points lost or won, moved samples, repetitions, a board."""

from __future__ import annotations

from typing import Any

from cotrain.hardware.bundle.energy import sentence
from cotrain.pipeline.evaluation import ceilings
from cotrain.pipeline.evaluation.rows import BOARD, ROWS, run_rows
from cotrain.pipeline.report import charts as svg
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Figure, Row, Table, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import ceiling, verdict
from cotrain.pipeline.report.sections.verdict import unit
from cotrain.pipeline.tasks import metric_name


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """Differences at each step, figures of the paper and of ceilings where the data are theirs, seeds and splits."""
    return {
        "paper": verdict.paper_for(inputs.spec.name, inputs.metrics.get("dataset", {}).get("name", "")),
        "ceiling": ceilings.beside(inputs.settings, inputs.metrics, inputs.predictions),
        "steps": verdict.steps(inputs.metrics, inputs.predictions),
        "seeds": inputs.seeds,
        "splits": inputs.splits,
    }


def blocks(document: dict[str, Any], inputs: Inputs | None = None) -> list[Block]:
    """The chart beside the steps, then protocols, seeds and splits."""
    drawn = chart(document)
    beside: tuple[Block, ...] = (*((drawn,) if drawn else ()), steps(document))
    found: list[Block] = [*_board(document), Row(beside)]
    if document["paper"]:
        found.append(Text(f"Paper: {document['paper']['title']}; its data: {document['paper']['data']}.", "note"))
    return [*found, *ceiling.blocks(document), *protocols(document), *repeated(document)]


def comparison(document: dict[str, Any]) -> Table:
    """The rows of metrics.json in their order, the paper's figures beside ours, then ceilings.

    A row that was not run says why.
    """
    metrics, paper = document["metrics"], document["paper"]
    name = metric_name(metrics["metric"])
    columns = ["Model", name, "95 % CI"]
    if paper:
        columns.append("Paper")
    spikes, synops = (
        text.column([row.get(key) for row in metrics["rows"]])
        for key in ("spikes_per_inference", "synops_per_inference")
    )
    columns += [
        "Mean rate (Hz)", text.in_head("Spikes / inference", spikes[0]),
        text.in_head("Synaptic ops / inference", synops[0]), "Run time of this computer (s)", "What it is",
    ]  # fmt: skip
    rows, muted = [], set()
    for i, row in enumerate(metrics["rows"]):
        cells = [row["model"]]
        if row.get("skipped"):
            muted.add(i)
            cells += ["not run", row["skipped"]]
        else:
            cells += [f"**{text.score(row['value'])}**", text.interval(row.get("ci95"))]
        if paper:
            cells.append(_paper(paper["rows"].get(row["model"])))
        cells += [
            text.rate(row.get("mean_rate_hz")),
            spikes[1][i],
            synops[1][i],
            text.NOTHING if row.get("seconds") is None else f"{row['seconds']:.1f}",
            ROWS[row["model"]].meaning if row["model"] in ROWS else "",
        ]
        rows.append(tuple(cells))
    for one in document.get("ceiling") or []:
        muted.add(len(rows))
        cells = [ceiling.name(one), text.score(one["value"]), text.interval(one["ci95"])]
        rows.append((*cells, *[text.NOTHING] * (len(columns) - len(cells) - 1), ceiling.meaning(one)))
    caption = f"{name} on {text.plural(metrics['n_samples'], 'test sample')}; 95 % bootstrap intervals"
    caption += f" over {text.plural(metrics['n_groups'], unit(metrics))}." if metrics.get("n_groups") else "."
    align = "l" + "r" * (len(columns) - 2) + "l"
    return Table(caption, tuple(columns), tuple(rows), align, frozenset(muted))


def steps(document: dict[str, Any]) -> Table:
    """Points lost or won at each step."""
    rows, muted = [], set()
    for i, step in enumerate(document["steps"]):
        name = f"{step['from']} → {step['to']}"
        if step.get("skipped"):
            muted.add(i)
            rows.append((name, text.NOTHING, step["skipped"], step["what"]))
        else:
            ci = " to ".join(map(text.points, step["ci95"])) if step["ci95"] else text.NOTHING
            rows.append((name, text.points(step["difference"]), ci, step["what"]))
    name = metric_name(document["metrics"]["metric"])
    caption = f"Where points go (1 point is 0.01 {name}); paired bootstrap over the same {unit(document['metrics'])}s."
    return Table(caption, ("Step", "Points", "95 % CI", "What happens"), tuple(rows), "lrrl", frozenset(muted))


def protocols(document: dict[str, Any]) -> list[Table]:
    """Test protocols beside the plain one, such as shifted images."""
    found = []
    plain = run_rows(document["metrics"])
    for name, protocol in (document["metrics"].get("protocols") or {}).items():
        details = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in protocol.items() if isinstance(v, int | float))
        rows: tuple[tuple[str, ...], ...] = tuple(
            (
                row["model"],
                text.score(row.get("value")),
                text.interval(row.get("ci95")),
                text.points(row["value"] - plain[row["model"]]["value"]) if row["model"] in plain else text.NOTHING,
            )
            for row in protocol["rows"]
        )
        rows += tuple(ceiling.protocol_rows(document, name))
        metric = metric_name(document["metrics"]["metric"])
        caption = f"Protocol “{name}” ({details}): the same test images, moved."
        found.append(Table(caption, ("Model", metric, "95 % CI", "Points against unmoved"), rows, "lrrr"))
    return found


# What differs between trainings, heading of a column, and what the interval is
REPEATED = {
    "seeds": (
        "from other initial parameters", "Seed",
        "same split. The interval is that of the mean over seeds (Student's t).",
    ),
    "splits": (
        "on other splits of the data", "Split",
        "each scored on its own test images. The interval is that of the mean over splits (Student's t), "
        "widened because their training images overlap (Nadeau and Bengio 2003).",
    ),
}  # fmt: skip


def repeated(document: dict[str, Any]) -> list[Table]:
    """The same experiment trained with other seeds, and on other splits, under every protocol."""
    return [table for key in REPEATED if document.get(key) for table in _repeated(document[key], key)]


def _repeated(summary: dict[str, Any], key: str) -> list[Table]:
    metric, numbers = metric_name(summary["metric"]), summary[key]
    differs, one, interval = REPEATED[key]
    columns = ("Model", *(f"{one} {number}" for number in numbers), "Mean", "95 % CI", "Mean rate (Hz)")
    found = []
    for protocol, rows in (("", summary["rows"]), *((n, p["rows"]) for n, p in summary["protocols"].items())):
        where = f" under protocol “{protocol}”" if protocol else ""
        caption = f"{metric} of {text.plural(len(numbers), 'training')} {differs}{where}; {interval}"
        cells = tuple(
            (
                row["model"],
                *map(text.score, row["values"]),
                f"**{text.score(row['mean'])}**",
                text.interval(row["ci95"]),
                " ".join(map(text.rate, row["mean_rate_hz"])) if row["mean_rate_hz"][0] is not None else text.NOTHING,
            )
            for row in rows
        )
        found.append(Table(caption, columns, cells, "l" + "r" * (len(columns) - 1)))
    return found


def chart(document: dict[str, Any]) -> Figure | None:
    """Score and interval of each row, with the paper's figures."""
    metrics = document["metrics"]
    rows = list(run_rows(metrics).values())
    if not rows:
        return None
    paper = (document["paper"] or {}).get("rows", {})
    name = metric_name(metrics["metric"])
    lines = [
        svg.Dots(row["model"], [
            svg.Dot(row["value"], row["model"], ROWS[row["model"]].mark, row.get("ci95")),
            *([svg.Dot(paper[row["model"]]["value"], "paper", "triangle")] if row["model"] in paper else []),
        ])
        for row in rows
    ]  # fmt: skip
    alt = f"{name} of each model: " + ", ".join(f"{r['model']} {text.score(r['value'])}" for r in rows) + "."
    legend: tuple[tuple[str, ...], ...] = ()
    caption = f"{name} with 95 % intervals."
    if paper:
        alt += " In the paper: " + ", ".join(f"{m} {text.score(p['value'])}" for m, p in paper.items()) + "."
        legend = (("paper", f"paper ({document['paper']['data']})", "triangle"),)
        caption = f"{name} with 95 % intervals; triangles are the paper's figures."
    return Figure(caption, alt, (svg.dots(lines, name, alt),), legend=legend)


def _paper(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return text.NOTHING
    rate = "" if entry["mean_rate_hz"] is None else f" @ {entry['mean_rate_hz']:g} Hz"
    return f"{text.score(entry['value'])}{rate}"


def _board(document: dict[str, Any]) -> list[Block]:
    """What came back from the lab, where it did."""
    row = next((r for r in document["metrics"]["rows"] if r["model"] == BOARD and not r.get("skipped")), None)
    if row is None:
        return []
    same, name = row["comparison"], metric_name(document["metrics"]["metric"])
    agrees = "spike for spike as expected" if same["equal"] else f"{same['samples_different']} of them not as expected"
    measured = sentence(row.get("energy") or {"skipped": "not asked for"})
    return [
        Text(
            f"On the board {text.plural(row['n_samples'], 'sample')} of the bundle ran, {agrees}: {name} "
            f"{text.score(row['value'])}, the emulator on the same samples {text.score(row['emulator_value'])}. "
            f"{measured}"
        )
    ]
