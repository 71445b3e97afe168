"""Numbers that a caller gives: one line that says what was expected, before anything is built."""

from __future__ import annotations

import math
import numbers
from typing import Any, Optional

import numpy as np
from cotrain.hardware.errors import InputError

MAX_SEED = 2**32 - 1  # of numpy.random.RandomState
MAX_STEPS = 2**53  # that a float counts one by one, as times are computed


def whole_number(name: str, value: Any, low: int, high: Optional[int] = None, hint: str = "") -> int:
    """`value` as int.

    Raises
    ------
    InputError
        It is no whole number, or not in [low, high].
    """
    expected = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    whole = isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))
    if not whole or value < low or (high is not None and value > high):
        raise InputError(f"{name}: expected {expected}, got {value!r}{hint}")
    return int(value)


def seed(value: Any) -> int:
    """A seed for NumPy."""
    return whole_number("seed", value, 0, MAX_SEED)


def positive_seconds(name: str, value: Any, allow_zero: bool = False) -> float:
    """`value` as float, finite and above (or at) zero."""
    real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not real or not math.isfinite(value) or value < 0 or (value == 0 and not allow_zero):
        kind = "zero or a positive" if allow_zero else "a positive"
        raise InputError(f"{name}: expected {kind} number of seconds, got {value!r}")
    return float(value)


def step_length(value: Any) -> float:
    """Length of a step in seconds."""
    return positive_seconds("dt_s", value)
