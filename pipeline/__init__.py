"""Train a vision network, fine-tune it as a spiking network, and take it to Loihi.

Names are loaded where they are first used, so that ``from cotrain import pipeline`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "run": "api",
    "Run": "api",
    "Experiment": "experiment",
    "read_model": "networks.readers.model",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'cotrain.pipeline' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"cotrain.pipeline.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
