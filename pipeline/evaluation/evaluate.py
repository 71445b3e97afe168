"""The comparison: every model of an experiment on the same samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError
from cotrain.hardware.progress import Progress
from cotrain.pipeline.datasets import Dataset
from cotrain.pipeline.evaluation import framework, models, shards
from cotrain.pipeline.evaluation.row_states import RowStates
from cotrain.pipeline.evaluation.rows import MODELS, OWN, ROWS, RUN, rows_of
from cotrain.pipeline.evaluation.tally import Tally, agreement, skipped
from cotrain.pipeline.experiment import OWN_MODEL, Experiment, nearest
from cotrain.pipeline.networks import NetworkSpec, Params
from cotrain.pipeline.tasks import task_of

__all__ = ["MODELS", "Evaluation", "RowStates", "evaluate", "check_models"]

SCHEMA = 1


@dataclass
class Evaluation:
    """What `evaluate` found; the keys of `predictions` and `rates` are those of the files."""

    metrics: dict[str, Any]
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    rates: dict[str, np.ndarray] = field(default_factory=dict)
    trajectory: dict[str, Any] = field(default_factory=dict)


def check_models(names: Iterable[str]) -> tuple[str, ...]:
    """The rows to run, in their order; InputError for an unknown one."""
    for name in names:
        if name not in RUN:
            raise InputError(f"unknown model {name!r}{nearest(name, list(RUN))}; there are {', '.join(RUN)}")
    return tuple(name for name in RUN if name in names)


def evaluate(
    experiment: Experiment,
    spec: NetworkSpec,
    params: dict[str, Params],
    constant: np.ndarray,
    dataset: Dataset,
    say: Callable[[str], None] = terminal.say,
    states: RowStates | None = None,
) -> Evaluation:
    """Score the models of ``experiment.deploy.models`` on `dataset`.

    Parameters
    ----------
    params : dict
        "ann" and "hybrid" parameters. A model whose parameters are not there is reported as skipped.
    constant : ndarray
        What the task's `constant` found on the training split.
    dataset : Dataset
        The samples to score, all of them.
    states : RowStates, optional
        Where the state of the rows is kept; what is there is not run again. The caller removes it.

    Returns
    -------
    Evaluation
    """
    wanted = check_models(experiment.deploy.models)
    runner = _Runner(experiment, spec, params, constant, states, say)
    result = Evaluation({})
    rows, rates, curves, spike_curves = [], {}, {}, {}
    task = task_of(dataset.task)
    protocols = task.protocols(dataset, experiment.data)
    protocol_rows: dict[str, list] = {name: [] for name in protocols}
    started, n_done = time.perf_counter(), 0
    for model, asked in rows_of(experiment.network.name == OWN_MODEL, wanted).items():
        if not asked or not runner.can(model):
            rows.append(skipped(model, "no parameters for it" if asked else "not asked for (deploy.models)"))
            continue
        try:
            (tally, *others), extra, seconds = runner.run(model, [dataset, *protocols.values()])
        except framework.NotRun as reason:
            rows.append(skipped(model, str(reason)))
            say(f"  {model:<16} not run: {reason}")
            continue
        rows.append({**tally.row(model, seconds), **extra})
        result.predictions[f"{model}/prediction"] = tally.prediction
        result.predictions[f"{model}/group_values"] = tally.group_scores()
        rates[model] = tally.rates_hz()
        if tally.curve_steps:
            curves[model] = tally.curve_values()
            result.trajectory["n_steps"] = tally.curve_steps
        if tally.step_spikes.any():
            cumulative = np.cumsum(tally.step_spikes) / len(dataset)
            spike_curves[model] = [float(cumulative[step - 1]) for step in tally.curve_steps]
        for name, other in zip(protocols, others, strict=True):
            row = other.row(model, 0)
            kept_keys = ("model", "value", "ci95", "per_class", "mean_rate_hz")
            protocol_rows[name].append({key: row[key] for key in kept_keys if key in row})
        n_done += 1
        say(f"  {_line(rows[-1], task.metric)}")
    if not n_done:
        raise InputError("none of the models could be run; give parameters, or name others with --models")
    result.trajectory.update(models=curves, spikes=spike_curves)
    result.predictions.update(
        names=dataset.names, groups=dataset.groups, group_names=np.unique(dataset.groups),
        images=np.rint(np.stack([dataset.view(i) for i in range(len(dataset))]) * 255).astype(np.uint8),
        targets=task.as_prediction(dataset.targets),
    )  # fmt: skip
    result.rates = {f"{model}/{layer}": values for model, layers in rates.items() for layer, values in layers.items()}
    result.metrics = {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "task": dataset.task,
        "metric": task.metric,
        "class_names": list(dataset.class_names),
        "network": spec.to_dict(),
        "dt_s": experiment.dt_s,
        "n_samples": len(dataset),
        "n_groups": len(np.unique(dataset.groups)),
        "n_steps": experiment.finetune.n_steps,
        "readout_steps": experiment.finetune.readout_steps,
        "target": experiment.deploy.target,
        "rows": rows,
        "protocols": {
            name: {**task.describe_protocol(name, experiment.data), "rows": found}
            for name, found in protocol_rows.items()
        },
        "agreement": {
            kind: agreement(rates[kind], rates[f"loihi-{kind}"])
            for kind in ("converted", "hybrid")
            if kind in rates and f"loihi-{kind}" in rates
        },
        "seconds": round(time.perf_counter() - started, 2),
    }
    return result


class _Runner:
    """Builds each model once and runs it on every data set that is asked for."""

    def __init__(self, experiment, spec, params, constant, states, say):
        self.experiment, self.spec, self.params, self.constant = experiment, spec, params, constant
        self.states, self.say = states, say

    def can(self, model: str) -> bool:
        return model in ("constant", OWN) or self._kind(model) in self.params

    @staticmethod
    def _kind(model: str) -> str:
        return ROWS[model].parameters

    def run(self, model: str, sets: list[Dataset]) -> tuple[list[Tally], dict[str, Any], float]:
        """One tally a data set, what else a row of this model tells, and seconds."""
        started = time.perf_counter()
        steps = self.experiment.finetune.n_steps if ROWS[model].spiking else 1
        tallies = [Tally(self.experiment, self.spec, dataset, steps) for dataset in sets]
        if model == "constant":
            for tally in tallies:
                tally.final.append(tally.task.predict_constant(self.constant, tally.dataset))
            return tallies, {}, time.perf_counter() - started
        facts = (self.states and self.states.load(model, tallies)) or {"extra": {}, "seconds": 0.0}
        n_done, n_samples = sum(tally.n_done for tally in tallies), sum(len(dataset) for dataset in sets)
        if n_done:
            self.say(f"  {model}: going on after {n_done} of {n_samples} samples")
        if n_done == n_samples:
            return tallies, facts["extra"], facts["seconds"]
        before, params = facts["seconds"], self.params.get(self._kind(model), {})
        if shards.active() and not n_done and model != OWN:
            with Progress(f"{model} on {n_samples} samples", n_samples) as progress:
                extra = shards.run(self.experiment, self.spec, params, model, tallies, progress)
            facts = {"extra": extra, "seconds": time.perf_counter() - started}
            if self.states:
                self.states.save(model, tallies, facts)
            return tallies, extra, facts["seconds"]
        with (
            models.open_model(self.experiment, self.spec, params, model, facts["extra"]) as opened,
            Progress(f"{model} on {n_samples} samples", n_samples, done=n_done) as progress,
        ):
            for tally in tallies:
                for batch in opened.run(tally.dataset.images[tally.n_done :]):
                    tally.add(batch)
                    progress.advance(len(batch.readout))
                    facts = {"extra": opened.extra, "seconds": before + time.perf_counter() - started}
                    if self.states:
                        self.states.save(model, tallies, facts)
        return tallies, facts["extra"], facts["seconds"]


def _line(row: dict[str, Any], metric: str) -> str:
    text = f"{row['model']:<15}  {metric} {row['value']:.4f} [{row['ci95'][0]:.4f}, {row['ci95'][1]:.4f}]"
    if row["mean_rate_hz"] is not None:
        text += f"  {row['mean_rate_hz']:5.1f} Hz {row['spikes_per_inference']:>9,.0f} spikes"
    return text
