"""``cotrain inspect``: what the data are, whether the network fits, and how long it will take, before any training."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.hardware import terminal
from cotrain.hardware.terminal import plural
from cotrain.pipeline.commands import options
from cotrain.pipeline.runs.request import Request

if TYPE_CHECKING:
    from cotrain.pipeline.datasets import Dataset
    from cotrain.pipeline.experiment import Experiment
    from cotrain.pipeline.networks.spec import NetworkSpec, Params

SCHEMA = 1
SHOWN = 10  # rejected samples in the terminal; the page has all of them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_experiments(parser)
    parser.add_argument("--page", type=Path, metavar="FILE.html", help="default: in the experiment's run folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same facts")
    parser.add_argument("--quick", action="store_true", help="do not measure how long the stages will take")


def run(arguments: argparse.Namespace) -> int:
    look(
        options.load(arguments, arguments.experiment), arguments.data, arguments.runs, arguments.page, arguments.json,
        arguments.quick, options.asked(arguments, arguments.experiment),
    )  # fmt: skip
    return 0


def look(
    experiment: Experiment,
    data: Path,
    runs: Path,
    page_path: Path | None = None,
    json_path: Path | None = None,
    quick: bool = False,
    asked: Request | None = None,
    say: Callable[[str], None] = terminal.say,
) -> dict[str, Any]:
    """Look at an experiment; print what there is, and write a page to look at.

    Parameters
    ----------
    page_path : Path, optional
        The page; by default in the experiment's run folder.
    json_path : Path, optional
        For the same facts as JSON.
    quick : bool
        Leave out how long the stages will take, which is measured.
    asked : Request, optional
        How this was asked for, for the commands that messages name.

    Returns
    -------
    dict
        What is written as JSON.

    Raises
    ------
    MissingError, InputError, CorruptError
        As the train stage would, before it trains.
    OutputError
        The page cannot be written.
    """
    from cotrain.hardware.files import write_bytes, write_json
    from cotrain.pipeline import datasets
    from cotrain.pipeline.commands.inspect_page import write_page
    from cotrain.pipeline.runs import artifacts
    from cotrain.pipeline.training import job_for

    asked = asked or Request(experiment.name, (), runs, data)
    started = time.perf_counter()
    dataset = datasets.load_for(experiment.data, data, runs / artifacts.SCRATCH)
    load_s = time.perf_counter() - started
    facts: dict[str, Any] = {"schema": SCHEMA, "experiment": experiment.name, "data": data_facts(dataset, load_s)}
    _say_data(facts["data"], say)
    job = job_for(experiment, dataset, "ann")  # refuses losses and networks of another task
    job_for(experiment, dataset, "hybrid")
    params = job.scaler.fold(job.spec.init_params(experiment.seed))
    facts["network"], report = network_facts(experiment, job.spec, params)
    _say_network(facts["network"], say)
    facts["minutes"] = []
    if not quick and report is not None:
        say("  running a few steps of each stage, to see how long they take ...")
        _measure(experiment, dataset, job.spec, params, facts, say)
    page_path = page_path or artifacts.experiment_folder(runs, experiment.name) / artifacts.INSPECTION
    write_bytes(page_path, write_page(experiment, dataset, facts, asked))
    if json_path:
        write_json(json_path, facts)
    say(f"inspect {experiment.name}: look at {page_path}")
    fits = report is not None and not report.violations
    say(f"next: {asked.command('train')}" if fits else "next: make the network smaller, then inspect again")
    return facts


def data_facts(dataset: Dataset, load_s: float) -> dict[str, Any]:
    """Counts, classes, rejected samples and notes."""
    import numpy as np
    from cotrain.pipeline.datasets import SPLITS

    return {
        "name": dataset.name,
        "task": dataset.task,
        "n_samples": len(dataset),
        "n_groups": len(np.unique(dataset.groups)),
        "input_shape": [int(n) for n in dataset.input_shape],
        "splits": {split: int((dataset.split == split).sum()) for split in SPLITS},
        "classes": _class_counts(dataset),
        "rejected": [{"name": r.name, "path": r.path, "reason": r.reason} for r in dataset.rejected],
        "notes": list(dataset.notes),
        "load_s": round(load_s, 2),
    }


def _class_counts(dataset: Dataset) -> dict[str, float]:
    """Of classes how many samples, of masks which part of the pixels, of boxes how many."""
    import numpy as np
    from cotrain.pipeline.datasets import IGNORE

    if dataset.targets.ndim == 1:
        counts = np.bincount(dataset.targets, minlength=dataset.n_classes).tolist()
        return dict(zip(dataset.class_names, counts, strict=True))
    if dataset.targets.ndim == 2:
        return {dataset.class_names[0]: len(dataset)}
    known = max(int((dataset.targets != IGNORE).sum()), 1)
    return {
        name: round(float((dataset.targets == k).sum() / known), 6)
        for k, name in enumerate(dataset.class_names, start=1)
    }


def network_facts(experiment: Experiment, spec: NetworkSpec, params: Params) -> tuple[dict[str, Any], Any]:
    """Layers, cores and limits of the untrained network, and the preflight report (None where no cut fits)."""
    from cotrain import hardware
    from cotrain.hardware.errors import MisfitError
    from cotrain.pipeline.evaluation.models import placed_network

    facts: dict[str, Any] = {
        "name": spec.name,
        "n_neurons": int(spec.n_neurons),
        "n_parameters": int(sum(array.size for array in params.values())),
        "board": experiment.quantize.board,
        "layers": [{"name": layer.name, "neurons": int(layer.n_neurons)} for layer in spec.layers],
    }
    try:
        _, lowered = placed_network(experiment, spec, params)
        report = hardware.check(lowered, board=experiment.quantize.board, precompute=False)
    except MisfitError as error:
        facts.update(fits=False, violations=[str(error)])
        return facts, None
    facts.update(
        fits=not report.violations,
        cores=report.cores,
        chips=report.chips,
        lower_bound_cores=report.lower_bound_cores,
        violations=[str(v) for v in report.violations],
        # enters the chip: what the first layer, on the host, sends each step
        input_neurons=int(spec.layers[0].n_neurons),
    )
    return facts, report


def _measure(experiment: Experiment, dataset: Dataset, spec, params, facts: dict[str, Any], say) -> None:
    from cotrain.hardware.progress import duration
    from cotrain.pipeline.commands import pace

    deploy, model = pace.deployment(experiment, dataset, spec, params)
    facts["network"]["input_spikes_max"] = model.input_spikes_max
    say(
        f"  untrained, at most {plural(model.input_spikes_max, 'spike')} into the chip in a step (of "
        f"{facts['network']['input_neurons']:,} neurons on the host)"
    )
    for one in (pace.training(experiment, dataset, "ann"), pace.training(experiment, dataset, "hybrid"), deploy):
        seconds = one.seconds + facts["data"]["load_s"]  # each stage reads the data
        facts["minutes"].append({"stage": one.stage, "minutes": round(seconds / 60, 4), "why": one.why})
        say(f"  {one.stage:<9} about {duration(seconds)}: {one.why}")


def _say_data(facts: dict[str, Any], say) -> None:
    shape = " x ".join(map(str, facts["input_shape"]))
    splits = ", ".join(f"{n} {split}" for split, n in facts["splits"].items())
    groups = "" if facts["n_groups"] == facts["n_samples"] else f" in {plural(facts['n_groups'], 'volume')}"
    say(f"  {plural(facts['n_samples'], 'sample')}{groups} of {facts['name']}, {shape} ({splits})")
    for name, count in list(facts["classes"].items())[:SHOWN]:
        say(
            f"    {name}: {plural(count, 'sample') if isinstance(count, int) else f'{100 * count:.2f} % of the pixels'}"
        )
    for note in facts["notes"]:
        say(f"  {note}")
    rejected = facts["rejected"]
    if rejected:
        say(f"  {len(rejected)} not used:")
        for one in rejected[:SHOWN]:
            say(f"    {one['name']}: {one['reason']} ({one['path']})")
        if len(rejected) > SHOWN:
            say(f"    and {len(rejected) - SHOWN} more, on the page")


def _say_network(facts: dict[str, Any], say) -> None:
    say(f"  {facts['name']}: {facts['n_neurons']:,} neurons, {facts['n_parameters']:,} parameters")
    if facts["violations"]:
        say(f"  does not fit {facts['board']}:")
        for violation in facts["violations"][:SHOWN]:
            say(f"    {violation}")
    if "cores" in facts:
        say(f"  {plural(facts['cores'], 'core')} on {plural(facts['chips'], 'chip')} of {facts['board']}")
