"""Epochs: views of the images, the learning rate, validation, early stopping, checkpoints and what is told of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError
from cotrain.hardware.progress import Progress, duration
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.experiment import DataSettings, PhaseSettings
from cotrain.pipeline.networks import NetworkSpec, Params
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.training import checkpoint
from cotrain.pipeline.training.backend import Backend, Job, StepResult

FINAL_RATE = 0.01  # the cosine schedule ends at this part of the learning rate


@dataclass(frozen=True)
class Schedule:
    """How long, in what portions, and how fast."""

    settings: PhaseSettings
    data: DataSettings
    seed: int  # of order and views

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 1. "cosine" falls along half a cosine, after the warm-up."""
        settings = self.settings
        if epoch <= settings.warmup_epochs:
            return settings.learning_rate * epoch / (settings.warmup_epochs + 1)
        if settings.schedule == "constant":
            return settings.learning_rate
        first = settings.warmup_epochs + 1
        fraction = (epoch - first) / max(settings.epochs - first, 1)
        return settings.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * fraction)) / 2)

    def n_batches(self, n_train: int) -> int:
        """Batches in an epoch."""
        return -(-min(self.settings.epoch_samples or n_train, n_train) // self.settings.batch_size)


Watcher = Callable[[int, float], None]
_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Have every training in here call ``watcher(epoch, best)`` after each epoch's checkpoint; it may raise.

    `best` is the best validation metric so far. A training that goes on from a checkpoint calls it for that one
    again, so that what the watcher decides does not hang on where a process was killed.
    """
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


@dataclass(frozen=True)
class TrainingResult:
    """Parameters of the epoch that was best on the validation split, and what happened on the way."""

    params: Params
    history: dict[str, Any]


def fit(
    backend: Backend,
    job: Job,
    schedule: Schedule,
    dataset: Dataset,
    folder: Path,
    key: str,
    say: Callable[[str], None] = terminal.say,
) -> TrainingResult:
    """Train until the schedule ends or the validation metric has not improved for `patience` epochs.

    The parameters that the training starts from count as epoch 0: what does worse on the validation split is not kept.

    Parameters
    ----------
    backend : Backend
        With its first parameters.
    job : Job
        What it was made for.
    folder : Path
        For the checkpoint and TensorBoard's logs.
    key : str
        Stands for everything that the result is a function of: a checkpoint in `folder` with the same key is resumed.
        It stays there: whoever keeps the result removes it then.

    Raises
    ------
    InputError
        The loss is not finite any more.
    """
    train = dataset.subset("train")
    judges = dataset.subset("validation").whole_groups(schedule.settings.validation_samples)
    validation = [judges, *job.task.protocols(judges, schedule.data).values()]
    scaler, metric = job.scaler, job.task.metric
    found = checkpoint.Checkpoint.load(folder, key)
    if found:
        history, best = found.history, found.best
        backend.restore(found.state)
        say(f"  going on after epoch {len(history['epochs']) - 1}")
    else:
        best = scaler.fold(backend.params())
        value = validate(backend, job, validation)
        history = {"metric": metric, "best_epoch": 0, "epochs": [_entry(0, value)]}
        say(f"  before training: validation {metric} {value:.4f}")
    settings, n_batches = schedule.settings, schedule.n_batches(len(train))
    logs = _TensorBoard(folder / artifacts.TENSORBOARD)
    progress = Progress("training", settings.epochs * n_batches, done=(len(history["epochs"]) - 1) * n_batches)
    watcher = _WATCHER.get()
    if watcher and found:
        watcher(len(history["epochs"]) - 1, history["epochs"][history["best_epoch"]]["metric"])
    seconds = []  # not part of the history, which is the same in every run
    try:
        for epoch in range(len(history["epochs"]), settings.epochs + 1):
            if _stopped(history, settings.patience):
                break
            started, rate = time.perf_counter(), schedule.rate(epoch)
            results = []
            for images, targets in batches(train, job, schedule, epoch):
                results.append(backend.train_step(images, targets, rate))
                progress.advance()
            value = validate(backend, job, validation)
            seconds.append(time.perf_counter() - started)
            entry = _entry(epoch, value, results, rate, job.spec)
            if not math.isfinite(entry["loss"]):
                raise InputError(
                    f"loss of epoch {epoch}: {entry['loss']}; take a learning_rate below {settings.learning_rate:g}"
                )
            history["epochs"].append(entry)
            if value > history["epochs"][history["best_epoch"]]["metric"]:
                history["best_epoch"], best = epoch, scaler.fold(backend.params())
            checkpoint.Checkpoint(history, best, backend.state()).save(folder, key)
            left = float(np.mean(seconds)) * (settings.epochs - epoch)
            artifacts.write_json(
                folder / artifacts.PROGRESS,
                {"done": epoch, "total": settings.epochs, "unit": "epochs", "seconds_left": round(left, 1)},
            )
            logs.write(entry)
            progress.close()
            say(_line(history, schedule, seconds))
            if watcher:
                watcher(epoch, history["epochs"][history["best_epoch"]]["metric"])
    except KeyboardInterrupt:
        say(f"  stopped in epoch {len(history['epochs'])}; the same command goes on from there")
        raise
    finally:
        progress.close()
        logs.close()
    return TrainingResult(best, history)


def validate(backend: Backend, job: Job, datasets: list[Dataset]) -> float:
    """The task's metric, mean over images or volumes and over `datasets`."""
    values = []
    for dataset in datasets:
        readout = job.scaler.restore(backend.predict(dataset.images))
        predicted = job.task.predict(readout, job.spec.output_shape)
        values.append(job.task.scores(predicted, dataset.targets, dataset.groups, dataset.class_names).mean())
    return float(np.mean(values))


def batches(dataset: Dataset, job: Job, schedule: Schedule, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch's batches of images (batch_size, height, width, channels) and standardised targets (batch_size, size).

    Order and views depend on the seed and the epoch alone. All batches are full: the last one is filled with samples
    that come first in the order.
    """
    rng = np.random.default_rng([schedule.seed, epoch])
    settings, n, size = schedule.settings, len(dataset), schedule.settings.batch_size
    order = np.resize(rng.permutation(n), schedule.n_batches(n) * size)
    for index in order.reshape(-1, size):
        images, targets = dataset.images[index], dataset.targets[index]
        if settings.augment:
            views = job.task.augment(dataset, images, targets, rng, settings)
            seen = rng.random(size) < settings.view_fraction
            images[seen], targets[seen] = views[0][seen], views[1][seen]
        yield images, job.scaler.standardise(targets).astype(np.float32)


def _stopped(history: dict[str, Any], patience: int) -> bool:
    return patience > 0 and len(history["epochs"]) - 1 - history["best_epoch"] >= patience


def _entry(
    epoch: int,
    value: float,
    results: list[StepResult] | None = None,
    rate: float | None = None,
    spec: NetworkSpec | None = None,
) -> dict[str, Any]:
    """What history.json says of an epoch; epoch 0 is the state before training."""
    entry: dict[str, Any] = {"epoch": epoch, "loss": None, "metric": value, "mean_rate_hz": None}
    if results and spec:
        rates = np.mean([r.rates_hz for r in results], axis=0, dtype=np.float64)
        entry["loss"] = float(np.mean([r.loss for r in results]))
        entry["mean_rate_hz"] = float(np.average(rates, weights=[layer.n_neurons for layer in spec.layers]))
        entry["learning_rate"] = rate
        entry["rates_hz"] = {layer.name: float(r) for layer, r in zip(spec.layers, rates, strict=True)}
    return entry


def _line(history: dict[str, Any], schedule: Schedule, seconds: list[float]) -> str:
    """The last epoch in one line."""
    entry, epochs = history["epochs"][-1], schedule.settings.epochs
    left = float(np.mean(seconds)) * (epochs - entry["epoch"])
    best = "best" if history["best_epoch"] == entry["epoch"] else ""
    return (
        f"  epoch {entry['epoch']:>{len(str(epochs))}}/{epochs}  loss {entry['loss']:<6.4g}  "
        f"{history['metric']} {entry['metric']:.4f}  {best:<4}  {entry['mean_rate_hz']:>3.0f} Hz  "
        f"{f'{duration(left)} left' if left else duration(sum(seconds))}"
    )


def summary(history: dict[str, Any]) -> str:
    """What a training came to, in a sentence."""
    epochs, best = history["epochs"], history["best_epoch"]
    said = f"validation {history['metric']} {epochs[best]['metric']:.4f}"
    if len(epochs) == 1:
        return f"{said}, without a training"
    if not best:
        return f"{said}, as before training: no epoch was better"
    return (
        f"{said} in epoch {best} of {len(epochs) - 1}, at {epochs[best]['mean_rate_hz']:.0f} Hz; "
        f"{epochs[0]['metric']:.4f} before"
    )


class _TensorBoard:
    """Scalars of each epoch for TensorBoard."""

    def __init__(self, folder: Path):
        from cotrain.pipeline.compat import import_tensorflow

        self.summary = import_tensorflow().summary
        self.writer = self.summary.create_file_writer(str(folder))

    def write(self, entry: dict[str, Any]) -> None:
        with self.writer.as_default(step=entry["epoch"]):
            for name in ("loss", "metric", "mean_rate_hz", "learning_rate"):
                self.summary.scalar(name, entry[name])
            for layer, rate in entry["rates_hz"].items():
                self.summary.scalar(f"rates_hz/{layer}", rate)

    def close(self) -> None:
        self.writer.close()
