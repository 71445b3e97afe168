"""One trial: the pipeline's own stages on one choice of settings, scored on the validation split."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.hardware import files
from cotrain.hardware.errors import BusyError, CorruptError, CotrainError, MisfitError, MissingError, OutputError
from cotrain.pipeline import datasets
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.evaluation.rows import ROWS
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.sweeps.sampling import COMPLETE, FAILED, MISFIT, PRUNED, STATES

if TYPE_CHECKING:
    from cotrain.pipeline.networks.spec import NetworkSpec

SCHEMA = 1
BROKEN = "worker"  # key of a trial that ended with its worker: it is tried again by the next call
MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM}

_data_sets: dict = {}  # of this process


class _Pruned(Exception):
    """The training is given up."""


class _Misfit(Exception):
    """The network does not fit the board."""


class _Late(Exception):
    """The trial takes longer than it may."""


def run_trial(task: dict[str, Any]) -> dict[str, Any]:
    """Train, fine-tune and score one trial, and write its trial.json.

    Runs in a worker, with everything that it needs in `task`; what it prints goes to log.txt in the trial's folder.
    What is wrong with the trial is part of its result; what is wrong with the machine (no memory, a full disk) is
    raised, because the same trial may do well elsewhere or later.

    Parameters
    ----------
    task : dict
        "number", "base", "overrides" and "params" of the trial; "models", the rows it is scored on; "objectives";
        "sweep", the sweep's folder; "data"; "timeout_s"; "thresholds" (see `sampling.thresholds`).

    Returns
    -------
    dict
        What trial.json holds: "number", "state", "params", "values", "seconds", "curve" (validation metric by
        epoch), "error" of one that did not complete, and "begun", how often it was begun.

    Raises
    ------
    OutputError, MemoryError
    """
    folder = artifacts.trial_folder(Path(task["sweep"]), task["number"])
    with at_work(task, folder):
        found = whole(folder, task["number"], task["objectives"])
        if found and found["params"] == task["params"]:  # by a worker whose driver was killed
            return found
        return _run_trial(task, folder)


def _run_trial(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    result = {
        "schema": SCHEMA, "number": task["number"], "state": COMPLETE, "params": task["params"], "values": {},
        "seconds": 0.0, "sampler": task["sampler"], "begun": begun(folder) + 1,
    }  # fmt: skip
    files.write_json(folder / artifacts.TRIAL_BEGUN, {"times": result["begun"]})
    try:
        result.update(_Trial(task, folder, started).run())
    except _Pruned as stop:
        result.update(state=PRUNED, error=str(stop))
    except (_Misfit, MisfitError) as stop:
        result.update(state=MISFIT, error=str(stop))
    except (OutputError, BusyError, MemoryError):
        raise
    except (_Late, CotrainError) as error:
        result.update(state=FAILED, error=str(error))
    except Exception as error:  # a trial that raises is a trial that failed: the sweep goes on
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise
        if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
            raise MemoryError(files.one_line(error)) from None
        traceback.print_exc()
        result.update(
            state=FAILED, error=f"{type(error).__name__}: {files.one_line(error)} (see {folder / artifacts.TRIAL_LOG})"
        )
    finally:
        _forget()
    result["seconds"] = round(time.perf_counter() - started, 3)
    if result["state"] == COMPLETE and "seconds" in task["objectives"]:
        result["values"]["seconds"] = result["seconds"]
    files.write_json(folder / artifacts.TRIAL, result)
    return result


@contextlib.contextmanager
def at_work(task: dict[str, Any], folder: Path) -> Iterator[None]:
    """One process at a time works in a trial's folder, and what it prints goes to the log there.

    Raises
    ------
    OutputError
        The folder cannot be written.
    MissingError
        The sweep's folder is not there.
    """
    sweep = Path(task["sweep"])
    if not (sweep / artifacts.SWEEP_PLAN).is_file():
        raise MissingError(
            f"{os.uname().nodename} does not see {sweep}: all workers have to see the same files; give --runs DIR on "
            "a disk that they share"
        )
    kept = datasets.kept(_data_sets, scratch_of(sweep))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / artifacts.LOCK), _log(folder), kept:
            yield
    except CotrainError:
        raise
    except OSError as error:
        raise artifacts.cannot_write(folder, error) from None


def scratch_of(sweep: Path) -> Path:
    """Where synthetic data sets of a sweep's folder are drawn: where those of all runs beside it are."""
    return sweep.parent.parent / artifacts.SCRATCH


def begun(folder: Path) -> int:
    """How often a trial was begun before."""
    try:
        return int(files.read_json(folder / artifacts.TRIAL_BEGUN)["times"])
    except (CotrainError, KeyError, TypeError, ValueError):
        return 0


def whole(folder: Path, number: int, objectives: list[str]) -> dict[str, Any] | None:
    """The result that lies in a trial's folder, if it is one and is not to be tried again."""
    try:
        trial = files.read_json(folder / artifacts.TRIAL)
        good = trial["schema"] == SCHEMA and trial["number"] == number and trial["state"] in STATES
        good = good and isinstance(trial["params"], dict) and not trial.get(BROKEN)
        if trial["state"] == COMPLETE:
            good = good and all(isinstance(trial["values"][name], (int, float)) for name in objectives)
        return trial if good else None
    except (CorruptError, MissingError, KeyError, TypeError):
        return None


