"""A page as Markdown. Figures are told in words, because Markdown viewers show no inline drawings."""

from __future__ import annotations

from cotrain.pipeline.report.blocks import (
    Block,
    Code,
    Facts,
    Figure,
    Fold,
    Heading,
    Items,
    Page,
    Row,
    Strip,
    Table,
    Text,
)  # fmt: skip


def render(page: Page) -> bytes:
    """The page as UTF-8 Markdown (GitHub's tables)."""
    parts = [f"# {page.title}", page.subtitle, *map(_block, page.lead)]
    for section in page.sections:
        parts += [f"## {section.title}", *map(_block, section.blocks)]
    return ("\n\n".join(part for part in parts if part) + "\n").encode()


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"> {block.text}" if block.kind != "text" else block.text
    if isinstance(block, Items):
        return "\n".join(f"- {item}" for item in block.items)
    if isinstance(block, Row):
        return "\n\n".join(map(_block, block.blocks))
    if isinstance(block, Heading):
        return f"### {block.text}"
    if isinstance(block, Code):
        return f"```\n{block.text}\n```"
    if isinstance(block, Fold):
        inner = "\n\n".join(map(_block, block.blocks))
        return (
            f"<details>\n<summary>{block.summary.replace('*', '').replace('`', '')}</summary>\n\n{inner}\n\n</details>"
        )
    if isinstance(block, Facts):
        return "\n".join(f"- {f.question} **{f.answer.replace('*', '')}** {' '.join(f.details)}" for f in block.facts)
    if isinstance(block, Strip):
        return "\n\n".join([block.caption, *(_block(case.detail) for case in block.cases)])
    if isinstance(block, Figure):
        return f"*Figure: {block.caption}* {block.alt}"
    if isinstance(block, Table):
        return _table(block)
    raise TypeError(f"no Markdown for {type(block).__name__}")


def _table(table: Table) -> str:
    def line(cells: tuple[str, ...] | list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    rule = ["---" if table.alignment(i) == "l" else "---:" for i in range(len(table.columns))]
    return "\n".join([f"**{table.caption}**", "", line(table.columns), line(rule), *map(line, table.rows)])
