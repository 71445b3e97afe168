"""A sweep's file: which settings vary, how they are chosen, and what counts."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.checked import nearest, show
from cotrain.pipeline.evaluation.rows import MODELS, ROWS
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.tasks.base import PROTOCOLS

SAMPLERS = ("grid", "random", "tpe", "nsga2")
DIRECTIONS = ("maximize", "minimize")
ROW_KEYS = ("value", "spikes_per_inference", "synops_per_inference", "mean_rate_hz")
SHIFTED_KEYS = ("value", "mean_rate_hz")  # of a protocol's rows, which know less
OTHER_OBJECTIVES = ("cores", "energy_j", "time_s", "seconds")
TRIALS_MOST = 100_000
GRID_MOST = 10_000  # points that nobody has to ask for
NUMBER_MOST = 2**63  # what Optuna's own files can hold; also refuses nan
STEPS_MOST = 10**6  # of a range
FILE_BYTES = 10**6
KEYS: dict[str, tuple[Any, Any, Any]] = {  # key: type, default, least and most
    "base": (str, None, None),
    "trials": (int, 0, (1, TRIALS_MOST)),
    "seed": (int, 0, (0, experiments.SEED_MOST)),
    "sampler": (str, "tpe", None),
    "timeout_s": ((int, float), 0, (0, 10**9)),
    "batch": (int, 4, (1, 1000)),
    "threads": (int, 1, (1, 256)),
    "prune": (bool, None, None),
    "set": (dict, {}, None),
    "space": (dict, None, None),
    "objectives": (dict, None, None),
    "slurm": (dict, {}, None),
}
WORDS = {str: "a text", bool: "true or false", dict: "a table", int: "a whole number"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def n_points(self) -> int:
        """How many there are, where there is a step."""
        assert self.step is not None
        return int(math.floor((self.high - self.low) / self.step + 1e-9)) + 1

    def point(self, i: int) -> float:
        """One of them."""
        assert self.step is not None
        value = self.low + i * self.step
        return int(value) if self.whole else value


@dataclass(frozen=True)
class Objective:
    """A figure of a trial, and which way is better."""

    name: str
    direction: str

    @property
    def protocol(self) -> str:
        """Of ``shifted.ROW.KEY``, the samples that the row is scored on; "" for the plain ones."""
        return self.name.rpartition(".")[0].rpartition(".")[0]

    @property
    def model(self) -> str:
        """The row of the comparison that it is read from; "" for `seconds` and `cores`."""
        if self.name in ("energy_j", "time_s"):
            return "loihi-hybrid"
        return self.name.rpartition(".")[0].rpartition(".")[2]


@dataclass(frozen=True)
class Plan:
    """A sweep's file, checked."""

    name: str
    base: str
    n_trials: int
    seed: int
    sampler: str
    timeout_s: float
    batch: int
    threads: int
    prune: bool
    fixed: dict[str, Any]
    space: dict[str, list | Range]
    objectives: tuple[Objective, ...]
    slurm: dict[str, Any] = field(default_factory=dict)

    def experiment(self, params: dict[str, Any]) -> Experiment:
        """The experiment of a trial with `params`."""
        return experiments.load(self.base, self.overrides(params))

    def first(self) -> dict[str, Any]:
        """The first value of every setting that varies."""
        return {key: values[0] if isinstance(values, list) else values.low for key, values in self.space.items()}

    def overrides(self, params: dict[str, Any]) -> list[str]:
        """``section.key=value`` of what is fixed and of `params`."""
        return [f"{key}={json.dumps(value)}" for key, value in {**self.fixed, **params}.items()]

    @property
    def models(self) -> tuple[str, ...]:
        """Rows that the objectives need, in their order."""
        wanted = {objective.model for objective in self.objectives}
        return tuple(model for model in MODELS if model in wanted)

    def in_batches(self) -> list[range]:
        """Numbers of the trials that are chosen at once.

        A batch is chosen from what came out of all batches before it, whatever the number of workers, so that a sweep
        gives the same table on one worker as on fifty.
        """
        size = self.batch if self.sampler in ("tpe", "nsga2") else self.n_trials
        return [range(i, min(i + size, self.n_trials)) for i in range(0, self.n_trials, size)]

    def facts(self) -> dict[str, Any]:
        """What the trials are a function of, as JSON: a folder of another sweep is told by it."""
        facts = {
            "base": experiments.load(self.base, self.overrides({})).resolved(),
            "seed": self.seed, "sampler": self.sampler, "batch": self.batch, "threads": self.threads,
            "prune": self.prune,
            "space": {k: v if isinstance(v, list) else vars(v) for k, v in self.space.items()},
            "objectives": {o.name: o.direction for o in self.objectives},
        }  # fmt: skip
        if self.sampler == "grid" and self.n_trials < grid_size(self.space):
            facts["trials"] = self.n_trials  # which points they are hangs on how many
        return json.loads(json.dumps(facts))  # with lists for tuples, as it comes back from the disk


