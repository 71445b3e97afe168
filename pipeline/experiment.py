"""Experiments: settings, read from TOML, changed from the command line with ``--set section.key=value``.

Bounds, unit and help text stand at the field; ``cotrain settings`` prints them. An experiment may start from another
one (``base = "locnet"``), and paths in its file are relative to that file.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import field
from typing import Annotated, Any, ClassVar

from cotrain.hardware.chip.limits import BOARDS
from cotrain.hardware.errors import InputError
from cotrain.pipeline import layers
from cotrain.pipeline.checked import Entry, entries, setting, settings
from cotrain.pipeline.evaluation.rows import MODELS
from cotrain.pipeline.layers import names
from cotrain.pipeline.tasks import LOSSES, TASKS
from cotrain.pipeline.words import nearest, show

__all__ = [
    "DataSettings", "DeploySettings", "Experiment", "FinetuneSettings", "NetworkSettings", "NeuronSettings",
    "PhaseSettings", "QuantizeSettings", "SubmissionSettings", "TrainSettings", "all_settings", "load", "names",
    "nearest", "shared_settings",
]  # fmt: skip

SEED_MOST = 2**32 - 1  # what NumPy's RandomState takes
NAME_BYTES = 100  # of a run folder; file systems take 255, and files below it are named after it
TASKS_OWN = -1.0  # of a view: what `pipeline.datasets.augment` draws for the task
OWN_MODEL = "model"  # network.name of a network that was made elsewhere


@settings
class DataSettings:
    """Which images, and how they are split."""

    SECTION: ClassVar[str] = "data"

    name: str = setting(
        "synthetic-planes",
        "boxes, masks, volumes or classes (your own files, see path), or a named set such as mnist",
        shortest=1,
        longest=100,
    )
    path: str = setting("", "your own files: the folder of the images", location=True, longest=4096)
    labels: str = setting(
        "",
        "boxes: a COCO .json, a .csv, or a folder of VOC .xml or YOLO .txt; masks: the folder of label images",
        location=True,
        longest=4096,
    )
    category: str = setting("", "boxes: which objects, where the labels know several kinds", longest=200)
    classes: tuple[int, ...] = setting(
        (),
        "masks, volumes: label values, each a class of its own; empty: everything above 0 is one class",
        least=0,
        most=65535,
        longest=255,
    )
    height: int = setting(64, "of a network's input; 0: a model's own", unit="pixels", least=0, most=4096)
    width: int = setting(128, "of a network's input; 0: a model's own", unit="pixels", least=0, most=4096)
    channels: int = setting(1, "of a network's input: 1 grey, 3 colour; 0: a model's own", least=0, most=1024)
    invert: bool = setting(False, "1 - pixel, for dark objects on a bright ground: a black pixel costs no spikes")
    offset: float = setting(
        0.0, "added to pixels in [0, 1] after scale, for models trained on another range", least=-1e4, most=1e4
    )
    scale: float = setting(1.0, "factor of pixels in [0, 1], for models trained on another range", above=0, most=1e4)
    axis: str = setting(
        "z", "volumes: what slices are counted through; z runs from feet to head", choices=("x", "y", "z")
    )
    fit: str = setting(
        "crop",
        "volumes: crop or pad slices about their centre, a voxel a pixel, or resize them",
        choices=("crop", "resize"),
    )
    n_slices: int = setting(
        0, "volumes: slices about the middle of each; 0: all of them, or the set's own number", least=0, most=4096
    )
    neighbours: int = setting(
        0, "slices of a volume that a network sees besides its own, on each side; as channels", least=0, most=16
    )
    split_seed: int = setting(
        0, "of the split alone, 80/10/10 by image or volume; a change of seed keeps it", least=0, most=SEED_MOST
    )
    shift_fraction: float = setting(
        0.08,
        "shifted protocol (boxes): largest shift and change of size of a test image",
        unit="of the image",
        least=0,
        below=1,
    )
    shift_seed: int = setting(1, "of the shifted protocol", least=0, most=SEED_MOST)
    n_groups: int = setting(
        0, "synthetic sets: images or volumes to make; 0: the set's own number", least=0, most=10**6
    )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what a network of the package sees."""
        return self.height, self.width, 2 * self.neighbours + 1 if self.neighbours else self.channels


