"""Data sets: one file each, read from the publishers' formats into arrays with named axes.

>>> from pipeline import datasets
>>> data = datasets.load("synthetic-planes", "data", image_shape=(32, 64), seed=0)
>>> test = data.subset("test")
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.hardware.errors import InputError

from .base import IGNORE, SPLITS, Dataset, Rejection, describe
from .neighbours import with_neighbours

if TYPE_CHECKING:
    from cotrain.pipeline.sections import DataSettings

__all__ = [
    "DATASETS",
    "IGNORE",
    "SPLITS",
    "SOURCES",
    "SYNTHETIC",
    "Dataset",
    "Rejection",
    "describe",
    "kept",
    "load",
    "load_for",
]

# name: (module, function); the modules are imported when they are used, as they bring Pillow and NiBabel.
SOURCES = {  # your own files, in data.path
    "boxes": ("boxes", "load"),
    "masks": ("masks", "load"),
    "volumes": ("volumes", "load"),
    "classes": ("classes", "load"),
}
NAMED = {  # below the folder of the data sets
    "caltech101-airplanes": ("caltech101", "load"),
    "hippocampus": ("hippocampus", "load"),
    "mnist": ("classes", "load_mnist"),
    "cifar10": ("classes", "load_cifar10"),
}
SYNTHETIC = {  # drawn below the folder of runs
    "synthetic-planes": ("synthetic", "load_planes"),
    "synthetic-hippocampus": ("synthetic", "load_hippocampus"),
    "synthetic-digits": ("digits", "load_digits"),
}
DATASETS = {**NAMED, **SOURCES, **SYNTHETIC}
# Settings of an experiment that only some data sets have, with what says nothing.
_OPTIONS = {"labels": "", "category": "", "classes": (), "invert": False, "axis": "z", "fit": "crop", "n_slices": 0}


def load(name: str, root: str | Path, **options: Any) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    root : Path
        Of a named set the folder of the data sets; of your own files their folder. Synthetic ones are made below it
        when they are not there.
    **options
        Of the data set's own function: `image_shape` (height, width) and `seed` for all of them.

    Raises
    ------
    InputError
        Unknown name or option, an option that is not allowed, or no usable sample.
    MissingError
        The data are not there; the message says how to get them.
    CorruptError
        A file of labels is not what it should be.
    OutputError
        Synthetic data cannot be written.
    """
    loader, known = _loader(name)
    for key in options:
        if key not in known:
            raise InputError(
                f"data set {name} has no option {key!r}{_nearest(key, known)}: choose from {', '.join(known)}"
            )
    return loader(Path(root), **options)


def _loader(name: str):
    """The function of a data set, and the names of its options."""
    if name not in DATASETS:
        raise InputError(f"unknown data set {name!r}{_nearest(name, DATASETS)}: choose one of {', '.join(DATASETS)}")
    module, function = DATASETS[name]
    loader = getattr(importlib.import_module(f".{module}", __name__), function)
    return loader, list(inspect.signature(loader).parameters)[1:]


KEPT_MOST = 2  # data sets in memory
_KEPT: ContextVar[tuple[dict, Path] | None] = ContextVar("kept", default=None)


@contextmanager
def kept(found: dict[Any, Dataset], scratch: Path) -> Iterator[None]:
    """Have `load_for` in here keep what it reads in `found`, and draw synthetic sets below `scratch` alone.

    For who trains many times on the same data: they are read once a process.
    """
    token = _KEPT.set((found, scratch))
    try:
        yield
    finally:
        _KEPT.reset(token)


def load_for(settings: DataSettings, data: Path, scratch: Path) -> Dataset:
    """Load the data set that an experiment names.

    Parameters
    ----------
    settings : pipeline.experiment.DataSettings
    data : Path
        The folder of the named data sets.
    scratch : Path
        Where synthetic ones are made; `data` may be read-only.

    Raises
    ------
    InputError
        A setting that this data set does not have, besides what `load` raises.
    """
    keeping = _KEPT.get()
    if keeping is None:
        return _load_for(settings, data, scratch)
    found, scratch = keeping
    key = (settings, data.resolve())
    if key not in found:
        while len(found) >= KEPT_MOST:
            del found[next(iter(found))]
        found[key] = _load_for(settings, data, scratch)
    return found[key]


def _load_for(settings: DataSettings, data: Path, scratch: Path) -> Dataset:
    name = settings.name
    _, known = _loader(name)
    options = {"image_shape": (settings.height, settings.width), "seed": settings.split_seed}
    for key, nothing in _OPTIONS.items():
        value = getattr(settings, key)
        if key in known:
            options[key] = value
        elif value != nothing:
            raise InputError(f"data.{key} is {value!r}, which {name} does not have; leave it out")
    # A set of its own number of slices keeps it unless another is asked for.
    if name not in SOURCES and not settings.n_slices:
        options.pop("n_slices", None)
    if settings.channels not in (1, 3) and "channels" in known:
        raise InputError(f"data.channels is {settings.channels}; pictures have 1 (grey) or 3 (colour)")
    if "channels" in known:
        options["channels"] = settings.channels
    if settings.n_groups:
        if name not in SYNTHETIC:
            raise InputError(f"data.n_groups is for synthetic data; {name} has as many as its folder holds")
        options["n_images" if "n_images" in known else "n_volumes"] = settings.n_groups
    if name in SOURCES and not settings.path:
        raise InputError(f"data.path is empty; expected the folder of your {name}, since data.name is {name!r}")
    if name not in SOURCES and settings.path:
        raise InputError(f"data.path is for your own files (data.name = {', '.join(SOURCES)}), not for {name}")
    root = scratch if name in SYNTHETIC else settings.path if name in SOURCES else data
    found = load(name, root, **options)
    if "channels" not in known and settings.channels != found.n_channels:
        raise InputError(f"data.channels is {settings.channels}, and {name} has {found.n_channels}; set it to that")
    return with_neighbours(found.scaled(settings.scale, settings.offset), settings.neighbours)


def _nearest(word: str, known) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
