"""Targets with mean 0 and deviation 1, where a task wants them so.

The standardised network differs from the network that is saved in its readout alone, into which the scale is folded:
what is saved gives targets as they are, boxes in fractions of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from cotrain.pipeline.networks import Params


@dataclass(frozen=True)
class TargetScaler:
    """target = mean + deviation * standardised target, each component by itself."""

    mean: np.ndarray  # (size,) float32
    deviation: np.ndarray

    @classmethod
    def identity(cls) -> TargetScaler:
        """Targets stay as they are."""
        return cls(np.zeros(1, np.float32), np.ones(1, np.float32))

    def standardise(self, targets: np.ndarray) -> np.ndarray:
        """Targets (n, ...) as (n, size)."""
        return (targets.reshape(len(targets), -1) - self.mean) / self.deviation

    def restore(self, targets: Any) -> Any:
        """The inverse of `standardise`, for arrays and tensors."""
        return targets * self.deviation + self.mean

    def fold(self, params: Params) -> Params:
        """Parameters of the standardised network -> parameters that give targets as they are."""
        kernels = {name: params[name] * self.deviation for name in params if name.startswith("readout.kernel")}
        return {**params, **kernels, "readout.bias": params["readout.bias"] * self.deviation + self.mean}

    def unfold(self, params: Params) -> Params:
        """The inverse of `fold`."""
        kernels = {name: params[name] / self.deviation for name in params if name.startswith("readout.kernel")}
        return {**params, **kernels, "readout.bias": (params["readout.bias"] - self.mean) / self.deviation}


@dataclass(frozen=True)
class LogitScaler(TargetScaler):
    """The same of a network that ends in a sigmoid: it is the logits of the targets that are standardised."""

    LEAST: ClassVar[float] = 1e-3  # from 0 and 1: edges of a box that lie on the image's have no finite logit

    @classmethod
    def logits(cls, targets: np.ndarray) -> np.ndarray:
        """(n, size) float32."""
        p = np.clip(targets.reshape(len(targets), -1), cls.LEAST, 1 - cls.LEAST)
        return np.log(p / (1 - p)).astype(np.float32)

    def standardise(self, targets: np.ndarray) -> np.ndarray:
        return (self.logits(targets) - self.mean) / self.deviation

    def restore(self, targets: Any) -> Any:
        return 1 / (1 + math.e ** -super().restore(targets))