def read(path: Path) -> Plan:
    """Read and check a sweep's file.

    Raises
    ------
    InputError
        An unknown key, value, setting, objective or sampler; an empty range; a grid that is too large.
    MissingError
        The file does not exist.
    """
    try:
        if path.stat().st_size > FILE_BYTES:
            raise InputError(f"{path.name} has more than {FILE_BYTES} bytes, which no sweep needs")
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # ValueError: of TOML, of UTF-8, and of numbers without end
        raise InputError(f"{path.name} is not valid TOML: {str(error) or 'nested too deep'}; mend that line") from None
    except OSError as error:
        raise MissingError(
            f"sweep file {path} cannot be read: {error.strerror}; give the path of a .toml file"
        ) from None
    try:
        return _plan(tree, path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None


def _plan(tree: dict[str, Any], path: Path) -> Plan:
    given = {}
    for key, value in tree.items():
        if key not in KEYS:
            raise InputError(f"unknown key {key!r}{nearest(key, KEYS)}; there are {', '.join(KEYS)}")
        kind, _, bounds = KEYS[key]
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not right or (bounds is not None and not bounds[0] <= value <= bounds[1]):
            limits = f" from {bounds[0]:,} to {bounds[1]:,}" if bounds else ""
            raise InputError(f"{key} is {show(value)}; expected {WORDS.get(kind, 'a number')}{limits}")
        given[key] = value
    for key in ("base", "space", "objectives"):
        if not given.get(key):
            raise InputError(f"{key} is missing; expected {'an experiment' if key == 'base' else f'a table [{key}]'}")
    given = {**{key: default for key, (_, default, _) in KEYS.items()}, **given}
    base = given["base"]
    if base.endswith(".toml"):
        base = os.path.abspath(path.parent / os.path.expanduser(base))
    sampler = given["sampler"]
    if sampler not in SAMPLERS:
        raise InputError(f"sampler is {show(sampler)}{nearest(sampler, SAMPLERS)}; there are {', '.join(SAMPLERS)}")
    known = {entry.name: entry for entry in experiments.all_settings()}
    for table in ("set", "space"):
        for key, value in given[table].items():
            if isinstance(value, dict) and any(f"{key}.{one}" in known for one in value):
                one = next(one for one in value if f"{key}.{one}" in known)
                raise InputError(f'[{table}] {key}.{one}: names of settings stand in quotation marks: "{key}.{one}"')
            if key in ("name", "title"):
                raise InputError(f"[{table}] {key!r} is no setting of a training; leave it out")
            if key not in known:
                raise InputError(
                    f"[{table}] has no setting {key!r}{nearest(key, known)}; `cotrain settings` lists them"
                )
            if not isinstance(value, dict):
                _check_plain(table, key, value)
        for key in given["set"]:
            if key in given["space"]:
                raise InputError(f"{key!r} stands under [set] and under [space]; a setting is fixed or varies")
    space = {key: _choices(key, value, known[key]) for key, value in given["space"].items()}
    objectives = tuple(_objective(name, way) for name, way in given["objectives"].items())
    plan = Plan(
        name=path.stem, base=base, n_trials=_count(given["trials"], sampler, space), seed=given["seed"],
        sampler=sampler, timeout_s=float(given["timeout_s"]), batch=given["batch"], threads=given["threads"],
        prune=len(objectives) == 1 if given["prune"] is None else given["prune"], fixed=dict(given["set"]),
        space=space, objectives=objectives, slurm=given["slurm"],
    )  # fmt: skip
    _try_values(plan)
    return plan


def _check_plain(table: str, key: str, value: Any) -> None:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, list):
            _check_plain(table, key, one)
        elif not isinstance(one, (bool, int, float, str)):  # a date, a table
            raise InputError(f"[{table}] {key!r}: {show(one)} is no value of a setting")


