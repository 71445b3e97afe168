"""Where a network's parameters come from: a run, or the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.networks import NetworkSpec
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.folder import RunFolder
from cotrain.pipeline.words import nearest, show

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


def packed() -> list[str]:
    """Experiments whose parameters come with the package."""
    return sorted(path.stem for path in PRETRAINED_DIR.glob(artifacts.pretrained_file("*")))


def from_package(experiment: Experiment) -> ParameterSet:
    """Parameters that come with the package.

    Raises
    ------
    InputError
        The package has none for this experiment.
    """
    path = package_file(experiment)
    if not path.is_file():
        raise InputError(
            f"no pretrained parameters for {experiment.name} (there are: {', '.join(packed()) or 'none'}); "
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


def start_file(experiment: Experiment) -> Path | None:
    """The parameters that ``train.start`` names; None where it is empty.

    Raises
    ------
    InputError
        The package has none for an experiment of that name.
    MissingError
        There is no such file.
    """
    start = experiment.train.start
    if not start:
        return None
    path = Path(start) if start.endswith(".npz") else PRETRAINED_DIR / artifacts.pretrained_file(start)
    if not path.is_file() and start.endswith(".npz"):
        raise MissingError(f"train.start: no file {path}; expected the params.npz of a run's train folder")
    if not path.is_file() or "/" in start.removesuffix(".npz") and not start.endswith(".npz"):
        raise InputError(
            f"train.start is {show(start)}{nearest(start, packed())}; expected the path of a params.npz, or one of "
            f"{', '.join(packed())}"
        )
    return path


def started(path: Path, spec: NetworkSpec, fresh: Params) -> tuple[Params, list[str]]:
    """Parameters of a file for a network whose hidden layers are those of the file's.

    Parameters
    ----------
    path : Path
        A run's params.npz or a file of the package.
    fresh : dict of ndarray
        The network's initial parameters.

    Returns
    -------
    params : dict of ndarray
        float32.
    anew : list of str
        What they have of `fresh`: the readout, where the file's gives other outputs.

    Raises
    ------
    InputError
        A hidden layer has another shape there, or is missing.
    CorruptError
        The file cannot be read, or holds NaN.
    """
    found = {
        name.removeprefix("ann/"): array.astype(np.float32)
        for name, array in artifacts.read_npz(path).items()
        if array.dtype.kind == "f" and not name.startswith("hybrid/") and name != "constant"
    }
    readout = [name for name in fresh if name.startswith(f"{spec.readout.name}.")]
    anew = readout if any(found.get(name, fresh[name]).shape != fresh[name].shape for name in readout) else []
    params = {**found, **{name: fresh[name] for name in anew}}
    try:
        spec.check_params(params)
    except InputError as error:
        raise InputError(
            f"train.start: {path.parent.name}/{path.name} is of another network ({error}); give network.* the values "
            'of its experiment (base = "its name")'
        ) from None
    return params, anew


def pack(found: dict[str, Params], constant: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of a pretrained file; the inverse of `from_package`. What fine-tuning left as it was is kept once."""
    arrays = {f"ann/{name}": array for name, array in found["ann"].items()}
    for name, array in found["hybrid"].items():
        if not np.array_equal(array, found["ann"][name]):
            arrays[f"hybrid/{name}"] = array
    masks = constant.ndim > 1
    return {**arrays, "constant": constant.astype(np.uint8 if masks else np.float32)}
