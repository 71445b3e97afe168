"""A volume as images: normalised, cropped, padded or resized, and counted through along one axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cotrain.hardware.errors import InputError

from .base import IGNORE, Unusable, check_image_shape

AXES = {"x": 0, "y": 1, "z": 2}
FITS = ("crop", "resize")


@dataclass(frozen=True)
class Slicing:
    """How a volume becomes images.

    Attributes
    ----------
    shape : (height, width)
        Of an image: the two axes that are left, in the order x, y, z.
    axis : {"x", "y", "z"}
        What is counted through; z runs from feet to head.
    n_slices : int
        How many about the middle of the volume, padded with empty ones; 0: those it has.
    fit : {"crop", "resize"}
        Crop or pad with 0 about the centre, which keeps a voxel a pixel, or change the size.
    low, high : float
        Percentiles of each channel of a volume that become 0 and 1.
    """

    shape: tuple[int, int]
    axis: str = "z"
    n_slices: int = 0
    fit: str = "crop"
    low: float = 1.0
    high: float = 99.0

    def __post_init__(self) -> None:
        check_image_shape(self.shape)
        if self.axis not in AXES:
            raise InputError(f"data.axis is {self.axis!r}: expected one of {', '.join(AXES)}")
        if self.fit not in FITS:
            raise InputError(f"data.fit is {self.fit!r}: expected one of {', '.join(FITS)}")
        if not isinstance(self.n_slices, int) or self.n_slices < 0:
            raise InputError(f"n_slices is {self.n_slices!r}: expected a whole number, 0 for all slices of a volume")
        if not 0 <= self.low < self.high <= 100:
            raise InputError(f"percentiles is {(self.low, self.high)!r}: expected 0 <= low < high <= 100")


def slices_of(image: np.ndarray, label: np.ndarray, cut: Slicing) -> tuple[np.ndarray, np.ndarray]:
    """Cut one volume.

    Parameters
    ----------
    image : (x, y, z, channels) float32
    label : (x, y, z) uint8
    cut : Slicing

    Returns
    -------
    images : (n_slices, height, width, channels) float32
        In [0, 1].
    masks : (n_slices, height, width) float32

    Raises
    ------
    Unusable
        The image is flat, or a labelled voxel would be cut off.
    """
    image = np.moveaxis(normalise(image, cut.low, cut.high), AXES[cut.axis], 0)
    label = np.moveaxis(label, AXES[cut.axis], 0)
    n_slices = cut.n_slices or len(image)
    size = (n_slices, *cut.shape) if cut.fit == "crop" else (n_slices, *label.shape[1:])
    kept = crop_or_pad(label, size)
    n_lost = int(((label > 0) & (label != IGNORE)).sum()) - int(((kept > 0) & (kept != IGNORE)).sum())
    if n_lost:
        text = " x ".join(str(n) for n in [*cut.shape, n_slices][: 3 if cut.fit == "crop" else 2])
        text = f"the centred box of {text} voxels" if cut.fit == "crop" else f"the middle {n_slices} slices"
        raise Unusable(f"{n_lost} labelled voxels lie outside {text}")
    images = crop_or_pad(image, (*size, image.shape[3]))
    if cut.fit == "resize":
        images = np.stack([_resized(one, cut.shape) for one in images])
        kept = np.stack([_resized_labels(one, cut.shape) for one in kept])
    return images, kept.astype(np.float32)


def _resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A slice (height, width, channels) at another size, bilinearly."""
    from PIL import Image

    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[2])]
    resized = [np.asarray(plane.resize(shape[::-1], Image.Resampling.BILINEAR)) for plane in planes]
    return np.clip(np.stack(resized, axis=2), 0, 1)


def _resized_labels(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(labels)).resize(shape[::-1], Image.Resampling.NEAREST))


def normalise(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale two percentiles of each channel of a volume to 0 and 1 and clip to that range.

    Parameters
    ----------
    image : (x, y, z, channels)

    Raises
    ------
    Unusable
        The two percentiles are equal.
    """
    out = np.empty(image.shape, dtype=np.float32)
    for c in range(image.shape[3]):
        channel = image[..., c]
        p_low, p_high = np.percentile(channel, (low, high))
        if not p_high > p_low:
            raise Unusable(f"the image is flat: its percentiles {low:g} and {high:g} are both {p_low:g}")
        out[..., c] = np.clip((channel - p_low) / (p_high - p_low), 0, 1)
    return out


def crop_or_pad(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Crop or pad with 0 about the centre, axis by axis."""
    out = np.zeros(shape, dtype=volume.dtype)
    source, target = [], []
    for n_have, n_want in zip(volume.shape, shape, strict=True):
        n = min(n_have, n_want)
        start, to = (n_have - n) // 2, (n_want - n) // 2
        source.append(slice(start, start + n))
        target.append(slice(to, to + n))
    out[tuple(target)] = volume[tuple(source)]
    return out
