"""Drawn digits in MNIST's file format, read by MNIST's loader: a small classification task that needs no download.

Each digit is one or two strokes whose points, width, slant, size and place vary, over noise.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import classes
from .base import Dataset, check_image_shape
from .synthetic import ensure

SIZE = 20  # pixels
TEST_SHARE = 6  # one of so many is for the test


def _arc(x: float, y: float, rx: float, ry: float, first: float = 0.0, last: float = 1.0) -> list[tuple[float, float]]:
    """Points on an ellipse, clockwise from its top; `first` and `last` in turns."""
    angle = 2 * np.pi * np.linspace(first, last, 13)
    return list(zip(x + rx * np.sin(angle), y - ry * np.cos(angle), strict=True))


# Strokes in a box from -1 to 1, y pointing down.
STROKES: tuple[tuple[list[tuple[float, float]], ...], ...] = (
    (_arc(0, 0, 0.6, 0.95),),
    ([(-0.35, -0.55), (0.1, -0.95), (0.1, 0.95)],),
    ([*_arc(0, -0.4, 0.55, 0.55, -0.2, 0.35), (-0.6, 0.95), (0.65, 0.95)],),
    ([*_arc(-0.05, -0.48, 0.52, 0.47, -0.15, 0.5), *_arc(-0.05, 0.45, 0.6, 0.5, 0, 0.65)],),
    ([(0.3, 0.95), (0.3, -0.95), (-0.6, 0.35), (0.7, 0.35)],),
    ([(0.5, -0.95), (-0.4, -0.95), (-0.5, -0.1), *_arc(-0.05, 0.35, 0.6, 0.58, -0.02, 0.65)],),
    ([(0.35, -0.95), (-0.3, -0.3), *_arc(0, 0.42, 0.52, 0.52, 0.75, 1.75)],),
    ([(-0.6, -0.95), (0.6, -0.95), (-0.1, 0.95)],),
    (_arc(0, -0.47, 0.46, 0.47), _arc(0, 0.47, 0.56, 0.48)),
    (_arc(0, -0.4, 0.5, 0.53), [(0.5, -0.4), (0.42, 0.2), (0.15, 0.95)]),
)


def load_digits(
    root: Path,
    *,
    image_shape: tuple[int, int] = (SIZE, SIZE),
    n_images: int = 1800,
    content_seed: int = 0,
    seed: int = 0,
) -> Dataset:
    """Draw digits below ``root/synthetic`` unless they are there, and read them as MNIST.

    Parameters
    ----------
    root : Path
        Folder to keep the files in; it is made if need be.
    image_shape : (height, width)
    n_images : int
        One in six is for the test.
    content_seed : int
        Seed of what is drawn.
    seed : int
        Seed of the split between training and validation.

    Raises
    ------
    InputError
        An option is not allowed.
    OutputError
        The files cannot be written.
    """
    check_image_shape(image_shape)  # before any work
    folder = ensure(root, "digits", n_images, content_seed, digit_files)
    return replace(
        classes.load_mnist(folder, image_shape=image_shape, seed=seed), name="synthetic-digits", synthetic=True
    )


def digit_files(n: int, seed: int) -> Iterator[tuple[Path, bytes]]:
    """Yield path and bytes of MNIST's four files."""
    labels = np.arange(n) % len(STROKES)
    pictures = np.stack([draw_digit(np.random.default_rng((seed, k)), int(label)) for k, label in enumerate(labels)])
    test = np.arange(n) // len(STROKES) % TEST_SHARE == TEST_SHARE - 1
    for word, part in (("train", ~test), ("t10k", test)):
        if part.any():
            yield Path("mnist", f"{word}-images-idx3-ubyte.gz"), _idx(pictures[part])
            yield Path("mnist", f"{word}-labels-idx1-ubyte.gz"), _idx(labels[part].astype(np.uint8))


def draw_digit(rng: np.random.Generator, digit: int) -> np.ndarray:
    """Draw one digit, white on black, (SIZE, SIZE) uint8."""
    from PIL import Image, ImageDraw

    over = 8  # drawn larger, then shrunk: smooth edges
    turn, slant = np.deg2rad(rng.uniform(-14, 14)), rng.uniform(-0.25, 0.25)
    size = rng.uniform([0.24, 0.3], [0.36, 0.4]) * SIZE
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [[1, slant], [0, 1]]
    middle = SIZE / 2 + rng.uniform(-2.2, 2.2, size=2)
    picture = Image.new("L", (SIZE * over, SIZE * over))
    draw = ImageDraw.Draw(picture)
    width, bright = rng.uniform(1.2, 2.4), int(rng.integers(150, 256))
    for stroke in STROKES[digit]:
        points = np.array(stroke) + rng.normal(0, 0.05, (len(stroke), 2))
        drawn = ((points * size) @ matrix.T + middle) * over
        draw.line([tuple(point) for point in drawn], fill=bright, width=round(width * over), joint="curve")
    pixels = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.float32)
    return np.clip(pixels + np.abs(rng.normal(0, 18, pixels.shape)), 0, 255).astype(np.uint8)


def _idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes, packed."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(head + array.tobytes(), compresslevel=6, mtime=0)
