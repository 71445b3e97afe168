"""Exploration: how few steps and spikes will do, on the chip's integers.

A trained network is run over steps x rate scale: `rate_scale_hz` is the rate of an activation of 1, so that with the
same parameters a larger one lets every neuron fire more and say more in the same time. Nothing is trained.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError, MissingError
from cotrain.hardware.progress import Progress, duration
from cotrain.pipeline import datasets
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.evaluation import shards
from cotrain.pipeline.evaluation.costs import counts_of
from cotrain.pipeline.evaluation.models import LoihiModel
from cotrain.pipeline.evaluation.tally import Tally
from cotrain.pipeline.experiment import Experiment, all_settings, shared_settings
from cotrain.pipeline.networks import NetworkSpec, Params
from cotrain.pipeline.report.explored import picture
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.parameters import ParameterSet, from_package, from_runs
from cotrain.pipeline.tasks import network_for, task_of

SCHEMA = 1
STEP_SHARES = (0.25, 0.5, 0.75, 1.0, 1.5)  # of the fine-tuning's steps: what is run where nobody says
RATE_SHARES = (0.5, 1.0, 2.0)  # of the experiment's rate scale
SAMPLES = 120  # slices or pictures, in whole groups: seconds, not minutes
TOLERANCE = 0.005  # of the metric: the knee may lose that much of the best


def explore(
    experiment: Experiment,
    data: Path,
    runs: Path,
    json_path: Path,
    *,
    steps: Sequence[int] = (),
    rates_hz: Sequence[float] = (),
    split: str = "validation",
    source: str = "",
    limit: int = SAMPLES,
    say: Callable[[str], None] = terminal.say,
) -> dict[str, Any]:
    """Run the grid; write `json_path` and, beside it, the picture; of a run also a copy for its next report.

    Parameters
    ----------
    steps : sequence of int
        Steps of a presentation; shares of the fine-tuning's by default. The readout's window keeps its share.
    rates_hz : sequence of float
        Rate scales in Hz; half, once and twice the experiment's by default.
    split : {"validation", "test", "all"}
        What is scored. What is chosen on the test split is not measured by it any more.
    source : {"run", "pretrained", ""}
        Where the parameters come from; "": the run's, if there is one.
    limit : int
        Samples, from the first on, filled up to whole volumes; 0 for all.

    Returns
    -------
    dict
        What `json_path` holds.

    Raises
    ------
    InputError, MissingError, CorruptError, OutputError
    """
    started = time.perf_counter()
    tune, scale = experiment.finetune, experiment.neurons.rate_scale_hz
    steps = sorted(set(steps or (max(1, round(share * tune.n_steps)) for share in STEP_SHARES)))
    rates_hz = sorted(set(rates_hz or (share * scale for share in RATE_SHARES)))
    points = {(n, rate): at(experiment, n, rate) for rate in rates_hz for n in steps}  # refused before any work
    if limit < 0:
        raise InputError(f"--limit is {limit}; expected the number of samples, or 0 for all")
    found = _found(experiment, runs, source)
    kind = "hybrid" if "hybrid" in found.params else "ann"
    everything = datasets.load_for(experiment.data, data, runs / artifacts.SCRATCH)
    scored = everything.subset(split).whole_groups(limit)
    spec = network_for(experiment.network, everything)
    model = {"hybrid": "loihi-hybrid", "ann": "loihi-converted"}[kind]
    say(
        f"explore {experiment.name}: {model} on {terminal.plural(len(scored), 'sample')} of {everything.name}, "
        f"split {split}, parameters: {found.source}"
    )
    task = task_of(scored.task)
    protocols = task.protocols(scored, experiment.data)
    sets = [scored, *protocols.values()]
    rows = []
    total = sum(steps) * len(rates_hz) * sum(map(len, sets))
    with Progress(f"{len(points)} points", total) as progress:
        for rate in rates_hz:
            of_rate = {n: points[n, rate] for n in steps}
            rows += _rows(of_rate, spec, found.params[kind], sets, progress)
    for row in rows:
        row["trained"] = (row["n_steps"], row["rate_scale_hz"]) == (tune.n_steps, scale)
    knee = mark_knee(rows)
    seconds = round(time.perf_counter() - started, 2)
    result = {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "model": model,
        "metric": task.metric,
        "protocol": ", ".join(protocols),
        "split": split,
        "n_samples": len(scored),
        "n_groups": len(set(scored.groups.tolist())),
        "parameters": found.source,
        "trained": {"n_steps": tune.n_steps, "readout_steps": tune.readout_steps, "rate_scale_hz": scale},
        "cores": max((row["cores"] or 0 for row in rows), default=0),
        "tolerance": TOLERANCE,
        "energy": "estimate: hardware.estimate of the counts, joules of one inference",
        "settings": shared_settings(experiment),
        "rows": rows,
        "knee": knee,
        "seconds": seconds,
    }
    say(table(result))
    say(recommendation(result))
    artifacts.write_json(json_path, result)
    if found.source != "pretrained":
        artifacts.write_sealed(artifacts.explored_file(runs, experiment.name), result)  # for the report
    drawn = json_path.with_suffix(".png")
    picture(result, drawn)
    say(f"explore {experiment.name}: wrote {json_path} and {drawn} in {duration(seconds)}")
    return result


def at(experiment: Experiment, n_steps: int, rate_scale_hz: float) -> Experiment:
    """The experiment presented for `n_steps` at another rate scale; the readout's window keeps its share of the steps.

    Raises
    ------
    InputError
        A number that the settings do not allow.
    """
    tune = experiment.finetune
    window = max(1, round(tune.readout_steps / tune.n_steps * n_steps))
    bounds = {(one.section, one.key): one for one in all_settings()}
    for section, key, value in (("finetune", "n_steps", n_steps), ("neurons", "rate_scale_hz", rate_scale_hz)):
        if value <= 0:
            name = {"n_steps": "--steps", "rate_scale_hz": "--rates"}[key]
            raise InputError(f"{name}: {value:g}; expected more than 0 ({bounds[section, key].meaning})")
    return dataclasses.replace(
        experiment,
        finetune=dataclasses.replace(tune, n_steps=n_steps, readout_steps=window),
        neurons=dataclasses.replace(experiment.neurons, rate_scale_hz=float(rate_scale_hz)),
    )


def mark_knee(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mark and return the knee: of the points within TOLERANCE of the best, the one of least energy.

    Every row gets "knee" and "on_front": whether no other point is both better and cheaper.
    """
    best = max(row["value"] for row in rows)
    good = [row for row in rows if row["value"] >= best - TOLERANCE]
    knee = min(good, key=lambda row: (row["energy_j"], row["n_steps"], -row["value"]))
    for row in rows:
        row["knee"] = row is knee
        row["on_front"] = not any(
            other["value"] >= row["value"]
            and other["energy_j"] <= row["energy_j"]
            and (other["value"], other["energy_j"]) != (row["value"], row["energy_j"])
            for other in rows
        )
    return {key: knee[key] for key in ("n_steps", "readout_steps", "rate_scale_hz", "value", "energy_j")}


