"""What every data set is once it is loaded: arrays with named axes, a split, and the samples that were refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware.errors import InputError, MissingError, printable
from cotrain.hardware.files.reading import one_line

from .checks import IGNORE, SPLITS, check

__all__ = ["IGNORE", "SPLITS", "DamagedFile", "Dataset", "Rejection", "Unusable", "one_line", "split_by_group"]

MEMORY_FRACTION = 0.6  # of the machine's, that images may take: training needs the rest
HELD_OUT_FRACTION = 0.1  # of the groups, for the test split and again for the validation split


class Unusable(ValueError):
    """A sample cannot be used; the text is the reason. Loaders turn it into a `Rejection`."""

    def __str__(self) -> str:
        return printable(str(self.args[0])) if self.args else ""


class DamagedFile(ValueError):
    """The bytes are not what the format, or the file itself, says."""


@dataclass(frozen=True)
class Rejection:
    """A sample that was found and not used; `path` is relative to the folder of the data sets."""

    name: str
    path: str
    reason: str

    def __str__(self) -> str:
        """One line that a terminal can show, whatever a file is called."""
        text = f"{self.name}: {self.reason} ({self.path})"
        return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


@dataclass(frozen=True)
class Dataset:
    """Images with their targets; checked where it is made.

    Attributes
    ----------
    name : str
        A key of `pipeline.datasets.DATASETS`.
    task : {"boxes", "masks", "classes"}
    images : (n, height, width, channels) float32
        In [0, 1]·pixel_scale + pixel_offset; the background is `pixel_offset`.
    targets : float32 or int64
        boxes: (n, 4) float32, [y0, x0, y1, x1] as fractions of the image. masks: (n, height, width) float32, 0 the
        background, k the k-th of `class_names`, counted from 1, and `IGNORE` where nobody knows. classes: (n,) int64,
        places in `class_names`, counted from 0.
    names : (n,) str
        One per sample, such as ``image_0001`` or ``hippocampus_017/z12``; for people alone.
    groups : (n,) str
        What is split and bootstrapped by: the image, or the volume that a slice is from.
    split : (n,) str
        "train", "validation" or "test".
    rejected : tuple of Rejection
        Samples that were found and not used, with the reason.
    slices : (n,) int64
        Place of a slice in its volume; 0 for a picture. By default the place of a sample in its group.
    class_names : tuple of str
        boxes: what is boxed, one name. masks: the classes without the background. classes: all of them.
    synthetic : bool
        Drawn by the package.
    inverted : bool
        Pixels are 1 - what the file holds; pictures for people show them as they were.
    channel_kind : {"grey", "colour", "slices", "modalities"}
        What the channels are; "slices" are neighbours in a volume, the sample's own slice in the middle.
    pixel_scale, pixel_offset : float
        Of the network's input: pixel·scale + offset.
    notes : tuple of str
        What a reader of the results should know: in how many pictures an object was chosen, spacing of voxels, ...

    Raises
    ------
    InputError
        Arrays of other shapes, types or lengths, pixels that are not finite or out of range, boxes of no area or
        outside their picture, unknown labels, a group in two splits. The message names the first such sample.
    """

    name: str
    task: str
    images: np.ndarray
    targets: np.ndarray
    names: np.ndarray
    groups: np.ndarray
    split: np.ndarray
    rejected: tuple[Rejection, ...] = ()
    slices: np.ndarray = None  # type: ignore[assignment]  # filled in at once
    class_names: tuple[str, ...] = ()
    synthetic: bool = False
    inverted: bool = False
    channel_kind: str = ""
    pixel_scale: float = 1.0
    pixel_offset: float = 0.0
    notes: tuple[str, ...] = ()

    PER_SAMPLE = ("images", "targets", "names", "groups", "split", "slices")

    def __post_init__(self) -> None:
        from cotrain.pipeline.tasks import TASKS  # which know what a data set is

        fill: dict[str, Any] = {}
        if self.slices is None:
            fill["slices"] = _places(self.groups)
        if not self.channel_kind and np.ndim(self.images) == 4:
            fill["channel_kind"] = {1: "grey", 3: "colour"}.get(self.images.shape[3], "modalities")
        if not self.class_names and self.task in TASKS:
            fill["class_names"] = TASKS[self.task].class_names_of(self.targets)
        for key, value in fill.items():
            object.__setattr__(self, key, value)
        check(self)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(height, width) of the images, in pixels."""
        _, height, width, _ = self.images.shape
        return height, width

    @property
    def n_channels(self) -> int:
        return self.images.shape[3]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what a network sees."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    @property
    def n_classes(self) -> int:
        """How many there are to tell apart; a background is none of them."""
        return len(self.class_names)

    def select(self, index: Any) -> Dataset:
        """The samples of an index array, boolean mask or slice; `rejected` stays with all of them."""
        return self._with(**{key: getattr(self, key)[index] for key in self.PER_SAMPLE})

    def moved(self, images: np.ndarray, targets: np.ndarray) -> Dataset:
        """The same samples seen otherwise; a box may have left its picture."""
        return self._with(images=images, targets=targets)

    def with_channels(self, images: np.ndarray, channel_kind: str) -> Dataset:
        """The same samples with other channels, made of pixels that were checked."""
        return self._with(images=images, channel_kind=channel_kind)

    def scaled(self, scale: float, offset: float) -> Dataset:
        """The same samples with pixel·scale + offset, for networks that were trained on another range."""
        if (scale, offset) == (1, 0):
            return self
        images = self.images * np.float32(scale) + np.float32(offset)
        return self._with(
            images=images, pixel_scale=scale * self.pixel_scale, pixel_offset=scale * self.pixel_offset + offset
        )

    def _with(self, **changes: Any) -> Dataset:
        """A copy that is not checked again: it holds what was checked."""
        copy = object.__new__(Dataset)
        copy.__dict__.update(self.__dict__, **changes)
        return copy

    def take(self, n: int | None) -> Dataset:
        """The first n samples; all of them for None."""
        return self if n is None else self.select(slice(n))

    def spread(self, n: int | None) -> Dataset:
        """n samples from all over the set, whose files may come class by class; of volumes the first. None: all."""
        if n is None or n >= len(self) or len(set(self.groups)) < len(self):
            return self.take(n)
        return self.select(np.arange(n) * len(self) // n)

    def whole_groups(self, n: int) -> Dataset:
        """Groups drawn by chance, the same in every run, until there are n samples; all for 0."""
        groups, member = np.unique(self.groups, return_inverse=True)
        if not n or n >= len(self):
            return self
        order = np.random.default_rng(0).permutation(len(groups))
        sizes = np.bincount(member)[order]
        chosen = order[np.cumsum(sizes) - sizes < n]
        return self.select(np.flatnonzero(np.isin(member, chosen)))

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

    def view(self, index: int) -> np.ndarray:
        """A sample for people to look at: not inverted, not scaled, of several slices the middle one.

        Returns
        -------
        (height, width) or (height, width, 3) float32
            In [0, 1].
        """
        image = (self.images[index] - np.float32(self.pixel_offset)) / np.float32(self.pixel_scale)
        if self.channel_kind != "colour":
            image = image[..., self.n_channels // 2 if self.channel_kind == "slices" else 0]
        return np.clip(1 - image if self.inverted else image, 0, 1)


def _places(groups: np.ndarray) -> np.ndarray:
    """The how manieth of its group each sample is, from 0; (n,) int64."""
    seen: dict[str, int] = {}
    out = []
    for group in np.asarray(groups).tolist():
        out.append(seen.get(group, 0))
        seen[group] = out[-1] + 1
    return np.array(out, dtype=np.int64)


def hashed_order(groups: np.ndarray, seed: int) -> list[str]:
    """The different groups, in the order of a hash of seed and name."""
    return sorted(set(groups.tolist()), key=lambda g: hashlib.sha256(f"{seed}/{g}".encode()).digest())


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
    unique = hashed_order(groups, seed)
    n_held_out = max(round(HELD_OUT_FRACTION * len(unique)), 1)
    place = {group: "train" for group in unique}
    place.update({group: "validation" for group in unique[n_held_out : 2 * n_held_out]})
    place.update({group: "test" for group in unique[:n_held_out]})
    return np.array([place[group] for group in groups.tolist()])


def describe(dataset: Dataset, n_scored: int) -> dict[str, Any]:
    """Counts, rejects and notes, as metrics.json tells them."""
    counts = {f"n_{split}": int((dataset.split == split).sum()) for split in SPLITS}
    return {
        "name": dataset.name,
        "n_total": len(dataset),
        **counts,
        "n_scored": n_scored,
        "rejected": [{"name": r.name, "path": r.path, "reason": r.reason} for r in dataset.rejected],
        "notes": list(dataset.notes),
    }


def check_image_shape(image_shape: Sequence[int]) -> tuple[int, int]:
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


def need_memory(n_samples: int, shape: tuple[int, int], channels: int, name: str) -> None:
    """Raise InputError where so many images would take most of this machine's memory."""
    wanted = 4 * n_samples * shape[0] * shape[1] * channels
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > MEMORY_FRACTION * there:
        raise InputError(
            f"data set {name}: {n_samples:,} images of {shape[0]} x {shape[1]} x {channels} take {wanted / 1e9:,.0f} GB"
            f" and this machine has {there / 1e9:,.0f} GB; take a smaller data.height and data.width, or fewer samples"
        )


def refuse_shared(images: np.ndarray, names: np.ndarray, split: np.ndarray, name: str) -> None:
    """Raise InputError where two splits hold the same picture, pixel by pixel; pictures of one grey do not count."""
    seen: dict[int, int] = {}
    for k, image in enumerate(images):
        if not split[k] or image.min() == image.max():  # not used, or blank
            continue
        first = seen.setdefault(hash(image.tobytes()), k)
        if split[first] != split[k] and np.array_equal(images[first], image):
            raise InputError(
                f"data set {name}: {names[first]} and {names[k]} are the same picture, one in {split[first]} and one "
                f"in {split[k]}: what is tested must not be trained on; remove one of them"
            )


FETCH = "run `make data`, or name the folder of the data sets (DATA=DIR for make, --data DIR for cotrain)"
OWN = "mend the files, or name others in data.path and data.labels"


def need_folder(folder: Path, holds: str, advice: str = FETCH) -> None:
    """Raise MissingError with the way to get the data unless the folder is there."""
    if not folder.is_dir():
        raise MissingError(f"no folder {folder}, which should hold {holds}: {advice}")


def need_samples(
    found: int, usable: int, folder: Path, holds: str, rejected: list[Rejection], advice: str = ""
) -> None:
    """Raise unless something usable was found in the folder."""
    if not found:
        raise MissingError(f"nothing in {folder}: expected {holds}; {advice or OWN}")
    if not usable:
        more = f", and {len(rejected) - 1} more" if len(rejected) > 1 else ""
        first = f": {rejected[0]}{more}" if rejected else ""
        raise InputError(f"no usable sample in {folder}{first}; expected {holds}. To go on, {advice or OWN}")
