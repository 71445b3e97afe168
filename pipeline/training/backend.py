"""What a trainer is given, and what it has to offer. `loop` does the rest, whichever it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.pipeline.experiment import NeuronSettings
from cotrain.pipeline.networks import NetworkSpec, Params
from cotrain.pipeline.training.scaling import TargetScaler

# name -> (module, class)
BACKENDS = {
    "nengo-dl": ("cotrain.pipeline.training.nengo_dl", "NengoDLBackend"),
    "tensorflow": ("cotrain.pipeline.training.unrolled.trainer", "TensorFlowBackend"),
}


@dataclass(frozen=True)
class Job:
    """What is to be trained, apart from data and parameters."""

    spec: NetworkSpec
    neurons: NeuronSettings
    phase: str  # "ann" or "hybrid"
    scaler: TargetScaler
    loss: str  # a key of losses.LOSSES
    batch_size: int
    rate_weight: float = 0.0
    rate_min_hz: float = 0.0
    rate_max_hz: float = 250.0
    rate_mean_weight: float = 0.0  # of the mean activation of all neurons
    clip_norm: float = 0.0  # 0: not clipped
    precision: str = "float32"  # of images, spikes and kernels; "bfloat16" in TensorFlow only
    round_weights: bool = False  # to the chip's grid, in TensorFlow only
    batch_norm: bool = False  # while the ANN trains, in TensorFlow only
    weight_decay: float = 0.0  # part of a kernel that goes in a step, times the learning rate; in TensorFlow only
    average: float = 0.0  # decay of the running average of the parameters (0: none), in TensorFlow only
    dt_s: float = 0.001
    n_steps: int = 1  # of a presentation; 1 for rates
    readout_steps: int = 1
    synapse_s: float = 0.0  # 0: none
    seed: int = 0


@dataclass(frozen=True)
class StepResult:
    """What one training step tells."""

    loss: float  # with the penalty on rates
    rates_hz: np.ndarray  # mean rate of each layer in this batch


class Backend(Protocol):
    """A trainer. Made with (job, params): `params` are those of the standardised network."""

    def train_step(self, images: np.ndarray, targets: np.ndarray, learning_rate: float) -> StepResult:
        """One step of Adam.

        Parameters
        ----------
        images : (batch_size, height, width, 1) float32
        targets : (batch_size, size) float32
            Standardised.
        """

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Standardised predictions (n, size) for any number of images: the mean readout of the last steps."""

    def params(self) -> Params:
        """The parameters as they are now, of the standardised network."""

    def state(self) -> dict[str, np.ndarray]:
        """All that changes in training, the optimizer's moments included."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go back to a `state`."""

    def close(self) -> None: ...


def make_backend(name: str, job: Job, params: Params) -> Backend:
    """The trainer that `train.backend` or `finetune.backend` names, with its first parameters.

    Raises
    ------
    InputError
        No trainer has that name.
    """
    if name not in BACKENDS:
        raise InputError(f"backend is {name!r}; there are {', '.join(BACKENDS)}")
    extras = ("round_weights", "average", "batch_norm", "weight_decay")
    if name == "nengo-dl" and (job.precision != "float32" or any(getattr(job, key) for key in extras)):
        raise InputError(
            f"backend nengo-dl trains in float32 and knows none of {', '.join(extras)}; leave these at their defaults "
            "or set backend to tensorflow"
        )
    module, cls = BACKENDS[name]
    return getattr(importlib.import_module(module), cls)(job, params)


def in_full_batches(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int) -> np.ndarray:
    """``predict`` of images (n, height, width, 1) in batches of `size`, the last one filled with black images."""
    outputs = []
    for first in range(0, len(images), size):
        part = images[first : first + size]
        black = np.zeros((size - len(part), *part.shape[1:]), part.dtype)
        outputs.append(predict(np.concatenate([part, black]))[: len(part)])
    return np.concatenate(outputs)
