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
    muted: frozenset[int] = frozenset()  # rows that were not run here: they say why they are empty, or what they are
    tall: bool = False  # may be long: scrolls on screen, complete in print
    sortable: bool = False  # by a click or a key on a column's head
    n_totals: int = 0  # last rows, which stay last whatever is sorted

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.caption!r}: a row has not {len(self.columns)} cells")

    def alignment(self, column: int) -> str:
        """Of a column: "l" or "r"."""
        return self.align[column] if column < len(self.align) else ("l" if column == 0 else "r")


@dataclass(frozen=True)
class Figure:
    """One or more drawings (SVG) under a caption. `alt` says in words and numbers what they show."""

    caption: str
    alt: str
    drawings: tuple[str, ...]
    size: str = "chart"  # "chart", "picture" (small), "small", "wide"
    legend: tuple[tuple[str, ...], ...] = ()  # (CSS class of the series, label[, mark of `charts.mark`])


@dataclass(frozen=True)
class Case:
    """One picture to choose in a `Strip`: its thumbnail (SVG), a line under it, and what is shown when it is chosen."""

    label: str
    thumbnail: str
    detail: Figure


@dataclass(frozen=True)
class Strip:
    """Thumbnails of which one at a time is shown at length. `key` is unique on its page."""

    key: str
    caption: str
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class Fact:
    """A question of the first screen, its answer in a few words, and what it stands on."""

    question: str
    answer: str
    details: tuple[str, ...] = ()
    state: str = ""  # "good", "bad", "unsure"; "" where there is nothing to judge


@dataclass(frozen=True)
class Facts:
    """Questions and answers side by side."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Code:
    """Commands, a line each."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Row:
    """Blocks side by side where the window is wide enough."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Fold:
    """What few readers want: closed at first, and not printed unless it was opened."""

    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Section:
    """One question. A section that is not `open` shows its title only, on the screen; printed it is whole."""

    key: str
    title: str
    blocks: tuple[Block, ...] = field(default_factory=tuple)
    open: bool = True
    name: str = ""  # in the list of contents; the title by default


@dataclass(frozen=True)
class Page:
    """`lead` is the first screen: it stands before all sections."""

    title: str
    subtitle: str
    lead: tuple[Block, ...]
    sections: tuple[Section, ...]


Block = Text | Items | Table | Figure | Strip | Facts | Code | Heading | Row | Fold
