"""``cotrain evaluate``: score parameters on a data set without a run folder."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError
from cotrain.pipeline.commands import options
from cotrain.pipeline.runs.request import Request

if TYPE_CHECKING:
    from cotrain.pipeline.datasets import Dataset
    from cotrain.pipeline.experiment import Experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_experiments(parser)
    parser.add_argument(
        "--split",
        choices=("validation", "test", "all"),
        default="test",
        help="the samples that are scored (default: test)",
    )
    options.add_models(parser, "comma-separated rows (default: all)")
    parser.add_argument(
        "--params", choices=("pretrained", "run"), default="pretrained",
        help="the package's parameters, or those of your run (default: pretrained)",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="first N samples (default: all)")
    options.add_workers(parser)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the scores go")


def run(arguments: argparse.Namespace) -> int:
    name = arguments.experiment
    experiment = options.load(arguments, name)
    with options.spread(arguments):
        score(
            experiment, arguments.data, arguments.runs, arguments.split, arguments.models, arguments.params,
            arguments.limit, arguments.json, asked=options.asked(arguments, name),
        )  # fmt: skip
    return 0


def score(
    experiment: Experiment,
    data: Path,
    runs: Path,
    split: str,
    models: tuple[str, ...] | None,
    source: str,
    limit: int,
    json_path: Path,
    say: Callable[[str], None] = terminal.say,
    asked: Request | None = None,
) -> None:
    """Score and write `json_path`.

    Parameters
    ----------
    split : {"validation", "test", "all"}
    models : tuple of str, optional
        Rows to run; the experiment's by default.
    source : {"pretrained", "run"}
        Where the parameters come from.
    limit : int
        First samples only; 0 for all.

    Raises
    ------
    InputError, MissingError, CorruptError, OutputError
    """
    from cotrain.pipeline import datasets
    from cotrain.pipeline.evaluation.evaluate import RowStates, check_models, evaluate
    from cotrain.pipeline.runs import artifacts
    from cotrain.pipeline.runs.parameters import from_package, from_runs
    from cotrain.pipeline.tasks import network_for, task_of

    if limit < 0:
        raise InputError(f"--limit is {limit}; expected the number of samples, or 0 for all")
    options.check_json(json_path)
    if models is not None:
        experiment = dataclasses.replace(
            experiment, deploy=dataclasses.replace(experiment.deploy, models=check_models(models))
        )
    note = experiment.steps_note()
    if note:
        say(f"evaluate {experiment.name}: {note}")
    experiment = experiment.deployed()
    train = asked.command("train") if asked else ""
    found = from_package(experiment) if source == "pretrained" else from_runs(experiment, runs, train)
    everything = datasets.load_for(experiment.data, data, runs / artifacts.SCRATCH)
    for rejected in everything.rejected:
        say(f"  not used: {rejected}")
    scored = everything.subset(split).spread(limit or None)
    task = task_of(everything.task)
    constant = task.constant(everything.subset("train")) if found.constant is None else found.constant
    spec = network_for(experiment.network, everything)
    say(
        f"evaluate {experiment.name}: {terminal.plural(len(scored), 'sample')} of {everything.name}, split {split}, "
        f"parameters: {found.source}"
    )
    states = RowStates(artifacts.rows_beside(json_path), _key(experiment, found.params, constant, scored))
    result = evaluate(experiment, spec, found.params, constant, scored, say=say, states=states)
    result.metrics["split"] = split
    result.metrics["steps_note"] = note
    result.metrics["parameters"] = found.source
    result.metrics["dataset"] = datasets.describe(everything, len(scored))
    artifacts.write_json(json_path, result.metrics)
    states.remove()
    say(f"evaluate {experiment.name}: wrote {json_path}")


def _key(experiment: Experiment, params: dict, constant, scored: Dataset) -> str:
    """Stands for everything that a row is a function of."""
    from cotrain.pipeline.runs import artifacts

    arrays = {f"{kind}/{name}": value for kind, part in params.items() for name, value in part.items()}
    arrays.update(
        constant=constant, images=scored.images, targets=scored.targets, names=scored.names, groups=scored.groups
    )
    settings = experiment.resolved("data", "network", "neurons", "finetune", "quantize", "deploy")
    return artifacts.json_digest([settings, artifacts.arrays_digest(arrays)])
