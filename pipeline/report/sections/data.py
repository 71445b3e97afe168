"""The samples: how many there were, what was said of them, and which were not used."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Items, Table, Text
from cotrain.pipeline.report.load import Inputs


def blocks(document: dict[str, Any], inputs: Inputs | None = None) -> list[Block]:
    """Counts of the splits, notes of the reader, and every rejected sample with its reason."""
    found = document["metrics"].get("dataset") or {}
    counts = (("all", "n_total"), ("train", "n_train"), ("validation", "n_validation"), ("test", "n_test"))
    rows = tuple((label, text.count(found[key])) for label, key in counts if key in found)
    scored = (("scored here", text.count(document["metrics"]["n_samples"])),)
    found_blocks: list[Block] = [
        Table(f"Samples of {found.get('name', 'the data set')}.", ("Split", "Samples"), rows + scored)
    ]
    notes = tuple(str(note) for note in found.get("notes") or ())
    found_blocks += [Items(notes)] if notes else []
    rejected = found.get("rejected") or []
    if not rejected:
        return [*found_blocks, Text("No sample was rejected.")]
    caption = f"{text.plural(len(rejected), 'sample')} found and not used."
    lines = tuple((r["name"], r["reason"], f"`{r['path']}`") for r in rejected)
    return [*found_blocks, Table(caption, ("Sample", "Reason", "File"), lines, "lll", tall=len(lines) > 12)]
