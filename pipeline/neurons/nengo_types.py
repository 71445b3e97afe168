"""Neurons for training: the equations as functions of tensors, and the neuron types that use them in NengoDL.

Two kinds of neuron, each with the ideal and with the chip's dynamics. `NeuronModel` holds them:

- `step`: one time step of the spiking dynamics;
- `rate`: the firing rate that these dynamics settle at under a constant current;
- `smooth_rate`: the nearest differentiable curve, whose slope stands in for the slope of `rate` and of `step`.

From these, two outputs are made. `rate_output` has the rate as its value (training of the ANN). `hybrid_output` has the
spikes of one step as its value (hybrid fine-tuning: "Joint ANN-SNN co-training for object localization and image
segmentation", ICASSP 2023). Both have the gradient of `smooth_rate`; states carry no gradient.

Currents J are in units of the threshold: a LIF neuron fires above J = 1, a rectified linear neuron at J Hz.
"""

from __future__ import annotations

from dataclasses import dataclass

import nengo
import numpy as np
from cotrain.pipeline.compat import import_nengo_dl, import_tensorflow
from nengo.dists import Choice
from nengo.params import NumberParam

tf = import_tensorflow()
nengo_dl = import_nengo_dl()

import nengo_loihi.neurons  # noqa: E402
from nengo_dl.neuron_builders import SimNeuronsBuilder, TFNeuronBuilder  # noqa: E402

AT_REST = {"voltage": Choice([0])}


@dataclass(frozen=True)
class NeuronModel:
    """The equations of one kind of neuron.

    Time constants are numbers, or arrays with one value per neuron.
    """

    kind: str  # "lif" or "rectified"
    on_chip: bool  # Loihi's dynamics: spikes when v > 1, at most once a step, resets to 0
    dt_s: float = 0.001
    tau_rc_s: float | np.ndarray = 0.02
    tau_ref_s: float | np.ndarray = 0.002
    smoothing: float | np.ndarray = 0.0  # gamma of the soft LIF; 0: the hard curve
    min_voltage: float | np.ndarray = 0.0

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("voltage", "refractory_time") if self.kind == "lif" else ("voltage",)

    def initial_state(self, shape) -> tuple[tf.Tensor, ...]:
        """States at rest."""
        return tuple(tf.zeros(shape) for _ in self.state_names)

    def step(self, current, *state):
        """One time step.

        Parameters
        ----------
        current : tf.Tensor
            J, (n_samples, n_neurons).
        *state : tf.Tensor
            In the order of `state_names`, shaped as `current`.

        Returns
        -------
        tuple of tf.Tensor
            Number of spikes, then the new states.
        """
        if self.kind == "lif":
            return self._lif_step(current, *state)
        return self._rectified_step(current, *state)

    def rate(self, current):
        """Firing rate in Hz under a constant `current`.

        On the chip the inter-spike interval is a whole number of steps: 1 / (dt ceil(period / dt)).
        """
        if not self.on_chip:
            return self.smooth_rate(current)
        if self.kind == "lif":
            tau_rc, tau_ref = self._constants(current.dtype)
            above = current - 1
            period = tau_ref + tau_rc * tf.math.log1p(1 / tf.maximum(above, _tiny(current)))
        else:
            above = current
            period = 1 / tf.maximum(current, _tiny(current))
        rate = 1 / (self.dt_s * tf.math.ceil(period / self.dt_s))
        return tf.where(above > 0, rate, tf.zeros_like(rate))

    def smooth_rate(self, current):
        """Differentiable firing rate in Hz.

        LIF: r(J) = 1 / (tau_ref + tau_rc log(1 + 1 / rho(J - 1))), rho(x) = gamma log(1 + exp(x / gamma))
        (Hunsberger and Eliasmith 2015). Rectified linear: r(J) = max(J, 0). On the chip half a step is added to the
        period, the mean of what rounding up to whole steps adds.
        """
        half_step = 0.5 * self.dt_s if self.on_chip else 0.0
        if self.kind == "rectified":
            rectified = tf.nn.relu(current)
            return rectified / (1 + half_step * rectified)
        tau_rc, tau_ref = self._constants(current.dtype)
        return 1 / (tau_ref + half_step + tau_rc * self._log_one_plus_inverse(current - 1))

    def _lif_step(self, current, voltage, refractory_time):
        # tau_rc dv/dt = J - v for the part of the step that is not refractory (NengoDL keeps refractory_time so)
        tau_rc, tau_ref = self._constants(current.dtype)
        dt = tf.constant(self.dt_s, current.dtype)
        delta_t = tf.clip_by_value(dt - refractory_time, 0, dt)
        voltage += (voltage - current) * tf.math.expm1(-delta_t / tau_rc)
        spiked = voltage > 1
        if self.on_chip:
            refractory = tau_ref + tf.zeros_like(voltage)
        else:  # the spike came within the step, where the voltage crossed 1
            refractory = tau_ref + tau_rc * tf.math.log1p((1 - voltage) / (current - 1))
        refractory_time = tf.where(spiked, refractory, refractory_time - dt)
        voltage = tf.where(
            spiked,
            tf.zeros_like(voltage),
            tf.maximum(voltage, tf.cast(self.min_voltage, voltage.dtype)),
        )
        return tf.cast(spiked, current.dtype), voltage, refractory_time

    def _rectified_step(self, current, voltage):
        dt = tf.constant(self.dt_s, current.dtype)
        if self.on_chip:
            voltage += current * dt
            spiked = voltage > 1
            voltage = tf.where(spiked, tf.zeros_like(voltage), tf.maximum(voltage, 0))
            return tf.cast(spiked, current.dtype), voltage
        voltage += tf.nn.relu(current) * dt
        n_spikes = tf.floor(voltage)  # several a step above 1 / dt
        return n_spikes, voltage - n_spikes

    def constants(self) -> tuple[np.ndarray, np.ndarray]:
        """tau_rc and tau_ref as the dynamics use them: the chip rounds a decay to 12 bits and tau_ref to steps."""
        tau_rc, tau_ref = np.asarray(self.tau_rc_s), np.asarray(self.tau_ref_s)
        if self.on_chip:
            tau_rc = nengo_loihi.neurons.discretize_tau_rc(tau_rc, self.dt_s)
            tau_ref = nengo_loihi.neurons.discretize_tau_ref(tau_ref, self.dt_s)
        return tau_rc, tau_ref

    def _constants(self, dtype):
        return tuple(tf.constant(value, dtype) for value in self.constants())

    def _log_one_plus_inverse(self, above):
        """log(1 + 1 / rho(above)), without overflow; huge where a hard curve is silent."""
        if not np.any(self.smoothing):
            return tf.math.log1p(1 / tf.maximum(above, _tiny(above)))
        gamma = tf.constant(self.smoothing, above.dtype)
        scaled = above / gamma
        # far below threshold rho(x) = gamma exp(x / gamma) underflows, and log(1 + 1 / rho) = -x / gamma - log(gamma)
        near = scaled > -20
        rho = tf.nn.softplus(tf.where(near, scaled, tf.zeros_like(scaled))) * gamma
        return tf.where(near, tf.math.log1p(1 / rho), -scaled - tf.math.log(gamma))


