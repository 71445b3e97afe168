"""One node of an ONNX model: its inputs, its attributes, and how it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

import numpy as np
from cotrain.hardware.errors import CorruptError, UnsupportedError
from cotrain.pipeline.networks.readers.graph import Lowering
from cotrain.pipeline.networks.readers.onnx import AGAIN, Tensor


@dataclass
class Call:
    """One node."""

    lowering: Lowering
    node: Any
    label: str
    attributes: Dict[str, Any]
    constants: Dict[str, np.ndarray]
    opset: int
    max_pool: str
    rectified: int = 0

    def refuse(self, what: str, instead: str) -> UnsupportedError:
        """The error that names the node."""
        return UnsupportedError(f"node {self.label} ({self.node.op_type}): {what}; {instead}")

    def constant(self, i: int, default: Optional[np.ndarray] = None) -> Optional[np.ndarray]:
        """Input `i`, which has to be a constant."""
        if len(self.node.input) <= i or not self.node.input[i]:
            return default
        if self.node.input[i] not in self.constants:
            raise self.refuse(f"its input {self.node.input[i]} is computed", "export the model with constant weights")
        return self.constants[self.node.input[i]]

    def shaped(self, i: int, shape: Tuple[int, ...]) -> Optional[np.ndarray]:
        """Input `i`, a constant of exactly this shape, if it is there."""
        array = self.constant(i)
        if array is not None and tuple(array.shape) != tuple(shape):
            raise CorruptError(
                f"node {self.label} ({self.node.op_type}): weight {self.node.input[i]} has shape {tuple(array.shape)}; "
                f"its neighbours say {tuple(shape)}; {AGAIN}"
            )
        return array

    def image(self, tensor: Tensor) -> Tensor:
        """`tensor`, if it is (channels, height, width)."""
        if tensor is None or not tensor.first:
            raise self.refuse("its input is not (batch, channels, height, width)", "2-D images are expected")
        return tensor
