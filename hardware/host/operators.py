"""What Nengo's operators draw, remember and belong to."""

from __future__ import annotations

import copy
from typing import Any

import nengo
import numpy as np
from cotrain.hardware.errors import CotrainError, InputError
from nengo.builder.neurons import SimNeurons
from nengo.builder.operator import SimPyFunc
from nengo.builder.processes import SimProcess
from nengo.synapses import LinearFilter

# processes that never draw a random number; those of nengo_loihi's links between host and chip are told by their module
_DRAW_NOTHING = (
    nengo.processes.PresentInput,
    nengo.processes.Piecewise,
    nengo.Lowpass,
    nengo.Alpha,
    nengo.synapses.Triangle,
    LinearFilter,
)


def make_steps(sim: Any, rng: Any) -> list:
    """Step functions of a `nengo.Simulator`, which draw from ``rng`` what the network has not seeded.

    As in ``nengo.Simulator.reset``, only that an operator which draws nothing takes nothing from ``rng``: with other
    inputs or filters, the random numbers of all others stay the same.
    """
    return [_guarded(op, op.make_step(sim.signals, sim.dt, rng_of(op, rng)), sim.model) for op in sim.step_order]


def rng_of(op: Any, rng: Any) -> Any:
    """The source of an operator's random numbers."""
    process = getattr(op, "process", None)
    draws = not (type(process) in _DRAW_NOTHING or type(process).__module__.startswith("nengo_loihi."))
    return rng if draws else np.random.RandomState(0)


def _guarded(op, step, model):
    """A step that says whose function failed."""
    if not isinstance(op, SimPyFunc):
        return step

    def run():
        try:
            step()
        except Exception as error:
            raise failure(op, model, error) from error

    return run


def owner(op: Any, model: Any) -> str:
    """The object whose function or process an operator runs."""
    if isinstance(op, SimNeurons):
        signal = op.output
    else:
        signal = op.output if op.output is not None else (op.sets + op.incs + op.reads)[-1]
    for obj, signals in model.sig.items():
        if any(s is signal for s in signals.values()):
            return str(obj)
    function = getattr(op, "fn", getattr(op, "process", None))
    return f"the function {getattr(function, '__name__', function)}"


def failure(op: Any, model: Any, error: BaseException) -> CotrainError:
    """An error of a user's function as one line."""
    if isinstance(error, CotrainError):
        return error
    said = " ".join(str(error).split())
    return InputError(f"{owner(op, model)}: failed while it ran: {type(error).__name__}{': ' if said else ''}{said}")


def remembers(op: Any) -> bool:
    """Whether an operator may keep something in Python objects: functions, and what is not Nengo's own."""
    if isinstance(op, SimProcess):
        return not type(op.process).__module__.startswith(("nengo.", "nengo_loihi."))
    own_type = isinstance(op, SimNeurons) and not type(op.neurons).__module__.startswith(("nengo.", "nengo_loihi."))
    return isinstance(op, SimPyFunc) or own_type or bool(getattr(op, "state_extra", None))


def remembered_by(op: Any, random_states: Any) -> Any:
    """What an operator keeps in Python objects, and not in signals."""
    if isinstance(op, SimPyFunc):
        return op.fn
    if isinstance(op, SimProcess):
        return op.process
    return op.neurons, random_states.get(op, op.state_extra)


def with_copy(op: Any, kept: Any) -> Any:
    """The operator with a copy of what it keeps (None: itself)."""
    if kept is None:
        return op
    op = copy.copy(op)
    remember(op, kept)
    return op


def remember(op: Any, kept: Any) -> None:
    """Give an operator what it shall keep; the counterpart of `remembered_by`."""
    if isinstance(op, SimPyFunc):
        op.fn = kept
    elif isinstance(op, SimProcess):
        op.process = kept
    else:
        op.neurons, op.state_extra = kept
