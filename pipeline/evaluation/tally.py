"""Collect the batches of one model into a row of metrics.json."""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.pipeline.datasets import Dataset
from cotrain.pipeline.evaluation.models import Batch
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.metrics import bootstrap_ci, mean_rate_hz
from cotrain.pipeline.networks import NetworkSpec, decode
from cotrain.pipeline.tasks import task_of

CURVE_EVERY = 5  # steps between two points of accuracy over time


class Tally:
    """Sums over the batches of one model.

    `n_steps` is 1 for the ANN; then there are no spikes and no curve.
    """

    def __init__(self, experiment: Experiment, spec: NetworkSpec, dataset: Dataset, n_steps: int):
        self.experiment, self.spec, self.dataset, self.n_steps = experiment, spec, dataset, n_steps
        self.task = task_of(dataset.task)
        self.readout_steps = min(experiment.finetune.readout_steps, n_steps)
        self.curve_steps = [*range(CURVE_EVERY, n_steps, CURVE_EVERY), n_steps] if n_steps > 1 else []
        self.final: list[np.ndarray] = []
        self.curve: list[list[np.ndarray]] = [[] for _ in self.curve_steps]
        self.spikes: dict[str, int] = {}
        self.synops: dict[str, int] = {}
        self.neuron_spikes: dict[str, np.ndarray] = {}
        self.step_spikes = np.zeros(n_steps, np.int64)

    def add(self, batch: Batch) -> None:
        self.final.append(self._predict(batch.readout, self.readout_steps))
        for i, step in enumerate(self.curve_steps):
            self.curve[i].append(self._predict(batch.readout[:, :step], min(self.readout_steps, step)))
        for name, counts in batch.spikes.items():
            self.spikes[name] = self.spikes.get(name, 0) + int(counts.sum())
            self.neuron_spikes[name] = self.neuron_spikes.get(name, 0) + batch.neuron_spikes[name]
        for name, counts in batch.synops.items():
            self.synops[name] = self.synops.get(name, 0) + int(counts.sum())
        if batch.step_spikes is not None:
            self.step_spikes += batch.step_spikes

    def _predict(self, readout: np.ndarray, n_steps: int) -> np.ndarray:
        return self.task.predictions(decode(self.spec, readout, n_steps), self.spec)

    @property
    def n_done(self) -> int:
        """Samples that have been added."""
        return sum(len(part) for part in self.final)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that `add` has gathered, as arrays."""
        if not self.final:
            return {}
        arrays = {"final": self.prediction, "step_spikes": self.step_spikes}
        arrays.update({f"curve/{i}": np.concatenate(part) for i, part in enumerate(self.curve)})
        for group in ("spikes", "synops", "neuron_spikes"):
            arrays.update({f"{group}/{name}": np.asarray(value) for name, value in getattr(self, group).items()})
        return arrays

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go back to what `state` returned."""
        if not state:
            return
        self.final, self.step_spikes = [state["final"]], state["step_spikes"]
        self.curve = [[state[f"curve/{i}"]] for i in range(len(self.curve_steps))]
        for key, value in state.items():
            group, _, name = key.partition("/")
            if group in ("spikes", "synops"):
                getattr(self, group)[name] = int(value)
            elif group == "neuron_spikes":
                self.neuron_spikes[name] = value

    @property
    def prediction(self) -> np.ndarray:
        return np.concatenate(self.final)

    def group_scores(self, predicted: np.ndarray | None = None) -> np.ndarray:
        """The metric of each image or volume, in the sorted order of their names."""
        predicted = self.prediction if predicted is None else predicted
        return self.task.scores(predicted, *self._true)

    @property
    def _true(self):
        """Targets, groups and class names."""
        return self.dataset.targets, self.dataset.groups, self.dataset.class_names

    def curve_values(self) -> list[float]:
        return [float(self.group_scores(np.concatenate(part)).mean()) for part in self.curve]

    def rates_hz(self) -> dict[str, np.ndarray]:
        """Mean rate of each neuron over all samples, (n_neurons,) float32 for each layer."""
        seconds = len(self.dataset) * self.n_steps * self.experiment.dt_s
        return {
            layer.name: (self.neuron_spikes[layer.name] / seconds).astype(np.float32)
            for layer in self.spec.layers
            if layer.name in self.neuron_spikes
        }

    def row(self, model: str, seconds: float) -> dict[str, Any]:
        """This model's row."""
        values = self.group_scores()
        n, deploy = len(self.dataset), self.experiment.deploy
        row: dict[str, Any] = {
            "model": model,
            "value": float(values.mean()),
            # images of rare classes count more than one, and a resample may hold many of them
            "ci95": [
                min(max(limit, 0.0), 1.0)
                for limit in bootstrap_ci(values, seed=self.experiment.seed, n_resamples=deploy.n_bootstrap)
            ],
            "mean_rate_hz": None,
            "spikes_per_inference": None,
            "synops_per_inference": None,
            "seconds": round(seconds, 2),
            "layers": [],
        }
        per_class = self.task.per_class(self.prediction, *self._true)
        if per_class:
            row["per_class"] = per_class
        row.update(self.task.details(self.prediction, self.dataset.targets, self.dataset.class_names))
        if self.spikes:
            row["layers"] = [self._layer(layer, n) for layer in self.spec.layers]
            if self.experiment.finetune.initial_voltage == "spread":
                row["start_spikes"] = 1  # one neuron's, into every layer
            total = sum(self.spikes.values()) / n
            row["spikes_per_inference"] = total
            row["synops_per_inference"] = sum(self.synops.values()) / n
            row["mean_rate_hz"] = mean_rate_hz(total, self.spec.n_neurons, self.n_steps, self.experiment.dt_s)
        return row

    def _layer(self, layer, n: int) -> dict[str, Any]:
        spikes = self.spikes[layer.name] / n
        return {
            "name": layer.name,
            "neurons": layer.n_neurons,
            "on_chip": layer.name not in self.spec.on_host,
            "spikes_per_inference": spikes,
            "mean_rate_hz": mean_rate_hz(spikes, layer.n_neurons, self.n_steps, self.experiment.dt_s),
            "synops_per_inference": self.synops.get(layer.name, 0) / n,
        }


def skipped(model: str, reason: str) -> dict[str, Any]:
    """The row of a model that was not run."""
    empty = ("value", "ci95", "mean_rate_hz", "spikes_per_inference", "synops_per_inference", "seconds")
    return {"model": model, "skipped": reason, **dict.fromkeys(empty), "layers": []}


def agreement(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, Any]:
    """How far the rates of two models differ, layer by layer.

    Parameters
    ----------
    ours, theirs : {layer: (n_neurons,)}
        Mean rates in Hz.
    """
    layers = []
    for name in ours:
        a, b = ours[name].astype(np.float64), theirs[name].astype(np.float64)
        varies = a.std() > 0 and b.std() > 0
        da, db = a - a.mean(), b - b.mean()
        layers.append({
            "name": name,
            "rate_mean_abs_difference_hz": float(np.abs(a - b).mean()),
            # np.corrcoef's last bits hang on where BLAS finds its arrays
            "rate_correlation": float((da * db).sum() / np.sqrt((da**2).sum() * (db**2).sum())) if varies else None,
        })  # fmt: skip
    return {"layers": layers}
