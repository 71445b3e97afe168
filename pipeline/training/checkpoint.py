"""Where a training was when it was stopped, so that the same command goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.pipeline.networks import Params
from cotrain.pipeline.runs import artifacts

FILE = artifacts.CHECKPOINT


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after an epoch."""

    history: dict[str, Any]
    best: Params
    state: dict[str, np.ndarray]  # of the backend

    def save(self, folder: Path, key: str) -> None:
        """Replace the folder's checkpoint. `key` stands for everything that the training is a function of."""
        arrays = {f"best/{name}": value for name, value in self.best.items()}
        arrays.update({f"state/{name}": value for name, value in self.state.items()})
        artifacts.save_state(folder / FILE, key, self.history, arrays)

    @classmethod
    def load(cls, folder: Path, key: str) -> Checkpoint | None:
        """The folder's checkpoint; None if there is none of this `key`, or none that can be read."""
        found = artifacts.load_state(folder / FILE, key)
        if found is None:
            return None
        history, arrays = found
        return cls(history, _part(arrays, "best/"), _part(arrays, "state/"))


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
