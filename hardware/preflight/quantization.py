"""What the chip's integers cost each layer: weights, biases, thresholds, time constants, and the firing rates.

Integers are compared with the numbers that they stand for, on the scales that nengo_loihi chose for each block
(builder/discretize.py of NengoLoihi 1.1.0): weight = integer / (w_scale * 2**(6 + w_exp)), bias = integer / b_scale,
threshold = integer / v_scale.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.chip.limits import LOIHI1
from cotrain.hardware.errors import InputError
from cotrain.hardware.placement.cores import DT_S, Network, place

WHOLE = LOIHI1.decay_max + 1  # a decay of this leaves nothing


def quantization_error(
    net: Network,
    stats: Optional[object] = None,
    n_steps: Optional[int] = None,
    input_rate_hz: float = 100.0,
    dt_s: float = DT_S,
) -> Dict[str, Any]:
    """Measure what is lost from ``net``'s numbers to the integers on the chip, layer by layer.

    Rates are mean-field: each layer's neurons are driven by the mean current of given presynaptic rates, once with
    the network's numbers and once with the integers, and their steady rates compared. So each layer is charged with
    its own rounding only. Presynaptic rates are those measured in ``stats``; without it they are computed layer by
    layer from neurons off the chip that all fire at ``input_rate_hz``.

    Parameters
    ----------
    net : nengo.Network or LoweredNetwork
        Cut as its config says; call `hardware.partition` before.
    stats : object, optional
        ``sim.stats`` of an emulated run, with ``n_steps`` steps a sample.
    n_steps : int, optional
        Needed with ``stats``.
    input_rate_hz : float
        Rate of every neuron off the chip, without ``stats``.
    dt_s : float
        Simulation step, in seconds.

    Returns
    -------
    dict
        ``{"layers": [{...}, ...], "input_rate_hz": ..., "rates_from": "stats" or "mean field"}``. Each layer has

        - name, cores
        - weight_error: RMS of (integer weight - weight) over RMS of the weights
        - weights_zeroed: share of its weights that became 0
        - weight_bits_lost: bits of 8 that its weights lack
        - bias_error: RMS of (integer bias - bias) over the threshold
        - threshold_error: largest relative error of a threshold
        - tau_current_s, tau_current_chip_s: time constant of the synaptic filter, asked for and got; 0 for none
        - tau_voltage_s, tau_voltage_chip_s: of the membrane; null where it does not leak
        - rate_hz, rate_chip_hz: mean firing rate with the network's numbers and with the integers
        - rate_error_hz: mean absolute difference of the neurons' rates

    Raises
    ------
    InputError
        ``stats`` without ``n_steps``.
    """
    if stats is not None and not n_steps:
        raise InputError("quantization_error: pass n_steps, the steps of each sample, together with stats")
    placed = place(net, LOIHI1, dt_s)
    rates = _Rates(placed, stats, n_steps, input_rate_hz)
    layers = []
    for layer in placed.graph.layers:
        cores = [core for core in placed.of(layer) if core.misfit is None]
        entry = {"name": layer.name, "cores": len(placed.of(layer))}
        if cores:
            entry.update(_parameters(cores, placed.lowered.dt_s))
            wanted, got = rates.of(layer, cores)
            entry["rate_hz"] = float(wanted.mean())
            entry["rate_chip_hz"] = float(got.mean())
            entry["rate_error_hz"] = float(np.abs(got - wanted).mean())
        layers.append(entry)
    source = "mean field" if stats is None else "stats"
    return {"layers": layers, "rates_from": source, "input_rate_hz": float(input_rate_hz) if stats is None else None}


def _scale(core):
    info = core.block.compartment.discretize_info
    return info, np.asarray(info["w_scale"], dtype=float) * 2.0 ** (6 + info["w_exp"])


def _weight_scale(scale, indices):
    return scale[indices] if scale.ndim else scale


def _parameters(cores, dt_s):
    error = power = count = zeroed = nonzero = lost = 0.0
    bias, threshold = [], []
    for core in cores:
        info, scale = _scale(core)
        for floats, synapse in zip(core.floats.weights, core.block.synapses):
            lost = max(lost, -synapse.synapse_cfg.shift_bits - synapse.synapse_cfg.weight_exp)
            for w, integer, indices in zip(floats, synapse.weights, synapse.indices):
                error += float(np.square(integer / _weight_scale(scale, indices) - w).sum())
                power += float(np.square(w).sum())
                count += w.size
                nonzero += np.count_nonzero(w)
                zeroed += np.count_nonzero((w != 0) & (integer == 0))
        at, floats = core.block.compartment, core.floats
        bias.append((at.bias / info["b_scale"] - floats.bias) / floats.threshold)
        threshold.append(np.abs(at.vth / info["v_scale"] / floats.threshold - 1))
    first, at = cores[0].floats, cores[0].block.compartment
    # the chip multiplies the current by (4095 - decay) / 4096 and the voltage by (4096 - decay) / 4096 in a step
    kept_current, kept_voltage = (LOIHI1.decay_max - at.decay_u[0]) / WHOLE, 1 - at.decay_v[0] / WHOLE
    return {
        "weight_error": (error / power) ** 0.5 if power else 0.0,
        "weights_zeroed": zeroed / nonzero if nonzero else 0.0,
        "weight_bits_lost": int(max(lost, 0)),
        "bias_error": float(np.sqrt(np.mean(np.square(np.concatenate(bias))))),
        "threshold_error": float(np.concatenate(threshold).max()),
        "tau_current_s": _tau(1 - float(first.decay_current[0]), dt_s),
        "tau_current_chip_s": _tau(kept_current, dt_s),
        "tau_voltage_s": _tau(1 - float(first.decay_voltage[0]), dt_s),
        "tau_voltage_chip_s": _tau(kept_voltage, dt_s),
    }


def _tau(kept, dt_s):
    """Time constant of a decay that keeps this share in a step; None where nothing decays."""
    if kept >= 1:
        return None
    return 0.0 if kept <= 0 else float(-dt_s / np.log(kept))


def steady_rate(
    drive: np.ndarray, threshold: np.ndarray, kept: np.ndarray, refractory_steps: np.ndarray, dt_s: float
) -> np.ndarray:
    """Firing rate of a neuron on the chip under a constant drive.

    The voltage after k steps is drive * (1 + kept + ... + kept**(k - 1)); the neuron spikes at the first k that takes
    it above the threshold, and starts again ``refractory_steps - 1`` steps later (NengoLoihi emulator/interface.py).

    Parameters
    ----------
    drive : (n,) ndarray
        What is added to the voltage in each step, in units of the threshold's.
    threshold : (n,) ndarray
    kept : (n,) ndarray
        Share of the voltage that a step leaves; 1 without a leak.
    refractory_steps : (n,) ndarray of int

    Returns
    -------
    (n,) ndarray
        Rates in Hz.
    """
    drive, threshold, kept = (np.asarray(x, dtype=float) for x in (drive, threshold, kept))
    leak = 1 - kept
    fires = (drive > 0) & (drive > threshold * leak)
    safe = np.where(fires, drive, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        leaky = np.log1p(-np.where(fires, threshold * leak / safe, 0.0)) / np.log(kept)
    steps = np.where(leak > 0, leaky, threshold / safe)
    period = np.floor(np.where(fires, steps, 0.0)) + np.asarray(refractory_steps)
    return np.where(fires, 1 / (period * dt_s), 0.0)


class _Rates:
    """Steady rates of the layers, with the network's numbers and with the integers."""

    def __init__(self, placed, stats, n_steps, input_rate_hz):
        self.placed, self.stats, self.dt_s = placed, stats, placed.lowered.dt_s
        self.n_steps, self.input_rate_hz = n_steps, input_rate_hz
        self.connections, self.names = placed.lowered.net.all_connections, placed.lowered.names
        self.rate_of = {}  # layer or input: (n,) Hz
        self.arriving = {}  # synapse: [(source, axon map, atoms)]
        for spikes in placed.model.inputs:
            self._connect(spikes, spikes, np.arange(spikes.n_neurons))
            self.rate_of[spikes] = self._of_input(spikes)
        for core in placed.cores:
            self._connect(core.layer, core.block, core.compartments)
        if stats is not None:
            for layer in placed.graph.layers:
                if layer.name in stats.neuron_spikes:
                    self.rate_of[layer] = self._measured(layer.name)

    def _connect(self, source, sender, neurons):
        local = np.arange(len(neurons))
        for axon in sender.axons:
            way = (source, neurons, np.asarray(axon.map_axon(local)), np.asarray(axon.map_atoms(local)))
            self.arriving.setdefault(axon.target, []).append(way)

    def _measured(self, label):
        runs = len(self.stats.spikes[label])
        return np.asarray(self.stats.neuron_spikes[label]) / (runs * self.n_steps * self.dt_s)

    def _of_input(self, spikes):
        """Rates of the neurons that send ``spikes``; where they are not known, the given rate."""
        for source, _, group, _ in self.placed.graph.inputs:
            if source is not spikes or group.conn is None or self.stats is None:
                continue
            for conn in self.connections:
                ensemble = getattr(conn.pre_obj, "ensemble", None)
                same = conn.transform is group.conn.transform and conn.post_obj is group.conn.post_obj
                name = self.names.host.get(ensemble)
                if same and name in self.stats.neuron_spikes:
                    return self._measured(name)[conn.pre_slice]
        return np.full(spikes.n_neurons, float(self.input_rate_hz))

    def of(self, layer, cores):
        """(n,) rates with the network's numbers, and (n,) with the integers, for the same presynaptic rates."""
        decay_magnitude = door.decay_magnitude
        wanted, got = np.zeros(layer.n), np.zeros(layer.n)
        for core in cores:
            floats, at = core.floats, core.block.compartment
            current, integer = self._currents(core)
            drive = current + floats.bias
            drive = drive * floats.decay_voltage if floats.scales_voltage else drive
            wanted[core.compartments] = steady_rate(
                drive, floats.threshold, 1 - floats.decay_voltage.astype(float), at.refract_delay, self.dt_s
            )
            integer = integer * decay_magnitude(at.decay_u, x0=2**21, offset=1)
            got[core.compartments] = steady_rate(
                integer + at.bias, at.vth, 1 - at.decay_v / WHOLE, at.refract_delay, self.dt_s
            )
        self.rate_of.setdefault(layer, wanted)
        return wanted, got

    def _currents(self, core):
        """Mean synaptic input a step of one core's compartments, in the network's numbers and in integers."""
        n = core.block.n_neurons
        current, integer = np.zeros(n), np.zeros(n)
        for floats, synapse in zip(core.floats.weights, core.block.synapses):
            spikes = np.zeros((synapse.n_axons, synapse.weights[0].shape[0] if synapse.weights else 1))
            for source, neurons, axon, atom in self.arriving.get(synapse, ()):
                if source in self.rate_of:
                    used = axon >= 0
                    np.add.at(spikes, (axon[used], atom[used]), self.rate_of[source][neurons][used] * self.dt_s)
            for k in np.flatnonzero(spikes.any(axis=1)):
                base = synapse.axon_compartment_base(k)
                if base is None:
                    continue
                which = synapse.axon_weight_idx(k)
                targets = base + synapse.indices[which][0]
                current[targets] += spikes[k] @ floats[which]
                integer[targets] += spikes[k] @ synapse.weights[which]
        return current, integer
