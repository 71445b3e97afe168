"""Scores sample by sample: how they are spread, and the worst ones to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.evaluation.rows import CHIP_FIRST, ROWS
from cotrain.pipeline.report import charts as svg
from cotrain.pipeline.report import pictures as draw
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Case, Figure, Row, Strip, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import pictures
from cotrain.pipeline.report.sections.verdict import unit
from cotrain.pipeline.tasks import metric_name, task_of

N_WORST = 10  # that can be looked at
N_BINS = 20
BESIDE = ("constant", "ann")  # drawn beside the row nearest to the chip


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """Key "samples": the histogram of scores of each model, or where a sample is right or wrong how many are wrong; and
    the worst of the row nearest to the chip."""
    data, task = inputs.predictions, task_of(inputs.metrics["task"])
    models = [m for m in ROWS if f"{m}/group_values" in data]
    chosen = next((m for m in CHIP_FIRST if m in models), None)
    if chosen is None:
        return {"samples": {}}
    values = {m: np.asarray(data[f"{m}/group_values"], float) for m in models}
    groups = list(data["group_names"])
    if task.outlined:
        order = np.argsort(values[chosen], kind="stable")[:N_WORST]
        entries = [pictures.entry_of("worst", g, groups, values, data, task.name) for g in order]
        return {"samples": {"model": chosen, "unit": unit(inputs.metrics), **_histogram(values), "worst": entries}}
    wrong = {m: data[f"{m}/prediction"] != data["targets"] for m in models if f"{m}/prediction" in data}
    if chosen not in wrong:
        return {"samples": {}}
    ann = wrong.get("ann", np.zeros(len(data["targets"]), bool))
    first = np.flatnonzero(wrong[chosen] & ~ann)  # lost on the way to the chip
    worst = np.concatenate([first, np.flatnonzero(wrong[chosen] & ann)])[:N_WORST]
    names = {name: g for g, name in enumerate(groups)}
    entries = [
        {
            "case": "worst", "group": str(data["groups"][i]), "sample": str(data["names"][i]), "index": int(i),
            "values": {m: float(v[names[data["groups"][i]]]) for m, v in values.items()},
        }
        for i in worst
    ]  # fmt: skip
    told = {
        "model": chosen, "unit": unit(inputs.metrics), "n": len(data["targets"]),
        "wrong": {m: int(v.sum()) for m, v in wrong.items()},
        "lost": len(first) if "ann" in wrong else None, "won": int((ann & ~wrong[chosen]).sum()), "worst": entries,
    }  # fmt: skip
    return {"samples": told}


def blocks(document: dict[str, Any], inputs: Inputs) -> list[Block]:
    """A histogram and a strip of the worst."""
    found, metrics = document["samples"], document["metrics"]
    if not found:
        return [Text("No predictions were written, so no sample can be looked at.", "note")]
    spread = _right_and_wrong(found) if "wrong" in found else _drawn_histogram(found, metric_name(metrics["metric"]))
    if not found["worst"]:
        return [spread, Text(f"{found['model']} has every {found['unit']} right.")]
    return [Row((spread, _strip(found, inputs.predictions, metrics)))]


def _histogram(values: dict[str, np.ndarray]) -> dict[str, Any]:
    """Counts over the same bins for every model; the scores lie in [0, 1]."""
    low = np.floor(N_BINS * min(v.min() for v in values.values())) / N_BINS
    edges = np.linspace(low, 1.0, N_BINS + 1)
    counts = {m: np.histogram(v, edges)[0].tolist() for m, v in values.items()}
    return {"n": len(next(iter(values.values()))), "edges": np.round(edges, 6).tolist(), "counts": counts}


def _drawn_histogram(found: dict[str, Any], name: str) -> Figure:
    model, edges = found["model"], found["edges"]
    counts = {m: found["counts"][m] for m in (model, *BESIDE) if m in found["counts"]}
    top = max(max(c) for c in counts.values())
    axes = svg.Axes((edges[0], edges[-1]), (0, top), height=220)
    axes.frame(name, f"{found['unit']}s", whole_y=True)
    for left, right, n in zip(edges[:-1], edges[1:], counts[model], strict=True):
        x, y = axes.px(left), axes.py(n)
        box = f'x="{x:.1f}" y="{y:.1f}" width="{axes.px(right) - x - 1:.1f}" height="{axes.bottom - y:.1f}"'
        axes.parts.append(f'<rect class="fill {model}" {box}><title>{left:.3f} to {right:.3f}: {n}</title></rect>')
    for other in (m for m in BESIDE if m in counts):
        steps = "".join(
            f"{'L' if i else 'M'}{axes.px(left):.1f} {axes.py(n):.1f}H{axes.px(right):.1f}"
            for i, (left, right, n) in enumerate(zip(edges[:-1], edges[1:], counts[other], strict=True))
        )
        axes.parts.append(f'<path class="line {other} {"dot" if other == "constant" else ""}" d="{steps}"/>')
    worst = min(e["values"][model] for e in found["worst"])
    said = "; ".join(f"{m}: most in {_mode(edges, c)}" for m, c in counts.items())
    alt = f"Histogram of {name} of {text.plural(found['n'], found['unit'])}. {said}. Worst of {model}: {worst:.3f}."
    legend = tuple((m, m + (" (dotted)" if m == "constant" else "")) for m in counts)
    caption = f"{name} of each {found['unit']}: bars {model}, lines the ANN and the constant predictor."
    return Figure(caption, alt, (axes.done(alt),), legend=legend)


def _mode(edges: list[float], counts: list[int]) -> str:
    i = int(np.argmax(counts))
    return f"{edges[i]:.3f} to {edges[i + 1]:.3f} ({counts[i]})"


def _right_and_wrong(found: dict[str, Any]) -> Figure:
    names = list(found["wrong"])
    stacks = [[(m, float(found["wrong"][m]))] for m in names]
    said = ", ".join(f"{m} {found['wrong'][m]:,}" for m in names)
    alt = f"Wrong {found['unit']}s of {found['n']:,}: {said}."
    more = ""
    if found["lost"] is not None:
        more = (
            f" On the way from the ANN to {found['model']} {found['lost']:,} became wrong and {found['won']:,} right."
        )
    drawing = svg.bars(names, [("", stacks)], f"wrong {found['unit']}s of {found['n']:,}", alt, values=True)
    return Figure(f"**{alt}**{more}", alt + more, (drawing,))


def _strip(found: dict[str, Any], data: dict[str, np.ndarray], metrics: dict[str, Any]) -> Strip:
    task, model = task_of(metrics["task"]), found["model"]
    cases = []
    for entry in found["worst"]:
        i = entry["index"]
        guess = data.get(f"{model}/prediction")
        outline = guess[i] if task.outlined and guess is not None else None
        told, alt = pictures.told_of(model, entry, data, metrics)
        target = data["targets"][i] if task.outlined else None
        thumbnail = draw.over(data["images"][i], target, outline, alt)
        if task.outlined:
            of_all = [(m, entry) for m in entry["values"]]
            detail = pictures.panels(f"**{entry['sample']}** under every model.", of_all, data, metrics)
            label = f"**{told}** {entry['sample']}"
        else:
            is_one = task.label(data["targets"][i], metrics["class_names"])
            lines = ", ".join(f"{m} {pictures.told_of(m, entry, data, metrics)[0]}" for m in entry["values"])
            detail = Figure(f"**{entry['sample']}**, {is_one}: {lines}.", alt, (thumbnail,), "picture")
            label = f"**{is_one}**, taken for {told}"
        cases.append(Case(label, thumbnail, detail))
    if task.outlined:
        caption = f"The worst {found['unit']}s of {model}; choose one to see it under every model. "
    else:
        caption = f"{found['unit'].capitalize()}s that {model} gets wrong, first those that the ANN has right. "
    return Strip("worst", caption + (pictures.legend_text(metrics) if task.outlined else ""), tuple(cases))
