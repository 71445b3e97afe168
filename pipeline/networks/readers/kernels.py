"""Kernels of convolutions that the chip has not, spelled out as those that it has; and what is refused of pooling."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np
from cotrain.hardware.errors import UnsupportedError

MAX_POOL_TAKEN = "max-pooling taken as average-pooling: fine-tune to repair what it costs"


def grouped(kernel: np.ndarray, groups: int, lowering: Any, label: str) -> np.ndarray:
    """(rows, columns, channels / groups, filters) as a kernel of all channels; what no group has is 0."""
    if groups == 1:
        return kernel
    rows, cols, n_in, filters = kernel.shape
    full, each = np.zeros((rows, cols, n_in * groups, filters)), filters // groups
    for g in range(groups):
        full[:, :, g * n_in : (g + 1) * n_in, g * each : (g + 1) * each] = kernel[..., g * each : (g + 1) * each]
    lowering.notes.append(spelled_out(label, f"{groups} groups", full.size, kernel.size))
    return full


def dilated(kernel: np.ndarray, dilation: Tuple[int, int], lowering: Any, label: str) -> np.ndarray:
    """A kernel with zeros between its values."""
    if tuple(dilation) == (1, 1):
        return kernel
    size = [(kernel.shape[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    full = np.zeros((*size, *kernel.shape[2:]))
    full[:: dilation[0], :: dilation[1]] = kernel
    lowering.notes.append(spelled_out(label, "dilation", full.size, kernel.size))
    return full


def spelled_out(label: str, what: str, n_weights: int, n_own: int) -> str:
    """The note of what a kernel costs that is mostly zeros."""
    return f"{label}: {what} spelled out, {n_weights:,} weights for {n_own:,}; the chip stores and counts the zeros too"


def max_pool_refused(name: str, kind: str) -> UnsupportedError:
    """The error of max-pooling that nobody has allowed to replace."""
    return UnsupportedError(
        f'layer {name} ({kind}): the chip has no max-pooling; set network.max_pool to "average" (on the command line '
        "--set network.max_pool=average) and fine-tune, or train with AveragePooling2D"
    )
