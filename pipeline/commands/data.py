"""Fetch the public data sets: resumable, checked against their publishers' checksums, unpacked as the loaders want.

Each set ends as one folder that appears whole or not at all. It holds a list of its files' checksums, so that a later
call can tell that nothing is left to do. Only what the loaders read is unpacked.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from cotrain.hardware import files, terminal
from cotrain.hardware.errors import CorruptError, CotrainError, InputError, OutputError
from cotrain.pipeline.commands import options
from cotrain.pipeline.commands.fetching import Archive, fetch
from cotrain.pipeline.runs.lock import locked
from cotrain.pipeline.words import nearest

COMPLETE = ".complete.json"  # {path: sha256} of the files of a folder, written last
ARCHIVES = ".download"  # folder of the archives, below the data folder; emptied when they are unpacked
MEMBER_BYTES = 1 << 28  # of one file of an archive, unpacked
ALL_BYTES = 1 << 31  # and of all of them
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"

Members = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Source:
    """A data set as its publisher distributes it.

    Attributes
    ----------
    folder : str
        What it becomes below the data folder.
    archives : tuple of Archive
    members : Callable
        Takes an archive's name and the open file, and yields every wanted file's path below `folder` and its contents.
    n_files : int
        How many files that gives.
    licence : str
    """

    folder: str
    archives: tuple[Archive, ...]
    members: Callable[[str, BinaryIO], Members]
    n_files: int
    licence: str


def caltech101_members(name: str, archive: BinaryIO) -> Members:
    """The aeroplanes and their annotations; a zip with a compressed and a plain tar in it."""
    wanted = {
        "101_ObjectCategories.tar.gz": r"(?:.*/)?(101_ObjectCategories/airplanes/image_\d+\.jpg)",
        "Annotations.tar": r"(?:.*/)?(Annotations/Airplanes_Side_2/annotation_\d+\.mat)",
    }
    with zipfile.ZipFile(archive) as outer:
        for inside in outer.namelist():
            base = inside.rpartition("/")[2]
            if base in wanted and not inside.startswith("__MACOSX"):
                with outer.open(inside) as inner:
                    yield from _tar_members(inner, wanted[base])


def hippocampus_members(name: str, archive: BinaryIO) -> Members:
    """The labelled volumes and their labels; a tar."""
    pattern = r"(?:.*/)?Task04_Hippocampus/((?:imagesTr|labelsTr)/hippocampus_\d+\.nii\.gz)"
    yield from _tar_members(archive, pattern)


def cifar10_members(name: str, archive: BinaryIO) -> Members:
    """The binary batches; a compressed tar."""
    yield from _tar_members(archive, r"(?:.*/)?((?:data_batch_\d|test_batch)\.bin)")


def same_file(name: str, archive: BinaryIO) -> Members:
    """The file itself."""
    yield name, archive.read()


def _tar_members(file: IO[bytes], pattern: str) -> Members:
    """Plain files whose whole path matches; the path is the pattern's group, so it cannot leave its folder."""
    left = ALL_BYTES
    with tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in tar:
            match = re.fullmatch(pattern, member.name)
            if match and member.isfile() and not member.issparse():
                left -= member.size
                if member.size > MEMBER_BYTES or left < 0:
                    raise CorruptError(f"{member.name} of the archive claims {member.size:,} bytes; it is not unpacked")
                unpacked = tar.extractfile(member)
                assert unpacked, "a plain file has contents"
                yield match[1], unpacked.read()


SOURCES = {
    "caltech101-airplanes": Source(
        folder="caltech-101",
        archives=(
            Archive(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip?download=1",
                "caltech-101.zip",
                (
                    ("sha256", "331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91"),
                    ("md5", "3138e1922a9193bfa496528edbbc45d0"),
                ),
                137_414_764,
            ),
        ),
        members=caltech101_members,
        n_files=1600,
        licence="CC BY 4.0; Li, Andreeto, Ranzato, Perona: Caltech 101 (1.0), CaltechDATA, doi 10.22002/D1.20086",
    ),
    "hippocampus": Source(
        folder="Task04_Hippocampus",
        archives=(
            Archive(
                "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar",
                "Task04_Hippocampus.tar",
                (("md5", "9d24dba78a72977dbd1d2e110310f31b"),),  # no publisher gives another
                100_000_000,
            ),
        ),
        members=hippocampus_members,
        n_files=520,
        licence="CC BY-SA 4.0; Vanderbilt University Medical Center, medicaldecathlon.com",
    ),
    "mnist": Source(
        folder="mnist",
        archives=tuple(
            Archive(_MNIST + name, name, (("sha256", sha256), ("md5", md5)), n_bytes)
            for name, n_bytes, sha256, md5 in (
                (
                    "train-images-idx3-ubyte.gz", 9_912_422,
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                ),
                (
                    "train-labels-idx1-ubyte.gz", 28_881,
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    "d53e105ee54ea40749a09fcbcd1e9432",
                ),
                (
                    "t10k-images-idx3-ubyte.gz", 1_648_877,
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    "9fb629c4189551a2d022fa330f9573f3",
                ),
                (
                    "t10k-labels-idx1-ubyte.gz", 4_542,
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                    "ec29112dd5afa0611ce80d1b7f02629c",
                ),
            )
        ),
        members=same_file,
        n_files=4,
        licence="CC BY-SA 3.0; LeCun, Cortes, Burges: The MNIST database of handwritten digits",
    ),
    "cifar10": Source(
        folder="cifar-10-batches-bin",
        archives=(
            Archive(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "cifar-10-binary.tar.gz",
                (
                    ("sha256", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
                    ("md5", "c32a1d4ab5d03f1284b67883e8d87530"),
                ),
                170_052_171,
            ),
        ),
        members=cifar10_members,
        n_files=6,
        licence="no licence is stated; Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009)",
    ),
}  # fmt: skip


def choose(names: tuple[str, ...]) -> tuple[Source, ...]:
    """The sources of these data sets; all of them for none.

    Raises
    ------
    InputError
        No data set to download has that name.
    """
    for name in names:
        if name not in SOURCES:
            raise InputError(f"unknown data set {name!r}{nearest(name, list(SOURCES))}; there are {', '.join(SOURCES)}")
    return tuple(SOURCES[name] for name in names or SOURCES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SOURCES)} (default: all)")
    options.add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    main(arguments.data, choose(tuple(arguments.names)))
    return 0


