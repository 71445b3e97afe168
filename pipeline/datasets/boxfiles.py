"""Boxes in the files that people have: COCO JSON, Pascal VOC XML, YOLO text, CSV.

Each reader gives one `Marked` a picture. What no picture can be blamed for (a file that is not of its format, ids that
point nowhere, missing columns) is an `InputError`; what is wrong with one picture's marks is its `problem`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from cotrain.hardware.errors import CorruptError, InputError
from cotrain.hardware.files import read_bytes, read_json

from .base import Unusable, one_line
from .listing import files_by_stem, split_of_path, split_word

MAX_LABEL_BYTES = 1 << 30
_MEND = "mend it, or name another file in data.labels"


@dataclass
class Marked:
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


def read_labels(labels: Path, images: Path) -> tuple[list[Marked], str, list[str]]:
    """Read box labels of any of the four formats.

    Parameters
    ----------
    labels : Path
        A COCO .json, a .csv, or a folder of VOC .xml, YOLO .txt or COCO .json (one a split).
    images : Path
        The folder of the pictures.

    Returns
    -------
    marked : list of Marked
    where : str
        What splits come from, if any are there.
    notes : list of str

    Raises
    ------
    InputError, CorruptError, MissingError
        The labels as a whole cannot be used; the message names the file.
    """
    notes: list[str] = []
    if labels.is_dir():
        xml, txt, json = (files_by_stem(labels, (e,), deep=True) for e in (".xml", ".txt", ".json"))
        if xml:
            return read_voc(xml, labels, images), "ImageSets or folders of the labels", notes
        if json and not {k: v for k, v in txt.items() if k.rpartition("/")[2] not in _CLASS_FILES}:
            marked = [m for stem, file in json.items() for m in read_coco(file, _split_of_file(stem), notes)]
            return marked, "the names of the COCO files", notes
        if txt:
            return read_yolo(txt, labels), "folders of the labels", notes
        raise InputError(f"{labels} holds no .xml (VOC), .txt (YOLO) or .json (COCO); name the labels in data.labels")
    if labels.suffix.lower() == ".csv":
        return read_csv(labels), f"the split column of {labels.name}, or folders", notes
    if labels.suffix.lower() == ".json":
        return read_coco(labels, None, notes), "folders in file_name", notes
    if not labels.exists():
        raise InputError(f"data.labels: {labels} does not exist; expected a COCO .json, a .csv, or a folder")
    raise InputError(f"data.labels: {labels.name} has an unknown ending; expected a COCO .json, a .csv, or a folder")


def _split_of_file(stem: str) -> str | None:
    """``instances_train2017`` and ``train/_annotations.coco`` are train."""
    words = re.split(r"[^a-z]+", stem.lower())
    return next((split for split in map(split_word, words) if split), None)


# ---------------------------------------------------------------------------------------------------------------------
# COCO


def read_coco(path: Path, split: str | None, notes: list[str]) -> list[Marked]:
    """COCO: boxes are [x, y, width, height] in pixels from 0; crowds are left out."""
    tree = read_json(path, max_bytes=MAX_LABEL_BYTES, damaged=_MEND)
    what = f"{path.name} is no COCO file"
    if not isinstance(tree, dict) or not all(isinstance(tree.get(k), list) for k in ("images", "annotations")):
        raise InputError(f"{what}: expected an object with the lists images, annotations and categories; {_MEND}")
    categories: dict[object, str] = {}
    for entry in tree.get("categories") or []:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not isinstance(entry.get("name"), str):
            raise InputError(f"{what}: a category has no id or no name; {_MEND}")
        if entry["id"] in categories:
            raise InputError(f"{path.name}: two categories have the id {entry['id']!r}; {_MEND}")
        categories[entry["id"]] = entry["name"]
    by_id: dict[object, Marked] = {}
    for entry in tree["images"]:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not isinstance(entry.get("file_name"), str):
            raise InputError(f"{what}: an image has no id or no file_name; {_MEND}")
        if entry["id"] in by_id:
            raise InputError(f"{path.name}: two images have the id {entry['id']!r}; {_MEND}")
        size = entry.get("height"), entry.get("width")
        known = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in size)
        name = entry["file_name"]
        by_id[entry["id"]] = Marked(name, path, size=size if known else None, split=split or split_of_path(name)[0])
    n_crowds = 0
    for k, entry in enumerate(tree["annotations"]):
        if not isinstance(entry, dict):
            raise InputError(f"{what}: annotation {k} is no object; {_MEND}")
        number = entry.get("id", k)
        image, category = entry.get("image_id"), entry.get("category_id")
        if not _is_id(image) or image not in by_id:
            raise InputError(
                f"{path.name}: annotation {number!r} has the image_id {image!r}, which no image has; {_MEND}"
            )
        if not _is_id(category) or category not in categories:
            raise InputError(
                f"{path.name}: annotation {number!r} has the category_id {category!r}, which no category has; {_MEND}"
            )
        if entry.get("iscrowd"):
            n_crowds += 1
            continue
        try:
            x, y, width, height = (_number(v) for v in entry.get("bbox"))
        except (TypeError, ValueError, OverflowError):
            by_id[image].problem = f"annotation {number!r}: bbox is {str(entry.get('bbox'))[:60]}, expected 4 numbers"
            continue
        by_id[image].objects.append((categories[category], (y, x, y + height, x + width)))
    if n_crowds:
        notes.append(f"{n_crowds} crowds (iscrowd) of {path.name} are no object and not read")
    return list(by_id.values())


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return float(value)


# ---------------------------------------------------------------------------------------------------------------------
# Pascal VOC


def read_voc(files: dict[str, Path], labels: Path, images: Path) -> list[Marked]:
    """Pascal VOC: pixels count from 1 and both ends belong to the box, so that its edges are xmin - 1 and xmax."""
    lists = image_sets(labels, images)
    out = []
    for stem, path in files.items():
        split, _ = split_of_path(stem)
        if lists:
            split = lists.get(stem.rpartition("/")[2])
        marked = Marked(stem, path, split=split)
        try:
            _fill_from_xml(marked, path)
        except Unusable as reason:
            marked.problem = str(reason)
        out.append(marked)
    return out


def _fill_from_xml(marked: Marked, path: Path) -> None:
    from defusedxml import DefusedXmlException, ElementTree

    try:
        # No document type: neither entities that multiply nor such as read other files.
        root = ElementTree.fromstring(read_bytes(path, 1 << 26), forbid_dtd=True)
    except DefusedXmlException as error:
        kind = type(error).__name__
        raise Unusable(f"the label has a document type or entities ({kind}), which are not read") from None
    except (ElementTree.ParseError, CorruptError, ValueError, LookupError, RecursionError) as error:
        raise Unusable(f"the label is no XML: {one_line(error)}") from None
    if root.tag != "annotation":
        raise Unusable(f"the label is no VOC annotation: its root is <{root.tag[:40]}>")
    marked.also = (root.findtext("filename") or "").strip()
    size = tuple(_text_number(root, f"size/{k}", default=0.0) for k in ("height", "width"))
    if all(0 < n < 1e9 and n == int(n) for n in size):
        marked.size = (int(size[0]), int(size[1]))
    for item in root.iter("object"):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise Unusable("an object of the label has no name")
        x_min, y_min, x_max, y_max = (_text_number(item, f"bndbox/{k}") for k in ("xmin", "ymin", "xmax", "ymax"))
        marked.objects.append((name, (y_min - 1, x_min - 1, y_max, x_max)))


def _text_number(node, place: str, default: float | None = None) -> float:
    text = node.findtext(place)
    try:
        return float(text)
    except (TypeError, ValueError):
        if default is not None:
            return default
        raise Unusable(f"an object of the label has no number in {place}: {str(text)[:40]}") from None


def image_sets(labels: Path, images: Path, kind: str = "Main") -> dict[str, str]:
    """Split of each picture by VOC's lists ``ImageSets/Main/{train,val,test}.txt``; empty where there are none."""
    for parent in (labels.parent, images.parent, labels, images):
        folder = parent / "ImageSets" / kind
        if folder.is_dir():
            break
    else:
        return {}
    place: dict[str, str] = {}
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        file = folder / f"{name}.txt"
        if not file.is_file():
            continue
        for line in read_bytes(file, 1 << 28).decode("utf-8", "replace").splitlines():
            for stem in line.split()[:1]:
                if place.setdefault(stem, split) != split:
                    raise InputError(f"{file}: {stem} is in two splits, {place[stem]} and {split}; mend the lists")
    return place


