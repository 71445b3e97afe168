"""The archive of a bundle: the same files give the same bytes, and any other byte is noticed."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from pathlib import Path
from typing import Dict, Tuple

from cotrain.hardware.bundle import run
from cotrain.hardware.errors import CorruptError, MissingError

_LEVEL = 9
_EXECUTABLE = ("run.py",)


def manifest_bytes(files: Dict[str, bytes], about: dict) -> Tuple[bytes, str]:
    """The manifest of `files` with the entries of `about`, and its digest."""
    entries = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    manifest = {"schema": 1, **about, "files": entries}
    manifest["digest"] = run.digest_of(manifest)
    return run.canonical(manifest), manifest["digest"]


def archive_bytes(files: Dict[str, bytes], top: str) -> bytes:
    """`files` as a .tar.gz with one folder: no times, no owners, in order of name."""
    return _gzip(_tar(files, top))


def _tar(files, top):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            item = tarfile.TarInfo(f"{top}/{name}")
            item.size = len(files[name])
            item.mode = 0o755 if name in _EXECUTABLE else 0o644
            archive.addfile(item, io.BytesIO(files[name]))
    return buffer.getvalue()


def _gzip(data):
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=_LEVEL, mtime=0) as file:
        file.write(data)
    return buffer.getvalue()


def read_archive(path: Path) -> Tuple[str, Dict[str, bytes], dict]:
    """Top folder, files and manifest of an archive, every byte checked.

    Raises
    ------
    MissingError
        No such archive.
    CorruptError
        A bit of it changed; the message names the file in it, or the archive where no file of it can be told.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise MissingError(
            f"{path} cannot be read ({error.strerror}); give an archive or the folder of a bundle"
        ) from None
    damaged = f"{path} is damaged: {{}}; fetch it again"
    try:
        tar = gzip.decompress(packed)
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            members = archive.getmembers()
            found = {m.name: archive.extractfile(m).read() for m in members if m.isfile()}
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise CorruptError(damaged.format(f"it cannot be unpacked ({error})")) from None
    tops = {name.partition("/")[0] for name in found}
    if len(tops) != 1:
        raise CorruptError(damaged.format("a bundle has one folder"))
    (top,) = tops
    files = {name[len(top) + 1 :]: data for name, data in found.items()}
    try:
        manifest = run.check_files(top, files.__getitem__)
    except run.Damaged as error:
        raise CorruptError(f"{path}: {error}") from None
    for name in sorted(set(files) - set(manifest["files"]) - {run.MANIFEST}):
        raise CorruptError(f"{path}: {name} is not part of the bundle; fetch it again")
    if tar != _tar(files, top):
        raise CorruptError(damaged.format("its headers are not those that were packed"))
    # What a flipped bit can change without changing the content. Another zlib packs to another length.
    again = _gzip(tar)
    if packed[:10] != again[:10] or (len(packed) == len(again) and packed != again):
        raise CorruptError(damaged.format("its compressed stream is not the one that was packed"))
    return top, files, manifest


def unpack(files: Dict[str, bytes], folder: Path) -> None:
    """Write the files of an archive into a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