def main(data_dir: Path, sources: tuple[Source, ...] | None = None, say: Callable[[str], None] = terminal.say) -> None:
    """Download and verify data sets; what is there and whole is left alone.

    Parameters
    ----------
    data_dir : Path
        Made if need be.
    sources : tuple of Source
        All `SOURCES` by default.
    say : Callable
        Takes each line of what is done.

    Raises
    ------
    MissingError
        The server cannot be reached or does not have the file. What has arrived is kept, and the next call goes on
        from there.
    CorruptError
        The file that arrived is not the published one.
    BusyError
        Another process downloads into this folder.
    OutputError
        The folder cannot be written.
    """
    data_dir, wanted = Path(data_dir), []
    for source in choose(()) if sources is None else sources:
        folder = data_dir / source.folder
        if folder.exists() and not (folder / COMPLETE).exists():
            say(f"{folder}: put there by other means, left as it is (move it away to fetch it anew)")
        elif is_whole(folder):
            say(f"{folder}: there and verified, {source.n_files} files")
        else:
            wanted.append(source)
    if not wanted:
        say(f"data: nothing to download for {data_dir}")
        return
    try:
        (data_dir / ARCHIVES).mkdir(parents=True, exist_ok=True)
        with locked(data_dir / ARCHIVES):
            for source in wanted:
                if is_whole(data_dir / source.folder):  # another process was faster
                    continue
                archives = [fetch(archive, data_dir / ARCHIVES, say) for archive in source.archives]
                unpack(source, archives, data_dir / source.folder)
                for archive in archives:
                    archive.unlink(missing_ok=True)
                say(f"{data_dir / source.folder}: {source.n_files} files. {source.licence}")
    except CotrainError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write below {data_dir}: {error.strerror or error}; "
            "free space there or choose another folder with DATA=DIR"
        ) from None


def is_whole(folder: Path) -> bool:
    """Whether every file of the folder's list is there, unchanged."""
    try:
        digests = files.read_json(folder / COMPLETE)
        return all(files.file_sha256(folder / name) == digest for name, digest in digests.items())
    except (CotrainError, ValueError, AttributeError):
        return False


def unpack(source: Source, archives: list[Path], folder: Path) -> None:
    """Put the wanted files of the archives into `folder`, which appears whole or stays as it is."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        digests = {}
        for archive in archives:
            try:
                with open(archive, "rb") as file:
                    for name, data in source.members(archive.name, file):
                        files.write_bytes(temporary / "new" / name, data)
                        digests[name] = files.sha256(data)
            except CotrainError:
                raise
            except OSError as error:  # of the disk, but for gzip's
                if not isinstance(error, gzip.BadGzipFile):
                    raise
                raise CorruptError(_damaged(archive, error)) from None
            except Exception as error:  # tarfile, zipfile and zlib raise ten different classes for damaged bytes
                raise CorruptError(_damaged(archive, error)) from None
        if len(digests) != source.n_files:
            raise CorruptError(
                f"{archives[0]} holds {len(digests)} of the wanted files, expected {source.n_files}: "
                "the publisher has changed its layout"
            )
        files.write_json(temporary / "new" / COMPLETE, digests)
        (temporary / "new").chmod(0o755)
        if folder.exists():
            os.replace(folder, temporary / "old")
        os.replace(temporary / "new", folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _damaged(archive: Path, error: Exception) -> str:
    return f"{archive} cannot be unpacked: {files.one_line(error)}; delete it and run `make data` again"