# ---------------------------------------------------------------------------------------------------------------------
# YOLO

_CLASS_FILES = ("classes", "_darknet", "obj", "data", "train", "val", "valid", "test", "README", "readme", "notes")


def read_yolo(files: dict[str, Path], labels: Path) -> list[Marked]:
    """YOLO: ``class centre_x centre_y width height`` a line, in fractions of the picture."""
    names = _yolo_names(labels)
    out = []
    for stem, path in files.items():
        if "/" not in stem and stem in _CLASS_FILES:
            continue
        split, _ = split_of_path(stem)
        marked = Marked(stem, path, fractions=True, split=split)
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
        item = re.fullmatch(r"\s*(?:-|(\d+)\s*:)\s*(.+?)\s*", line)
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


def read_csv(path: Path) -> list[Marked]:
    """CSV, an object a row: with a header in any order, or ``path,x1,y1,x2,y2,class`` without; edges in pixels from 0.

    A row without numbers marks a picture that has no object.
    """
    try:
        text = read_bytes(path, MAX_LABEL_BYTES).decode("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = "," if "," in first else ";" if ";" in first else "\t"
        rows = [(k, row) for k, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} is no CSV in UTF-8: {one_line(error)}; {_MEND}") from None
    if not rows:
        raise InputError(f"{path.name} is empty; {_MEND}")
    columns, rows = _columns(path, rows)
    by_image: dict[str, Marked] = {}
    for k, row in rows:
        if len(row) <= max(columns[key] for key in _NEEDED):
            raise InputError(f"{path.name}, line {k}: {len(row)} values, expected {len(columns)} or more; {_MEND}")
        cells = {key: row[at].strip() if at < len(row) else "" for key, at in columns.items()}
        name = cells["image"]
        if not name:
            raise InputError(f"{path.name}, line {k}: no name of an image; {_MEND}")
        marked = by_image.setdefault(name, Marked(name, path, split=split_of_path(name)[0]))
        if cells.get("split"):
            split = split_word(cells["split"])
            if split is None:
                raise InputError(f"{path.name}, line {k}: the split {cells['split']!r}; expected train, val or test")
            if marked.split not in (None, split) and marked.objects:
                raise InputError(f"{path.name}, line {k}: {name} is in two splits, {marked.split} and {split}; {_MEND}")
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