def rate_output(model: NeuronModel, current, amplitude=1.0):
    """Value: amplitude times `rate`. Gradient: of `smooth_rate`."""
    smooth = amplitude * model.smooth_rate(current)
    if not model.on_chip:
        return smooth
    return _with_gradient_of(amplitude * model.rate(current), smooth)


def hybrid_output(model: NeuronModel, current, state, amplitude=1.0):
    """One step of the spiking dynamics whose gradient is that of the rate.

    Returns
    -------
    output : tf.Tensor
        Value: amplitude / dt per spike, exactly. Gradient: of `smooth_rate`.
    state : tuple of tf.Tensor
        New states, without gradient.
    """
    n_spikes, *state = model.step(current, *state)
    output = n_spikes * (amplitude / tf.constant(model.dt_s, current.dtype))
    output = _with_gradient_of(output, amplitude * model.smooth_rate(current))
    return output, tuple(tf.stop_gradient(s) for s in state)


def _with_gradient_of(value, surrogate):
    """Exactly `value` (the second term is 0 in floating point), with the gradient of `surrogate`."""
    return tf.stop_gradient(value) + (surrogate - tf.stop_gradient(surrogate))


def _tiny(tensor):
    return tf.constant(1e-15, tensor.dtype)


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

    def __init__(self, smoothing=0.0, **lif_args):
        super().__init__(**lif_args)
        self.smoothing = smoothing


class HybridRectified(nengo.SpikingRectifiedLinear):
    """`nengo.SpikingRectifiedLinear` whose gradient in NengoDL is that of `nengo.RectifiedLinear`."""


class HybridLoihiLIF(nengo_loihi.neurons.LoihiLIF):
    """nengo-loihi's `LoihiLIF` with the gradient of the soft LIF rate near the chip's rate curve.

    Parameters
    ----------
    smoothing : float
        gamma of the soft LIF; 0 takes the hard curve's gradient.
    **lif_args
        As for `nengo_loihi.neurons.LoihiLIF`.
    """

    smoothing = NumberParam("smoothing", low=0)

    def __init__(self, smoothing=0.0, **lif_args):
        super().__init__(**lif_args)
        self.smoothing = smoothing


