"""Medical Segmentation Decathlon, Task04: the hippocampus in T1 MRI crops, slice by slice, from NIfTI files.

Layout, as published (medicaldecathlon.com)::

    Task04_Hippocampus/imagesTr/hippocampus_001.nii.gz
    Task04_Hippocampus/labelsTr/hippocampus_001.nii.gz      0 background, 1 anterior, 2 posterior
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import InputError

from .base import (
    Dataset,
    Rejected,
    Unusable,
    check_image_shape,
    need_folder,
    need_samples,
    one_line,
    split_by_group,
)

FOLDER = Path("Task04_Hippocampus")
LABELS = (0, 1, 2)


def load(
    root: Path,
    *,
    image_shape=(40, 56),
    n_slices: int = 40,
    percentiles=(1.0, 99.0),
    seed: int = 0,
) -> Dataset:
    """Read the volumes and cut them into slices along z.

    Each volume is scaled so that its own low and high percentile become 0 and 1, clipped to that range, and cropped or
    padded with 0 about its centre to `image_shape` by `n_slices` voxels (40 x 56 x 40 holds every labelled voxel).

    Parameters
    ----------
    root : Path
        Folder that holds ``Task04_Hippocampus``.
    image_shape : (height, width)
        Voxels kept along x and y.
    n_slices : int
        Voxels kept along z: the slices a volume gives.
    percentiles : (low, high)
        Of the voxels of the whole volume.
    seed : int
        Seed of the split.

    Raises
    ------
    MissingError
        The folder is missing or empty.
    InputError
        No volume is usable, or an option is not allowed.
    """
    box = (*check_image_shape(image_shape), n_slices)
    if not isinstance(n_slices, int) or n_slices < 1:
        raise InputError(f"n_slices is {n_slices!r}: expected a whole number of at least 1")
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise InputError(f"percentiles is {percentiles!r}: expected 0 <= low < high <= 100")
    image_folder, label_folder = Path(root, FOLDER, "imagesTr"), Path(root, FOLDER, "labelsTr")
    need_folder(image_folder, "hippocampus_NNN.nii.gz")
    need_folder(label_folder, "hippocampus_NNN.nii.gz")
    image_paths, label_paths = _volumes(image_folder), _volumes(label_folder)

    images, masks, groups, rejected = [], [], [], []
    for name in sorted(image_paths.keys() | label_paths.keys()):
        path = image_paths.get(name, image_folder / f"{name}.nii.gz")
        try:
            image, mask = read_pair(path, label_paths.get(name, label_folder / f"{name}.nii.gz"))
            image = normalise(image, low, high)
            inside = crop_or_pad(mask, box)
            n_lost = int(mask.sum()) - int(inside.sum())
            if n_lost:
                size = " x ".join(str(n) for n in box)
                raise Unusable(f"{n_lost} labelled voxels lie outside the centred box of {size} voxels")
        except Unusable as reason:
            rejected.append(Rejected(name, path.relative_to(root).as_posix(), str(reason)))
        else:
            images.append(np.moveaxis(crop_or_pad(image, box), 2, 0))
            masks.append(np.moveaxis(inside, 2, 0))
            groups.append(name)
    need_samples(
        len(image_paths) + len(label_paths),
        len(images),
        image_folder,
        "hippocampus_NNN.nii.gz",
        rejected,
    )
    names = np.array([f"{group}/z{z:02d}" for group in groups for z in range(n_slices)])
    groups = np.repeat(groups, n_slices)
    return Dataset(
        name="hippocampus",
        task="masks",
        images=np.concatenate(images)[..., np.newaxis],
        targets=np.concatenate(masks).astype(np.float32),
        names=names,
        groups=groups,
        split=split_by_group(groups, seed),
        rejected=tuple(rejected),
        slices=np.tile(np.arange(n_slices), len(images)),
        class_names=("hippocampus",),
    )


def _volumes(folder: Path) -> dict[str, Path]:
    """NIfTI files of the folder by name; the archive's ``._`` files are none."""
    matches = ((re.fullmatch(r"(hippocampus_\d+)\.nii(\.gz)?", path.name), path) for path in folder.iterdir())
    return {match[1]: path for match, path in matches if match}


def read_pair(image_path: Path, label_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a volume and its label.

    Returns
    -------
    image : (x, y, z) float32
        In the file's own units.
    mask : (x, y, z) bool
        Label above 0.

    Raises
    ------
    Unusable
        A file is missing or unreadable, or the two do not go together.
    """
    image, image_affine = _read_volume(image_path, "image")
    label, label_affine = _read_volume(label_path, "label")
    if image.ndim != 3:
        raise Unusable(f"the image has shape {image.shape}: expected 3 axes")
    if image.shape != label.shape:
        raise Unusable(f"the image has shape {image.shape} and its label {label.shape}")
    if not np.allclose(image_affine, label_affine, atol=1e-3):
        raise Unusable("image and label lie differently in space (their affines differ)")
    if image.dtype.kind not in "uif" or label.dtype.kind not in "uif":
        raise Unusable(f"image and label are {image.dtype} and {label.dtype}: expected plain numbers")
    if not np.isfinite(image).all():
        raise Unusable("the image holds NaN or infinity")
    if not np.isin(label, LABELS).all():
        raise Unusable(f"the label holds other values than {LABELS}")
    if not label.any():
        raise Unusable("the label marks no voxel")
    return image.astype(np.float32), label > 0


def _read_volume(path: Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    import nibabel

    try:
        file = nibabel.load(path)
        return np.asanyarray(file.dataobj), file.affine
    except FileNotFoundError:
        raise Unusable(f"the {what} is missing") from None
    except Exception as error:  # noqa: BLE001  (gzip, zlib, header and buffer errors share no base class)
        raise Unusable(f"the {what} cannot be read: {one_line(error)}") from None


def normalise(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale two percentiles of a volume to 0 and 1 and clip to that range.

    Raises
    ------
    Unusable
        The two percentiles are equal.
    """
    p_low, p_high = np.percentile(image, (low, high))
    if not p_high > p_low:
        raise Unusable(f"the image is flat: its percentiles {low:g} and {high:g} are both {p_low:g}")
    return np.clip((image - p_low) / (p_high - p_low), 0, 1).astype(np.float32)


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
