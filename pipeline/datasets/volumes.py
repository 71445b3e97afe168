"""Volumes and their labels, slice by slice: Medical Segmentation Decathlon's layout and nnU-Net's raw one.

Layouts::

    imagesTr/NAME.nii.gz            labelsTr/NAME.nii.gz      Decathlon (several modalities: a fourth axis)
    imagesTr/NAME_0000.nii.gz ...   labelsTr/NAME.nii.gz      nnU-Net (one file a channel)
    dataset.json                    optional: names of labels and channels
    splits_final.json               optional: nnU-Net's folds, of which the first is used

imagesTs has no labels and is not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.hardware.files import read_json

from .base import IGNORE, OWN, Dataset, Rejection, Unusable, check_image_shape, need_folder, need_memory, need_samples
from .listing import files_by_stem, honoured, split_word
from .nifti import ENDINGS, read_volume
from .slicing import Slicing, slices_of


def load(
    path: str | Path,
    *,
    image_shape: tuple[int, int],
    axis: str = "z",
    fit: str = "crop",
    n_slices: int = 0,
    classes: tuple[int, ...] = (),
    seed: int = 0,
    name: str = "volumes",
) -> Dataset:
    """Read the volumes of a folder of your own: `read` with the settings of an experiment.

    Parameters
    ----------
    path : Path
        Folder of imagesTr and labelsTr.
    image_shape, axis, fit, n_slices
        As in `slicing.Slicing`.
    classes, seed, name
        As in `read`.

    Raises
    ------
    MissingError, InputError, CorruptError
        One line that names the file and the reason.
    """
    for part in ("imagesTr", "labelsTr"):
        need_folder(Path(path, part), "NIfTI files (Decathlon's or nnU-Net's raw layout)", OWN)
    slicing = Slicing(check_image_shape(image_shape), axis, n_slices, fit)
    return read(path, slicing, classes=classes, seed=seed, name=name)


def read(
    path: str | Path,
    cut: Slicing,
    *,
    classes: tuple[int, ...] = (),
    class_names: tuple[str, ...] = (),
    allowed: tuple[int, ...] | None = None,
    seed: int = 0,
    name: str = "volumes",
    pattern: str = r".*",
    n_channels: int = 0,
    root: Path | None = None,
    advice: str = "",
) -> Dataset:
    """Read the volumes of a folder and cut them into slices.

    Parameters
    ----------
    path : Path
        Folder of imagesTr and labelsTr.
    cut : Slicing
    classes : tuple of int
        Label values, each a class of its own; by default everything above 0 is one class.
    class_names : tuple of str
        By default those of dataset.json.
    allowed : tuple of int, optional
        Label values that may be there; by default 0, `classes`, and `IGNORE`, or whatever dataset.json names.
    seed : int
        Seed of the split, if the data come without.
    name : str
        Of the data set.
    pattern : str
        What names must match as a whole.
    n_channels : int
        That a volume must have; by default those of dataset.json, or of the first volume.
    root : Path, optional
        Paths of rejected samples are told relative to it; by default to `path`.
    advice : str
        What to do if nothing is usable.

    Raises
    ------
    MissingError
        A folder is missing or empty.
    InputError
        No volume is usable, two files have one name, or an option is not allowed.
    CorruptError
        dataset.json or splits_final.json is not what it should be.
    """
    path = Path(path)
    root = path if root is None else root
    labels = {
        stem: file for stem, file in files_by_stem(path / "labelsTr", ENDINGS).items() if re.fullmatch(pattern, stem)
    }
    images = _channels(files_by_stem(path / "imagesTr", ENDINGS), labels, pattern)
    need_memory(len(images) * max(cut.n_slices, 1), cut.shape, 2, name)
    about = _About.read(path, classes, class_names, allowed, n_channels)
    parts, spacings, rejected = [], [], []
    n_found = n_unoriented = 0
    for case in sorted(images.keys() | labels.keys()):
        files = images.get(case, [path / "imagesTr" / f"{case}.nii.gz"])
        label_path = labels.get(case, path / "labelsTr" / f"{case}.nii.gz")
        try:
            image, label, spacing, oriented = read_pair(files, label_path)
            if about.n_channels and image.shape[3] != about.n_channels:
                expected = "3 axes" if about.n_channels == 1 else f"{about.n_channels} channels"
                raise Unusable(f"the image has shape {image.shape}: expected {expected}")
            if n_found and image.shape[3] != n_found:
                raise Unusable(f"the image has {image.shape[3]} channels, those before it {n_found}")
            marked = about.classify(label)
            parts.append((case, *slices_of(image, marked, cut)))
        except Unusable as reason:
            rejected.append(Rejection(case, _relative(files[0], root), str(reason)))
        else:
            n_found = image.shape[3]
            spacings.append(spacing)
            n_unoriented += not oriented
    need_samples(
        len(images) + len(labels), len(parts), path, "imagesTr and labelsTr with NIfTI files", rejected, advice
    )
    notes = [_spacing_note(np.array(spacings)), *about.notes]
    if n_unoriented:
        notes.append(f"{n_unoriented} volume(s) do not say how they lie: their axes were taken as they are stored")
    counts = [len(part[1]) for part in parts]
    groups = np.repeat([case for case, *_ in parts], counts)
    slices = np.concatenate([np.arange(n) for n in counts])
    split, keep = honoured(groups, _given_splits(path, groups), seed, "splits_final.json, fold 0", notes)
    data = Dataset(
        name=name,
        task="masks",
        images=np.concatenate([part[1] for part in parts]),
        targets=np.concatenate([part[2] for part in parts]),
        names=np.array(
            [f"{case}/{cut.axis}{k:02d}" for (case, *_), n in zip(parts, counts, strict=True) for k in range(n)]
        ),
        groups=groups,
        split=np.where(keep, split, "train"),
        rejected=tuple(rejected),
        slices=slices,
        class_names=about.names,
        channel_kind="grey" if n_found == 1 else "modalities",
        notes=tuple(notes),
    )
    return data if keep.all() else data.select(keep)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _channels(images: dict[str, Path], labels: dict[str, Path], pattern: str) -> dict[str, list[Path]]:
    """Files of each case, one a channel: NAME itself, or NAME_0000, NAME_0001, ... (nnU-Net)."""
    cases: dict[str, dict[int, Path]] = {}
    for stem, file in images.items():
        match = re.fullmatch(r"(.+)_(\d{4})", stem)
        case, channel = (match[1], int(match[2])) if match and stem not in labels else (stem, 0)
        if not re.fullmatch(pattern, case):
            continue
        if channel in cases.setdefault(case, {}):
            raise InputError(
                f"{file.parent} holds both {cases[case][channel].name} and {file.name}; remove one of them"
            )
        cases[case][channel] = file
    return {case: _all_channels(case, files) for case, files in cases.items()}


def _all_channels(case: str, files: dict[int, Path]) -> list[Path]:
    if sorted(files) != list(range(len(files))):
        folder = next(iter(files.values())).parent
        raise InputError(f"{folder}: {case} has the channels {sorted(files)}; expected 0 to {len(files) - 1}")
    return [files[k] for k in range(len(files))]


def read_pair(image_paths: list[Path], label_path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Read a volume and its label.

    Returns
    -------
    image : (x, y, z, channels) float32
        In the files' own units.
    label : (x, y, z) int32
    spacing_mm : (3,) float64
    oriented : bool

    Raises
    ------
    Unusable
        A file is missing or unreadable, or they do not go together.
    """
    volumes = [read_volume(path, "image") for path in image_paths]
    label = read_volume(label_path, "label")
    first = volumes[0]
    for volume in volumes:
        if volume.array.ndim not in (3, 4) or (len(volumes) > 1 and volume.array.ndim == 4):
            raise Unusable(f"the image has shape {volume.array.shape}: expected 3 axes")
        if volume.array.shape[:3] != label.array.shape:
            raise Unusable(f"the image has shape {volume.array.shape} and its label {label.array.shape}")
        if not np.allclose(volume.affine, label.affine, atol=1e-3):
            raise Unusable("image and label lie differently in space (their affines differ)")
        if not np.isfinite(volume.array).all():
            raise Unusable("the image holds NaN or infinity")
    whole = np.isfinite(label.array).all() and (label.array == np.rint(label.array)).all()
    if not whole or np.abs(label.array.astype(np.float64)).max() >= 2**31:
        raise Unusable("the label holds other values than whole numbers")
    arrays = [v.array if v.array.ndim == 4 else v.array[..., np.newaxis] for v in volumes]
    image = np.concatenate([array.astype(np.float32) for array in arrays], axis=3)
    return image, label.array.astype(np.int32), first.spacing_mm, first.oriented


