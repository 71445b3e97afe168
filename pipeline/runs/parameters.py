"""Where a network's parameters come from: a run, or the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.folder import RunFolder

Params = dict[str, np.ndarray]

PRETRAINED_DIR = Path(__file__).parents[1] / "pretrained"
KINDS = {"ann": "train", "hybrid": "finetune"}  # and the stage that makes them


@dataclass(frozen=True)
class ParameterSet:
    """Parameters of an experiment: "ann" and "hybrid", the constant predictor of their training split, their origin."""

    params: dict[str, Params]
    constant: np.ndarray | None
    source: str


def from_runs(experiment: Experiment, runs: Path, train: str = "") -> ParameterSet:
    """Parameters of the train and finetune stages; the ones that are there.

    Parameters
    ----------
    train : str
        The command that makes them, where it is not the plain one.

    Raises
    ------
    MissingError
        Not even the train stage has finished.
    CorruptError
        A file was changed.
    """
    params = {}
    for kind, stage in KINDS.items():
        folder = RunFolder(artifacts.stage_folder(runs, experiment.name, stage), stage)
        if folder.finished():
            folder.verify()
            params[kind] = artifacts.read_npz(folder.path / artifacts.PARAMS)
    if "ann" not in params:
        raise MissingError(
            f"no trained parameters in {artifacts.experiment_folder(runs, experiment.name)}; "
            f"run: {train or f'cotrain train {experiment.name}'}"
        )
    return ParameterSet(params, None, f"run of {experiment.name}")


def package_file(experiment: Experiment) -> Path:
    return PRETRAINED_DIR / artifacts.pretrained_file(experiment.name)


def from_package(experiment: Experiment) -> ParameterSet:
    """Parameters that come with the package.

    Raises
    ------
    InputError
        The package has none for this experiment.
    """
    path = package_file(experiment)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRETRAINED_DIR.glob(artifacts.pretrained_file("*")))) or "none"
        raise InputError(
            f"no pretrained parameters for {experiment.name} (there are: {known}); "
            f"run: cotrain train {experiment.name}, then evaluate with --params run"
        )
    arrays = artifacts.read_npz(path)
    params = {
        kind: {
            name.removeprefix(f"{kind}/"): array.astype(np.float32)
            for name, array in arrays.items()
            if name.startswith(f"{kind}/")
        }
        for kind in KINDS
    }
    params["hybrid"] = {**params["ann"], **params["hybrid"]}
    return ParameterSet(params, arrays["constant"].astype(np.float32), "pretrained")


def pack(found: dict[str, Params], constant: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of a pretrained file; the inverse of `from_package`. What fine-tuning left as it was is kept once."""
    arrays = {f"ann/{name}": array for name, array in found["ann"].items()}
    for name, array in found["hybrid"].items():
        if not np.array_equal(array, found["ann"][name]):
            arrays[f"hybrid/{name}"] = array
    masks = constant.ndim > 1
    return {**arrays, "constant": constant.astype(np.uint8 if masks else np.float32)}
