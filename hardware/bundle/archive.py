"""The archive of a bundle: the same files give the same bytes, and any other byte is noticed."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Dict, Tuple

from cotrain.hardware.bundle import run
from cotrain.hardware.errors import CorruptError
from cotrain.hardware.files import one_line, read_bytes, write_bytes

PACKED_BYTES = 2**26  # what is read of an archive at most; `pack` writes less than 10 MB
UNPACKED_BYTES = 2**28  # and what it may unpack to
MEMBERS = 2000
_AGAIN = "fetch it again"
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
    """Top folder, files and manifest of an archive, every byte checked. Nothing is written.

    The archive is a stranger's: what it may hold is bounded before memory is taken, and only plain files with names
    that stay inside their folder are accepted.

    Raises
    ------
    MissingError
        No such archive.
    CorruptError
        It is no bundle, or a bit of it changed; the message names the file in it, or the archive where no file of it
        can be told.
    """
    packed = read_bytes(path, PACKED_BYTES, missing="give an archive or the folder of a bundle", damaged=_AGAIN)
    damaged = f"{path} is damaged: {{}}; {_AGAIN}"
    try:
        tar = _gunzip(packed)
        found = _members(tar)
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, struct.error) as error:
        raise CorruptError(damaged.format(f"it cannot be unpacked ({one_line(error)})")) from None
    tops = {name.partition("/")[0] for name in found}
    if len(tops) != 1:
        raise CorruptError(damaged.format("a bundle has one folder"))
    (top,) = tops
    files = {name[len(top) + 1 :]: data for name, data in found.items()}
    try:
        manifest = run.check_files(top, files.__getitem__)
    except run.DamagedBundle as error:
        raise CorruptError(f"{path}: {error}") from None
    for name in sorted(set(files) - set(manifest["files"]) - {run.MANIFEST}):
        raise CorruptError(f"{path}: {name} is not part of the bundle; {_AGAIN}")
    if tar != _tar(files, top):
        raise CorruptError(damaged.format("its headers are not those that were packed"))
    # What a flipped bit can change without changing the content. Another zlib packs to another length.
    again = _gzip(tar)
    if packed[:10] != again[:10] or (len(packed) == len(again) and packed != again):
        raise CorruptError(damaged.format("its compressed stream is not the one that was packed"))
    return top, files, manifest


def _gunzip(packed: bytes) -> bytes:
    """One gzip stream, its checksum read, no more than UNPACKED_BYTES of it."""
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    data = stream.decompress(packed, UNPACKED_BYTES)
    if stream.unconsumed_tail:
        raise ValueError(f"it would unpack to more than {UNPACKED_BYTES // 10**6} MB")
    if not stream.eof or stream.unused_data:
        raise ValueError("its end is missing" if not stream.eof else "something follows its end")
    return data


def _members(tar: bytes) -> Dict[str, bytes]:
    """Names and bytes of plain files; ValueError for anything else."""
    found: Dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        for item in archive:
            if len(found) >= MEMBERS:
                raise ValueError(f"it holds more than {MEMBERS} files")
            if not item.isreg() or item.issparse():
                raise ValueError(f"{_shown(item.name)} is no plain file")
            if not run.is_inside(item.name) or "/" not in item.name:
                raise ValueError(f"the name {_shown(item.name)} leads out of the folder of the bundle")
            if item.name in found:
                raise ValueError(f"{_shown(item.name)} is there twice")
            if item.size > len(tar):
                raise ValueError(f"{_shown(item.name)} claims more bytes than there are")
            file = archive.extractfile(item)
            found[item.name] = b"" if file is None else file.read()
    return found


def _shown(name: str) -> str:
    return ascii(name if len(name) < 80 else name[:77] + "...")


def read_folder(folder: Path) -> Tuple[Dict[str, bytes], dict]:
    """Files and manifest of an unpacked bundle, every byte checked.

    Raises
    ------
    MissingError, CorruptError
        As `read_archive`.
    """

    def read(name: str) -> bytes:
        path = folder.joinpath(*name.split("/"))
        inside = folder.resolve()
        if inside not in path.resolve().parents:
            raise CorruptError(f"{path} is a link that leads out of the bundle; {_AGAIN}")
        return read_bytes(path, UNPACKED_BYTES, damaged=_AGAIN)

    try:
        manifest = run.check_files(str(folder), read)
        for name in run.strangers(str(folder), manifest):
            raise run.DamagedBundle(f"{name} is not part of the bundle; move it elsewhere")
    except run.DamagedBundle as error:
        raise CorruptError(f"{folder}: {error}") from None
    return {name: read(name) for name in manifest["files"]}, manifest


def unpack(files: Dict[str, bytes], folder: Path) -> None:
    """Write the files of an archive into a folder.

    Raises
    ------
    OutputError
        The disk is full or closed.
    """
    for name, data in files.items():
        if not run.is_inside(name):
            raise CorruptError(f"the name {_shown(name)} leads out of {folder}")
        write_bytes(folder.joinpath(*name.split("/")), data, otherwise="name another folder with TMPDIR=DIR")
