"""The sweep itself: batches of trials, what is left of an interrupted one, and the points that are chosen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cotrain.hardware import files, terminal
from cotrain.hardware.errors import CotrainError, InputError, OutputError, UnsupportedError
from cotrain.hardware.progress import duration
from cotrain.pipeline import datasets
from cotrain.pipeline.evaluation.rows import MODELS
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.folder import RunFolder
from cotrain.pipeline.runs.lock import locked
from cotrain.pipeline.sweeps import page, sampling
from cotrain.pipeline.sweeps.plan import Plan
from cotrain.pipeline.sweeps.trial import BROKEN, SCHEMA, at_work, begun, run_trial, scratch_of, whole
from cotrain.pipeline.sweeps.workers import Pool
from cotrain.pipeline.tasks import network_for, task_of

PAGE_EVERY_S = 5.0  # while trials come in


def run(
    plan: Plan, runs: Path, data: Path, pool: Pool, force: bool = False, say: Callable[[str], None] = terminal.say
) -> dict[str, Any]:
    """Run what is left of a sweep and write its table, its page and Optuna's journal.

    Each trial is scored on the validation split. The points of the Pareto front are then deployed on the test split,
    each with a report of its own.

    Returns
    -------
    dict
        "trials" (number, state, params, values, seconds), "pareto" (numbers), "test" (rows of the points of the front).

    Raises
    ------
    InputError
        The folder holds another sweep's trials, or the objectives do not suit the data.
    BusyError
        Another process runs this sweep.
    MissingError, CorruptError
        The data.
    OutputError
        A full disk; what is done is kept.
    """
    folder = artifacts.sweep_folder(runs, plan.name).resolve()
    _look(plan, folder, data)
    with locked(folder):
        _claim(folder, plan, force)
        return _Sweep(plan, folder, data, pool, say).run()


class _Sweep:
    """A sweep whose folder is this process's."""

    def __init__(self, plan: Plan, folder: Path, data: Path, pool: Pool, say: Callable[[str], None]):
        self.plan, self.folder, self.data, self.pool, self.say = plan, folder, data, pool, say
        self.table = _finished(folder, plan, say)
        self.started, self.n_run, self.drawn = time.perf_counter(), 0, -PAGE_EVERY_S

    def run(self) -> dict[str, Any]:
        plan, table = self.plan, self.table
        self._write({})  # for who looks from outside
        for numbers in plan.in_batches():
            left = [n for n in numbers if n not in table]
            if left:
                before = [table[n] for n in sorted(table) if n < numbers.start]
                chosen = sampling.choose(plan, numbers, table)
                limits = sampling.thresholds(plan, before)
                self._run([_task(plan, n, chosen[n], limits, self.folder, self.data) for n in left])
        trials = [table[n] for n in sorted(table)]
        tests = self._score_front(sampling.pareto(plan, trials))
        summary = self._write(tests)
        _journal(self.folder, plan, trials)
        self.say(_verdict(plan, summary))
        self.say(f"sweep {plan.name}: {self.folder / artifacts.SWEEP_PAGE}")
        return summary

    def _run(self, tasks: list[dict[str, Any]]) -> None:
        """Run trials; the table holds each of them then."""
        for i, found in self.pool.map(run_trial, tasks):
            trial = found if isinstance(found, dict) else _lost(self.folder, tasks[i], found)
            self.table[trial["number"]] = trial
            self.n_run += 1
            self._write({}, PAGE_EVERY_S)
            left = self.plan.n_trials - len(self.table)
            rate = (time.perf_counter() - self.started) / self.n_run
            rest = f", about {duration(rate * left)} left" if left else ""
            self.say(
                f"  trial {trial['number']} ({len(self.table)}/{self.plan.n_trials}{rest}): {_came(self.plan, trial)}"
            )

    def _write(self, tests: dict[int, dict], every_s: float = 0.0) -> dict[str, Any]:
        """Write the table, and the page if the last one is `every_s` old."""
        plan, trials = self.plan, [self.table[n] for n in sorted(self.table)]
        keys = ("number", "state", "params", "values", "seconds")
        summary = {
            "schema": SCHEMA,
            "sweep": plan.name,
            "base": Path(plan.base).stem,
            "n_trials": plan.n_trials,
            "objectives": {o.name: o.direction for o in plan.objectives},
            "split": "validation",
            "trials": [
                {**{key: t[key] for key in keys}, **({"error": t["error"]} if "error" in t else {})} for t in trials
            ],
            "pareto": sampling.pareto(plan, trials),
            "test": {str(n): rows for n, rows in tests.items()},
        }
        files.write_json(self.folder / artifacts.SWEEP_TABLE, summary)
        if time.perf_counter() - self.drawn >= every_s:
            files.write_bytes(self.folder / artifacts.SWEEP_PAGE, page.render(plan, summary, self.folder))
            self.drawn = time.perf_counter()
        return summary

    def _score_front(self, front: list[int]) -> dict[int, dict]:
        """The chosen points on the test split."""
        if not front:
            return {}
        self.say(f"  scoring the {terminal.plural(len(front), 'point')} of the front on the test split")
        tasks = [_task(self.plan, n, self.table[n], [], self.folder, self.data) for n in front]
        found = {}
        for i, rows in self.pool.map(score_point, tasks):
            if isinstance(rows, dict):
                found[front[i]] = rows
            elif isinstance(rows, (OutputError, UnsupportedError)):
                raise rows
            else:
                self.say(f"  trial {front[i]}: not scored on the test split: {files.one_line(rows)}")
        return {n: found[n] for n in sorted(found)}


