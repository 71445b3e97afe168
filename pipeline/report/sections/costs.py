"""What the report says of energy and time: the total first, its terms second, then what they stand on."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.evaluation.rows import CHIP_FIRST
from cotrain.pipeline.report import charts as svg
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Figure, Heading, Items, Table, Text
from cotrain.pipeline.report.sections.energy import WAYS

TERMS = {"total": "total", "core_dynamic": "cores, dynamic", "x86": "x86", "leakage": "leakage"}
PARTS = ("neurons", "synapses", "spikes", "messages")
CSS = {**{part: part for part in PARTS}, "spikes": "spiking"}  # "spikes" is the raster's


def spread(part: dict[str, float | None], unit: str) -> str:
    """A value with its range in the same unit; the range alone where there is no value."""
    value, low, high = part["value"], part["low"] or 0.0, part["high"] or 0.0
    if high == 0:
        return "0"
    if not value:
        ends = f"{text.si(low, unit)} to {text.si(high, unit)}"
        return ends if value is None else f"0 ({ends})"
    shown = text.si(value, unit)
    scale = value / float(shown.split()[0])
    return f"{shown} ({_digits(low / scale)} to {_digits(high / scale)})"


def _digits(value: float) -> str:
    """Three digits, and no exponent for what is large."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def lead(document: dict[str, Any]) -> list[Table]:
    """Where the decision is made: one inference on the chip, on its host, and the ANN elsewhere."""
    found, ann = document["energy"], document["energy"]["ann"]
    model = _model(found)
    if model is None:
        return []
    host = found["host"]["cpu_j"]
    rows = [
        (
            f"{model} on Loihi, {WAYS[way]}", spread(e["energy_j"]["total"], "J"), text.si(host, "J"),
            spread(e["time_s"]["total"], "s"), e["limiter"],
        )
        for way, e in found["models"][model].items()
    ]  # fmt: skip
    dash = text.NOTHING
    rows.append(("the ANN on a CPU", text.si(ann["cpu_j"], "J"), dash, dash, dash))
    rows.append(("the ANN on a GPU, large batches", text.si(ann["gpu_j"], "J"), dash, dash, dash))
    s = found["measured"]["summary"]["total"]
    caption = (
        "Energy and time of one inference: estimates, with the range in which they may lie. On measured networks whose "
        f"counts are known the total was {100 * s['median_error']:.0f} % off in the median and "
        f"{100 * s['worst_error']:.0f} % at worst ({s['points']} rows of one network)."
    )
    columns = ("Where", "Energy", "its host's share, on a CPU", "Time", "What sets the time")
    return [Table(caption, columns, tuple(rows), "lrrrl")]


def blocks(document: dict[str, Any]):
    """The section."""
    found = document["energy"]
    yield Text(
        "**Everything in this section is an estimate**: published constants of a chip, and the spikes counted above. "
        "Nothing was measured on a board of yours."
    )
    yield from _split(found)
    yield from _terms(document)
    yield from _over_rates(found)
    yield from _by_layer(found)
    yield Heading("Held against measured chips")
    first, *lines = found["measured"]["sentences"]
    yield Text(first)
    yield Items(tuple(lines))
    for model, ways in found["models"].items():
        both = [line for line in ways["streamed"]["unknown"] if line in ways["once"]["unknown"]]
        unknown = [*both, *(f"{WAYS[way]}: {u}" for way, e in ways.items() for u in e["unknown"] if u not in both)]
        if unknown:
            yield Text(f"Not known of {model}:")
            yield Items(tuple(unknown))
    yield Text("Assumptions:")
    yield Items(tuple(found["assumptions"]))


def constants(document: dict[str, Any]) -> Table:
    """Every constant with its range, source and what it was fitted on."""
    rows = tuple(
        (
            f"`{c['name']}`", *(text.si(c[key], c["unit"]) for key in ("value", "low", "high")), c["source"],
            c["fitted"] or text.NOTHING,
        )
        for c in document["energy"]["constants"]
    )  # fmt: skip
    columns = ("Constant", "Value", "Low", "High", "Source", "Fitted on")
    return Table("Every constant of the estimates.", columns, rows, "lrrrll", tall=True)


def _model(found: dict[str, Any]) -> str | None:
    return next((m for m in CHIP_FIRST if m in found["models"]), None)


