"""Loihi 1 for any Nengo network: place it, check it, compile it to integers, emulate it bit for bit.

Names are loaded where they are first used, so that ``import hardware`` costs nothing.
"""

from __future__ import annotations

import importlib

_EXPORTS = {
    "Simulator": "simulator",
    "Program": "program",
    "compile_network": "compile",
    "partition": "partitioner",  # a submodule of that name would hide the function
    "check": "rules",
    "quantization_error": "quantization",
    "Board": "limits",
    "LOIHI1": "limits",
    "KAPOHO_BAY": "limits",
    "NAHUKU8": "limits",
    "NAHUKU32": "limits",
    "POHOIKI": "limits",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'hardware' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"hardware.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return __all__