def _claim(folder: Path, plan: Plan, force: bool) -> None:
    """Say whose trials the folder holds; the lock's file stays where another's are deleted."""
    path, facts = folder / artifacts.SWEEP_PLAN, plan.facts()
    if path.is_file() and any((folder / artifacts.TRIALS).glob("*")):
        old = files.read_json(path)
        changed = (
            [key for key in {**facts, **old} if old.get(key) != facts.get(key)] if isinstance(old, dict) else ["plan"]
        )
        if changed and not force:
            raise InputError(
                f"{folder} holds a sweep whose {changed[0]} is not that of {plan.name}.toml; give the file another "
                "name, or start over with --force, which deletes its trials"
            )
        if changed:
            for one in folder.iterdir():
                if one.is_dir():
                    shutil.rmtree(one)
                elif one.name != artifacts.LOCK:
                    one.unlink()
    files.write_json(path, facts)


def _look(plan: Plan, folder: Path, data: Path) -> None:
    """Refuse now what every trial would fail for: data that are not there, objectives that they do not have."""
    experiment = plan.experiment(plan.first())
    dataset = datasets.load_for(experiment.data, data, scratch_of(folder))
    task = task_of(dataset.task)
    known = task.protocols(dataset.take(1), experiment.data)
    for objective in plan.objectives:
        if objective.protocol and objective.protocol not in known:
            raise InputError(
                f"{plan.name}.toml: [objectives] {objective.name!r}: {dataset.task} are not judged on "
                f"{objective.protocol} images; expected {objective.name.partition('.')[2]!r}"
            )
    network_for(experiment.network, dataset)


def _finished(folder: Path, plan: Plan, say) -> dict[int, dict[str, Any]]:
    """Trials of an earlier call, by number; those that died with their worker are left out."""
    table, again, on = {}, [], []
    names = [o.name for o in plan.objectives]
    for n in range(plan.n_trials):
        where = artifacts.trial_folder(folder, n)
        trial = whole(where, n, names)
        if trial:
            table[n] = trial
        elif (where / artifacts.TRIAL).is_file():
            again.append(n)
        elif begun(where):
            on.append(n)
    if table or again or on:
        say(f"sweep {plan.name}: going on with {len(table)} of {plan.n_trials} trials done")
    if again:
        say(f"  run again, because no whole result is there: {', '.join(map(str, again))}")
    if on:
        say(f"  begun and not ended; what they had trained is kept: {', '.join(map(str, on))}")
    return table


