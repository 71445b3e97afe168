"""What every data set is once it is loaded: arrays with named axes, a split, and the samples that were refused."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import InputError, MissingError

SPLITS = ("train", "validation", "test")
HELD_OUT_FRACTION = 0.1  # of the groups, for the test split and again for the validation split


class Unusable(ValueError):
    """A sample cannot be used; the text is the reason. Loaders turn it into a `Rejected`."""


@dataclass(frozen=True)
class Rejected:
    """A sample that was found and not used; `path` is relative to the folder of the data sets."""

    name: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason} ({self.path})"


@dataclass(frozen=True)
class Dataset:
    """Images with their targets.

    Attributes
    ----------
    name : str
        A key of `pipeline.datasets.DATASETS`.
    task : {"boxes", "masks"}
    images : (n, height, width, 1) float32
        In [0, 1]; the background is 0.
    targets : (n, 4) or (n, height, width) float32
        Boxes are [y0, x0, y1, x1] as fractions of the image; masks are 0 or 1.
    names : (n,) str
        One per sample, such as ``image_0001`` or ``hippocampus_017/z12``.
    groups : (n,) str
        What is split and bootstrapped by: the image, or the volume that a slice is from.
    split : (n,) str
        "train", "validation" or "test".
    rejected : tuple of Rejected
        Samples that were found and not used, with the reason.
    """

    name: str
    task: str
    images: np.ndarray
    targets: np.ndarray
    names: np.ndarray
    groups: np.ndarray
    split: np.ndarray
    rejected: tuple[Rejected, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(height, width) of the images, in pixels."""
        return self.images.shape[1:3]

    def select(self, index) -> Dataset:
        """The samples of an index array, boolean mask or slice; `rejected` stays with all of them."""
        arrays = ("images", "targets", "names", "groups", "split")
        return replace(self, **{key: getattr(self, key)[index] for key in arrays})

    def take(self, n: int | None) -> Dataset:
        """The first n samples; all of them for None."""
        return self if n is None else self.select(slice(n))

    def subset(self, split: str) -> Dataset:
        """The samples of one split, or all of them.

        Raises
        ------
        InputError
            The split is not a known one, or no sample is in it (a data set of one or two groups).
        """
        if split == "all":
            return self
        if split not in SPLITS:
            raise InputError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}, all")
        found = self.select(self.split == split)
        if not len(found):
            n_groups = len(np.unique(self.groups))
            raise InputError(
                f"{self.name}: nothing is in the {split} split of {n_groups} image(s) or volume(s); "
                "give more data, or evaluate with --split all"
            )
        return found

    def with_name(self, name: str) -> Dataset:
        """The same data under another name."""
        return replace(self, name=name)


def split_by_group(groups: np.ndarray, seed: int) -> np.ndarray:
    """Assign every group to train, validation or test (80/10/10).

    The seeded permutation orders the groups by a hash of seed and name. So a group's place depends on nothing but its
    own name, and a folder with a few files more or fewer has nearly the same split.

    Parameters
    ----------
    groups : (n,) str
    seed : int

    Returns
    -------
    (n,) str
        All samples of a group are in the same split. From three groups on no split is empty.
    """
    unique = sorted(set(groups.tolist()), key=lambda g: hashlib.sha256(f"{seed}/{g}".encode()).digest())
    n_held_out = max(round(HELD_OUT_FRACTION * len(unique)), 1)
    place = {group: "train" for group in unique}
    place.update({group: "validation" for group in unique[n_held_out : 2 * n_held_out]})
    place.update({group: "test" for group in unique[:n_held_out]})
    return np.array([place[group] for group in groups.tolist()])


def check_image_shape(image_shape) -> tuple[int, int]:
    """Return (height, width) as integers, or raise InputError."""
    try:
        height, width = (int(n) for n in image_shape)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 4 or (height, width) != tuple(image_shape):
        raise InputError(
            f"image_shape is {image_shape!r}: expected two whole numbers (height, width) of at least 4 pixels"
        )
    return height, width


def need_folder(folder: Path, holds: str) -> None:
    """Raise MissingError with the way to get the data unless the folder is there."""
    if not folder.is_dir():
        raise MissingError(
            f"no folder {folder}, which should hold {holds}: run `make data`, "
            "or name the folder of the data sets (DATA=DIR for make, --data DIR for cotrain)"
        )


def need_samples(found: int, usable: int, folder: Path, holds: str, rejected: list[Rejected]) -> None:
    """Raise unless something usable was found in the folder."""
    if not found:
        raise MissingError(
            f"nothing in {folder}: expected {holds}; run `make data`, "
            "or name the folder of the data sets (DATA=DIR for make, --data DIR for cotrain)"
        )
    if not usable:
        more = f", and {len(rejected) - 1} more" if len(rejected) > 1 else ""
        raise InputError(
            f"no usable sample in {folder}: {rejected[0]}{more}; expected {holds}. "
            "Fetch the data again with `make data`"
        )


def one_line(error: Exception) -> str:
    """The first line of an error's text, for a reason."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
