"""Soft-max and sigmoid: at the end of a model they are the host's, anywhere else the chip cannot hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cotrain.hardware.errors import UnsupportedError
from cotrain.pipeline.networks.readers.linear import Value

WHAT_TO_DO = "train the model with ReLU there, and save it again"


@dataclass(frozen=True)
class Final:
    """A value behind the model's last activation."""

    value: Value
    kind: str  # "sigmoid" or "softmax"
    label: str


def plain(value: Any, label: str) -> Value:
    """`value`, unless it has passed an activation that may only come last."""
    if isinstance(value, Final):
        raise UnsupportedError(
            f"layer {value.label}: {value.kind} in the middle of a model (layer {label} follows); the chip's neurons "
            f"are rectified, so {WHAT_TO_DO}"
        )
    return value