@dataclass(frozen=True)
class _About:
    """What is known of the labels and channels of a folder."""

    classes: tuple[int, ...]
    names: tuple[str, ...]
    allowed: tuple[int, ...] | None
    n_channels: int
    notes: tuple[str, ...]

    @classmethod
    def read(cls, path: Path, classes, class_names, allowed, n_channels: int) -> _About:
        described = dataset_json(path)
        labels = label_names(described.get("labels"), path / "dataset.json")
        channels = described.get("channel_names", described.get("modality"))
        n_channels = n_channels or (len(channels) if isinstance(channels, dict) else 0)
        ignore = next((value for value, text in labels.items() if text == "ignore"), IGNORE)
        if len(set(classes)) != len(classes) or 0 in classes:
            raise InputError(
                f"data.classes is {list(classes)}; expected different label values, without the background 0"
            )
        unknown = [value for value in classes if labels and value not in labels]
        if unknown:
            raise InputError(
                f"data.classes names the label {unknown[0]}, which {path / 'dataset.json'} does not know; "
                f"it has {', '.join(f'{v} ({n})' for v, n in sorted(labels.items()))}"
            )
        if allowed is None and (classes or labels):
            allowed = tuple(sorted({0, *(classes or labels)}))
        if not class_names:
            class_names = tuple(labels.get(v, str(v)) for v in classes) if classes else ("foreground",)
        notes = () if ignore == IGNORE else (f"label {ignore} is what nobody labelled (dataset.json)",)
        return cls(tuple(classes), class_names, None if allowed is None else (*allowed, ignore), n_channels, notes)

    def classify(self, label: np.ndarray) -> np.ndarray:
        """Label values as 0, 1, ... and `IGNORE`; (x, y, z) uint8."""
        ignore = self.allowed[-1] if self.allowed else IGNORE
        values = np.unique(label)
        if self.allowed is not None:
            other = [int(v) for v in values if v not in self.allowed]
            if other:
                known = ", ".join(str(v) for v in sorted(set(self.allowed) - {IGNORE}))
                raise Unusable(f"the label holds other values than ({known}): {', '.join(map(str, other[:3]))}")
        elif values.min() < 0:
            raise Unusable(f"the label holds other values than 0 and above: {int(values.min())}")
        out = np.zeros(label.shape, dtype=np.uint8)
        if self.classes:
            for k, value in enumerate(self.classes, start=1):
                out[label == value] = k
        else:
            out[label > 0] = 1
        if ignore not in self.classes:
            out[label == ignore] = IGNORE
        if not ((out > 0) & (out != IGNORE)).any():
            raise Unusable("the label marks no voxel")
        return out


