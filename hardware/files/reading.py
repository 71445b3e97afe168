"""Files are read without trusting what they claim.

A reader takes no more memory than it says, whatever the bytes are, and raises `MissingError` or `CorruptError` that
names the file, never an error of zipfile, zlib, json or NumPy. Nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import math
import os
import stat
import zipfile
from typing import Any, Dict, Mapping, Optional

import numpy as np
from cotrain.hardware.errors import CorruptError, MissingError
from cotrain.hardware.files.writing import PathLike

Arrays = Dict[str, np.ndarray]

JSON_BYTES = 2**28  # the largest JSON that is read unless the caller says otherwise
JSON_DEPTH = 100  # lists and objects within each other
NPZ_BYTES = 2**30  # what an .npz may unpack to, or four times its own size, whichever is more
NPZ_MEMBERS = 100_000
_DEFLATE_RATIO = 1032  # no deflate stream unpacks to more (zlib's technical notes: 1032:1)
_CHUNK_BYTES = 2**20
_END_BYTES, _ZIP64_COUNT = 22, 0xFFFF  # of a zip file's last record; what stands there for more
_AGAIN = "make it again"


def read_bytes(path: PathLike, max_bytes: int, missing: str = "", damaged: str = _AGAIN) -> bytes:
    """All of a file that is expected to be small.

    Raises
    ------
    MissingError
        It is not there, or cannot be opened.
    CorruptError
        It has more than `max_bytes` bytes.
    """
    try:
        with open(str(path), "rb") as file:
            data = bytearray()  # grows with what arrives: read(n) would take n bytes whatever the file has
            while os.fstat(file.fileno()).st_size <= max_bytes and len(data) <= max_bytes:
                chunk = file.read(min(_CHUNK_BYTES, max_bytes + 1 - len(data)))
                if not chunk:
                    return bytes(data)
                data += chunk
    except OSError as error:
        raise cannot_open(path, error, missing) from None
    raise CorruptError(f"{path} is larger than the {max_bytes:,} bytes that are read of such a file; {damaged}")


def cannot_open(path: PathLike, error: OSError, missing: str) -> MissingError:
    what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror or error}"
    return MissingError(f"{path} {what}" + (f"; {missing}" if missing else ""))


def read_json(path: PathLike, max_bytes: int = JSON_BYTES, missing: str = "", damaged: str = _AGAIN) -> Any:
    """The value in a file, as `parse_json` allows it.

    Parameters
    ----------
    path : path-like
    max_bytes : int
        Of the file.
    missing, damaged : str
        What the reader of the error is told to do.

    Raises
    ------
    MissingError, CorruptError
        The message names the file.
    """
    return parse_json(read_bytes(path, max_bytes, missing, damaged), path, damaged)


def parse_json(data: bytes, name: object, damaged: str = _AGAIN) -> Any:
    """The value of a JSON text in UTF-8: numbers finite, text valid, at most `JSON_DEPTH` deep.

    Raises
    ------
    CorruptError
        It is not that; the message starts with `name`.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
        _check_json(value)
    except RecursionError:
        raise CorruptError(f"{name} is nested more than {JSON_DEPTH} deep; {damaged}") from None
    except (ValueError, MemoryError) as error:
        raise CorruptError(f"{name} is not the JSON that is expected ({one_line(error)}); {damaged}") from None
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _check_json(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > JSON_DEPTH:
            raise RecursionError
        below: list = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str):
                if not item.isascii():
                    item.encode("utf-8")  # half a surrogate pair cannot be printed
            elif isinstance(item, float) and not math.isfinite(item):
                raise ValueError("a number is out of range")
        level = below


def entries(value: Any, kinds: Mapping[str, Any], name: object, damaged: str = _AGAIN) -> Dict[str, Any]:
    """`value`, if it is an object that has these entries of these types.

    Parameters
    ----------
    value
        What `read_json` gave.
    kinds : mapping of {str: type or tuple of types}
        ``int`` does not take true and false; ``float`` takes whole numbers.
    name
        The file, or the place in it.

    Raises
    ------
    CorruptError
        An entry is missing or of another type; the message names it.
    """
    if not isinstance(value, dict):
        raise CorruptError(f"{name}: an object is expected, not {_kind(value)}; {damaged}")
    for key, kind in kinds.items():
        if key not in value:
            raise CorruptError(f"{name}: {key!r} is missing; {damaged}")
        allowed = kind if isinstance(kind, tuple) else (kind,)
        found = value[key]
        fits = isinstance(found, allowed) or (float in allowed and isinstance(found, int))
        if not fits or (isinstance(found, bool) and bool not in allowed):
            wanted = " or ".join(_KINDS.get(k, k.__name__) for k in allowed)
            raise CorruptError(f"{name}: {key!r} is {_kind(found)}, expected {wanted}; {damaged}")
    return value


