"""Neurons on the host for a batch of samples, equal to Nengo's to the last bit.

Additions, products and comparisons of float64 are the same in compiled code as in NumPy, as long as nothing is fused or
reordered (Numba does neither unless asked). Exponentials and logarithms are not: those stay NumPy calls, on the few
neurons that need them.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

import nengo
import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.emulator.compiled import njit

# types whose `step` works element by element and so does not mind a leading axis of samples
_ELEMENTWISE = (nengo.RectifiedLinear, nengo.LIFRate, nengo.Sigmoid, nengo.Tanh, nengo.RegularSpiking)


def neuron_step(op: Any, batch: Any) -> Optional[Callable[[], None]]:
    """A function that steps the neurons of a `SimNeurons` operator, or None if its type is not known here."""
    makers: Dict[type, Callable[..., Callable[[], None]]] = {
        nengo.SpikingRectifiedLinear: _rectified,
        door.LoihiSpikingRectifiedLinear: _loihi_rectified,
        nengo.LIF: _lif,
        door.LoihiLIF: _loihi_lif,
    }
    make = makers.get(type(op.neurons))
    state = {name: batch.view(sig) for name, sig in op.state.items()}
    current, output = batch.view(op.J), batch.view(op.output)
    arrays = [current, output, *state.values()]
    if make is not None and all(a.flags.c_contiguous and a.dtype == np.float64 for a in arrays):
        flat = {name: a.reshape(-1) for name, a in state.items()}
        return make(op.neurons, batch.plan.dt, current.reshape(-1), output.reshape(-1), **flat)
    if type(op.neurons) in _ELEMENTWISE and not op.state_extra:

        def step():
            op.neurons.step(batch.plan.dt, current, output, **state)

        return step
    return None


def _rectified(neurons, dt, current, output, voltage):
    height = neurons.amplitude / dt
    return lambda: _step_rectified(dt, height, current, output, voltage)


@njit()
def _step_rectified(dt, height, current, output, voltage):
    """nengo.SpikingRectifiedLinear.step"""
    for i in range(current.size):
        v = voltage[i] + max(current[i], 0.0) * dt
        n = np.floor(v)
        output[i] = height * n
        voltage[i] = v - n


def _loihi_rectified(neurons, dt, current, output, voltage):
    height = neurons.amplitude / dt
    return lambda: _step_loihi_rectified(dt, height, current, output, voltage)


@njit()
def _step_loihi_rectified(dt, height, current, output, voltage):
    """nengo_loihi.neurons.LoihiSpikingRectifiedLinear.step"""
    for i in range(current.size):
        v = voltage[i] + current[i] * dt
        spiked = v > 1
        output[i] = height if spiked else 0.0
        voltage[i] = 0.0 if spiked or v < 0 else v


def _lif(neurons, dt, current, output, voltage, refractory_time):
    return _make_lif(neurons, dt, current, output, voltage, refractory_time, neurons.tau_rc, None)


def _loihi_lif(neurons, dt, current, output, voltage, refractory_time):
    tau_rc = door.discretize_tau_rc(neurons.tau_rc, dt)
    rest = door.discretize_tau_ref(neurons.tau_ref, dt) + dt
    return _make_lif(neurons, dt, current, output, voltage, refractory_time, tau_rc, rest)


def _make_lif(neurons, dt, current, output, voltage, refractory, tau_rc, rest):
    """`rest`: time set after a spike; None: nengo.LIF, which solves for the time of the spike within the step."""
    height, floor = neurons.amplitude / dt, neurons.min_voltage
    whole = np.expm1(-np.full(8, dt) / tau_rc)[0]
    chosen = np.zeros(current.size, dtype=np.int64)
    part = np.zeros(current.size)

    def step():
        n = _lif_integrate(dt, whole, current, voltage, refractory, chosen, part)
        if n:
            _lif_integrate_part(np.expm1(-part[:n] / tau_rc), current, voltage, chosen[:n])
        n = _lif_spike(height, floor, current, output, voltage, chosen, part)
        if n and rest is None:
            refractory[chosen[:n]] = neurons.tau_ref + (dt + tau_rc * np.log1p(part[:n]))
        elif n:
            refractory[chosen[:n]] = rest

    return step


@njit()
def _lif_integrate(dt, whole, current, voltage, refractory, chosen, part):
    """v ← v − (J − v) expm1(−δ / τ_RC), δ the part of the step that is not refractory; list those with 0 < δ < dt."""
    n = 0
    for i in range(current.size):
        r = refractory[i] - dt
        refractory[i] = r
        delta = min(max(dt - r, 0.0), dt)
        if delta == dt:
            voltage[i] -= (current[i] - voltage[i]) * whole
        elif delta > 0:
            chosen[n] = i
            part[n] = delta
            n += 1
    return n


@njit()
def _lif_integrate_part(factor, current, voltage, chosen):
    for k in range(chosen.size):
        i = chosen[k]
        voltage[i] -= (current[i] - voltage[i]) * factor[k]


@njit()
def _lif_spike(height, floor, current, output, voltage, chosen, part):
    """Spike where v > 1; list those neurons with what nengo.LIF takes the logarithm of."""
    n = 0
    for i in range(current.size):
        v = voltage[i]
        if v > 1:
            output[i] = height
            chosen[n] = i
            part[n] = -(v - 1) / (current[i] - 1)
            voltage[i] = 0.0
            n += 1
        else:
            output[i] = 0.0
            if v < floor:
                voltage[i] = floor
    return n


@njit()
def spike_lines(values: np.ndarray) -> np.ndarray:
    """Indices of the values that are not zero, int32."""
    lines = np.empty(values.size + 1, dtype=np.int32)
    n = 0
    for i in range(values.size):  # no branch: one that is taken by chance costs more than the write
        lines[n] = i
        n += values[i] != 0
    return lines[:n].copy()


@njit()
def count_spikes(output: np.ndarray, total: np.ndarray, counts: np.ndarray) -> None:
    """Add the spikes in output (n_samples, n_neurons) to those of each sample and of each neuron."""
    for b in range(output.shape[0]):
        n = 0
        for i in range(output.shape[1]):
            fired = output[b, i] != 0
            n += fired
            counts[i] += fired
        total[b] += n


@njit()
def scale_into(values: np.ndarray, weight: float, out: np.ndarray) -> None:
    """out ← values · weight"""
    for i in range(values.size):
        out[i] = np.float64(values[i]) * weight
