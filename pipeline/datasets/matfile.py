"""Numeric arrays of MATLAB 5 files, read without trusting the file: SciPy's reader crashes the process on damaged ones.

The format is MathWorks' "MAT-File Format", level 5: elements of a tag (type, bytes) and data, padded to 8 bytes; a
matrix holds flags, dimensions, name and numbers; a compressed element is one zlib stream. Sparse matrices are filled
up with zeros; of cells, structures, objects and text only the name is known.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .base import DamagedFile, Unusable

MAX_BYTES = 1 << 26  # of the file, and of what it unpacks to: annotations have a few hundred
_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_NAMES = {1: "cell", 2: "struct", 3: "object", 4: "text", 16: "function handle", 17: "opaque object"}
_SPARSE = 5


def read_mat(path: Path) -> dict[str, np.ndarray | str]:
    """All variables of a file.

    Returns
    -------
    dict
        Arrays as MATLAB shows them, by name; for what is no array of numbers, what it is ("struct", "text", ...).

    Raises
    ------
    Unusable
        The file is missing, too large, damaged or of another version.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Unusable("the annotation is missing") from None
    except OSError as error:
        raise Unusable(f"the annotation cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise Unusable(f"the annotation cannot be read: it is larger than {MAX_BYTES:,} bytes")
    try:
        return parse_mat(data)
    except DamagedFile as error:
        raise Unusable(f"the annotation cannot be read: {error}") from None


def parse_mat(data: bytes) -> dict[str, np.ndarray | str]:
    """`read_mat` of bytes; raises `DamagedFile` where they are not a MATLAB 5 file."""
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data[:10] == b"MATLAB 7.3":
        raise DamagedFile("it is a MATLAB 7.3 (HDF5) file; save it with -v7")
    if len(data) < _HEADER_BYTES or data[126:128] not in (b"IM", b"MI"):
        raise DamagedFile("it is no MATLAB 5 file")
    order = "<" if data[126:128] == b"IM" else ">"
    if struct.unpack_from(order + "H", data, 124)[0] != 0x0100:
        raise DamagedFile("it is no MATLAB 5 file (unknown version)")
    return dict(_matrix(body, order) for body in _matrices(data, _HEADER_BYTES, order))


@dataclass
class _Element:
    kind: int
    body: bytes
    end: int  # where the next one starts


def _element(data: bytes, at: int, order: str) -> _Element:
    if at + 8 > len(data):
        raise DamagedFile("it ends within an element")
    kind, n_bytes = struct.unpack_from(order + "II", data, at)
    if kind >> 16:  # small: the size stands in the upper half of the type, the data in the second word
        kind, n_bytes = kind & 0xFFFF, kind >> 16
        if n_bytes > 4:
            raise DamagedFile("a small element has more than 4 bytes")
        return _Element(kind, data[at + 4 : at + 4 + n_bytes], at + 8)
    start = at + 8
    if n_bytes > len(data) - start:
        raise DamagedFile(f"an element claims {n_bytes:,} bytes, {len(data) - start:,} are left")
    padding = 0 if kind == _COMPRESSED else -n_bytes % 8
    return _Element(kind, data[start : start + n_bytes], min(start + n_bytes + padding, len(data)))


def _matrices(data: bytes, at: int, order: str):
    """The bodies of all matrices, unpacked."""
    left = MAX_BYTES
    while at < len(data):
        element = _element(data, at, order)
        at = element.end
        if element.kind == _COMPRESSED:
            plain = _unpack(element.body, left)
            left -= len(plain)
            element = _element(plain, 0, order)
        if element.kind != _MATRIX:
            raise DamagedFile(f"an element of type {element.kind} stands where a matrix is expected")
        yield element.body


def _unpack(body: bytes, most: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(body, most)
    except zlib.error as error:
        raise DamagedFile(f"its compressed data are damaged ({error})") from None
    if not stream.eof:  # the checksum at its end was not reached
        raise DamagedFile("it unpacks to too many bytes" if stream.unconsumed_tail else "its compressed data end early")
    return plain


def _matrix(body: bytes, order: str) -> tuple[str, np.ndarray | str]:
    flags = _element(body, 0, order)
    if flags.kind != 6 or len(flags.body) != 8:
        raise DamagedFile("a matrix has no flags")
    word, n_nonzero = struct.unpack(order + "II", flags.body)
    kind, is_complex, is_logical = word & 0xFF, bool(word & 0x0800), bool(word & 0x0200)
    if kind in (3, 17):  # the rest is laid out otherwise
        return _NAMES[kind], _NAMES[kind]
    shape_element = _element(body, flags.end, order)
    shape = tuple(int(n) for n in _numbers(shape_element, order, "i4"))
    name_element = _element(body, shape_element.end, order)
    name = name_element.body.decode("latin-1")
    at = name_element.end
    if len(shape) < 2 or min(shape) < 0:
        raise DamagedFile(f"{name} has the shape {shape}")
    if kind == _SPARSE:
        return name, _sparse(body, at, order, shape, n_nonzero, name)
    if kind not in _CLASSES:
        return name, _NAMES.get(kind, f"class {kind}")
    element = _element(body, at, order)
    values = _numbers(element, order)
    count = 1
    for n in shape:  # Python's integers, which do not wrap
        count *= n
    if len(values) != count:
        raise DamagedFile(f"{name} has the shape {shape} and {len(values):,} numbers")
    if is_complex:
        return name, "complex numbers"
    values = values.astype("?" if is_logical else _CLASSES[kind])
    return name, values.reshape(shape, order="F")


def _numbers(element: _Element, order: str, expected: str | None = None) -> np.ndarray:
    kind = _TYPES.get(element.kind)
    if kind is None or (expected and kind != expected):
        raise DamagedFile(f"numbers have the unknown type {element.kind}")
    dtype = np.dtype(order + kind)
    if len(element.body) % dtype.itemsize:
        raise DamagedFile(f"{len(element.body)} bytes are no whole number of {dtype.name}")
    return np.frombuffer(element.body, dtype=dtype)


def _sparse(body: bytes, at: int, order: str, shape: tuple[int, ...], n_nonzero: int, name: str) -> np.ndarray:
    """Columns, compressed: `rows` and `values`, of which column k has those from starts[k] to starts[k + 1]."""
    parts = []
    for _ in range(3):
        element = _element(body, at, order)
        parts.append(_numbers(element, order))
        at = element.end
    rows, starts, values = parts
    n_rows, n_columns = shape if len(shape) == 2 else (-1, -1)
    if n_rows * n_columns > MAX_BYTES // 8 or n_rows < 0:
        raise DamagedFile(f"{name} is sparse with the shape {shape}, too large to fill up")
    good = (
        len(starts) == n_columns + 1
        and starts[0] == 0
        and (np.diff(starts.astype(np.int64)) >= 0).all()
        and starts[-1] <= min(len(rows), len(values), max(n_nonzero, 0))
        and (rows[: starts[-1]] >= 0).all()
        and (rows[: starts[-1]] < n_rows).all()
    )
    if not good:
        raise DamagedFile(f"{name} is sparse, and its indices point outside it")
    full = np.zeros(shape, dtype=np.float64)
    columns = np.repeat(np.arange(n_columns), np.diff(starts.astype(np.int64)))
    full[rows[: len(columns)], columns] = values[: len(columns)]
    return full