@settings
class NetworkSettings:
    """Which network, and its widths."""

    SECTION: ClassVar[str] = "network"

    name: str = setting("locnet", 'a network of the package, or "model": your own, see path', shortest=1, longest=100)
    path: str = setting("", "your own model: .keras, .h5 or .onnx", location=True, longest=4096)
    max_pool: str = setting(
        "refuse",
        "a model's max-pooling, which the chip has not: refused, or taken as average-pooling (then fine-tune)",
        choices=("refuse", "average"),
    )
    calibrate: bool = setting(
        True,
        "a model's kernels and biases are fitted, on training images and without labels, so that spikes tell its "
        "activations (train.epochs = 0)",
    )
    filters: tuple[int, ...] = setting(
        (8, 16, 32), "of the convolutions, one entry a resolution", least=1, most=4096, shortest=1, longest=32
    )
    strides: tuple[int, ...] = setting(
        (),
        "of the convolutions, one entry each: 1, or 2 to halve height and width (convnet)",
        least=1,
        most=2,
        longest=32,
    )
    dense: tuple[int, ...] = setting(
        (128, 64, 32), "neurons of the hidden dense layers (locnet, convnet)", least=1, most=65536, longest=32
    )
    kernel: int = setting(3, "of the convolutions", unit="pixels", least=1, most=64)
    pool_kernel: int = setting(
        2, "of the convolutions of stride 2 in the place of pooling", unit="pixels", least=1, most=64
    )
    stem_kernel: int = setting(
        0, "of a first convolution of stride 2 in the place of all at full resolution (locnet, unet); 0: none",
        unit="pixels", least=0, most=64,
    )  # fmt: skip
    bottleneck_layers: int = setting(2, "convolutions at the lowest resolution (cae, unet)", least=1, most=32)
    skips: bool = setting(True, "decoder layers also listen to the encoder's of their resolution (unet)")


@settings
class NeuronSettings:
    """The neuron of every layer, in every phase."""

    SECTION: ClassVar[str] = "neurons"

    kind: str = setting("rectified", "leaky integrate-and-fire, or integrate-and-fire", choices=("lif", "rectified"))
    rate_curve: str = setting(
        "loihi", "of the ANN: the chip's rates in whole steps, or the closed form", choices=("loihi", "ideal")
    )
    tau_rc_s: float = setting(0.02, "membrane time constant (lif)", unit="s", above=0, most=10)
    tau_ref_s: float = setting(0.002, "refractory period (lif)", unit="s", least=0, most=1)
    smoothing: float = setting(0.005, "gamma of the soft LIF curve; 0: the hard one", least=0, most=10)
    rate_scale_hz: float = setting(
        200.0, "firing rate of a neuron whose activation is 1", unit="Hz", above=0, most=100000
    )


Epochs = Annotated[int, setting(50, "the most that are trained", unit="epochs", least=0, most=10**6)]
BatchSize = Annotated[int, setting(32, "samples of a training step", unit="samples", least=1, most=65536)]
LearningRate = Annotated[float, setting(1e-3, "of Adam, at its height", above=0, most=100)]
ClipNorm = Annotated[float, setting(0.0, "largest norm of a gradient; 0: any", least=0, most=1e9)]
Patience = Annotated[
    int,
    setting(
        0,
        "epochs without a better validation metric before stopping; 0: never stops early",
        unit="epochs",
        least=0,
        most=10**6,
    ),
]


