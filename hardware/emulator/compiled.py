"""Numba functions that are kept on disk where that is possible, and compiled anew where it is not.

Numba keeps machine code beside the source or in the user's home, and refuses to import a function of which it can do
neither: a read-only installation run by a user without a writable home, as in containers. Then a folder of the
user's own in the temporary folder serves, or none.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional

import numba


def njit(known_by: str = "", /, **options: Any) -> Callable:
    """As `numba.njit` with ``nogil`` and ``cache``, which wants a place to write in but does not insist.

    Parameters
    ----------
    known_by : str
        What stands for a closure in the cache. Numba itself takes what it closes over, and where that is a function
        which it has compiled, no other process finds it again.
    """

    def decorate(function: Callable) -> Any:
        for folder in (None, _own_folder):
            try:
                with _cache_folder(folder):
                    compiled = numba.njit(nogil=True, cache=True, **options)(function)
            except RuntimeError as error:
                if "cannot cache" not in str(error):
                    raise
            else:
                if known_by:
                    compiled._cache._index_key = lambda signature, codegen: (signature, codegen.magic_tuple(), known_by)
                return compiled
        return numba.njit(nogil=True, **options)(function)

    return decorate


@contextmanager
def _cache_folder(find: Optional[Callable[[], Optional[str]]]) -> Iterator[None]:
    folder = None if find is None else find()
    if folder is None:
        yield
        return
    kept, numba.config.CACHE_DIR = numba.config.CACHE_DIR, folder
    try:
        yield
    finally:
        numba.config.CACHE_DIR = kept


def _own_folder() -> Optional[str]:
    """A folder that nobody else can write to: machine code is read from it. None where there is none."""
    try:
        user = os.getuid()
        folder = os.path.join(tempfile.gettempdir(), f"cotrain-numba-{user}")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except (AttributeError, OSError):  # not on this platform, or no temporary folder
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077
    return folder if ours else None
