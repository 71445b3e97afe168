"""``cotrain init``: looks at a folder of data and writes a commented experiment that runs as it is."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError
from cotrain.hardware.files import write_text
from cotrain.pipeline.commands import options

if TYPE_CHECKING:
    from cotrain.pipeline.datasets.guess import Guess

# Of a recipe: what stands in the file besides [data], by kind of data. Measured on the shared sets, not tuned to each.
_SAMPLES = 60_000  # that the ANN sees in training, about; epochs follow from the number of samples
_EPOCHS = (8, 150)
_MODEL_ENDINGS = (".keras", ".h5", ".onnx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="pictures, volumes, class folders or IDX files")
    parser.add_argument("--labels", type=Path, metavar="FILE|DIR", help="the labels, where they are not found")
    parser.add_argument("--model", type=Path, metavar="FILE", help="a trained network: .keras, .h5 or .onnx")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.toml", help="the experiment to write")
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    options.add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    write(
        arguments.folder, arguments.labels, arguments.model, arguments.output, arguments.data, arguments.force
    )  # fmt: skip
    return 0


def write(
    folder: Path,
    labels: Path | None,
    model: Path | None,
    output: Path,
    data: Path,
    force: bool = False,
    say: Callable[[str], None] = terminal.say,
) -> None:
    """Write `output`.

    Parameters
    ----------
    folder : Path
        Of the data.
    labels : Path, optional
        Where they are not found by themselves.
    model : Path, optional
        A trained network to start from: .keras, .h5 or .onnx.
    output : Path
        The .toml to write; what is there is replaced only with `force`.
    data : Path
        Of the named data sets, for the check that the experiment loads.

    Raises
    ------
    InputError
        Nothing that is known is there, or the output cannot be used.
    MissingError, CorruptError, OutputError
    """
    from cotrain.pipeline.datasets.guess import look

    if output.suffix != ".toml":
        raise InputError(f"-o {output}: an experiment's file ends in .toml; give for example -o my.toml")
    if output.exists() and not force:
        raise InputError(f"{output} is there already; give another name with -o, or --force to replace it")
    if not output.resolve().parent.is_dir():
        raise InputError(f"-o {output}: the folder {output.resolve().parent} does not exist; make it first")
    if model is not None and (model.suffix not in _MODEL_ENDINGS or not model.is_file()):
        raise InputError(f"--model {model}: expected a file that ends in {', '.join(_MODEL_ENDINGS)}")
    found = look(folder, labels)
    for line in found.seen:
        say(f"  {_one_line(line)}")
    dataset = _try(found, output, model, data)
    for note in dataset.notes:
        say(f"  {note}")
    if dataset.rejected:
        more = f", and {len(dataset.rejected) - 1} more" if len(dataset.rejected) > 1 else ""
        say(f"  not used: {dataset.rejected[0]}{more}")
    write_text(output, write_experiment(found, output, model))
    counts = ", ".join(f"{int((dataset.split == split).sum())} {split}" for split in ("train", "validation", "test"))
    say(f"init: wrote {output}: {found.name}, {terminal.plural(len(dataset), 'sample')} ({counts})")
    say(f"next: cotrain inspect {shlex.quote(str(output))}")


def _try(found: Guess, output: Path, model: Path | None, data: Path):
    """The data set of the experiment, which is not written yet; raises what loading it raises."""
    from cotrain.pipeline import datasets, experiment

    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder, output.name)
        write_text(trial, write_experiment(found, trial, model))
        settings = experiment.load(str(trial)).data
    if not (settings.height and settings.width):  # a model's own
        settings = _with_size(settings)
    return datasets.load_for(settings, data, data)


def _with_size(settings):
    """The data may be looked at in any size."""
    return dataclasses.replace(settings, height=32, width=32, channels=max(settings.channels, 1))


def write_experiment(found: Guess, output: Path, model: Path | None = None) -> str:
    """The text of the experiment's file.

    Paths in it are relative to the folder of `output`.
    """
    recipe = _MODEL if model else _RECIPES["masks" if found.name == "volumes" else found.name]
    low, high = _EPOCHS
    n_images = found.n_samples * (max(found.n_slices, 24) if found.name == "volumes" else 1)
    values = {
        "EPOCHS": min(max(round(_SAMPLES / max(n_images, 1)), low), high),
        "LOSS": "ce-dice" if len(found.values) > 1 else "bce-dice",
        "MODEL": _text(_relative(model, output)) if model else "",
    }
    body = recipe
    for key, value in values.items():
        body = body.replace(f"@{key}@", str(value))
    return "\n".join([*_head(found), "", *_data(found, output, model), "", body.strip()]) + "\n"


def _head(found: Guess) -> list[str]:
    title = {
        "boxes": f"The box around {_a(found.category)}", "masks": "What is marked in pictures",
        "volumes": "What is marked in volumes", "classes": "What a picture shows",
    }[found.name]  # fmt: skip
    return [
        "# Written by `cotrain init`, from what it saw:",
        *(f"#   {_one_line(line)}" for line in found.seen),
        "# Every setting, with its bounds and what it means: cotrain settings",
        f"title = {_text(_one_line(title)[:150])}",
    ]


def _a(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def _data(found: Guess, output: Path, model: Path | None) -> list[str]:
    lines = ["[data]", f'name = "{found.name}"', f"path = {_text(_relative(found.path, output))}"]
    if found.labels is not None:
        lines.append(f"labels = {_text(_relative(found.labels, output))}")
    if found.category:
        others = [f"{kind} ({n})" for kind, n in found.categories[1:8]]
        also = "  # also there: " + _one_line(", ".join(others)) if others else ""
        lines.append(f"category = {_text(found.category)}{also}")
    if len(found.values) > 1:
        names = ", ".join(f"{value} {name}".strip() for value, name in found.values.items())
        lines.append(f"classes = {list(found.values)}  # {_one_line(names)}; without this line all are one class")
    if model:
        lines += ["height = 0  # the model's own", "width = 0", "channels = 0"]
    else:
        lines += [
            f"height = {found.height}  # of the network's input, in pixels; a multiple of {8}",
            f"width = {found.width}",
            f"channels = {found.channels}" + ("  # 1 grey, 3 colour" if found.name != "volumes" else ""),
        ]
    if found.invert and not model:
        lines.append("invert = true  # the ground is bright: inverted, it costs no spikes")
    if found.name == "volumes":
        lines.append('axis = "z"  # slices are counted from feet to head')
        lines.append(f'fit = "{found.fit}"  # or crop: a voxel a pixel; resize: slices of any size')
        if found.n_slices:
            lines.append(f"n_slices = {found.n_slices}  # about the middle: they hold every labelled voxel")
    return lines


def _relative(path: Path, output: Path) -> str:
    return os.path.relpath(Path(path).resolve(), output.resolve().parent)


def _text(value: str) -> str:
    """A TOML string; JSON's escapes are TOML's."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"the name {value!r} is no UTF-8, which an experiment's file must be; rename it") from None
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    """Text for a comment: what a label is called may hold anything."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


_NEURONS = """
[neurons]
kind = "rectified"  # or lif
rate_curve = "loihi"  # trained with the chip's rates
rate_scale_hz = 250.0
"""
_SHOWN = """\
n_steps = 60  # of 1 ms a picture
readout_steps = 40
initial_voltage = "spread"  # slow neurons need not wait for their first spike
synapse_s = 0.001
"""


def _recipe(network: str, train: str, finetune: str, more: str) -> str:
    """Sections of an experiment; `more` follows the steps of a presentation."""
    head = 'backend = "tensorflow"\n'
    return (
        f"\n[network]\n{network}{_NEURONS}\n[train]\n{head}epochs = @EPOCHS@\n{train}"
        f"\n[finetune]\n{head}{finetune}{_SHOWN}{more}"
    )


_RECIPES = {
    "boxes": _recipe(
        """\