@settings
class PhaseSettings:
    """What both phases of training have. Their own defaults stand below, the rest here."""

    epochs: Epochs = 50
    batch_size: BatchSize = 32
    learning_rate: LearningRate = 1e-3
    clip_norm: ClipNorm = 0.0
    patience: Patience = 0
    backend: str = setting("nengo-dl", "what trains; tensorflow is the faster one", choices=("nengo-dl", "tensorflow"))
    schedule: str = setting(
        "cosine", "of the learning rate; cosine ends at a hundredth of it", choices=("constant", "cosine")
    )
    warmup_epochs: int = setting(
        0, "in which the learning rate rises to its full size", unit="epochs", least=0, most=10**6
    )
    rate_weight: float = setting(
        0.0, "of the penalty on firing rates outside of the range below, per layer", least=0, most=1e9
    )
    rate_min_hz: float = setting(0.0, "lower end of the range that costs nothing", unit="Hz", least=0, most=1e6)
    rate_max_hz: float = setting(
        250.0, "its upper end; the paper's target is a range of no width", unit="Hz", least=0, most=1e6
    )
    rate_mean_weight: float = setting(
        0.0, "of the penalty on the mean activity of all neurons; neurons.rate_scale_hz is 1", least=0, most=1e9
    )
    precision: str = setting(
        "float32", "of images, spikes and weights in convolutions (tensorflow)", choices=("float32", "bfloat16")
    )
    round_weights: bool = setting(
        False, "round to the chip's 8 bits in the forward pass, one scale a layer (tensorflow)"
    )
    average: float = setting(
        0.0,
        "decay per step of a running average of the parameters, which is what is kept; 0: none (tensorflow)",
        least=0,
        below=1,
    )
    weight_decay: float = setting(
        0.0, "part of a kernel that goes with a step, times the learning rate (tensorflow)", least=0, most=100
    )
    epoch_samples: int = setting(
        0, "samples after which an epoch ends; 0: all of the training split", unit="samples", least=0, most=10**9
    )
    validation_samples: int = setting(
        0, "of the validation split, by which an epoch is judged, in whole volumes; 0: all", unit="samples", least=0,
        most=10**9,
    )  # fmt: skip
    augment: bool = setting(True, "train on random views of the images")
    view_fraction: float = setting(1.0, "how many of the samples are seen in a random view", least=0, most=1)
    view_shift: float = setting(0.08, "largest shift of a view", unit="of the image", least=0, below=1)
    view_scale: float = setting(0.08, "largest change of size of a view", unit="of the image", least=0, below=1)
    view_flip: bool = setting(False, "classes: mirror half of the views, left and right; not for digits and letters")
    view_cutout: float = setting(
        0.0, "classes: side of a square that a view lacks", unit="of the image", least=0, below=1
    )
    label_smoothing: float = setting(0.0, "classes: probability that is spread over all of them", least=0, below=1)
    view_rotate_deg: float = setting(
        TASKS_OWN, "largest turn of a view (masks, classes); -1: the task's own", unit="degrees", least=-1, most=180
    )
    view_stretch: float = setting(
        TASKS_OWN, "largest change of a view's shape, height against width; -1: the task's own", least=-1, below=1
    )
    view_gain: float = setting(TASKS_OWN, "largest change of contrast; -1: the task's own", least=-1, below=1)
    view_tone: float = setting(TASKS_OWN, "largest change of midtones; -1: the task's own", least=-1, below=1)

    def check_together(self) -> None:
        if self.rate_min_hz > self.rate_max_hz:
            section = getattr(self, "SECTION", "train")
            raise InputError(
                f"{section}.rate_min_hz is {self.rate_min_hz:g}; expected at most rate_max_hz, {self.rate_max_hz:g}"
            )


@settings
class TrainSettings(PhaseSettings):
    """The ANN (rates)."""

    SECTION: ClassVar[str] = "train"

    loss: str = setting(
        "mse",
        "; ".join(f"{task.name}: {', '.join(task.losses)}" for task in TASKS.values()) + ". Fine-tuning takes the same",
        choices=LOSSES,
    )
    batch_norm: bool = setting(
        False, "standardise every layer's input batch by batch; folded into the weights afterwards (tensorflow)"
    )


