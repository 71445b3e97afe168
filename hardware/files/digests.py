"""What tells two contents apart: SHA-256 of bytes, files, values and arrays."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Mapping

import numpy as np
from cotrain.hardware.files.reading import cannot_open
from cotrain.hardware.files.writing import PathLike


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: PathLike, missing: str = "") -> str:
    """Hexadecimal SHA-256 of a file of any size. Raises MissingError."""
    total = hashlib.sha256()
    try:
        with open(str(path), "rb") as file:
            for chunk in iter(lambda: file.read(2**20), b""):
                total.update(chunk)
    except OSError as error:
        raise cannot_open(path, error, missing) from None
    return total.hexdigest()


def json_digest(value: Any) -> str:
    """Hexadecimal SHA-256 of a value, whatever the order of its keys."""
    return sha256(json.dumps(value, sort_keys=True).encode())


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Hexadecimal SHA-256 of names, dtypes, shapes and bytes, in order of name."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        total.update(array.tobytes())
    return total.hexdigest()
