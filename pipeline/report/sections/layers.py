"""Layer by layer: cores and what binds them, spikes, rates and energy; NengoDL against Loihi for those who open it."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.evaluation.rows import CHIP_FIRST, ROWS, run_rows
from cotrain.pipeline.report import charts as svg
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Figure, Fold, Row, Table, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import placement


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """Key "rates": per model and layer the shares of neurons that never fired on the test samples and that fired in
    every step or more often, which the chip cannot; and the fastest one's rate."""
    every_step_hz = 1 / inputs.metrics["dt_s"]
    models = dict.fromkeys(name.split("/")[0] for name in inputs.rates)
    rates = {
        model: [
            {
                "name": layer.name,
                "neurons": layer.n_neurons,
                "silent": float(np.mean(found == 0)),
                "too_fast": float(np.mean(found > every_step_hz)),
                "fastest_hz": float(found.max()),
            }
            for layer in inputs.spec.layers
            if (found := inputs.rates.get(f"{model}/{layer.name}")) is not None
        ]
        for model in models
    }
    return {"rates": rates}


def blocks(document: dict[str, Any], inputs: Inputs) -> list[Block]:
    """What decides of each layer in one table; the rest is folded away."""
    bars = _bars(document)
    table = overview(document)
    found: list[Block] = [table] if table else [Text("No spiking row was run, so no layer spent anything.", "note")]
    found += [bars] if bars else []
    found += _saturation(document)
    scatter = _scatters(document, inputs.rates)
    inner: list[Block] = [every_row(document), *_activity(document), *_agreement(document), *scatter]
    if not scatter:
        inner.append(Text("Rates were not compared: NengoDL and Loihi rows of the same network are needed.", "note"))
    return [*found, Fold("Every row, silent neurons, and each neuron's rate in NengoDL against Loihi", tuple(inner))]


def overview(document: dict[str, Any]) -> Table | None:
    """Of the row nearest to the chip: cores, what binds them, spikes and dynamic energy of each layer."""
    rows = run_rows(document["metrics"])
    model = next((m for m in CHIP_FIRST if rows.get(m, {}).get("layers")), None)
    if model is None:
        return None
    layers = rows[model]["layers"]
    on_cores = {layer["name"]: layer for layer in document["placement"].get("utilisation", {}).get("layers", [])}
    ways = document["energy"]["models"].get(model, {})
    joules = {e["name"]: e["total_j"]["value"] for e in ways["once"]["layers"]} if ways else {}
    energy = [joules.get(layer["name"]) for layer in layers]
    whole = sum(v for v in energy if v is not None) or None
    unit, energy_cells = text.column([*energy, whole], "J")
    spikes, synops = (
        text.column([*(layer.get(key) for layer in layers), rows[model][key]])
        for key in ("spikes_per_inference", "synops_per_inference")
    )
    cells = []
    for i, layer in enumerate(layers):
        placed = on_cores.get(layer["name"])
        what, share = placement.binding(placed) if placed else ("host" if not layer.get("on_chip", True) else "–", None)
        line = [layer["name"], f"{layer['neurons']:,}", str(placed["cores"]) if placed else text.NOTHING, what]
        line += [text.percent(share), spikes[1][i], text.rate(layer["mean_rate_hz"]), synops[1][i], energy_cells[i]]
        cells.append(tuple(line))
    n_cores = document["metrics"].get("cores")
    total = ["all", f"{sum(layer['neurons'] for layer in layers):,}", text.count(n_cores), "", ""]
    total += [spikes[1][-1], text.rate(rows[model]["mean_rate_hz"]), synops[1][-1], energy_cells[-1]]
    columns = (
        "Layer", "Neurons", "Cores", "What binds its cores", "Fullest core", text.in_head("Spikes", spikes[0]),
        "Mean rate (Hz)", text.in_head("Synaptic ops", synops[0]), text.in_head("Dynamic energy, estimate", unit),
    )  # fmt: skip
    caption = f"**{model}**, one inference. What binds: the resource that the layer's fullest core uses most of."
    return Table(caption, columns, (*cells, tuple(total)), "lrrlrrrrr", sortable=True, n_totals=1)


