"""A results folder: one record a sample, and results.json, which names only records that are complete.

A job may be killed at any time: each file is written under another name and renamed, the record first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

from cotrain.hardware.bundle.folder import RESULTS, Folder, Record, as_record, npz_bytes, sample_file
from cotrain.hardware.errors import CorruptError, InputError
from cotrain.hardware.files import entries, parse_npz, read_bytes, read_json, sha256, write_bytes, write_json

SCHEMA = 1
RECORD_BYTES = 2**28  # the largest record that is read
_WRITTEN = "use what run.py wrote"


class Results:
    """Results of one target, on disk.

    Parameters
    ----------
    path : Path
    folder : Folder
    target : str
    resume : bool
        Go on with what is there; otherwise start over. What a board gave is never thrown away.

    Raises
    ------
    InputError
        There are results of a board already, or of another bundle or target.
    CorruptError
        A record is not what results.json says.
    """

    def __init__(self, path: Path, folder: Folder, target: str, resume: bool):
        self.path, self.folder = Path(path), folder
        self.tree: Dict[str, Any] = {
            "schema": SCHEMA,
            "bundle": folder.digest,
            "experiment": folder.description["experiment"],
            "target": target,
            "complete": False,
            "n_steps": folder.n_steps,
            "readout_steps": folder.readout_steps,
            "ran_on": [],
            "samples": {},
        }
        if (self.path / RESULTS).is_file():
            found = read_results(self.path)
            for key in ("bundle", "target"):
                if found[key] != self.tree[key]:
                    raise InputError(
                        f"{self.path} holds results of {key} {found[key]}, not {self.tree[key]}; "
                        "choose another --results"
                    )
            if resume:
                self.tree = {**found, "complete": False}
                for index in self.done():
                    self.record(index)
            elif target == "loihi":
                raise InputError(
                    f"{self.path} holds results of a board already; go on with --resume, or choose another --results"
                )

    def done(self) -> list:
        """Samples that have been run, in order."""
        return sorted(int(index) for index in self.tree["samples"])

    def add(self, index: int, record: Record, seconds: float) -> None:
        """Keep the record of a sample."""
        data = npz_bytes(record)
        write_bytes(self.path / sample_file(index), data)
        self.tree["samples"][str(index)] = {
            "name": self.folder.names[index],
            "sha256": sha256(data),
            "seconds": round(seconds, 3),
        }
        self.save()

    def record(self, index: int) -> Record:
        """The record of a sample that was run."""
        return read_record(self.path, self.tree, index, self.folder.layers)

    def save(self) -> None:
        """Write results.json."""
        write_json(self.path / RESULTS, self.tree)


def read_results(path: Path) -> Dict[str, Any]:
    """The results.json of a folder, which may come from anywhere.

    Raises
    ------
    MissingError, CorruptError
        It is not there, or not what run.py writes; the message names the entry.
    """
    file = Path(path) / RESULTS
    tree = entries(read_json(file, damaged=_WRITTEN), {"schema": int}, file, _WRITTEN)
    if tree["schema"] != SCHEMA:
        raise CorruptError(f"{file} is of schema {tree['schema']}, this version reads {SCHEMA}; {_WRITTEN}")
    entries(tree, {"bundle": str, "target": str, "samples": dict, "ran_on": list}, file, _WRITTEN)
    for index, sample in tree["samples"].items():
        if not (index.isascii() and index.isdigit() and len(index) < 10):
            raise CorruptError(f"{file}: sample {index!r} has no number; {_WRITTEN}")
        entries(sample, {"sha256": str}, f"{file}: sample {index}", _WRITTEN)
    return tree


def read_record(path: Path, tree: Dict[str, Any], index: int, layers: Sequence[str]) -> Record:
    """The record of a sample that results.json names. Raises CorruptError if a bit of it changed."""
    file = Path(path) / sample_file(index)
    again = "run that sample again"
    if not file.is_file():
        raise CorruptError(f"{file} is missing, but named by {RESULTS}; {again}")
    data = read_bytes(file, RECORD_BYTES, damaged=again)
    if sha256(data) != tree["samples"][str(index)]["sha256"]:
        raise CorruptError(f"{file} is damaged: its sha256 is not the one in {RESULTS}; {again}")
    return as_record(parse_npz(data, file, damaged=again), layers, file)
