"""Looks at a folder and says what kind of data it holds, as an experiment's `data.name`, `data.path`, `data.labels`."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import CotrainError, InputError

from . import idx
from .base import Unusable
from .boxfiles import read_labels
from .listing import files_by_stem, folders, split_word, walk
from .nifti import ENDINGS as VOLUME_ENDINGS
from .nifti import read_volume
from .pictures import ENDINGS, check_size, read_picture
from .pictures import read_labels as read_label_image

MASK_FOLDERS = ("masks", "mask", "labels", "label", "segmentationclass", "annotations", "gt", "groundtruth")
BOX_FOLDERS = ("annotations", "labels", "annotation", "label")
PICTURE_FOLDERS = ("images", "image", "jpegimages", "pictures", "imgs", "img")
SOME = 200  # pictures that are looked at for sizes and brightness
BRIGHT = 0.6  # mean grey above which the ground is taken to be bright, and pixels are inverted
MULTIPLE = 8  # of pixels: networks halve height and width up to three times
AREA = {"boxes": 64 * 128, "masks": 64 * 64, "classes": 32 * 32, "volumes": 64 * 64}  # pixels of an input, at most
SIDES = (16, 256)


@dataclass
class Guess:
    """What a folder holds.

    Attributes
    ----------
    name : {"boxes", "masks", "volumes", "classes"}
    path : Path
    labels : Path, optional
    seen : list of str
        What was seen, in words.
    category : str
        The commonest, of boxes.
    categories : list of (str, int)
        All of them, with their numbers.
    values : dict of {int: str}
        Label values of masks and volumes, with their names if known.
    height, width : int
        Proposed size of the network's input.
    channels : int
    invert : bool
    fit : {"crop", "resize"}
    n_slices : int
    n_samples : int
        About how many there are.
    """

    name: str
    path: Path
    labels: Path | None = None
    seen: list[str] = field(default_factory=list)
    category: str = ""
    categories: list[tuple[str, int]] = field(default_factory=list)
    values: dict[int, str] = field(default_factory=dict)
    height: int = 64
    width: int = 64
    channels: int = 1
    invert: bool = False
    fit: str = "crop"
    n_slices: int = 0
    n_samples: int = 0


def look(folder: Path, labels: Path | None = None) -> Guess:
    """Find out what `folder` holds.

    Parameters
    ----------
    folder : Path
    labels : Path, optional
        Where the labels are, if not in the folder.

    Raises
    ------
    MissingError
        The folder is not there.
    InputError
        Nothing that is known, or several things.
    """
    folder = Path(folder)
    files = walk(folder, deep=False)
    if labels is None and {"imagesTr", "labelsTr"} <= {path.name for path in folders(folder)}:
        return _volumes(folder)
    if labels is None and (idx.find_idx(folder) or idx.find_cifar(folder)):
        return _binary(folder)
    candidates = [_with_labels(folder, labels)] if labels else _candidates(folder, files)
    candidates = [one for one in candidates if one]
    if not candidates:
        classes = [] if labels else _class_folders(folder)
        if classes:
            return _classes(folder, classes)
        raise InputError(
            f"{folder} holds {_inventory(folder)}, of which nothing is known to be labels; expected imagesTr and "
            "labelsTr, class folders, IDX files, or pictures with COCO .json, .csv, VOC .xml, YOLO .txt or label "
            "images (name them with --labels)"
        )
    if len(candidates) > 1:
        places = " and ".join(f"{one.labels} ({one.name})" for one in candidates)
        raise InputError(f"{folder} has several labels: {places}; choose with --labels {candidates[0].labels}")
    found = candidates[0]
    _describe_pictures(found)
    (_describe_boxes if found.name == "boxes" else _describe_masks)(found)
    return found


def _inventory(folder: Path) -> str:
    endings = Counter(path.suffix.lower() or "no ending" for path in walk(folder, deep=True))
    return ", ".join(f"{n} files of {ending}" for ending, n in endings.most_common(4)) or "no file"


# ---------------------------------------------------------------------------------------------------------------------
# Where the labels are


def _with_labels(folder: Path, labels: Path) -> Guess:
    if labels.is_dir() and not _has(labels, (".xml", ".txt", ".json")):
        if not _has(labels, ENDINGS):
            raise InputError(
                f"--labels {labels} holds {_inventory(labels)}; expected .xml, .txt, .json or label images"
            )
        return Guess("masks", _pictures_of(folder, labels), labels)
    if not labels.exists():
        raise InputError(f"--labels {labels} does not exist; expected a COCO .json, a .csv, or a folder")
    return Guess("boxes", _pictures_of(folder, labels), labels)


def _candidates(folder: Path, files: list[Path]) -> list[Guess]:
    """Every way to read the folder as pictures with labels."""
    out: list[Guess] = []
    inside = folders(folder)
    names = {path.name.lower(): path for path in inside}
    tables = [path for path in files if path.suffix.lower() in (".json", ".csv")]
    for place in inside:
        if place.name.lower() in BOX_FOLDERS:
            tables += [path for path in walk(place, deep=False) if path.suffix.lower() in (".json", ".csv")]
    for table in tables:
        if _is_boxes(table):
            out.append(Guess("boxes", _pictures_of(folder, table), table))
    for name in BOX_FOLDERS:
        if name in names and _has(names[name], (".xml", ".txt")):
            out.append(Guess("boxes", _pictures_of(folder, names[name]), names[name]))
    for name in MASK_FOLDERS:
        if name in names and _has(names[name], ENDINGS) and not _has(names[name], (".xml", ".txt", ".json")):
            path = _pictures_of(folder, names[name])
            if path != folder or _has(folder, ENDINGS, deep=False):
                out.append(Guess("masks", path, names[name]))
    if not out and any(path.suffix.lower() in (".xml", ".txt") for path in files) and _has(folder, ENDINGS):
        out.append(Guess("boxes", folder, folder))
    split_folders = [path for path in inside if split_word(path.name)]
    if not out and split_folders and len(split_folders) == len(inside) and _has(folder, (".xml", ".txt")):
        out.append(Guess("boxes", folder, folder))  # train/images, train/labels
    return out


def _pictures_of(folder: Path, labels: Path) -> Path:
    """The folder of pictures: one that is called so, or the folder itself."""
    for path in folders(folder):
        if path.name.lower() in PICTURE_FOLDERS and path != labels and _has(path, ENDINGS):
            return path
    return folder


def _has(folder: Path, endings: tuple[str, ...], deep: bool = True) -> bool:
    notes = ("readme", "license", "licence", "classes", "notes", "requirements")
    return any(
        path.suffix.lower() in endings and not path.stem.lower().startswith(notes) for path in walk(folder, deep=deep)
    )


def _is_boxes(table: Path) -> bool:
    """Whether a file is a COCO file or a CSV of boxes."""
    try:
        marked, *_ = read_labels(table, table.parent)
    except CotrainError:
        return False
    return any(one.objects for one in marked)


def _class_folders(folder: Path) -> list[Path]:
    inside = folders(folder)
    if inside and all(split_word(path.name) for path in inside):
        inside = [path for part in inside for path in folders(part)]
    return [path for path in inside if _has(path, ENDINGS)]


# ---------------------------------------------------------------------------------------------------------------------
# What they are like


def _describe_pictures(found: Guess) -> None:
    """Number, size, colour and brightness of pictures."""
    files = list(files_by_stem(found.path, ENDINGS, deep=True).values())
    if found.labels and found.labels.is_dir() and found.labels != found.path:
        files = [path for path in files if not path.is_relative_to(found.labels)]
    if not files:
        raise InputError(f"{found.path} holds no picture ({', '.join(ENDINGS)})")
    found.n_samples = len(files)
    sizes: list[tuple[int, int]] = []
    means: list[float] = []
    colourful = 0
    step = max(len(files) // SOME, 1)
    for file in files[::step]:
        try:
            sizes.append(check_size(file))
            if len(means) < 64:
                image = read_picture(file, (32, 32), channels=3).image
                means.append(float(image.mean()))
                colourful += bool(np.abs(image - image.mean(axis=2, keepdims=True)).mean() > 0.01)
        except Unusable:
            continue
    if not sizes or not means:
        raise InputError(f"{found.path}: none of {len(files[::step])} pictures that were tried can be read")
    height, width = np.median(np.array(sizes), axis=0)
    found.height, found.width = propose_size(height, width, AREA[found.name])
    colour = colourful > len(means) / 2
    found.channels = 3 if colour and found.name != "boxes" else 1
    found.invert = float(np.median(means)) > BRIGHT and found.channels == 1
    found.seen.append(
        f"{len(files)} pictures in {found.path.name}/, median size {height:g} x {width:g}, "
        f"{'colour' if colour else 'grey'}, mean brightness {100 * float(np.median(means)):.0f} %"
    )


def propose_size(height: float, width: float, area: int) -> tuple[int, int]:
    """Height and width of an input: `area` pixels at most, the pictures' aspect ratio, multiples of 8, no enlargement.

    At most, since with a few pixels more the networks that `cotrain init` writes would no longer fit a core.
    """
    scale = min((area / (height * width)) ** 0.5, 1.0)
    low, high = SIDES
    sides = [int(np.clip(round(n * scale / MULTIPLE) * MULTIPLE, low, high)) for n in (height, width)]
    while sides[0] * sides[1] > area:
        # the one that was rounded up more
        i = int(np.argmax([n - whole * scale for n, whole in zip(sides, (height, width), strict=True)]))
        if sides[i] <= low:
            i = 1 - i
        sides[i] -= MULTIPLE
    return sides[0], sides[1]


def _describe_boxes(found: Guess) -> None:
    assert found.labels
    marked, *_ = read_labels(found.labels, found.path)
    counts = Counter(kind for one in marked for kind, _ in one.objects)
    if not counts:
        raise InputError(f"{found.labels} marks no object; expected boxes")
    found.categories = counts.most_common()
    found.category = found.categories[0][0]
    found.seen.append(
        f"boxes of {len(marked)} pictures in {found.labels.name}: "
        + ", ".join(f"{kind} ({n})" for kind, n in found.categories[:8])
        + (", ..." if len(counts) > 8 else "")
    )


def _describe_masks(found: Guess) -> None:
    assert found.labels
    files = list(files_by_stem(found.labels, ENDINGS, deep=True).values())
    values: set[int] = set()
    for file in files[:: max(len(files) // SOME, 1)]:
        try:
            values |= set(np.unique(read_label_image(file)).tolist())
        except Unusable:
            continue
        if len(values) > 256:
            break
    found.values = {value: "" for value in sorted(values) if value > 0}
    found.seen.append(f"{len(files)} label images in {found.labels.name}/ with the values {_short(sorted(values))}")
    if set(found.values) != {255}:
        found.values.pop(255, None)


def _short(values: list[int]) -> str:
    return ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")


def _classes(folder: Path, classes: list[Path]) -> Guess:
    found = Guess("classes", folder)
    _describe_pictures(found)
    names = sorted({path.name for path in classes})
    found.seen.append(f"{len(names)} class folders: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}")
    return found


def _binary(folder: Path) -> Guess:
    pairs, batches = idx.find_idx(folder), idx.find_cifar(folder)
    if pairs:
        shapes = {split: idx.read_idx(images).shape for split, (images, _) in pairs.items()}
        text = ", ".join(f"{split} {' x '.join(map(str, shape))}" for split, shape in shapes.items())
        _, height, width = next(iter(shapes.values()))
        n = sum(shape[0] for shape in shapes.values())
        return Guess("classes", folder, seen=[f"IDX files: {text}"], height=height, width=width, n_samples=n)
    files = list(itertools.chain.from_iterable(batches.values()))
    n = sum(path.stat().st_size // idx.CIFAR_BYTES for path in files)
    seen = [f"CIFAR-10's batches: {len(files)} files, {n} pictures"]
    return Guess("classes", folder, seen=seen, height=32, width=32, channels=3, n_samples=n)


def _volumes(folder: Path) -> Guess:
    """Sizes that hold every labelled voxel about the centre, and the label values."""
    from .volumes import dataset_json, label_names

    labels = files_by_stem(folder / "labelsTr", VOLUME_ENDINGS)
    if not labels:
        raise InputError(f"{folder / 'labelsTr'} holds no volume ({', '.join(VOLUME_ENDINGS)})")
    described = dataset_json(folder)
    found = Guess("volumes", folder, n_samples=len(labels))
    reach, shapes, values = np.zeros(3, int), [], set()
    for file in labels.values():
        try:
            label = read_volume(file, "label").array
        except Unusable:
            continue
        if label.ndim != 3 or not np.isfinite(label).all():
            continue
        values |= {int(v) for v in np.unique(label)[:300]}
        shapes.append(label.shape)
        for axis in range(3):
            inside = np.flatnonzero((label > 0).any(axis=tuple({0, 1, 2} - {axis})))
            if len(inside):
                half = label.shape[axis] // 2
                reach[axis] = max(reach[axis], half - inside[0], inside[-1] + 1 - half)
    if not shapes:
        raise InputError(f"none of {len(labels)} volumes in {folder / 'labelsTr'} can be read")
    names = label_names(described.get("labels"), folder / "dataset.json")
    found.values = {value: names.get(value, "") for value in sorted(values) if value > 0}
    sides = [int(-(-2 * n // MULTIPLE) * MULTIPLE) for n in reach]
    median = np.median(np.array(shapes), axis=0)
    if max(sides[:2]) <= max(SIDES[1] // 2, 64):
        found.height, found.width = max(sides[0], SIDES[0]), max(sides[1], SIDES[0])
        found.n_slices = int(2 * reach[2])
    else:
        found.fit = "resize"
        found.height, found.width = propose_size(median[0], median[1], AREA["volumes"])
    channels = described.get("channel_names", described.get("modality"))
    found.channels = len(channels) if isinstance(channels, dict) and channels else _file_channels(folder, labels)
    found.seen.append(
        f"{len(labels)} labelled volumes, median {' x '.join(f'{n:g}' for n in median)} voxels, {found.channels} "
        f"channel(s), label values {_short(sorted(values))}"
    )
    return found


def _file_channels(folder: Path, labels: dict[str, Path]) -> int:
    case = next(iter(labels))
    stems = files_by_stem(folder / "imagesTr", VOLUME_ENDINGS)
    n = sum(1 for stem in stems if stem.startswith(case + "_") and len(stem) == len(case) + 5)
    return max(n, 1)
