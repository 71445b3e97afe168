"""One process at a time writes the folder of an experiment."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cotrain.hardware.errors import BusyError
from cotrain.pipeline.runs import artifacts

OWNER_BYTES = 4096


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which is made where it is missing.

    The lock is the operating system's (flock): it ends with the process that holds it, whatever ends that. Its file
    stays, and says who holds the lock.

    Raises
    ------
    BusyError
        Another process holds it; the message says which.
    OutputError
        The folder cannot be written.
    """
    path = folder / artifacts.LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _open(path)
    except BusyError:
        raise
    except OSError as error:
        raise artifacts.cannot_write(folder, error) from None
    try:
        os.truncate(handle, 0)
        os.pwrite(handle, json.dumps(_this_process()).encode()[:OWNER_BYTES], 0)
        yield
    finally:
        try:
            os.truncate(handle, 0)
            if os.listdir(folder) == [artifacts.LOCK]:  # nothing came of it
                path.unlink()
                folder.rmdir()
        except OSError:  # the disk, too, may be gone
            pass
        os.close(handle)


def owner(folder: Path) -> str:
    """Who holds the lock of `folder`, in words; "" for nobody."""
    try:
        handle = os.open(folder / artifacts.LOCK, os.O_RDWR)
    except OSError:
        return ""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ""
    except BlockingIOError:
        return _words(os.pread(handle, OWNER_BYTES, 0))
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    """A handle of `path` that has the lock."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _words(os.pread(handle, OWNER_BYTES, 0))
            os.close(handle)
            raise BusyError(
                f"{path.parent} is being written by {who}; wait until it ends, or use another folder with --runs DIR"
            ) from None
        except OSError:
            os.close(handle)
            raise
        try:
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # the folder was removed in between: this lock is on no file any more


def _this_process() -> dict[str, str | int]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else ""
    return {
        "pid": os.getpid(), "host": platform.node(), "since": time.strftime("%H:%M"), "command": command[:500],
    }  # fmt: skip


def _words(data: bytes) -> str:
    try:
        known = json.loads(data)
        command = str(known["command"]) if str(known["command"]).isprintable() else "a command"
        return f"`{command}` (process {known['pid']} on {known['host']}, since {known['since']})"
    except (ValueError, TypeError, KeyError):
        return "another process"
