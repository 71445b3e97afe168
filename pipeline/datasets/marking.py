"""What a file of labels says of one picture, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MAX_LABEL_BYTES = 1 << 30
MEND = "mend it, or name another file in data.labels"


@dataclass
class Marking:
    """What the labels say of one picture.

    Attributes
    ----------
    image : str
        The picture's file, relative to the folder of pictures; without its ending where the format has none.
    source : Path
        The file of labels.
    objects : list of (category, (y0, x0, y1, x1))
        Edges, in pixels from 0, or in fractions of the picture.
    fractions : bool
    size : (height, width), optional
        Of the picture, as the labels have it.
    split : str, optional
    also : str
        Another name of the file, if the first is not found.
    problem : str
        Why the marks cannot be used, if so.
    """

    image: str
    source: Path
    objects: list[tuple[str, tuple[float, float, float, float]]] = field(default_factory=list)
    fractions: bool = False
    size: tuple[int, int] | None = None
    split: str | None = None
    also: str = ""
    problem: str = ""
