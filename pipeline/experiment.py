"""Experiments: settings, read from TOML, changed from the command line with ``--set section.key=value``.

Bounds, unit and help text stand at the field; ``cotrain settings`` prints them. An experiment may start from another
one (``base = "locnet"``), and paths in its file are relative to that file.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import field
from typing import Any

from cotrain.hardware.errors import InputError
from cotrain.pipeline import layers
from cotrain.pipeline.checked import Entry, entries, setting, settings
from cotrain.pipeline.layers import names
from cotrain.pipeline.phase_settings import FinetuneSettings, PhaseSettings, TrainSettings
from cotrain.pipeline.sections import (
    SECTIONS,
    SEED_MOST,
    DataSettings,
    DeploySettings,
    NetworkSettings,
    NeuronSettings,
    QuantizeSettings,
    SubmissionSettings,
)
from cotrain.pipeline.words import nearest, show

__all__ = [
    "DataSettings", "DeploySettings", "Experiment", "FinetuneSettings", "NetworkSettings", "NeuronSettings",
    "PhaseSettings", "QuantizeSettings", "SubmissionSettings", "TrainSettings", "all_settings", "load", "names",
    "nearest", "shared_settings", "with_younger",
]  # fmt: skip

NAME_BYTES = 100  # of a run folder; file systems take 255, and files below it are named after it
OWN_MODEL = "model"  # network.name of a network that was made elsewhere
# What such a model is presented with, where its experiment does not say. It has not been trained with spikes, and each
# neuron has to hear rates in them: of MNIST's small layers nothing is left at 250 Hz and 1 ms (measured).
MODEL_RATE_HZ = 500.0
MODEL_SYNAPSE_S = 0.005


@settings
class Experiment:
    """Everything that a run depends on."""

    name: str = setting("of the run folder: the name of the experiment's file", default="experiment", shortest=1)
    title: str = setting("heads the report", default="", longest=200)
    seed: int = setting("of initial parameters, order and views of the images", default=0, least=0, most=SEED_MOST)
    dt_s: float = setting("length of a time step", default=0.001, unit="s", above=0, most=1)
    data: DataSettings = field(default_factory=DataSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    neurons: NeuronSettings = field(default_factory=NeuronSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    quantize: QuantizeSettings = field(default_factory=QuantizeSettings)
    deploy: DeploySettings = field(default_factory=DeploySettings)
    submission: SubmissionSettings = field(default_factory=SubmissionSettings)

    def check_together(self) -> None:
        _check_name(self.name)
        if not self.title.isprintable():
            raise InputError(f"title is {show(self.title)}; expected one line")
        steps = self.deploy.n_steps or self.finetune.n_steps
        if self.deploy.readout_steps > steps:
            raise InputError(f"deploy.readout_steps is {self.deploy.readout_steps}; expected at most n_steps, {steps}")
        own = self.network.name == OWN_MODEL
        if own and not self.network.path:
            raise InputError(f'network.name is "{OWN_MODEL}" and network.path is empty; expected your model\'s file')
        if own and self.train.start:
            raise InputError(
                f'network.name is "{OWN_MODEL}", which starts from your own model, and train.start is '
                f"{show(self.train.start)}; leave one of them out"
            )
        if self.train.epochs == 0 and not own:
            raise InputError(
                f'train.epochs is 0, which keeps the weights of your own model (network.name = "{OWN_MODEL}"); '
                "expected 1 or more"
            )
        for key in ("height", "width", "channels"):
            if not own and getattr(self.data, key) == 0:
                raise InputError(f"data.{key} is 0, which stands for a model's own; expected 1 or more")

    def deployed(self) -> Experiment:
        """As it is presented outside of training: ``finetune`` with the steps of ``deploy``, where those are others."""
        tune, deploy = self.finetune, self.deploy
        n_steps = deploy.n_steps or tune.n_steps
        window = deploy.readout_steps or max(1, round(tune.readout_steps * n_steps / tune.n_steps))
        if (n_steps, window) == (tune.n_steps, tune.readout_steps):
            return self
        return dataclasses.replace(self, finetune=dataclasses.replace(tune, n_steps=n_steps, readout_steps=window))

    def steps_note(self) -> str:
        """What a reader must know where it is presented otherwise than it was fine-tuned; else nothing."""
        tune, shown = self.finetune, self.deployed().finetune
        if shown is tune:
            return ""
        return (
            f"{shown.n_steps} steps, the last {shown.readout_steps} read out (deploy.n_steps); fine-tuned for "
            f"{tune.n_steps} and {tune.readout_steps}"
        )

    def resolved(self, *sections: str) -> dict[str, Any]:
        """Settings as plain JSON values; with `sections`, those sections and the scalars only."""
        full = dataclasses.asdict(self)
        if not sections:
            return full
        return {k: v for k, v in full.items() if not isinstance(v, dict) or k in sections}


def all_settings() -> tuple[Entry, ...]:
    """Every setting there is, section by section."""
    return tuple(one for cls in (Experiment, *SECTIONS.values()) for one in entries(cls))


def shared_settings(experiment: Experiment) -> dict[str, Any]:
    """Settings that a training depends on, without the seed; as JSON has them."""
    resolved = experiment.resolved("data", "network", "neurons", "train", "finetune", "quantize")
    return json.loads(json.dumps({key: value for key, value in resolved.items() if key not in ("seed", "title")}))


def with_younger(found: Any) -> Any:
    """What `shared_settings` gave some time ago: settings that are younger had their defaults then."""
    if not isinstance(found, dict):
        return found
    filled = {key: dict(value) if isinstance(value, dict) else value for key, value in found.items()}
    for one in all_settings():
        section = filled.get(one.section)
        if one.section and isinstance(section, dict):
            section.setdefault(one.key, json.loads(json.dumps(one.default)))
    return filled


def load(name: str, overrides: list[str] | None = None) -> Experiment:
    """Read experiment `name` (or a path that ends in .toml) and apply ``section.key=value`` overrides.

    Paths in the file are relative to it, those of `overrides` to the working folder.

    Raises
    ------
    InputError
        Unknown experiment, section, key, or a value that is not allowed there.
    MissingError
        The file does not exist.
    """
    locations = {section: {e.key: e.suffix for e in entries(cls) if e.location} for section, cls in SECTIONS.items()}
    where = name.rsplit("/", 1)[-1] if name.endswith(".toml") else f"{name}.toml"
    made = _build(layers.read(name, overrides or [], locations), where if where.isprintable() else show(where))
    return _with_own_size(made)


def _with_own_size(experiment: Experiment) -> Experiment:
    """The experiment with its model's own height, width and channels where its data leave them to the model."""
    data, keys = experiment.data, ("height", "width", "channels")
    if experiment.network.name != OWN_MODEL or all(getattr(data, key) for key in keys):
        return experiment
    from cotrain.pipeline.networks.foreign import own_shape

    own = dict(zip(keys, own_shape(experiment.network), strict=True))
    sizes: dict[str, Any] = {key: getattr(data, key) or own[key] for key in keys}
    return dataclasses.replace(experiment, data=dataclasses.replace(data, **sizes))


