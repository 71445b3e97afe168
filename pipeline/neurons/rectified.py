"""Integrate-and-fire ("rectified linear"): all there is to it.

Dynamics: dv/dt = J; a spike where v passes 1. Nengo's fires several times in a step and keeps what is left over; the
chip's fires once at most, when v > 1, is set to 0, and does not fall below 0.

Rate under a constant J: r = max(J, 0) Hz; on the chip the interval between spikes is a whole number of steps,
r = 1 / (dt ceil(1 / (J dt))). Smooth, for gradients: the period with half a step added, the mean of what rounding up
adds: r = J / (1 + J dt / 2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import nengo
import numpy as np
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.pipeline.compat import import_tensorflow
from cotrain.pipeline.neurons.kernel_parts import HALF, ONE, TINY, TWO, ZERO, rate_kernel, step_kernel

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor
    from cotrain.pipeline.neurons.nengo_types import NeuronModel

tf = import_tensorflow()
loihi = import_nengo_loihi("neurons")

FOUR, SIX, TWELVE = (np.float32(v) for v in (4, 6, 12))
SERIES = np.float32(0.1)  # below it the exponential's difference has no digits left
DRIFT_MOST = np.float32(40)  # exp(40)^2 is a float32

STATES = ("voltage",)
PER_NEURON: dict[str, tuple] = {}  # what a `NeuronModel` takes from Nengo's neuron types, of spiking ones too
PER_SPIKING_NEURON: dict[str, tuple] = {}

# ----------------------------------------------------------------------------------------------
# Equations of tensors


def step(model: NeuronModel, current: Tensor, voltage: Tensor) -> tuple[Tensor, ...]:
    """One time step: (number of spikes, voltage)."""
    dt = tf.constant(model.dt_s, current.dtype)
    if model.on_chip:
        voltage += current * dt
        spiked = voltage > 1
        voltage = tf.where(spiked, tf.zeros_like(voltage), tf.maximum(voltage, 0))
        return tf.cast(spiked, current.dtype), voltage
    voltage += tf.nn.relu(current) * dt
    n_spikes = tf.floor(voltage)  # several a step above 1 / dt
    return n_spikes, voltage - n_spikes


def chip_period(model: NeuronModel, current: Tensor) -> tuple[Tensor, Tensor]:
    """(interval between spikes in s before it is rounded up, what has to be above 0 for a spike)."""
    return 1 / tf.maximum(current, tf.constant(1e-15, current.dtype)), current


def smooth_rate(model: NeuronModel, current: Tensor, half_step: float) -> Tensor:
    """Hz, with `half_step` added to the period."""
    rectified = tf.nn.relu(current)
    return rectified / (1 + half_step * rectified)


def drift_slope(model: NeuronModel, mean: Tensor, variance: Tensor) -> Tensor:
    """dr/dJ of the chip's neuron under a current of that mean and variance; see `_chip_drift_slope`."""
    m, s2 = mean * model.dt_s, variance * model.dt_s**2
    a = 2 * m / tf.maximum(s2, 1e-12)
    steady = tf.where(m > 0, 1 / (1 + tf.nn.relu(m) / 2) ** 2, 0)
    series = (1 / 6 - a / 12) / (1 / 2 - a / 6 + s2 / 4) ** 2
    safe = tf.where(tf.abs(a) < SERIES, 1.0, tf.clip_by_value(a, -DRIFT_MOST, DRIFT_MOST))
    share = (1 - tf.exp(-safe)) / safe
    fluctuating = (1 + tf.exp(-safe) - 2 * share) / (1 - share + m / 2) ** 2
    return tf.where(s2 * DRIFT_MOST <= 2 * tf.abs(m), steady, tf.where(tf.abs(a) < SERIES, series, fluctuating))


# ----------------------------------------------------------------------------------------------
# Equations of one neuron in a loop. Steps: (J, v, refractory, c) -> (spikes, v, refractory); slopes: dr/dJ


@step_kernel
def _chip_step(current, v, refractory, c):
    v += current * c.dt
    if v > ONE:
        return ONE, ZERO, refractory
    return ZERO, max(v, ZERO), refractory


@step_kernel
def _step(current, v, refractory, c):
    v += max(current, ZERO) * c.dt
    n_spikes = np.float32(math.floor(v))
    return n_spikes, v - n_spikes, refractory


