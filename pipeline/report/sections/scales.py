"""How the layers of a model that was made elsewhere were brought to the chip's rates; nothing for other networks."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Items, Table, Text
from cotrain.pipeline.report.load import Inputs


def _share(correlation: float | None) -> str:
    return "–" if correlation is None else f"{correlation:.3f}"


def blocks(document: dict[str, Any], inputs: Inputs) -> list[Block]:
    """Per layer what was chosen, and what share of the activations it clips (`pipeline.networks.activity`)."""
    history = document["histories"].get("train") or {}
    layers = history.get("scales") or []
    if not layers:
        return []
    rate_hz, dt_s = document["settings"]["neurons"]["rate_scale_hz"], document["metrics"]["dt_s"]
    most_hz = 1 / dt_s
    scales = text.column([layer["scale"] for layer in layers])[1]
    weakest = text.column([layer.get("scale_least", layer["scale"]) for layer in layers])[1]
    largest = text.column([layer["largest"] * rate_hz for layer in layers])[1]
    told = {layer["name"]: layer["correlation"] for layer in history.get("agreement") or ()}
    rows = tuple(
        (
            layer["name"], scale, weak, f"{layer['percentile']:g}", text.percent(layer["above"]), top,
            "yes" if layer["largest"] * rate_hz > most_hz else "no", _share(told.get(layer["name"])),
        )
        for layer, scale, weak, top in zip(layers, scales, weakest, largest, strict=True)
    )  # fmt: skip
    columns = (
        "Layer", "The model's activation that became 1", "In its weakest channel", "Their percentile",
        "Positive activations above it",
        "Rate that the largest one asks for (Hz)", f"Beyond the chip's {most_hz:,.0f} Hz",
        "Correlation of spikes with activations",
    )  # fmt: skip
    fitted = " Kernels and biases were then fitted to spikes." if history.get("calibrated") else ""
    outputs = [value for name, value in told.items() if name not in {layer["name"] for layer in layers}]
    fitted += "".join(f" Spikes tell the model's outputs with a correlation of {value:.3f}." for value in outputs)
    found: list[Block] = [
        Text(
            f"Each channel was divided by a high percentile of its activations on training images, and what listens to "
            f"it multiplied by it, which leaves the function as it is; an activation of 1 is {rate_hz:g} Hz.{fitted}"
        ),
        Table("What was chosen for each layer, and what share it clips.", columns, rows, "lrrrrrlr", sortable=True),
    ]
    notes = tuple(history.get("notes") or ())
    if notes:
        found += [Text("What reading the model cost:"), Items(notes)]
    return found