def _task(plan: Plan, n: int, chosen: dict[str, Any], limits, folder: Path, data: Path) -> dict[str, Any]:
    return {
        "number": n, "base": plan.base, "overrides": plan.overrides(chosen["params"]), "params": chosen["params"],
        "sampler": chosen["sampler"], "models": plan.models, "objectives": [o.name for o in plan.objectives],
        "sweep": str(folder), "data": str(data.resolve()), "timeout_s": plan.timeout_s, "thresholds": limits,
        "threads": plan.threads,
    }  # fmt: skip


def _lost(folder: Path, task: dict[str, Any], error: Exception) -> dict[str, Any]:
    """A trial whose worker did not come back: out of memory, killed, or a full disk."""
    if isinstance(error, CotrainError):
        raise error
    why = "no memory" if isinstance(error, MemoryError) else f"its worker died ({type(error).__name__})"
    trial = {
        "schema": SCHEMA, "number": task["number"], "state": sampling.FAILED, "params": task["params"], "values": {},
        "seconds": 0.0, "sampler": task["sampler"], BROKEN: True,
        "error": f"{why}; it is tried again when the sweep is called again",
    }  # fmt: skip
    files.write_json(artifacts.trial_folder(folder, task["number"]) / artifacts.TRIAL, trial)
    return trial


def score_point(task: dict[str, Any]) -> dict[str, Any]:
    """Deploy a trial on the test split and write its report; the rows of its comparison. Runs in a worker."""
    from cotrain.pipeline import experiment as experiments
    from cotrain.pipeline.commands import evaluate
    from cotrain.pipeline.stages import runner

    folder, data = artifacts.trial_folder(Path(task["sweep"]), task["number"]), Path(task["data"])
    experiment = experiments.load(task["base"], task["overrides"])
    with at_work(task, folder):
        if not RunFolder(artifacts.stage_folder(folder, experiment.name, "finetune"), "finetune").finished():
            path = folder / artifacts.TRIAL_SCORES["test"]  # ANNs alone have nothing to deploy
            models = tuple(model for model in MODELS if model in {"constant", "ann", *task["models"]})
            evaluate.score(experiment, data, folder, "test", models, "run", 0, path)
        else:
            runner.run("deploy", experiment, folder, data)
            runner.run("report", experiment, folder, data)
            path = artifacts.stage_folder(folder, experiment.name, "deploy") / artifacts.METRICS
        metrics = files.read_json(path)
    shifted = {name: {"rows": _short_rows(found)} for name, found in metrics["protocols"].items()}
    return {"rows": _short_rows(metrics), **({"protocols": shifted} if shifted else {})}


def _short_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    keys = ("model", "value", "ci95", "mean_rate_hz", "spikes_per_inference")
    return [{key: row.get(key) for key in keys} for row in metrics["rows"] if not row.get("skipped")]


def _journal(folder: Path, plan: Plan, trials: list[dict[str, Any]]) -> None:
    """The trials as Optuna's own tools read them."""
    optuna = sampling.import_optuna()
    path = folder / artifacts.SWEEP_JOURNAL
    part = artifacts.part_of(path)
    part.unlink(missing_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(part))
    sampling.study_of(plan, trials, storage=optuna.storages.JournalStorage(backend))
    part.replace(path)


def _came(plan: Plan, trial: dict[str, Any]) -> str:
    """What came of a trial, in a line."""
    what = trial["state"]
    if what == sampling.COMPLETE:
        what = "  ".join(f"{o.name} {trial['values'][o.name]:.5g}" for o in plan.objectives)
    elif trial.get("error"):
        what += f": {trial['error']}"
    times = trial.get("begun", 1)
    return what + (f" (begun {times} times; what it had trained was kept)" if times > 1 else "")


def _verdict(plan: Plan, summary: dict[str, Any]) -> str:
    states = [trial["state"] for trial in summary["trials"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sampling.STATES if state in states)
    lines = [f"sweep {plan.name}: {counts}; the front has {len(summary['pareto'])}"]
    by_number = {trial["number"]: trial for trial in summary["trials"]}
    for n in summary["pareto"][:10]:
        values = "  ".join(f"{o.name} {by_number[n]['values'][o.name]:.5g}" for o in plan.objectives)
        params = ", ".join(f"{key}={value}" for key, value in by_number[n]["params"].items())
        lines.append(f"  trial {n}: {values}\n    {params}")
    return "\n".join(lines)