def every_row(document: dict[str, Any]) -> Table:
    """Neurons, spikes and rates of each layer, in every spiking row."""
    rows = [r for r in document["metrics"]["rows"] if r.get("layers") and not r.get("skipped")]
    names = [layer["name"] for layer in rows[0]["layers"]] if rows else []
    cells = []
    for i, name in enumerate(names):
        first = rows[0]["layers"][i]
        where = "" if first.get("on_chip", True) else " (host)"
        line = [f"{name}{where}", text.count(first["neurons"])]
        for row in rows:
            layer = row["layers"][i]
            line += [text.count(layer["spikes_per_inference"]), text.rate(layer["mean_rate_hz"])]
        cells.append(tuple(line))
    if rows:
        total = ["all", text.count(sum(layer["neurons"] for layer in rows[0]["layers"]))]
        for row in rows:
            total += [text.count(row["spikes_per_inference"]), text.rate(row["mean_rate_hz"])]
        cells.append(tuple(total))
    columns = ["Layer", "Neurons"]
    for row in rows:
        columns += [f"{row['model']}: spikes", "Hz"]
    caption = "Spikes per inference and mean rate of each layer."
    return Table(caption, tuple(columns), tuple(cells), sortable=True, n_totals=1 if rows else 0)


def _agreement(document: dict[str, Any]) -> list[Table]:
    """How far each layer's rates lie apart, NengoDL against Loihi."""
    found = document["metrics"].get("agreement") or {}
    by_kind = {kind: {layer["name"]: layer for layer in one["layers"]} for kind, one in found.items()}
    names = list(dict.fromkeys(name for layers in by_kind.values() for name in layers))
    if not names:
        return []
    rows, columns = [], ["Layer"]
    for kind in by_kind:
        columns += [f"{kind}: mean absolute difference (Hz)", f"{kind}: correlation"]
    for name in names:
        line = [name]
        for layers in by_kind.values():
            layer = layers.get(name, {})
            difference, r = layer.get("rate_mean_abs_difference_hz"), layer.get("rate_correlation")
            line.append(text.NOTHING if difference is None else f"{difference:.3f}")
            line.append(text.NOTHING if r is None else f"{r:.4f}")
        rows.append(tuple(line))
    caption = "Agreement of the neurons' mean rates, NengoDL against Loihi."
    return [Table(caption, tuple(columns), tuple(rows), sortable=True)]


def _activity(document: dict[str, Any]) -> list[Table]:
    """Neurons at the two ends: those that never fire, and the fastest."""
    found = document["rates"]
    names = list(dict.fromkeys(layer["name"] for layers in found.values() for layer in layers))
    if not names:
        return []
    by_model = {model: {layer["name"]: layer for layer in layers} for model, layers in found.items()}
    columns = ["Layer"]
    for model in by_model:
        columns += [f"{model}: silent", "fastest (Hz)"]
    rows = []
    for name in names:
        line = [name]
        for layers in by_model.values():
            layer = layers.get(name, {})
            line += [text.percent(layer.get("silent")), text.rate(layer.get("fastest_hz"))]
        rows.append(tuple(line))
    caption = "Neurons that fired for no test sample, and the largest mean rate of a neuron."
    return [Table(caption, tuple(columns), tuple(rows), sortable=True)]


def _saturation(document: dict[str, Any]) -> list[Block]:
    """Wrapped registers of the emulated rows and the host's traffic, in a line each."""
    lines = []
    for model, row in run_rows(document["metrics"]).items():
        if "overflows" not in row:
            continue
        wrapped = {k: v for k, v in (row.get("overflows") or {}).items() if v}
        told = ", ".join(f"{layer} {text.plural(n, 'time')}" for layer, n in wrapped.items())
        overflowed = f"**registers overflowed: {told}**" if told else "no register overflowed"
        entered = row.get("input_spikes_max")
        most = "" if entered is None else f"; at most {text.plural(entered, 'spike')} entered the chip in one step"
        lines.append(f"{model}: {overflowed}{most}.")
    return [Text(" ".join(lines))] if lines else []


def _bars(document: dict[str, Any]) -> Row | None:
    """Spikes of each layer in one inference, NengoDL beside Loihi."""
    rows = run_rows(document["metrics"])
    figures = []
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
        drawing = svg.bars(names, groups, "spikes per inference", alt + ".")
        legend = tuple((m, f"{m} ({_where(m)})") for m, _ in found)
        figures.append(
            Figure(f"Spikes per layer in one inference, {kind} network.", alt + ".", (drawing,), legend=legend)
        )
    return Row(tuple(figures)) if figures else None


def _where(model: str) -> str:
    return "emulated Loihi" if ROWS[model].on_chip else "NengoDL"


def _scatters(document: dict[str, Any], rates: dict[str, np.ndarray]) -> list[Figure]:
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
                "the more neurons. On the diagonal they agree."
            )
            alt = f"Agreement of rates, {kind} network: " + "; ".join(said) + "."
            figures.append(Figure(caption, alt, tuple(drawings), "small"))
    return figures
