"""What a trainer is given, and what it has to offer. `loop` does the rest, whichever it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.pipeline.experiment import FinetuneSettings, NeuronSettings, PhaseSettings, TrainSettings
from cotrain.pipeline.networks import NetworkSpec, Params
from cotrain.pipeline.neurons.phases import lift_of
from cotrain.pipeline.tasks.base import Task
from cotrain.pipeline.tasks.scaling import TargetScaler

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
    task: Task
    scaler: TargetScaler  # of targets
    loss: str  # one of the task's
    settings: PhaseSettings  # of the phase: those of the ANN or those of the hybrid
    dt_s: float = 0.001
    seed: int = 0

    @property
    def phase(self) -> str:
        """ "ann" or "hybrid"."""
        return "hybrid" if isinstance(self.settings, FinetuneSettings) else "ann"

    @property
    def n_steps(self) -> int:
        """Of a presentation; 1 for rates."""
        return self.settings.n_steps if isinstance(self.settings, FinetuneSettings) else 1

    @property
    def batch_norm(self) -> bool:
        """Whether currents are normalised while the ANN trains."""
        return isinstance(self.settings, TrainSettings) and self.settings.batch_norm

    @property
    def readout_steps(self) -> int:
        """The prediction is the mean over the last of them."""
        return self.settings.readout_steps if isinstance(self.settings, FinetuneSettings) else 1

    @property
    def synapse_s(self) -> float:
        """0: none."""
        return self.settings.synapse_s if isinstance(self.settings, FinetuneSettings) else 0.0

    @property
    def lift(self) -> float:
        """See `pipeline.networks.build`; 0: voltages start at 0."""
        return lift_of(self.neurons, self.settings, self.dt_s) if isinstance(self.settings, FinetuneSettings) else 0.0

    @property
    def distill_weight(self) -> float:
        """Share of the loss that compares a hybrid with the ANN it starts from (Hinton et al. 2015)."""
        return self.settings.distill_weight if isinstance(self.settings, FinetuneSettings) else 0.0

    @property
    def slope(self) -> str:
        """ "step" or "drift": which slope of the rate curve stands for a spike's in gradients."""
        return self.settings.slope if isinstance(self.settings, FinetuneSettings) else "step"

    def as_ann(self) -> Job:
        """The same network and neurons as rates, in the same precision, on the same device."""
        settings = TrainSettings(precision=self.settings.precision, device=self.settings.device)
        return replace(self, settings=settings)

    def with_settings(self, **changes: Any) -> Job:
        """The same job with other settings of its phase."""
        return replace(self, settings=replace(self.settings, **changes))


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


def make_backend(name: str, job: Job, params: Params, images: np.ndarray | None = None) -> Backend:
    """The trainer that `train.backend` or `finetune.backend` names, with its first parameters.

    Parameters
    ----------
    images : (n, height, width, channels) float32, optional
        By which batch normalisation starts as what changes nothing; without them it starts anew.

    Raises
    ------
    InputError
        No trainer has that name, or this one cannot do what the other settings ask for.
    """
    if name not in BACKENDS:
        raise InputError(f"backend is {name!r}; there are {', '.join(BACKENDS)}")
    extras = ("round_weights", "average", "batch_norm", "weight_decay", "distill_weight", "readout_positive")
    if name == "nengo-dl" and (
        job.settings.precision == "bfloat16" or any(getattr(job.settings, key, False) for key in extras)
    ):
        raise InputError(
            f"backend nengo-dl trains in float32 and knows none of {', '.join(extras)}; leave these at their defaults "
            "or set backend to tensorflow"
        )
    neurons = job.neurons
    if job.slope == "drift" and (name == "nengo-dl" or (neurons.kind, neurons.rate_curve) != ("rectified", "loihi")):
        raise InputError(
            f"finetune.slope is drift, which backend tensorflow knows of rectified neurons with the chip's rate curve; "
            f"the backend is {name}, neurons.kind {neurons.kind}, neurons.rate_curve {neurons.rate_curve}: set slope "
            "to step"
        )
    module, cls = BACKENDS[name]
    trainer = getattr(importlib.import_module(module), cls)
    return trainer(job, params) if images is None else trainer(job, params, images)


def in_full_batches(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int) -> np.ndarray:
    """``predict`` of images (n, height, width, 1) in batches of `size`, the last one filled with black images."""
    outputs = []
    for first in range(0, len(images), size):
        part = images[first : first + size]
        black = np.zeros((size - len(part), *part.shape[1:]), part.dtype)
        outputs.append(predict(np.concatenate([part, black]))[: len(part)])
    return np.concatenate(outputs)
