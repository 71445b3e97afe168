"""The only door to nengo_loihi: what is used of it, by name, and its errors in our words.

``import nengo_loihi`` imports TensorFlow and NengoDL wherever they are installed, only to register training builders
that nothing in ``hardware`` uses. That costs seconds and a page of messages, so both are hidden while it is imported.
"""

from __future__ import annotations

import importlib
import sys
import traceback
import warnings
from contextlib import contextmanager
from typing import Any, Iterator, Type

from cotrain.hardware.builder.names import LayerNames, part_name, without_address
from cotrain.hardware.builder.numpy2 import let_nengo_loihi_in
from cotrain.hardware.errors import CotrainError, InputError, MisfitError, UnsupportedError

# name here: where it is in nengo_loihi 1.1. This is all that hardware uses of it; the last seven are whole modules,
# of which `fastbuild` and `cutting` copy functions.
NAMES = {
    "add_params": "add_params",
    "BlockShape": "config.BlockShape",
    "version_info": "version.version_info",
    "Model": "builder.Model",
    "Builder": "builder.builder.Builder",
    "ValidationLevel": "builder.builder.ValidationLevel",
    "Split": "splitter.Split",
    "discretize_block": "builder.discretize.discretize_block",
    "discretize_model": "builder.discretize.discretize_model",
    "discretize_probe": "builder.discretize.discretize_probe",
    "decay_magnitude": "builder.discretize.decay_magnitude",
    "LoihiLIF": "neurons.LoihiLIF",
    "LoihiSpikingRectifiedLinear": "neurons.LoihiSpikingRectifiedLinear",
    "discretize_tau_rc": "neurons.discretize_tau_rc",
    "discretize_tau_ref": "neurons.discretize_tau_ref",
    "LoihiProbe": "probe.LoihiProbe",
    "ProbeFilter": "probe.ProbeFilter",
    "ReferenceSimulator": "simulator.Simulator",
    "StepRunner": "simulator.StepRunner",
    "SimulationData": "simulator.SimulationData",
    "EmulatorInterface": "emulator.EmulatorInterface",
    "GreedyInterchip": "hardware.allocators.GreedyInterchip",
    "RoundRobin": "hardware.allocators.RoundRobin",
    "hardware": "hardware",
    "interface": "hardware.interface",
    "split_blocks": "builder.split_blocks",
    "validate": "builder.validate",
    "network": "builder.network",
    "connection": "builder.connection",
    "ensemble": "builder.ensemble",
    "probe": "builder.probe",
}

_HIDDEN = ("tensorflow", "nengo_dl")


def import_nengo_loihi(submodule: str = "") -> Any:
    """Return the module ``nengo_loihi`` (or ``nengo_loihi.<submodule>``), imported without TensorFlow.

    A TensorFlow or NengoDL that the process has already imported is left as it is.
    """
    if "nengo_loihi" not in sys.modules:
        let_nengo_loihi_in()
        hidden = [name for name in _HIDDEN if name not in sys.modules]
        hide: Any = dict.fromkeys(hidden)  # None makes ``import`` raise ImportError
        sys.modules.update(hide)
        try:
            with warnings.catch_warnings():
                # of Nengo 4.1, which Python 3.13 needs; numpy2.py and the tests are how it was tried
                warnings.filterwarnings("ignore", message="This version of `nengo_loihi` has not been tested")
                importlib.import_module("nengo_loihi")
        finally:
            for name in hidden:
                sys.modules.pop(name, None)
    return importlib.import_module(f"nengo_loihi.{submodule}" if submodule else "nengo_loihi")


def __getattr__(name: str) -> Any:
    """One of `NAMES`; not kept here, so that what somebody puts in its place in nengo_loihi is used."""
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, thing = NAMES[name].rpartition(".")
    owner = import_nengo_loihi(module)
    return getattr(owner, thing) if hasattr(owner, thing) else import_nengo_loihi(NAMES[name])


# --- errors

_OFF_CHIP = "change that part"  # where nothing that was tried helps (`passes.build_uncut`)
_CUT = "hardware.partition(net) cuts layers so that their blocks fit"
_SIZES = "bring its weights, gains and biases closer together in size"


