"""Fetch the two public data sets: resumable, checked against their publishers' checksums, unpacked as the loaders want.

Each set ends as one folder that appears whole or not at all. It holds a list of its files' checksums, so that a later
call can tell that nothing is left to do. Only what the loaders read is unpacked.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cotrain.hardware.errors import CorruptError, CotrainError, MissingError, OutputError
from cotrain.hardware.progress import Progress

COMPLETE = ".complete.json"  # {path: sha256} of the files of a folder, written last
ARCHIVES = ".download"  # folder of the archives, below the data folder; emptied when they are unpacked
CHUNK_BYTES = 1 << 18
MEGABYTE = 10**6
TIMEOUT_S = 60.0  # of one connection or read
RETRY_AFTER_S = (1.0, 3.0, 10.0)  # pauses between attempts that bring nothing


@dataclass(frozen=True)
class Source:
    """A data set as its publisher distributes it.

    Attributes
    ----------
    folder : str
        What it becomes below the data folder.
    url : str
    archive : str
        Name of the file behind the URL.
    checksum : (str, str)
        Algorithm of hashlib and hexadecimal digest of the archive.
    members : Callable
        Takes the open archive and yields every wanted file's path below `folder` and its contents.
    n_files : int
        How many files that gives.
    licence : str
    """

    folder: str
    url: str
    archive: str
    checksum: tuple[str, str]
    members: Callable[[BinaryIO], Iterator[tuple[str, bytes]]]
    n_files: int
    licence: str


def caltech101_members(archive: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The aeroplanes and their annotations; a zip with a compressed and a plain tar in it."""
    wanted = {
        "101_ObjectCategories.tar.gz": r"(?:.*/)?(101_ObjectCategories/airplanes/image_\d+\.jpg)",
        "Annotations.tar": r"(?:.*/)?(Annotations/Airplanes_Side_2/annotation_\d+\.mat)",
    }
    with zipfile.ZipFile(archive) as outer:
        for name in outer.namelist():
            base = name.rpartition("/")[2]
            if base in wanted and not name.startswith("__MACOSX"):
                with outer.open(name) as inner:
                    yield from _tar_members(inner, wanted[base])


def hippocampus_members(archive: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The labelled volumes and their labels; a tar."""
    pattern = r"(?:.*/)?Task04_Hippocampus/((?:imagesTr|labelsTr)/hippocampus_\d+\.nii\.gz)"
    yield from _tar_members(archive, pattern)


def _tar_members(file: BinaryIO, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Plain files whose whole path matches; the path is the pattern's group, so it cannot leave its folder."""
    with tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in tar:
            match = re.fullmatch(pattern, member.name)
            if match and member.isfile():
                yield match[1], tar.extractfile(member).read()


SOURCES = (
    Source(
        folder="caltech-101",
        url="https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip?download=1",
        archive="caltech-101.zip",
        checksum=("sha256", "331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91"),
        members=caltech101_members,
        n_files=1600,
        licence="CC BY 4.0; Li, Andreeto, Ranzato, Perona: Caltech 101 (1.0), CaltechDATA, doi 10.22002/D1.20086",
    ),
    Source(
        folder="Task04_Hippocampus",
        url="https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar",
        archive="Task04_Hippocampus.tar",
        checksum=("md5", "9d24dba78a72977dbd1d2e110310f31b"),
        members=hippocampus_members,
        n_files=520,
        licence="CC BY-SA 4.0; Vanderbilt University Medical Center, medicaldecathlon.com",
    ),
)


def main(data_dir: Path, sources: tuple[Source, ...] | None = None, say=print) -> None:
    """Download and verify both data sets; what is there and whole is left alone.

    Parameters
    ----------
    data_dir : Path
        Made if need be.
    sources : tuple of Source
        `SOURCES` by default.
    say : Callable
        Takes each line of what is done.

    Raises
    ------
    MissingError
        The server cannot be reached or does not have the file. What has arrived is kept, and the next call goes on
        from there.
    CorruptError
        The file that arrived is not the published one.
    OutputError
        The folder cannot be written.
    """
    data_dir = Path(data_dir)
    for source in SOURCES if sources is None else sources:
        folder = data_dir / source.folder
        if folder.exists() and not (folder / COMPLETE).exists():
            say(f"{folder}: put there by other means, left as it is (move it away to fetch it anew)")
        elif is_whole(folder):
            say(f"{folder}: there and verified, {source.n_files} files")
        else:
            try:
                archive = fetch(source, data_dir / ARCHIVES, say)
                unpack(source, archive, folder)
                shutil.rmtree(data_dir / ARCHIVES, ignore_errors=True)
            except CotrainError:
                raise
            except OSError as error:
                raise OutputError(
                    f"cannot write below {data_dir}: {error.strerror or error}; "
                    "free space there or choose another folder with DATA=DIR"
                ) from None
            say(f"{folder}: {source.n_files} files. {source.licence}")


def is_whole(folder: Path) -> bool:
    """Whether every file of the folder's list is there, unchanged."""
    try:
        digests = json.loads((folder / COMPLETE).read_text())
        return all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in digests.items()
        )
    except (OSError, ValueError):
        return False


