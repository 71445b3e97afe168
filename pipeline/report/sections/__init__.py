"""The report's sections. Each is one file, which gathers its facts and returns its blocks.

`facts(inputs, document)` gives keys of the JSON document, those of the sections before it in `SECTIONS` being there;
`blocks(document, inputs)` says them. A section without blocks is left out. To add one, write its file and its row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cotrain.pipeline.report.blocks import Block
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import (
    classes,
    costs,
    data,
    explored,
    layers,
    over_time,
    pictures,
    placement,
    quantization,
    raster,
    samples,
    scales,
    scores,
    settings,
    summary,
    training,
)  # fmt: skip


def _no_facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class SectionRow:
    """A section: its anchor, its title, its functions, and whether it is open at first."""

    key: str
    title: str
    name: str  # in the list of contents
    blocks: Callable[[dict[str, Any], Inputs], Iterable[Block]]
    facts: Callable[[Inputs, dict[str, Any]], dict[str, Any]] = _no_facts
    open: bool = True


SECTIONS = (
    SectionRow("scores", "Scores, step by step", "Scores", scores.blocks, scores.facts),
    SectionRow("samples", "Sample by sample", "Samples", samples.blocks, samples.facts),
    SectionRow("layers", "Layer by layer", "Layers", layers.blocks, layers.facts),
    SectionRow("energy", "Energy and time (estimates)", "Energy", costs.blocks, costs.facts),
    SectionRow(
        "time", "Fewer steps: accuracy over time, spikes and energy", "Steps", over_time.blocks, over_time.facts
    ),
    SectionRow("explored", "Steps and rates that were tried", "Rates", explored.blocks, explored.facts),
    SectionRow("classes", "Class by class", "Classes", classes.blocks, open=False),
    SectionRow("pictures", "Best, median and worst, drawn", "Pictures", pictures.blocks, pictures.facts, open=False),
    SectionRow("training", "Training", "Training", training.blocks, training.facts, open=False),
    SectionRow("scales", "Scales of a model that was made elsewhere", "Scales", scales.blocks, open=False),
    SectionRow("placement", "Placement on cores and chips", "Placement", placement.blocks, placement.facts, open=False),
    SectionRow("quantization", "Quantisation", "Integers", quantization.blocks, quantization.facts, open=False),
    SectionRow("raster", "One inference, spike by spike", "Spikes", raster.blocks, open=False),
    SectionRow("data", "Data", "Data", data.blocks, open=False),
    SectionRow(
        "settings", "Settings, versions, how to reproduce", "Settings", settings.blocks, settings.facts, open=False
    ),
)
FIRST_SCREEN = SectionRow("summary", "", "", summary.blocks, summary.facts)  # decides from what all others found
