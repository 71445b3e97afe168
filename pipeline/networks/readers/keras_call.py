"""One call of one of Keras's layers: its settings, its weights, and how it is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, List

import numpy as np
from cotrain.hardware.errors import CorruptError, UnsupportedError
from cotrain.pipeline.networks.readers.archive import AGAIN
from cotrain.pipeline.networks.readers.graph import Lowering

if TYPE_CHECKING:
    from cotrain.pipeline.networks.readers.linear import Value


@dataclass
class Call:
    """One call of a layer."""

    lowering: Lowering
    config: Dict[str, Any]
    name: str
    kind: str
    weights: Callable[..., List[np.ndarray]]
    max_pool: str
    rectified: int = 0

    def refuse(self, what: str, instead: str) -> UnsupportedError:
        """The error that names the layer."""
        return UnsupportedError(f"layer {self.name} ({self.kind}): {what}; {instead}")

    def channels_last(self) -> None:
        """Raise unless the layer's channels come last."""
        if self.config.get("data_format") not in (None, "channels_last"):
            raise self.refuse("its channels come first", "build the model with data_format channels_last")

    def weight(self, *kinds: str, shapes: Any) -> List[np.ndarray]:
        """The layer's weights, of exactly these shapes."""
        arrays = self.weights(*((kind,) if isinstance(kind, str) else kind for kind in kinds))
        for array, kind, shape in zip(arrays, kinds, shapes):
            if tuple(array.shape) != tuple(shape):
                raise CorruptError(
                    f"layer {self.name} ({self.kind}): weight {kind} has shape {tuple(array.shape)}; its configuration "
                    f"says {tuple(shape)}; {AGAIN}"
                )
        return arrays

    def spatial(self, value: Value) -> None:
        """Raise unless the input is an image."""
        if len(value.shape) != 3:
            raise self.refuse(f"its input has shape {value.shape}", "height, width and channels are expected")


def snake(name: str) -> str:
    """A class's name as Keras writes it in files (keras.src.utils.naming.to_snake_case)."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
