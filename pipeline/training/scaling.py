"""Targets with mean 0 and deviation 1, so that a network learns more than their mean.

The standardised network differs from the network that is saved in its readout alone, into which the scale is folded:
what is saved gives boxes in fractions of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cotrain.pipeline.networks import Params


@dataclass(frozen=True)
class TargetScaler:
    """target = mean + deviation * standardised target, each component by itself."""

    mean: np.ndarray  # (size,) float32
    deviation: np.ndarray

    @classmethod
    def fit(cls, task: str, targets: np.ndarray, view_shift: float = 0.0) -> TargetScaler:
        """From training targets: of boxes (n, 4) each coordinate; masks stay as they are (their readout is a logit).

        `view_shift` is what augmentation adds to their spread: shifts drawn uniformly from -view_shift to view_shift.
        """
        if task == "masks":
            return cls(np.zeros(1, np.float32), np.ones(1, np.float32))
        deviation = np.sqrt(targets.var(axis=0) + view_shift**2 / 3)
        deviation = np.maximum(deviation, 1e-3)  # a coordinate that never changes is not blown up
        return cls(targets.mean(axis=0).astype(np.float32), deviation.astype(np.float32))

    def standardise(self, targets: np.ndarray) -> np.ndarray:
        """Targets (n, ...) as (n, size)."""
        return (targets.reshape(len(targets), -1) - self.mean) / self.deviation

    def restore(self, targets):
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
