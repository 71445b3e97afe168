"""Leaky integrate-and-fire: all there is to it.

Dynamics: tau_rc dv/dt = J - v where the neuron is not refractory; a spike where v passes 1, then tau_ref of silence.
The chip's fires when v > 1 at the end of a step; it rounds a decay to 12 bits and tau_ref to steps.

Rate under a constant J: r = 1 / (tau_ref + tau_rc log(1 + 1 / (J - 1))) for J > 1; on the chip the interval is a whole
number of steps. Smooth, for gradients: r = 1 / (tau_ref + tau_rc log(1 + 1 / rho(J - 1))),
rho(x) = gamma log(1 + exp(x / gamma)) (Hunsberger and Eliasmith 2015), on the chip with half a step added to the
period, the mean of what rounding up adds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nengo
import numpy as np
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.pipeline.compat import import_nengo_dl, import_tensorflow
from cotrain.pipeline.neurons.kernel_parts import HALF, LOWEST, ONE, TINY, ZERO, rate_kernel, step_kernel
from cotrain.pipeline.neurons.vectormath import exp, expm1, log1p
from nengo.params import NumberParam

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor
    from cotrain.pipeline.neurons.nengo_types import NeuronModel

tf = import_tensorflow()
nengo_dl = import_nengo_dl()
loihi = import_nengo_loihi("neurons")

STATES = ("voltage", "refractory_time")
# what a `NeuronModel` takes from Nengo's neuron types, of spiking ones too
PER_NEURON = {"tau_rc_s": ("tau_rc",), "tau_ref_s": ("tau_ref",), "smoothing": ("smoothing", 0.0)}
PER_SPIKING_NEURON = {"min_voltage": ("min_voltage",)}

# ----------------------------------------------------------------------------------------------
# Equations of tensors


def step(model: NeuronModel, current: Tensor, voltage: Tensor, refractory_time: Tensor) -> tuple[Tensor, ...]:
    """One time step: (number of spikes, voltage, refractory time)."""
    # NengoDL keeps refractory_time so that the neuron is active for the rest of the step
    tau_rc, tau_ref = _constants(model, current.dtype)
    dt = tf.constant(model.dt_s, current.dtype)
    delta_t = tf.clip_by_value(dt - refractory_time, 0, dt)
    voltage += (voltage - current) * tf.math.expm1(-delta_t / tau_rc)
    spiked = voltage > 1
    if model.on_chip:
        refractory = tau_ref + tf.zeros_like(voltage)
    else:  # the spike came within the step, where the voltage crossed 1
        refractory = tau_ref + tau_rc * tf.math.log1p((1 - voltage) / (current - 1))
    refractory_time = tf.where(spiked, refractory, refractory_time - dt)
    voltage = tf.where(
        spiked,
        tf.zeros_like(voltage),
        tf.maximum(voltage, tf.cast(model.min_voltage, voltage.dtype)),
    )
    return tf.cast(spiked, current.dtype), voltage, refractory_time


def chip_period(model: NeuronModel, current: Tensor) -> tuple[Tensor, Tensor]:
    """(interval between spikes in s before it is rounded up, what has to be above 0 for a spike)."""
    tau_rc, tau_ref = _constants(model, current.dtype)
    above = current - 1
    return tau_ref + tau_rc * tf.math.log1p(1 / tf.maximum(above, _tiny(current))), above


def smooth_rate(model: NeuronModel, current: Tensor, half_step: float) -> Tensor:
    """Hz, with `half_step` added to the period."""
    tau_rc, tau_ref = _constants(model, current.dtype)
    return 1 / (tau_ref + half_step + tau_rc * _log_one_plus_inverse(model, current - 1))


def _log_one_plus_inverse(model, above):
    """log(1 + 1 / rho(above)), without overflow; huge where a hard curve is silent."""
    if not np.any(model.smoothing):
        return tf.math.log1p(1 / tf.maximum(above, _tiny(above)))
    gamma = tf.constant(model.smoothing, above.dtype)
    scaled = above / gamma
    # far below threshold rho(x) = gamma exp(x / gamma) underflows, and log(1 + 1 / rho) = -x / gamma - log(gamma)
    near = scaled > -20
    rho = tf.nn.softplus(tf.where(near, scaled, tf.zeros_like(scaled))) * gamma
    return tf.where(near, tf.math.log1p(1 / rho), -scaled - tf.math.log(gamma))


def _constants(model, dtype):
    return tuple(tf.constant(value, dtype) for value in model.constants())


def _tiny(tensor):
    return tf.constant(1e-15, tensor.dtype)


# ----------------------------------------------------------------------------------------------
# Equations of one neuron in a loop. Steps: (J, v, refractory, c) -> (spikes, v, refractory)


@step_kernel
def _voltage(current, v, refractory, c):
    active = min(max(c.dt - refractory, ZERO), c.dt)
    return v + (v - current) * expm1(-active / c.tau_rc)


@step_kernel
def _chip_step(current, v, refractory, c):
    v = _voltage(current, v, refractory, c)
    fired = v > ONE
    left = c.tau_ref if fired else refractory - c.dt
    return (ONE if fired else ZERO), (ZERO if fired else max(v, c.min_voltage)), left


@step_kernel
def _step(current, v, refractory, c):
    v = _voltage(current, v, refractory, c)
    fired = v > ONE
    over = log1p(max(v - ONE, ZERO) / max(current - v, TINY))  # time since the threshold, in tau_rc
    left = c.tau_ref - c.tau_rc * over if fired else refractory - c.dt
    return (ONE if fired else ZERO), (ZERO if fired else max(v, c.min_voltage)), left


# The smooth curve, once for both trainers


@rate_kernel
def _hard_rho(above, c):
    """(rho, d rho / d J, what is to be added to log(1 + 1 / rho))."""
    low = above < TINY
    return (TINY if low else above), (ZERO if low else ONE), ZERO


@rate_kernel
def _soft_rho(above, c):
    scaled = above / c.gamma
    size = abs(scaled)
    e = exp(LOWEST if -size < LOWEST else -size)
    rho = c.gamma * (log1p(e) + (ZERO if scaled < ZERO else scaled))
    rest = LOWEST - scaled  # below LOWEST, log(1 + 1 / rho) grows as -scaled
    return rho, (e if scaled < ZERO else ONE) / (ONE + e), (ZERO if rest < ZERO else rest)


def _smooth_rate(rho_of):
    @rate_kernel
    def value(x, c):
        rho, _, rest = rho_of(c.gain * x + c.rest - ONE, c)
        return c.unit * c.dt / (c.tau_ref + c.tau_rc * (log1p(ONE / rho) + rest))

    return value


def _smooth_slope(rho_of, late_steps):
    """dr/dJ times `scale`, of the smooth rate with `late_steps` added to the period."""

    @rate_kernel
    def slope(current, scale, c):
        rho, grows, rest = rho_of(current - ONE, c)
        period = c.tau_ref + late_steps * c.dt + c.tau_rc * (log1p(ONE / rho) + rest)
        return scale * c.tau_rc * grows / (rho * (ONE + rho) * period * period)

    return slope


def _slope(rho_of, late_steps):
    """dr/dJ: (J, c)."""
    smooth = _smooth_slope(rho_of, late_steps)
    return step_kernel(lambda current, c: smooth(current, ONE, c))


def _rate_slope(rho_of, late_steps):
    """Slope of a rate in units of activation: (x, c)."""
    smooth = _smooth_slope(rho_of, late_steps)
    return rate_kernel(lambda x, c: smooth(c.gain * x + c.rest, c.unit * c.dt * c.gain, c))


@rate_kernel
def _chip_rate(x, c):
    above = c.gain * x + c.rest - ONE
    period = c.tau_ref + c.tau_rc * log1p(ONE / (TINY if above < TINY else above))
    value = c.unit / np.ceil(period / c.dt)
    return ZERO if above <= ZERO else value


SPIKES = {  # (on the chip, smoothed) -> step, slope
    (True, False): (_chip_step, _slope(_hard_rho, HALF)),
    (True, True): (_chip_step, _slope(_soft_rho, HALF)),
    (False, False): (_step, _slope(_hard_rho, ZERO)),
    (False, True): (_step, _slope(_soft_rho, ZERO)),
}
RATES = {  # -> value, slope
    (True, False): (_chip_rate, _rate_slope(_hard_rho, HALF)),
    (True, True): (_chip_rate, _rate_slope(_soft_rho, HALF)),
    (False, False): (_smooth_rate(_hard_rho), _rate_slope(_hard_rho, ZERO)),
    (False, True): (_smooth_rate(_soft_rho), _rate_slope(_soft_rho, ZERO)),
}

# ----------------------------------------------------------------------------------------------
# Nengo's neuron types that train


class HybridLIF(nengo.LIF):
    """`nengo.LIF` whose gradient in NengoDL is that of the soft LIF rate.

    Parameters
    ----------
    smoothing : float
        gamma of the soft LIF; 0 takes the hard curve's gradient.
    **lif_args
        As for `nengo.LIF`.
    """

    smoothing = NumberParam("smoothing", low=0)

    def __init__(self, smoothing: float = 0.0, **lif_args: Any):
        super().__init__(**lif_args)
        self.smoothing = smoothing


class HybridLoihiLIF(loihi.LoihiLIF):  # type: ignore[name-defined]
    """nengo-loihi's `LoihiLIF` with the gradient of the soft LIF rate near the chip's rate curve.

    Parameters
    ----------
    smoothing : float
        gamma of the soft LIF; 0 takes the hard curve's gradient.
    **lif_args
        As for `loihi.LoihiLIF`.
    """

    smoothing = NumberParam("smoothing", low=0)

    def __init__(self, smoothing: float = 0.0, **lif_args: Any):
        super().__init__(**lif_args)
        self.smoothing = smoothing


class LoihiLIFRate(nengo.LIFRate):
    """The rates of `LoihiLIF`, with the gradient of a smooth curve near them.

    Parameters
    ----------
    smoothing : float
        gamma of the soft LIF; 0 takes the hard curve's gradient.
    **lif_args
        As for `nengo.LIFRate`.
    """

    smoothing = NumberParam("smoothing", low=0)

    def __init__(self, smoothing: float = 0.0, **lif_args: Any):
        super().__init__(**lif_args)
        self.smoothing = smoothing

    def step(self, dt: float, J: np.ndarray, output: np.ndarray) -> None:
        output[...] = loihi.loihi_lif_rates(self, J[np.newaxis], np.ones_like(J), np.zeros_like(J), dt)


TYPES = {  # (on the chip, phase)
    (False, "ann"): nengo_dl.SoftLIFRate,
    (False, "hybrid"): HybridLIF,
    (True, "ann"): LoihiLIFRate,
    (True, "hybrid"): HybridLoihiLIF,
}
CHIP_TYPE = loihi.LoihiLIF


def arguments(neuron_class: type, smoothing: float, lif: dict) -> dict:
    """What a type of `TYPES` is made with."""
    return {"sigma" if neuron_class is nengo_dl.SoftLIFRate else "smoothing": smoothing, **lif}
