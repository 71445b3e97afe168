"""What the report says of energy and time: the total first, its terms second, then what they stand on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cotrain.pipeline.evaluation.rows import CHIP_FIRST
from cotrain.pipeline.report import charts as svg
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Figure, Fold, Heading, Items, Row, Table, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import energy, neurobench, placement
from cotrain.pipeline.report.sections.energy import WAYS

TERMS = {"total": "total", "core_dynamic": "cores, dynamic", "x86": "x86", "leakage": "leakage"}
PARTS = ("neurons", "synapses", "spikes", "messages")
CSS = {**{part: part for part in PARTS}, "spikes": "spiking"}  # "spikes" is the raster's


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """Estimates of energy and time, and NeuroBench's counts."""
    bits = placement.synapse_bits(inputs.placement)
    return {
        "energy": energy.estimates(inputs.metrics, inputs.spec, inputs.placement),
        "neurobench": neurobench.neurobench(inputs.metrics, inputs.spec, inputs.params, bits),
    }


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


def spreads(parts: Sequence[dict[str, float | None] | float | None], unit: str) -> tuple[str, list[str]]:
    """`spread` for all cells of a column: one unit, one number of decimals.

    Parameters
    ----------
    parts : sequence
        A dict of "value", "low" and "high", a value that has no range, or None where there is nothing to tell.

    Returns
    -------
    str
        The unit with its prefix, for the column's head.
    list of str
    """
    whole = [part if isinstance(part, dict) else {"value": part, "low": None, "high": None} for part in parts]
    known = [part["value"] if part["value"] else part["high"] for part in whole]
    shown_unit, cells = text.column([*known, *(part[key] for part in whole for key in ("low", "high"))], unit)
    n, found = len(whole), []
    for i, part in enumerate(whole):
        low, high = cells[n + 2 * i], cells[n + 2 * i + 1]
        if part["high"] is None:
            found.append(cells[i])
        elif part["high"] == 0:
            found.append("0")
        elif part["value"]:
            found.append(f"{cells[i]} ({low} to {high})")
        else:
            found.append(f"{low} to {high}" if part["value"] is None else f"0 ({low} to {high})")
    return shown_unit, found


def lead(document: dict[str, Any]) -> list[Table]:
    """Where the decision is made: one inference on the chip, on its host, and the ANN elsewhere."""
    found, ann = document["energy"], document["energy"]["ann"]
    model = chip_model(found)
    if model is None:
        return []
    ways = found["models"][model]
    host = found["host"]["cpu_j"]
    unit, joules = spreads([*(e["energy_j"]["total"] for e in ways.values()), ann["cpu_j"], ann["gpu_j"]], "J")
    host_unit, hosts = text.column([host] * len(ways), "J")
    time_unit, times = spreads([e["time_s"]["total"] for e in ways.values()], "s")
    rows = [
        (f"{model} on Loihi, {WAYS[way]}", joules[i], hosts[i], times[i], e["limiter"])
        for i, (way, e) in enumerate(ways.items())
    ]
    dash = text.NOTHING
    rows.append(("the ANN on a CPU", joules[-2], dash, dash, dash))
    rows.append(("the ANN on a GPU, large batches", joules[-1], dash, dash, dash))
    s = found["measured"]["summary"]["total"]
    caption = (
        "Energy and time of one inference: estimates, with the range in which they may lie. On measured networks whose "
        f"counts are known the total was {100 * s['median_error']:.0f} % off in the median and "
        f"{100 * s['worst_error']:.0f} % at worst ({s['points']} rows of one network)."
    )
    columns = (
        "Where", text.in_head("Energy", unit), text.in_head("Its host's share, on a CPU", host_unit),
        text.in_head("Time", time_unit), "What sets the time",
    )  # fmt: skip
    return [Table(caption, columns, tuple(rows), "lrrrl")]


def blocks(document: dict[str, Any], inputs: Inputs | None = None) -> list[Block]:
    """The split of the total; terms, layers, what they stand on and NeuroBench's counts folded away."""
    found = document["energy"]
    intro = Text(
        "**Everything in this section is an estimate**: published constants of a chip, and the spikes counted above. "
        "Nothing was measured on a board of yours."
    )
    first, *lines = found["measured"]["sentences"]
    stands_on: list[Block] = [Heading("Held against measured chips"), Text(first), Items(tuple(lines))]
    for model, ways in found["models"].items():
        both = [line for line in ways["streamed"]["unknown"] if line in ways["once"]["unknown"]]
        unknown = [*both, *(f"{WAYS[way]}: {u}" for way, e in ways.items() for u in e["unknown"] if u not in both)]
        if unknown:
            stands_on += [Text(f"Not known of {model}:"), Items(tuple(unknown))]
    stands_on += [Text("Assumptions:"), Items(tuple(found["assumptions"])), constants(document)]
    note = Text(
        "NeuroBench's names and meaning: Footprint in bytes; sparsities are fractions of zeros; operations per sample, "
        "all steps together. Effective_MACs are the host's first layer and readout, zeros in the image counted.",
        "note",
    )
    return [
        intro,
        *_split(found),
        *_over_rates(found),
        Fold("Terms of energy and time of every row, and by layer", (*_terms(document), *_by_layer(found))),
        Fold("What the estimates stand on: measured chips, assumptions, every constant", tuple(stands_on)),
        Fold("NeuroBench's counts", (_neurobench(document), note)),
    ]


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


