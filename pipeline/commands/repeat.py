"""``cotrain repeat``: the same experiment with several seeds, and what remains of its figures then."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.pipeline.commands import options
from cotrain.pipeline.experiment import Experiment, shared_settings
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.asked import Asked
from cotrain.pipeline.stages import runner

SCHEMA = 1
STAGES = ("train", "finetune", "deploy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_experiments(parser)
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="how many, the experiment's own first (default: 3)"
    )
    options.add_models(parser, "comma-separated rows of the further seeds (default: all)")


def run(arguments: argparse.Namespace) -> int:
    name = arguments.experiment
    experiment = options.load(arguments, name)
    repeat(
        experiment,
        arguments.runs,
        arguments.data,
        arguments.seeds,
        arguments.models,
        asked=options.asked(arguments, name),
    )
    return 0


def repeat(
    experiment: Experiment,
    runs: Path,
    data: Path,
    n_seeds: int,
    models: tuple[str, ...] | None = None,
    say: Callable[[str], None] = print,
    asked: Asked | None = None,
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
    found = []
    for i, one in enumerate(each):
        where = artifacts.seed_runs(runs, experiment.name, one.seed) if i else runs
        say(f"seed {one.seed} ({i + 1} of {n_seeds})")
        for stage in STAGES:
            there = dataclasses.replace(asked, runs=where) if asked else None
            runner.run(stage, one, where, data, say=say, asked=there)
        found.append(artifacts.read_json(artifacts.stage_folder(where, experiment.name, "deploy") / artifacts.METRICS))
    summary = summarise(experiment, found)
    artifacts.write_json(artifacts.seeds_file(runs, experiment.name), summary)
    for row in summary["rows"]:
        low, high = row["ci95"]
        values = " ".join(f"{value:.4f}" for value in row["values"])
        say(f"  {row['model']:<16} {row['mean']:.4f} [{low:.4f}, {high:.4f}]  {values}")
    say(f"repeat {experiment.name}: wrote {artifacts.seeds_file(runs, experiment.name)}")
    return summary


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