@step_kernel
def _slope(current, c):
    return ONE if current > ZERO else ZERO


@step_kernel
def _chip_slope(current, c):
    if current <= ZERO:
        return ZERO
    falls = ONE / (ONE + np.float32(0.5) * c.dt * current)
    return falls * falls


@step_kernel
def _chip_drift_slope(mean, variance, c):
    """dr/dJ of the chip's neuron under a current that fluctuates, in the same unit as `_chip_slope`.

    To first order its voltage is a Brownian motion with drift m = mean dt and variance s2 = variance dt^2 a step,
    reflected at 0. It reaches 1 after T = (1 - (1 - exp(-a)) / a) / m steps on average, with a = 2 m / s2 (Darling and
    Siegert 1953), and half a step is added as in `_chip_slope`. The slope of 1 / (T + 1/2) is what is returned: also
    above 0 where the mean current is below it, because there neurons fire that did not without fluctuations.
    """
    m, s2 = mean * c.dt, variance * c.dt * c.dt
    if s2 * DRIFT_MOST <= TWO * abs(m):  # hardly any fluctuations
        return _chip_slope(mean, c)
    a = TWO * m / s2
    if abs(a) < SERIES:
        part = HALF - a / SIX + s2 / FOUR
        return (ONE / SIX - a / TWELVE) / (part * part)
    e = np.exp(-a)
    share = (ONE - e) / a
    part = ONE - share + HALF * m
    return (ONE + e - TWO * share) / (part * part)


# Rates and their slopes: (x, c) -> in units of activation


@rate_kernel
def _rate(x, c):
    value = c.unit * c.dt * (c.gain * x + c.rest)
    return ZERO if value < ZERO else value


@rate_kernel
def _rate_slope(x, c):
    return c.unit * c.dt * c.gain if c.gain * x + c.rest > ZERO else ZERO


@rate_kernel
def _chip_rate(x, c):
    steps = (c.gain * x + c.rest) * c.dt  # spikes a step
    value = c.unit / np.ceil(ONE / (TINY if steps < TINY else steps))
    return ZERO if steps <= ZERO else value


@rate_kernel
def _chip_rate_slope(x, c):
    steps = (c.gain * x + c.rest) * c.dt
    falls = ONE + HALF * steps
    value = c.unit * c.dt * c.gain / (falls * falls)
    return ZERO if steps <= ZERO else value


SPIKES = {(True, False): (_chip_step, _chip_slope), (False, False): (_step, _slope)}  # (on the chip, smoothed)
DRIFT_SLOPES = {(True, False): _chip_drift_slope}  # of a mean and a variance
RATES = {(True, False): (_chip_rate, _chip_rate_slope), (False, False): (_rate, _rate_slope)}

# ----------------------------------------------------------------------------------------------
# Nengo's neuron types that train


class HybridRectified(nengo.SpikingRectifiedLinear):
    """`nengo.SpikingRectifiedLinear` whose gradient in NengoDL is that of `nengo.RectifiedLinear`."""


class HybridLoihiRectified(loihi.LoihiSpikingRectifiedLinear):  # type: ignore[name-defined]
    """nengo-loihi's `LoihiSpikingRectifiedLinear` with the gradient of a smooth curve near the chip's."""


class LoihiRectifiedRate(nengo.RectifiedLinear):
    """The rates of `LoihiSpikingRectifiedLinear`, with the gradient of a smooth curve near them."""

    def step(self, dt: float, J: np.ndarray, output: np.ndarray) -> None:
        output[...] = loihi.loihi_spikingrectifiedlinear_rates(
            self, J[np.newaxis], np.ones_like(J), np.zeros_like(J), dt
        )


TYPES = {  # (on the chip, phase)
    (False, "ann"): nengo.RectifiedLinear,
    (False, "hybrid"): HybridRectified,
    (True, "ann"): LoihiRectifiedRate,
    (True, "hybrid"): HybridLoihiRectified,
}
CHIP_TYPE = loihi.LoihiSpikingRectifiedLinear


def arguments(neuron_class: type, smoothing: float, lif: dict) -> dict:
    """What a type of `TYPES` is made with."""
    return {"amplitude": lif["amplitude"]}