@contextmanager
def translated(model: Any = None) -> Iterator[None]:
    """Turn what nengo_loihi, Nengo or a user's function raises while a network is built into our errors.

    Parameters
    ----------
    model : nengo_loihi.builder.Model, optional
        That is worked on; it knows the names of what has none of its own.

    Raises
    ------
    UnsupportedError
        nengo_loihi lacks something that the network asks for.
    MisfitError
        A block is larger than a core, or has no integer form.
    InputError
        A value, shape or function of the network is wrong, on a chip or off it.

    Their ``part`` is the layer, connection or probe that they speak of, ``at`` its object, ``reason`` what was said.
    """
    try:
        yield
    except CotrainError:
        raise
    # functions of the network are the user's, and nengo_loihi's builder fails on what it does not know with whatever
    # error the next line happens to raise
    except Exception as error:
        raise _ours(error, model) from error


def _ours(error: Exception, model: Any) -> CotrainError:
    from nengo.exceptions import NengoException, ValidationError

    ready = model is not None and model.toplevel is not None and model.split is not None
    names = LayerNames(model) if ready else None
    frames = list(traceback.walk_tb(error.__traceback__))
    objects = [obj for frame, _ in reversed(frames) for obj in map(frame.f_locals.get, _LOCALS)]
    part = next(filter(None, (part_name(obj, names) for obj in objects)), "")
    kind: Type[CotrainError] = UnsupportedError
    said, change = _said(error), _OFF_CHIP
    if "exceeded max" in said:
        kind, change = MisfitError, _CUT
    elif "discretize" in _modules(frames):
        kind, change = MisfitError, _SIZES
        said = said if str(error) else "no exponent fits its weights, thresholds and biases together"
    elif "No neurons marked" in said:
        kind, change = InputError, "leave at least one ensemble with on_chip unset or True"
    elif isinstance(error, ValidationError) or not (
        isinstance(error, (NengoException, NotImplementedError, AssertionError)) or _modules(frames[-1:])
    ):
        kind, change = InputError, "change that part"
    where = f"{part}: " if part and part not in said else ""
    found = kind(f"nengo_loihi cannot build this network: {where}{said}; {change}")
    found.part, found.reason = part, said
    found.at = next((obj for obj in objects if part and part_name(obj, names) == part), None)
    return found


def _modules(frames: list) -> list:
    """Last names of the modules of nengo_loihi (and of our copies of its functions) among the frames."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in frames]
    known = ("nengo_loihi.", "cotrain.hardware.builder.")
    return [name.rpartition(".")[2] for name in names if name.startswith(known)]


_LOCALS = ("conn", "connection", "ens", "probe", "nengo_probe", "node", "obj", "block")


# what nengo_loihi's assertions say in code only
_ASSERTIONS = {
    "post_slice == slice(None)": "on the chip a connection reaches all neurons or dimensions of a layer, not a part",
    "pre_slice == slice(None)": "on the chip such a connection comes from all neurons of a layer, not from a part",
    "isinstance(conn.pre_obj, (Neurons": "a convolution on the chip comes from neurons, not from decoded values",
    "isinstance(conn.post_obj, Neurons)": "a convolution on the chip ends in neurons, not in encoded values",
    "in_slice.channel_slice_only()": "a part of an image on the chip can be whole channels only",
    "channel position changes": "channels come last on one side of a convolution and first on the other",
}


def _said(error: Exception) -> str:
    """What an error says, in one line; some of nengo_loihi's assertions say nothing but their code."""
    from nengo.exceptions import NengoException

    said = without_address(" ".join(str(error).split()))
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, (AssertionError, ValueError)):  # a slice that is an array has no truth value
        known = [text for code, text in _ASSERTIONS.items() if code in f"{frame.line} {said}"]
        if known:
            return known[0]
    if said:
        bare = isinstance(error, (NengoException, NotImplementedError, AssertionError))
        return said if bare else f"{type(error).__name__}: {said}"
    return f"{type(error).__name__} at {frame.line!r} (in {frame.name})"
