"""``cotrain status``: what lies in the run folders, what is running there, and what is broken."""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cotrain.hardware import terminal
from cotrain.hardware.errors import CotrainError, MissingError
from cotrain.hardware.progress import duration
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.commands import options
from cotrain.pipeline.evaluation.rows import MODELS
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.folder import RunFolder
from cotrain.pipeline.runs.lock import owner
from cotrain.pipeline.stages.table import STAGES

WIDTH = 79


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_runs(parser)


def run(arguments: argparse.Namespace) -> int:
    show(arguments.runs)
    return 0


def show(runs: Path, say: Callable[[str], None] = terminal.say) -> None:
    """Print what there is of every experiment and sweep in `runs`.

    Stages that are done, running or broken; settings that differ from the experiment's own; scores; size on disk.

    Raises
    ------
    MissingError
        There is no such folder.
    """
    if not runs.is_dir():
        raise MissingError(f"{runs} is no folder; nothing has been run yet, or name another with --runs DIR")
    found = False
    for folder in sorted(path for path in runs.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if folder.name == artifacts.SWEEPS:
            continue
        lines = list(of_experiment(runs, folder.name))
        if lines:
            found = True
            say(f"{folder.name} ({size(folder)})")
            _say_lines(lines, say)
    for table in sorted((runs / artifacts.SWEEPS).glob(f"*/{artifacts.SWEEP_PLAN}")):
        found = True
        say(f"sweep {table.parent.name} ({size(table.parent)})")
        _say_lines(of_sweep(table.parent), say)
    if not found:
        say(f"{runs}: no experiment has been run here")


def of_experiment(runs: Path, name: str) -> Iterator[tuple[str, str]]:
    """(label, text) of what there is to say of an experiment's folder; nothing where it is no such folder."""
    done, broken, running, manifest = [], [], [], None
    holder = owner(artifacts.experiment_folder(runs, name))
    for stage in STAGES:
        folder = RunFolder(artifacts.stage_folder(runs, name, stage), stage)
        if folder.finished():
            try:
                folder.verify()
                manifest = folder.manifest()
                done.append(stage)
            except CotrainError as error:
                broken.append(str(error))
        if folder.part.is_dir():
            running.append(f"{stage}{progress(folder.part)}")
    if done:
        yield "done", ", ".join(done)
    if running:
        what = ", ".join(running)
        if holder:
            yield "running", f"{what}: {holder}"
        else:
            yield "stopped", f"{what}; the same command goes on from there"
    for text in broken:
        yield "broken", text
    if manifest is not None:
        changed = differing(name, manifest["settings"])
        if changed:
            yield "settings", ", ".join(changed)
    scores = _scores(artifacts.stage_folder(runs, name, "deploy") / artifacts.METRICS)
    if scores:
        yield "scores", scores


def progress(part: Path) -> str:
    """How far an unfinished stage is: ``, 12 of 40 epochs, 3 min left``; nothing where it has not said."""
    try:
        told = artifacts.read_json(part / artifacts.PROGRESS)
        since = time.time() - (part / artifacts.PROGRESS).stat().st_mtime
        left = max(float(told["seconds_left"]) - since, 0.0)
        return f", {int(told['done'])} of {int(told['total'])} {told['unit']}, about {duration(left)} left"
    except (CotrainError, OSError, KeyError, TypeError, ValueError):
        return ""


def differing(name: str, settings: dict[str, Any]) -> list[str]:
    """``section.key=value`` of what a run has otherwise than the experiment of its name, or than the defaults."""
    own = experiments.load(name) if name in experiments.names() else Experiment()
    standard = json.loads(json.dumps(own.resolved()))
    found = []
    for entry in experiments.all_settings():
        mine, theirs = (tree.get(entry.section, {}) if entry.section else tree for tree in (settings, standard))
        if entry.key in ("name", "title") and not entry.section:
            continue
        if isinstance(mine, dict) and entry.key in mine and mine[entry.key] != theirs.get(entry.key):
            found.append(f"{entry.name}={json.dumps(mine[entry.key])}")
    return found


def of_sweep(folder: Path) -> Iterator[tuple[str, str]]:
    """(label, text) of what there is to say of a sweep."""
    holder, left = owner(folder), True
    try:
        table = artifacts.read_json(folder / artifacts.SWEEP_TABLE)
        states = [trial["state"] for trial in table["trials"]]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        front = ", ".join(str(n) for n in table["pareto"][:8])
        total = table.get("n_trials", len(states))
        left = len(states) < total
        of_all = f"{len(states)} of {total}: " if left else ""
        yield "trials", f"{of_all}{counts or 'none has ended yet'}; the front: {front or 'none yet'}"
        yield "page", str(folder / artifacts.SWEEP_PAGE)
    except MissingError:
        yield "trials", "none has ended yet"
    except (CotrainError, KeyError, TypeError):
        yield "broken", f"{folder / artifacts.SWEEP_TABLE} cannot be read; the same command makes it again"
    if holder:
        yield "running", holder
    elif left:
        yield "stopped", "the same command goes on from there"


def _say_lines(lines: Iterable[tuple[str, str]], say: Callable[[str], None]) -> None:
    for label, text in lines:
        for line in textwrap.wrap(text, WIDTH - 12, break_long_words=False, break_on_hyphens=False) or [""]:
            say(f"  {label:<9} {line}")
            label = ""


def size(folder: Path) -> str:
    """What a folder takes on the disk: ``1.2 MB``."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:  # it went in between
            pass
    return f"{total / 1e6:.1f} MB"


def _scores(path: Path) -> str:
    try:
        metrics = artifacts.read_json(path)
        rows = {row["model"]: row for row in metrics["rows"] if not row.get("skipped")}
        texts = []
        for model in MODELS:
            if model in rows:
                rate = rows[model].get("mean_rate_hz")
                texts.append(f"{model} {rows[model]['value']:.4f}" + (f" ({rate:.0f} Hz)" if rate else ""))
        return f"{metrics['metric']}: {', '.join(texts)}"
    except (CotrainError, KeyError, TypeError, ValueError):
        return ""
