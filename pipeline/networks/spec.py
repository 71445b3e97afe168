"""What a network is made of: a graph of names, shapes and parameters, without neurons.

A `NetworkSpec` is data. `pipeline.networks.build` turns it into a nengo.Network for any phase; parameters travel
beside it as a flat dict ``{"conv1.kernel": array, "conv1.bias": array, ...}``. A layer has one or several inputs,
each a linear map of its own, and they add up; a concatenation in front of a linear layer is the sum of linear layers
of its parts. Everything here needs NumPy and Nengo alone, because the network is rebuilt on lab hosts that have
nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Tuple

import nengo
import numpy as np
from cotrain.hardware.errors import InputError

Params = Dict[str, np.ndarray]
KINDS = ("conv", "conv_transpose", "dense")
IMAGE = "image"  # the source that is no layer
FINALS = ("linear", "sigmoid", "softmax")  # what the host does with the readout


@dataclass(frozen=True)
class Input:
    """One linear map into a layer: what it listens to, and how.

    Shapes are (height, width, channels), or (units,) of a dense layer; whatever it is, a dense map takes it as a vector
    in C order, channels last.
    """

    source: str  # IMAGE or the name of a layer
    kind: str  # one of KINDS
    shape: Tuple[int, ...]  # of the source
    kernel: Tuple[int, int] = (1, 1)  # pixels
    stride: Tuple[int, int] = (1, 1)
    padding: str = "valid"  # or "same", as TensorFlow splits it
    pad: Tuple[int, int, int, int] = (0, 0, 0, 0)  # zeros that the host adds first: above, below, left, right


@dataclass(frozen=True)
class Layer:
    """One layer of neurons, or the linear readout: the sum of its inputs and a bias.

    Neurons are numbered in C order, channels last.
    """

    name: str
    units: int  # channels, or neurons of a dense layer
    output_shape: Tuple[int, ...]
    inputs: Tuple[Input, ...]
    bias_per_neuron: bool = False  # else one per unit: a zero border makes what was folded into biases differ there

    @property
    def n_neurons(self) -> int:
        return int(np.prod(self.output_shape))

    @property
    def bias_shape(self) -> Tuple[int, ...]:
        return self.output_shape if self.bias_per_neuron else (self.units,)

    @property
    def sources(self) -> Tuple[str, ...]:
        """What the layer listens to, in the order of its inputs, each once."""
        return tuple(dict.fromkeys(entry.source for entry in self.inputs))

    def edges(self) -> List[Edge]:
        """The layer's inputs with all that belongs to them."""
        return [
            Edge(self, entry, f"{self.name}.kernel{i if i > 1 else ''}") for i, entry in enumerate(self.inputs, start=1)
        ]


@dataclass(frozen=True)
class Edge:
    """A linear map between two places of a network."""

    target: Layer
    input: Input
    param: str  # the name of its weights

    @property
    def source(self) -> str:
        return self.input.source

    @property
    def kind(self) -> str:
        return self.input.kind

    @property
    def units(self) -> int:
        return self.target.units

    @property
    def input_shape(self) -> Tuple[int, ...]:
        """Of what the map is applied to: the source's shape and the zeros around it."""
        if not any(self.input.pad):
            return self.input.shape
        above, below, left, right = self.input.pad
        height, width, channels = self.input.shape
        return (height + above + below, width + left + right, channels)

    @property
    def output_shape(self) -> Tuple[int, ...]:
        return self.target.output_shape

    @property
    def n_inputs(self) -> int:
        return int(np.prod(self.input_shape))

    @property
    def kernel_shape(self) -> Tuple[int, ...]:
        """(height, width, channels in, channels out), or (inputs, neurons) of a dense map."""
        if self.kind == "dense":
            return (self.n_inputs, self.target.n_neurons)
        return (*self.input.kernel, self.input_shape[-1], self.units)

    @property
    def fan_in(self) -> int:
        """Inputs that add up in one neuron (away from the border)."""
        if self.kind == "dense":
            return self.n_inputs
        taps: float = float(np.prod(self.input.kernel))
        if self.kind == "conv_transpose":
            taps = taps / float(np.prod(self.input.stride))
        return int(round(taps)) * self.input_shape[-1]

    def transform(self, kernel: np.ndarray) -> nengo.transforms.Transform:
        """The map's weights as a transform of Nengo."""
        if self.kind == "dense":
            return nengo.Dense((self.target.n_neurons, self.n_inputs), init=np.ascontiguousarray(kernel.T))
        geometry = {
            "kernel_size": tuple(self.input.kernel),
            "strides": tuple(self.input.stride),
            "padding": self.input.padding,
            "init": kernel,
        }
        if self.kind == "conv":
            return nengo.Convolution(self.units, self.input_shape, **geometry)
        return nengo.ConvolutionTranspose(self.units, self.input_shape, tuple(self.output_shape), **geometry)

    def kernel_of(self, weights: np.ndarray) -> np.ndarray:
        """The inverse of `transform`: Nengo's weights as this map's kernel."""
        return np.ascontiguousarray(weights.T if self.kind == "dense" else weights)


