"""`read_model`: a file in, a network and its parameters out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Tuple, Union

import numpy as np
from cotrain.hardware.errors import CorruptError, InputError, MissingError, UnsupportedError
from cotrain.pipeline.networks.forward import finished, in_batches
from cotrain.pipeline.networks.readers.final import Final
from cotrain.pipeline.networks.readers.graph import VALUES_MOST, Lowering
from cotrain.pipeline.networks.spec import NetworkSpec, Params

SUFFIXES = (".keras", ".h5", ".hdf5", ".onnx")


@dataclass(frozen=True)
class ForeignModel:
    """A model that was made elsewhere: a network graph and its parameters.

    Attributes
    ----------
    path : Path
    spec : NetworkSpec
    params : dict of ndarray
        In the model's own units: an activation is what the model calls one.
    notes : tuple of str
        What reading it cost or changed, a line each.
    order : ndarray or None
        Value i of the model's output is value `order[i]` of the network's (channels first, for example).
    input_layout : {"last", "first", "vector"}
        Where the model itself has the channels of an image, or that it takes the image as a vector.
    """

    path: Path
    spec: NetworkSpec
    params: Params
    notes: Tuple[str, ...] = ()
    order: Optional[np.ndarray] = field(default=None, compare=False)
    input_layout: str = "last"  # how the model itself takes an image: channels "last", "first", or as a "vector"

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The ANN's outputs in float32.

        Parameters
        ----------
        images : ndarray
            (n_samples, height, width, channels), as the model expects its pixels.

        Returns
        -------
        ndarray
            (n_samples, size): what the model itself gives, each sample's output as a vector.

        Raises
        ------
        InputError
            The images are of another shape.
        """
        images, shape = np.asarray(images), self.spec.input_shape
        if images.ndim == 3 and shape[-1] == 1:
            images = images[..., np.newaxis]
        if images.ndim != 4 or images.shape[1:] != shape or images.dtype.kind not in "fiub":
            raise InputError(
                f"predict: images have shape {images.shape} and type {images.dtype}; expected numbers of shape "
                f"(n_samples, {', '.join(map(str, shape))})"
            )
        parts = [finished(self.spec, out["readout"]) for out in in_batches(self.spec, self.params, images)]
        made = np.concatenate([part.reshape(len(part), -1) for part in parts]) if parts else np.zeros((0, self.size))
        made = made.astype(np.float32, copy=False)
        return made if self.order is None else made[:, self.order]

    @property
    def size(self) -> int:
        """Values of an output."""
        return self.spec.readout.n_neurons


def read_model(
    path: Union[str, Path], input_shape: Optional[Tuple[int, ...]] = None, max_pool: str = "refuse"
) -> ForeignModel:
    """Read a model that Keras saved, or an ONNX file, without running any of its code.

    Parameters
    ----------
    path : path-like
        .keras (Keras 3 or 2), .h5 or .onnx.
    input_shape : (height, width, channels), optional
        Of the image; has to be given where the model does not say it, or leaves sides open. (height, width) is grey.
    max_pool : {"refuse", "average"}
        What becomes of max-pooling.

    Returns
    -------
    ForeignModel

    Raises
    ------
    MissingError
        There is no such file.
    CorruptError
        It is damaged, or not what its name says.
    InputError
        The shape is not the model's.
    UnsupportedError
        A layer has no counterpart on the chip; the message names it and says what to do.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: models are read from {', '.join(SUFFIXES)} files; save yours as one of these")
    if not path.is_file():
        raise MissingError(f"{path} does not exist; give the path of a .keras, .h5 or .onnx file")
    if max_pool not in ("refuse", "average"):
        raise InputError(f"max_pool is {max_pool!r}; expected 'refuse' or 'average'")
    if path.suffix.lower() == ".onnx":
        from cotrain.pipeline.networks.readers.onnx import OnnxModel as Reader
    else:
        from cotrain.pipeline.networks.readers.keras import KerasModel as Reader
    reader = Reader(path, max_pool)
    shape, own = _input_shape(reader.input_shape(), input_shape, path.name)
    lowering, _, rectified, order = _walk(reader, shape, own, -1, False)
    lowering, spec, _, order = _walk(reader, shape, own, rectified, False)
    if len(spec.on_host) == len(spec.layers):
        lowering, spec, _, order = _walk(reader, shape, own, rectified, True)
        lowering.notes.append(
            "pixels: all rectified layers listen to the image, on the host, so the image gets neurons of its own"
        )
    layout = "vector" if len(own) == 1 else "first" if reader.channels_first() else "last"
    return ForeignModel(path, spec, lowering.params, tuple(dict.fromkeys(lowering.notes)), order, layout)


def _walk(reader, shape, own, rectifiers: int, encode: bool):
    """One pass; the first one only counts rectifiers, because what follows the last of them is the host's."""
    lowering = Lowering(shape, encode)
    value = lowering.image()
    if len(own) == 1:  # the model takes a vector
        size = int(np.prod(shape))
        value = lowering.reorder(value, (size,), np.arange(size), "flatten")
    value, rectified = reader.walk(lowering, value, rectifiers)
    final = "linear"
    if isinstance(value, Final):
        value, final = value.value, value.kind
    lowering.tail = True
    spec = None if rectifiers < 0 and rectified else lowering.finish(value, reader.name, final)
    order = reader.output_order(value) if hasattr(reader, "output_order") else None
    return lowering, spec, rectified, order


def _input_shape(own: Tuple, given: Optional[Tuple[int, ...]], name: str):
    """((height, width, channels) of the image, the shape that the model takes)."""
    if given is not None:
        given = tuple(int(n) for n in given)
        given = (*given, 1) if len(given) == 2 else given
        if len(given) != 3 or min(given) < 1 or math.prod(given) > VALUES_MOST:
            raise InputError(f"input_shape is {given}; expected (height, width, channels), each at least 1")
    if len(own) not in (0, 1, 3):
        raise UnsupportedError(f"{name} takes an input of shape {own}; images (height, width, channels) are read")
    if given is None:
        if len(own) != 3 or None in own:
            raise InputError(
                f"{name} says {own or 'nothing'} of its input's shape; give it as H,W,C, for example --input 28,28,1"
            )
        if min(own) < 1 or math.prod(own) > VALUES_MOST:
            raise CorruptError(f"{name} says that its input is {own}; expected (height, width, channels) of an image")
        return own, own
    if not own:
        return given, given
    if len(own) == 1:
        if own[0] not in (None, int(np.prod(given))):
            raise InputError(f"{name} takes vectors of {own[0]} values; {given} are {int(np.prod(given))}")
        return given, (int(np.prod(given)),)
    if any(a is not None and a != b for a, b in zip(own, given)):
        raise InputError(f"{name} takes images of {own} (height, width, channels); {given} was given")
    return given, given


__all__ = ["SUFFIXES", "ForeignModel", "read_model"]
