"""``cotrain repeat``: the same experiment with several seeds or splits, and what remains of its figures then."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError
from cotrain.pipeline import datasets
from cotrain.pipeline.commands import options
from cotrain.pipeline.experiment import Experiment, shared_settings
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.request import Request
from cotrain.pipeline.stages import runner
from cotrain.pipeline.sweeps.workers import Pool, pool

SCHEMA = 1
STAGES = ("train", "finetune", "deploy")


@dataclass(frozen=True)
class Repeats:
    """What differs between the runs.

    Attributes
    ----------
    key, one : str
        Option and key of the summary; a run of them.
    file : callable
        Where the summary lies; the further runs lie beside it.
    first : callable
        The number of an experiment's own run.
    numbered : callable
        The same experiment with another number.
    """

    key: str
    one: str
    file: Callable[[Path, str], Path]
    first: Callable[[Experiment], int]
    numbered: Callable[[Experiment, int], Experiment]


def _with_split(experiment: Experiment, number: int) -> Experiment:
    return dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, split_seed=number))


SEEDS = Repeats(
    "seeds", "seed", artifacts.seeds_file, lambda one: one.seed, lambda one, n: dataclasses.replace(one, seed=n)
)
SPLITS = Repeats("splits", "split", artifacts.splits_file, lambda one: one.data.split_seed, _with_split)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_experiments(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="how many, the experiment's own first (default: 3)"
    )
    what.add_argument(
        "--splits",
        type=int,
        metavar="N",
        help="as many random splits of the data in place of seeds, each scored on its own test images",
    )
    options.add_models(parser, "comma-separated rows of the further runs (default: all)")
    options.add_workers(parser)


def run(arguments: argparse.Namespace) -> int:
    name = arguments.experiment
    experiment = options.load(arguments, name)
    asked = options.asked(arguments, name)
    repeats, n = (SEEDS, arguments.seeds) if arguments.splits is None else (SPLITS, arguments.splits)
    with pool(arguments.workers, arguments.cluster) if _shared(arguments) else nullcontext(Pool()) as workers:
        repeat(
            experiment, arguments.runs, arguments.data, n, arguments.models, asked=asked, workers=workers,
            repeats=repeats,
        )  # fmt: skip
    return 0


def _shared(arguments: argparse.Namespace) -> bool:
    return arguments.workers != 1 or bool(arguments.cluster)


def repeat(
    experiment: Experiment,
    runs: Path,
    data: Path,
    n: int,
    models: tuple[str, ...] | None = None,
    say: Callable[[str], None] = terminal.say,
    asked: Request | None = None,
    workers: Pool | None = None,
    repeats: Repeats = SEEDS,
) -> dict[str, Any]:
    """Train, fine-tune and deploy with the seeds ``experiment.seed``, ``experiment.seed + 1``, ..., or with splits.

    Initial parameters, order and views of the images change with the seed; the split of the data does not. With the
    split (``data.split_seed``) the training, validation and test images change, and the seed does not: that is
    cross-validation by random splits of 80/10/10. The first is the experiment's own run; the others lie in
    ``runs/<experiment>/seeds/<seed>`` and ``runs/<experiment>/splits/<split_seed>``. What is up to date there is not
    run again, so that an interrupted command goes on where it was.

    Parameters
    ----------
    n : int
        2 or more.
    models : tuple of str, optional
        Rows of the further runs; the experiment's by default.
    workers : Pool, optional
        Who runs them; this process by default.
    repeats : Repeats
        `SEEDS` or `SPLITS`.

    Returns
    -------
    dict
        What is written to `artifacts.seeds_file` or `artifacts.splits_file`; see `summarise`.

    Raises
    ------
    InputError
        `n` is too small, a model is unknown, or the split comes with the data.
    """
    from cotrain.pipeline.evaluation.evaluate import check_models

    if n < 2:
        raise InputError(f"--{repeats.key} is {n}; expected 2 or more, an interval needs them")
    further = experiment.deploy
    if models is not None:
        further = dataclasses.replace(further, models=check_models(models))
    numbers = _numbers(experiment, n, repeats)
    each = [  # all are made before one is run: a number may be refused
        dataclasses.replace(repeats.numbered(experiment, number), deploy=further if i else experiment.deploy)
        for i, number in enumerate(numbers)
    ]
    if repeats is SPLITS:
        _check_splits(each[0], each[1], data, runs)
    file = repeats.file(runs, experiment.name)
    places = [artifacts.repeat_runs(file, number) if i else runs for i, number in enumerate(numbers)]
    tasks = [
        {"experiment": one, "runs": where.resolve(), "data": data.resolve(),
         "asked": dataclasses.replace(asked, runs=where) if asked else None}
        for one, where in zip(each, places, strict=True)
    ]  # fmt: skip
    say(f"{repeats.key} {', '.join(map(str, numbers))}")
    for i, error in (workers or Pool()).map(run_one, tasks):
        if isinstance(error, Exception):
            raise error
        say(f"{repeats.one} {numbers[i]} is done")
    deployed = [artifacts.stage_folder(where, experiment.name, "deploy") for where in places]
    found = [artifacts.read_json(folder / artifacts.METRICS) for folder in deployed]
    summary = summarise(experiment, found, repeats)
    artifacts.write_sealed(file, summary)
    for row in summary["rows"]:
        low, high = row["ci95"]
        values = " ".join(f"{value:.4f}" for value in row["values"])
        say(f"  {row['model']:<16} {row['mean']:.4f} [{low:.4f}, {high:.4f}]  {values}")
    say(f"repeat {experiment.name}: wrote {file}")
    return summary


def _numbers(experiment: Experiment, n: int, repeats: Repeats) -> list[int]:
    return [repeats.first(experiment) + i for i in range(n)]


def _check_splits(one: Experiment, other: Experiment, data: Path, runs: Path) -> None:
    """Raise InputError where ``data.split_seed`` changes nothing."""
    first, second = (datasets.load_for(e.data, data, runs / artifacts.SCRATCH).subset("test") for e in (one, other))
    if first.names.tolist() == second.names.tolist() and np.array_equal(first.targets, second.targets):
        raise InputError(
            f"--splits: the test images of {first.name} are the same whatever data.split_seed is, their split comes "
            "with the data; use --seeds"
        )


def run_one(task: dict[str, Any]) -> None:
    """The stages of one run. Called in a worker, too."""
    for stage in STAGES:
        runner.run(stage, task["experiment"], task["runs"], task["data"], asked=task["asked"])


def summarise(experiment: Experiment, found: list[dict[str, Any]], repeats: Repeats = SEEDS) -> dict[str, Any]:
    """The figures of several seeds or splits.

    Parameters
    ----------
    found : list of dict
        The content of metrics.json of each, in their order.

    Returns
    -------
    dict
        "rows" and, by protocol, "protocols": of each model that all have run, its "values" and "mean_rate_hz" (one a
        seed or split), "mean", "sd" (n - 1) and "ci95" of the mean; see `spread`. "settings" is what all seeds share;
        of splits it is the first one's.
    """
    first = found[0]
    overlap = 0.0
    if repeats is SPLITS:
        overlap = float(np.mean([one["dataset"]["n_test"] / one["dataset"]["n_train"] for one in found]))
    return {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "metric": first["metric"],
        "n_samples": first["n_samples"],
        repeats.key: _numbers(experiment, len(found), repeats),
        "settings": shared_settings(experiment),
        "rows": _rows([metrics["rows"] for metrics in found], overlap),
        "protocols": {
            name: {"rows": _rows([metrics["protocols"][name]["rows"] for metrics in found], overlap)}
            for name in first.get("protocols", {})
        },
    }


def _rows(tables: list[list[dict[str, Any]]], overlap: float) -> list[dict[str, Any]]:
    """One row a model that has been run every time."""
    each = [{row["model"]: row for row in rows if not row.get("skipped")} for rows in tables]
    rows = []
    for model in each[0]:
        if all(model in found for found in each):
            mine = [found[model] for found in each]
            values = [row["value"] for row in mine]
            rows.append(
                {"model": model, **spread(values, overlap), "mean_rate_hz": [row["mean_rate_hz"] for row in mine]}
            )
    return rows


def spread(values: list[float], overlap: float = 0.0) -> dict[str, Any]:
    """Mean of two values or more, standard deviation, and the 95 % interval of the mean by Student's t.

    Parameters
    ----------
    values : list of float
    overlap : float
        Of random splits: test samples per training sample. Their trainings share most samples, so that the values are
        not independent, and the variance of their mean is (1 / n + overlap) sd^2 (the corrected resampled t-test of
        Nadeau and Bengio 2003, "Inference for the generalization error").
    """
    from scipy.stats import t

    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, len(values) - 1)) * sd * (1 / len(values) + overlap) ** 0.5
    return {"values": list(values), "mean": mean, "sd": sd, "ci95": [mean - half, mean + half]}
