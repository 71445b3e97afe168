"""Class data in binary files: IDX (MNIST and its kin) and CIFAR-10's batches."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import CorruptError
from cotrain.hardware.files import read_bytes

from .base import DamagedFile
from .listing import files_by_stem
from .nifti import Gzip

MAX_BYTES = 1 << 31  # of one unpacked file
IDX_PARTS = {"train": "train", "t10k": "test", "test": "test"}  # first word of a file's name: split
CIFAR_BYTES = 1 + 3 * 32 * 32
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def find_idx(folder: Path) -> dict[str, tuple[Path, Path]]:
    """(images, labels) of each split that is there: ``train-images-idx3-ubyte``, with ``.gz`` or without."""
    names = files_by_stem(folder, ("-ubyte.gz", "-ubyte", ".ubyte", ".ubyte.gz"))
    out = {}
    for word, split in IDX_PARTS.items():
        pair = [
            next((file for stem, file in names.items() if stem.replace(".", "-") == f"{word}-{part}"), None)
            for part in ("images-idx3", "labels-idx1")
        ]
        images, labels = pair
        if images and labels:
            out[split] = (images, labels)
        elif any(pair):
            one = next(file for file in pair if file)
            raise CorruptError(f"{folder} holds {one.name} and not its {'labels' if images else 'images'}; fetch both")
    return out


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of bytes, as `numpy` counts axes.

    Raises
    ------
    MissingError
        It is not there.
    CorruptError
        It is damaged, or claims other sizes than it has.
    """
    data = _unpacked(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != 8:
        raise CorruptError(f"{path.name} is no IDX file of bytes; fetch it again")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * k : 8 + 4 * k], "big") for k in range(data[3]))
    if len(data) != start + math.prod(shape) or not shape:
        raise CorruptError(f"{path.name} claims {shape} bytes and has {max(len(data) - start, 0):,}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _unpacked(path: Path) -> bytes:
    if not path.name.endswith(".gz"):
        return read_bytes(path, MAX_BYTES, damaged="fetch it again")
    try:
        with open(path, "rb") as file:
            stream, out = Gzip(file), bytearray()
            while chunk := stream.read(1 << 22):
                out += chunk
                if len(out) > MAX_BYTES:
                    raise DamagedFile(f"it unpacks to more than {MAX_BYTES:,} bytes")
            return bytes(out)
    except (DamagedFile, OSError) as error:
        raise CorruptError(f"{path.name} cannot be read: {error}; fetch it again") from None


def find_cifar(folder: Path) -> dict[str, list[Path]]:
    """CIFAR-10's binary batches by split."""
    for place in (folder, folder / "cifar-10-batches-bin"):
        train = sorted(place.glob("data_batch_*.bin"))
        test = sorted(place.glob("test_batch.bin"))
        if train or test:
            return {split: files for split, files in (("train", train), ("test", test)) if files}
    return {}


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) uint8 and labels (n,) of a batch: a byte of label, then 32 x 32 of red, green, blue."""
    data = read_bytes(path, MAX_BYTES, damaged="fetch it again")
    if not data or len(data) % CIFAR_BYTES:
        raise CorruptError(f"{path.name} has {len(data):,} bytes, no whole number of {CIFAR_BYTES}; fetch it again")
    rows = np.frombuffer(data, np.uint8).reshape(-1, CIFAR_BYTES)
    if rows[:, 0].max() >= len(CIFAR_CLASSES):
        raise CorruptError(f"{path.name} has the label {rows[:, 0].max()}, expected 0 to 9; fetch it again")
    return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0].astype(np.int64)
