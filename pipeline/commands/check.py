"""``cotrain check``: preflight of any network: a model's file, or what a function of a Python file returns."""

from __future__ import annotations

import argparse
from pathlib import Path

from cotrain.hardware.chip.limits import BOARDS

SUFFIXES = (".keras", ".h5", ".hdf5", ".onnx")
SEED_IMAGES = 16  # images of noise, from which activations are brought to the chip's rates


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "network",
        metavar="FILE",
        help="a .keras, .h5 or .onnx file, or FILE.py:FUNCTION that returns a nengo.Network or a Keras model",
    )
    parser.add_argument(
        "--input", metavar="H,W,C", help="height, width and channels of a model's input, where it leaves them open"
    )
    parser.add_argument(
        "--max-pool", choices=("refuse", "average"), default="refuse", help="what becomes of a model's max-pooling"
    )
    parser.add_argument(
        "--board", default="nahuku32", help=f"{', '.join(board.name for board in BOARDS)} (default: nahuku32)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--keep-passthrough", action="store_true", help="nodes without a function stay (nengo_loihi)")


def run(arguments: argparse.Namespace) -> int:
    from cotrain.hardware.preflight import command

    if Path(arguments.network).suffix.lower() in SUFFIXES:
        return _check_model(Path(arguments.network), arguments)
    made = command.made_by(arguments.network)
    if _is_keras(made):
        return _check_keras(made, arguments)
    net = command.as_network(made, arguments.network)
    return command.tell(net, arguments.board, arguments.json, not arguments.keep_passthrough)


def _check_model(path: Path, arguments: argparse.Namespace) -> int:
    """Read a model's file and check the network that it becomes."""
    import numpy as np
    from cotrain.hardware.preflight import command
    from cotrain.hardware.preflight.report import Finding
    from cotrain.pipeline.experiment import NeuronSettings
    from cotrain.pipeline.networks import activity, build, neurons_for
    from cotrain.pipeline.networks.readers import read_model

    model = read_model(path, _input_shape(arguments.input), arguments.max_pool)
    images = np.random.default_rng(0).random((SEED_IMAGES, *model.spec.input_shape), dtype=np.float32)
    params, _ = activity.scaled(model.spec, model.params, images)
    built = build(model.spec, neurons_for(NeuronSettings(), "loihi"), params, 0.002, loihi=True)
    notes = tuple(Finding("model", note.partition(": ")[0], 1, note.partition(": ")[2]) for note in model.notes)
    return command.tell(built.net, arguments.board, arguments.json, not arguments.keep_passthrough, notes)


def _check_keras(made, arguments: argparse.Namespace) -> int:
    """Save a model as Keras does, and read it as any other."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{arguments.network.rpartition(':')[2]}.keras"
        made.save(path)
        return _check_model(path, arguments)


def _is_keras(made) -> bool:
    """Whether it is a model of Keras 2 or 3; neither is imported for the question."""
    bases = {cls.__module__.split(".")[0] for cls in type(made).__mro__}
    return bool(bases & {"keras", "tf_keras"}) and hasattr(made, "save")


def _input_shape(text: str | None) -> tuple[int, ...] | None:
    from cotrain.hardware.errors import InputError

    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) not in (2, 3) or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"--input {text}: expected height,width,channels, for example --input 28,28,1")
    return tuple(int(part) for part in parts)
