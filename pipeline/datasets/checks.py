"""What no data set may be: the checks of `Dataset`, which run where one is made."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.hardware.errors import InputError

SPLITS = ("train", "validation", "test")
TASKS = ("boxes", "masks", "classes")
CHANNEL_KINDS = ("grey", "colour", "slices", "modalities")
IGNORE = 255  # of a mask: a pixel that nobody labelled; neither learnt nor scored
EDGE = 1e-5  # how far a box may leave the picture, as a fraction of it: float32's rounding


def check(data: Any) -> None:
    """Raise InputError for the first thing that no data set may be.

    Parameters
    ----------
    data : pipeline.datasets.base.Dataset
    """

    def refuse(text: str) -> None:
        raise InputError(f"data set {data.name}: {text}")

    if data.task not in TASKS:
        refuse(f"task is {data.task!r}: expected one of {', '.join(TASKS)}")
    images = np.asarray(data.images)
    if images.ndim != 4 or images.dtype != np.float32 or 0 in images.shape:
        refuse(f"images are {images.dtype} of shape {images.shape}: expected float32 (n, height, width, channels)")
    n, height, width, _ = images.shape
    shape, dtype = {"boxes": ((n, 4), "f"), "masks": ((n, height, width), "f"), "classes": ((n,), "i")}[data.task]
    targets = np.asarray(data.targets)
    if targets.shape != shape or targets.dtype.kind != dtype:
        kind = {"f": "float32", "i": "int64"}[dtype]
        refuse(f"targets of {data.task} are {targets.dtype} of shape {targets.shape}: expected {kind} {shape}")
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
    {"boxes": _check_boxes, "masks": _check_masks, "classes": _check_classes}[data.task](data, refuse)
    _check_splits(data, refuse)


def _first(data, bad: np.ndarray) -> tuple[str, int]:
    k = int(np.argmax(bad))
    return str(data.names[k]), k


def _check_boxes(data, refuse) -> None:
    boxes = data.targets
    outside = ~((boxes >= -EDGE) & (boxes <= 1 + EDGE)).all(axis=1)
    empty = ~(boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    for bad, text in ((outside, "is not inside the picture"), (empty, "has no area")):
        if bad.any():
            name, k = _first(data, bad)
            values = ", ".join(f"{v:g}" for v in boxes[k])
            refuse(f"{name}: the box [y0, x0, y1, x1] = [{values}] {text}; expected fractions of it, 0 to 1")
    if len(data.class_names) != 1:
        refuse(f"boxes have {len(data.class_names)} class names: expected one")


def _check_masks(data, refuse) -> None:
    n = len(data.class_names)
    allowed = np.zeros(IGNORE + 1, dtype=bool)
    allowed[[*range(n + 1), IGNORE]] = True
    for k, mask in enumerate(data.targets):
        whole = np.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= IGNORE and (mask == np.rint(mask)).all()
        if not (whole and allowed[mask.astype(np.intp)].all()):
            values = [v for v in np.unique(mask).tolist() if not (v == IGNORE or (0 <= v <= n and v == int(v)))]
            more = ", ..." if len(values) > 3 else ""
            refuse(
                f"{data.names[k]}: the mask holds {', '.join(f'{v:g}' for v in values[:3])}{more}: expected 0 for the "
                f"background, 1 to {n} for {', '.join(data.class_names[:5])}, {IGNORE} for what is not labelled"
            )


def _check_classes(data, refuse) -> None:
    n = len(data.class_names)
    bad = (data.targets < 0) | (data.targets >= n)
    if bad.any():
        name, k = _first(data, bad)
        refuse(f"{name}: the class is {data.targets[k]}: expected 0 to {n - 1}, a place among {n} class names")
    if n < 2:
        refuse(f"there is one class only ({', '.join(data.class_names)}): expected at least two to tell apart")


def _check_splits(data, refuse) -> None:
    unknown = ~np.isin(data.split, SPLITS)
    if unknown.any():
        name, k = _first(data, unknown)
        refuse(f"{name} is in the split {data.split[k]!r}: expected one of {', '.join(SPLITS)}")
    groups, first, member = np.unique(data.groups, return_index=True, return_inverse=True)
    torn = data.split != data.split[first][member]
    if torn.any():
        name, k = _first(data, torn)
        others = data.split[first][member][k], data.split[k]
        refuse(f"{data.groups[k]} is in two splits, {others[0]} and {others[1]}: what is tested must not be trained on")
    names, counts = np.unique(data.names, return_counts=True)
    if (counts > 1).any():
        refuse(f"{counts.max()} samples are called {names[counts.argmax()]}: expected a name of its own for each")
