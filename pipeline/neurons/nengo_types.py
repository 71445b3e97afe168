"""Neurons for training: what all kinds have in common, and how NengoDL gets to know them.

A kind is a module beside this one, with its equations: one step of the spiking dynamics; the rate that these settle at
under a constant current; the nearest differentiable curve, whose slope stands in for the slope of both. From them two
outputs are made. `rate_output` has the rate as its value (training of the ANN). `hybrid_output` has the spikes of one
step as its value (hybrid fine-tuning: "Joint ANN-SNN co-training for object localization and image segmentation",
ICASSP 2023). Both have the gradient of the smooth rate; states carry no gradient.

Currents J are in units of the threshold: a LIF neuron fires above J = 1, a rectified linear neuron at J Hz.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import nengo
import numpy as np
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.pipeline.compat import import_nengo_dl, import_tensorflow
from cotrain.pipeline.neurons import kernel_parts, vectormath
from cotrain.pipeline.neurons.phases import CURRENTS
from nengo.dists import Choice

tf = import_tensorflow()
nengo_dl = import_nengo_dl()
loihi = import_nengo_loihi("neurons")

from nengo_dl.neuron_builders import SimNeuronsBuilder, TFNeuronBuilder  # noqa: E402

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor

AT_REST = {"voltage": Choice([0])}
# by the names of `phases.CURRENTS`, which lab hosts can read
KINDS: dict[str, ModuleType] = {kind: importlib.import_module(f"cotrain.pipeline.neurons.{kind}") for kind in CURRENTS}


@functools.cache
def kernel_sources() -> str:
    """Digest of all that compiled loops are made of besides their own file, which is all that Numba looks at."""
    modules = (kernel_parts, vectormath, *KINDS.values())
    return hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in modules)).hexdigest()


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
        return self.equations.STATES

    def initial_state(self, shape: Any) -> tuple[Tensor, ...]:
        """States at rest."""
        return tuple(tf.zeros(shape) for _ in self.state_names)

    @property
    def equations(self) -> Any:
        """The module of this kind."""
        return KINDS[self.kind]

    def step(self, current: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
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
        return self.equations.step(self, current, *state)

    def rate(self, current: Tensor) -> Tensor:
        """Firing rate in Hz under a constant `current`.

        On the chip the inter-spike interval is a whole number of steps: 1 / (dt ceil(period / dt)).
        """
        if not self.on_chip:
            return self.smooth_rate(current)
        period, above = self.equations.chip_period(self, current)
        rate = 1 / (self.dt_s * tf.math.ceil(period / self.dt_s))
        return tf.where(above > 0, rate, tf.zeros_like(rate))

    def smooth_rate(self, current: Tensor) -> Tensor:
        """Differentiable firing rate in Hz; on the chip half a step is added to the period."""
        return self.equations.smooth_rate(self, current, 0.5 * self.dt_s if self.on_chip else 0.0)

    def constants(self) -> tuple[np.ndarray, np.ndarray]:
        """tau_rc and tau_ref as the dynamics use them: the chip rounds a decay to 12 bits and tau_ref to steps."""
        tau_rc, tau_ref = np.asarray(self.tau_rc_s), np.asarray(self.tau_ref_s)
        if self.on_chip:
            tau_rc = loihi.discretize_tau_rc(tau_rc, self.dt_s)
            tau_ref = loihi.discretize_tau_ref(tau_ref, self.dt_s)
        return tau_rc, tau_ref


def rate_output(model: NeuronModel, current: Tensor, amplitude: float = 1.0) -> Tensor:
    """Value: amplitude times `rate`. Gradient: of `smooth_rate`."""
    smooth = amplitude * model.smooth_rate(current)
    if not model.on_chip:
        return smooth
    return with_gradient_of(amplitude * model.rate(current), smooth)


def hybrid_output(
    model: NeuronModel, current: Tensor, state: Any, amplitude: float = 1.0
) -> tuple[Tensor, tuple[Tensor, ...]]:
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
    return hybrid_gradient(model, output, current, amplitude), tuple(tf.stop_gradient(s) for s in state)


def hybrid_gradient(model: NeuronModel, output: Any, current: Any, amplitude: Any = 1.0) -> Any:
    """Exactly `output`, with the gradient of amplitude times `smooth_rate`."""
    return with_gradient_of(output, amplitude * model.smooth_rate(current))


def with_gradient_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """Exactly `value` (the second term is 0 in floating point), with the gradient of `surrogate`."""
    return tf.stop_gradient(value) + (surrogate - tf.stop_gradient(surrogate))


def trainable_type(kind: str, on_chip: bool, phase: str, smoothing: float, lif: dict) -> Any:
    """The neuron type of a phase that trains.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    on_chip, phase
        A key of its `TYPES`.
    smoothing : float
        gamma of the soft LIF.
    lif : dict
        `tau_rc`, `tau_ref` and `amplitude`; the last one is all that a rectified linear neuron takes.
    """
    equations = KINDS[kind]
    neuron_class = equations.TYPES[on_chip, phase]
    if neuron_class is nengo_dl.SoftLIFRate and not smoothing:
        return nengo.LIFRate(**lif)
    arguments = equations.arguments(neuron_class, smoothing, lif)
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
        known = dict(KINDS[kind].PER_NEURON)
        if "voltage" in self.state_data:
            known.update(KINDS[kind].PER_SPIKING_NEURON)
        constants.update({name: self._per_neuron(*attribute) for name, attribute in known.items()})
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
    for kind, equations in KINDS.items():
        for (on_chip, phase), neuron_class in equations.TYPES.items():
            if neuron_class not in builders:
                builders[neuron_class] = _builder(kind, on_chip, phase)
        builders[equations.CHIP_TYPE] = _builder(kind, True, "hybrid")
    # nengo-loihi registers the builders of nengo-extras, if it was not imported before NengoDL; these need neither
    loihi.install_dl_builders.installed = True


_register()
