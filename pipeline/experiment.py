"""Experiments: frozen settings, read from TOML, changed from the command line with ``--set section.key=value``.

The docstring of a field is its help text. Every value is checked where it enters: an unknown name is answered with
the nearest one that exists, a value of another type with the type that is expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cotrain.hardware.errors import InputError, MissingError

EXPERIMENTS_DIR = Path(__file__).parent / "experiments"


def choice(*values: str) -> Any:
    """The type of a setting that takes one of `values`."""
    return Literal[values]


@dataclass(frozen=True)
class DataSettings:
    """Which images, and how they are split."""

    name: str = "synthetic-planes"  # a key of pipeline.datasets.DATASETS
    height: int = 64  # pixels of a network input
    width: int = 128
    split_seed: int = 0  # of the split alone, 80/10/10 by image or volume; a change of seed keeps it
    shift_fraction: float = 0.08  # shifted protocol (boxes): largest shift and scale of a test image
    shift_seed: int = 1
    n_groups: int = 0  # synthetic data sets: images or volumes to make (0: the data set's default)


@dataclass(frozen=True)
class NetworkSettings:
    """Which network, and its widths."""

    name: str = "locnet"  # a key of pipeline.networks.NETWORKS
    filters: tuple[int, ...] = (8, 16, 32)  # per resolution
    dense: tuple[int, ...] = (128, 64, 32)  # hidden dense layers (LocNet)
    kernel: int = 3  # pixels
    pool_kernel: int = 2  # pixels, of the convolutions of stride 2
    bottleneck_layers: int = 2  # convolutions at the lowest resolution (CAE)


@dataclass(frozen=True)
class NeuronSettings:
    """The neuron of every layer, in every phase."""

    kind: choice("lif", "rectified") = "rectified"
    rate_curve: choice("loihi", "ideal") = "loihi"  # of the ANN: the chip's discretised rates, or the closed form
    tau_rc_s: float = 0.02
    tau_ref_s: float = 0.002
    smoothing: float = 0.005  # gamma of the soft LIF
    rate_scale_hz: float = 200.0  # rate of a neuron whose activation is 1


@dataclass(frozen=True)
class TrainSettings:
    """The ANN (rates)."""

    backend: choice("nengo-dl", "tensorflow") = "nengo-dl"
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: choice("constant", "cosine") = "cosine"  # of the learning rate; cosine ends at a hundredth
    warmup_epochs: int = 0  # in which the learning rate rises to its full size
    loss: choice("mse", "mae", "huber", "giou", "giou-mae", "bce-dice") = "mse"
    rate_weight: float = 0.0  # of the penalty on firing rates outside the range below, per layer
    rate_min_hz: float = 0.0
    rate_max_hz: float = 250.0  # the paper's target is a range of no width
    rate_mean_weight: float = 0.0  # of the mean activity of all neurons; an activity of 1 is rate_scale_hz
    precision: choice("float32", "bfloat16") = "float32"  # of images, spikes and weights in convolutions
    round_weights: bool = False  # to the chip's 8 bits in the forward pass, one scale a layer
    average: float = 0.0  # decay per step of a running average of the parameters, which is what is kept (0: none)
    epoch_samples: int = 0  # samples after which an epoch ends (0: all of the training split)
    view_fraction: float = 1.0  # augmentation: how many of the samples are seen in a random view
    view_shift: float = 0.08  # largest shift, as a fraction of the image, and largest change of size
    view_scale: float = 0.08
    clip_norm: float = 0.0  # largest norm of a gradient (0: any)
    augment: bool = True
    patience: int = 0  # epochs without a better validation metric before stopping (0: never)


@dataclass(frozen=True)
class FinetuneSettings:
    """The hybrid: spikes forward, rate gradients backward."""

    backend: choice("nengo-dl", "tensorflow") = "nengo-dl"
    epochs: int = 7
    batch_size: int = 16
    learning_rate: float = 1e-4
    schedule: choice("constant", "cosine") = "cosine"
    warmup_epochs: int = 0
    rate_weight: float = 0.0
    rate_min_hz: float = 0.0
    rate_max_hz: float = 250.0
    rate_mean_weight: float = 0.0
    precision: choice("float32", "bfloat16") = "float32"
    round_weights: bool = False
    average: float = 0.0
    epoch_samples: int = 0
    view_fraction: float = 1.0
    view_shift: float = 0.08
    view_scale: float = 0.08
    clip_norm: float = 1.0
    n_steps: int = 60
    readout_steps: int = 30  # the prediction is the mean readout over the last of the steps
    synapse_s: float = 0.002  # Lowpass on every connection between spiking layers
    augment: bool = True
    patience: int = 3


@dataclass(frozen=True)
class QuantizeSettings:
    """Placement on the chip."""

    board: choice("kapoho_bay", "nahuku8", "nahuku32", "pohoiki") = "nahuku32"
    prefer: choice("cores", "precision") = "cores"


@dataclass(frozen=True)
class DeploySettings:
    """The comparison on the test split."""

    target: choice("emulator", "reference") = "emulator"
    models: tuple[str, ...] = (
        "constant", "ann", "converted", "hybrid", "loihi-converted", "loihi-hybrid",
    )  # fmt: skip
    limit: int = 0  # test samples (0: all)
    batch_size: int = 64  # samples that are held in memory at once
    n_bootstrap: int = 2000


@dataclass(frozen=True)
class SubmissionSettings:
    """The bundle for the lab."""

    n_samples: int = 16  # test samples that travel, spread over the split


@dataclass(frozen=True)
class Experiment:
    """Everything that a run depends on."""

    name: str = ""
    title: str = ""
    seed: int = 0
    dt_s: float = 0.001
    data: DataSettings = field(default_factory=DataSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    neurons: NeuronSettings = field(default_factory=NeuronSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    quantize: QuantizeSettings = field(default_factory=QuantizeSettings)
    deploy: DeploySettings = field(default_factory=DeploySettings)
    submission: SubmissionSettings = field(default_factory=SubmissionSettings)

    def resolved(self, *sections: str) -> dict[str, Any]:
        """Settings as plain JSON values; with `sections`, those sections and the scalars only."""
        full = dataclasses.asdict(self)
        if not sections:
            return full
        return {k: v for k, v in full.items() if not isinstance(v, dict) or k in sections}


# Bounds that a type cannot say. A value outside is refused before any work is done.
_POSITIVE = {
    "height", "width", "kernel", "pool_kernel", "bottleneck_layers", "epochs", "batch_size", "n_steps", "readout_steps",
    "rate_scale_hz", "tau_rc_s", "learning_rate", "dt_s", "n_bootstrap", "n_samples",
}  # fmt: skip
_NOT_NEGATIVE = {
    "limit", "patience", "n_groups", "tau_ref_s", "synapse_s", "smoothing", "seed", "shift_fraction",
    "rate_weight", "rate_min_hz", "rate_max_hz", "clip_norm", "rate_mean_weight", "average", "epoch_samples",
    "warmup_epochs", "view_fraction", "view_shift", "view_scale",
}  # fmt: skip


def names() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(p.stem for p in EXPERIMENTS_DIR.glob("*.toml"))


def load(name: str, overrides: list[str] | None = None) -> Experiment:
    """Read experiment `name` (or a path that ends in .toml) and apply ``section.key=value`` overrides.

    Raises
    ------
    InputError
        Unknown experiment, section, key, or a value that is not allowed there.
    """
    path = Path(name) if name.endswith(".toml") else EXPERIMENTS_DIR / f"{name}.toml"
    if not path.is_file():
        if name.endswith(".toml"):
            raise MissingError(f"experiment file {name} does not exist; give its path, or one of {', '.join(names())}")
        raise InputError(f"unknown experiment {name!r}{nearest(name, names())}; there are {', '.join(names())}")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is not valid TOML: {error}; mend that line") from None
    tree["name"] = path.stem
    for item in overrides or []:
        _apply(tree, item)
    experiment = _build(Experiment, tree, path.name)
    _check(experiment)
    return experiment


def nearest(word: str, known: list[str]) -> str:
    """'; did you mean X?' for the closest of `known`, or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _apply(tree: dict, item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise InputError(f"--set {item!r}: expected section.key=value, for example --set train.epochs=1")
    *sections, leaf = key.strip().split(".")
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise InputError(f"--set {item!r}: {section!r} is a value, not a section")
    tree[leaf] = value


def _build(cls, tree: dict, where: str):
    types = typing.get_type_hints(cls, include_extras=True)
    values = {}
    for key, value in tree.items():
        if key not in types:
            raise InputError(
                f"{where}: unknown setting {key!r}{nearest(key, list(types))}; there are {', '.join(types)}"
            )
        values[key] = _convert(value, types[key], f"{where}: {key}", f"{where}.{key}")
    return cls(**values)


def _convert(value, kind, what: str, where: str):
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise InputError(f"{what} is a section with keys {', '.join(typing.get_type_hints(kind))}, got {value!r}")
        return _build(kind, value, where)
    if get_origin(kind) is Literal:
        allowed = get_args(kind)
        if value not in allowed:
            raise InputError(
                f"{what} is {value!r}{nearest(str(value), list(allowed))}; expected one of {', '.join(allowed)}"
            )
        return value
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{what} is {value!r}; expected a list of {get_args(kind)[0].__name__}")
        return tuple(_convert(v, get_args(kind)[0], what, where) for v in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{what} is {value!r}; expected a {kind.__name__}")
    return value


def _check(experiment: Experiment) -> None:
    sections = [("", experiment)] + [
        (f.name + ".", getattr(experiment, f.name))
        for f in dataclasses.fields(experiment)
        if dataclasses.is_dataclass(getattr(experiment, f.name))
    ]
    for prefix, section in sections:
        for f in dataclasses.fields(section):
            value = getattr(section, f.name)
            if isinstance(value, float) and value != value or value in (float("inf"), float("-inf")):
                raise InputError(f"{prefix}{f.name} is {value}; expected a finite number")
            if f.name in _POSITIVE and not value > 0:
                raise InputError(f"{prefix}{f.name} is {value}; expected more than 0")
            if f.name in _NOT_NEGATIVE and not value >= 0:
                raise InputError(f"{prefix}{f.name} is {value}; expected 0 or more")
            if isinstance(value, tuple) and any(isinstance(v, int) and v <= 0 for v in value):
                raise InputError(f"{prefix}{f.name} is {list(value)}; expected widths above 0")
    tune = experiment.finetune
    for section in (experiment.train, tune):
        for name in ("average", "view_shift", "view_scale"):
            if getattr(section, name) >= 1:
                raise InputError(f"{name} is {getattr(section, name):g}; expected less than 1")
        if section.view_fraction > 1:
            raise InputError(f"view_fraction is {section.view_fraction:g}; expected at most 1")
        if section.rate_min_hz > section.rate_max_hz:
            raise InputError(
                f"rate_min_hz is {section.rate_min_hz:g}; expected at most rate_max_hz, {section.rate_max_hz:g}"
            )
    if tune.readout_steps > tune.n_steps:
        raise InputError(f"finetune.readout_steps is {tune.readout_steps}; expected at most n_steps, {tune.n_steps}")
