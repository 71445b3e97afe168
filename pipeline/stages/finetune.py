"""Hybrid fine-tuning: spikes in the forward pass, rate gradients in the backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cotrain.pipeline import training
from cotrain.pipeline.runs import artifacts

if TYPE_CHECKING:
    from cotrain.pipeline.stages.context import Context


def run(context: Context) -> str:
    """Write params.npz and history.json."""
    key = artifacts.json_digest(context.key())
    params = context.read_npz("train", artifacts.PARAMS)
    trained = training.finetune(context.experiment, context.dataset, params, context.out, key)
    context.write_npz(artifacts.PARAMS, trained.params)
    context.write_json(artifacts.HISTORY, trained.history)
    return training.summary(trained.history)