def _choices(key: str, value: Any, entry: experiments.Entry) -> list | Range:
    if isinstance(value, list):
        if not value:
            raise InputError(f"[space] {key!r} is an empty list; expected the values to try")
        if len({json.dumps(one) for one in value}) < len(value):
            raise InputError(f"[space] {key!r} has a value twice: {show(value)}")
        return value
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "log", "step"}:
        raise InputError(f"[space] {key!r} is {show(value)}; expected a list, or {{low = .., high = .., log = false}}")
    low, high, step = value["low"], value["high"], value.get("step")
    numbers = [low, high] + ([] if step is None else [step])
    if not all(type(n) in (int, float) and abs(n) < NUMBER_MOST for n in numbers):
        raise InputError(f"[space] {key!r}: low, high and step are numbers, got {show(value)}")
    if entry.kind not in (int, float):
        raise InputError(f"[space] {key!r} takes {entry.allowed}; expected a list of values")
    if low > high:
        raise InputError(f"[space] {key!r}: low {low:g} is above high {high:g}")
    if low == high:
        raise InputError(f"[space] {key!r}: low and high are both {low:g}, an empty range; put it under [set]")
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"[space] {key!r}: log is {show(log)}; expected true or false")
    if log and (low <= 0 or step is not None):
        what = f"low is {low:g}" if low <= 0 else "and this one has a step"
        raise InputError(f"[space] {key!r}: a logarithmic range starts above 0 and has no step; {what}")
    if step is not None and not (high - low) / STEPS_MOST <= step <= high - low:
        raise InputError(
            f"[space] {key!r}: step is {step:g}; expected at most {high - low:g}, which is all of the range, and no "
            f"less than a {STEPS_MOST:,}th of it"
        )
    whole = entry.kind is int
    if whole and any(n != int(n) for n in numbers):
        raise InputError(f"[space] {key!r} is a whole number; got {show(value)}")
    return Range(low, high, log, step, whole)


def _count(trials: int, sampler: str, space: dict[str, list | Range]) -> int:
    if sampler == "grid":
        total = grid_size(space)
        if not trials and total > GRID_MOST:
            raise InputError(
                f"the grid has {total:,} points; say how many of them with trials = N, or take fewer values"
            )
        trials = min(trials or total, total)
    if not trials:
        raise InputError(f"trials is missing; expected how many trainings sampler {sampler!r} may make")
    return trials


def grid_size(space: dict[str, list | Range]) -> int:
    """How many points the grid has."""
    return math.prod(_n_values(key, choices) for key, choices in space.items())


def grid_point(space: dict[str, list | Range], index: int) -> dict[str, Any]:
    """Point `index` of the grid, the last setting running fastest."""
    point = {}
    for key in reversed(list(space)):
        choices = space[key]
        index, i = divmod(index, _n_values(key, choices))
        point[key] = choices[i] if isinstance(choices, list) else choices.point(i)
    return {key: point[key] for key in space}


def grid_order(plan: Plan) -> list[int]:
    """Which points a grid's trials take: all in order, or a seeded choice."""
    total = grid_size(plan.space)
    if plan.n_trials == total:
        return list(range(total))
    draw = random.Random(plan.seed)
    order: dict[int, None] = {}
    while len(order) < plan.n_trials:  # a grid may have more points than a range can
        order[draw.randrange(total)] = None
    return list(order)


def _n_values(key: str, choices: list | Range) -> int:
    if isinstance(choices, list):
        return len(choices)
    if choices.step is None:
        raise InputError(f"[space] {key!r}: a grid needs a list of values, or a range with a step")
    return choices.n_points


def _objective(name: str, direction: Any) -> Objective:
    if name not in OTHER_OBJECTIVES:
        _check_figure(name)
    if direction not in DIRECTIONS:
        raise InputError(f'[objectives] {name!r} is {show(direction)}; expected "maximize" or "minimize"')
    return Objective(name, direction)


def _check_figure(name: str) -> None:
    """Refuse what is no figure of a row: rows that do not spike have a value alone."""
    figures = {f"{model}.{key}": ROWS[model].spiking or key == "value" for model in MODELS for key in ROW_KEYS}
    figures |= {
        f"{p}.{one}": has for p in PROTOCOLS for one, has in figures.items() if one.rpartition(".")[2] in SHIFTED_KEYS
    }
    if figures.get(name):
        return
    known = [*(one for one, has in figures.items() if has), *OTHER_OBJECTIVES]
    if name in figures:
        raise InputError(f"[objectives] {name!r}: that row does not spike; expected {name.rpartition('.')[0]}.value")
    raise InputError(
        f"[objectives] {name!r} is no figure of a comparison{nearest(name, known)}; expected "
        f"ROW.{' | '.join(ROW_KEYS)} with a ROW of {', '.join(MODELS)}, or "
        f"{PROTOCOLS[0]}.ROW.{' | '.join(SHIFTED_KEYS)}; or one of {', '.join(OTHER_OBJECTIVES)}"
    )


def _try_values(plan: Plan) -> None:
    """Refuse now what a trial would be refused for: every listed value, and both ends of every range."""
    first = plan.first()
    plan.experiment({})
    ends = {k: v if isinstance(v, list) else [v.low, v.high] for k, v in plan.space.items()}
    for key, value in itertools.chain.from_iterable(((k, v) for v in values) for k, values in ends.items()):
        try:
            plan.experiment({key: value})
        except InputError as alone:
            try:  # it may need the others' values
                plan.experiment({**first, key: value})
            except InputError:
                raise InputError(f"[space] {key!r}: {alone}") from None
