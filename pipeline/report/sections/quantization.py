"""What rounding to the chip's integers costs each layer (`hardware.preflight.quantization_error`)."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.report import charts as svg
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Figure, Table, Text
from cotrain.pipeline.report.load import Inputs


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """Float against integer parameters of each network, as the quantize stage wrote them."""
    return {"quantization": inputs.quantization}


def blocks(document: dict[str, Any], inputs: Inputs) -> list[Block]:
    """A picture of the errors, then the tables."""
    tables = [_table(kind, one) for kind, one in document["quantization"].items()]
    if not tables:
        return [Text("No quantisation errors were written.", "note")]
    bars = _bars(document["quantization"])
    return [*([bars] if bars else []), *tables]


def _table(kind: str, one: dict[str, Any]) -> Table:
    layers = one["layers"]
    columns = (
        "Layer", "Weights: RMS error", "zeroed", "bits lost", "Biases: RMS error / threshold",
        "Thresholds: largest error", "Current filter (ms)", "Membrane (ms)", "Rate, floats (Hz)", "Rate, integers (Hz)",
        "Rate error (Hz)",
    )  # fmt: skip
    shares = ("weight_error", "weights_zeroed", "bias_error", "threshold_error")
    weights, zeroed, biases, thresholds = ([text.percent(e.get(key)) for e in layers] for key in shares)
    bits = ["–" if e.get("weight_bits_lost") is None else str(e["weight_bits_lost"]) for e in layers]
    filters = [[_asked_and_got(e, key) for e in layers] for key in ("tau_current", "tau_voltage")]
    rates = [text.column([e.get(key) for e in layers])[1] for key in ("rate_hz", "rate_chip_hz", "rate_error_hz")]
    names = [e["name"] for e in layers]
    rows = tuple(zip(names, weights, zeroed, bits, biases, thresholds, *filters, *rates, strict=True))
    source = "those measured" if one.get("rates_from") == "stats" else f"all {one.get('input_rate_hz'):.4g} Hz"
    caption = f"The {kind} network in integers. Rates are computed for steady input; off-chip rates are {source}."
    return Table(caption, columns, rows, sortable=True)


def _asked_and_got(entry: dict[str, Any], key: str) -> str:
    """A time constant, and what the chip makes of it, in ms; one that does not decay has none."""
    values = [entry.get(f"{key}{which}_s") for which in ("", "_chip")]
    shown = [text.NOTHING if v is None else f"{1e3 * v:.3g}" for v in values]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} → {shown[1]}"


def _bars(quantization: dict[str, Any]) -> Figure | None:
    """Error of weights and of steady rates by layer."""
    found = {kind: one["layers"] for kind, one in quantization.items() if one.get("layers")}
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
