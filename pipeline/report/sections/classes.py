"""Several classes: the score of each, and which one is taken for which."""

from __future__ import annotations

from html import escape
from typing import Any

from cotrain.pipeline.evaluation.rows import CHIP_FIRST, run_rows
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Figure, Row, Table
from cotrain.pipeline.report.charts import WIDTH
from cotrain.pipeline.report.charts import document as svg
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.tasks import metric_name

MOST_CLASSES = 30  # that are drawn; a larger matrix cannot be read
NUMBERS_UP_TO = 14  # classes whose counts are written into the cells
TITLE_LETTERS = 12


def blocks(document: dict[str, Any], inputs: Inputs | None = None) -> list[Block]:
    """A table of all classes and models, and the confusion matrix of the model nearest to the chip."""
    metrics = document["metrics"]
    rows = {model: row for model, row in run_rows(metrics).items() if row.get("per_class")}
    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows.values() for name in row["per_class"]))
    metric = metric_name(metrics["metric"])
    cells: list[tuple[str, ...]] = [
        (name, *(text.score(row["per_class"].get(name)) for row in rows.values())) for name in names
    ] + [("**mean**", *(f"**{text.score(row['value'])}**" for row in rows.values()))]
    if any("fraction_right" in row for row in rows.values()):
        cells.append(("of all images", *(text.score(row.get("fraction_right")) for row in rows.values())))
    caption = f"{metric} of each class; every class counts alike in the mean."
    totals = len(cells) - len(names)
    table = Table(caption, ("Class", *rows), tuple(cells), tall=len(cells) > 30, sortable=True, n_totals=totals)
    chosen = next((model for model in CHIP_FIRST if rows.get(model, {}).get("confusion")), None)
    if chosen and len(rows[chosen]["confusion"]) <= MOST_CLASSES:
        return [Row((_confusion(chosen, rows[chosen]["confusion"], metrics["class_names"]), table))]
    return [table]


def _confusion(model: str, matrix: list[list[int]], names: list[str]) -> Figure:
    """Rows are true classes, columns predicted ones; a cell is the darker the larger its part of the row."""
    n, left, top = len(names), 16 + 6.5 * min(max(map(len, names)), TITLE_LETTERS), 26
    side = (WIDTH - left - 6) / n
    parts, wrong = [], []
    for i, row in enumerate(matrix):
        y, total = top + i * side, sum(row) or 1
        parts.append(f'<text class="end" x="{left - 6:.1f}" y="{y + side / 2 + 4:.1f}">{_short(names[i])}</text>')
        for j, count in enumerate(row):
            x, share = left + j * side, count / total
            told = f"{names[i]}, taken for {names[j]}: {count} of {total}"
            css = "loihi-hybrid" if i == j else "converted"
            cell = f'x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}"'
            parts.append(f'<g><title>{escape(told)}</title><rect class="empty" {cell}/>')
            if count:
                parts.append(f'<rect class="fill {css}" opacity="{0.12 + 0.78 * share**0.5:.2f}" {cell}/>')
            parts.append("</g>")
            if count and n <= NUMBERS_UP_TO:
                at = f'x="{x + side / 2 - 0.5:.1f}" y="{y + side / 2 + 3:.1f}"'
                parts.append(f'<text class="mid small" {at}>{count}</text>')
            if i != j and count:
                wrong.append((count, told))
    for j in range(n):
        x = left + (j + 0.5) * side
        parts.append(f'<text class="mid" x="{x:.1f}" y="{top - 8}">{_short(names[j], max(1, int(side / 7)))}</text>')
    wrong.sort(key=lambda entry: -entry[0])
    most = "; ".join(told for _, told in wrong[:5]) or "nothing was taken for anything else"
    alt = f"Confusion of {model}. Most often: {most}."
    caption = f"**{model}**: a row for each true class, a column for each predicted one. Most often wrong: {most}."
    return Figure(caption, alt, (svg(WIDTH, top + n * side + 4, parts, alt),))


def _short(name: str, letters: int = TITLE_LETTERS) -> str:
    return escape(name if len(name) <= letters else name[:letters])
