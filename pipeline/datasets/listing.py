"""Files of a folder by their names: which are samples, which is there twice, and which split a folder stands for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import InputError, MissingError

from .base import HELD_OUT_FRACTION, hashed_order

# What people call the three splits, in file and folder names.
SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip
MAX_FILES = 5_000_000

_OF_LAYOUTS = ("images", "labels", "annotations", "masks", "jpegimages")  # folders that sort files by what they are


def files_by_stem(folder: Path, endings: Iterable[str], *, deep: bool = False) -> dict[str, Path]:
    """The files of a folder with one of these endings, in any case, by their path without it.

    Hidden files (``._IMG.jpg`` of archives, ``.DS_Store``) are none.

    Parameters
    ----------
    folder : Path
    endings : iterable of str
        Such as ".jpg"; of several that match the longest is taken off.
    deep : bool
        Folders in it too; the names are then paths with ``/``.

    Returns
    -------
    dict
        In sorted order.

    Raises
    ------
    InputError
        Two files have one name.
    MissingError
        The folder is not there or cannot be read.
    """
    endings = sorted((ending.lower() for ending in endings), key=len, reverse=True)
    found: dict[str, Path] = {}
    for path in walk(folder, deep=deep):
        ending = next((e for e in endings if path.name.lower().endswith(e)), None)
        if ending is None or len(path.name) == len(ending):
            continue
        stem = path.relative_to(folder).as_posix()[: -len(ending)]
        if stem in found:
            one, other = sorted([found[stem].name, path.name])
            raise InputError(
                f"{path.parent} holds both {one} and {other}, which are one sample by their names; "
                "remove or rename one of them"
            )
        found[stem] = path
    return dict(sorted(found.items()))


def walk(folder: Path, *, deep: bool) -> list[Path]:
    """Files of a folder, sorted; hidden ones and those in hidden folders left out.

    Links to folders are followed, each folder once.

    Raises
    ------
    MissingError
        The folder is not there or cannot be read.
    InputError
        There are too many files, or one has a name that is no UTF-8.
    """
    out: list[Path] = []
    _walk(Path(folder), deep, set(), out)
    return out


def _walk(folder: Path, deep: bool, seen: set[tuple[int, int]], out: list[Path]) -> None:
    try:
        here = folder.stat()
        if (here.st_dev, here.st_ino) in seen:
            return
        seen.add((here.st_dev, here.st_ino))
        for name in sorted(os.listdir(folder)):
            if name.startswith("."):
                continue
            if not _is_text(name):
                raise InputError(f"{folder} holds {name!a}, a name that is no UTF-8; rename it")
            path = folder / name
            if not path.is_dir():
                out.append(path)
            elif deep:
                _walk(path, deep, seen, out)
            if len(out) > MAX_FILES:
                raise InputError(f"{folder} holds more than {MAX_FILES:,} files; name a smaller folder")
    except OSError as error:
        raise _no_folder(folder, error) from None
    except RecursionError:
        raise InputError(f"{folder} is nested too deep; name the folder of the files") from None


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # bytes that the file system has and UTF-8 has not
        return False
    return True


def folders(folder: Path) -> list[Path]:
    """Folders of a folder, sorted, without hidden ones."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise _no_folder(folder, error) from None


def _no_folder(folder: Path, error: OSError) -> MissingError:
    if isinstance(error, FileNotFoundError):
        return MissingError(f"no folder {folder}; name the folder of your files in data.path or data.labels")
    return MissingError(f"{folder} cannot be read: {error.strerror or error}; name a folder that can")


def split_word(name: str) -> str | None:
    """The split that a folder's or list's name stands for, if any: ``Train``, ``train2017`` and ``valid`` do."""
    return SPLIT_WORDS.get(name.lower().rstrip("0123456789_-"))


def split_of_path(stem: str) -> tuple[str | None, str]:
    """Split and the rest of a path that names one on its way: ``train/images/a`` is in train and is ``a``.

    Folders called images, labels, annotations and masks say nothing and are left out of the rest.
    """
    *parents, name = stem.split("/")
    split, rest = None, []
    for part in parents:
        word = split_word(part)
        if word and split is None:
            split = word
        elif part.lower() not in _OF_LAYOUTS:
            rest.append(part)
    return split, "/".join([*rest, name])


def honoured(
    groups: np.ndarray, given: list[str | None], seed: int, what: str, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The splits that data come with, completed where a part is missing.

    Where nothing is given, all is drawn with the seed. A missing validation split, or a missing test split, is drawn
    from the training split; data that hold a test split alone stay that.

    Parameters
    ----------
    groups : (n,) str
    given : list of str or None
        Split of each sample; None for a sample that is in no list.
    seed : int
    what : str
        Where the splits come from, for `notes`.
    notes : list of str
        Receives what was done.

    Returns
    -------
    split : (n,) str
    keep : (n,) bool
        False for a sample that the lists leave out.
    """
    from .base import split_by_group

    if not any(given):
        return split_by_group(groups, seed), np.ones(len(groups), dtype=bool)
    keep = np.array([split is not None for split in given])
    split = np.array([name or "" for name in given], dtype="<U10")
    n_out = len(set(groups[~keep].tolist()))
    if n_out:
        notes.append(f"{n_out} sample(s) are in no list of {what} and are not used")
    notes.append(f"splits as they come with the data: {what}")
    train = groups[split == "train"]
    for missing in ("validation", "test"):
        if not len(train) or (split == missing).any():
            continue
        order = hashed_order(train, seed)
        drawn = order[: max(round(HELD_OUT_FRACTION * len(order)), 1)]
        if len(drawn) < len(order):
            split[np.isin(groups, drawn) & (split == "train")] = missing
            train = groups[split == "train"]
            notes.append(
                f"the data come without a {missing} part: {len(drawn)} of the training part, drawn by seed, are it"
            )
    return split, keep
