"""Scores: IoU of boxes, Dice of volumes, their confidence intervals, and spike counts as rates."""

from __future__ import annotations

import numpy as np
from cotrain.hardware.errors import InputError


def box_iou(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Intersection over union of pairs of boxes.

    Parameters
    ----------
    predicted, true : (..., 4)
        [y0, x0, y1, x1] in any one unit; the two broadcast. A box with y1 <= y0 or x1 <= x0 is empty.

    Returns
    -------
    (...) float64
        In [0, 1]; 0 where one of the two is empty.

    Raises
    ------
    InputError
        NaN or infinity, or a last axis of another length.
    """
    a, b = _finite(predicted, "predicted boxes"), _finite(true, "true boxes")
    if a.shape[-1:] != (4,) or b.shape[-1:] != (4,):
        raise InputError(f"boxes have shapes {a.shape} and {b.shape}: expected (..., 4)")
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    area_a = np.clip(a[..., 2:] - a[..., :2], 0, None).prod(axis=-1)
    area_b = np.clip(b[..., 2:] - b[..., :2], 0, None).prod(axis=-1)
    overlap = sides.prod(axis=-1)
    union = area_a + area_b - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def dice(predicted: np.ndarray, true: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Dice coefficient 2|A and B| / (|A| + |B|) of each group, its pixels pooled.

    Parameters
    ----------
    predicted, true : (n, ...) bool or 0/1
        Masks, as booleans or numbers; a pixel is set above 0.5.
    groups : (n,) str, optional
        Masks with the same name count as one, such as the slices of a volume. Each mask alone by default.

    Returns
    -------
    (n_groups,) float64
        In the sorted order of the groups' names; 1 where both masks are empty.

    Raises
    ------
    InputError
        NaN or infinity, or shapes that differ.
    """
    a, b = _finite(predicted, "predicted masks") > 0.5, _finite(true, "true masks") > 0.5
    if a.shape != b.shape:
        raise InputError(f"masks have shapes {a.shape} and {b.shape}: expected the same")
    axes = tuple(range(1, a.ndim))
    overlap, total = (a & b).sum(axis=axes), a.sum(axis=axes) + b.sum(axis=axes)
    if groups is not None:
        _, member = np.unique(groups, return_inverse=True)
        overlap, total = np.bincount(member, overlap), np.bincount(member, total)
    return np.divide(2.0 * overlap, total, out=np.ones(len(total)), where=total > 0)


def bootstrap_ci(
    values: np.ndarray, *, seed: int = 0, n_resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean.

    Parameters
    ----------
    values : (n,)
        One per group (image or volume), which is what is drawn with replacement.
    seed : int
    n_resamples : int
    level : float
        Between 0 and 1.

    Returns
    -------
    low, high : float

    Raises
    ------
    InputError
        No value, or NaN.
    """
    values = _finite(values, "values")
    if values.ndim != 1 or not len(values):
        raise InputError(f"values have shape {values.shape}: expected one number per image or volume")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(n_resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Mean of samples' values (n,) within each group, in the sorted order of the groups' names."""
    _, member = np.unique(groups, return_inverse=True)
    return np.bincount(member, values) / np.bincount(member)


def mean_rate_hz(n_spikes: float, n_neurons: int, n_steps: int, dt_s: float) -> float:
    """Firing rate of the average neuron, in Hz.

    Parameters
    ----------
    n_spikes : float
        Of all neurons together, in one presentation.
    n_neurons : int
    n_steps : int
        Of the presentation.
    dt_s : float
        Length of a step in seconds.
    """
    return float(n_spikes) / (n_neurons * n_steps * dt_s)


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != bool and not np.isfinite(values).all():
        raise InputError(f"{what} hold NaN or infinity: the model that made them has diverged")
    return values if values.dtype == bool else values.astype(np.float64, copy=False)
