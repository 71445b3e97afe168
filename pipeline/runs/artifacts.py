"""Names of the files of a run, and how they are written and read. No other module of `pipeline` knows one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware import files
from cotrain.hardware.errors import CorruptError, OutputError
from cotrain.hardware.files import arrays_digest, json_digest, npz_bytes, sha256

__all__ = ["arrays_digest", "json_digest", "npz_bytes", "sha256"]  # handed on

# runs/<experiment>/<stage>/
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
REPORT = {kind: f"report.{kind}" for kind in ("html", "md", "json")}
# runs/<experiment>/<stage>.part/, which becomes <stage> when the stage is done
CHECKPOINT = "checkpoint.npz"  # where a training was when it was stopped
ROWS = "rows"  # folder: how far a comparison was when it was stopped, a file a model
PROGRESS = "progress.json"  # how far it is, for who looks from outside
TENSORBOARD = "tensorboard"  # folder: its logs
# runs/<experiment>/
INSPECTION = "inspect.html"  # what the data and the network are like, before any training
LOCK = ".lock"  # of the process that writes there
BOARD = "board/board.json"  # what came back from the board, a row
SEEDS = "seeds/seeds.json"  # what several seeds gave; their runs lie beside it
SPLITS = "splits/splits.json"  # and several splits of the data
EXPLORED = "explored/explored.json"  # what `cotrain explore` found
# runs/
SCRATCH = ".data"  # folder: synthetic data sets. No experiment can have this name
SLURM_LOGS = ".slurm"  # folder: what jobs print
# runs/sweeps/<sweep>/
SWEEPS = "sweeps"
SWEEP_PLAN = "plan.json"  # what its trials are a function of
SWEEP_TABLE = "sweep.json"
SWEEP_PAGE = "sweep.html"
SWEEP_JOURNAL = "optuna.log"  # for Optuna's own tools
SHARED = "shared"  # folder: stages that several trials have in common
TRIALS = "trials"  # folder: one a trial, with run folders of its own
TRIAL = "trial.json"
TRIAL_LOG = "log.txt"
TRIAL_BEGUN = "begun.json"  # how often it was: a worker may die under it
TRIAL_SCORES = {split: f"{split}.json" for split in ("validation", "test")}
# in the package
CEILINGS = "ceilings.json"  # what plain Keras reaches
# beside runs/
BUNDLES = "submission"  # folder: what goes to the lab

NAME_BYTES = 200  # of a file's name; file systems take 255


def experiment_folder(runs: Path, experiment: str) -> Path:
    """Where everything of an experiment lies."""
    return runs / experiment


def stage_folder(runs: Path, experiment: str, stage: str) -> Path:
    """Where the result of a stage lies."""
    return experiment_folder(runs, experiment) / stage


def part_of(path: Path) -> Path:
    """Where something is written until it is whole."""
    return path.with_name(f"{path.name}.part")


def old_folder(folder: Path) -> Path:
    """Where a result lies in the moment in which another one takes its place."""
    return folder.with_name(f"{folder.name}.old")


def sweep_folder(runs: Path, sweep: str) -> Path:
    """Where everything of a sweep lies."""
    return runs / SWEEPS / sweep


def trial_folder(sweep: Path, number: int) -> Path:
    """Where a trial's run folders and its result lie."""
    return sweep / TRIALS / f"{number:04d}"


def board_file(runs: Path, experiment: str) -> Path:
    """The row of what came back from a board."""
    return experiment_folder(runs, experiment) / BOARD


def seeds_file(runs: Path, experiment: str) -> Path:
    """The summary of several seeds."""
    return experiment_folder(runs, experiment) / SEEDS


def splits_file(runs: Path, experiment: str) -> Path:
    """The summary of several splits of the data."""
    return experiment_folder(runs, experiment) / SPLITS


def explored_file(runs: Path, experiment: str) -> Path:
    """Steps and rates that were explored."""
    return experiment_folder(runs, experiment) / EXPLORED


def own_exploration(experiment: str) -> str:
    """Where the report proposes to write an exploration, in the reader's folder."""
    return f"{experiment}-explored.json"


def repeat_runs(summary: Path, number: int) -> Path:
    """The run folders of a further seed or split, beside the file of their summary."""
    return summary.parent / str(number)


def program_file(model: str) -> str:
    """The integer program of a model, written by the quantize stage."""
    return f"program-{model}.npz"


def row_state_file(model: str) -> str:
    """How far a row of a comparison was, in the folder `ROWS`."""
    return f"{model}.npz"


def rows_beside(path: Path) -> Path:
    """The folder `ROWS` of a comparison that has no run folder but writes `path`."""
    return path.with_name(f".{path.name}.{ROWS}")


def pretrained_file(experiment: str) -> str:
    """Parameters that come with the package, in its folder of them."""
    return f"{experiment}.npz"


def comparison_file(runs: Path, experiments: Sequence[str], kind: str) -> Path:
    """A report of several experiments side by side; `kind` as in `REPORT`."""
    joined = "-".join(experiments)
    if len(joined.encode()) > NAME_BYTES:
        joined = f"{len(experiments)}-experiments-{json_digest(list(experiments))[:12]}"
    return runs / f"report-{joined}.{kind}"


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


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write JSON with a checksum of its own ("sha256"), so that `read_sealed` notices any change."""
    value = json.loads(json.dumps({key: part for key, part in value.items() if key != "sha256"}))  # as it will be read
    write_json(path, {**value, "sha256": json_digest(value)})


def read_sealed(path: Path, again: str = _MAKE_AGAIN) -> dict[str, Any]:
    """What `write_sealed` wrote, with its checksum.

    Parameters
    ----------
    again : str
        What the reader of an error is told to do.

    Raises
    ------
    MissingError, CorruptError
        There is no such file, or it was changed.
    """
    found = files.read_json(path, missing=_MAKE, damaged=again)
    rest = {key: value for key, value in found.items() if key != "sha256"} if isinstance(found, dict) else {}
    if not isinstance(found, dict) or found.get("sha256") != json_digest(rest):
        raise CorruptError(f"{path} was changed after it was written (its own sha256 differs); {again}")
    return found
