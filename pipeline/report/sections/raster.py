"""One inference, spike by spike."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.report import pictures
from cotrain.pipeline.report.blocks import Block, Figure, Text
from cotrain.pipeline.report.load import Inputs


def blocks(document: dict[str, Any], inputs: Inputs) -> list[Block]:
    """A raster of some neurons of each layer."""
    names = [layer.name for layer in inputs.spec.layers if f"{layer.name}/n_neurons" in inputs.raster]
    if not names:
        return [Text("No raster was written (loihi-hybrid was not run).", "note")]
    drawing, alt = pictures.raster(inputs.raster, names, document["metrics"]["n_steps"])
    sample = str(inputs.raster.get("sample", ""))
    caption = f"loihi-hybrid on {sample}: a row is a neuron, a mark a spike; drawn of those that spiked."
    return [Figure(caption, alt, (drawing,), "wide")]
