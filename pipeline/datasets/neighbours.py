"""Neighbouring slices as channels: what lies above and below a slice helps to see where an organ ends."""

from __future__ import annotations

import numpy as np
from cotrain.hardware.errors import InputError

from .base import Dataset


def with_neighbours(dataset: Dataset, n: int) -> Dataset:
    """Every slice with its n neighbours on each side of the same volume; targets stay those of the slice itself.

    Parameters
    ----------
    dataset : Dataset
        Slices of volumes, one channel.
    n : int
        On each side; 0 returns `dataset`.

    Returns
    -------
    Dataset
        Images (n_samples, height, width, 2 n + 1), the slice itself in the middle. Beyond the first and the last slice
        of a volume, and where one is missing, lies the background, `pixel_offset`.

    Raises
    ------
    InputError
        The samples are no slices: no volume has two of them, or they have several channels.
    """
    if not n:
        return dataset
    places = {key: i for i, key in enumerate(zip(dataset.groups.tolist(), dataset.slices.tolist(), strict=True))}
    if len(np.unique(dataset.groups)) == len(dataset):
        raise InputError(
            f"data.neighbours is {n}, and {dataset.name} has pictures, no slices of volumes; expected 0 there"
        )
    if dataset.n_channels != 1:
        raise InputError(
            f"data.neighbours is {n}, and {dataset.name} has {dataset.n_channels} channels; expected 0, or one channel"
        )
    images = np.full((*dataset.images.shape[:3], 2 * n + 1), dataset.pixel_offset, np.float32)
    for channel, away in enumerate(range(-n, n + 1)):
        found = np.array([places.get((group, place + away), -1) for group, place in zip(
            dataset.groups.tolist(), dataset.slices.tolist(), strict=True
        )])  # fmt: skip
        images[found >= 0, ..., channel] = dataset.images[found[found >= 0], ..., 0]
    return dataset.with_channels(images, "slices")
