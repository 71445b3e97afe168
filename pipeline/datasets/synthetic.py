"""Two small data sets made on the spot, in the file formats and folders of the real ones.

Planes: drawn aeroplanes of varied place, size and shape over light, cluttered backgrounds. Hippocampus: bent tubes of
varied place and bend in noisy volumes, among brighter and darker blobs. The real loaders read them, so a demo on them
runs the code that runs on real data. The same settings give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import InputError, OutputError

from . import caltech101, hippocampus
from .base import Dataset, check_image_shape

VERSION = 1  # raise it when the same settings shall give other bytes: old folders are then not used again
COMPLETE = "complete.json"
MAT_HEADER = b"MATLAB 5.0 MAT-file, made by loihi-cotrain".ljust(116)  # SciPy's own holds the time of day


def load_planes(
    root: Path, *, image_shape: Sequence[int] = (32, 64), n_images: int = 480, content_seed: int = 0, seed: int = 0
) -> Dataset:
    """Draw aeroplanes below ``root/synthetic`` unless they are there, and read them as Caltech-101.

    Parameters
    ----------
    root : Path
        Folder to keep the files in; it is made if need be.
    image_shape : (height, width)
    n_images : int
    content_seed : int
        Seed of what is drawn.
    seed : int
        Seed of the split.

    Raises
    ------
    InputError
        An option is not allowed.
    OutputError
        The files cannot be written.
    """
    check_image_shape(image_shape)  # before any work
    folder = ensure(root, "planes", n_images, content_seed, plane_files)
    return _drawn(caltech101.load(folder, image_shape=image_shape, seed=seed), "synthetic-planes")


def load_hippocampus(
    root: Path,
    *,
    image_shape: Sequence[int] = (32, 32),
    n_slices: int = 16,
    n_volumes: int = 60,
    content_seed: int = 0,
    seed: int = 0,
) -> Dataset:
    """Make volumes with bent tubes below ``root/synthetic`` unless they are there, and read them as Task04.

    Parameters
    ----------
    root : Path
        Folder to keep the files in; it is made if need be.
    image_shape : (height, width)
        Of 32 x 32 or more: what is labelled fills most of it.
    n_slices : int
        Of 16 or more, for the same reason.
    n_volumes : int
    content_seed : int
        Seed of what is drawn.
    seed : int
        Seed of the split.

    Raises
    ------
    InputError
        An option is not allowed.
    OutputError
        The files cannot be written.
    """
    check_image_shape(image_shape)
    folder = ensure(root, "hippocampus", n_volumes, content_seed, hippocampus_files)
    data = hippocampus.load(folder, image_shape=image_shape, n_slices=n_slices, seed=seed)
    return _drawn(data, "synthetic-hippocampus")


def _drawn(data: Dataset, name: str) -> Dataset:
    return replace(data, name=name, synthetic=True)


# ---------------------------------------------------------------------------------------------------------------------
# Files


def ensure(
    root: Path,
    kind: str,
    n: int,
    content_seed: int,
    make: Callable[[int, int], Iterator[tuple[Path, bytes]]],
) -> Path:
    """Return the folder that holds a whole synthetic set, making it if it is missing or not as it was made."""
    for key, value, least in (("number of samples", n, 1), ("content_seed", content_seed, 0)):
        if not isinstance(value, int) or value < least:
            raise InputError(f"synthetic {kind}: {key} is {value!r}, expected a whole number of at least {least}")
    parent = Path(root, "synthetic")
    folder = parent / f"{kind}-v{VERSION}-n{n}-s{content_seed}"
    if _is_whole(folder):
        return folder
    temporary = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=parent))
        digests = {}
        for path, data in make(n, content_seed):
            target = temporary / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            digests[path.as_posix()] = hashlib.sha256(data).hexdigest()
        (temporary / COMPLETE).write_text(json.dumps(digests, indent=0))
        temporary.chmod(0o755)  # mkdtemp makes it private
        if folder.exists() and not _is_whole(folder):
            shutil.rmtree(folder)
        if not folder.exists():
            os.replace(temporary, folder)
    except OSError as error:
        # Another process may have put the same files there first.
        if not _is_whole(folder):
            raise OutputError(
                f"cannot write synthetic data below {parent}: {error.strerror or error}; "
                "free space there or choose another folder"
            ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether every file is there with the bytes it was made with."""
    try:
        digests = json.loads((folder / COMPLETE).read_text())
        return all(
            hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest for path, digest in digests.items()
        )
    except (OSError, ValueError):
        return False


