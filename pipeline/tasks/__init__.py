"""The tasks: what a network is asked. One file each says everything that differs between them.

A task says how its targets are written and learnt, which losses it knows, how predictions are scored, what the best
constant prediction is, under which protocols a network is judged, and how a sample is drawn. The rest of the package
asks `task_of(name)` and never which task it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cotrain.hardware.errors import InputError
from cotrain.pipeline.tasks.base import Task
from cotrain.pipeline.tasks.boxes import Boxes
from cotrain.pipeline.tasks.classes import Classes
from cotrain.pipeline.tasks.masks import Masks

if TYPE_CHECKING:
    from cotrain.pipeline.datasets import Dataset
    from cotrain.pipeline.networks import NetworkSpec
    from cotrain.pipeline.sections import NetworkSettings

__all__ = ["LOSSES", "TASKS", "Task", "metric_name", "network_for", "task_of"]

TASKS: dict[str, Task] = {task.name: task for task in (Boxes(), Masks(), Classes())}
LOSSES = tuple(dict.fromkeys(loss for task in TASKS.values() for loss in task.losses))  # all that train.loss may be


def task_of(name: str) -> Task:
    """The task of that name, a key of `TASKS`.

    Raises
    ------
    InputError
        There is none.
    """
    if name not in TASKS:
        raise InputError(f"unknown task {name!r}; there are {', '.join(TASKS)}")
    return TASKS[name]


def network_for(settings: NetworkSettings, dataset: Dataset) -> NetworkSpec:
    """The network of an experiment, with a readout for these data.

    Parameters
    ----------
    settings : pipeline.experiment.NetworkSettings
    dataset : Dataset

    Raises
    ------
    InputError
        Unknown network, an image size that it cannot take, or one that cannot give what the data need.
    """
    from cotrain.pipeline.networks import spec_for

    task = task_of(dataset.task)
    spec = spec_for(settings, dataset.input_shape, task.output_shape(dataset)[-1])
    task.check_network(spec, dataset)
    return spec


def metric_name(metric: str) -> str:
    """A metric's key in metrics.json as people write it."""
    return next((task.metric_name for task in TASKS.values() if task.metric == metric), metric)
