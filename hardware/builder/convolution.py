"""The arithmetic of a two-dimensional convolution, axis by axis: which output an input reaches through which weight.

Along one axis, output o of a convolution with stride s and `before` pixels of padding adds up kernel[k] x[o s + k -
before]; a transposed one spreads, so that input i adds kernel[k] x[i] to output i s + k - before. Padding "same" is
that of TensorFlow and of Nengo (its ``conv2d``): the odd pixel goes behind.

Builder, placement, the host's convolutions and the counts of synaptic operations all read `Axis`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Tuple

import numpy as np
from nengo.transforms import ConvolutionTranspose


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution.

    Attributes
    ----------
    n_in, n_out : int
        Pixels along it.
    kernel, stride : int
    before : int
        Pixels of padding in front: of the inputs, or of the outputs where the convolution is transposed.
    transposed : bool
    """

    n_in: int
    n_out: int
    kernel: int
    stride: int = 1
    before: int = 0
    transposed: bool = False

    @classmethod
    def padded(
        cls, n_in: int, n_out: int, kernel: int, stride: int = 1, padding: str = "valid", transposed: bool = False
    ) -> Axis:
        """The axis for a padding by name, "same" or "valid"."""
        large, small = (n_out, n_in) if transposed else (n_in, n_out)
        before = max((small - 1) * stride + kernel - large, 0) // 2 if padding == "same" else 0
        return cls(n_in, n_out, kernel, stride, before, transposed)

    @functools.cached_property
    def outputs(self) -> np.ndarray:
        """(n_in, kernel) int64: the output that an input reaches through each position of the kernel, -1 for none."""
        i, k = np.arange(self.n_in)[:, None], np.arange(self.kernel)
        if self.transposed:
            out, whole = i * self.stride + k - self.before, True
        else:
            out, rest = np.divmod(i + self.before - k, self.stride)
            whole = rest == 0
        found = np.where(whole & (out >= 0) & (out < self.n_out), out, -1)
        found.setflags(write=False)
        return found

    @property
    def ascending(self) -> np.ndarray:
        """`outputs` with the positions of the kernel in the order of the outputs that they lead to."""
        return self.outputs if self.transposed else self.outputs[:, ::-1]

    @property
    def count(self) -> np.ndarray:
        """(n_in,) int64: outputs that each input reaches."""
        return (self.outputs >= 0).sum(axis=1)

    @property
    def first(self) -> np.ndarray:
        """(n_in,) int64: the first of them; undefined where there is none."""
        return self.ascending[np.arange(self.n_in), self.first_position]

    @property
    def first_position(self) -> np.ndarray:
        """(n_in,) int64: place of the first of them along `ascending`; 0 where there is none."""
        return (self.ascending >= 0).argmax(axis=1)

    @property
    def step(self) -> int:
        """How far apart along `ascending` the positions of neighbouring outputs are."""
        return 1 if self.transposed else self.stride


def axes_of(transform: Any) -> Tuple[Axis, Axis]:
    """Rows and columns of a nengo.Convolution or nengo.transforms.ConvolutionTranspose with two dimensions."""
    rows, columns = (
        Axis.padded(n_in, n_out, kernel, stride, transform.padding, isinstance(transform, ConvolutionTranspose))
        for n_in, n_out, kernel, stride in zip(
            transform.input_shape.spatial_shape,
            transform.output_shape.spatial_shape,
            transform.kernel_size,
            transform.strides,
        )
    )
    return rows, columns
