"""Runs a stage: whether it is fresh, what it needs; the old result stays until the new one is whole."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError, MissingError
from cotrain.hardware.progress import duration
from cotrain.pipeline.experiment import Experiment, all_settings
from cotrain.pipeline.runs import artifacts, parameters, record
from cotrain.pipeline.runs.lock import locked
from cotrain.pipeline.runs.request import Request
from cotrain.pipeline.stages.context import Context
from cotrain.pipeline.stages.table import STAGES, Stage

__all__ = ["STAGES", "Context", "Stage", "run"]

Say = Callable[[str], None]
SHOWN = {"deploy": artifacts.METRICS, "report": artifacts.REPORT["html"]}  # the files that people open


def run(
    name: str,
    experiment: Experiment,
    runs: Path,
    data: Path,
    force: bool = False,
    say: Say = terminal.say,
    asked: Request | None = None,
) -> bool:
    """Run a stage unless it is fresh. Returns whether it ran.

    All that can be checked is checked before anything is written, and the result that is there stays until the new one
    is whole.

    Parameters
    ----------
    force : bool
        Run it even if it is fresh, and replace a result of other settings or data.
    asked : Request, optional
        How this was asked for, for the commands that messages name.

    Raises
    ------
    MissingError
        A stage that it needs has not finished.
    CorruptError
        A file of a stage that it needs was changed.
    InputError
        What is there was made with other settings or data.
    BusyError
        Another process writes the folder of this experiment.
    """
    context = Context(experiment, STAGES[name], runs, data, asked)
    context.made_of(context.stage)  # reads the data, which may be refused
    _check_needs(context)
    if not force and _all_fresh(context):
        for need in _automatic(context.stage):
            _say_fresh(context.of(need), say)
        _say_fresh(context, say)
        return False
    if not force:
        _refuse_to_replace(context)
    with locked(artifacts.experiment_folder(runs, experiment.name)):
        return _run(context, force, say)


def _run(context: Context, force: bool, say: Say) -> bool:
    """`run` where the lock is held."""
    stage, name = context.stage, context.experiment.name
    folder = context.folder(stage.name)
    for one in (folder, *map(context.folder, stage.needs)):
        one.settle()
    _check_needs(context)
    for need in _automatic(stage):
        if _all_fresh(context.of(need)):
            _say_fresh(context.of(need), say)
        else:
            _run(context.of(need), force, say)
    if not force:
        if _fresh(context):  # another process has made it
            _say_fresh(context, say)
            return False
        _refuse_to_replace(context)
    record.git_revision()  # asked now, so that nothing waits between the last file and the manifest
    started, key = time.perf_counter(), context.key()
    module = importlib.import_module(f"cotrain.pipeline.stages.{stage.name}")
    say(f"{stage.name} {name}: {stage.help}")
    if context.pretrained and stage.pretrained:
        say("  no run of this experiment: the parameters that come with the package are used")
    folder.begin()
    try:
        said = module.run(context)
    except BaseException:
        folder.abandon()
        raise
    seconds = time.perf_counter() - started
    folder.finish(key, context.outputs, seconds)
    if said:
        say(f"{stage.name} {name}: {said}")
    say(f"{stage.name} {name}: done in {duration(seconds)}, {folder.path / SHOWN.get(stage.name, '')}")
    return True


def _automatic(stage: Stage) -> list[Stage]:
    return [STAGES[need] for need in stage.needs if STAGES[need].automatic]


def _fresh(context: Context) -> bool:
    """Whether the stage has finished with these settings, data and inputs. A changed output is an error."""
    folder = context.folder(context.stage.name)
    if context.stage.always or not folder.finished() or _changes(folder.manifest(), context.key()):
        return False
    folder.verify()
    return True


def _all_fresh(context: Context) -> bool:
    """And so have those that run by themselves."""
    return all(_all_fresh(context.of(need)) for need in _automatic(context.stage)) and _fresh(context)


def _say_fresh(context: Context, say: Say) -> None:
    name = context.stage.name
    where = context.folder(name).path / SHOWN.get(name, "")
    say(f"{name} {context.experiment.name}: up to date in {where} (--force runs it again)")


def _check_needs(context: Context) -> None:
    stage = context.stage
    for need in stage.needs:
        packed = stage.pretrained and context.pretrained and need in parameters.KINDS.values()
        if not packed and not STAGES[need].automatic:
            _require(need, context)


def _require(need: str, context: Context) -> None:
    """Refuse to build on a stage that is missing or belongs to other settings or data."""
    folder, name = context.folder(need), context.experiment.name
    if not folder.finished():
        raise MissingError(
            f"{context.stage.name} {name} needs the {need} stage, which has not finished in {folder.path}; "
            f"run: {context.command(need)}"
        )
    for upstream in STAGES[need].needs:
        packed = context.pretrained and upstream in parameters.KINDS.values()
        if not packed:
            _require(upstream, context)
    changes = _changes(folder.manifest(), context.key(STAGES[need]))
    if changes:
        raise InputError(
            f"{folder.path} was made with {next(iter(changes.values()))}; run it with the settings you want: "
            f"{context.command(need, '--force')}"
        )


def _refuse_to_replace(context: Context) -> None:
    """A result of other settings or data is not replaced unless that is said."""
    stage, folder = context.stage, context.folder(context.stage.name)
    for need in _automatic(stage):
        _refuse_to_replace(context.of(need))
    if stage.derived or stage.always or not folder.finished():
        return
    changes = _changes(folder.manifest(), context.made_of(stage))
    told = [changes[kind] for kind in ("settings", "dataset", "model", "start") if kind in changes]
    if told:
        raise InputError(
            f"{folder.path} holds a finished result of {told[0]}; --force replaces it, and another --runs DIR keeps it"
        )


def _changes(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, str]:
    """What `wanted` has otherwise than a manifest, in words, by the part of the key that it is in."""
    wanted = json.loads(json.dumps(wanted))
    words = {
        "dataset": "other data",
        "upstream": "an earlier run of the stages before it",
        "model": "another model",
        "start": "another train.start",
    }
    changes = {}
    for part, value in wanted.items():
        if part == "settings":
            text = _setting_that_differs(found.get(part), value)
        else:
            text = "" if found.get(part) == value else words.get(part, f"another {part}")
        if text:
            changes[part] = text
    return changes


def _setting_that_differs(found: Any, wanted: dict[str, Any]) -> str:
    """The first of them; "" for none. A setting that is younger than the manifest had its default there."""
    if not isinstance(found, dict):
        return "unknown settings"
    for one in all_settings():
        group = wanted.get(one.section) if one.section else wanted
        if not isinstance(group, dict) or one.key not in group:
            continue
        before = found.get(one.section, {}) if one.section else found
        old = before.get(one.key, json.loads(json.dumps(one.default))) if isinstance(before, dict) else None
        if old != group[one.key]:
            return f"{one.name}={old!r}, now it is {group[one.key]!r}"
    return ""
