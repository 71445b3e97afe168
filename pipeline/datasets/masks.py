"""Pictures with a label image each, of the same name: binary masks, or several classes as numbers or palette."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import InputError

from .base import (
    IGNORE,
    OWN,
    Dataset,
    Rejection,
    Unusable,
    check_image_shape,
    need_folder,
    need_memory,
    need_samples,
    refuse_shared,
)
from .boxfiles import image_sets
from .listing import files_by_stem, honoured, split_of_path
from .pictures import ENDINGS, read_labels, read_picture

MAX_LABEL_VALUES = 255


def load(
    path: str | Path,
    labels: str | Path,
    *,
    image_shape: tuple[int, int],
    channels: int = 1,
    invert: bool = False,
    classes: tuple[int, ...] = (),
    seed: int = 0,
    name: str = "masks",
) -> Dataset:
    """Read pictures and their label images.

    Of a label image count the numbers that it stores, of a palette its indices. 255 is what nobody labelled (VOC),
    unless all label images hold 0 and 255 alone, or `classes` names it.

    Parameters
    ----------
    path : Path
        Folder of pictures.
    labels : Path
        Folder of label images of the same names; endings may differ.
    image_shape : (height, width)
        Pictures are resized to it bilinearly, label images to the nearest pixel.
    channels : {1, 3}
    invert : bool
        1 - pixel.
    classes : tuple of int
        Label values, each a class of its own; by default everything above 0 is one class.
    seed : int
        Seed of the split, if the data come without.
    name : str

    Raises
    ------
    MissingError, InputError
        One line that names the file and the reason.
    """
    shape, path = check_image_shape(image_shape), Path(path)
    if not labels:
        raise InputError("data.labels is empty; expected the folder of label images, of the same names as the pictures")
    labels = Path(labels)
    need_folder(path, "pictures", OWN)
    need_folder(labels, "label images", OWN)
    if len(set(classes)) != len(classes) or 0 in classes:
        raise InputError(f"data.classes is {list(classes)}; expected different label values, without the background 0")
    inside = labels.resolve() != path.resolve() and labels.resolve().is_relative_to(path.resolve())
    pictures = {
        split_of_path(stem): file
        for stem, file in files_by_stem(path, ENDINGS, deep=True).items()
        if not (inside and file.resolve().is_relative_to(labels.resolve()))
    }
    masks = {split_of_path(stem): file for stem, file in files_by_stem(labels, ENDINGS, deep=True).items()}
    if inside or path.resolve() == labels.resolve():
        _refuse_same(pictures, masks)
    need_memory(len(pictures), shape, channels + 1, name)
    lists = image_sets(labels, path, "Segmentation")
    images, targets, names, splits, rejected = [], [], [], [], []
    values: set[int] = set()
    n_coarse = 0
    for key in sorted(pictures.keys() | masks.keys(), key=lambda k: (k[1], k[0] or "")):
        split, sample = key
        file, blamed = pictures.get(key), pictures.get(key) or masks[key]
        try:
            if file is None:
                raise Unusable("the image is missing")
            if key not in masks:
                raise Unusable("the mask is missing")
            picture = read_picture(file, shape, channels, invert)
            blamed = masks[key]
            mask, found = _read_mask(blamed, picture.size, shape, classes)
        except Unusable as reason:
            rejected.append(Rejection(sample, _relative(blamed, path), str(reason)))
            continue
        values |= found
        n_coarse += picture.coarse
        images.append(picture.image)
        targets.append(mask)
        names.append(sample)
        splits.append(lists.get(sample.rpartition("/")[2]) if lists else split)
    need_samples(len(pictures) + len(masks), len(images), path, "pictures and label images", rejected)
    apart = _apart(names, splits)
    notes = [f"{n_coarse} picture(s) have 16 bits a colour, of which the upper 8 were read"] if n_coarse else []
    stacked = _as_classes(np.stack(targets), values, classes, notes)
    if not ((stacked > 0) & (stacked != IGNORE)).any():
        raise InputError(f"{labels}: no label image marks a pixel of {_wanted(classes)}; {OWN}")
    assigned, keep = honoured(
        apart, splits, seed, "ImageSets/Segmentation" if lists else "folders of the pictures", notes
    )
    stack = np.stack(images)
    if any(splits):
        refuse_shared(stack, apart, assigned, name)
    data = Dataset(
        name=name,
        task="masks",
        images=stack,
        targets=stacked,
        names=apart,
        groups=apart,
        split=np.where(keep, assigned, "train"),
        rejected=tuple(rejected),
        class_names=tuple(str(value) for value in classes) or ("foreground",),
        inverted=invert,
        notes=tuple(notes),
    )
    return data if keep.all() else data.select(keep)


def _read_mask(
    path: Path, size: tuple[int, int], shape: tuple[int, int], classes: tuple[int, ...]
) -> tuple[np.ndarray, set[int]]:
    """A label image at the size of the network's input, and the values that the whole file has."""
    from PIL import Image

    labels = read_labels(path)
    if labels.shape != size:
        raise Unusable(f"the image has {size[0]} x {size[1]} pixels and its mask {labels.shape[0]} x {labels.shape[1]}")
    found = np.unique(labels)
    if found[0] < 0 or len(found) > MAX_LABEL_VALUES + 1:
        raise Unusable(
            f"the mask holds {len(found)} values from {found[0]} to {found[-1]}: expected a few label values"
        )
    other = [int(v) for v in found if v not in (0, IGNORE, *classes)] if classes else []
    if other:
        known = ", ".join(map(str, classes))
        text = ", ".join(map(str, other[:5]))
        raise Unusable(f"the mask holds the label {text}: data.classes has {known}, 0 is the background")
    resized = Image.fromarray(labels).resize(shape[::-1], Image.Resampling.NEAREST)
    return np.asarray(resized), set(found.tolist())


def _as_classes(labels: np.ndarray, values: set[int], classes: tuple[int, ...], notes: list[str]) -> np.ndarray:
    """Label values as 0, 1, ... and `IGNORE`; float32."""
    out = np.zeros(labels.shape, dtype=np.float32)
    if classes:
        for k, value in enumerate(classes, start=1):
            out[labels == value] = k
    else:
        out[labels > 0] = 1
    if IGNORE in values and IGNORE not in classes and values != {0, IGNORE} and values != {IGNORE}:
        out[labels == IGNORE] = IGNORE
        notes.append(f"pixels of the label {IGNORE} are what nobody labelled: neither learnt nor scored")
    return out


def _wanted(classes: tuple[int, ...]) -> str:
    return f"data.classes = {list(classes)}" if classes else "a label above 0"


def _refuse_same(pictures: dict, masks: dict) -> None:
    same = set(pictures.values()) & set(masks.values())
    if same:
        raise InputError(f"{min(same)} is picture and label image at once; keep them in two folders")


def _apart(names: list[str], splits: list[str | None]) -> np.ndarray:
    """Names, with their split in front where two splits have one of them."""
    counts = Counter(names)
    return np.array([f"{s}/{n}" if counts[n] > 1 else n for n, s in zip(names, splits, strict=True)])


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()
