"""Where a training was when it was stopped, so that the same command goes on from there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardware.errors import CorruptError
from pipeline import artifacts
from pipeline.networks import Params

FILE = "checkpoint.npz"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after an epoch."""

    history: dict[str, Any]
    best: Params
    state: dict[str, np.ndarray]  # of the backend

    def save(self, folder: Path, key: str) -> None:
        """Replace the folder's checkpoint. `key` stands for everything that the training is a function of."""
        arrays = {"key": np.array(key), "history": np.array(json.dumps(self.history))}
        arrays.update({f"best/{name}": value for name, value in self.best.items()})
        arrays.update({f"state/{name}": value for name, value in self.state.items()})
        with artifacts.writing(folder / FILE) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # as it is: packing megabytes would take longer than a short epoch

    @classmethod
    def load(cls, folder: Path, key: str) -> Checkpoint | None:
        """The folder's checkpoint; None if there is none of this `key`, or none that can be read."""
        if not (folder / FILE).is_file():
            return None
        try:
            arrays = artifacts.read_npz(folder / FILE)
            if str(arrays["key"]) != key:
                return None
            return cls(json.loads(str(arrays["history"])), _part(arrays, "best/"), _part(arrays, "state/"))
        except (CorruptError, KeyError, ValueError):
            return None


def remove(folder: Path) -> None:
    """A training that has finished needs none."""
    (folder / FILE).unlink(missing_ok=True)


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
