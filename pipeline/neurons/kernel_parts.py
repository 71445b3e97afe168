"""What the kernels of all neurons are written with: one neuron, one step, float32.

Arrays are float32, or bfloat16 seen as uint16. An input x is in units of activation, the current is J = gain x + rest,
and a spike counts ``unit`` = amplitude / dt activations (`pipeline.neurons.phases`).
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
from cotrain.pipeline.neurons.vectormath import bits, from_bits
from numba import njit, types
from numba.extending import overload

# of one layer; keep: what a Lowpass keeps of its state in a step, 0 for no filter
Constants = namedtuple("Constants", "gain rest unit keep dt tau_rc tau_ref gamma min_voltage")

TINY, LOWEST = np.float32(1e-15), np.float32(-60)  # exp of LOWEST is normal, also when multiplied by a smoothing
ZERO, HALF, ONE, TWO = (np.float32(v) for v in (0, 0.5, 1, 2))

step_kernel = njit(inline="always", fastmath=True, error_model="numpy")  # may branch
rate_kernel = njit(inline="always")  # becomes vector code: no branches, no library calls, exact divisions


def load(array: Any, i: Any) -> Any:
    """Element i as float32."""


def store(array: Any, i: Any, value: Any) -> None:
    """Write a float32, rounded to what the array holds."""


@overload(load, inline="always")
def _load(array, i):
    if array.dtype == types.uint16:  # a bfloat16 is the upper half of a float32
        return lambda array, i: from_bits(np.uint32(array[i]) << np.uint32(16))
    return lambda array, i: array[i]


@overload(store, inline="always")
def _store(array, i, value):
    if array.dtype == types.uint16:

        def store_bfloat16(array, i, value):
            array[i] = np.uint16((bits(np.float32(value)) + np.uint32(0x8000)) >> np.uint32(16))

        return store_bfloat16

    def store_float32(array, i, value):
        array[i] = value

    return store_float32
