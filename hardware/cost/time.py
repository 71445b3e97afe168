"""Seconds of one inference, and what sets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from cotrain.hardware.chip.events import BARRIER_S, CORE, CORES_PER_TILE, MESH
from cotrain.hardware.cost.constants import PACE
from cotrain.hardware.cost.counts import Counts
from cotrain.hardware.cost.energy import _range, synapse_constant
from cotrain.hardware.cost.occupancy import LayerOccupancy, Occupancy, hops
from cotrain.hardware.cost.ranges import Range, exactly, largest, total


@dataclass(frozen=True)
class Times:
    """Seconds of one inference.

    Attributes
    ----------
    busiest, between : Range
        Of one step: the work of the busiest core, and what lies between the work of two steps.
    steps, input, fixed : Range
        All steps on the chip; what the host's input adds; what a sample takes whatever its steps.
    slowest : str
        The layer of the busiest core.
    limiter : str
    """

    busiest: Range
    between: Range
    steps: Range
    input: Range
    fixed: Range
    slowest: str
    limiter: str

    @property
    def total(self) -> Range:
        return total((self.steps, self.input, self.fixed))


def times(counts: Counts, occupancy: Occupancy) -> Times:
    """Time of one inference: ``n_steps * (between + busiest) + input + fixed``.

    A core takes, for its share of N neurons, M_in and M_out messages, O synaptic operations and S spikes,

        (N update_s + (M_in message_in_s + O synapse_s + S spike_s + M_out message_out_s) / n_steps) / cores
    """
    n = counts.n_steps
    each = [busy(layer, n) for layer in occupancy.layers]
    busiest, between = largest(each), between_steps(occupancy)
    slowest = max(zip(each, occupancy.layers), key=lambda pair: pair[0].middle)[1].counts.name
    steps = (busiest + between) * n
    into, fixed = _host(counts, occupancy)
    return Times(
        busiest, between, steps, into, fixed, slowest, _limiter(counts, n, busiest, between, into, fixed, slowest)
    )


def busy(layer: LayerOccupancy, n_steps: int) -> Range:
    """Seconds a step that one of the layer's cores works; the work is spread evenly over them."""
    events = (
        _range(MESH.message_in_s) * layer.messages_in
        + synapse_constant(layer.counts.synapse, "s") * layer.synops
        + _range(CORE.spike_s) * layer.spikes
        + _range(MESH.message_out_s) * layer.messages_out
    )
    return (_range(CORE.update_s) * layer.counts.neurons + events * (1 / n_steps)).over(layer.cores)


def between_steps(occupancy: Occupancy) -> Range:
    """Seconds from the end of a step's work to the next: barrier, way of the last message, x86 where it takes part."""
    cores, chips = occupancy.cores, occupancy.chips
    x, y = hops(cores)
    way = x * MESH.hop_x_s + y * MESH.hop_y_s
    one = Range(barrier(cores.middle), barrier(cores.low), max(PACE.one_chip_most_s, barrier(cores.high)))
    many = _range(PACE.chips_s)
    low, high = (one if chips.low <= 1 else many).low, (one if chips.high <= 1 else many).high
    return Range((one if chips.middle <= 1 else many).value, low, high) + way


def barrier(cores: float) -> float:
    """SANA-FE's barrier on one chip, by tiles in use: straight lines between the entries of its table."""
    tiles = max(1.0, cores / CORES_PER_TILE)
    last = BARRIER_S[-1][1]
    for (a, at_a), (b, at_b) in zip(BARRIER_S, BARRIER_S[1:]):
        if tiles <= b:
            return at_a + (at_b - at_a) * (tiles - a) / (b - a)
    return last


def _host(counts: Counts, occupancy: Occupancy) -> Tuple[Range, Range]:
    """Seconds of the host's input and the fixed time of a sample, by how input arrives."""
    none, fixed = exactly(0.0), _range(PACE.fixed_s)
    streamed, once = _streamed(counts, occupancy), _once(counts)
    if counts.input == "on-chip":
        return none, none
    if counts.input == "once":
        return once, fixed
    if counts.input == "streamed":
        return streamed, none
    return Range(None, 0.0, max(streamed.high, once.high)), Range(None, 0.0, fixed.high)


def _streamed(counts: Counts, occupancy: Occupancy) -> Range:
    """What the host takes to send spikes at each step; of a dense first layer it goes by its cores."""
    first, step = occupancy.layers[0].counts, _range(PACE.host_step_s)
    if first.synapse == "dense" and first.cores is not None and first.cores <= PACE.host_step_cores:
        step = _dense_step(first.cores)
    elif first.synapse in ("dense", None):
        step = Range(
            step.value, min(step.low, _dense_step(1).low), max(step.high, _dense_step(PACE.host_step_cores).high)
        )
    # where nobody says how many spikes there are, no more than the rows had
    spikes = 0.0 if occupancy.input_spikes.value is None else occupancy.input_spikes.high / counts.n_steps
    high = step.high * max(1.0, spikes / PACE.host_step_spikes)
    return Range(step.value, step.low, high) * counts.n_steps


def _dense_step(cores: int) -> Range:
    value, factor = PACE.host_step_first_s + PACE.host_step_core_s * cores, PACE.host_step_factor
    return Range(value, value / factor, value * factor)


def _once(counts: Counts) -> Range:
    """What handing over a sample takes beyond the fixed time, which holds that of 784 inputs."""
    spikes = counts.input_spikes_per_inference
    if spikes is None:
        return Range(0.0, 0.0, PACE.hand_over_most_s)
    return Range(0.0, 0.0, min(PACE.hand_over_most_s, PACE.hand_over_s * max(0.0, spikes - PACE.fixed_spikes)))


def _limiter(counts: Counts, n, busiest, between, into, fixed, slowest: str) -> str:
    """The largest part of the time, in words; by the middle of a range where the value is not known."""
    parts: Tuple[Tuple[str, Range, Optional[float]], ...] = (
        (f"busiest core ({slowest})", busiest, n), ("barrier between steps", between, n),
        ("host input", into, 1), ("fixed time a sample", fixed, 1),
    )  # fmt: skip
    if counts.input is None:
        return "unknown: how input arrives is not given"
    ordered = sorted(((part * times, name) for name, part, times in parts), key=lambda p: -p[0].middle)
    (most, name), (second, _) = ordered[0], ordered[1]
    if most.value is None and most.low < second.middle:
        return f"unknown: {name}, if activity is high"
    return name