# ----------------------------------------------------------------------------------------------
# Download


def fetch(source: Source, folder: Path, say=print) -> Path:
    """Download the archive, going on from what an earlier call has left.

    Returns
    -------
    Path
        The archive, its checksum verified.
    """
    archive, part = folder / source.archive, folder / f"{source.archive}.part"
    folder.mkdir(parents=True, exist_ok=True)
    if archive.exists() and _digest(archive, source.checksum[0]) == source.checksum[1]:
        return archive
    # A part of another version of the file shows only in the checksum: then once more, from the start.
    for resumed in (part.exists() and part.stat().st_size > 0, False):
        say(f"{source.url}{' (going on)' if resumed else ''}")
        _download(source, part, say)
        algorithm, expected = source.checksum
        digest = _digest(part, algorithm)
        if digest == expected:
            os.replace(part, archive)
            return archive
        part.unlink()
        if not resumed:
            break
    raise CorruptError(
        f"{source.url} gave a file with {algorithm} {digest}, expected {expected}; it was removed. "
        "Run `make data` again; if that does not help, the publisher has changed the file"
    )


def _download(source: Source, part: Path, say) -> None:
    """Append to `part` until it is as long as the server says, through broken connections."""
    pauses = iter(RETRY_AFTER_S)
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _download_once(source, part):
                return
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            problem = f"HTTP status {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                raise MissingError(
                    f"{source.url}: {problem}; fetch {source.archive} by hand, check its "
                    f"{source.checksum[0]} ({source.checksum[1]}) and put it into {part.parent}"
                ) from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        arrived = part.stat().st_size if part.exists() else 0
        if arrived > before:
            pauses = iter(RETRY_AFTER_S)  # it moves: as many attempts again
        pause = next(pauses, None)
        if pause is None:
            raise MissingError(
                f"cannot download {source.url}: {problem}; {arrived / MEGABYTE:.1f} MB are kept, "
                "run `make data` again to go on from there"
            )
        say(f"  {problem}; trying again in {pause:g} s")
        time.sleep(pause)


def _download_once(source: Source, part: Path) -> bool:
    """One request; whether the file is now whole."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "loihi-cotrain", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(source.url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the range starts at or beyond the end
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return True
        part.unlink()
        return False
    with response:
        start = 0
        if response.status == 206:
            match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            start = int(match[1]) if match else -1
            if not 0 <= start <= have:  # it would leave a gap
                part.unlink()
                return False
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            _copy(response, file, source.archive, (total or start) - start)
            arrived = file.tell()
    return total is None or arrived >= total


def _copy(response, file: BinaryIO, label: str, n_bytes: int) -> None:
    with Progress(f"{label}, MB", max(round(n_bytes / MEGABYTE), 1)) as progress:
        n_arrived = 0
        while True:
            try:
                chunk = response.read(CHUNK_BYTES)
            except OSError as error:  # TLS errors among them; what is raised below is about the disk
                raise ConnectionError(str(error)) from None
            if not chunk:
                return
            file.write(chunk)
            n_arrived += len(chunk)
            if n_arrived // MEGABYTE > progress.done and n_bytes:
                progress.advance(n_arrived // MEGABYTE - progress.done)


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


# ----------------------------------------------------------------------------------------------
# Unpacking


def unpack(source: Source, archive: Path, folder: Path) -> None:
    """Put the wanted files of the archive into `folder`, which appears whole or stays as it is."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        digests = {}
        try:
            with open(archive, "rb") as file:
                for name, data in source.members(file):
                    path = temporary / "new" / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
                    digests[name] = hashlib.sha256(data).hexdigest()
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise CorruptError(f"{archive} cannot be unpacked: {error}; delete it and run `make data` again") from None
        if len(digests) != source.n_files:
            raise CorruptError(
                f"{archive} holds {len(digests)} of the wanted files, expected {source.n_files}: "
                "the publisher has changed its layout"
            )
        (temporary / "new" / COMPLETE).write_text(json.dumps(digests, indent=0))
        if folder.exists():
            os.replace(folder, temporary / "old")
        os.replace(temporary / "new", folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