class _Trial:
    def __init__(self, task: dict[str, Any], folder: Path, started: float):
        self.task, self.folder, self.started = task, folder, started
        self.data, self.shared = Path(task["data"]), Path(task["sweep"]) / artifacts.SHARED
        self.experiment = experiments.load(task["base"], task["overrides"])
        self.limits = task["thresholds"]

    def run(self) -> dict[str, Any]:
        kinds = {ROWS[model].parameters for model in self.task["models"]} - {""}
        self._fit()
        self._stage("train")
        facts: dict[str, Any] = {"curve": self._curve()}
        if "hybrid" in kinds:
            self._stage("finetune")
        facts["values"] = self._score()
        return facts

    def _fit(self) -> None:
        """Where the network lies, before anything is trained: cores hang on shapes alone."""
        from cotrain import hardware
        from cotrain.pipeline.evaluation.models import placed_network
        from cotrain.pipeline.tasks import network_for

        spec = network_for(self.experiment.network, self._context("train").dataset)
        _, lowered = placed_network(self.experiment, spec, spec.init_params(self.experiment.seed))
        report = hardware.check(lowered, board=self.experiment.quantize.board, precompute=False)
        # how large weights get is not known yet, and the quantize stage looks at that
        hard = [violation for violation in report.violations if violation.rule != "integer_range"]
        if hard:
            raise _Misfit(f"{len(hard)} limits of {self.experiment.quantize.board} are broken, the first: {hard[0]}")
        self.spec, self.placement = spec, report.to_json()

    def _context(self, stage: str):
        from cotrain.pipeline.stages.runner import STAGES, Context

        return Context(self.experiment, STAGES[stage], self.folder, self.data)

    def _stage(self, name: str) -> None:
        """Run a stage, or take it from the trial that had the same settings; see `_bring`."""
        from cotrain.pipeline.stages import runner
        from cotrain.pipeline.training.loop import watched

        settings = self.experiment.resolved(*runner.STAGES[name].settings, *(("train",) if name == "finetune" else ()))
        root = self.shared / artifacts.json_digest([name, settings, self.task["threads"]])[:16]
        with _locked(root.with_suffix(".lock")):
            for need in runner.STAGES[name].needs:
                _bring(self.folder, root, self.experiment.name, need)
            with watched(self._watch if name == "train" else self._hurry):
                runner.run(name, self.experiment, root, self.data)
        _bring(root, self.folder, self.experiment.name, name)
        self._hurry(0, 0.0)

    def _watch(self, epoch: int, best: float) -> None:
        self._hurry(epoch, best)
        limit = self.limits[epoch] if epoch < len(self.limits) else None
        if limit is not None and best < limit:
            raise _Pruned(f"validation {best:.4f} after epoch {epoch}; half of the trials before had {limit:.4f}")

    def _hurry(self, epoch: int, best: float) -> None:
        seconds = time.perf_counter() - self.started
        if self.task["timeout_s"] and seconds > self.task["timeout_s"]:
            raise _Late(f"took more than timeout_s = {self.task['timeout_s']:g} s")

    def _curve(self) -> list[float]:
        folder = artifacts.stage_folder(self.folder, self.experiment.name, "train")
        history = artifacts.read_json(folder / artifacts.HISTORY)
        return [entry["metric"] for entry in history["epochs"]]

    def _score(self) -> dict[str, float]:
        from cotrain.pipeline.commands import evaluate

        path = self.folder / artifacts.TRIAL_SCORES["validation"]
        evaluate.score(
            self.experiment, self.data, self.folder, "validation", tuple(self.task["models"]), "run", 0, path
        )  # fmt: skip
        metrics = files.read_json(path)
        values = {}
        rows = {row["model"]: row for row in metrics["rows"]}
        for protocol, found in metrics["protocols"].items():
            rows.update({f"{protocol}.{row['model']}": row for row in found["rows"]})
        for name in self.task["objectives"]:
            row, _, key = name.rpartition(".")
            if name == "cores":
                values[name] = self.placement["cores"]
            elif name in ("energy_j", "time_s"):
                values[name] = cost_of(self.experiment, self.spec, rows["loihi-hybrid"], self.placement)[name]
            elif name != "seconds":
                values[name] = rows[row][key]
        return values


def cost_of(
    experiment: experiments.Experiment, spec: NetworkSpec, row: dict[str, Any], placement: dict[str, Any]
) -> dict[str, float]:
    """Estimated energy and time of an inference whose input is streamed; see `hardware.estimate`."""
    from cotrain import hardware
    from cotrain.pipeline.evaluation.costs import counts_of

    found = hardware.estimate(counts_of(row, spec, placement, experiment.finetune.n_steps))
    return {"energy_j": found["energy_j"]["total"]["value"], "time_s": found["time_s"]["total"]["value"]}


def _bring(source: Path, target: Path, experiment: str, stage: str) -> None:
    """Make a stage's run folder of `source` stand in `target` too; its files are linked where the disk allows it."""
    old = artifacts.stage_folder(source, experiment, stage)
    new = artifacts.stage_folder(target, experiment, stage)
    if new.exists() or not old.exists():
        return
    part = new.with_name(f".{stage}.{os.getpid()}.link")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(old, part, copy_function=_link)
    try:
        part.rename(new)
    except OSError:  # somebody was quicker
        shutil.rmtree(part, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until nobody else works there; a dead process holds nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _log(folder: Path) -> Iterator[None]:
    """Send what is printed to log.txt in a trial's folder."""
    with (
        (folder / artifacts.TRIAL_LOG).open("a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


def _forget() -> None:
    """Free what a training leaves behind in a worker that goes on."""
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].keras.backend.clear_session()
    gc.collect()