# ---------------------------------------------------------------------------------------------------------------------
# Planes


def plane_files(n: int, seed: int) -> Iterator[tuple[Path, bytes]]:
    """Yield path and bytes of every image and annotation."""
    import scipy.io
    from PIL import Image

    for number in range(1, n + 1):
        pixels, mask = draw_plane(np.random.default_rng((seed, number)))
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert("RGB").save(buffer, format="JPEG", quality=90)
        yield caltech101.IMAGES / f"image_{number:04d}.jpg", buffer.getvalue()

        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        along = np.arange(x0, x1, 4)
        top = mask[:, along].argmax(axis=0)
        bottom = len(mask) - mask[::-1, along].argmax(axis=0)
        outline = np.array([np.r_[along, along[::-1]] - x0, np.r_[top, bottom[::-1]] - y0], dtype=np.float64)
        buffer = io.BytesIO()
        box = np.array([[y0, y1, x0, x1]], dtype=np.uint16)
        scipy.io.savemat(buffer, {"box_coord": box, "obj_contour": outline})
        data = MAT_HEADER + buffer.getvalue()[len(MAT_HEADER) :]
        yield caltech101.ANNOTATIONS / f"annotation_{number:04d}.mat", data


def draw_plane(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one aeroplane.

    Returns
    -------
    pixels : (height, width) uint8
    mask : (height, width) bool
        Where the aeroplane is.
    """
    from PIL import Image, ImageDraw

    height, width = int(rng.integers(72, 97)), int(rng.integers(144, 177))
    over = 2  # drawn larger, then shrunk: smooth edges
    background = _sky(rng, height * over, width * over)
    picture = Image.fromarray(background)
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 7)):  # clutter on the ground: houses and trees
        x, y = rng.uniform(0, width * over), rng.uniform(0.72, 0.98) * height * over
        w, h = rng.uniform(2, 14) * over, rng.uniform(2, 8) * over
        shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
        shape((x, y, x + w, y + h), fill=int(rng.integers(90, 210)))

    length = rng.uniform(0.46, 0.74) * width * over
    tilt, mirror = np.deg2rad(rng.uniform(-11, 11)), rng.choice([-1, 1])
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]) * length
    parts = [(part * [mirror, 1]) @ turn.T for part in _plane_parts(rng)]
    points = np.concatenate(parts)
    room = np.array([width, height]) * over - np.ptp(points, axis=0)
    place = rng.uniform(0.16, 0.84, size=2) * room - points.min(axis=0)
    shadow = Image.new("L", picture.size, 0)
    draw_mask = ImageDraw.Draw(shadow)
    body = rng.integers(20, 110)
    for part in parts:
        outline = [tuple(point) for point in part + place]
        draw.polygon(outline, fill=int(np.clip(body + rng.integers(-25, 26), 0, 140)))
        draw_mask.polygon(outline, fill=255)
    size = (width, height)
    pixels = np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float32)
    pixels = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    return pixels, np.asarray(shadow.resize(size, Image.Resampling.BOX)) > 127


def _sky(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A light gradient with clouds and, in half of the images, darker ground; (height, width) uint8."""
    from PIL import Image

    rows = np.linspace(rng.uniform(200, 250), rng.uniform(200, 250), height)[:, np.newaxis]
    clouds = rng.normal(0, 14, (rng.integers(3, 6), rng.integers(4, 9))).astype(np.float32)
    sky = rows + np.asarray(Image.fromarray(clouds).resize((width, height), Image.Resampling.BICUBIC))
    if rng.random() < 0.5:
        sky[int(rng.uniform(0.75, 0.95) * height) :] -= rng.uniform(15, 60)
    return np.clip(sky, 0, 255).astype(np.uint8)


def _plane_parts(rng: np.random.Generator) -> list[np.ndarray]:
    """Polygons of an aeroplane seen from its side, nose at the right, of length 1; y points down."""
    r = rng.uniform(0.045, 0.075)  # half the height of the body
    angle = np.linspace(-np.pi / 2, np.pi / 2, 9)
    nose = np.stack([0.5 - 1.6 * r + 1.6 * r * np.cos(angle), r * np.sin(angle)], axis=1)
    body = np.concatenate([nose, [[-0.3, r], [-0.5, -0.3 * r], [-0.5, -r]]])
    fin_height, sweep = rng.uniform(0.1, 0.17), rng.uniform(0.02, 0.08)
    fin = np.array([[-0.5, -r], [-0.5 - sweep, -r - fin_height], [-0.42 - sweep, -r - fin_height], [-0.33, -r]])
    wing_x, wing_drop, wing_back = (
        rng.uniform(-0.02, 0.12),
        rng.uniform(0.05, 0.14),
        rng.uniform(0.08, 0.22),
    )
    wing = np.array(
        [
            [wing_x + 0.09, 0.3 * r],
            [wing_x - wing_back + 0.04, r + wing_drop],
            [wing_x - wing_back - 0.03, r + wing_drop],
            [wing_x - 0.09, 0.3 * r],
        ]
    )
    tailplane = np.array([[-0.38, -0.2 * r], [-0.52, 0.6 * r], [-0.57, 0.6 * r], [-0.48, -0.4 * r]])
    parts = [body, fin, wing, tailplane]
    if rng.random() < 0.6:  # an engine below the wing
        turns = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        parts.append(np.stack([wing_x + 0.05 * np.cos(turns), 1.5 * r + 0.022 * np.sin(turns)], axis=1))
    return parts


# ---------------------------------------------------------------------------------------------------------------------
# Hippocampus


def hippocampus_files(n: int, seed: int) -> Iterator[tuple[Path, bytes]]:
    """Yield path and bytes of every volume and label."""
    for number in range(1, n + 1):
        image, label = draw_tube(np.random.default_rng((seed, number)))
        for folder, volume in (("imagesTr", image), ("labelsTr", label)):
            path = hippocampus.FOLDER / folder / f"hippocampus_{number:03d}.nii.gz"
            yield path, gzip.compress(_nifti(volume), compresslevel=1, mtime=0)


def _nifti(volume: np.ndarray) -> bytes:
    import nibabel

    return nibabel.Nifti1Image(volume, affine=np.eye(4)).to_bytes()  # voxels of 1 mm, RAS, as Task04's


def draw_tube(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make one volume.

    Returns
    -------
    image : (x, y, z) uint8 or float32
        In a unit of its own, as the real ones.
    label : (x, y, z) uint8
        1 in the front half of the tube, 2 in the other, 0 elsewhere.
    """
    from scipy.ndimage import gaussian_filter

    shape = np.array([rng.integers(32, 37), rng.integers(32, 37), rng.integers(16, 20)])
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).astype(np.float32)
    grid -= (shape // 2).astype(np.float32)  # the loader keeps 32 x 32 x 16 voxels about here

    t = np.linspace(-1, 1, 21)[:, np.newaxis]
    inside = None
    while inside is None or (inside & (np.abs(grid + 0.5) > [16, 16, 8]).any(axis=-1)).any():
        middle = rng.uniform([-5, -3, -1.5], [5, 3, 1.5])
        half_length, bend, lean, rise = rng.uniform([7.5, -5, -3, -2], [10.5, 5, 3, 2])
        centres = middle + np.concatenate([bend * (t**2 - 0.4) + lean * t, half_length * t, rise * t], axis=1)
        radii = rng.uniform(2.6, 3.8) + rng.uniform(0.2, 0.9) * t[:, 0]
        gaps = _distance(grid, centres) / radii
        inside = gaps.min(axis=-1) < 1
    label = np.where(inside, np.where(gaps.argmin(axis=-1) >= len(t) // 2, 1, 2), 0).astype(np.uint8)

    image = 0.35 + 1.2 * gaussian_filter(rng.normal(0, 1, shape), 3)
    for value in (0.95, 0.95, 0.95, 0.05, 0.05, 0.05):
        ball = _distance(grid, rng.uniform(-1, 1, (1, 3)) * [15, 15, 8])[..., 0] < rng.uniform(2, 3.5)
        image[ball] = value
    image[inside] = rng.uniform(0.6, 0.7)  # over the balls: the label is what is seen
    image = gaussian_filter(image, 0.7) + rng.normal(0, 0.05, shape)
    image = np.clip(image, 0, None)
    if rng.random() < 0.25:
        return np.clip(image * 200, 0, 255).astype(np.uint8), label
    return (image * 10 ** rng.uniform(3, 6)).astype(np.float32), label


def _distance(grid: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Distance of every voxel to every centre, in voxels."""
    return np.linalg.norm(grid[..., np.newaxis, :] - centres.astype(np.float32), axis=-1)