name = "locnet"
filters = [8, 16, 32]  # of the convolutions; height and width are halved after each
dense = [128, 64]
""",
        """\
warmup_epochs = 2
batch_size = 32
learning_rate = 2e-3
clip_norm = 5.0
loss = "giou-mae"
rate_mean_weight = 0.02  # fewer spikes
average = 0.99
""",
        """\
epochs = 3
epoch_samples = 1000
batch_size = 16
learning_rate = 4e-4
""",
        """\
rate_mean_weight = 0.1
""",
    ),
    "masks": _recipe(
        """\
name = "cae"
filters = [12, 24, 48]  # of the convolutions; height and width are halved between them
bottleneck_layers = 2
""",
        """\
warmup_epochs = 1
batch_size = 32
learning_rate = 3e-3
clip_norm = 1.0
loss = "@LOSS@"
rate_weight = 0.02  # fewer spikes
rate_max_hz = 300.0
rate_mean_weight = 0.02
average = 0.99
""",
        """\
epochs = 3
epoch_samples = 640
batch_size = 16
learning_rate = 4e-4
""",
        """\
rate_weight = 0.02
rate_max_hz = 300.0
rate_mean_weight = 0.02
""",
    ),
    "classes": _recipe(
        """\
name = "convnet"
filters = [16, 24, 32, 48]
strides = [2, 1, 2, 1]  # 2 halves height and width
dense = []
""",
        """\
warmup_epochs = 1
batch_size = 64
learning_rate = 3e-3
batch_norm = true
weight_decay = 0.01
loss = "cross-entropy"
label_smoothing = 0.05
view_shift = 0.08
rate_mean_weight = 0.02  # fewer spikes
""",
        """\
epochs = 1
epoch_samples = 2000
batch_size = 32
learning_rate = 3e-4
""",
        """\
average = 0.97
""",
    ),
}

_MODEL = """
[network]
name = "model"
path = @MODEL@

[neurons]
kind = "rectified"
rate_curve = "loihi"
rate_scale_hz = 500.0  # it was not trained with spikes: a neuron has to hear rates in them

[train]
epochs = 0  # keep the model's own weights

[finetune]
backend = "tensorflow"
epochs = 2
epoch_samples = 640
batch_size = 16
learning_rate = 1e-4
n_steps = 60  # of 1 ms a picture
readout_steps = 30
initial_voltage = "spread"  # slow neurons need not wait for their first spike
synapse_s = 0.005
"""
