"""Networks written layer by layer."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from cotrain.hardware.errors import InputError
from cotrain.pipeline.networks.spec import IMAGE, Input, Layer, NetworkSpec


class Stack:
    """Adds layer after layer and keeps track of the shapes.

    Each layer listens to the one before it, or to those that `sources` names (IMAGE is the image): convolutions of
    several sources add up, which is a convolution of their concatenation.
    """

    def __init__(self, input_shape: Tuple[int, int, int]):
        height, width, channels = (int(n) for n in input_shape)
        self.input_shape = height, width, channels
        self.shapes: Dict[str, Tuple[int, ...]] = {IMAGE: self.input_shape}
        self.layers: List[Layer] = []

    @property
    def last(self) -> str:
        """Name of the layer that was added last."""
        return self.layers[-1].name if self.layers else IMAGE

    @property
    def shape(self) -> Tuple[int, ...]:
        """Of the layer that was added last."""
        return self.shapes[self.last]

    def conv(self, name: str, filters: int, kernel: int, sources: Optional[Tuple[str, ...]] = None) -> None:
        """A convolution that keeps height and width."""
        height, width, _ = self.shapes[(sources or (self.last,))[0]]
        self._add(name, "conv", filters, (height, width, filters), kernel, 1, "same", sources)

    def pool(self, name: str, filters: int, kernel: int) -> None:
        """A convolution of stride 2 in the place of pooling: halves height and width exactly.

        Raises
        ------
        InputError
            Height or width is odd.
        """
        height, width, _ = self.shape
        if height % 2 or width % 2:
            n_pools = 1 + sum(layer.inputs[0].stride == (2, 2) for layer in self.layers)
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

    def dense(self, name: str, units: int, sources: Optional[Tuple[str, ...]] = None) -> None:
        """Every unit listens to every neuron."""
        self._add(name, "dense", units, (units,), 1, 1, "valid", sources)

    def _add(self, name, kind, units, output_shape, kernel, stride, padding, sources=None) -> None:
        inputs = tuple(
            Input(source, kind, self.shapes[source], (kernel, kernel), (stride, stride), padding)
            for source in sources or (self.last,)
        )
        self.layers.append(Layer(name, units, output_shape, inputs))
        self.shapes[name] = output_shape

    def spec(self, name: str) -> NetworkSpec:
        """The network; the layer that was added last is its readout."""
        made = NetworkSpec(name, self.input_shape, tuple(self.layers[:-1]), self.layers[-1])
        made.check()
        return made
