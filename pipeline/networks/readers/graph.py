"""From the layers of a foreign model to a network for the chip: rectified neurons and linear maps between them.

Readers walk a model in order and call one method of `Lowering` for each of its layers. Linear layers gather in a
`linear.Value` until something rectifies it: then it becomes a layer of neurons (`neurons`).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

import numpy as np
from cotrain.hardware.errors import UnsupportedError
from cotrain.pipeline.networks.readers import linear
from cotrain.pipeline.networks.readers.linear import Matrix, Value
from cotrain.pipeline.networks.readers.neurons import AXONS, POOL_MOST, Neurons
from cotrain.pipeline.networks.spec import IMAGE

if TYPE_CHECKING:
    from cotrain.pipeline.networks.arithmetic import Border

VALUES_MOST = 10**8  # of a layer's output; a chip has 131,072 neurons


def _affordable(shape: Sequence[int], label: str) -> None:
    """Refuse what a file asks for before memory is taken for it."""
    if math.prod(int(n) for n in shape) > VALUES_MOST:
        raise UnsupportedError(
            f"layer {label} gives {' x '.join(map(str, shape))} values; more than {VALUES_MOST:,} are not read, give a "
            "smaller input shape"
        )


class Lowering(Neurons):
    """One method for each kind of layer that models have.

    Parameters
    ----------
    input_shape : (height, width, channels)
    encode : bool
        Give the image neurons of its own, so that the first of the model's layers can be on the chip.
    """

    def __init__(self, input_shape: Tuple[int, int, int], encode: bool = False):
        super().__init__(input_shape)
        self.encode = encode

    # --- the image

    def image(self) -> Value:
        """The input, (height, width, channels)."""
        value = linear.identity(IMAGE, self.input_shape)
        if not self.encode:
            return value
        self._pixels = self.with_neurons(value.with_label("pixels"))
        return self._pixels

    # --- linear layers

    def conv(
        self,
        value: Value,
        kernel: np.ndarray,
        bias: Optional[np.ndarray],
        stride: Tuple[int, int],
        border: Border,
        label: str,
    ) -> Value:
        """A convolution; `kernel` (rows, columns, channels in, channels out), `border` zeros on each side."""
        height, width, _ = value.shape
        size = tuple(
            (n + border[2 * i] + border[2 * i + 1] - kernel.shape[i]) // stride[i] + 1
            for i, n in enumerate((height, width))
        )
        if min(size) < 1:
            raise UnsupportedError(
                f"layer {label}: a kernel of {kernel.shape[0]} by {kernel.shape[1]} pixels does not fit into "
                f"{height} by {width}; give a larger input shape"
            )
        padded = [n + border[2 * i] + border[2 * i + 1] for i, n in enumerate((height, width))]
        _affordable((*padded, value.shape[-1]), label)  # a stride may make less of it again
        _affordable((*size, kernel.shape[-1]), label)
        kernel = np.asarray(kernel, np.float64)
        terms = [linear.then_conv(term, kernel, stride, border, size) for term in value.terms]
        if any(term is None for term in terms):
            return self.conv(self._resting(value, terms), kernel, bias, stride, border, label)
        run = linear.run_conv(kernel, stride, border)
        return self._made(
            (*size, kernel.shape[-1]),
            terms,
            linear.bias_after(value.bias, value.shape, kernel.shape[-1], run),
            bias,
            label,
        )

    def transposed(
        self,
        value: Value,
        kernel: np.ndarray,
        bias: Optional[np.ndarray],
        stride: Tuple[int, int],
        crop: Tuple[int, int],
        size: Tuple[int, int],
        label: str,
    ) -> Value:
        """A transposed convolution: out[i stride + a - crop] += x[i] @ kernel[a], of height and width `size`."""
        _affordable((*size, kernel.shape[-1]), label)
        kernel = np.asarray(kernel, np.float64)
        if stride == (1, 1):  # a convolution with the kernel turned round
            border = [kernel.shape[0] - 1 - crop[0], 0, kernel.shape[1] - 1 - crop[1], 0]
            for i in (0, 1):
                border[2 * i + 1] = size[i] - 1 + kernel.shape[i] - value.shape[i] - border[2 * i]
            return self.conv(value, kernel[::-1, ::-1], bias, stride, tuple(border), label)
        terms = [linear.then_transposed(term, kernel, stride, crop, size) for term in value.terms]
        if any(term is None for term in terms):
            return self.transposed(self._resting(value, terms), kernel, bias, stride, crop, size, label)
        run = linear.run_transposed(kernel, stride, crop, size)
        return self._made(
            (*size, kernel.shape[-1]),
            terms,
            linear.bias_after(value.bias, value.shape, kernel.shape[-1], run),
            bias,
            label,
        )

    def dense(self, value: Value, weights: np.ndarray, bias: Optional[np.ndarray], label: str) -> Value:
        """A dense layer of a vector; `weights` (n_in, n_out)."""
        weights = np.asarray(weights, np.float64)
        terms = [linear.then_dense(term, weights) for term in value.terms]
        return self._made((weights.shape[1],), terms, value.bias @ weights, bias, label)

    def shift(self, value: Value, offset: np.ndarray, label: str) -> Value:
        """x + offset: one value, one for each channel, or one for each value."""
        bias = linear.compact(value.bias + offset)
        return dataclasses.replace(value, bias=bias, label=self._label(value, label))

    def pool(
        self,
        value: Value,
        size: Tuple[int, int],
        stride: Tuple[int, int],
        border: Border,
        label: str,
        count_border: bool = True,
    ) -> Value:
        """The mean over windows of `size`; whether zeros of the border count is `count_border`."""
        label, (height, width, n) = self._label(value, label), value.shape
        out = tuple((value.shape[i] + border[2 * i] + border[2 * i + 1] - size[i]) // stride[i] + 1 for i in (0, 1))
        large = int(np.prod(size)) > POOL_MOST
        if large and not self.tail and not self._is_layer(value):
            value = self.with_neurons(value)
        if any(border) and not count_border or large and size == (height, width):
            terms = [linear.then_pooled(term, value.shape, size, stride, border, out) for term in value.terms]
            if any(term is None for term in terms):
                raise UnsupportedError(
                    f"layer {label}: windows at the border hold fewer pixels than others, which is no convolution; "
                    f'take an input whose sides the pooling divides, or padding "valid" (here: {height} by {width})'
                )
            bias = np.broadcast_to(value.bias, value.shape)
            made = Value(self.input_shape, (Matrix("", (0,), bias.reshape(1, -1)),), np.zeros(n))
            pooled = linear.then_pooled(made.terms[0], value.shape, size, stride, border, out).matrix
            made = Value((*out, n), tuple(terms), linear.compact(np.asarray(pooled).reshape(*out, n)), label)
        else:
            kernel = np.broadcast_to(np.eye(n) / np.prod(size), (*size, n, n))
            made = self.conv(value, kernel, None, stride, border, label)
        if large and not self.tail:  # a dense map of everything that the window holds would cost more than its neurons
            return self.with_neurons(made)
        return made

    def upsample(self, value: Value, factors: Sequence[int], label: str) -> Value:
        """Each pixel becomes `factors` equal ones."""
        height, width, n = value.shape
        kernel = np.broadcast_to(np.eye(n), (*factors, n, n))
        size = (height * factors[0], width * factors[1])
        return self.transposed(value, kernel, None, tuple(factors), (0, 0), size, self._label(value, label))

    def pad(self, value: Value, border: Border, label: str) -> Value:
        """Zeros around the image; cut off where `border` is negative."""
        return self.conv(value, np.eye(value.shape[-1])[None, None], None, (1, 1), border, self._label(value, label))

    def reorder(self, value: Value, shape: Tuple[int, ...], order: np.ndarray, label: str) -> Value:
        """The same values in shape `shape`: value i (C order) is value `order[i]` of before."""
        spread = any(np.prod(term.shape) > max(AXONS, np.prod(value.shape)) for term in value.terms)
        terms = [None] if spread and not self.tail else [linear.then_order(term, order) for term in value.terms]
        if any(term is None for term in terms):
            return self.reorder(self.with_neurons(value), shape, order, label)
        whole = len(value.terms) == 1 and terms[0].eye and tuple(shape) == tuple(terms[0].shape)
        if whole and len(shape) == 3:  # back in its own shape
            terms = list(linear.identity(terms[0].source, tuple(shape)).terms)
        bias = np.broadcast_to(value.bias, value.shape).ravel()[order]
        bias = linear.compact(bias.reshape(shape)) if len(shape) == 3 else bias
        return Value(tuple(shape), tuple(terms), bias, self._label(value, label))

    # --- several values

    def add(self, values: List[Value], label: str) -> Value:
        """The sum of values of one shape."""
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            raise UnsupportedError(
                f"layer {label} adds {' and '.join(map(str, sorted(shapes)))}; only equal shapes can be added"
            )
        bias = sum((value.bias for value in values[1:]), start=values[0].bias)
        return Value(values[0].shape, tuple(t for value in values for t in value.terms), bias, label)

    def subtract(self, first: Value, second: Value, label: str) -> Value:
        """The difference of two values."""
        return self.add([first, self.scale(second, -1.0, 0.0, label)], label)

    # --- neurons

    def relu(self, value: Value, label: str, slope: float = 0.0, most: float = float("inf")) -> Value:
        """max(x, 0); with `slope` times x below 0, and no more than `most`: each of them a second neuron."""
        parts = [value]
        if slope:
            self.note(value, label, f"leaky with slope {slope:g}, exactly as relu(x) - {slope:g} relu(-x)")
            parts.append(self.scale(value, -1.0, 0.0, value.label))
        if np.isfinite(most):
            self.note(value, label, f"clipped at {most:g}, exactly as relu(x) - relu(x - {most:g})")
            parts.append(self.scale(value, 1.0, -most, value.label))
        if len(parts) == 1:
            if self._never_negative(value):
                return value
            return linear.identity(self._layer(value, self._label(value, label)), value.shape)
        signs = [1.0, *([-slope] if slope else []), *([-1.0] if np.isfinite(most) else [])]
        return self._of_parts(self.concatenate(parts, value.label or label), value.shape, signs)

    def _made(self, shape, terms, bias, own_bias, label) -> Value:
        if own_bias is not None:
            bias = bias + np.asarray(own_bias, np.float64)
        return Value(tuple(shape), tuple(terms), bias, label)
