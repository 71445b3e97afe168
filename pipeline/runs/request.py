"""How a run was asked for, so that a command which a message names works as it is printed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

RUNS, DATA = Path("runs"), Path("data")  # where nothing else is said


@dataclass(frozen=True)
class Request:
    """What was said on the command line, or would be."""

    experiment: str  # a name, or a .toml file
    overrides: tuple[str, ...] = ()
    runs: Path = RUNS
    data: Path = DATA

    def command(self, verb: str, *more: str) -> str:
        """``cotrain <verb> ...`` with the same settings and folders."""
        words = ["cotrain", verb, self.experiment, *more]
        for override in self.overrides:
            words += ["--set", override]
        words += ["--data", str(self.data)] if self.data != DATA else []
        words += ["--runs", str(self.runs)] if self.runs != RUNS else []
        return shlex.join(words)
