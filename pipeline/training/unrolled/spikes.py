"""Inner loops of the layer-by-layer trainer: what each neuron does with its current, over all time steps in one pass.

What one neuron does in one step stands in the module of its kind (`pipeline.neurons`); tests hold it to the equations
of tensors there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from cotrain.hardware.emulator.compiled import njit
from cotrain.pipeline.neurons.kernel_parts import ONE as _ONE
from cotrain.pipeline.neurons.kernel_parts import ZERO as _ZERO
from cotrain.pipeline.neurons.kernel_parts import Constants, load, store
from cotrain.pipeline.neurons.nengo_types import KINDS, kernel_sources
from numba import prange

__all__ = ["CHUNK", "Constants", "load", "spike_gradient", "spike_kernel", "store"]

CHUNK = 2048  # neurons that one thread takes through all steps: their state stays in the first-level cache


@functools.cache
def spike_kernel(kind: str, on_chip: bool, smoothed: bool, drift: bool = False) -> Callable:
    """``run(currents, bias, lift, weights, c, outputs, slopes, means)``: one layer over time.

    currents (n_steps, n), or (1, n) for an input that is constant and not filtered; bias (n,); lift (n_neurons,), which
    comes in once, with the first of the currents, in each of the n / n_neurons samples, or (0,); all in units of
    activation. Written: outputs (n_steps, n), slopes d output / d x (n_steps, n), and means (2, n), which are
    weights (2, n_steps) times outputs. `smoothed`: whether ``c.gamma`` is above 0. `drift`: there is one slope for
    all steps, slopes (1, n) float32, of the current's mean and variance over time, weighted by weights[1].
    """
    step, slope = KINDS[kind].SPIKES[on_chip, smoothed]
    drift_slope = KINDS[kind].DRIFT_SLOPES[on_chip, smoothed] if drift else None
    known_by = f"{kind} {on_chip} {smoothed} {drift} {kernel_sources()}"

    @njit(known_by, parallel=True, fastmath=True, error_model="numpy")
    def run(currents, bias, lift, weights, c, outputs, slopes, means):
        n_steps, n_all = outputs.shape
        constant = currents.shape[0] == 1
        delay = 1 if c.keep > _ZERO else 0  # Nengo's Lowpass gives what came in until the step before
        inflow = _ONE - c.keep
        scale = c.unit * c.dt * c.gain  # of the slope: amplitude times gain
        n_lifted = max(lift.size, 1)
        for chunk in prange((n_all + CHUNK - 1) // CHUNK):
            first = chunk * CHUNK
            n = min(CHUNK, n_all - first)
            u, v = np.zeros(n, np.float32), np.zeros(n, np.float32)
            refractory, total = np.zeros(n, np.float32), np.zeros((2, n), np.float32)
            current = np.empty(n, np.float32)
            moments = np.zeros((2, n if drift else 0), np.float32)
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
                if lift.size and t == (0 if constant else delay):
                    part = _ONE if constant else inflow
                    for i in range(n):
                        u[i] += part * lift[(first + i) % n_lifted]
                elif lift.size and constant and t == 1:
                    for i in range(n):
                        u[i] = load(currents[0, first : first + n], i)
                out = outputs[t, first : first + n]
                for i in range(n):  # two loops, because the compiler vectorises two short ones and not one long one
                    current[i] = c.gain * (u[i] + b[i]) + c.rest
                    spikes, v[i], refractory[i] = step(current[i], v[i], refractory[i], c)
                    value = spikes * c.unit
                    total[0, i] += weights[0, t] * value
                    total[1, i] += weights[1, t] * value
                    store(out, i, value)
                if drift:
                    w = weights[1, t]
                    for i in range(n):
                        moments[0, i] += w * current[i]
                        moments[1, i] += w * current[i] * current[i]
                else:
                    der = slopes[t, first : first + n]
                    for i in range(n):
                        store(der, i, scale * slope(current[i], c))
            if drift:
                der = slopes[0, first : first + n]
                for i in range(n):
                    mean = moments[0, i]
                    variance = max(moments[1, i] - mean * mean, _ZERO)
                    store(der, i, scale * drift_slope(mean, variance, c))
            means[:, first : first + n] = total

    return run


@njit(parallel=True, fastmath=True, error_model="numpy")
def spike_gradient(
    d_outputs: np.ndarray,
    d_means: np.ndarray,
    weights: np.ndarray,
    slopes: np.ndarray,
    keep: float,
    d_currents: np.ndarray,
    d_bias: np.ndarray,
) -> None:
    """The transpose of `spike_kernel`: through the slopes, then backwards through the Lowpass.

    d_outputs (n_steps, n), d_means (2, n) and slopes (n_steps or 1, n) come in; written: d_currents (n_steps, n), or
    (0, n) where the input is constant, and d_bias (n,).
    """
    n_steps, n_all = d_outputs.shape
    delay = 1 if keep > _ZERO else 0
    inflow = _ONE - keep
    for chunk in prange((n_all + CHUNK - 1) // CHUNK):
        first = chunk * CHUNK
        n = min(CHUNK, n_all - first)
        du, db = np.zeros(n, np.float32), np.zeros(n, np.float32)
        for t in range(n_steps - 1, -1, -1):
            der, dout = slopes[t if slopes.shape[0] > 1 else 0, first : first + n], d_outputs[t, first : first + n]
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
