"""How long the stages will take here: a few steps of each are run and counted up.

The first step of everything is not counted into the pace: it compiles. Nothing that is trained is kept.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from cotrain.hardware.terminal import plural
from cotrain.pipeline.datasets import Dataset
from cotrain.pipeline.evaluation.rows import ROWS
from cotrain.pipeline.experiment import Experiment

if TYPE_CHECKING:
    from cotrain.pipeline.networks.spec import NetworkSpec, Params

STEPS_S = 4.0  # seconds that training steps are measured for, and no more than so many of them
MOST_STEPS = 20
SAMPLES = 32  # that predictions are measured on


@dataclass(frozen=True)
class StageTime:
    """What a stage will take.

    Attributes
    ----------
    stage : str
    seconds : float
    why : str
        How it comes to that.
    """

    stage: str
    seconds: float
    why: str


def training(experiment: Experiment, dataset: Dataset, phase: str) -> StageTime:
    """Of the stage train ("ann") or finetune ("hybrid"): its epochs with their validation."""
    from cotrain.pipeline.compat import make_deterministic
    from cotrain.pipeline.training import job_for
    from cotrain.pipeline.training.backend import make_backend
    from cotrain.pipeline.training.loop import Schedule, batches

    stage = "train" if phase == "ann" else "finetune"
    job = job_for(experiment, dataset, phase)
    if not job.settings.epochs:
        return StageTime(stage, 0.0, "no epochs")
    started = time.perf_counter()
    make_deterministic(experiment.seed)
    schedule = Schedule(job.settings, experiment.data, experiment.seed)
    train, validation = dataset.subset("train"), dataset.subset("validation")
    backend = make_backend(job.settings.backend, job, job.spec.init_params(experiment.seed))
    try:
        endless = itertools.chain.from_iterable(batches(train, job, schedule, epoch) for epoch in itertools.count(1))
        backend.train_step(*next(endless), 0.0)
        some = validation.images[: max(SAMPLES, job.settings.batch_size)]
        backend.predict(some)
        start_s = time.perf_counter() - started
        step_s = _mean_seconds(lambda: backend.train_step(*next(endless), 0.0))
        one_s = _mean_seconds(lambda: backend.predict(some), most=3) / len(some)
    finally:
        backend.close()
    n_steps, epochs = schedule.n_batches(len(train)), job.settings.epochs
    n_judged = len(validation) * (1 + len(job.task.protocols(validation.take(1), experiment.data)))
    seconds = start_s + epochs * (n_steps * step_s + n_judged * one_s)
    early = ", fewer if it stops early" if job.settings.patience else ""
    return StageTime(
        stage, seconds, f"{plural(epochs, 'epoch')} of {plural(n_steps, 'step')} of {1000 * step_s:.0f} ms{early}"
    )


def deployment(experiment: Experiment, dataset: Dataset, spec: NetworkSpec, params: Params) -> tuple[StageTime, Any]:
    """Of the stage deploy, and the emulated model that was run for it."""
    from cotrain.pipeline.evaluation.models import N_CHECKED, CheckedModel, LoihiModel
    from cotrain.pipeline.tasks import task_of

    n = len(dataset.subset("test").take(experiment.deploy.limit or None))
    some = dataset.subset("test").take(4)
    n *= 1 + len(task_of(dataset.task).protocols(some.take(1), experiment.data))
    rows = experiment.deploy.models
    chip = [row for row in rows if ROWS[row].on_chip]
    spiking = [row for row in rows if row in ("converted", "hybrid")]
    with LoihiModel(experiment, spec, params, "emulator") as model:
        _last(model.run(some.images))
        one_s = _mean_seconds(lambda: _last(model.run(some.images)), most=3) / len(some)
    seconds, parts = len(chip) * n * one_s, [f"{len(chip)} x {n} samples of {1000 * one_s:.0f} ms on the emulator"]
    if spiking:
        with CheckedModel(experiment, spec, params) as floats:
            batch = np.resize(some.images, (N_CHECKED, *some.images.shape[1:]))
            started = time.perf_counter()
            _last(floats.run(np.concatenate([batch, batch])))  # NengoDL has its part in it
            first_s = time.perf_counter() - started
            dl_s = _mean_seconds(lambda: _last(floats.run(batch)), most=2) / len(batch)
        seconds += len(spiking) * (first_s + n * dl_s)
        parts.append(f"{len(spiking)} x {n} of {1000 * dl_s:.0f} ms in NengoDL")
    return StageTime("deploy", seconds, ", ".join(parts)), model


def _mean_seconds(run: Callable[[], object], most: int = MOST_STEPS) -> float:
    started, n = time.perf_counter(), 0
    while n < most and (n == 0 or time.perf_counter() - started < STEPS_S):
        run()
        n += 1
    return (time.perf_counter() - started) / n


def _last(batches: Iterator) -> None:
    for _ in batches:
        pass