def chip_model(found: dict[str, Any]) -> str | None:
    """Of the rows that energy is known of the one nearest to the chip.

    Parameters
    ----------
    found : dict
        ``document["energy"]``.
    """
    return next((m for m in CHIP_FIRST if m in found["models"]), None)


def _terms(document: dict[str, Any]) -> list[Table]:
    found, ann = document["energy"], document["energy"]["ann"]
    entries = [(f"{m}, {way}", e) for m, ways in found["models"].items() for way, e in ways.items()]
    alone = {
        "host's share on a CPU": found["host"]["cpu_j"], "the ANN on a CPU": ann["cpu_j"],
        "the ANN on a GPU, large batches": ann["gpu_j"],
    }  # fmt: skip
    heads, columns = ["Model"], [[*(name for name, _ in entries), *alone]]
    for term, label in (*TERMS.items(), ("board_idle", "idle board")):
        rest = list(alone.values()) if term == "total" else [None] * len(alone)
        unit, cells = spreads([*(e["energy_j"][term] for _, e in entries), *rest], "J")
        heads.append(text.in_head(label, unit))
        columns.append(cells)
    caption = (
        "Estimated energy of one inference, total first; the idle board around the chip stands apart. "
        + "; ".join(f"{way}: {what}" for way, what in WAYS.items())
        + f". The ANN needs {text.count(ann['macs'])} multiply-accumulates."
    )
    tables = [Table(caption, tuple(heads), tuple(zip(*columns, strict=True)))]
    if not entries:
        return tables
    heads, columns = ["Model"], [[name for name, _ in entries]]
    for key, label in (
        ("total", "Time"),
        ("steps", "steps on the chip"),
        ("input", "host's input"),
        ("fixed", "fixed"),
    ):
        unit, cells = spreads([e["time_s"][key] for _, e in entries], "s")
        heads.append(text.in_head(label, unit))
        columns.append(cells)
    columns.append([e["limiter"] for _, e in entries])
    rows = tuple(zip(*columns, strict=True))
    return [*tables, Table("Estimated time of one inference.", (*heads, "What sets it"), rows, "lrrrrl")]


def _over_rates(found: dict[str, Any]) -> list[Block]:
    model = chip_model(found)
    if model is None:
        return []
    grid = found["over_steps_and_rates"][model]
    tables = []
    for way, rows in grid["total_j"].items():
        n = len(grid["rate_factors"])
        unit, cells = text.column([value for row in rows for value in row], "J")
        lines = tuple((str(steps), *cells[n * i : n * (i + 1)]) for i, steps in enumerate(grid["n_steps"]))
        columns = ("Steps", *(f"× {factor:g}" for factor in grid["rate_factors"]))
        caption = f"Estimated energy ({unit}) of {model} over steps and multiples of its rates, {WAYS[way]}."
        tables.append(Table(caption, columns, lines, "r" * (n + 1)))
    return [Row(tuple(tables))]


def _by_layer(found: dict[str, Any]) -> list[Table]:
    tables = []
    for model, ways in found["models"].items():
        layers = ways["once"]["layers"]
        heads, columns = ["Layer"], [[layer["name"] for layer in layers]]
        for part in (*PARTS, "total"):
            unit, cells = spreads([layer[f"{part}_j"] for layer in layers], "J")
            heads.append(text.in_head("all" if part == "total" else part, unit))
            columns.append(cells)
        caption = f"Estimated dynamic energy of {model} by layer; the way of the input does not change it."
        tables.append(Table(caption, tuple(heads), tuple(zip(*columns, strict=True)), sortable=True))
    return tables


def _neurobench(document: dict[str, Any]) -> Table:
    entries = document["neurobench"]
    operations = ("Dense", "Effective_MACs", "Effective_ACs")
    heads, columns = ["Model"], [list(entries)]
    unit, cells = text.column([e["Footprint"] for e in entries.values()], "B")
    heads.append(text.in_head("Footprint", unit))
    columns.append(cells)
    for key in ("ConnectionSparsity", "ActivationSparsity"):
        heads.append(key)
        columns.append([text.NOTHING if e[key] is None else f"{e[key]:.4f}" for e in entries.values()])
    for key in operations:
        unit, cells = text.column([e["SynapticOperations"][key] for e in entries.values()])
        heads.append(text.in_head(key, unit))
        columns.append(cells)
    return Table("NeuroBench's metrics.", tuple(heads), tuple(zip(*columns, strict=True)))


def _split(found: dict[str, Any]) -> list[Figure]:
    """Terms of the total, then the cores' part by layer."""
    model = chip_model(found)
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