def dataset_json(path: Path) -> dict:
    """What dataset.json of a folder says; nothing where there is none."""
    described = read_json(path / "dataset.json") if (path / "dataset.json").is_file() else {}
    if not isinstance(described, dict):
        raise InputError(f"{path / 'dataset.json'}: expected an object with labels and channel_names")
    return described


def label_names(labels: Any, path: Path) -> dict[int, str]:
    """``{"background": 0, "anterior": 1}`` (nnU-Net v2) or ``{"0": "background", "1": "anterior"}`` (v1, Decathlon)."""
    if labels is None:
        return {}
    out: dict[int, str] = {}
    if isinstance(labels, dict):
        for key, value in labels.items():
            numbers = value if isinstance(value, list) else [value]  # nnU-Net's regions hold several values
            if all(isinstance(v, int) and not isinstance(v, bool) for v in numbers):
                out.update({v: str(key) for v in numbers if v not in out})
            elif isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", key):
                out[int(key)] = value
            else:
                raise InputError(
                    f"{path}: labels has the entry {key!r}: {str(value)[:40]}; expected a name and a number"
                )
        return out
    raise InputError(f"{path}: labels is no object; expected names and numbers")


def _spacing_note(spacings: np.ndarray) -> str:
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    if np.allclose(low, high, rtol=1e-3):
        return f"voxels of {' x '.join(f'{v:.3g}' for v in spacings.mean(axis=0))} mm"
    text = " x ".join(f"{a:.3g}-{b:.3g}" for a, b in zip(low, high, strict=True))
    return f"voxels of {text} mm: sizes differ among the volumes, and a voxel is a pixel whatever its size"


def _given_splits(path: Path, groups: np.ndarray) -> list[str | None]:
    """Split of each sample in the first fold of splits_final.json; all None where there is none."""
    file = path / "splits_final.json"
    if not file.is_file():
        return [None] * len(groups)
    folds = read_json(file)
    fold = folds[0] if isinstance(folds, list) and folds else None
    if not isinstance(fold, dict) or not all(
        isinstance(cases, list) and all(isinstance(case, str) for case in cases) for cases in fold.values()
    ):
        raise InputError(f"{file}: expected a list of folds, each with lists of names for train and val")
    place: dict[str, str] = {}
    for key, cases in fold.items():
        split = split_word(key)
        if split is None:
            raise InputError(f"{file}: the fold has the part {key!r}; expected train, val or test")
        for case in cases:
            if place.setdefault(case, split) != split:
                raise InputError(f"{file}: {case} is in two splits, {place[case]} and {split}; mend that fold")
    return [place.get(group) for group in groups.tolist()]
