"""The files of the earlier stages, as one object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from cotrain.pipeline.experiment import shared_settings, with_younger
from cotrain.pipeline.networks import NetworkSpec
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.request import Request

if TYPE_CHECKING:
    from cotrain.pipeline.stages.context import Context


@dataclass(frozen=True)
class Inputs:
    """What a report is made from. A file that a run did not write (a skipped row has none) is empty."""

    experiment: str
    title: str
    settings: dict[str, Any]
    spec: NetworkSpec
    metrics: dict[str, Any]
    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    rates: dict[str, np.ndarray] = field(default_factory=dict)
    trajectory: dict[str, Any] = field(default_factory=dict)
    raster: dict[str, np.ndarray] = field(default_factory=dict)
    histories: dict[str, dict[str, Any]] = field(default_factory=dict)  # "train", "finetune"
    params: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # "ann", "hybrid"
    placement: dict[str, Any] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)  # manifests: seconds, versions, git
    seeds: dict[str, Any] = field(default_factory=dict)  # what `cotrain repeat` wrote, if with these settings
    splits: dict[str, Any] = field(default_factory=dict)  # and with its --splits
    explored: dict[str, Any] = field(default_factory=dict)  # what `cotrain explore` wrote, likewise
    asked: Request | None = None  # how it was asked for, for the commands that are printed


def load(context: Context) -> Inputs:
    """Read every input of the report stage.

    Raises
    ------
    MissingError, CorruptError
        `deploy/metrics.json` is not there, or a file cannot be read.
    """
    experiment = context.experiment

    def optional(read, stage, name):
        return read(stage, name) if context.input(stage, name).is_file() else {}

    metrics = context.read_json("deploy", artifacts.METRICS)
    board = artifacts.board_file(context.runs, experiment.name)
    if board.is_file():  # what came back from the lab: cotrain verify BUNDLE RESULTS
        metrics["rows"].append(artifacts.read_sealed(board, "verify those results again, or remove it"))
    stages = {}
    for stage in (s for s in context.stage.needs if context.folder(s).finished()):
        manifest = context.folder(stage).manifest()
        stages[stage] = {key: manifest.get(key) for key in ("seconds", "versions", "git")}
    return Inputs(
        experiment=experiment.name,
        title=experiment.title or experiment.name,
        settings=experiment.resolved(),
        spec=NetworkSpec.from_dict(metrics["network"]),
        metrics=metrics,
        predictions=optional(context.read_npz, "deploy", artifacts.PREDICTIONS),
        rates=optional(context.read_npz, "deploy", artifacts.RATES),
        trajectory=optional(context.read_json, "deploy", artifacts.TRAJECTORY),
        raster=optional(context.read_npz, "deploy", artifacts.RASTER),
        histories={s: optional(context.read_json, s, artifacts.HISTORY) for s in ("train", "finetune")},
        params=context.parameters.params,
        placement=optional(context.read_json, "quantize", artifacts.PLACEMENT),
        quantization=optional(context.read_json, "quantize", artifacts.QUANTIZATION),
        stages=stages,
        seeds=_of_these_settings(context, artifacts.seeds_file, "repeat"),
        splits=_of_these_settings(context, artifacts.splits_file, "repeat --splits"),
        explored=_of_these_settings(context, artifacts.explored_file, "explore"),
        asked=context.asked,
    )


def _of_these_settings(context, file, verb: str) -> dict[str, Any]:
    """The figures of several seeds or splits, or of other steps, unless they are of other settings."""
    path = file(context.runs, context.experiment.name)
    found = artifacts.read_sealed(path, f"run `cotrain {verb}` again, or remove it") if path.is_file() else {}
    return found if with_younger(found.get("settings")) == shared_settings(context.experiment) else {}