class HybridLoihiRectified(nengo_loihi.neurons.LoihiSpikingRectifiedLinear):
    """nengo-loihi's `LoihiSpikingRectifiedLinear` with the gradient of a smooth curve near the chip's."""


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

    def __init__(self, smoothing=0.0, **lif_args):
        super().__init__(**lif_args)
        self.smoothing = smoothing

    def step(self, dt, J, output):
        output[...] = nengo_loihi.neurons.loihi_lif_rates(self, J[np.newaxis], np.ones_like(J), np.zeros_like(J), dt)


class LoihiRectifiedRate(nengo.RectifiedLinear):
    """The rates of `LoihiSpikingRectifiedLinear`, with the gradient of a smooth curve near them."""

    def step(self, dt, J, output):
        output[...] = nengo_loihi.neurons.loihi_spikingrectifiedlinear_rates(
            self, J[np.newaxis], np.ones_like(J), np.zeros_like(J), dt
        )


# (kind, on the chip, phase) -> neuron type
TYPES = {
    ("lif", False, "ann"): nengo_dl.SoftLIFRate,
    ("lif", False, "hybrid"): HybridLIF,
    ("lif", True, "ann"): LoihiLIFRate,
    ("lif", True, "hybrid"): HybridLoihiLIF,
    ("rectified", False, "ann"): nengo.RectifiedLinear,
    ("rectified", False, "hybrid"): HybridRectified,
    ("rectified", True, "ann"): LoihiRectifiedRate,
    ("rectified", True, "hybrid"): HybridLoihiRectified,
}


def trainable_type(kind: str, on_chip: bool, phase: str, smoothing: float, lif: dict):
    """The neuron type of a phase that trains.

    Parameters
    ----------
    kind, on_chip, phase
        A key of `TYPES`.
    smoothing : float
        gamma of the soft LIF.
    lif : dict
        `tau_rc`, `tau_ref` and `amplitude`; the last one is all that a rectified linear neuron takes.
    """
    neuron_class = TYPES[kind, on_chip, phase]
    if kind == "rectified":
        arguments = {"amplitude": lif["amplitude"]}
    elif neuron_class is nengo_dl.SoftLIFRate:
        if not smoothing:
            return nengo.LIFRate(**lif)
        arguments = {"sigma": smoothing, **lif}
    else:
        arguments = {"smoothing": smoothing, **lif}
    if phase == "hybrid" and not on_chip:  # Nengo's own start at random voltages; the chip's start at rest
        arguments["initial_state"] = AT_REST
    return neuron_class(**arguments)


class _Builder(TFNeuronBuilder):
    """Common to the builders: one `NeuronModel` for a group of operators."""

    key: tuple[str, bool, str]

    def build_pre(self, signals, config):
        super().build_pre(signals, config)
        kind, on_chip, _ = self.key
        constants = {"dt_s": signals.dt_val}
        if kind == "lif":
            constants["tau_rc_s"] = self._per_neuron("tau_rc")
            constants["tau_ref_s"] = self._per_neuron("tau_ref")
            constants["smoothing"] = self._per_neuron("smoothing", 0.0)
            if "voltage" in self.state_data:
                constants["min_voltage"] = self._per_neuron("min_voltage")
        self.model = NeuronModel(kind, on_chip, **constants)
        self.scale = tf.constant(self._per_neuron("amplitude"), signals.dtype)

    def _per_neuron(self, attribute, *default):
        """One number if all operators agree, else an array (n_neurons,)."""
        values = [getattr(op.neurons, attribute, *default) for op in self.ops]
        if len(set(values)) == 1:
            return values[0]
        return np.repeat(values, [op.J.shape[0] for op in self.ops])


class _RateBuilder(_Builder):
    def step(self, J, dt):
        return rate_output(self.model, J, self.scale)


class _HybridBuilder(_Builder):
    """The same computation in training and in inference, so `spiking` stays False: NengoDL must not switch."""

    def step(self, J, dt, **state):
        output, state = hybrid_output(self.model, J, tuple(state.values()), self.scale)
        return (output,) + state


def _builder(kind: str, on_chip: bool, phase: str) -> type:
    base = _HybridBuilder if phase == "hybrid" else _RateBuilder
    return type(base.__name__, (base,), {"key": (kind, on_chip, phase)})


def _register() -> None:
    builders = SimNeuronsBuilder.TF_NEURON_IMPL
    for key, neuron_class in TYPES.items():
        if neuron_class not in builders:
            builders[neuron_class] = _builder(*key)
    # nengo-loihi registers the builders of nengo-extras, if it was not imported before NengoDL; these need neither
    nengo_loihi.neurons.install_dl_builders.installed = True
    builders[nengo_loihi.neurons.LoihiLIF] = _builder("lif", True, "hybrid")
    builders[nengo_loihi.neurons.LoihiSpikingRectifiedLinear] = _builder("rectified", True, "hybrid")


_register()
