"""Which neurons each phase of a network uses.

A layer's input ``x = kernel * activity + bias`` is in units of activation. The neuron sees the current
``J = gain x + rest`` and emits spikes of amplitude ``1 / rate_scale_hz`` per second, so that in every phase and for
either kind of neuron x = 0 gives no spikes and x = 1 gives `rate_scale_hz` spikes a second, an activation of 1:

    rectified   J = rate_scale_hz x            (a rectified linear neuron fires at J Hz)
    lif         J = 1 + x / expm1((1 / rate_scale_hz - tau_ref) / tau_rc)     (the LIF rate curve solved for J)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import nengo
import numpy as np
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.errors import InputError
from nengo.dists import Choice

PHASES = ("ann", "hybrid", "spiking", "loihi")
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class LayerNeurons:
    """The neurons of every layer of one phase."""

    neuron_type: nengo.neurons.NeuronType
    gain: float  # current per unit of activation
    rest: float  # current at activation 0


def neurons_for(settings: Any, phase: str) -> LayerNeurons:
    """The neurons of a phase.

    Parameters
    ----------
    settings : pipeline.experiment.NeuronSettings
        `kind`, `rate_curve`, `tau_rc_s`, `tau_ref_s`, `smoothing`, `rate_scale_hz`.
    phase : str
        "ann": rates (training in NengoDL); "hybrid": spikes forward, rate gradients backward (fine-tuning in NengoDL);
        "spiking": the same spikes without gradients (NengoDL or Nengo; the chip's dynamics if `rate_curve` is
        "loihi"); "loihi": the chip's dynamics always.

    Raises
    ------
    InputError
        Unknown phase, or a `rate_scale_hz` that a LIF neuron with that refractory time cannot reach.
    """
    if phase not in PHASES:
        raise InputError(f"phase is {phase!r}; expected one of {', '.join(PHASES)}")
    gain, rest = CURRENTS[settings.kind](settings)
    return LayerNeurons(_neuron_type(settings, phase), gain, rest)


def lift_of(settings: Any, finetune: Any, dt_s: float) -> float:
    """The weight with which one spike of a layer raises a voltage from 0 to the threshold, in the step it comes in.

    It is 1 for rectified neurons. A LIF neuron takes (1 - exp(-dt_s / tau_rc_s)) of its current in a step.

    Parameters
    ----------
    settings : pipeline.experiment.NeuronSettings
    finetune : pipeline.experiment.FinetuneSettings
        `initial_voltage`; 0 is returned where it is not "spread".
    """
    if finetune.initial_voltage != "spread":
        return 0.0
    gain, _ = CURRENTS[settings.kind](settings)
    taken = -math.expm1(-dt_s / settings.tau_rc_s) if settings.kind == "lif" else dt_s
    return dt_s * settings.rate_scale_hz / (gain * taken)


def spread(n_neurons: int) -> np.ndarray:
    """Where the neurons of a layer start between 0 and the threshold (1), (n_neurons,) float64.

    The fractional parts of multiples of the golden ratio: every stretch of neighbours is spread evenly (Knuth 1973,
    section 6.4), and nothing has to be stored.
    """
    return (np.arange(n_neurons) + 0.5) * GOLDEN % 1.0


def _rectified(settings):
    return settings.rate_scale_hz, 0.0


def _lif(settings):
    period_s = 1.0 / settings.rate_scale_hz
    if period_s <= settings.tau_ref_s:
        raise InputError(
            f"neurons.rate_scale_hz is {settings.rate_scale_hz:g}; a LIF neuron with tau_ref_s {settings.tau_ref_s:g} "
            f"stays below {1 / settings.tau_ref_s:g} Hz"
        )
    return 1.0 / math.expm1((period_s - settings.tau_ref_s) / settings.tau_rc_s), 1.0


CURRENTS = {"lif": _lif, "rectified": _rectified}  # kind -> (gain, rest)
# kind -> types of the chip (of nengo_loihi) and of Nengo without gradients, and which of tau_rc, tau_ref they take
PLAIN = {
    "lif": ("LoihiLIF", "LIF", ("tau_rc", "tau_ref")),
    "rectified": ("LoihiSpikingRectifiedLinear", "SpikingRectifiedLinear", ()),
}


def _neuron_type(settings, phase: str) -> nengo.neurons.NeuronType:
    amplitude = 1.0 / settings.rate_scale_hz
    lif = {"tau_rc": settings.tau_rc_s, "tau_ref": settings.tau_ref_s, "amplitude": amplitude}
    on_chip = settings.rate_curve == "loihi" or phase == "loihi"
    if phase in ("ann", "hybrid"):
        from cotrain.pipeline.neurons import nengo_types as neurons  # TensorFlow

        return neurons.trainable_type(settings.kind, on_chip, phase, settings.smoothing, lif)
    chip_type, plain_type, takes = PLAIN[settings.kind]
    arguments = {name: lif[name] for name in takes + ("amplitude",)}
    if on_chip:
        return getattr(import_nengo_loihi("neurons"), chip_type)(**arguments)
    at_rest = {"voltage": Choice([0])}  # as on the chip; Nengo's default is a random voltage
    return getattr(nengo, plain_type)(initial_state=at_rest, **arguments)