_KINDS = {
    dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a whole number", float: "a number",
    type(None): "null",
}  # fmt: skip


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def read_npz(path: PathLike, max_bytes: Optional[int] = None, missing: str = "", damaged: str = _AGAIN) -> Arrays:
    """Arrays of an ``.npz``.

    What the file claims (sizes, shapes, types) is held against its bytes before memory is taken.

    Parameters
    ----------
    path : path-like
    max_bytes : int, optional
        That all arrays may take; default `NPZ_BYTES`, or four times the file where that is more.
    missing, damaged : str
        What the reader of the error is told to do.

    Raises
    ------
    MissingError, CorruptError
        The message names the file.
    """
    try:
        with open(str(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CorruptError(f"{path} is no plain file; {damaged}")
            return _parse_npz(file, os.fstat(file.fileno()).st_size, max_bytes, path, damaged)
    except OSError as error:
        raise cannot_open(path, error, missing) from None


def parse_npz(data: bytes, name: object, max_bytes: Optional[int] = None, damaged: str = _AGAIN) -> Arrays:
    """`read_npz` of bytes in memory."""
    return _parse_npz(io.BytesIO(data), len(data), max_bytes, name, damaged)


def _parse_npz(file, n_bytes, max_bytes, name, damaged) -> Arrays:
    limit = max(NPZ_BYTES, 4 * n_bytes) if max_bytes is None else max_bytes
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(archive.infolist(), n_bytes, limit)
            _check_count(file, archive)
            return {info.filename[: -len(".npy")]: _read_member(archive, info) for info in archive.infolist()}
    # zipfile, zlib, struct, tokenize and NumPy's reader of headers raise ten different classes for damaged bytes
    except Exception as error:
        raise CorruptError(f"{name} cannot be read ({one_line(error)}); {damaged}") from None


def _check_members(members, n_bytes, limit):
    if len(members) > NPZ_MEMBERS:
        raise ValueError(f"{len(members):,} arrays, at most {NPZ_MEMBERS:,} are read")
    names = {info.filename for info in members}
    if len(names) < len(members) or not all(name.endswith(".npy") for name in names):
        raise ValueError("its members are not arrays of different names")
    packed = unpacked = 0
    for info in members:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
            raise ValueError(f"{info.filename} is packed in a way that is not read")
        if info.file_size > _DEFLATE_RATIO * (info.compress_size + 1):
            raise ValueError(f"{info.filename} claims {info.file_size:,} bytes in {info.compress_size:,}")
        packed, unpacked = packed + info.compress_size, unpacked + info.file_size
    if packed > n_bytes:
        raise ValueError("its members overlap")
    if unpacked > limit:
        raise ValueError(f"it claims {unpacked:,} bytes of arrays, at most {limit:,} are read")


def _check_count(file, archive):
    """Whether the directory has as many entries as its end says: one may hide behind another's comment."""
    place = file.tell()
    file.seek(-_END_BYTES - len(archive.comment), os.SEEK_END)
    end = file.read(_END_BYTES)
    file.seek(place)
    count = int.from_bytes(end[10:12], "little")
    if end[:4] != b"PK\5\6" or count not in (len(archive.infolist()), _ZIP64_COUNT):
        raise ValueError(f"its directory names {len(archive.infolist()):,} arrays, and its end says {count:,}")


def _read_member(archive, info) -> np.ndarray:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{info.filename} has an unknown version")
        shape, by_columns, dtype = readers[version](file)
        count = 1
        for n in shape:  # Python's integers, which do not wrap
            count *= n if n >= 0 else -1
        held = info.file_size - file.tell()
        if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != held:
            raise ValueError(f"{info.filename} claims {shape} of {dtype}, which are not its {held:,} bytes")
        array = np.empty(count, dtype)
        left = memoryview(array.view(np.uint8).data) if held else memoryview(b"")
        while left:
            n = file.readinto(left[: 2**24])
            if not n:
                raise ValueError(f"{info.filename} ends early")
            left = left[n:]
        if file.read(1):  # and the checksum is compared at the end
            raise ValueError(f"{info.filename} goes on after its end")
    return array.reshape(shape, order="F" if by_columns else "C")


def one_line(error: BaseException) -> str:
    """What an exception says, as one line of bearable length."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 200 else said[:197] + "..."
