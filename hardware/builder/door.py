"""Import nengo_loihi without what it would drag in.

``import nengo_loihi`` imports TensorFlow and NengoDL wherever they are installed, only to register training builders
that nothing in ``hardware`` uses. That costs seconds and a page of messages, so both are hidden while it is imported.
"""

from __future__ import annotations

import importlib
import sys

from cotrain.hardware.builder.numpy2 import let_nengo_loihi_in

_HIDDEN = ("tensorflow", "nengo_dl")


def import_nengo_loihi(submodule: str = ""):
    """Return the module ``nengo_loihi`` (or ``nengo_loihi.<submodule>``), imported without TensorFlow.

    A TensorFlow or NengoDL that the process has already imported is left as it is.
    """
    if "nengo_loihi" not in sys.modules:
        let_nengo_loihi_in()
        hidden = [name for name in _HIDDEN if name not in sys.modules]
        sys.modules.update(dict.fromkeys(hidden))  # None makes ``import`` raise ImportError
        try:
            importlib.import_module("nengo_loihi")
        finally:
            for name in hidden:
                sys.modules.pop(name, None)
    return importlib.import_module(f"nengo_loihi.{submodule}" if submodule else "nengo_loihi")
