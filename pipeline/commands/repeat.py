"""``cotrain repeat``: the same experiment with several seeds, and what remains of its figures then."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError
from cotrain.pipeline.commands import options
from cotrain.pipeline.experiment import Experiment, shared_settings
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.request import Request
from cotrain.pipeline.stages import runner
from cotrain.pipeline.sweeps.workers import Pool, pool

SCHEMA = 1
STAGES = ("train", "finetune", "deploy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_experiments(parser)
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="how many, the experiment's own first (default: 3)"
    )
    options.add_models(parser, "comma-separated rows of the further seeds (default: all)")
    options.add_workers(parser)


def run(arguments: argparse.Namespace) -> int:
    name = arguments.experiment
    experiment = options.load(arguments, name)
    asked = options.asked(arguments, name)
    with pool(arguments.workers, arguments.cluster) if _shared(arguments) else nullcontext(Pool()) as workers:
        repeat(
            experiment, arguments.runs, arguments.data, arguments.seeds, arguments.models, asked=asked, workers=workers
        )
    return 0


def _shared(arguments: argparse.Namespace) -> bool:
    return arguments.workers != 1 or bool(arguments.cluster)


def repeat(
    experiment: Experiment,
    runs: Path,
    data: Path,
    n_seeds: int,
    models: tuple[str, ...] | None = None,
    say: Callable[[str], None] = terminal.say,
    asked: Request | None = None,
    workers: Pool | None = None,
) -> dict[str, Any]:
    """Train, fine-tune and deploy with the seeds ``experiment.seed``, ``experiment.seed + 1``, ...

    Initial parameters, order and views of the images change with the seed; the split of the data does not. The first
    seed is the experiment's own run; the others lie in ``runs/<experiment>/seeds/<seed>``. What is up to date there is
    not run again, so that an interrupted command goes on where it was.

    Parameters
    ----------
    n_seeds : int
        2 or more.
    models : tuple of str, optional
        Rows of the further seeds; the experiment's by default.
    workers : Pool, optional
        Who runs the seeds; this process by default.

    Returns
    -------
    dict
        What is written to `artifacts.seeds_file`; see `summarise`.

    Raises
    ------
    InputError
        `n_seeds` is too small, or a model is unknown.
    """
    from cotrain.pipeline.evaluation.evaluate import check_models

    if n_seeds < 2:
        raise InputError(f"--seeds is {n_seeds}; expected 2 or more, an interval needs them")
    further = experiment.deploy
    if models is not None:
        further = dataclasses.replace(further, models=check_models(models))
    seeds = [experiment.seed + i for i in range(n_seeds)]
    each = [  # all are made before one is run: a seed may be refused
        dataclasses.replace(experiment, seed=seed, deploy=further if i else experiment.deploy)
        for i, seed in enumerate(seeds)
    ]
    places = [artifacts.seed_runs(runs, experiment.name, one.seed) if i else runs for i, one in enumerate(each)]
    tasks = [
        {"experiment": one, "runs": where.resolve(), "data": data.resolve(),
         "asked": dataclasses.replace(asked, runs=where) if asked else None}
        for one, where in zip(each, places, strict=True)
    ]  # fmt: skip
    say(f"seeds {', '.join(map(str, seeds))}")
    for i, error in (workers or Pool()).map(run_seed, tasks):
        if isinstance(error, Exception):
            raise error
        say(f"seed {seeds[i]} is done")
    deployed = [artifacts.stage_folder(where, experiment.name, "deploy") for where in places]
    found = [artifacts.read_json(folder / artifacts.METRICS) for folder in deployed]
    summary = summarise(experiment, found)
    artifacts.write_sealed(artifacts.seeds_file(runs, experiment.name), summary)
    for row in summary["rows"]:
        low, high = row["ci95"]
        values = " ".join(f"{value:.4f}" for value in row["values"])
        say(f"  {row['model']:<16} {row['mean']:.4f} [{low:.4f}, {high:.4f}]  {values}")
    say(f"repeat {experiment.name}: wrote {artifacts.seeds_file(runs, experiment.name)}")
    return summary


def run_seed(task: dict[str, Any]) -> None:
    """The stages of one seed. Runs in a worker, too."""
    for stage in STAGES:
        runner.run(stage, task["experiment"], task["runs"], task["data"], asked=task["asked"])


def summarise(experiment: Experiment, found: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several seeds.

    Parameters
    ----------
    found : list of dict
        The content of metrics.json of each seed, in their order.

    Returns
    -------
    dict
        "rows" and, by protocol, "protocols": of each model that all seeds have run, its "values" and
        "mean_rate_hz" (one a seed), "mean", "sd" (n - 1) and "ci95" of the mean by Student's t. "settings" is what
        all seeds share.
    """
    first = found[0]
    return {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "metric": first["metric"],
        "n_samples": first["n_samples"],
        "seeds": [experiment.seed + i for i in range(len(found))],
        "settings": shared_settings(experiment),
        "rows": _rows([metrics["rows"] for metrics in found]),
        "protocols": {
            name: {"rows": _rows([metrics["protocols"][name]["rows"] for metrics in found])}
            for name in first.get("protocols", {})
        },
    }


def _rows(tables: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row a model that has been run with every seed."""
    by_seed = [{row["model"]: row for row in rows if not row.get("skipped")} for rows in tables]
    rows = []
    for model in by_seed[0]:
        if all(model in found for found in by_seed):
            mine = [found[model] for found in by_seed]
            values = [row["value"] for row in mine]
            rows.append({"model": model, **spread(values), "mean_rate_hz": [row["mean_rate_hz"] for row in mine]})
    return rows


def spread(values: list[float]) -> dict[str, Any]:
    """Mean of two values or more, standard deviation, and the 95 % interval of the mean by Student's t."""
    from scipy.stats import t

    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, len(values) - 1)) * sd / len(values) ** 0.5
    return {"values": list(values), "mean": mean, "sd": sd, "ci95": [mean - half, mean + half]}
