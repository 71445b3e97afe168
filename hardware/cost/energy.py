"""Joules of one inference on the cores, and the powers around them.

[J / event] x [events / inference] = [J / inference]; [W] x [s / inference] = [J / inference].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from cotrain.hardware.chip.events import CORE, MESH, Constant
from cotrain.hardware.cost.constants import DENSE, LEAKAGE, X86_CORES
from cotrain.hardware.cost.counts import X86_PER_CHIP, Counts
from cotrain.hardware.cost.occupancy import LayerOccupancy, Occupancy, hops
from cotrain.hardware.cost.ranges import Range, exactly, total

_KINDS = ("convolution", "sparse", "dense")


@dataclass(frozen=True)
class LayerEnergy:
    """Joules of one layer in one inference."""

    name: str
    neurons: Range
    synapses: Range
    spikes: Range
    messages: Range

    @property
    def total(self) -> Range:
        return total((self.neurons, self.synapses, self.spikes, self.messages))

    def to_dict(self) -> Dict[str, object]:
        parts = ("neurons", "synapses", "spikes", "messages", "total")
        return {"name": self.name, **{f"{part}_j": getattr(self, part).to_dict() for part in parts}}


def synapse_constant(kind: Optional[str], unit: str) -> Range:
    """Energy ("j") or latency ("s") of a synaptic operation; of no known kind: all three, the sparse one's value."""
    each = {k: _range(getattr(CORE, f"{k}_{unit}")) for k in _KINDS}
    if kind is not None:
        return each[kind]
    return Range(each["sparse"].value, min(e.low for e in each.values()), max(e.high for e in each.values()))


def core_energy(counts: Counts, occupancy: Occupancy) -> Tuple[LayerEnergy, ...]:
    """Dynamic energy of the cores, layer by layer.

    With N neurons, S spikes, O synaptic operations and M messages out of a layer:

        neurons  = update_j * N * n_steps       every neuron is updated at every step
        synapses = synapse_j(kind) * O
        spikes   = spike_j * S
        messages = (message_out_j + hops_x * hop_x_j + hops_y * hop_y_j) * M
    """
    x, y = hops(occupancy.cores)
    message = _range(MESH.message_out_j) + x * MESH.hop_x_j + y * MESH.hop_y_j
    return tuple(_layer(layer, counts.n_steps, message) for layer in occupancy.layers)


def _layer(layer: LayerOccupancy, n_steps: int, message: Range) -> LayerEnergy:
    return LayerEnergy(
        layer.counts.name,
        neurons=_range(CORE.update_j) * (layer.counts.neurons * n_steps),
        synapses=synapse_constant(layer.counts.synapse, "j") * layer.synops,
        spikes=_range(CORE.spike_j) * layer.spikes,
        messages=message * layer.messages_out,
    )


def x86_power(counts: Counts, chips: Range) -> Range:
    """Watts of the x86 cores as NxSDK computes them: 18 mW a chip with one in use, 6 mW times active ratio each.

    Where the number in use is not known, nothing at the least (copies of a network share the x86 of a chip) and all
    three awake at the most.
    """
    ratio = Range(0.5, 0.0, 1.0) if counts.x86_active_ratio is None else exactly(counts.x86_active_ratio)
    clock, active = _range(X86_CORES.clock_w), _range(X86_CORES.active_w)
    if counts.x86_in_use is not None:
        with_one = Range(*(min(n, float(counts.x86_in_use)) for n in (chips.middle, chips.low, chips.high)))
        return clock * with_one + active * ratio * counts.x86_in_use
    one_a_chip = (clock + active * ratio) * chips
    return Range(one_a_chip.value, 0.0, X86_CORES.awake_w.high * chips.high)


def static_power(counts: Counts, occupancy: Occupancy) -> Range:
    """Watts of leakage of the cores and x86 in use, as NxSDK splits them off the board's."""
    if counts.x86_in_use is not None:
        x86 = exactly(counts.x86_in_use)
    else:
        chips = occupancy.chips
        x86 = Range(chips.value, 0.0, X86_PER_CHIP * chips.high)
    return _range(LEAKAGE.core_w) * occupancy.cores + _range(X86_CORES.static_w) * x86


def board_power(occupancy: Occupancy) -> Range:
    """Watts of the idle board around the network."""
    chips, board = occupancy.chips, LEAKAGE.board_w
    boards = [math.ceil(n / LEAKAGE.chips_per_board) for n in (chips.middle, chips.high)]
    low = board.low * chips.low
    return Range(max(low, board.value * boards[0]), low, max(board.high * boards[1], board.low * chips.high))


def dense_energy_j(macs: float, neurons: int, n_steps: int = 1) -> Dict[str, float]:
    """Joules of one pass that computes every multiply-accumulate, on "cpu" and "gpu".

    E = mac_j * (macs + neurons * n_steps): keras-spiking counts the update of a neuron as one MAC.
    `n_steps` is for a host layer that integrates a constant input over a presentation.
    """
    work = macs + neurons * n_steps
    return {"cpu": DENSE.cpu_mac_j.value * work, "gpu": DENSE.gpu_mac_j.value * work}


def _range(constant: Constant) -> Range:
    return Range(constant.value, constant.low, constant.high)
