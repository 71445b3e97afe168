"""Layers of neurons under a foreign model: what is rectified, and what the chip has no map for.

A map that the chip has not gets neurons of its own: one for each value, or two where values can be negative
(relu(x) - relu(-x) is x). Whatever that costs is said in `notes`.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from cotrain.hardware.chip.limits import LOIHI1
from cotrain.hardware.errors import UnsupportedError
from cotrain.pipeline.networks.readers import linear
from cotrain.pipeline.networks.readers.geometry import as_input
from cotrain.pipeline.networks.readers.linear import Conv, Matrix, TransposedConv, Value
from cotrain.pipeline.networks.spec import IMAGE, Input, Layer, NetworkSpec, Params

WEIGHTS_MOST = 50_000_000  # of one dense map
NEURONS_MOST = 20_000_000
POOL_MOST = 9  # pixels of a window that is folded into the next layer's kernel; larger ones get neurons
AXONS = LOIHI1.input_axons  # of a core: what a neuron can listen to
READOUT = "readout"


class Neurons:
    """The layers of a network as it grows, and what becomes of values that need neurons.

    Parameters
    ----------
    input_shape : (height, width, channels)
    """

    def __init__(self, input_shape: Tuple[int, int, int]):
        self.input_shape = tuple(input_shape)
        self.tail = False  # no rectifier follows: what comes is the readout's, on the host
        self.layers: List[Layer] = []
        self.params: Params = {}
        self.notes: List[str] = []
        self._names = {IMAGE, READOUT}
        self._relays: Dict[tuple, str] = {}
        self._pixels: Optional[Value] = None  # the image as spikes

    def with_neurons(self, value: Value) -> Value:
        """The same value as the output of a layer of neurons, because the chip has no map that goes on from it."""
        label = value.label or "values"
        if self._never_negative(value):
            self.notes.append(f"{label}: a layer of {count(value.shape)} neurons that passes values on")
            return linear.identity(self._layer(value, label), value.shape)
        channels = self._channels(value)
        part = self._of_channels(value, channels)
        self.notes.append(
            f"{label}: its values can be negative and nothing rectifies them, so each takes two neurons, "
            f'{2 * count(part.shape)} in all; an activation "relu" behind it would halve that'
        )
        both = self.concatenate([part, self.scale(part, -1.0, 0.0, label)], label)
        made = self._of_parts(both, part.shape, [1.0, -1.0])
        if len(channels) < value.shape[-1]:
            into = np.eye(value.shape[-1])[channels]
            made = Value(
                value.shape,
                (dataclasses.replace(made.terms[0], kernel=made.terms[0].kernel @ into),),
                np.zeros(value.shape[-1]),
                made.label,
            )
        return made

    def _resting(self, value: Value, goes_on: List) -> Value:
        """`value` with neurons for those of its terms from which nothing goes on."""
        if all(term is None for term in goes_on):
            return self.with_neurons(value)
        stuck = tuple(term for term, made in zip(value.terms, goes_on) if made is None)
        passed = self.with_neurons(Value(value.shape, stuck, np.zeros(value.shape[-1]), value.label))
        free = tuple(term for term, made in zip(value.terms, goes_on) if made is not None)
        return dataclasses.replace(value, terms=free + passed.terms)

    def _channels(self, value: Value) -> np.ndarray:
        """The channels that are not always 0."""
        if any(isinstance(term, Matrix) for term in value.terms):
            return np.arange(value.shape[-1])
        used = np.any(np.broadcast_to(value.bias, value.shape), axis=tuple(range(len(value.shape) - 1)))
        for term in value.terms:
            used = used | np.any(term.kernel, axis=(0, 1, 2))
        return np.flatnonzero(used)

    def _of_channels(self, value: Value, channels: np.ndarray) -> Value:
        if len(channels) == value.shape[-1]:
            return value
        terms = tuple(dataclasses.replace(term, kernel=term.kernel[..., channels]) for term in value.terms)
        return Value((*value.shape[:-1], len(channels)), terms, value.bias[..., channels], value.label)

    def _of_parts(self, parts: Value, shape, signs: List[float]) -> Value:
        """A layer of rectified `parts` along the last axis, and their sum with `signs`."""
        source = linear.identity(self._layer(parts, parts.label), parts.shape)
        n, n_all = shape[-1], parts.shape[-1]
        weights = np.concatenate([sign * np.eye(n) for sign in signs])
        if len(shape) == 3:
            term = dataclasses.replace(source.terms[0], kernel=weights[None, None])
        else:
            term = linear.then_dense(source.terms[0], weights)
        assert weights.shape == (n_all, n)
        return Value(tuple(shape), (term,), np.zeros(n), parts.label)

    # --- joining and scaling, which neurons need too

    def scale(self, value: Value, factor: Any, offset: Any, label: str) -> Value:
        """factor * x + offset, both for each channel (or one for all); batch normalisation is this."""
        n = value.shape[-1]
        factor = np.broadcast_to(np.asarray(factor, np.float64), (n,))
        offset = np.broadcast_to(np.asarray(offset, np.float64), (n,))
        terms = [linear.then_scale(term, factor, value.shape) for term in value.terms]
        return Value(value.shape, tuple(terms), value.bias * factor + offset, self._label(value, label))

    def concatenate(self, values: List[Value], label: str) -> Value:
        """Values behind each other along the last axis."""
        if len({value.shape[:-1] for value in values}) > 1:
            raise UnsupportedError(
                f"layer {label} joins {' and '.join(str(v.shape) for v in values)}; only channels can be joined, so "
                "height and width have to agree"
            )
        n_all, first, terms = sum(value.shape[-1] for value in values), 0, []
        shape = (*values[0].shape[:-1], n_all)
        bias = np.concatenate([np.broadcast_to(value.bias, value.shape) for value in values], axis=-1)
        for value in values:
            terms += [linear.then_channels(term, first, n_all, value.shape) for term in value.terms]
            first += value.shape[-1]
        return Value(shape, tuple(terms), linear.compact(bias), label)

    def finish(self, value: Value, name: str, final: str = "linear") -> NetworkSpec:
        """The network whose linear readout is `value`.

        Raises
        ------
        UnsupportedError
            Nothing of it can be on the chip.
        """
        readout = self._described(value, READOUT, readout=True)
        spec = NetworkSpec(name, self.input_shape, tuple(self.layers), readout, final)
        if not self.layers:
            raise UnsupportedError(f"{name} has no rectified layer (ReLU): the chip would have nothing to do")
        if spec.n_neurons > NEURONS_MOST:
            raise UnsupportedError(f"{name} has {spec.n_neurons:,} neurons; more than {NEURONS_MOST:,} are not read")
        spec.check()
        spec.check_params(self.params)
        return spec

    def note(self, value: Value, label: str, text: str) -> None:
        """Something that a user has to know of a layer."""
        self.notes.append(f"{label or value.label}: {text}")

    # --- within

    def _label(self, value: Value, label: str) -> str:
        """Normalisation, pooling and the like belong to the layer in front of them, where that has no neurons yet."""
        return label if self._is_layer(value) or value.label in ("", IMAGE) else value.label

    def _is_layer(self, value: Value) -> bool:
        """It is the output of a layer, as it is."""
        (first, *others) = value.terms
        same = first.eye if isinstance(first, Matrix) else isinstance(first, Conv) and first.is_identity
        return same and not others and not np.any(value.bias)

    def _never_negative(self, value: Value) -> bool:
        if np.any(value.bias < 0):
            return False
        return all(
            term.source != IMAGE and (term.matrix if isinstance(term, Matrix) else term.kernel).min() >= 0
            for term in value.terms
        )

    def _layer(self, value: Value, label: str) -> str:
        """Add a layer of neurons with input `value`; its name."""
        name = self._name(label)
        self.layers.append(self._described(value, name))
        return name

    def _name(self, label: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", label).strip("_")[:60] or "layer"
        name, i = base, 1
        while name in self._names:
            i += 1
            name = f"{base}_{i}"
        self._names.add(name)
        return name

    def _described(self, value: Value, name: str, readout: bool = False) -> Layer:
        terms = linear.merged(value.terms)
        mixed = readout or any(term.source != IMAGE for term in terms)
        inputs, kernels = [], []
        while terms:
            term = terms.pop(0)
            if term.source == IMAGE and mixed:  # the image ends on the host
                terms += self._from_pixels(term, value.shape, name)
                continue
            found = self._input(term, value.shape, name, readout)
            if found is None:
                terms.append(self._reachable(term, name))
                continue
            inputs.append(found[0])
            kernels.append(found[1])
        bias = value.bias if value.bias.ndim == 1 else linear.compact(value.bias)
        layer = Layer(name, value.shape[-1], tuple(value.shape), tuple(inputs), bias_per_neuron=bias.ndim > 1)
        for edge, kernel in zip(layer.edges(), kernels):
            self.params[edge.param] = np.ascontiguousarray(kernel, np.float32)
        self.params[f"{name}.bias"] = bias.astype(np.float32)
        return layer

    def _input(self, term, shape, name: str, readout: bool):
        if isinstance(term, Matrix):
            if int(np.prod(term.shape)) * int(np.prod(shape)) > WEIGHTS_MOST:
                raise UnsupportedError(
                    f"layer {name} would be a dense map of {int(np.prod(term.shape)):,} by {int(np.prod(shape)):,} "
                    "values; put a pooling layer or a convolution with strides in front of it"
                )
            weights = term.matrix.toarray() if hasattr(term.matrix, "toarray") else term.matrix
            return Input(term.source, "dense", tuple(term.shape)), weights
        return as_input(term, on_host=term.source == IMAGE or readout)

    def _from_pixels(self, term, shape, name: str):
        """The map `term` of the image as one of the layer that turns pixels into spikes as they are."""
        if self._pixels is None:
            self._pixels = self.with_neurons(linear.identity(IMAGE, self.input_shape).with_label("pixels"))
        (pixels,) = self._pixels.terms
        if isinstance(term, Matrix):
            return [linear.then_dense(linear.as_matrix(pixels), term.matrix)]
        if isinstance(term, TransposedConv):
            return [linear.then_transposed(pixels, term.kernel, term.stride, term.crop, term.size)]
        return [linear.then_conv(pixels, term.kernel, term.stride, term.border, tuple(shape[:2]))]

    def _reachable(self, term, name: str):
        """A term that the chip has, in place of one that it has not: with a layer of neurons between."""
        if isinstance(term, Conv):
            border = tuple(max(n, 0) for n in term.border)
            key = (term.source, border)
            n = term.shape[-1]
            shape = (term.shape[0] + border[0] + border[1], term.shape[1] + border[2] + border[3], n)
            if key not in self._relays:
                around = Conv(term.source, term.shape, np.eye(n)[None, None], (1, 1), border)
                value = Value(shape, (around,), np.zeros(n), f"{term.source}_border")
                self._relays[key] = self._layer(value, value.label)
                self.notes.append(
                    f"{name}: zeros around {term.source} in a way that the chip has not, so a layer of {count(shape)} "
                    'neurons passes them on with their border; padding "same" would save it'
                )
            cut = tuple(min(n, 0) for n in term.border)
            return Conv(self._relays[key], shape, term.kernel, term.stride, cut)
        assert isinstance(term, TransposedConv)
        return self._on_a_larger_grid(term, name)

    def _on_a_larger_grid(self, term: TransposedConv, name: str) -> Conv:
        """A transposed convolution as a convolution of its source with zeros between the pixels."""
        n = term.shape[-1]
        size = tuple(max(term.size[i], (term.shape[i] - 1) * term.stride[i] + 1) for i in (0, 1))
        key = (term.source, term.stride, size)
        if key not in self._relays:
            apart = TransposedConv(term.source, term.shape, np.eye(n)[None, None], term.stride, (0, 0), size)
            value = Value((*size, n), (apart,), np.zeros(n), f"{term.source}_apart")
            self._relays[key] = self._layer(value, value.label)
            self.notes.append(
                f"{name}: a transposed convolution of kernel {term.kernel.shape[0]} by {term.kernel.shape[1]} that is "
                f"cut off at the border, which nengo_loihi puts a pixel off, so a layer of {count((*size, n))} neurons,"
                " most of them silent, holds its input apart; a kernel as large as its stride would save it"
            )
        border = []
        for i in (0, 1):
            k, before = term.kernel.shape[i], term.kernel.shape[i] - 1 - term.crop[i]
            border += [before, term.size[i] - 1 + k - size[i] - before]
        return Conv(self._relays[key], (*size, n), term.kernel[::-1, ::-1], (1, 1), tuple(border))


def count(shape: Sequence[int]) -> int:
    return int(np.prod(shape))
