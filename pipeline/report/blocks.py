"""What a page is made of. The HTML page and its Markdown twin are two renderings of the same blocks.

Texts may hold ``**bold**`` and `` `code` ``; everything else in them is literal.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Text:
    """A paragraph. `kind` is "text", "verdict" or "note"."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Items:
    """A list of short texts."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of texts; the first column names the row. `align` has one of "l", "r" per column."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str = ""
    muted: frozenset[int] = frozenset()  # rows that say why they are empty
    tall: bool = False  # may be long: scrolls on screen, complete in print

    def __post_init__(self):
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.caption!r}: a row has not {len(self.columns)} cells")

    def alignment(self, column: int) -> str:
        return self.align[column] if column < len(self.align) else ("l" if column == 0 else "r")


@dataclass(frozen=True)
class Figure:
    """One or more drawings (SVG) under a caption. `alt` says in words and numbers what they show."""

    caption: str
    alt: str
    drawings: tuple[str, ...]
    size: str = "chart"  # "chart", "picture" (small), "wide"
    legend: tuple[tuple[str, ...], ...] = ()  # (CSS class of the series, label[, mark of `svg.mark`])


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Row:
    """Blocks side by side where the window is wide enough."""

    blocks: tuple


@dataclass(frozen=True)
class Section:
    key: str
    title: str
    blocks: tuple = field(default_factory=tuple)


@dataclass(frozen=True)
class Page:
    """`lead` is the first screen: it stands before the table of contents."""

    title: str
    subtitle: str
    lead: tuple
    sections: tuple[Section, ...]
