"""Pictures with a class each: class folders, IDX files, CIFAR-10's batches; the sets ``mnist`` and ``cifar10``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import InputError, MissingError

from . import idx
from .base import (
    FETCH,
    OWN,
    Dataset,
    Rejection,
    Unusable,
    check_image_shape,
    need_folder,
    need_memory,
    need_samples,
    refuse_shared,
)
from .listing import files_by_stem, folders, honoured, split_word
from .pictures import ENDINGS, read_picture

DIGITS = tuple("0123456789")
OWN_FILES = "classes"  # data.name of what belongs to no named set


@dataclass
class _Gathered:
    """Samples as they come."""

    shape: tuple[int, int]
    channels: int
    invert: bool
    images: list[np.ndarray] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    n_coarse: int = 0

    def add_arrays(self, pixels: np.ndarray, labels: np.ndarray, split: str) -> None:
        """Pictures (n, height, width[, 3]) uint8 as files hold them."""
        need_memory(len(self.images) + len(pixels), self.shape, self.channels, split)
        start = sum(1 for part in self.splits if part == split)
        for k, (picture, label) in enumerate(zip(pixels, labels.tolist(), strict=True), start=start):
            self.images.append(_fitted(picture, self.shape, self.channels, self.invert))
            self.labels.append(label)
            self.names.append(f"{split}/{k:05d}")
            self.splits.append(split)


def load(
    path: str | Path,
    *,
    image_shape: tuple[int, int],
    channels: int = 1,
    invert: bool = False,
    seed: int = 0,
    name: str = OWN_FILES,
    class_names: tuple[str, ...] = (),
    advice: str = OWN,
) -> Dataset:
    """Read pictures and their classes.

    Parameters
    ----------
    path : Path
        Folder of class folders, or of train, val and test with class folders in them, or of IDX files
        (``train-images-idx3-ubyte``, ...), or of CIFAR-10's binary batches.
    image_shape : (height, width)
        Pictures are resized to it without regard to their aspect ratio.
    channels : {1, 3}
    invert : bool
        1 - pixel.
    seed : int
        Seed of the split, if the data come without.
    name : str
    class_names : tuple of str
        By default the class folders, sorted, or the digits. A part of the data may lack some.
    advice : str
        What to do if nothing is there.

    Raises
    ------
    MissingError, InputError, CorruptError
        One line that names the file and the reason.
    """
    path = Path(path)
    need_folder(path, "class folders, IDX files or CIFAR-10 batches", advice)
    got = _Gathered(check_image_shape(image_shape), channels, invert)
    pairs, batches = idx.find_idx(path), idx.find_cifar(path)
    if pairs:
        where, known = "IDX files", DIGITS
        for split, (images, labels) in pairs.items():
            pixels, numbers = idx.read_idx(images), idx.read_idx(labels)
            if pixels.ndim != 3 or numbers.shape != pixels.shape[:1]:
                raise InputError(
                    f"{images.name} has the shape {pixels.shape} and {labels.name} {numbers.shape}: expected "
                    "(n, height, width) and (n,)"
                )
            got.add_arrays(pixels, numbers, split)
        if not class_names and max(got.labels) > 9:
            known = tuple(str(k) for k in range(max(got.labels) + 1))
    elif batches:
        where, known = "CIFAR-10's batches", idx.CIFAR_CLASSES
        for split, files in batches.items():
            for file in files:
                got.add_arrays(*idx.read_cifar(file), split)
    else:
        where, known = "folders train, val and test", _read_folders(path, got, class_names, advice)
    need_samples(len(got.images) + len(got.rejected), len(got.images), path, "pictures in class folders", got.rejected)
    class_names = class_names or known
    wrong = [label for label in got.labels if label >= len(class_names)]
    if wrong:
        raise InputError(f"{path}: a sample has the class {wrong[0]}, expected 0 to {len(class_names) - 1}")
    notes = []
    if got.n_coarse:
        notes.append(f"{got.n_coarse} picture(s) have 16 bits a colour, of which the upper 8 were read")
    names, stack = np.array(got.names), np.stack(got.images)
    assigned, _ = honoured(names, got.splits, seed, where, notes)
    if name == OWN_FILES and any(got.splits):  # of the named sets it is known
        refuse_shared(stack, names, assigned, name)
    return Dataset(
        name=name,
        task="classes",
        images=stack,
        targets=np.array(got.labels, dtype=np.int64),
        names=names,
        groups=names,
        split=assigned,
        rejected=tuple(got.rejected),
        class_names=class_names,
        inverted=invert,
        notes=tuple(notes),
    )


def load_mnist(
    root: Path, *, image_shape: tuple[int, int] = (28, 28), channels: int = 1, invert: bool = False, seed: int = 0
) -> Dataset:
    """MNIST from ``mnist/*-ubyte[.gz]`` below `root`; with one part alone, the other is empty."""
    return load(
        _named(root, "mnist", "train-images-idx3-ubyte.gz, ..."), image_shape=image_shape, channels=channels,
        invert=invert, seed=seed, name="mnist", class_names=DIGITS, advice=FETCH,
    )  # fmt: skip


def load_cifar10(
    root: Path, *, image_shape: tuple[int, int] = (32, 32), channels: int = 3, invert: bool = False, seed: int = 0
) -> Dataset:
    """CIFAR-10 from ``cifar-10/{train,test}/CLASS`` or the official batches below `root`; a part alone will do."""
    place = "cifar-10" if (Path(root) / "cifar-10").is_dir() else "cifar-10-batches-bin"
    return load(
        _named(root, place if (Path(root) / place).is_dir() else "cifar-10", "class folders or binary batches"),
        image_shape=image_shape, channels=channels, invert=invert, seed=seed, name="cifar10",
        class_names=idx.CIFAR_CLASSES, advice=FETCH,
    )  # fmt: skip


def _named(root: Path, folder: str, holds: str) -> Path:
    need_folder(Path(root, folder), holds)
    return Path(root, folder)


def _read_folders(path: Path, got: _Gathered, class_names: tuple[str, ...], advice: str) -> tuple[str, ...]:
    """Fill `got` from class folders; returns the names of the classes."""
    inside = folders(path)
    parts = {folder: split_word(folder.name) for folder in inside}
    if inside and all(parts.values()):
        places = [(split, folder) for folder, split in parts.items()]
        doubled = {split for split, _ in places if sum(other == split for other, _ in places) > 1}
        if doubled:
            twice = [folder.name for split, folder in places if split in doubled]
            raise InputError(f"{path} holds {' and '.join(twice)}, which are one split; keep one of them")
    else:
        mixed = {split for split in parts.values() if split}
        if len(mixed) > 1:  # one may be a class: a train is a vehicle too
            other = next(folder.name for folder, split in parts.items() if not split)
            raise InputError(f"{path} holds folders of splits ({', '.join(sorted(mixed))}) and {other}; move it away")
        places = [(None, path)]
    classes = {split: [folder for folder in folders(place)] for split, place in places}
    if not any(classes.values()):
        raise MissingError(f"nothing in {path}: expected class folders, IDX files or CIFAR-10 batches; {advice}")
    known = class_names or _agreed(path, classes)
    for split, place in places:
        for folder in classes[split]:
            if folder.name not in known:
                raise InputError(f"{folder} is no class of {', '.join(known)}; remove or rename it")
            for sample, file in _pictures(folder, got):
                _read_one(got, file, sample, place, path, split, known.index(folder.name))
    return known


def _agreed(path: Path, classes: dict[str | None, list[Path]]) -> tuple[str, ...]:
    """The class folders, the same in all splits."""
    names = {split: {folder.name for folder in found} for split, found in classes.items()}
    everywhere = set().union(*names.values())
    train = names.get("train", everywhere)
    for split, here in names.items():
        extra = sorted(here - train)
        if extra:
            raise InputError(f"{path}: the class {extra[0]} is in {split} and not in train; expected every class there")
    return tuple(sorted(everywhere))


def _pictures(folder: Path, got: _Gathered) -> Iterator[tuple[str, Path]]:
    files = files_by_stem(folder, ENDINGS, deep=True)
    need_memory(len(got.images) + len(files), got.shape, got.channels, folder.name)
    if not files:
        raise InputError(f"the class folder {folder} holds no picture; remove it, or put pictures into it")
    yield from files.items()


def _read_one(got: _Gathered, file: Path, sample: str, place: Path, root: Path, split, label: int) -> None:
    name = f"{split + '/' if split else ''}{file.relative_to(place).parts[0]}/{sample}"
    try:
        picture = read_picture(file, got.shape, got.channels, got.invert)
    except Unusable as reason:
        got.rejected.append(Rejection(name, file.relative_to(root).as_posix(), str(reason)))
        return
    got.images.append(picture.image)
    got.labels.append(label)
    got.names.append(name)
    got.splits.append(split)
    got.n_coarse += picture.coarse


def _fitted(picture: np.ndarray, shape: tuple[int, int], channels: int, invert: bool) -> np.ndarray:
    """An array (height, width[, 3]) uint8 as `read_picture` would give it."""
    if picture.shape[:2] == shape and (picture.ndim == 3) == (channels == 3):
        pixels = picture.astype(np.float32) / 255
    else:
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(picture)).convert("L" if channels == 1 else "RGB")
        if picture.shape[:2] != shape:
            image = image.resize(shape[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.float32) / 255
    pixels = 1 - pixels if invert else pixels
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
