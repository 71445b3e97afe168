"""Medical Segmentation Decathlon, Task04: the hippocampus in T1 MRI crops, slice by slice, from NIfTI files.

Layout, as published (medicaldecathlon.com)::

    Task04_Hippocampus/imagesTr/hippocampus_001.nii.gz
    Task04_Hippocampus/labelsTr/hippocampus_001.nii.gz      0 background, 1 anterior, 2 posterior
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cotrain.hardware.errors import InputError

from . import volumes
from .base import FETCH, Dataset, check_image_shape, need_folder
from .slicing import Slicing

FOLDER = Path("Task04_Hippocampus")
LABELS = (0, 1, 2)
NAMES = {1: "anterior", 2: "posterior"}


def load(
    root: Path,
    *,
    image_shape: Sequence[int] = (40, 56),
    n_slices: int = 40,
    percentiles: tuple[float, float] = (1.0, 99.0),
    seed: int = 0,
    classes: tuple[int, ...] = (),
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
    classes : tuple of int
        Label values, each a class of its own; by default the whole hippocampus is one.

    Raises
    ------
    MissingError
        The folder is missing or empty.
    InputError
        No volume is usable, or an option is not allowed.
    """
    if not isinstance(n_slices, int) or n_slices < 1:
        raise InputError(f"n_slices is {n_slices!r}: expected a whole number of at least 1")
    low, high = percentiles
    cut = Slicing(check_image_shape(image_shape), "z", n_slices, "crop", low, high)
    folder = Path(root, FOLDER)
    for part in ("imagesTr", "labelsTr"):
        need_folder(folder / part, "hippocampus_NNN.nii.gz")
    unknown = [value for value in classes if value not in NAMES]
    if unknown:
        raise InputError(f"data.classes names the label {unknown[0]}; hippocampus has 1 (anterior) and 2 (posterior)")
    return volumes.read(
        folder,
        cut,
        classes=classes,
        class_names=tuple(NAMES[value] for value in classes) or ("hippocampus",),
        allowed=LABELS,
        seed=seed,
        name="hippocampus",
        pattern=r"hippocampus_\d+",
        n_channels=1,
        root=Path(root),
        advice=FETCH,
    )
