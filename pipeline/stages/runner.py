"""The stages, in order. Each is one module here with ``run(context)``; none imports another."""

from __future__ import annotations

import importlib
import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.runs import artifacts, parameters


@dataclass(frozen=True)
class Stage:
    """A row of the table of stages.

    `settings` are the sections of the experiment that its result depends on; a change in another one leaves it fresh.
    """

    name: str
    help: str
    needs: tuple[str, ...]
    settings: tuple[str, ...]
    schema: int = 1
    automatic: bool = False  # seconds of work: run for whoever needs it
    pretrained: bool = False  # the package's parameters will do where there is no run
    also: tuple[str, ...] = ()  # files in the experiment's folder that it takes in where they are there
    always: bool = False  # depends on more than its key (the source that travels): run when asked for


_MODEL = ("data", "network", "neurons")

STAGES = {
    stage.name: stage
    for stage in (
        Stage("train", "train the ANN in NengoDL", (), (*_MODEL, "train"), schema=2),
        Stage("finetune", "fine-tune it as a hybrid: spikes forward, rate gradients backward", ("train",),
              (*_MODEL, "finetune"), schema=2),
        Stage("quantize", "place the spiking networks on cores and turn them into integers", ("train", "finetune"),
              (*_MODEL, "finetune", "quantize"), automatic=True, pretrained=True),
        Stage("deploy", "compare NengoDL and emulated Loihi on the test split",
              ("train", "finetune", "quantize"), (*_MODEL, "finetune", "quantize", "deploy"), pretrained=True),
        Stage("report", "write the HTML, Markdown and JSON report", ("train", "finetune", "quantize", "deploy"),
              (*_MODEL, "train", "finetune", "quantize", "deploy"), pretrained=True,
              also=("board/board.json", "seeds/seeds.json")),
        Stage("submission", "write the bundle that a lab runs on the board", ("train", "finetune", "quantize"),
              (*_MODEL, "finetune", "quantize", "submission"), pretrained=True, always=True),
    )
}  # fmt: skip


class Context:
    """What a stage sees: its settings, the data, the folders of the stages before it, and its own."""

    def __init__(self, experiment: Experiment, stage: Stage, runs: Path, data: Path):
        self.experiment = experiment
        self.stage = stage
        self.runs = runs
        self.data = data
        self.outputs: list[str] = []

    def folder(self, stage: str) -> artifacts.RunFolder:
        return artifacts.RunFolder(self.runs / self.experiment.name / stage, stage)

    @property
    def out(self) -> Path:
        """This stage's folder. Files here count as outputs once they are written with the methods below."""
        return self.folder(self.stage.name).path

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
    def dataset(self):
        """The experiment's data set (pipeline.datasets.Dataset), split."""
        from cotrain.pipeline import datasets

        return datasets.load_for(self.experiment.data, self.data, self.runs / "data")

    @cached_property
    def dataset_digest(self) -> str:
        """Changes with any pixel, target, name or assignment to a split."""
        d = self.dataset
        return artifacts.arrays_digest(
            {"images": d.images, "targets": d.targets, "names": d.names, "groups": d.groups, "split": d.split}
        )

    def key(self, stage: Stage | None = None) -> dict[str, Any]:
        """What the result of `stage` (this one) is a function of; every input file is checked on the way."""
        stage = stage or self.stage
        key = {
            "stage_schema": stage.schema,
            "settings": self.experiment.resolved(*stage.settings),
            "dataset": self.dataset_digest,
            "upstream": {name: self._digest(name) for name in stage.needs},
        }
        if stage.also:
            paths = {name: self.runs / self.experiment.name / name for name in stage.also}
            key["also"] = {n: artifacts.sha256(p.read_bytes()) if p.is_file() else None for n, p in paths.items()}
        return key

    @cached_property
    def pretrained(self) -> bool:
        """Whether the package's parameters stand in for a run that was never made."""
        started = any(self.folder(stage).finished() for stage in parameters.KINDS.values())
        return not started and parameters.package_file(self.experiment).is_file()

    @cached_property
    def found(self) -> parameters.Found:
        """The experiment's parameters: those of the run, or the package's."""
        if self.pretrained:
            return parameters.from_package(self.experiment)
        return parameters.from_runs(self.experiment, self.runs)

    def _digest(self, stage: str) -> str:
        if self.pretrained and stage in parameters.KINDS.values():
            return artifacts.sha256(parameters.package_file(self.experiment).read_bytes())
        return self.folder(stage).verify()


def run(name: str, experiment: Experiment, runs: Path, data: Path, force: bool = False, say=print) -> bool:
    """Run a stage unless it is fresh. Returns whether it ran.

    Raises
    ------
    MissingError
        A stage that it needs has not finished.
    CorruptError
        A file of a stage that it needs was changed.
    """
    stage = STAGES[name]
    context = Context(experiment, stage, runs, data)
    for need in stage.needs:
        if STAGES[need].automatic:
            run(need, experiment, runs, data, say=say)
        elif not (stage.pretrained and context.pretrained and need in parameters.KINDS.values()):
            _require(need, context)
    folder = context.folder(name)
    key = context.key()
    if not force and not stage.always and folder.fresh(key):
        folder.verify()
        say(f"{name} {experiment.name}: up to date in {folder.path} (--force runs it again)")
        return False
    started = time.perf_counter()
    folder.open()
    module = importlib.import_module(f"cotrain.pipeline.stages.{name}")
    say(f"{name} {experiment.name}: {stage.help}")
    if context.pretrained and stage.pretrained:
        say("  no run of this experiment: the parameters that come with the package are used")
    module.run(context)
    seconds = time.perf_counter() - started
    folder.close(key, context.outputs, seconds)
    say(f"{name} {experiment.name}: done in {seconds:.0f} s, {folder.path}")
    return True


def _require(need: str, context: Context) -> None:
    """Refuse to build on a stage that is missing or belongs to other settings or data."""
    folder, name = context.folder(need), context.experiment.name
    command = f"run: cotrain {need} {name}"
    if not folder.finished():
        raise MissingError(
            f"{context.stage.name} {name} needs the {need} stage, which has not finished in {folder.path}; {command}"
        )
    for upstream in STAGES[need].needs:
        if not (context.pretrained and upstream in parameters.KINDS.values()):
            _require(upstream, context)
    found, wanted = folder.manifest(), json.loads(json.dumps(context.key(STAGES[need])))
    changed = [k for k in wanted if found.get(k) != wanted[k]]
    if changed:
        raise InputError(
            f"{folder.path} was made with {_difference(found, wanted, changed[0])}; "
            f"{command} with the settings you want"
        )


def _difference(found: dict, wanted: dict, key: str) -> str:
    if key != "settings":
        return {"dataset": "other data", "upstream": "an earlier run of the stages before it"}.get(
            key, f"another {key}"
        )
    for section, value in wanted[key].items():
        old = found[key].get(section)
        if old == value:
            continue
        if not isinstance(value, dict) or not isinstance(old, dict):
            return f"{section}={old!r}, now it is {value!r}"
        for leaf in value:
            if old.get(leaf) != value[leaf]:
                return f"{section}.{leaf}={old.get(leaf)!r}, now it is {value[leaf]!r}"
    return "other settings"