@dataclass(frozen=True)
class NetworkSpec:
    """A feed-forward network: an image, layers of which each listens to earlier ones, a linear readout on the host.

    The layers that listen to the image stay on the host, where they turn pixels into spikes.
    """

    name: str
    input_shape: Tuple[int, int, int]
    layers: Tuple[Layer, ...]
    readout: Layer
    final: str = "linear"  # one of FINALS

    @property
    def output_shape(self) -> Tuple[int, ...]:
        return self.readout.output_shape

    @property
    def n_neurons(self) -> int:
        return sum(layer.n_neurons for layer in self.layers)

    @property
    def on_host(self) -> Tuple[str, ...]:
        """Names of the layers that turn the image into spikes."""
        return tuple(layer.name for layer in self.layers if IMAGE in layer.sources)

    def edges(self) -> List[Edge]:
        """Every linear map of the network, in order of depth; the readout's are the last."""
        return [edge for layer in (*self.layers, self.readout) for edge in layer.edges()]

    def edges_from(self, source: str) -> List[Edge]:
        """The maps that a layer (or IMAGE) feeds."""
        return [edge for edge in self.edges() if edge.source == source]

    def depths(self) -> Dict[str, Tuple[int, int]]:
        """{layer or readout: (least, most) hops between layers that a signal takes to it}; they differ with skips."""
        found = {IMAGE: (-1, -1)}
        for layer in (*self.layers, self.readout):
            least = min(found[source][0] for source in layer.sources)
            most = max(found[source][1] for source in layer.sources)
            hop = layer is not self.readout  # the readout is not delayed
            found[layer.name] = (least + hop, most + hop)
        del found[IMAGE]
        return found

    def check(self) -> None:
        """Raise InputError unless every input fits an earlier layer, or the image where it is not mixed with layers."""
        shapes = {IMAGE: tuple(self.input_shape)}
        for layer in (*self.layers, self.readout):
            if layer.name in shapes:
                raise InputError(f"{self.name}: two layers are called {layer.name}; give each a name of its own")
            if not layer.inputs:
                raise InputError(f"{self.name}: layer {layer.name} has no inputs; name what it listens to")
            if IMAGE in layer.sources and len(layer.sources) > 1:
                raise InputError(
                    f"{self.name}: layer {layer.name} listens to the image and to {layer.sources[-1]}; the image ends "
                    "on the host, so pass it on through a layer of its own"
                )
            for edge in layer.edges():
                self._check_edge(edge, shapes)
            shapes[layer.name] = tuple(layer.output_shape)

    def _check_edge(self, edge: Edge, shapes) -> None:
        where, target = f"{self.name}: layer {edge.target.name}", edge.target
        if edge.kind not in KINDS:
            raise InputError(f"{where}: kind is {edge.kind!r}; expected one of {', '.join(KINDS)}")
        if edge.source not in shapes:
            raise InputError(f"{where} listens to {edge.source}, which is no earlier layer; put it in front of it")
        if tuple(edge.input.shape) != shapes[edge.source]:
            raise InputError(
                f"{where} expects {edge.source} in shape {tuple(edge.input.shape)}; it is {shapes[edge.source]}"
            )
        if any(edge.input.pad) and edge.source != IMAGE and target is not self.readout:
            raise InputError(
                f"{where} has zeros around {edge.source}; between layers on the chip only 'same' or 'valid'"
            )
        if edge.kind == "dense":
            return
        smallest = tuple((n - 1) * s + 1 for n, s in zip(edge.input_shape, edge.input.stride))
        same = edge.kind == "conv_transpose" and edge.input.padding == "same" and target is not self.readout
        if same and tuple(target.output_shape[:2]) != smallest:
            raise InputError(
                f"{where}: nengo_loihi puts a transposed convolution with padding 'same' to {target.output_shape[:2]} "
                f"one pixel off; use 'valid', or the size {smallest}"
            )
        if edge.kind == "conv":
            source, made = edge.input_shape, tuple(target.output_shape)
        else:  # a convolution backwards
            source, made = tuple(target.output_shape), edge.input_shape
        backwards = nengo.Convolution(
            made[-1],
            source,
            kernel_size=tuple(edge.input.kernel),
            strides=tuple(edge.input.stride),
            padding=edge.input.padding,
        )
        if backwards.output_shape.shape != made:
            raise InputError(
                f"{where}: a {edge.kind} of kernel {edge.input.kernel}, stride {edge.input.stride}, padding "
                f"{edge.input.padding} does not lead from {edge.input_shape} to {tuple(target.output_shape)}"
            )

    def param_shapes(self) -> Dict[str, Tuple[int, ...]]:
        """Shape of each parameter: a kernel per input, and the layer's bias."""
        shapes: Dict[str, Tuple[int, ...]] = {}
        for layer in (*self.layers, self.readout):
            shapes.update((edge.param, edge.kernel_shape) for edge in layer.edges())
            shapes[f"{layer.name}.bias"] = layer.bias_shape
        return shapes

    def init_params(self, seed: int) -> Params:
        """He initialisation (He et al. 2015, eq. 10) of the kernels, zero biases; float32.

        Where several inputs add up, the fan-in is that of all together.
        """
        rng = np.random.RandomState(seed)
        params = {}
        for layer in (*self.layers, self.readout):
            gain = 1.0 if layer is self.readout else 2.0  # no rectifier after the readout
            fan_in = sum(edge.fan_in for edge in layer.edges())
            for edge in layer.edges():
                kernel = rng.standard_normal(edge.kernel_shape) * np.sqrt(gain / fan_in)
                params[edge.param] = kernel.astype(np.float32)
            params[f"{layer.name}.bias"] = np.zeros(layer.bias_shape, np.float32)
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
        return cls(
            tree["name"],
            tuple(tree["input_shape"]),
            tuple(_layer(values) for values in tree["layers"]),
            _layer(tree["readout"]),
            tree.get("final", "linear"),
        )


def _layer(values: Dict[str, Any]) -> Layer:
    entries: List[Dict[str, Any]] = [
        {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in entry.items()} for entry in values["inputs"]
    ]
    inputs = tuple(Input(**entry) for entry in entries)
    return Layer(**{**values, "output_shape": tuple(values["output_shape"]), "inputs": inputs})
