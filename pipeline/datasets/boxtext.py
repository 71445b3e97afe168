"""Boxes in text, a line each: YOLO's files and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

from cotrain.hardware.errors import CorruptError, InputError
from cotrain.hardware.files import read_bytes

from .base import Unusable, one_line
from .listing import split_of_path, split_word
from .marking import MAX_LABEL_BYTES, MEND, Marking

# ---------------------------------------------------------------------------------------------------------------------
# YOLO

CLASS_FILES = ("classes", "_darknet", "obj", "data", "train", "val", "valid", "test", "README", "readme", "notes")


def read_yolo(files: dict[str, Path], labels: Path) -> list[Marking]:
    """YOLO: ``class centre_x centre_y width height`` a line, in fractions of the picture."""
    names = _yolo_names(labels)
    out = []
    for stem, path in files.items():
        if "/" not in stem and (stem in CLASS_FILES or stem.lower().startswith("readme.")):
            continue
        split, _ = split_of_path(stem)
        marked = Marking(stem, path, fractions=True, split=split)
        try:
            text = read_bytes(path, 1 << 26).decode("utf-8-sig")
            for k, line in enumerate(text.splitlines(), start=1):
                if line.strip():
                    marked.objects.append(_yolo_line(line, k, names))
        except (Unusable, UnicodeDecodeError, CorruptError) as reason:
            marked.problem = one_line(reason)
        out.append(marked)
    return out


def _yolo_line(line: str, k: int, names: dict[int, str]) -> tuple[str, tuple[float, float, float, float]]:
    parts = line.split()
    if len(parts) != 5:
        raise Unusable(f"line {k} has {len(parts)} values: expected class, centre x, centre y, width, height")
    try:
        number, x, y, width, height = int(parts[0]), *map(float, parts[1:])
    except ValueError:
        raise Unusable(f"line {k} holds no numbers: {line.strip()[:60]}") from None
    for value in (x, y, width, height):
        if not 0 <= value <= 1:  # NaN neither
            raise Unusable(f"line {k} has {value:g}: YOLO's numbers are fractions of the picture, 0 to 1")
    if number < 0 or (names and number not in names):
        raise Unusable(f"line {k} has the class {number}, which the list of names does not have")
    return names.get(number, str(number)), (y - height / 2, x - width / 2, y + height / 2, x + width / 2)


def _yolo_names(labels: Path) -> dict[int, str]:
    """Names of the classes from classes.txt, obj.names or data.yaml beside or above the labels; empty without one."""
    for folder in (labels, labels.parent):
        for name in ("classes.txt", "obj.names", "_darknet.labels"):
            if (folder / name).is_file():
                lines = read_bytes(folder / name, 1 << 24).decode("utf-8-sig", "replace").splitlines()
                return dict(enumerate(line.strip() for line in lines if line.strip()))
        for name in ("data.yaml", "data.yml", "dataset.yaml"):
            if (folder / name).is_file():
                return _yaml_names(read_bytes(folder / name, 1 << 24).decode("utf-8-sig", "replace"))
    return {}


def _yaml_names(text: str) -> dict[int, str]:
    """The entry ``names`` of a YOLO data file: ``[a, b]``, ``- a`` lines, or ``0: a`` lines."""
    match = re.search(r"^names:[ \t]*(.*(?:\n[ \t-].*)*)", text, flags=re.MULTILINE)
    if not match:
        return {}
    body = match[1].strip()
    if body.startswith("["):
        return dict(enumerate(part.strip().strip("'\"") for part in body.strip("[]").split(",") if part.strip()))
    out: dict[int, str] = {}
    for line in body.splitlines():
        item = re.fullmatch(r"\s*(?:-|([0-9]{1,9})\s*:)\s*(.+?)\s*", line)
        if item:
            out[int(item[1]) if item[1] else len(out)] = item[2].strip("'\"")
    return out


# ---------------------------------------------------------------------------------------------------------------------
# CSV

_COLUMNS = {
    "image": ("image", "filename", "file_name", "file", "path", "image_path", "img", "image_name"),
    "x0": ("x0", "xmin", "x_min", "left"), "y0": ("y0", "ymin", "y_min", "top"),
    "x1": ("x1", "xmax", "x_max", "right"), "y1": ("y1", "ymax", "y_max", "bottom"),
    "class": ("class", "label", "category", "class_name", "name"),
    "split": ("split", "set", "subset"),
}  # fmt: skip
_CORNERS = {"x1": "x0", "y1": "y0", "x2": "x1", "y2": "y1"}  # of a header with x1, y1, x2, y2
_NO_HEADER = ("image", "x0", "y0", "x1", "y1", "class")
_NEEDED = ("image", "x0", "y0", "x1", "y1")


def read_csv(path: Path) -> list[Marking]:
    """CSV, an object a row: with a header in any order, or ``path,x1,y1,x2,y2,class`` without; edges in pixels from 0.

    A row without numbers marks a picture that has no object.
    """
    try:
        text = read_bytes(path, MAX_LABEL_BYTES).decode("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = "," if "," in first else ";" if ";" in first else "\t"
        rows = [(k, row) for k, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} is no CSV in UTF-8: {one_line(error)}; {MEND}") from None
    if not rows:
        raise InputError(f"{path.name} is empty; {MEND}")
    columns, rows = _columns(path, rows)
    by_image: dict[str, Marking] = {}
    for k, row in rows:
        if len(row) <= max(columns[key] for key in _NEEDED):
            raise InputError(f"{path.name}, line {k}: {len(row)} values, expected {len(columns)} or more; {MEND}")
        cells = {key: row[at].strip() if at < len(row) else "" for key, at in columns.items()}
        name = cells["image"]
        if not name:
            raise InputError(f"{path.name}, line {k}: no name of an image; {MEND}")
        marked = by_image.setdefault(name, Marking(name, path, split=split_of_path(name)[0]))
        if cells.get("split"):
            split = split_word(cells["split"])
            if split is None:
                raise InputError(f"{path.name}, line {k}: the split {cells['split']!r}; expected train, val or test")
            if marked.split not in (None, split) and marked.objects:
                raise InputError(f"{path.name}, line {k}: {name} is in two splits, {marked.split} and {split}; {MEND}")
            marked.split = split
        values = [cells[key] for key in ("y0", "x0", "y1", "x1")]
        if not any(values):
            continue
        try:
            y0, x0, y1, x1 = map(float, values)
        except ValueError:
            marked.problem = f"line {k} has the box {','.join(row)[:60]}: expected 4 numbers"
            continue
        marked.objects.append((cells.get("class") or "object", (y0, x0, y1, x1)))
    return list(by_image.values())


def _columns(path: Path, rows: list[tuple[int, list[str]]]) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    """Where each column is, and the rows without the header."""
    first = [cell.strip().lower() for cell in rows[0][1]]
    if len(first) >= 5 and all(_is_number(cell) or not cell for cell in first[1:5]):
        return dict(zip(_NO_HEADER, range(len(first)), strict=False)), rows
    if {"x2", "y2"} <= set(first):
        first = [_CORNERS.get(cell, cell) for cell in first]
    columns = {}
    for key, names in _COLUMNS.items():
        at = [first.index(name) for name in names if name in first]
        if at:
            columns[key] = at[0]
    missing = [key for key in _NEEDED if key not in columns]
    if missing:
        raise InputError(
            f"{path.name} has no column for {', '.join(missing)}: its first line is {','.join(first)[:80]!r}; expected "
            "image,x0,y0,x1,y1[,class] in any order (also xmin, left, ...), or rows of path,x1,y1,x2,y2,class"
        )
    return columns, rows[1:]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
