"""The sections of an experiment: a field has its default, meaning, unit and bounds; `pipeline.checked` holds them."""

from __future__ import annotations

from typing import ClassVar

from cotrain.hardware.chip.limits import BOARDS
from cotrain.pipeline.checked import setting, settings
from cotrain.pipeline.evaluation.rows import MODELS, RUN
from cotrain.pipeline.phase_settings import FinetuneSettings, TrainSettings

SEED_MOST = 2**32 - 1  # what NumPy's RandomState takes


@settings
class DataSettings:
    """Which images, and how they are split."""

    SECTION: ClassVar[str] = "data"

    name: str = setting(
        "boxes, masks, volumes or classes (your own files, see path), or a named set such as mnist",
        default="synthetic-planes",
        shortest=1,
        longest=100,
    )
    path: str = setting("your own files: the folder of the images", default="", location=True, longest=4096)
    labels: str = setting(
        "boxes: a COCO .json, a .csv, or a folder of VOC .xml or YOLO .txt; masks: the folder of label images",
        default="",
        location=True,
        longest=4096,
    )
    category: str = setting("boxes: which objects, where the labels know several kinds", default="", longest=200)
    classes: tuple[int, ...] = setting(
        "masks, volumes: label values, each a class of its own; empty: everything above 0 is one class",
        default=(),
        least=0,
        most=65535,
        longest=255,
    )
    height: int = setting("of a network's input; 0: a model's own", default=64, unit="pixels", least=0, most=4096)
    width: int = setting("of a network's input; 0: a model's own", default=128, unit="pixels", least=0, most=4096)
    channels: int = setting("of a network's input: 1 grey, 3 colour; 0: a model's own", default=1, least=0, most=1024)
    invert: bool = setting(
        "1 - pixel, for dark objects on a bright ground: a black pixel costs no spikes", default=False
    )
    offset: float = setting(
        "added to pixels in [0, 1] after scale, for models trained on another range", default=0.0, least=-1e4, most=1e4
    )
    scale: float = setting(
        "factor of pixels in [0, 1], for models trained on another range", default=1.0, above=0, most=1e4
    )
    axis: str = setting(
        "volumes: what slices are counted through; z runs from feet to head", default="z", choices=("x", "y", "z")
    )
    fit: str = setting(
        "volumes: crop or pad slices about their centre, a voxel a pixel, or resize them",
        default="crop",
        choices=("crop", "resize"),
    )
    n_slices: int = setting(
        "volumes: slices about the middle of each; 0: all of them, or the set's own number",
        default=0,
        least=0,
        most=4096,
    )
    neighbours: int = setting(
        "slices of a volume that a network sees besides its own, on each side; as channels", default=0, least=0, most=16
    )
    split_seed: int = setting(
        "of the split alone, 80/10/10 by image or volume; a change of seed keeps it", default=0, least=0, most=SEED_MOST
    )
    shift_fraction: float = setting(
        "shifted protocol (boxes): largest shift and change of size of a test image",
        default=0.08,
        unit="of the image",
        least=0,
        below=1,
    )
    shift_seed: int = setting("of the shifted protocol", default=1, least=0, most=SEED_MOST)
    n_groups: int = setting(
        "synthetic sets: images or volumes to make; 0: the set's own number", default=0, least=0, most=10**6
    )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what a network of the package sees."""
        return self.height, self.width, 2 * self.neighbours + 1 if self.neighbours else self.channels


@settings
class NetworkSettings:
    """Which network, and its widths."""

    SECTION: ClassVar[str] = "network"

    name: str = setting(
        'a network of the package, or "model": your own, see path', default="locnet", shortest=1, longest=100
    )
    path: str = setting("your own model: .keras, .h5 or .onnx", default="", location=True, longest=4096)
    max_pool: str = setting(
        "a model's max-pooling, which the chip has not: refused, or taken as average-pooling (then fine-tune)",
        default="refuse",
        choices=("refuse", "average"),
    )
    calibrate: bool = setting(
        "a model's kernels and biases are fitted, on training images and without labels, so that spikes tell its "
        "activations (train.epochs = 0)",
        default=True,
    )
    filters: tuple[int, ...] = setting(
        "of the convolutions, one entry a resolution", default=(8, 16, 32), least=1, most=4096, shortest=1, longest=32
    )
    strides: tuple[int, ...] = setting(
        "of the convolutions, one entry each: 1, or 2 to halve height and width (convnet)",
        default=(),
        least=1,
        most=2,
        longest=32,
    )
    dense: tuple[int, ...] = setting(
        "neurons of the hidden dense layers (locnet, convnet)", default=(128, 64, 32), least=1, most=65536, longest=32
    )
    kernel: int = setting("of the convolutions", default=3, unit="pixels", least=1, most=64)
    pool_kernel: int = setting(
        "of the convolutions of stride 2 in the place of pooling", default=2, unit="pixels", least=1, most=64
    )
    stem_kernel: int = setting(
        "of a first convolution of stride 2 in the place of all at full resolution (locnet, unet); 0: none", default=0,
        unit="pixels", least=0, most=64,
    )  # fmt: skip
    bottleneck_layers: int = setting("convolutions at the lowest resolution (cae, unet)", default=2, least=1, most=32)
    decoder_filters: tuple[int, ...] = setting(
        "of the decoder's layers, one entry a resolution, the largest first; empty: the encoder's (unet)", default=(),
        least=1, most=4096, longest=31,
    )  # fmt: skip
    skips: bool = setting("decoder layers also listen to the encoder's of their resolution (unet)", default=True)


@settings
class NeuronSettings:
    """The neuron of every layer, in every phase."""

    SECTION: ClassVar[str] = "neurons"

    kind: str = setting(
        "leaky integrate-and-fire, or integrate-and-fire", default="rectified", choices=("lif", "rectified")
    )
    rate_curve: str = setting(
        "of the ANN: the chip's rates in whole steps, or the closed form", default="loihi", choices=("loihi", "ideal")
    )
    tau_rc_s: float = setting("membrane time constant (lif)", default=0.02, unit="s", above=0, most=10)
    tau_ref_s: float = setting("refractory period (lif)", default=0.002, unit="s", least=0, most=1)
    smoothing: float = setting("gamma of the soft LIF curve; 0: the hard one", default=0.005, least=0, most=10)
    rate_scale_hz: float = setting(
        "firing rate of a neuron whose activation is 1", default=200.0, unit="Hz", above=0, most=100000
    )


@settings
class QuantizeSettings:
    """Placement on the chip."""

    SECTION: ClassVar[str] = "quantize"

    board: str = setting("the board whose limits hold", default="nahuku32", choices=[board.name for board in BOARDS])
    prefer: str = setting(
        "few cores, or more of them with finer weights", default="cores", choices=("cores", "precision")
    )


@settings
class DeploySettings:
    """The comparison on the test split."""

    SECTION: ClassVar[str] = "deploy"

    target: str = setting(
        "the fast emulator, or nengo-loihi's own (same integers, slow)",
        default="emulator",
        choices=("emulator", "reference"),
    )
    models: tuple[str, ...] = setting(
        "the rows that are run; model is your own in its framework, which all of them include",
        default=MODELS, choices=RUN, shortest=1,
    )  # fmt: skip
    limit: int = setting("test samples that are scored; 0: all", default=0, unit="samples", least=0, most=10**9)
    n_steps: int = setting("of a presentation; 0: the fine-tuning's", default=0, least=0, most=100000)
    readout_steps: int = setting(
        "the last of the steps, which are read out; 0: the fine-tuning's share of them", default=0, least=0, most=100000
    )
    batch_size: int = setting(
        "samples that are held in memory at once", default=64, unit="samples", least=1, most=65536
    )
    n_bootstrap: int = setting("resamples behind an interval", default=2000, least=1, most=10**6)


@settings
class SubmissionSettings:
    """The bundle for the lab."""

    SECTION: ClassVar[str] = "submission"

    n_samples: int = setting(
        "test samples that travel, spread over the split", default=16, unit="samples", least=1, most=10000
    )


SECTIONS = {cls.SECTION: cls for cls in (
    DataSettings, NetworkSettings, NeuronSettings, TrainSettings, FinetuneSettings, QuantizeSettings, DeploySettings,
    SubmissionSettings,
)}  # fmt: skip
