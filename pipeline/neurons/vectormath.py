"""exp, expm1 and log1p of float32 in plain arithmetic, so that a loop over neurons becomes vector instructions.

The C library's functions work on one number at a time and keep the compiler from vectorising what is around them.
Range reduction and polynomials are those of Cephes' expf and logf (S. L. Moshier), good to about 2 units in the last
place. `forceinline` and no `fastmath`: the reductions rely on the order of their operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_F = np.float32
LOG2_E, LN2_HIGH, LN2_LOW = _F(1.44269504088896341), _F(0.693359375), _F(-2.12194440e-4)
SQRT_HALF, SQRT_2 = _F(0.707106781186547524), _F(1.41421356237309505)
LOWEST, HIGHEST = _F(-87.3), _F(88.0)  # exp stays a normal number
_ZERO, _HALF, _ONE = _F(0), _F(0.5), _F(1)


@intrinsic
def bits(typing: Any, x: Any) -> Any:
    """A float32 as its 32 bits."""
    return types.uint32(types.float32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
def from_bits(typing: Any, x: Any) -> Any:
    return types.float32(types.uint32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.FloatType())


@njit(forceinline=True, error_model="numpy")
def _reduced(x):
    """(n, r, p) with x = n ln 2 + r, |r| <= ln 2 / 2, and exp(r) = 1 + r + p."""
    n = _F(np.floor(x * LOG2_E + _HALF))
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = _F(1.9875691500e-4)
    p = p * r + _F(1.3981999507e-3)
    p = p * r + _F(8.3334519073e-3)
    p = p * r + _F(4.1665795894e-2)
    p = p * r + _F(1.6666665459e-1)
    p = p * r + _F(5.0000001201e-1)
    return n, r, p * r * r


@njit(forceinline=True, error_model="numpy")
def _power_of_2(n):
    return from_bits(np.uint32((np.int32(n) + np.int32(127)) << np.int32(23)))


@njit(forceinline=True, error_model="numpy")
def exp(x: Any) -> Any:
    """e to the x; x is brought into -87.3 to 88."""
    n, r, p = _reduced(min(max(x, LOWEST), HIGHEST))
    return (_ONE + (r + p)) * _power_of_2(n)


@njit(forceinline=True, error_model="numpy")
def expm1(x: Any) -> Any:
    """exp(x) - 1, to full precision where x is small."""
    n, r, p = _reduced(min(max(x, LOWEST), HIGHEST))
    power = _power_of_2(n)
    return power * (r + p) + (power - _ONE)


@njit(forceinline=True, error_model="numpy")
def log1p(y: Any) -> Any:
    """log(1 + y) of a y >= 0, to full precision where y is small."""
    small = y < SQRT_2 - _ONE  # then 1 + y need not be formed
    raw = bits(_ONE + y)
    m = from_bits((raw & np.uint32(0x007FFFFF)) | np.uint32(0x3F000000))  # 0.5 to 1
    low = _F(m < SQRT_HALF)
    e = _F(np.int32(np.uint32(raw >> np.uint32(23)))) - _F(126) - low
    f = y if small else m + m * low - _ONE
    e = _ZERO if small else e
    z = f * f
    p = _F(7.0376836292e-2)
    p = p * f + _F(-1.1514610310e-1)
    p = p * f + _F(1.1676998740e-1)
    p = p * f + _F(-1.2420140846e-1)
    p = p * f + _F(1.4249322787e-1)
    p = p * f + _F(-1.6668057665e-1)
    p = p * f + _F(2.0000714765e-1)
    p = p * f + _F(-2.4999993993e-1)
    p = p * f + _F(3.3333331174e-1)
    tail = f * z * p + e * LN2_LOW - _HALF * z
    return (f + tail) + e * LN2_HIGH
