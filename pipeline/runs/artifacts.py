"""Run folders: what a stage wrote, from what, and whether that still holds.

``runs/<experiment>/<stage>/`` holds ``.npz`` and JSON files and a ``manifest.json`` that is written last, by rename: a
folder without one belongs to a stage that did not finish. This is the only module that knows file names.
"""

from __future__ import annotations

import json
import platform
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware import files
from cotrain.hardware.errors import CorruptError, OutputError
from cotrain.hardware.files import arrays_digest, json_digest, npz_bytes, sha256

__all__ = ["arrays_digest", "json_digest", "npz_bytes", "sha256"]  # handed on

SCHEMA = 1
MANIFEST = "manifest.json"
PARAMS = "params.npz"  # flat {"conv1.kernel": array, ...}
HISTORY = "history.json"  # one entry an epoch
PLACEMENT = "placement.json"  # hardware.check's report
QUANTIZATION = "quantization.json"  # float against integer parameters per layer
METRICS = "metrics.json"
PREDICTIONS = "predictions.npz"
RASTER = "raster.npz"  # the spikes of one inference
RATES = "rates.npz"  # mean rate of each neuron, per model and layer
TRAJECTORY = "trajectory.json"  # metric against number of steps
SUBMISSION = "submission.json"  # which bundle was packed
BOARD = "board.json"  # what came back from the board, a row
REPORT = "report"  # .html, .md, .json
CHECKPOINT = "checkpoint.npz"  # where a training was when it was stopped
ROWS = "rows"  # folder: how far a comparison was when it was stopped, a file a model


_WRITE_ELSEWHERE = "free space or choose another folder with --runs DIR"
_MAKE = "run the stage that writes it"
_MAKE_AGAIN = "run its stage again with --force"


def writing(path: Path) -> AbstractContextManager[Path]:
    """`files.writing`, with the advice that fits a run."""
    return files.writing(path, _WRITE_ELSEWHERE)


def cannot_write(path: Path, error: OSError) -> OutputError:
    """`files.cannot_write`, with the advice that fits a run."""
    return files.cannot_write(path, error, _WRITE_ELSEWHERE)


def write_bytes(path: Path, data: bytes) -> None:
    """`files.write_bytes`, with the advice that fits a run."""
    files.write_bytes(path, data, _WRITE_ELSEWHERE)


def write_json(path: Path, value: Any) -> None:
    """`files.write_json`, with the advice that fits a run."""
    files.write_json(path, value, _WRITE_ELSEWHERE)


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """`files.write_npz`, with the advice that fits a run."""
    files.write_npz(path, arrays, otherwise=_WRITE_ELSEWHERE)


def save_state(path: Path, key: str, facts: Any, arrays: dict[str, np.ndarray]) -> None:
    """Replace the state that unfinished work goes on from.

    Parameters
    ----------
    key : str
        Stands for everything that the work is a function of.
    facts
        What JSON can hold.
    arrays : dict
        Under any names but "key" and "facts".
    """
    state = {**arrays, "key": np.array(key), "facts": np.array(json.dumps(facts))}
    files.write_npz(path, state, 0, _WRITE_ELSEWHERE)  # not packed: that would take longer than it saves


def load_state(path: Path, key: str) -> tuple[Any, dict[str, np.ndarray]] | None:
    """(facts, arrays) of `save_state`; None if there is none of this `key`, or none that can be read."""
    if not path.is_file():
        return None
    try:
        arrays = read_npz(path)
        if str(arrays.pop("key")) != key:
            return None
        return json.loads(str(arrays.pop("facts"))), arrays
    except (CorruptError, KeyError, ValueError):
        return None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """`files.read_npz`, with the advice that fits a run."""
    return files.read_npz(path, missing=_MAKE, damaged=_MAKE_AGAIN)


def read_json(path: Path) -> Any:
    """`files.read_json`, with the advice that fits a run."""
    return files.read_json(path, missing=_MAKE, damaged=_MAKE_AGAIN)


@dataclass(frozen=True)
class RunFolder:
    """One stage's folder."""

    path: Path
    stage: str

    @property
    def manifest_path(self) -> Path:
        return self.path / MANIFEST

    def finished(self) -> bool:
        return self.manifest_path.is_file()

    def manifest(self) -> dict[str, Any]:
        manifest = read_json(self.manifest_path)
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA or "outputs" not in manifest:
            raise CorruptError(
                f"{self.manifest_path} is not a manifest of schema {SCHEMA}; "
                f"run the {self.stage} stage again with --force"
            )
        return manifest

    def open(self) -> None:
        """Make the folder and withdraw the old manifest: from here on the stage counts as unfinished."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.manifest_path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None

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
                raise CorruptError(
                    f"{path} is missing although {MANIFEST} lists it; run the {self.stage} stage with --force"
                )
            if sha256(path.read_bytes()) != entry["sha256"]:
                raise CorruptError(
                    f"{path} was changed after the {self.stage} stage wrote it (sha256 differs); "
                    "run that stage with --force"
                )
        return outputs_digest(outputs)

    def close(self, key: dict[str, Any], outputs: list[str], seconds: float) -> None:
        """Write the manifest, which makes the stage finished."""
        entries = {name: _describe(self.path / name) for name in sorted(outputs)}
        write_json(
            self.manifest_path,
            {"schema": SCHEMA, "stage": self.stage, **key, "outputs": entries, "versions": versions(),
             "git": git_revision(), "seconds": round(seconds, 3)},
        )  # fmt: skip

    def fresh(self, key: dict[str, Any]) -> bool:
        """True when the stage finished with this very key (settings, seed, schema, upstream digests)."""
        if not self.finished():
            return False
        manifest = self.manifest()
        return all(manifest.get(k) == v for k, v in json.loads(json.dumps(key)).items())


def outputs_digest(outputs: dict[str, Any]) -> str:
    return json_digest({name: entry["sha256"] for name, entry in outputs.items()})


def _describe(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    entry: dict[str, Any] = {"sha256": sha256(data), "bytes": len(data)}
    if path.suffix == ".npz":
        entry["arrays"] = {n: {"dtype": a.dtype.str, "shape": list(a.shape)} for n, a in read_npz(path).items()}
    return entry


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in (
        "loihi-cotrain",
        "numpy",
        "scipy",
        "nengo",
        "nengo-dl",
        "nengo-loihi",
        "tensorflow",
        "tf-keras",
        "numba",
    ):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def git_revision() -> str | None:
    """Revision of the source tree ('+' when it has changes), or None outside a checkout."""
    try:

        def git(*arguments):
            return subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()

        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
