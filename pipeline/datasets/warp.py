"""Affine maps of images and of what is marked in them.

Images are resampled bilinearly; what enters one from outside is background, 0.
"""

from __future__ import annotations

import numpy as np
from numba import njit


def warp(images: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Resample images under affine maps about their centre, bilinearly, with 0 outside.

    Parameters
    ----------
    images : (n, height, width) or (n, height, width, channels) float32
    matrix : (n, 2, 2)
        Where a place goes, measured from the centre in pixels, (y, x).
    offset : (n, 2)
        Added after it, in pixels.

    Returns
    -------
    (n, height, width[, channels]) float32
    """
    n, height, width = images.shape[:3]
    back = np.linalg.inv(matrix)
    centre = np.array([height - 1, width - 1]) / 2  # in indices: pixel centres are whole numbers
    start = centre - np.einsum("nij,nj->ni", back, centre + offset)
    maps = np.concatenate([back, start[:, :, np.newaxis]], axis=2)
    planes = np.ascontiguousarray(images, dtype=np.float32).reshape(n, height, width, -1)
    out = np.empty_like(planes)
    _resample(planes, maps, out)
    return out.reshape(images.shape)


def warp_masks(masks: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Resample masks: a pixel becomes the class of which the bilinear weights hold most.

    Parameters
    ----------
    masks : (n, height, width)
        0 for the background, which is also what lies outside, classes from 1, `IGNORE`.
    matrix, offset
        As in `warp`.

    Returns
    -------
    (n, height, width), dtype of `masks`
    """
    labels = np.unique(masks)
    labels = labels[labels != 0]
    if len(labels) <= 1:  # more than half of a pixel is that class
        label = labels[0] if len(labels) else 1
        return np.where(warp((masks == label).astype(np.float32), matrix, offset) > 0.5, label, 0).astype(masks.dtype)
    best = np.zeros(masks.shape, dtype=masks.dtype)
    rest, most = np.ones(masks.shape, dtype=np.float32), np.zeros(masks.shape, dtype=np.float32)
    for label in labels:
        share = warp((masks == label).astype(np.float32), matrix, offset)
        rest -= share
        best[share > most] = label
        np.maximum(most, share, out=most)
    best[rest >= most] = 0
    return best


@njit(cache=True, nogil=True)
def _resample(images, maps, out):
    """out[k, i, j] = images[k] at maps[k] @ (i, j, 1), interpolated, channel by channel."""
    n, height, width, channels = images.shape
    for k in range(n):
        for i in range(height):
            for j in range(width):
                y = maps[k, 0, 0] * i + maps[k, 0, 1] * j + maps[k, 0, 2]
                x = maps[k, 1, 0] * i + maps[k, 1, 1] * j + maps[k, 1, 2]
                y0, x0 = int(np.floor(y)), int(np.floor(x))
                fy, fx = y - y0, x - x0
                for c in range(channels):
                    value = 0.0
                    if 0 <= y0 < height:
                        if 0 <= x0 < width:
                            value += (1 - fy) * (1 - fx) * images[k, y0, x0, c]
                        if 0 <= x0 + 1 < width:
                            value += (1 - fy) * fx * images[k, y0, x0 + 1, c]
                    if 0 <= y0 + 1 < height:
                        if 0 <= x0 < width:
                            value += fy * (1 - fx) * images[k, y0 + 1, x0, c]
                        if 0 <= x0 + 1 < width:
                            value += fy * fx * images[k, y0 + 1, x0 + 1, c]
                    out[k, i, j, c] = value


def move_boxes(boxes: np.ndarray, matrix: np.ndarray, offset: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Boxes under the maps of `warp`, cut at the edge of the image.

    Parameters
    ----------
    boxes : (n, 4)
        [y0, x0, y1, x1] as fractions of the image.
    matrix : (n, 2, 2)
        Diagonal: a rotated box is none.
    offset : (n, 2)
        In pixels.
    size : (2,)
        Height and width in pixels.

    Returns
    -------
    (n, 4), dtype of `boxes`
    """
    moved = moved_corners(boxes, matrix) + (offset / size)[:, np.newaxis]
    return np.clip(moved, 0, 1).reshape(-1, 4).astype(boxes.dtype)


def moved_corners(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Corners (n, 2, 2), the lower first, scaled and mirrored about the centre; fractions."""
    factors = np.diagonal(matrix, axis1=1, axis2=2)[:, np.newaxis]
    corners = (boxes.reshape(-1, 2, 2).astype(np.float64) - 0.5) * factors + 0.5
    return np.sort(corners, axis=1)


def diagonal(values: np.ndarray) -> np.ndarray:
    """Matrices (n, 2, 2) of factors (n, 2)."""
    return values[:, :, np.newaxis] * np.eye(2)
