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
STEP_MOST = 127  # of a step in 8 bits
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
    of = {
        kind: {name.removeprefix(f"{kind}/"): arrays[name] for name in arrays if name.startswith(f"{kind}/")}
        for kind in ("ann", "hybrid", "gain", "step", "scale")
    }
    ann = {name: array.astype(np.float32) for name, array in of["ann"].items()}
    moved = {
        name: ann[name] * of["gain"].get(name, np.float32(1)) + step * of["scale"][name]
        for name, step in of["step"].items()
    }
    hybrid = {**ann, **{name: array.astype(np.float32) for name, array in of["hybrid"].items()}, **moved}
    return ParameterSet({"ann": ann, "hybrid": hybrid}, arrays["constant"].astype(np.float32), "pretrained")


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
    if start.endswith(".npz"):
        path = Path(start)
        if not path.is_file():
            raise MissingError(f"train.start: no file {path}; expected the params.npz of a run's train folder")
        return path
    known = packed()
    if start not in known:
        raise InputError(
            f"train.start is {show(start)}{nearest(start, known)}; expected the path of a params.npz, or one of "
            f"{', '.join(known)}"
        )
    return PRETRAINED_DIR / artifacts.pretrained_file(start)


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
    arrays = artifacts.read_npz(path)
    of_ann = [name for name in arrays if name.startswith("ann/")] or list(arrays)  # of the package, of a run
    found = {
        name.removeprefix("ann/"): arrays[name].astype(np.float32) for name in of_ann if arrays[name].dtype.kind == "f"
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


def pack(found: dict[str, Params], constant: np.ndarray, small: bool = False) -> dict[str, np.ndarray]:
    """Arrays of a pretrained file; `from_package` reads them. What fine-tuning left as it was is kept once.

    Parameters
    ----------
    found : dict
        Parameters "ann" and "hybrid".
    constant : ndarray
        The constant predictor.
    small : bool
        Keep kernels in half precision (11 bits; the chip has 8), and what fine-tuning made of them as a gain and, in 8
        bits, the rest, filter by filter: a small part of them, so that little is rounded.
    """
    halved = {name: array.astype(np.float16) if small and ".kernel" in name else array
              for name, array in found["ann"].items()}  # fmt: skip
    arrays = {f"ann/{name}": array for name, array in halved.items()}
    for name, array in found["hybrid"].items():
        if np.array_equal(array, found["ann"][name]):
            continue
        if not small or ".kernel" not in name:
            arrays[f"hybrid/{name}"] = array
            continue
        before, inputs = halved[name].astype(np.float32), tuple(range(array.ndim - 1))
        size = (before * before).sum(axis=inputs)
        gain = ((before * array).sum(axis=inputs) / np.where(size > 0, size, 1)).astype(np.float32)
        rest, whole = (np.abs(array - before * g).max(axis=inputs) for g in (gain, np.float32(1)))
        gain = np.where(rest < whole, gain, 1).astype(np.float32)
        moved: np.ndarray = array - before * gain
        most = np.abs(moved).max(axis=inputs)
        scale = np.where(most > 0, most / STEP_MOST, 1).astype(np.float32)
        arrays[f"gain/{name}"] = gain
        arrays[f"step/{name}"], arrays[f"scale/{name}"] = np.rint(moved / scale).astype(np.int8), scale
    masks = constant.ndim > 1
    return {**arrays, "constant": constant.astype(np.uint8 if masks else np.float32)}
