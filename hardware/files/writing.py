"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import glob
import io
import itertools
import json
import os
import platform
import re
import stat
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Mapping, Union

import numpy as np
from cotrain.hardware.errors import OutputError

PathLike = Union[str, "os.PathLike[str]"]

_ELSEWHERE = "free space or choose another folder"
_number = itertools.count()
_HOST = re.sub(r"[^A-Za-z0-9]", "", platform.node())[:20]  # a process number says nothing of another machine's


@contextmanager
def writing(path: PathLike, otherwise: str = _ELSEWHERE, parents: bool = True) -> Iterator[Path]:
    """Yield a temporary path; what is written there takes the place of `path` at once, or not at all after an error.

    A symbolic link stays one: what it points to is replaced. Where `path` is
    no plain file (a device, a FIFO, ``/dev/stdout``), it is written to and stays what it is.

    Parameters
    ----------
    path : path-like
    otherwise : str
        What the reader of the error is told to do.
    parents : bool
        Make the folder where it is missing.

    Raises
    ------
    OutputError
        The disk is full, the folder closed or not there, or `path` a folder.
    """
    path = Path(path)
    temporary = None
    try:
        special = _is_special(path)
        if special:
            handle, name = tempfile.mkstemp(prefix="cotrain-")
            os.close(handle)
            temporary = target = Path(name)
        else:
            target = Path(os.path.realpath(str(path)))
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if parents:
                target.parent.mkdir(parents=True, exist_ok=True)
            elif not target.parent.is_dir():
                raise FileNotFoundError(errno.ENOENT, f"the folder {target.parent} does not exist")
            # cut, so that the longest name that a disk takes can be written
            start = f".{target.name[:40]}.{_HOST}-"
            _remove_remains(target.parent, start)
            temporary = target.with_name(f"{start}{os.getpid()}-{next(_number)}.tmp")
        yield temporary
        if special:
            _pour(temporary, path)
        else:
            _flush(temporary)
            os.replace(str(temporary), str(target))
    except OSError as error:
        raise cannot_write(path, error, otherwise) from None
    finally:
        if temporary is not None:
            try:
                temporary.unlink()
            except OSError:
                pass


def _remove_remains(folder: Path, start: str) -> None:
    """Remove what processes of this machine left that were killed while they wrote the same file."""
    for path in folder.glob(glob.escape(start) + "*.tmp"):
        number = path.name[len(start) :].split("-")[0]
        if number.isdecimal() and not _runs(int(number)):
            try:
                path.unlink()
            except OSError:
                pass


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        pass
    return True


def _is_special(path: Path) -> bool:
    """Whether `path` must be written to, and not replaced."""
    # /dev/stdout may lead to a plain file, which the shell has opened: replaced, it would lose what was printed
    place = os.path.abspath(str(path))
    if place.startswith(("/dev/", "/proc/")) and not place.startswith("/dev/shm/"):  # which is a disk in memory
        return True
    try:
        mode = os.stat(str(path)).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _pour(source: Path, target: Path) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()  # what was printed before comes before
    name = {"/dev/stdout": "/dev/fd/1", "/dev/stderr": "/dev/fd/2"}.get(str(target.absolute()), str(target.absolute()))
    own = re.match(r"/(?:dev|proc/self)/fd/(\d+)$", name)
    # a file that is opened again has a place of its own in it, and what is printed later would go over this
    handle = os.dup(int(own.group(1))) if own else os.open(str(target), os.O_WRONLY | os.O_APPEND)
    try:
        with open(str(source), "rb") as file:
            while True:
                chunk = memoryview(file.read(2**20))
                if not chunk:
                    break
                while chunk:
                    chunk = chunk[os.write(handle, chunk) :]
    finally:
        os.close(handle)


def _flush(path: Path) -> None:
    """Have the bytes on the disk before the name is: after a power cut a name must not stand for an empty file."""
    with open(str(path), "rb") as file:
        os.fsync(file.fileno())


def cannot_write(path: PathLike, error: OSError, otherwise: str = _ELSEWHERE) -> OutputError:
    """One line for a disk that is full or a folder that is closed."""
    if isinstance(error, OutputError):
        return error
    known = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up"}
    reason = known.get(error.errno or 0) or error.strerror or str(error)
    return OutputError(f"cannot write {path}: {reason}; {otherwise}")


def write_bytes(path: PathLike, data: bytes, otherwise: str = _ELSEWHERE, parents: bool = True) -> None:
    """Write all of a file or nothing of it; see `writing`."""
    with writing(path, otherwise, parents) as temporary:
        temporary.write_bytes(data)


def write_text(path: PathLike, text: str, otherwise: str = _ELSEWHERE, parents: bool = True) -> None:
    """Write UTF-8; see `writing`."""
    write_bytes(path, text.encode("utf-8"), otherwise, parents)


def json_bytes(value: Any) -> bytes:
    """JSON with keys in their order and a final newline; NaN is refused because JSON has none."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def write_json(path: PathLike, value: Any, otherwise: str = _ELSEWHERE, parents: bool = True) -> None:
    """Write `json_bytes`; see `writing`."""
    write_bytes(path, json_bytes(value), otherwise, parents)


def npz_bytes(arrays: Mapping[str, np.ndarray], level: int = 6) -> bytes:
    """An ``.npz`` whose bytes depend on the arrays alone (numpy.savez stamps the time).

    Parameters
    ----------
    level : int
        Of compression, 0 (none) to 9.
    """
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind, compresslevel=level if level else None) as archive:
        for name in sorted(arrays):
            item = io.BytesIO()
            np.lib.format.write_array(item, np.asanyarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), item.getvalue(), kind)
    return buffer.getvalue()


def write_npz(path: PathLike, arrays: Mapping[str, np.ndarray], level: int = 6, otherwise: str = _ELSEWHERE) -> None:
    """Write `npz_bytes`; see `writing`."""
    write_bytes(path, npz_bytes(arrays, level), otherwise)
