"""The sections of both phases of training, as `pipeline.sections` has the others."""

from __future__ import annotations

from typing import Annotated, ClassVar

from cotrain.hardware.errors import InputError
from cotrain.pipeline.checked import setting, settings
from cotrain.pipeline.tasks import LOSSES, TASKS

TASKS_OWN = -1.0  # of a view: what the functions of `pipeline.datasets.augment` draw by themselves

Epochs = Annotated[int, setting("the most that are trained", default=50, unit="epochs", least=0, most=10**6)]
BatchSize = Annotated[int, setting("samples of a training step", default=32, unit="samples", least=1, most=65536)]
LearningRate = Annotated[float, setting("of Adam, at its height", default=1e-3, above=0, most=100)]
ClipNorm = Annotated[float, setting("largest norm of a gradient; 0: any", default=0.0, least=0, most=1e9)]
Patience = Annotated[
    int,
    setting(
        "epochs without a better validation metric before stopping; 0: never stops early",
        default=0,
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
    backend: str = setting(
        "what trains; tensorflow is the faster one", default="nengo-dl", choices=("nengo-dl", "tensorflow")
    )
    schedule: str = setting(
        "of the learning rate; cosine ends at a hundredth of it", default="cosine", choices=("constant", "cosine")
    )
    warmup_epochs: int = setting(
        "in which the learning rate rises to its full size", default=0, unit="epochs", least=0, most=10**6
    )
    rate_weight: float = setting(
        "of the penalty on firing rates outside of the range below, per layer", default=0.0, least=0, most=1e9
    )
    rate_min_hz: float = setting("lower end of the range that costs nothing", default=0.0, unit="Hz", least=0, most=1e6)
    rate_max_hz: float = setting(
        "its upper end; the paper's target is a range of no width", default=250.0, unit="Hz", least=0, most=1e6
    )
    rate_mean_weight: float = setting(
        "of the penalty on the mean activity of all neurons; neurons.rate_scale_hz is 1", default=0.0, least=0, most=1e9
    )
    precision: str = setting(
        "of images, spikes and weights in convolutions (tensorflow); auto: bfloat16 on a GPU or a CPU with AMX, "
        "elsewhere float32, which is faster there",
        default="float32",
        choices=("float32", "bfloat16", "auto"),
    )
    device: str = setting(
        "what computes; auto: a GPU where TensorFlow sees one", default="auto", choices=("auto", "cpu", "gpu")
    )
    round_weights: bool = setting(
        "round to the chip's 8 bits in the forward pass, one scale a layer (tensorflow)", default=False
    )
    average: float = setting(
        "decay per step of a running average of the parameters, which is what is kept; 0: none (tensorflow)",
        default=0.0,
        least=0,
        below=1,
    )
    weight_decay: float = setting(
        "part of a kernel that goes with a step, times the learning rate (tensorflow)", default=0.0, least=0, most=100
    )
    readout_positive: bool = setting(
        "keep the readout's weights from falling below 0: where nothing is, the last layer is silent (tensorflow)",
        default=False,
    )
    epoch_samples: int = setting(
        "samples after which an epoch ends; 0: all of the training split",
        default=0,
        unit="samples",
        least=0,
        most=10**9,
    )
    validation_samples: int = setting(
        "of the validation split, by which an epoch is judged, in whole volumes; 0: all", default=0, unit="samples",
        least=0, most=10**9,
    )  # fmt: skip
    augment: bool = setting("train on random views of the images", default=True)
    view_fraction: float = setting("how many of the samples are seen in a random view", default=1.0, least=0, most=1)
    view_shift: float = setting("largest shift of a view", default=0.08, unit="of the image", least=0, below=1)
    view_scale: float = setting("largest change of size of a view", default=0.08, unit="of the image", least=0, below=1)
    view_flip: bool = setting(
        "classes: mirror half of the views, left and right; not for digits and letters", default=False
    )
    view_cutout: float = setting(
        "classes: side of a square that a view lacks", default=0.0, unit="of the image", least=0, below=1
    )
    label_smoothing: float = setting(
        "classes: probability that is spread over all of them", default=0.0, least=0, below=1
    )
    view_rotate_deg: float = setting(
        "largest turn of a view (masks, classes); -1: the task's own",
        default=TASKS_OWN,
        unit="degrees",
        least=-1,
        most=180,
    )
    view_stretch: float = setting(
        "largest change of a view's shape, height against width; -1: the task's own",
        default=TASKS_OWN,
        least=-1,
        below=1,
    )
    view_gain: float = setting("largest change of contrast; -1: the task's own", default=TASKS_OWN, least=-1, below=1)
    view_tone: float = setting("largest change of midtones; -1: the task's own", default=TASKS_OWN, least=-1, below=1)

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
        "; ".join(f"{task.name}: {', '.join(task.losses)}" for task in TASKS.values()) + ". Fine-tuning takes the same",
        default="mse",
        choices=LOSSES,
    )
    batch_norm: bool = setting(
        "standardise every layer's input batch by batch; folded into the weights afterwards (tensorflow)", default=False
    )
    start: str = setting(
        "parameters to start from: an experiment whose ANN comes with the package, or the params.npz of a run; empty: "
        "random ones",
        default="",
        location=True,
        suffix=".npz",
        longest=4096,
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
    n_steps: int = setting(
        "of a presentation, in training, emulation and on the board", default=60, least=1, most=100000
    )
    readout_steps: int = setting(
        "the prediction is the mean readout over the last of the steps", default=30, least=1, most=100000
    )
    synapse_s: float = setting(
        "time constant of the Lowpass on every connection between spiking layers",
        default=0.002,
        unit="s",
        least=0,
        most=10,
    )

    initial_voltage: str = setting(
        "of the neurons: zero, or spread evenly between 0 and the threshold, by a spike that every neuron gets in the "
        "first step, so that slow ones need not wait for their first",
        default="zero",
        choices=("zero", "spread"),
    )
    distill_weight: float = setting(
        "share of the loss that asks for the ANN's own outputs in place of the labels (tensorflow)",
        default=0.0,
        least=0,
        most=1,
    )

    rate_gain: float = setting(
        "factor of the ANN's rates to start from, but for the last layers'", default=1.0, above=0, most=100
    )
    readout_gain: float = setting(
        "factor of the rates to start from of the layers that the readout listens to", default=1.0, above=0, most=100
    )
    slope: str = setting(
        "of the rate curve, in gradients: at each step's current, or of its mean and variance over the readout's steps "
        "(drift; tensorflow, rectified neurons of the chip)", default="step", choices=("step", "drift"),
    )  # fmt: skip

    def check_together(self) -> None:
        super().check_together()
        if self.readout_steps > self.n_steps:
            raise InputError(
                f"finetune.readout_steps is {self.readout_steps}; expected at most n_steps, {self.n_steps}"
            )
