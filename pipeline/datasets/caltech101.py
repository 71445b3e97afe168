"""Caltech-101 aeroplanes: one box an image, from the publisher's JPEG and MATLAB files.

Layout, as published (doi 10.22002/D1.20086)::

    caltech-101/101_ObjectCategories/airplanes/image_0001.jpg
    caltech-101/Annotations/Airplanes_Side_2/annotation_0001.mat    box_coord = [y0, y1, x0, x1] in pixels
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .base import (
    FETCH,
    Dataset,
    Rejection,
    Unusable,
    check_image_shape,
    need_folder,
    need_samples,
    split_by_group,
)
from .listing import files_by_stem
from .matfile import read_mat
from .pictures import read_picture

IMAGES = Path("caltech-101", "101_ObjectCategories", "airplanes")
ANNOTATIONS = Path("caltech-101", "Annotations", "Airplanes_Side_2")
# Coordinates count from 1 and may name the edge or the pixel at it, so a box may stick out by one pixel.
SLACK_PIXELS = 1


def load(root: Path, *, image_shape: Sequence[int] = (64, 128), seed: int = 0) -> Dataset:
    """Read the aeroplanes and their boxes.

    Images are made grey, inverted (the white surround becomes 0) and resized to `image_shape` without regard to their
    aspect ratio, so that boxes are fractions of the image.

    Parameters
    ----------
    root : Path
        Folder that holds ``caltech-101``.
    image_shape : (height, width)
        In pixels.
    seed : int
        Seed of the split.

    Raises
    ------
    MissingError
        The folder is missing or empty.
    InputError
        No sample is usable, or `image_shape` is not a shape.
    """
    shape = check_image_shape(image_shape)
    image_folder, annotation_folder = Path(root, IMAGES), Path(root, ANNOTATIONS)
    need_folder(image_folder, "image_NNNN.jpg")
    need_folder(annotation_folder, "annotation_NNNN.mat")
    image_paths = _numbered(image_folder, "image", (".jpg", ".jpeg"))
    annotation_paths = _numbered(annotation_folder, "annotation", (".mat",))

    images, boxes, names, rejected = [], [], [], []
    for number in sorted(image_paths.keys() | annotation_paths.keys()):
        name = f"image_{number}"
        image_path = image_paths.get(number, image_folder / f"{name}.jpg")
        annotation_path = annotation_paths.get(number, annotation_folder / f"annotation_{number}.mat")
        path = image_path
        try:
            picture = read_picture(image_path, shape, invert=True)
            path = annotation_path
            boxes.append(read_box(annotation_path, picture.size))
        except Unusable as reason:
            rejected.append(Rejection(name, path.relative_to(root).as_posix(), str(reason)))
        else:
            images.append(picture.image)
            names.append(name)
    n_found = len(image_paths) + len(annotation_paths)
    need_samples(n_found, len(images), image_folder, "image_NNNN.jpg", rejected, FETCH)
    found = np.array(names)
    return Dataset(
        name="caltech101-airplanes",
        task="boxes",
        images=np.stack(images),
        targets=np.stack(boxes),
        names=found,
        groups=found,
        split=split_by_group(found, seed),
        rejected=tuple(rejected),
        class_names=("airplane",),
        inverted=True,
    )


def _numbered(folder: Path, prefix: str, endings: tuple[str, ...]) -> dict[str, Path]:
    """Files of the folder that are called by the prefix and a number, by that number."""
    matches = ((re.fullmatch(rf"{prefix}_(\d+)", stem), path) for stem, path in files_by_stem(folder, endings).items())
    return {match[1]: path for match, path in matches if match}


def read_box(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read the box of an annotation.

    Parameters
    ----------
    path : Path
    size : (height, width)
        Of the annotated image, in pixels.

    Returns
    -------
    (4,) float32
        [y0, x0, y1, x1] as fractions of the image.

    Raises
    ------
    Unusable
        The file is missing or unreadable, or its box is none.
    """
    annotation = read_mat(path)
    if "box_coord" not in annotation:
        raise Unusable("the annotation has no box_coord")
    box = annotation["box_coord"]
    if isinstance(box, str):
        raise Unusable(f"box_coord is {box}: expected 4 numbers")
    if box.size != 4 or box.dtype.kind not in "uif":
        raise Unusable(f"box_coord is {box.dtype} of shape {box.shape}: expected 4 numbers")
    box = box.ravel().astype(np.float64)  # most are uint16, one is uint8
    if not np.isfinite(box).all():
        raise Unusable("box_coord holds NaN or infinity")
    y0, y1, x0, x1 = box
    text = f"[y0, y1, x0, x1] = [{y0:g}, {y1:g}, {x0:g}, {x1:g}]"
    if y1 <= y0 or x1 <= x0:
        raise Unusable(f"the box has no area: {text}")
    height, width = size
    if min(y0, x0) < -SLACK_PIXELS or y1 > height + SLACK_PIXELS or x1 > width + SLACK_PIXELS:
        raise Unusable(f"the box {text} is not inside its image of {height} x {width} pixels")
    return np.array([y0 / height, x0 / width, y1 / height, x1 / width], dtype=np.float32)
