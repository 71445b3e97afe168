"""Inner loops of the layer-by-layer trainer: what each neuron does with its current, over all time steps in one pass.

The equations are those of `pipeline.neurons.NeuronModel`, one neuron and one step at a time; tests hold the two
together. Arrays are float32, or bfloat16 seen as uint16: arithmetic is float32 in either case.

An input x is in units of activation, the current is J = gain x + rest, and a spike counts ``unit`` = amplitude / dt
activations (pipeline.networks.phases).
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic, overload

# of one layer; keep: what a Lowpass keeps of its state in a step, 0 for no filter
Constants = namedtuple("Constants", "gain rest unit keep dt tau_rc tau_ref gamma min_voltage")

CHUNK = 2048  # neurons that one thread takes through all steps: their state stays in the first-level cache
_TINY = np.float32(1e-15)
_ZERO, _ONE = np.float32(0), np.float32(1)


@intrinsic
def _bits(typing, x):
    """A float32 as its 32 bits."""
    return types.uint32(types.float32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
def _from_bits(typing, x):
    return types.float32(types.uint32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.FloatType())


def load(array, i):
    """Element i as float32."""


def store(array, i, value):
    """Write a float32, rounded to what the array holds."""


@overload(load, inline="always")
def _load(array, i):
    if array.dtype == types.uint16:  # a bfloat16 is the upper half of a float32
        return lambda array, i: _from_bits(np.uint32(array[i]) << np.uint32(16))
    return lambda array, i: array[i]


@overload(store, inline="always")
def _store(array, i, value):
    if array.dtype == types.uint16:

        def store_bfloat16(array, i, value):
            array[i] = np.uint16((_bits(np.float32(value)) + np.uint32(0x8000)) >> np.uint32(16))

        return store_bfloat16

    def store_float32(array, i, value):
        array[i] = value

    return store_float32


# Steps: (J, v, refractory, c) -> (spikes, v, refractory). Slopes: dr/dJ of the smooth rate. Rates: in Hz.


@njit(inline="always", fastmath=True)
def _chip_rectified_step(current, v, refractory, c):
    v += current * c.dt
    if v > _ONE:
        return _ONE, _ZERO, refractory
    return _ZERO, max(v, _ZERO), refractory


@njit(inline="always", fastmath=True)
def _rectified_step(current, v, refractory, c):
    v += max(current, _ZERO) * c.dt
    n_spikes = np.float32(math.floor(v))
    return n_spikes, v - n_spikes, refractory


@njit(inline="always", fastmath=True)
def _lif_voltage(current, v, refractory, c):
    active = min(max(c.dt - refractory, _ZERO), c.dt)
    return v + (v - current) * np.float32(math.expm1(-active / c.tau_rc))


@njit(inline="always", fastmath=True)
def _chip_lif_step(current, v, refractory, c):
    v = _lif_voltage(current, v, refractory, c)
    if v > _ONE:
        return _ONE, _ZERO, c.tau_ref
    return _ZERO, max(v, c.min_voltage), refractory - c.dt


@njit(inline="always", fastmath=True)
def _lif_step(current, v, refractory, c):
    v = _lif_voltage(current, v, refractory, c)
    if v > _ONE:
        return _ONE, _ZERO, c.tau_ref + c.tau_rc * np.float32(math.log1p((_ONE - v) / (current - _ONE)))
    return _ZERO, max(v, c.min_voltage), refractory - c.dt


@njit(inline="always", fastmath=True)
def _chip_rectified_rate(current, c):
    if current <= _ZERO:
        return _ZERO
    return _ONE / (c.dt * np.float32(math.ceil(_ONE / max(current, _TINY) / c.dt)))


@njit(inline="always", fastmath=True)
def _rectified_rate(current, c):
    return max(current, _ZERO)


@njit(inline="always", fastmath=True)
def _chip_lif_rate(current, c):
    if current <= _ONE:
        return _ZERO
    period = c.tau_ref + c.tau_rc * np.float32(math.log1p(_ONE / max(current - _ONE, _TINY)))
    return _ONE / (c.dt * np.float32(math.ceil(period / c.dt)))


@njit(inline="always", fastmath=True)
def _smooth_lif(current, extra_period, c):
    """(rate, slope) with `extra_period` added to the period."""
    above = current - _ONE
    if c.gamma == _ZERO:
        if above <= _TINY:
            return _ONE / (c.tau_ref + extra_period + c.tau_rc * np.float32(math.log1p(_ONE / _TINY))), _ZERO
        rho, slope = above, _ONE
    else:
        scaled = above / c.gamma
        if scaled <= np.float32(-20):  # rho underflows; log(1 + 1 / rho) = -scaled - log(gamma)
            rate = _ONE / (c.tau_ref + extra_period - c.tau_rc * (scaled + np.float32(math.log(c.gamma))))
            return rate, rate * rate * c.tau_rc / c.gamma
        rho = c.gamma * (max(scaled, _ZERO) + np.float32(math.log1p(math.exp(-abs(scaled)))))
        slope = _ONE / (_ONE + np.float32(math.exp(-scaled)))
    rate = _ONE / (c.tau_ref + extra_period + c.tau_rc * np.float32(math.log1p(_ONE / rho)))
    return rate, rate * rate * c.tau_rc * slope / (rho * (_ONE + rho))


@njit(inline="always", fastmath=True)
def _lif_rate(current, c):
    return _smooth_lif(current, _ZERO, c)[0]


@njit(inline="always", fastmath=True)
def _lif_slope(current, c):
    return _smooth_lif(current, _ZERO, c)[1]


@njit(inline="always", fastmath=True)
def _chip_lif_slope(current, c):
    return _smooth_lif(current, np.float32(0.5) * c.dt, c)[1]


@njit(inline="always", fastmath=True)
def _rectified_slope(current, c):
    return _ONE if current > _ZERO else _ZERO


@njit(inline="always", fastmath=True)
def _chip_rectified_slope(current, c):
    if current <= _ZERO:
        return _ZERO
    falls = _ONE / (_ONE + np.float32(0.5) * c.dt * current)
    return falls * falls


EQUATIONS = {  # (kind, on the chip) -> step, rate, slope
    ("rectified", True): (_chip_rectified_step, _chip_rectified_rate, _chip_rectified_slope),
    ("rectified", False): (_rectified_step, _rectified_rate, _rectified_slope),
    ("lif", True): (_chip_lif_step, _chip_lif_rate, _chip_lif_slope),
    ("lif", False): (_lif_step, _lif_rate, _lif_slope),
}


def spike_kernel(kind: str, on_chip: bool):
    """``run(currents, bias, weights, c, outputs, slopes, means)``: one layer over time.

    currents (n_steps, n), or (1, n) for an input that is constant and not filtered; bias (n,); both in units of
    activation. Written: outputs (n_steps, n), slopes d output / d x (n_steps, n), and means (2, n), which are
    weights (2, n_steps) times outputs.
    """
    step, _, slope = EQUATIONS[kind, on_chip]

    @njit(parallel=True, fastmath=True)
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
                for i in range(n):
                    current = c.gain * (u[i] + b[i]) + c.rest
                    spikes, v[i], refractory[i] = step(current, v[i], refractory[i], c)
                    value = spikes * c.unit
                    total[0, i] += weights[0, t] * value
                    total[1, i] += weights[1, t] * value
                    store(out, i, value)
                    store(der, i, scale * slope(current, c))
            means[:, first : first + n] = total

    return run


@njit(parallel=True, fastmath=True)
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


def rate_kernel(kind: str, on_chip: bool):
    """``run(x, c, outputs, slopes)``: rates (n,) and their slopes, in units of activation."""
    _, rate, slope = EQUATIONS[kind, on_chip]

    @njit(parallel=True, fastmath=True)
    def run(x, c, outputs, slopes):
        amplitude = c.unit * c.dt
        for chunk in prange((x.shape[0] + CHUNK - 1) // CHUNK):
            for i in range(chunk * CHUNK, min((chunk + 1) * CHUNK, x.shape[0])):
                current = c.gain * load(x, i) + c.rest
                store(outputs, i, amplitude * rate(current, c))
                store(slopes, i, amplitude * c.gain * slope(current, c))

    return run
