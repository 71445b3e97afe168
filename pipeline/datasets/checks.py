"""What no data set may be: the checks of `Dataset`, which run where one is made."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.hardware.errors import InputError

SPLITS = ("train", "validation", "test")
CHANNEL_KINDS = ("grey", "colour", "slices", "modalities")
IGNORE = 255  # of a mask: a pixel that nobody labelled; neither learnt nor scored


def check(data: Any) -> None:
    """Raise InputError for the first thing that no data set may be.

    Parameters
    ----------
    data : pipeline.datasets.base.Dataset
    """

    from cotrain.pipeline.tasks import TASKS  # which know what a data set is

    def refuse(text: str) -> None:
        raise InputError(f"data set {data.name}: {text}")

    if data.task not in TASKS:
        refuse(f"task is {data.task!r}: expected one of {', '.join(TASKS)}")
    images = np.asarray(data.images)
    if images.ndim != 4 or images.dtype != np.float32 or 0 in images.shape:
        refuse(f"images are {images.dtype} of shape {images.shape}: expected float32 (n, height, width, channels)")
    n, height, width, _ = images.shape
    task, targets = TASKS[data.task], np.asarray(data.targets)
    shape, dtype = task.target_shape(n, height, width), np.dtype(task.target_dtype)
    if targets.shape != shape or targets.dtype.kind != dtype.kind:
        refuse(f"targets of {data.task} are {targets.dtype} of shape {targets.shape}: expected {dtype} {shape}")
    for key in ("names", "groups", "split", "slices"):
        if np.shape(getattr(data, key)) != (n,):
            refuse(f"{key} has shape {np.shape(getattr(data, key))}: expected ({n},), one a sample")
    if data.channel_kind not in CHANNEL_KINDS:
        refuse(f"channel_kind is {data.channel_kind!r}: expected one of {', '.join(CHANNEL_KINDS)}")
    low, high = sorted((data.pixel_offset, data.pixel_offset + data.pixel_scale))
    slack = 1e-5 * max(abs(low), abs(high))  # of rounding in pixel·scale + offset
    for start in range(0, n, 1024):  # a portion at a time: a mask of all pixels would take as much memory again
        part = images[start : start + 1024]
        per_sample = part.min(axis=(1, 2, 3)), part.max(axis=(1, 2, 3))
        # NaN fails every comparison, and minimum and maximum pass it on.
        bad = ~((per_sample[0] >= low - slack) & (per_sample[1] <= high + slack))
        if bad.any():
            k = int(bad.argmax())
            name, a, b = data.names[start + k], per_sample[0][k], per_sample[1][k]
            text = f"pixels from {a:g} to {b:g}" if np.isfinite([a, b]).all() else "pixels that are NaN or infinite"
            refuse(f"{name} has {text}: expected finite values from {low:g} to {high:g}")
    task.check_targets(data, refuse)
    _check_splits(data, refuse)


def first_bad(data: Any, bad: np.ndarray) -> tuple[str, int]:
    """(name, place) of the first sample that is bad."""
    k = int(np.argmax(bad))
    return str(data.names[k]), k


def _check_splits(data, refuse) -> None:
    unknown = ~np.isin(data.split, SPLITS)
    if unknown.any():
        name, k = first_bad(data, unknown)
        refuse(f"{name} is in the split {str(data.split[k])!r}: expected one of {', '.join(SPLITS)}")
    groups, first, member = np.unique(data.groups, return_index=True, return_inverse=True)
    torn = data.split != data.split[first][member]
    if torn.any():
        name, k = first_bad(data, torn)
        others = data.split[first][member][k], data.split[k]
        refuse(f"{data.groups[k]} is in two splits, {others[0]} and {others[1]}: what is tested must not be trained on")
    names, counts = np.unique(data.names, return_counts=True)
    if (counts > 1).any():
        refuse(f"{counts.max()} samples are called {names[counts.argmax()]}: expected a name of its own for each")
