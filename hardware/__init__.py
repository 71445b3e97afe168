"""Loihi 1 for any Nengo network: place it, check it, compile it to integers, emulate it bit for bit.

Names are loaded where they are first used, so that ``import hardware`` costs nothing.
"""

from __future__ import annotations

import importlib

_EXPORTS = {
    "Simulator": "simulator.simulator",
    "Program": "compiler.program",
    "compile_network": "compiler.compile",
    "lower": "placement.cores",
    "partition": "placement.partition",  # a submodule of that name would hide the function
    "check": "preflight.check",
    "quantization_error": "preflight.quantization",
    "estimate": "cost.estimate",  # likewise
    "Board": "chip.limits",
    "LOIHI1": "chip.limits",
    "KAPOHO_BAY": "chip.limits",
    "NAHUKU8": "chip.limits",
    "NAHUKU32": "chip.limits",
    "POHOIKI": "chip.limits",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'hardware' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"cotrain.hardware.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return __all__
