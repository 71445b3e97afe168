"""Pictures of samples with what is marked on them, to see whether a loader reads its files rightly."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from cotrain.hardware import files
from cotrain.pipeline.tasks import task_of

from .base import Dataset

TRUE_COLOUR, PREDICTED_COLOUR = (0, 160, 60), (220, 40, 40)
GAP = 4  # white pixels between the pictures


def overlay(
    dataset: Dataset,
    path: str | Path,
    n: int = 24,
    predicted: np.ndarray | None = None,
    n_columns: int = 6,
) -> Path:
    """Write a PNG of samples with their boxes or outlines in green, and those predicted in red.

    Parameters
    ----------
    dataset : Dataset
    path : Path
    n : int
        How many samples, spread evenly over the data set; of masks only those that mark something are taken.
    predicted : (len(dataset), ...), optional
        Boxes or masks to draw as well.
    n_columns : int

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    from PIL import Image

    some = np.arange(len(dataset))
    task = task_of(dataset.task)
    if task.outlined:
        some = some[task.size_of_target(dataset.targets) > 0]
    some = some[np.unique(np.linspace(0, len(some) - 1, min(n, len(some))).round().astype(int))]
    tiles = [draw(dataset, i, None if predicted is None else predicted[i]) for i in some]
    height, width = tiles[0].shape[:2]
    n_columns = min(n_columns, len(tiles))
    n_rows = -(-len(tiles) // n_columns)
    sheet = np.full((n_rows * (height + GAP), n_columns * (width + GAP), 3), 255, dtype=np.uint8)
    for k, tile in enumerate(tiles):
        y, x = k // n_columns * (height + GAP), k % n_columns * (width + GAP)
        sheet[y : y + height, x : x + width] = tile
    path = Path(path)
    png = io.BytesIO()
    Image.fromarray(sheet).save(png, format="PNG")
    files.write_bytes(path, png.getvalue())
    return path


def draw(dataset: Dataset, index: int, predicted: np.ndarray | None = None, zoom: int = 4) -> np.ndarray:
    """One sample, enlarged, with what is marked on it.

    Returns
    -------
    (zoom * height, zoom * width, 3) uint8
        Inverted pictures are shown as they were.
    """
    image = dataset.view(index)
    if image.ndim == 2:
        image = np.repeat(image[..., np.newaxis], 3, axis=2)
    picture = (image.repeat(zoom, axis=0).repeat(zoom, axis=1) * 255).astype(np.uint8)
    task = task_of(dataset.task)
    for target, colour in ((dataset.targets[index], TRUE_COLOUR), (predicted, PREDICTED_COLOUR)):
        if target is not None:
            picture[task.outline(target, (picture.shape[0], picture.shape[1]), zoom)] = colour
    return picture
