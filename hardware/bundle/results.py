"""A results folder: one record a sample, and results.json, which names only records that are complete.

A job may be killed at any time: each file is written under another name and renamed, the record first.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict

from cotrain.hardware.bundle.folder import (
    RESULTS,
    Folder,
    Record,
    json_bytes,
    npz_bytes,
    read_json,
    read_npz,
    sample_file,
    write_bytes,
)  # fmt: skip
from cotrain.hardware.errors import CorruptError, InputError

SCHEMA = 1


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
            "sha256": hashlib.sha256(data).hexdigest(),
            "seconds": round(seconds, 3),
        }
        self.save()

    def record(self, index: int) -> Record:
        """The record of a sample that was run."""
        return read_record(self.path, self.tree, index)

    def save(self) -> None:
        """Write results.json."""
        write_bytes(self.path / RESULTS, json_bytes(self.tree))


def read_results(path: Path) -> Dict[str, Any]:
    """The results.json of a folder. Raises MissingError or CorruptError."""
    tree = read_json(Path(path) / RESULTS)
    keys = ("bundle", "target", "samples", "ran_on")
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA or any(key not in tree for key in keys):
        raise CorruptError(f"{Path(path) / RESULTS} is not a results file of schema {SCHEMA}; use what run.py wrote")
    return tree


def read_record(path: Path, tree: Dict[str, Any], index: int) -> Record:
    """The record of a sample that results.json names. Raises CorruptError if a bit of it changed."""
    file = Path(path) / sample_file(index)
    data = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(data).hexdigest() != tree["samples"][str(index)]["sha256"]:
        what = "damaged: its sha256 is not the one in" if data else "missing, but named by"
        raise CorruptError(f"{file} is {what} {RESULTS}; run that sample again")
    return read_npz(file)
