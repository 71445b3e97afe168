"""How far a comparison was when it was stopped, so that the same command goes on from there."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from cotrain.pipeline.evaluation.tally import Tally
from cotrain.pipeline.runs import artifacts

EVERY_S = 20.0  # between two saves within a row


class RowStates:
    """A folder with the state of each row, until the comparison is written.

    Parameters
    ----------
    folder : Path
        For this comparison alone.
    key : str
        Stands for everything that the rows are a function of; those of another key are not used.
    """

    def __init__(self, folder: Path, key: str):
        self.folder, self.key = folder, key
        self.saved = time.perf_counter()

    def load(self, model: str, tallies: list[Tally]) -> dict[str, Any] | None:
        """Bring fresh `tallies` to where `model` was; return what was saved with them, None if nothing was."""
        self.saved = time.perf_counter()
        found = artifacts.load_state(self._path(model), self.key)
        if found is None:
            return None
        facts, arrays = found
        for i, tally in enumerate(tallies):
            tally.restore({k.partition("/")[2]: v for k, v in arrays.items() if k.startswith(f"{i}/")})
        return facts

    def save(self, model: str, tallies: list[Tally], facts: dict[str, Any]) -> None:
        """Keep the row if it is complete, or if the last time is long enough ago."""
        complete = all(tally.n_done == len(tally.dataset) for tally in tallies)
        if not complete and time.perf_counter() - self.saved < EVERY_S:
            return
        arrays = {f"{i}/{name}": value for i, tally in enumerate(tallies) for name, value in tally.state().items()}
        artifacts.save_state(self._path(model), self.key, facts, arrays)
        self.saved = time.perf_counter()

    def remove(self) -> None:
        """A comparison that is written needs none."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, model: str) -> Path:
        return self.folder / artifacts.row_state_file(model)
