"""The sweep itself: batches of trials, what is left of an interrupted one, and the points that are chosen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cotrain.hardware import files
from cotrain.hardware.errors import CorruptError, CotrainError, InputError
from cotrain.hardware.progress import duration
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.folder import RunFolder
from cotrain.pipeline.sweeps import page, sampling
from cotrain.pipeline.sweeps.plan import Plan
from cotrain.pipeline.sweeps.trial import SCHEMA, run_trial
from cotrain.pipeline.sweeps.workers import Pool

BROKEN = "worker"  # key of a trial that ended with its worker: it is tried again by the next call


def run(
    plan: Plan, runs: Path, data: Path, pool: Pool, force: bool = False, say: Callable[[str], None] = print
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
        The folder holds another sweep's trials.
    """
    folder = artifacts.sweep_folder(runs, plan.name).resolve()
    _claim(folder, plan, force)
    table = _finished(folder, plan, say)
    seconds: list[float] = []
    total, started = plan.n_trials, time.perf_counter()
    for numbers in plan.in_batches():
        left = [n for n in numbers if n not in table]
        if not left:
            continue
        before = [table[n] for n in sorted(table) if n < numbers.start]
        chosen = sampling.choose(plan, numbers, table)
        limits = sampling.thresholds(plan, before)
        tasks = [_task(plan, n, chosen[n], limits, folder, data) for n in left]
        for i, found in pool.map(run_trial, tasks):
            trial = found if isinstance(found, dict) else _lost(folder, tasks[i], found)
            table[trial["number"]] = trial
            seconds.append(trial["seconds"])
            _write(folder, plan, table, {})
            rate = (time.perf_counter() - started) / len(seconds)
            say(_line(plan, trial, len(table), total, rate * (total - len(table))))
    trials = [table[n] for n in sorted(table)]
    front = sampling.pareto(plan, trials)
    tests = _score_front(plan, front, table, folder, data, pool, say)
    summary = _write(folder, plan, table, tests)
    _journal(folder, plan, trials)
    say(_verdict(plan, summary))
    say(f"sweep {plan.name}: {folder / artifacts.SWEEP_PAGE}")
    return summary


def _claim(folder: Path, plan: Plan, force: bool) -> None:
    path, facts = folder / artifacts.SWEEP_PLAN, plan.facts()
    if path.is_file():
        old = files.read_json(path)
        changed = [key for key in facts if not isinstance(old, dict) or old.get(key) != facts[key]]
        if changed and not force:
            raise InputError(
                f"{folder} holds a sweep whose {changed[0]} is not that of {plan.name}.toml; give the file another "
                "name, or start over with --force, which deletes its trials"
            )
        if changed:
            shutil.rmtree(folder)
    files.write_json(path, facts)


def _finished(folder: Path, plan: Plan, say) -> dict[int, dict[str, Any]]:
    """Trials of an earlier call, by number; those that died with their worker are left out."""
    table, again = {}, []
    for n in range(plan.n_trials):
        path = artifacts.trial_folder(folder, n) / artifacts.TRIAL
        if not path.is_file():
            continue
        try:
            trial = files.read_json(path)
            good = trial["schema"] == SCHEMA and trial["number"] == n and trial["state"] in sampling.STATES
            good = good and isinstance(trial["params"], dict) and not trial.get(BROKEN)
            if trial["state"] == sampling.COMPLETE:
                good = good and all(isinstance(trial["values"][o.name], (int, float)) for o in plan.objectives)
        except (CorruptError, KeyError, TypeError):
            good = False
        if good:
            table[n] = trial
        else:
            again.append(n)
    if table:
        say(f"sweep {plan.name}: going on with {len(table)} of {plan.n_trials} trials done")
    if again:
        say(f"  run again, because no whole result is there: {', '.join(map(str, again))}")
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
    trial = {
        "schema": SCHEMA, "number": task["number"], "state": sampling.FAILED, "params": task["params"], "values": {},
        "seconds": 0.0, "sampler": task["sampler"], BROKEN: True,
        "error": f"its worker died ({type(error).__name__}); it is tried again when the sweep is called again",
    }  # fmt: skip
    files.write_json(artifacts.trial_folder(folder, task["number"]) / artifacts.TRIAL, trial)
    return trial


