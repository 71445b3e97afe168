"""Inner loops of ANN training: rates of neurons with constant input and their gradient, as vector instructions.

The equations are those of `NeuronModel`; tests hold the two together. As in `kernels`, arrays are
float32, or bfloat16 seen as uint16, and arithmetic is float32. Nothing here branches on a value, calls a library or
lets the compiler approximate a division, so that the loops become vector code whose results do not depend on where in
an array a neuron lies. One thread each: Numba's own would wait for more to do on cores that TensorFlow needs.
"""

from __future__ import annotations

import numpy as np
from cotrain.pipeline.neurons.vectormath import exp, log1p
from cotrain.pipeline.training.unrolled.spikes import CHUNK, load, store
from numba import njit

_EXACT = {"contract", "nsz"}  # what fastmath may do to a value
_SUM = {"contract", "nsz", "reassoc"}  # and to a sum
_TINY = np.float32(1e-15)
_LOWEST = np.float32(-60)  # exp of it is a normal number, also when multiplied by a smoothing
_ZERO, _HALF, _ONE, _TWO = (np.float32(v) for v in (0, 0.5, 1, 2))


# Values and slopes: (x, c) -> in units of activation.


@njit(inline="always")
def _rectified(x, c):
    value = c.unit * c.dt * (c.gain * x + c.rest)
    return _ZERO if value < _ZERO else value


@njit(inline="always")
def _rectified_slope(x, c):
    return c.unit * c.dt * c.gain if c.gain * x + c.rest > _ZERO else _ZERO


@njit(inline="always")
def _chip_rectified(x, c):
    steps = (c.gain * x + c.rest) * c.dt  # spikes a step
    value = c.unit / np.ceil(_ONE / (_TINY if steps < _TINY else steps))
    return _ZERO if steps <= _ZERO else value


@njit(inline="always")
def _chip_rectified_slope(x, c):
    steps = (c.gain * x + c.rest) * c.dt
    falls = _ONE + _HALF * steps
    value = c.unit * c.dt * c.gain / (falls * falls)
    return _ZERO if steps <= _ZERO else value


@njit(inline="always")
def _hard_rho(above, c):
    """(rho, d rho / d J, what is to be added to log(1 + 1 / rho))."""
    low = above < _TINY
    return (_TINY if low else above), (_ZERO if low else _ONE), _ZERO


@njit(inline="always")
def _soft_rho(above, c):
    scaled = above / c.gamma
    size = abs(scaled)
    e = exp(_LOWEST if -size < _LOWEST else -size)
    rho = c.gamma * (log1p(e) + (_ZERO if scaled < _ZERO else scaled))
    rest = _LOWEST - scaled  # below _LOWEST, log(1 + 1 / rho) grows as -scaled
    return rho, (e if scaled < _ZERO else _ONE) / (_ONE + e), (_ZERO if rest < _ZERO else rest)


def _lif(rho_of):
    @njit(inline="always")
    def value(x, c):
        rho, _, rest = rho_of(c.gain * x + c.rest - _ONE, c)
        return c.unit * c.dt / (c.tau_ref + c.tau_rc * (log1p(_ONE / rho) + rest))

    return value


@njit(inline="always")
def _chip_lif(x, c):
    above = c.gain * x + c.rest - _ONE
    period = c.tau_ref + c.tau_rc * log1p(_ONE / (_TINY if above < _TINY else above))
    value = c.unit / np.ceil(period / c.dt)
    return _ZERO if above <= _ZERO else value


def _lif_slope(rho_of, late_steps):
    """Of the smooth rate with `late_steps` added to the period."""

    @njit(inline="always")
    def slope(x, c):
        rho, grows, rest = rho_of(c.gain * x + c.rest - _ONE, c)
        period = c.tau_ref + late_steps * c.dt + c.tau_rc * (log1p(_ONE / rho) + rest)
        return c.unit * c.dt * c.gain * c.tau_rc * grows / (rho * (_ONE + rho) * period * period)

    return slope


EQUATIONS = {  # (kind, on the chip, smoothed) -> value, slope
    ("rectified", True, False): (_chip_rectified, _chip_rectified_slope),
    ("rectified", False, False): (_rectified, _rectified_slope),
    ("lif", True, False): (_chip_lif, _lif_slope(_hard_rho, _HALF)),
    ("lif", True, True): (_chip_lif, _lif_slope(_soft_rho, _HALF)),
    ("lif", False, False): (_lif(_hard_rho), _lif_slope(_hard_rho, _ZERO)),
    ("lif", False, True): (_lif(_soft_rho), _lif_slope(_soft_rho, _ZERO)),
}


@njit(inline="always")
def outside(value, low, high):
    """Signed distance from the range [low, high]."""
    above, below = value - high, low - value
    return (above if above > _ZERO else _ZERO) - (below if below > _ZERO else _ZERO)


@njit(fastmath=_SUM, error_model="numpy")
def _sums(values, low, high):
    total, squares = _ZERO, _ZERO
    for i in range(values.shape[0]):
        value = load(values, i)
        distance = outside(value, low, high)
        total += value
        squares += distance * distance
    return total, squares


def forward(kind: str, on_chip: bool, smoothed: bool):
    """``run(x, c, low, high, outputs)``: activations.

    x (n,) in units of activation. Written: outputs (n,). Returned: (2,) float32, the sums of all outputs and of their
    squared distances from the range [low, high].
    """
    value, _ = EQUATIONS[kind, on_chip, smoothed]

    @njit(fastmath=_EXACT, error_model="numpy")
    def run(x, c, low, high, outputs):
        total, squares = 0.0, 0.0  # float64
        for first in range(0, x.shape[0], CHUNK):
            last = min(first + CHUNK, x.shape[0])
            came, out = x[first:last], outputs[first:last]
            for i in range(last - first):
                x_i = load(came, i)
                store(out, i, value(x_i, c) + (x_i - x_i))  # 0, or NaN, which log1p does not pass on
            of_chunk = _sums(out, low, high)  # still in the first-level cache
            total += of_chunk[0]
            squares += of_chunk[1]
        return np.array([total, squares], np.float32)

    return run


def backward(kind: str, on_chip: bool, smoothed: bool):
    """``run(d_outputs, d_sums, x, outputs, c, low, high, d_x)``: the gradient of `forward`, d_x (n,), is written."""
    _, slope = EQUATIONS[kind, on_chip, smoothed]

    @njit(fastmath=_EXACT, error_model="numpy")
    def run(d_outputs, d_sums, x, outputs, c, low, high, d_x):
        d_total, d_squares = d_sums[0], _TWO * d_sums[1]
        if d_squares == _ZERO:
            for i in range(x.shape[0]):
                store(d_x, i, (load(d_outputs, i) + d_total) * slope(load(x, i), c))
        else:
            for i in range(x.shape[0]):
                d = load(d_outputs, i) + d_total + d_squares * outside(load(outputs, i), low, high)
                store(d_x, i, d * slope(load(x, i), c))

    return run