@settings
class FinetuneSettings(PhaseSettings):
    """The hybrid: spikes forward, rate gradients backward."""

    SECTION: ClassVar[str] = "finetune"

    epochs: Epochs = 7
    batch_size: BatchSize = 16
    learning_rate: LearningRate = 1e-4
    clip_norm: ClipNorm = 1.0
    patience: Patience = 3
    n_steps: int = setting(60, "of a presentation, in training, emulation and on the board", least=1, most=100000)
    readout_steps: int = setting(
        30, "the prediction is the mean readout over the last of the steps", least=1, most=100000
    )
    synapse_s: float = setting(
        0.002, "time constant of the Lowpass on every connection between spiking layers", unit="s", least=0, most=10
    )

    distill_weight: float = setting(
        0.0, "share of the loss that asks for the ANN's own outputs in place of the labels (tensorflow)", least=0,
        most=1,
    )  # fmt: skip

    def check_together(self) -> None:
        super().check_together()
        if self.readout_steps > self.n_steps:
            raise InputError(
                f"finetune.readout_steps is {self.readout_steps}; expected at most n_steps, {self.n_steps}"
            )


@settings
class QuantizeSettings:
    """Placement on the chip."""

    SECTION: ClassVar[str] = "quantize"

    board: str = setting("nahuku32", "the board whose limits hold", choices=[board.name for board in BOARDS])
    prefer: str = setting("cores", "few cores, or more of them with finer weights", choices=("cores", "precision"))


@settings
class DeploySettings:
    """The comparison on the test split."""

    SECTION: ClassVar[str] = "deploy"

    target: str = setting(
        "emulator", "the fast emulator, or nengo-loihi's own (same integers, slow)", choices=("emulator", "reference")
    )
    models: tuple[str, ...] = setting(MODELS, "the rows that are run", choices=MODELS, shortest=1)
    limit: int = setting(0, "test samples that are scored; 0: all", unit="samples", least=0, most=10**9)
    n_steps: int = setting(0, "of a presentation; 0: the fine-tuning's", least=0, most=100000)
    readout_steps: int = setting(
        0, "the last of the steps, which are read out; 0: the fine-tuning's share of them", least=0, most=100000
    )
    batch_size: int = setting(64, "samples that are held in memory at once", unit="samples", least=1, most=65536)
    n_bootstrap: int = setting(2000, "resamples behind an interval", least=1, most=10**6)


@settings
class SubmissionSettings:
    """The bundle for the lab."""

    SECTION: ClassVar[str] = "submission"

    n_samples: int = setting(16, "test samples that travel, spread over the split", unit="samples", least=1, most=10000)


@settings
class Experiment:
    """Everything that a run depends on."""

    name: str = setting("experiment", "of the run folder: the name of the experiment's file", shortest=1)
    title: str = setting("", "heads the report", longest=200)
    seed: int = setting(0, "of initial parameters, order and views of the images", least=0, most=SEED_MOST)
    dt_s: float = setting(0.001, "length of a time step", unit="s", above=0, most=1)
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


SECTIONS = {cls.SECTION: cls for cls in (
    DataSettings, NetworkSettings, NeuronSettings, TrainSettings, FinetuneSettings, QuantizeSettings, DeploySettings,
    SubmissionSettings,
)}  # fmt: skip


def all_settings() -> tuple[Entry, ...]:
    """Every setting there is, section by section."""
    return tuple(one for cls in (Experiment, *SECTIONS.values()) for one in entries(cls))


def shared_settings(experiment: Experiment) -> dict[str, Any]:
    """Settings that a training depends on, without the seed; as JSON has them."""
    resolved = experiment.resolved("data", "network", "neurons", "train", "finetune", "quantize")
    return json.loads(json.dumps({key: value for key, value in resolved.items() if key not in ("seed", "title")}))


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
    locations = {section: tuple(e.key for e in entries(cls) if e.location) for section, cls in SECTIONS.items()}
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
    sizes = {key: getattr(data, key) or own[key] for key in keys}
    return dataclasses.replace(experiment, data=dataclasses.replace(data, **sizes))


def _build(tree: dict[str, Any], where: str) -> Experiment:
    known = [f.name for f in dataclasses.fields(Experiment)]
    values = {}
    if tree.get("network", {}) and isinstance(tree["network"], dict) and tree["network"].get("name") == OWN_MODEL:
        sizes = dict.fromkeys(("height", "width", "channels"), 0)  # the model's own, unless they are given
        if isinstance(tree.setdefault("data", {}), dict):
            tree["data"] = {**sizes, **tree["data"]}
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
