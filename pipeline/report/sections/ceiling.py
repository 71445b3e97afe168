"""What plain Keras reaches on the same split: how far the chip's network is from what the data allow.

Its lines stand last in tables, and never among the rows that were run: `document["ceiling"]` is no part of "metrics".
"""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Text
from cotrain.pipeline.tasks import metric_name

MEANING = "float, not on the chip, not run here"


def kind(one: dict[str, Any]) -> str:
    """A ceiling that the network on the chip has passed is none."""
    return "reference" if one["against"] and one["against"]["difference"] > 0 else "ceiling"


def name(one: dict[str, Any]) -> str:
    """In the first column of a table."""
    return f"{kind(one)}: {one['what']}"


def meaning(one: dict[str, Any]) -> str:
    """What it is, and of how many trainings."""
    if len(one["seeds"]) == 1:
        return f"{MEANING}; seed {one['seeds'][0]}"
    each = ", ".join(map(text.score, one["values"]))
    return f"{MEANING}; mean of seeds {', '.join(map(str, one['seeds']))}: {each}"


def protocol_rows(document: dict[str, Any], protocol: str) -> list[tuple[str, ...]]:
    """Rows of a protocol's table: name, score, interval, points against the plain samples."""
    found: list[tuple[str, ...]] = []
    for one in document.get("ceiling") or []:
        moved = one["protocols"].get(protocol)
        if moved:
            points = text.points(moved["value"] - one["value"])
            found.append((name(one), text.score(moved["value"]), text.interval(moved["ci95"]), points))
    return found


def blocks(document: dict[str, Any]) -> list[Block]:
    """How far from it the network is, in words; nothing where none was measured on these data."""
    found: list[Block] = []
    metric = metric_name(document["metrics"]["metric"])
    for one in document.get("ceiling") or []:
        said = (
            f"{kind(one).capitalize()}: {one['what']} reaches {metric} {text.score(one['value'])} on the same split "
            f"({meaning(one)})"
        )
        if one["against"]:
            low, high = map(text.points, one["against"]["ci95"])
            said += (
                f"; {one['against']['model']} against it: {text.points(one['against']['difference'])} points "
                f"(95 % CI {low} to {high}, paired)"
            )
        found.append(Text(f"{said}.", "note"))
    return found
