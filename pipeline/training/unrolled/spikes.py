"""Inner loops of the layer-by-layer trainer: what each neuron does with its current, over all time steps in one pass.

The equations are those of `NeuronModel`, one neuron and one step at a time; tests hold the two
together. Arrays are float32, or bfloat16 seen as uint16: arithmetic is float32 in either case.

An input x is in units of activation, the current is J = gain x + rest, and a spike counts ``unit`` = amplitude / dt
activations (pipeline.neurons.nengo_types.phases).
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np
from cotrain.pipeline.neurons.vectormath import bits, exp, expm1, from_bits, log1p
from numba import njit, prange, types
from numba.extending import overload

# of one layer; keep: what a Lowpass keeps of its state in a step, 0 for no filter
Constants = namedtuple("Constants", "gain rest unit keep dt tau_rc tau_ref gamma min_voltage")

CHUNK = 2048  # neurons that one thread takes through all steps: their state stays in the first-level cache
_TINY, _FAR = np.float32(1e-15), np.float32(-20)
_ZERO, _ONE = np.float32(0), np.float32(1)


def load(array, i):
    """Element i as float32."""


def store(array, i, value):
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


# Steps: (J, v, refractory, c) -> (spikes, v, refractory). Slopes: dr/dJ of the smooth rate.


@njit(inline="always", fastmath=True, error_model="numpy")
def _chip_rectified_step(current, v, refractory, c):
    v += current * c.dt
    if v > _ONE:
        return _ONE, _ZERO, refractory
    return _ZERO, max(v, _ZERO), refractory


@njit(inline="always", fastmath=True, error_model="numpy")
def _rectified_step(current, v, refractory, c):
    v += max(current, _ZERO) * c.dt
    n_spikes = np.float32(math.floor(v))
    return n_spikes, v - n_spikes, refractory


@njit(inline="always", fastmath=True, error_model="numpy")
def _lif_voltage(current, v, refractory, c):
    active = min(max(c.dt - refractory, _ZERO), c.dt)
    return v + (v - current) * expm1(-active / c.tau_rc)


@njit(inline="always", fastmath=True, error_model="numpy")
def _chip_lif_step(current, v, refractory, c):
    v = _lif_voltage(current, v, refractory, c)
    fired = v > _ONE
    left = c.tau_ref if fired else refractory - c.dt
    return (_ONE if fired else _ZERO), (_ZERO if fired else max(v, c.min_voltage)), left


@njit(inline="always", fastmath=True, error_model="numpy")
def _lif_step(current, v, refractory, c):
    v = _lif_voltage(current, v, refractory, c)
    fired = v > _ONE
    over = log1p(max(v - _ONE, _ZERO) / max(current - v, _TINY))  # time since the threshold, in tau_rc
    left = c.tau_ref - c.tau_rc * over if fired else refractory - c.dt
    return (_ONE if fired else _ZERO), (_ZERO if fired else max(v, c.min_voltage)), left


# No branches in what follows, so that loops over neurons are vectorised: (rate, slope) of a LIF neuron with
# `extra_period` added to its period.


@njit(inline="always", fastmath=True, error_model="numpy")
def _hard_lif(current, extra_period, c):
    above = current - _ONE
    rho = max(above, _TINY)
    rate = _ONE / (c.tau_ref + extra_period + c.tau_rc * log1p(_ONE / rho))
    return rate, (rate * rate * c.tau_rc / (rho * (_ONE + rho)) if above > _TINY else _ZERO)


@njit(inline="always", fastmath=True, error_model="numpy")
def _soft_lif(current, extra_period, c):
    scaled = (current - _ONE) / c.gamma
    far = scaled <= _FAR  # rho underflows; log(1 + 1 / rho) = -scaled - log(gamma)
    x = max(scaled, _FAR)
    rho = c.gamma * (max(x, _ZERO) + log1p(exp(min(x, -x))))
    log_gamma = log1p(max(c.gamma, _ONE) - _ONE) - log1p(_ONE / min(c.gamma, _ONE) - _ONE)
    log_far, log_near = -(scaled + log_gamma), log1p(_ONE / rho)
    falls_far, falls_near = _ONE / c.gamma, _ONE / ((_ONE + exp(-x)) * rho * (_ONE + rho))
    rate = _ONE / (c.tau_ref + extra_period + c.tau_rc * (log_far if far else log_near))
    return rate, rate * rate * c.tau_rc * (falls_far if far else falls_near)


@njit(inline="always", fastmath=True, error_model="numpy")
def _hard_lif_slope(current, c):
    return _hard_lif(current, _ZERO, c)[1]


@njit(inline="always", fastmath=True, error_model="numpy")
def _soft_lif_slope(current, c):
    return _soft_lif(current, _ZERO, c)[1]


@njit(inline="always", fastmath=True, error_model="numpy")
def _chip_hard_lif_slope(current, c):
    return _hard_lif(current, np.float32(0.5) * c.dt, c)[1]


@njit(inline="always", fastmath=True, error_model="numpy")
def _chip_soft_lif_slope(current, c):
    return _soft_lif(current, np.float32(0.5) * c.dt, c)[1]


@njit(inline="always", fastmath=True, error_model="numpy")
def _rectified_slope(current, c):
    return _ONE if current > _ZERO else _ZERO


@njit(inline="always", fastmath=True, error_model="numpy")
def _chip_rectified_slope(current, c):
    if current <= _ZERO:
        return _ZERO
    falls = _ONE / (_ONE + np.float32(0.5) * c.dt * current)
    return falls * falls


EQUATIONS = {  # (kind, on the chip, smoothed) -> step, slope
    ("rectified", True, False): (_chip_rectified_step, _chip_rectified_slope),
    ("rectified", False, False): (_rectified_step, _rectified_slope),
    ("lif", True, False): (_chip_lif_step, _chip_hard_lif_slope),
    ("lif", True, True): (_chip_lif_step, _chip_soft_lif_slope),
    ("lif", False, False): (_lif_step, _hard_lif_slope),
    ("lif", False, True): (_lif_step, _soft_lif_slope),
}


def spike_kernel(kind: str, on_chip: bool, smoothed: bool):
    """``run(currents, bias, weights, c, outputs, slopes, means)``: one layer over time.

    currents (n_steps, n), or (1, n) for an input that is constant and not filtered; bias (n,); both in units of
    activation. Written: outputs (n_steps, n), slopes d output / d x (n_steps, n), and means (2, n), which are
    weights (2, n_steps) times outputs. `smoothed`: whether ``c.gamma`` is above 0.
    """
    step, slope = EQUATIONS[kind, on_chip, smoothed]

    @njit(parallel=True, fastmath=True, error_model="numpy")
    def run(currents, bias, weights, c, outputs, slopes, means):
        n_steps, n_all = outputs.shape
        constant = currents.shape[0] == 1
        delay = 1 if c.keep > _ZERO else 0  # Nengo's Lowpass gives what came in until the step before
        inflow = _ONE - c.keep
        scale = c.unit * c.dt * c.gain  # of the slope: amplitude times gain
        for chunk in prange((n_all + CHUNK - 1) // CHUNK):
            first = chunk * CHUNK
            n = min(CHUNK, n_all - first)
            u, v = np.zeros(n, np.float32), np.zeros(n, np.float32)
            refractory, total = np.zeros(n, np.float32), np.zeros((2, n), np.float32)
            current = np.empty(n, np.float32)
            b = bias[first : first + n]
            for t in range(n_steps):
                if constant:
                    if t == 0:
                        row = currents[0, first : first + n]
                        for i in range(n):
                            u[i] = load(row, i)
                elif t >= delay:
                    row = currents[t - delay, first : first + n]
                    for i in range(n):
                        u[i] = c.keep * u[i] + inflow * load(row, i)
                out, der = outputs[t, first : first + n], slopes[t, first : first + n]
                for i in range(n):  # two loops, because the compiler vectorises two short ones and not one long one
                    current[i] = c.gain * (u[i] + b[i]) + c.rest
                    spikes, v[i], refractory[i] = step(current[i], v[i], refractory[i], c)
                    value = spikes * c.unit
                    total[0, i] += weights[0, t] * value
                    total[1, i] += weights[1, t] * value
                    store(out, i, value)
                for i in range(n):
                    store(der, i, scale * slope(current[i], c))
            means[:, first : first + n] = total

    return run


@njit(parallel=True, fastmath=True, error_model="numpy")
def spike_gradient(d_outputs, d_means, weights, slopes, keep, d_currents, d_bias):
    """The transpose of `spike_kernel`: through the slopes, then backwards through the Lowpass.

    d_outputs (n_steps, n) and d_means (2, n) come in; written: d_currents (n_steps, n), or (0, n) where the input is
    constant, and d_bias (n,).
    """
    n_steps, n_all = slopes.shape
    delay = 1 if keep > _ZERO else 0
    inflow = _ONE - keep
    for chunk in prange((n_all + CHUNK - 1) // CHUNK):
        first = chunk * CHUNK
        n = min(CHUNK, n_all - first)
        du, db = np.zeros(n, np.float32), np.zeros(n, np.float32)
        for t in range(n_steps - 1, -1, -1):
            der, dout = slopes[t, first : first + n], d_outputs[t, first : first + n]
            for i in range(n):
                dmean = weights[0, t] * d_means[0, first + i] + weights[1, t] * d_means[1, first + i]
                dx = (load(dout, i) + dmean) * load(der, i)
                db[i] += dx
                du[i] = dx + keep * du[i]
            if d_currents.shape[0] and t >= delay:
                row = d_currents[t - delay, first : first + n]
                for i in range(n):
                    store(row, i, inflow * du[i])
        if d_currents.shape[0] and delay:
            row = d_currents[n_steps - 1, first : first + n]
            for i in range(n):  # what comes in last comes too late to count
                store(row, i, _ZERO)
        d_bias[first : first + n] = db