def _build(tree: dict[str, Any], where: str) -> Experiment:
    known = [f.name for f in dataclasses.fields(Experiment)]
    values = {}
    if tree.get("network", {}) and isinstance(tree["network"], dict) and tree["network"].get("name") == OWN_MODEL:
        own: dict[str, dict[str, Any]] = {  # unless they are given
            "data": dict.fromkeys(("height", "width", "channels"), 0),  # the model's own
            "neurons": {"rate_scale_hz": MODEL_RATE_HZ},
            "train": {"backend": "tensorflow"},
            "finetune": {"backend": "tensorflow", "synapse_s": MODEL_SYNAPSE_S},
        }
        for section, values_of_model in own.items():
            if isinstance(tree.setdefault(section, {}), dict):
                tree[section] = {**values_of_model, **tree[section]}
    try:
        for key, value in tree.items():
            if key not in known:
                raise InputError(f"unknown setting {key!r}{nearest(key, known)}; there are {', '.join(known)}")
            cls = SECTIONS.get(key)
            if cls is not None:
                if not isinstance(value, dict):
                    keys = ", ".join(one.key for one in entries(cls))
                    raise InputError(f"{key} is a section with keys {keys}, got {show(value)}")
                value = cls(**value)
            values[key] = value
        return Experiment(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_name(name: str) -> None:
    """A name is that of a folder: refuse what is none, and what would not fit."""
    bad = (
        f"longer than {NAME_BYTES} bytes" if len(name.encode()) > NAME_BYTES
        else "a path" if "/" in name or "\\" in name
        else "hidden" if name.startswith(".")
        else "read as an option" if name.startswith("-")
        else "not printable" if not name.isprintable() or name != name.strip()
        else ""
    )  # fmt: skip
    if bad:
        raise InputError(
            f"an experiment called {show(name)} would be a folder whose name is {bad}; rename its file, "
            "for example to mine.toml"
        )