def _terms(document: dict[str, Any]):
    found, ann = document["energy"], document["energy"]["ann"]
    rows = []
    for model, ways in found["models"].items():
        for way, e in ways.items():
            cells = (spread(e["energy_j"][term], "J") for term in TERMS)
            rows.append((f"{model}, {way}", *cells, spread(e["energy_j"]["board_idle"], "J")))
    dash = (text.NOTHING,) * 4
    rows.append(("host's share on a CPU", text.si(found["host"]["cpu_j"], "J"), *dash))
    rows.append(("the ANN on a CPU", text.si(ann["cpu_j"], "J"), *dash))
    rows.append(("the ANN on a GPU, large batches", text.si(ann["gpu_j"], "J"), *dash))
    caption = (
        "Estimated energy of one inference, total first; the idle board around the chip stands apart. "
        + "; ".join(f"{way}: {what}" for way, what in WAYS.items())
        + f". The ANN needs {text.count(ann['macs'])} multiply-accumulates."
    )
    yield Table(caption, ("Model", *TERMS.values(), "idle board"), tuple(rows))
    times = tuple(
        (f"{model}, {way}", *(spread(e["time_s"][key], "s") for key in ("total", "steps", "input", "fixed")),
         e["limiter"])
        for model, ways in found["models"].items()
        for way, e in ways.items()
    )  # fmt: skip
    if times:
        columns = ("Model", "Time", "steps on the chip", "host's input", "fixed", "What sets it")
        yield Table("Estimated time of one inference.", columns, times, "lrrrrl")


def _over_rates(found: dict[str, Any]):
    model = _model(found)
    if model is None:
        return
    grid = found["over_steps_and_rates"][model]
    columns = ("Steps", *(f"{factor:g} × the rates" for factor in grid["rate_factors"]))
    for way, rows in grid["total_j"].items():
        lines = tuple(
            (str(n), *(text.si(value, "J") for value in row)) for n, row in zip(grid["n_steps"], rows, strict=True)
        )
        yield Table(f"Estimated energy of {model} over steps and rates, {WAYS[way]}.", columns, lines, "r" * 5)


def _by_layer(found: dict[str, Any]):
    for model, ways in found["models"].items():
        layers = ways["once"]["layers"]
        lines = tuple((layer["name"], *(spread(layer[f"{p}_j"], "J") for p in (*PARTS, "total"))) for layer in layers)
        caption = f"Estimated dynamic energy of {model} by layer; the way of the input does not change it."
        yield Table(caption, ("Layer", *PARTS, "all"), lines)


def _split(found: dict[str, Any]) -> list[Figure]:
    """Terms of the total, then the cores' part by layer."""
    model = _model(found)
    if model is None:
        return []
    ways = found["models"][model]
    drawings, alts = [], []
    terms = [term for term in TERMS if term != "total"]
    if all(e["energy_j"]["total"]["value"] is not None for e in ways.values()):
        stacks = [[(term, 1e6 * e["energy_j"][term]["value"]) for term in terms] for e in ways.values()]
        alts.append(
            "Estimate: "
            + "; ".join(
                f"{WAYS[way]} {text.si(e['energy_j']['total']['value'], 'J')}, of which "
                + ", ".join(f"{TERMS[term]} {text.si(e['energy_j'][term]['value'], 'J')}" for term in terms)
                for way, e in ways.items()
            )
            + "."
        )
        drawings.append(svg.bars(list(ways), [(model, stacks)], "µJ per inference, estimate", alts[-1]))
    layers = ways["once"]["layers"]
    if all(layer["total_j"]["value"] is not None for layer in layers):
        stacks = [[(CSS[part], 1e6 * layer[f"{part}_j"]["value"]) for part in PARTS] for layer in layers]
        alts.append(
            "Cores by layer, estimate: "
            + ", ".join(f"{layer['name']} {text.si(layer['total_j']['value'], 'J')}" for layer in layers)
            + "."
        )
        names = [layer["name"] for layer in layers]
        drawings.append(svg.bars(names, [(model, stacks)], "µJ per inference, cores, estimate", alts[-1]))
    if not drawings:
        return []
    legend = tuple((term, TERMS[term]) for term in terms) + tuple((CSS[part], part) for part in PARTS)
    caption = f"Estimated energy of **{model}**: the terms of the total by way of the input, and the cores' by layer."
    return [Figure(caption, " ".join(alts), tuple(drawings), legend=legend)]
