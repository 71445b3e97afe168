"""A stage's folder: what the stage wrote, from what, and whether that still holds.

``runs/<experiment>/<stage>/`` holds ``.npz`` and JSON files and a manifest. A stage writes into ``<stage>.part``; the
manifest is the last file that it writes there, and a rename makes that folder the result. Until then the old result
stays as it is. Whatever moment the process ends in, `settle` finds one whole result, the old or the new.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotrain.hardware import files
from cotrain.hardware.errors import CorruptError, CotrainError
from cotrain.pipeline.runs import artifacts, record

SCHEMA = 2
STATE = (artifacts.CHECKPOINT, artifacts.ROWS)  # what an unfinished stage goes on from
STAYS = (artifacts.MANIFEST, artifacts.TENSORBOARD)


@dataclass(frozen=True)
class RunFolder:
    """One stage's folder."""

    path: Path
    stage: str

    @property
    def part(self) -> Path:
        """Where the stage writes until its result is whole."""
        return artifacts.part_of(self.path)

    @property
    def manifest_path(self) -> Path:
        return self.path / artifacts.MANIFEST

    def finished(self) -> bool:
        return self.manifest_path.is_file()

    def manifest(self) -> dict[str, Any]:
        """The manifest, checked against its own checksum.

        Raises
        ------
        MissingError
            The stage has not finished.
        CorruptError
            It was changed, or is of another version.
        """
        return self._read(self.manifest_path)

    def verify(self) -> str:
        """Check every output against the manifest; return the digest of them all.

        Raises
        ------
        CorruptError
            A file is missing or a byte of it changed; the message names it.
        """
        outputs = self.manifest()["outputs"]
        for name, entry in outputs.items():
            path = self.path / name
            if not path.is_file():
                raise CorruptError(f"{path} is missing although {artifacts.MANIFEST} lists it; {self._again}")
            if files.file_sha256(path) != entry["sha256"]:
                raise CorruptError(
                    f"{path} was changed after the {self.stage} stage wrote it (sha256 differs); {self._again}"
                )
        return outputs_digest(outputs)

    def begin(self) -> None:
        """Make the folder to write into. State of an unfinished run stays there; the old result stays where it is."""
        self.settle()
        try:
            if self.path.is_dir() and not self.finished() and not self.part.exists():
                os.rename(self.path, self.part)  # what an earlier version left unfinished
            self.part.mkdir(parents=True, exist_ok=True)
            (self.part / artifacts.MANIFEST).unlink(missing_ok=True)
        except OSError as error:
            raise artifacts.cannot_write(self.path, error) from None

    def finish(self, key: dict[str, Any], outputs: list[str], seconds: float) -> None:
        """Write the manifest, which makes the result whole, and put it into the place of the old one.

        Parameters
        ----------
        key : dict
            What the result is a function of.
        outputs : list of str
            The files in `part` that are the result. All others are removed, once the manifest is written.
        """
        manifest = {
            "schema": SCHEMA, "stage": self.stage, **key,
            "outputs": {name: _describe(self.part / name) for name in sorted(outputs)},
            "versions": record.versions(), "git": record.git_revision(), "seconds": round(seconds, 3),
        }  # fmt: skip
        artifacts.write_sealed(self.part / artifacts.MANIFEST, manifest)
        self._swap(set(outputs))

    def abandon(self) -> None:
        """Remove what an unfinished stage wrote, but not the state that it can go on from."""
        if any((self.part / name).exists() for name in STATE):
            self._tidy({*STATE, artifacts.TENSORBOARD})
        else:
            shutil.rmtree(self.part, ignore_errors=True)

    def settle(self) -> None:
        """Bring to its end what a process that was killed had begun."""
        old = artifacts.old_folder(self.path)
        if (self.part / artifacts.MANIFEST).is_file():
            try:
                outputs = set(self._read(self.part / artifacts.MANIFEST)["outputs"])
            except CotrainError:  # no whole result
                return
            self._swap(outputs)
        elif old.exists():
            if not self.path.exists():
                os.rename(old, self.path)
            shutil.rmtree(old, ignore_errors=True)

    def _swap(self, outputs: set[str]) -> None:
        old = artifacts.old_folder(self.path)
        try:
            self._tidy(outputs | set(STAYS))
            if self.path.exists():
                if old.exists():
                    shutil.rmtree(old)
                os.rename(self.path, old)
            os.rename(self.part, self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise artifacts.cannot_write(self.path, error) from None
        shutil.rmtree(old, ignore_errors=True)

    def _tidy(self, stays: set[str]) -> None:
        for path in list(self.part.iterdir()) if self.part.is_dir() else []:
            if path.name in stays:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Any]:
        manifest = artifacts.read_sealed(path, self._again)
        if manifest.get("schema") != SCHEMA:
            raise CorruptError(f"{path} is not a manifest of schema {SCHEMA}; {self._again}")
        files.entries(manifest, {"stage": str, "outputs": dict, "settings": dict}, path, self._again)
        for name, entry in manifest["outputs"].items():
            if name in ("", ".", "..") or "/" in name or not name.isprintable() or len(name) > artifacts.NAME_BYTES:
                raise CorruptError(f"{path} names the file {name[:40]!r}, which no stage writes; {self._again}")
            files.entries(entry, {"sha256": str}, f"{path}: {name}", self._again)
        return manifest

    @property
    def _again(self) -> str:
        return f"run the {self.stage} stage again with --force"


def outputs_digest(outputs: dict[str, Any]) -> str:
    """Of all files of a stage, from their checksums."""
    return files.json_digest({name: entry["sha256"] for name, entry in outputs.items()})


def _describe(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    entry: dict[str, Any] = {"sha256": files.sha256(data), "bytes": len(data)}
    if path.suffix == ".npz":
        arrays = files.parse_npz(data, path)
        entry["arrays"] = {n: {"dtype": a.dtype.str, "shape": list(a.shape)} for n, a in arrays.items()}
    return entry


def _sync(folder: Path) -> None:
    """Have the renames on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