def table(result: dict[str, Any]) -> str:
    """The grid as text."""
    head = f"{'steps':>6} {'read':>5} {'scale':>8} {result['metric']:>9} {'rate':>8} {'spikes':>11} {'energy':>11}"
    lines = [head, "-" * len(head)]
    for row in result["rows"]:
        mark = " <- knee" if row["knee"] else " (trained)" if row["trained"] else ""
        energy_uj = row["energy_j"] * 1e6
        lines.append(
            f"{row['n_steps']:>6} {row['readout_steps']:>5} {row['rate_scale_hz']:>5.4g} Hz {row['value']:>9.4f} "
            f"{row['mean_rate_hz']:>5.1f} Hz {row['spikes_per_inference']:>11,.0f} {energy_uj:>8.1f} uJ{mark}"
        )
    return "\n".join(lines)


def recommendation(result: dict[str, Any]) -> str:
    """What the knee says, and the command that takes it up."""
    knee, trained = result["knee"], result["trained"]
    text = f"knee: {knee['n_steps']} steps at {knee['rate_scale_hz']:g} Hz, {result['metric']} {knee['value']:.4f}"
    if (knee["n_steps"], knee["rate_scale_hz"]) == (trained["n_steps"], trained["rate_scale_hz"]):
        return f"{text}: as trained"
    changes = f"--set deploy.n_steps={knee['n_steps']} --set deploy.readout_steps={knee['readout_steps']}"
    if knee["rate_scale_hz"] != trained["rate_scale_hz"]:
        changes = (
            f"--set neurons.rate_scale_hz={knee['rate_scale_hz']:g} --set finetune.n_steps={knee['n_steps']} "
            f"--set finetune.readout_steps={knee['readout_steps']}"
        )
        return f"{text}; to fine-tune there: cotrain finetune {result['experiment']} {changes}"
    return f"{text}; to deploy so: cotrain deploy {result['experiment']} {changes}"