def _write(folder: Path, plan: Plan, table: dict[int, dict], tests: dict[int, dict]) -> dict[str, Any]:
    trials = [table[n] for n in sorted(table)]
    keys = ("number", "state", "params", "values", "seconds")
    summary = {
        "schema": SCHEMA,
        "sweep": plan.name,
        "base": Path(plan.base).stem,
        "objectives": {o.name: o.direction for o in plan.objectives},
        "split": "validation",
        "trials": [
            {**{key: t[key] for key in keys}, **({"error": t["error"]} if "error" in t else {})} for t in trials
        ],
        "pareto": sampling.pareto(plan, trials),
        "test": {str(n): rows for n, rows in tests.items()},
    }
    files.write_json(folder / artifacts.SWEEP_TABLE, summary)
    files.write_bytes(folder / artifacts.SWEEP_PAGE, page.render(plan, summary, folder))
    return summary


def _score_front(plan: Plan, front: list[int], table, folder: Path, data: Path, pool: Pool, say) -> dict[int, dict]:
    """The chosen points on the test split."""
    if not front:
        return {}
    say(f"  scoring the {len(front)} points of the front on the test split")
    tasks = [_task(plan, n, table[n], [], folder, data) for n in front]
    found = {}
    for i, rows in pool.map(score_point, tasks):
        if isinstance(rows, Exception):
            say(f"  trial {front[i]}: not scored on the test split: {rows}")
        else:
            found[front[i]] = rows
    return {n: found[n] for n in sorted(found)}


def score_point(task: dict[str, Any]) -> dict[str, Any]:
    """Deploy a trial on the test split and write its report; the rows of its comparison. Runs in a worker."""
    from cotrain.pipeline import experiment as experiments
    from cotrain.pipeline.commands import evaluate
    from cotrain.pipeline.stages import runner
    from cotrain.pipeline.sweeps.trial import log

    folder, data = artifacts.trial_folder(Path(task["sweep"]), task["number"]), Path(task["data"])
    experiment = experiments.load(task["base"], task["overrides"])
    with log(folder):
        if not RunFolder(artifacts.stage_folder(folder, experiment.name, "finetune"), "finetune").finished():
            path = folder / artifacts.TRIAL_SCORES["test"]  # ANNs alone have nothing to deploy
            evaluate.score(experiment, data, folder, "test", tuple(task["models"]), "run", 0, path)
            return {"rows": _short_rows(files.read_json(path))}
        runner.run("deploy", experiment, folder, data)
        runner.run("report", experiment, folder, data)
    return {
        "rows": _short_rows(
            files.read_json(artifacts.stage_folder(folder, experiment.name, "deploy") / artifacts.METRICS)
        )
    }


def _short_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    keys = ("model", "value", "ci95", "mean_rate_hz", "spikes_per_inference")
    return [{key: row[key] for key in keys} for row in metrics["rows"] if not row.get("skipped")]


def _journal(folder: Path, plan: Plan, trials: list[dict[str, Any]]) -> None:
    """The trials as Optuna's own tools read them."""
    optuna = sampling.import_optuna()
    path = folder / artifacts.SWEEP_JOURNAL
    part = artifacts.part_of(path)
    part.unlink(missing_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(part))
    sampling.study_of(plan, trials, storage=optuna.storages.JournalStorage(backend))
    part.replace(path)


def _line(plan: Plan, trial: dict[str, Any], n_done: int, total: int, left: float) -> str:
    what = trial["state"]
    if what == sampling.COMPLETE:
        what = "  ".join(f"{o.name} {trial['values'][o.name]:.5g}" for o in plan.objectives)
    elif trial.get("error"):
        what += f": {trial['error']}"
    rest = f", {duration(left)} left" if n_done < total else ""
    return f"  trial {trial['number']} ({n_done}/{total}{rest}): {what}"


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
