"""Data sets: one file each, read from the publishers' formats into arrays with named axes.

>>> from pipeline import datasets
>>> data = datasets.load("synthetic-planes", "data", image_shape=(32, 64), seed=0)
>>> test = data.subset("test")
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from pathlib import Path

from cotrain.hardware.errors import InputError

from .base import IGNORE, SPLITS, Dataset, Rejected
from .neighbours import with_neighbours

__all__ = ["DATASETS", "IGNORE", "SPLITS", "Dataset", "Rejected", "load", "load_for"]

# name: (module, function); the modules are imported when they are used, as they bring SciPy and NiBabel.
DATASETS = {
    "caltech101-airplanes": ("caltech101", "load"),
    "hippocampus": ("hippocampus", "load"),
    "synthetic-planes": ("synthetic", "load_planes"),
    "synthetic-hippocampus": ("synthetic", "load_hippocampus"),
}


def load(name: str, root: str | Path, **options) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    root : Path
        The folder of the data sets. Synthetic ones are made below it when they are not there.
    **options
        Of the data set's own function: `image_shape` (height, width) and `seed` for all of them.

    Raises
    ------
    InputError
        Unknown name or option, an option that is not allowed, or no usable sample.
    MissingError
        The data are not there; the message says how to get them.
    OutputError
        Synthetic data cannot be written.
    """
    if name not in DATASETS:
        raise InputError(f"unknown data set {name!r}{_nearest(name, DATASETS)}: choose one of {', '.join(DATASETS)}")
    module, function = DATASETS[name]
    loader = getattr(importlib.import_module(f".{module}", __name__), function)
    known = [key for key in inspect.signature(loader).parameters if key != "root"]
    for key in options:
        if key not in known:
            raise InputError(
                f"data set {name} has no option {key!r}{_nearest(key, known)}: choose from {', '.join(known)}"
            )
    return loader(Path(root), **options)


def load_for(settings, data: Path, scratch: Path) -> Dataset:
    """Load the data set that an experiment names.

    Parameters
    ----------
    settings : pipeline.experiment.DataSettings
    data : Path
        The folder of the real data sets.
    scratch : Path
        Where synthetic ones are made; `data` may be read-only.
    """
    synthetic = settings.name.startswith("synthetic-")
    options = {"image_shape": (settings.height, settings.width), "seed": settings.split_seed}
    if settings.n_groups:
        if not synthetic:
            raise InputError(f"data.n_groups is for synthetic data; {settings.name} has as many as its folder holds")
        options["n_images" if settings.name == "synthetic-planes" else "n_volumes"] = settings.n_groups
    return with_neighbours(load(settings.name, scratch if synthetic else data, **options), settings.neighbours)


def _nearest(word: str, known) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
