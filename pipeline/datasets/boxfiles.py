"""Boxes in the files that people have: COCO JSON, Pascal VOC XML, YOLO text, CSV.

Each reader gives one `Marking` a picture. What no picture can be blamed for (a file that is not of its format, ids that
point nowhere, missing columns) is an `InputError`; what is wrong with one picture's marks is its `problem`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cotrain.hardware.errors import CorruptError, InputError
from cotrain.hardware.files import read_bytes, read_json

from .base import Unusable, one_line
from .boxtext import CLASS_FILES, read_csv, read_yolo
from .listing import files_by_stem, split_of_path, split_word
from .marking import MAX_LABEL_BYTES, MEND, Marking


def read_labels(labels: Path, images: Path) -> tuple[list[Marking], str, list[str]]:
    """Read box labels of any of the four formats.

    Parameters
    ----------
    labels : Path
        A COCO .json, a .csv, or a folder of VOC .xml, YOLO .txt or COCO .json (one a split).
    images : Path
        The folder of the pictures.

    Returns
    -------
    marked : list of Marking
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
        if json and not {k: v for k, v in txt.items() if k.rpartition("/")[2] not in CLASS_FILES}:
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


def read_coco(path: Path, split: str | None, notes: list[str]) -> list[Marking]:
    """COCO: boxes are [x, y, width, height] in pixels from 0; crowds are left out."""
    tree = read_json(path, max_bytes=MAX_LABEL_BYTES, damaged=MEND)
    what = f"{path.name} is no COCO file"
    lists = isinstance(tree, dict) and [tree.get("images"), tree.get("annotations"), tree.get("categories") or []]
    if not lists or not all(isinstance(each, list) for each in lists):
        raise InputError(f"{what}: expected an object with the lists images, annotations and categories; {MEND}")
    categories: dict[object, str] = {}
    for entry in tree.get("categories") or []:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not isinstance(entry.get("name"), str):
            raise InputError(f"{what}: a category has no id or no name; {MEND}")
        if entry["id"] in categories:
            raise InputError(f"{path.name}: two categories have the id {entry['id']!r}; {MEND}")
        categories[entry["id"]] = entry["name"]
    by_id: dict[object, Marking] = {}
    for entry in tree["images"]:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not isinstance(entry.get("file_name"), str):
            raise InputError(f"{what}: an image has no id or no file_name; {MEND}")
        if entry["id"] in by_id:
            raise InputError(f"{path.name}: two images have the id {entry['id']!r}; {MEND}")
        size: Any = (entry.get("height"), entry.get("width"))
        known = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in size)
        name = entry["file_name"]
        by_id[entry["id"]] = Marking(name, path, size=size if known else None, split=split or split_of_path(name)[0])
    n_crowds = 0
    for k, entry in enumerate(tree["annotations"]):
        if not isinstance(entry, dict):
            raise InputError(f"{what}: annotation {k} is no object; {MEND}")
        number = entry.get("id", k)
        image, category = entry.get("image_id"), entry.get("category_id")
        if not _is_id(image) or image not in by_id:
            raise InputError(
                f"{path.name}: annotation {number!r} has the image_id {image!r}, which no image has; {MEND}"
            )
        if not _is_id(category) or category not in categories:
            raise InputError(
                f"{path.name}: annotation {number!r} has the category_id {category!r}, which no category has; {MEND}"
            )
        if entry.get("iscrowd"):
            n_crowds += 1
            continue
        try:
            x, y, width, height = map(_number, entry.get("bbox") or ())
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


def read_voc(files: dict[str, Path], labels: Path, images: Path) -> list[Marking]:
    """Pascal VOC: pixels count from 1 and both ends belong to the box, so that its edges are xmin - 1 and xmax."""
    lists = image_sets(labels, images)
    out = []
    for stem, path in files.items():
        split, _ = split_of_path(stem)
        if lists:
            split = lists.get(stem.rpartition("/")[2])
        marked = Marking(stem, path, split=split)
        try:
            _fill_from_xml(marked, path)
        except Unusable as reason:
            marked.problem = str(reason)
        out.append(marked)
    return out


def _fill_from_xml(marked: Marking, path: Path) -> None:
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