def _found(experiment: Experiment, runs: Path, source: str) -> ParameterSet:
    if source == "pretrained":
        return from_package(experiment)
    try:
        return from_runs(experiment, runs)
    except MissingError:
        if source == "run":
            raise
    return from_package(experiment)


def _rows(points: dict[int, Experiment], spec: NetworkSpec, params: Params, sets: list[Dataset], progress) -> list:
    """One row for each number of steps at one rate scale."""
    from cotrain import hardware

    found = shards.of_sets(run_points, {"points": points, "spec": spec, "params": params}, sets)
    if found is None:
        found = [run_points({"points": points, "spec": spec, "params": params, "sets": sets}, progress.advance)]
    else:
        progress.advance(sum(points) * sum(map(len, sets)))
    rows = []
    for n_steps, experiment in points.items():
        tallies = [Tally(experiment, spec, dataset, n_steps) for dataset in sets]
        for k, tally in enumerate(tallies):
            tally.restore(shards.joined([one["states"][n_steps][k] for one in found]))
        row = tallies[-1].row("loihi", 0.0)
        estimate = hardware.estimate(counts_of(row, spec, found[0]["placement"], n_steps))
        rows.append({
            "n_steps": n_steps,
            "readout_steps": experiment.finetune.readout_steps,
            "rate_scale_hz": experiment.neurons.rate_scale_hz,
            "value": row["value"],
            "ci95": row["ci95"],
            "unmoved": tallies[0].row("loihi", 0.0)["value"] if len(tallies) > 1 else None,
            "mean_rate_hz": row["mean_rate_hz"],
            "spikes_per_inference": row["spikes_per_inference"],
            "synops_per_inference": row["synops_per_inference"],
            "energy_j": estimate["energy_j"]["total"]["value"],
            "dynamic_j": estimate["energy_j"]["core_dynamic"]["value"],
            "time_s": estimate["time_s"]["total"]["value"],
            "cores": found[0]["placement"].get("cores"),
            "overflows": sum(one["overflows"][n_steps] for one in found),
        })  # fmt: skip
    return rows


def run_points(task: dict[str, Any], advance: Callable[[int], None] = lambda n: None) -> dict[str, Any]:
    """Run every number of steps on `task`'s "sets": the network is placed and compiled once. Runs in a worker, too.

    Returns
    -------
    dict
        "placement", and by the number of steps "states" (`Tally.state` of each set) and "overflows".
    """
    from cotrain import hardware

    points: dict[int, Experiment] = task["points"]
    first = next(iter(points.values()))
    out: dict[str, Any] = {"states": {}, "overflows": {}}
    with LoihiModel(first, task["spec"], task["params"], "emulator") as opened:
        out["placement"] = hardware.check(opened.built.net, board=first.quantize.board, precompute=False).to_json()
        for n_steps, experiment in points.items():
            opened.n_steps, states = n_steps, []
            before = sum(opened.overflows.values())
            for dataset in task["sets"]:
                tally = Tally(experiment, task["spec"], dataset, n_steps)
                for batch in opened.run(dataset.images):
                    tally.add(batch)
                    advance(n_steps * len(batch.readout))
                states.append(tally.state())
            out["states"][n_steps] = states
            out["overflows"][n_steps] = sum(opened.overflows.values()) - before
    return out
