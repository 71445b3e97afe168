"""What a stage is given."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotrain.hardware.files import file_sha256
from cotrain.pipeline.evaluation import ceilings
from cotrain.pipeline.experiment import Experiment, all_settings
from cotrain.pipeline.runs import artifacts, parameters
from cotrain.pipeline.runs.folder import RunFolder
from cotrain.pipeline.runs.parameters import ParameterSet
from cotrain.pipeline.runs.request import Request
from cotrain.pipeline.stages.table import Stage

if TYPE_CHECKING:
    from cotrain.pipeline.datasets.base import Dataset

ALSO = (artifacts.BOARD, artifacts.SEEDS, artifacts.SPLITS, artifacts.EXPLORED)


class Context:
    """What a stage sees: its settings, the data, the folders of the stages before it, and its own."""

    def __init__(self, experiment: Experiment, stage: Stage, runs: Path, data: Path, asked: Request | None = None):
        self.experiment = experiment
        self.stage = stage
        self.runs = runs
        self.data = data
        self.asked = asked or Request(experiment.name, (), runs, data)
        self.outputs: list[str] = []

    def of(self, stage: Stage) -> Context:
        """The same for another stage; what has been read is not read again."""
        other = copy.copy(self)
        other.stage, other.outputs = stage, []
        return other

    def command(self, stage: str, *more: str) -> str:
        """The command that runs a stage, as messages name it."""
        return self.asked.command(stage, *more)

    def folder(self, stage: str) -> RunFolder:
        return RunFolder(artifacts.stage_folder(self.runs, self.experiment.name, stage), stage)

    @property
    def out(self) -> Path:
        """Where this stage writes. Files there count as outputs once they are written with the methods below."""
        return self.folder(self.stage.name).part

    def input(self, stage: str, name: str) -> Path:
        return self.folder(stage).path / name

    def read_npz(self, stage: str, name: str) -> dict:
        return artifacts.read_npz(self.input(stage, name))

    def read_json(self, stage: str, name: str) -> Any:
        return artifacts.read_json(self.input(stage, name))

    def write_npz(self, name: str, arrays: dict) -> None:
        artifacts.write_npz(self.out / name, arrays)
        self.add(name)

    def write_json(self, name: str, value: Any) -> None:
        artifacts.write_json(self.out / name, value)
        self.add(name)

    def write_bytes(self, name: str, value: bytes) -> None:
        artifacts.write_bytes(self.out / name, value)
        self.add(name)

    def add(self, name: str) -> None:
        """`name`, written into `out`, is an output."""
        if name not in self.outputs:
            self.outputs.append(name)

    @cached_property
    def dataset(self) -> Dataset:
        """The experiment's data set (pipeline.datasets.Dataset), split."""
        from cotrain.pipeline import datasets

        return datasets.load_for(self.experiment.data, self.data, self.runs / artifacts.SCRATCH)

    @cached_property
    def dataset_digest(self) -> str:
        """Changes with any pixel, target, name or assignment to a split."""
        d = self.dataset
        return artifacts.arrays_digest(
            {"images": d.images, "targets": d.targets, "names": d.names, "groups": d.groups, "split": d.split}
        )

    def made_of(self, stage: Stage) -> dict[str, Any]:
        """What the result of `stage` is a function of, apart from the stages before it."""
        settings = self.experiment.resolved(*stage.settings)
        if not stage.titled:
            del settings["title"]
        model = self.experiment.network.path
        for one in all_settings():
            if one.location and one.section in settings:  # what lies there counts, not where it lies
                del settings[one.section][one.key]
        made_of = {"stage_schema": stage.schema, "settings": settings, "dataset": self.dataset_digest}
        if "train" in stage.settings:
            start = parameters.start_file(self.experiment)
            made_of["start"] = file_sha256(start) if start else None
        if not model:
            return made_of
        shown = self.experiment.deployed().finetune  # for which a model's weights are fitted to spikes
        presented = {key: getattr(shown, key) for key in ("n_steps", "readout_steps", "synapse_s")}
        if shown.initial_voltage != "zero":
            presented["initial_voltage"] = shown.initial_voltage
        return {**made_of, "model": file_sha256(model), "presented": presented}

    def key(self, stage: Stage | None = None) -> dict[str, Any]:
        """What the result of `stage` (this one) is a function of; every input file is checked on the way."""
        stage = stage or self.stage
        key = {**self.made_of(stage), "upstream": {name: self._digest(name) for name in stage.needs}}
        if stage.also:
            places = {name: artifacts.experiment_folder(self.runs, self.experiment.name) / name for name in ALSO}
            places[artifacts.CEILINGS] = ceilings.FILE
            key["also"] = {name: file_sha256(path) if path.is_file() else None for name, path in places.items()}
        return key

    @cached_property
    def pretrained(self) -> bool:
        """Whether the package's parameters stand in for a run that was never made."""
        started = any(self.folder(stage).finished() for stage in parameters.KINDS.values())
        return not started and parameters.package_file(self.experiment).is_file()

    @cached_property
    def parameters(self) -> ParameterSet:
        """The experiment's parameters: those of the run, or the package's."""
        if self.pretrained:
            return parameters.from_package(self.experiment)
        return parameters.from_runs(self.experiment, self.runs, self.command("train"))

    def _digest(self, stage: str) -> str:
        if self.pretrained and stage in parameters.KINDS.values():
            return file_sha256(parameters.package_file(self.experiment))
        return self.folder(stage).verify()
