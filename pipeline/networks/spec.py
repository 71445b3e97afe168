"""What a network is made of: names, shapes and parameters, without neurons.

A `NetworkSpec` is data. `pipeline.networks.build` turns it into a nengo.Network for any phase; parameters travel
beside it as a flat dict ``{"conv1.kernel": array, "conv1.bias": array, ...}``. Everything here needs NumPy and Nengo
alone, because the network is rebuilt on lab hosts that have nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, Tuple

import nengo
import numpy as np
from cotrain.hardware.errors import InputError

Params = Dict[str, np.ndarray]
KINDS = ("conv", "conv_transpose", "dense")


@dataclass(frozen=True)
class Layer:
    """One layer of neurons, or the linear readout.

    Shapes are (height, width, channels), or (units,) of a dense layer. Neurons are numbered in C order, channels last.
    """

    name: str
    kind: str  # one of KINDS
    units: int  # filters of a convolution
    input_shape: Tuple[int, ...]
    output_shape: Tuple[int, ...]
    kernel: int = 1  # pixels, square
    stride: int = 1
    padding: str = "valid"

    @property
    def n_inputs(self) -> int:
        return int(np.prod(self.input_shape))

    @property
    def n_neurons(self) -> int:
        return int(np.prod(self.output_shape))

    @property
    def kernel_shape(self) -> Tuple[int, ...]:
        """(kernel, kernel, channels in, channels out), or (inputs, units) of a dense layer."""
        if self.kind == "dense":
            return (self.n_inputs, self.units)
        return (self.kernel, self.kernel, self.input_shape[-1], self.units)

    @property
    def fan_in(self) -> int:
        """Inputs that add up in one neuron (away from the border)."""
        if self.kind == "dense":
            return self.n_inputs
        taps = self.kernel / self.stride if self.kind == "conv_transpose" else self.kernel
        return int(round(taps * taps)) * self.input_shape[-1]

    def transform(self, kernel: np.ndarray) -> nengo.transforms.Transform:
        """The layer's weights as a transform of Nengo."""
        if self.kind == "dense":
            return nengo.Dense((self.units, self.n_inputs), init=np.ascontiguousarray(kernel.T))
        convolution = {"conv": nengo.Convolution, "conv_transpose": nengo.ConvolutionTranspose}[self.kind]
        return convolution(
            self.units,
            self.input_shape,
            kernel_size=(self.kernel, self.kernel),
            strides=(self.stride, self.stride),
            padding=self.padding,
            init=kernel,
        )

    def kernel_of(self, weights: np.ndarray) -> np.ndarray:
        """The inverse of `transform`: Nengo's weights as this layer's kernel."""
        return np.ascontiguousarray(weights.T if self.kind == "dense" else weights)


@dataclass(frozen=True)
class NetworkSpec:
    """A feed-forward network: an image, layers in order of depth, a linear readout on the host.

    The readout gives a box (4,) or one logit per pixel (height, width, 1).
    """

    name: str
    input_shape: Tuple[int, int, int]
    layers: Tuple[Layer, ...]
    readout: Layer

    @property
    def output_shape(self) -> Tuple[int, ...]:
        return self.readout.output_shape

    @property
    def n_neurons(self) -> int:
        return sum(layer.n_neurons for layer in self.layers)

    def param_shapes(self) -> Dict[str, Tuple[int, ...]]:
        """Shape of each parameter. A convolution has one bias per filter."""
        shapes = {}
        for layer in self.layers + (self.readout,):
            shapes[f"{layer.name}.kernel"] = layer.kernel_shape
            shapes[f"{layer.name}.bias"] = (layer.units,)
        return shapes

    def init_params(self, seed: int) -> Params:
        """He initialisation (He et al. 2015, eq. 10) of the kernels, zero biases; float32."""
        rng = np.random.RandomState(seed)
        params = {}
        for layer in self.layers + (self.readout,):
            gain = 1.0 if layer is self.readout else 2.0  # no rectifier after the readout
            kernel = rng.standard_normal(layer.kernel_shape) * np.sqrt(gain / layer.fan_in)
            params[f"{layer.name}.kernel"] = kernel.astype(np.float32)
            params[f"{layer.name}.bias"] = np.zeros(layer.units, np.float32)
        return params

    def check_params(self, params: Params) -> None:
        """Raise InputError unless `params` has exactly this network's names and shapes, all finite."""
        shapes = self.param_shapes()
        if set(params) != set(shapes):
            missing, extra = sorted(set(shapes) - set(params)), sorted(set(params) - set(shapes))
            raise InputError(
                f"these are not parameters of {self.name}: {missing or 'none'} missing, {extra or 'none'} unknown"
            )
        for name, shape in shapes.items():
            if tuple(params[name].shape) != shape:
                raise InputError(f"parameter {name} has shape {tuple(params[name].shape)}; {self.name} expects {shape}")
            if not np.all(np.isfinite(params[name])):
                raise InputError(f"parameter {name} holds NaN or infinity; train again with a lower learning rate")

    def to_dict(self) -> Dict[str, Any]:
        """Plain JSON values; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, tree: Dict[str, Any]) -> NetworkSpec:
        def layer(values):
            shapes = {k: tuple(values[k]) for k in ("input_shape", "output_shape")}
            return Layer(**{**values, **shapes})

        return cls(
            tree["name"],
            tuple(tree["input_shape"]),
            tuple(layer(v) for v in tree["layers"]),
            layer(tree["readout"]),
        )


class Stack:
    """Adds layer after layer and keeps track of the shape."""

    def __init__(self, input_shape: Tuple[int, int, int]):
        self.input_shape = tuple(int(n) for n in input_shape)
        self.shape: Tuple[int, ...] = self.input_shape
        self.layers = []

    def conv(self, name: str, filters: int, kernel: int) -> None:
        """A convolution that keeps height and width."""
        height, width, _ = self.shape
        self._add(name, "conv", filters, (height, width, filters), kernel, 1, "same")

    def pool(self, name: str, filters: int, kernel: int) -> None:
        """A convolution of stride 2 in the place of pooling: halves height and width exactly.

        Raises
        ------
        InputError
            Height or width is odd.
        """
        height, width, _ = self.shape
        if height % 2 or width % 2:
            n_pools = 1 + sum(layer.stride == 2 for layer in self.layers)
            raise InputError(
                f"layer {name} cannot halve {height} by {width} pixels: choose data.height and data.width "
                f"that are multiples of {2**n_pools}"
            )
        padding = "valid" if kernel == 2 else "same"
        self._add(name, "conv", filters, (height // 2, width // 2, filters), kernel, 2, padding)

    def up(self, name: str, filters: int) -> None:
        """A transposed convolution of kernel 2 and stride 2, "valid": doubles height and width exactly."""
        height, width, _ = self.shape
        self._add(name, "conv_transpose", filters, (2 * height, 2 * width, filters), 2, 2, "valid")

    def dense(self, name: str, units: int) -> None:
        self._add(name, "dense", units, (units,), 1, 1, "valid")

    def _add(self, name, kind, units, output_shape, kernel, stride, padding) -> None:
        self.layers.append(Layer(name, kind, units, self.shape, output_shape, kernel, stride, padding))
        self.shape = output_shape

    def spec(self, name: str) -> NetworkSpec:
        """The network; the layer that was added last is its readout."""
        return NetworkSpec(name, self.input_shape, tuple(self.layers[:-1]), self.layers[-1])
