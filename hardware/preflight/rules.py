"""What the chip and the board refuse: one function a rule; `check` collects every violation at once.

A rule is named after what it protects. It takes a `Case` and returns its violations; nothing stops at the first. The
rules under "checked only on the way to the board" are those that nengo_loihi's emulator never applies.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
from cotrain.hardware.chip.limits import Board, ChipLimits
from cotrain.hardware.placement.cores import Core, PlacedNetwork
from cotrain.hardware.preflight.report import Violation


@dataclass(frozen=True)
class Case:
    """Everything that a rule may look at."""

    placed: PlacedNetwork
    board: Board
    stats: Optional[object] = None
    n_steps: Optional[int] = None
    input_spikes_max: Optional[int] = None
    snip_max_spikes_per_step: int = 50
    precompute: Optional[bool] = None  # None: as nengo_loihi chooses

    @property
    def chip(self) -> ChipLimits:
        return self.board.chip

    @property
    def uses_snips(self) -> bool:
        """Whether spikes go in and out step by step (SNIPs), and not all in advance."""
        model, in_advance = self.placed.model, self.placed.lowered.precomputable
        if in_advance and self.precompute is False:  # what nengo_loihi runs before the chip, it would run beside it
            return len(model.host.params) + len(model.host_pre.params) > 0
        return not in_advance and len(model.host.params) > 0

    def probed(self, key: str) -> Iterator[Tuple[Core, int]]:
        """(core, number of neurons) of every block that a probe of ``key`` reads."""
        core_of = {core.block: core for core in self.placed.cores}
        for probe in self.placed.model.probes:
            if probe.key == key:
                for block, part in zip(probe.target, probe.slice):
                    yield core_of[block], len(np.arange(block.n_neurons)[part])

    @property
    def snip_spikes_needed(self) -> int:
        """Most spike messages into one chip in a step: a spike is sent once to each core that listens to it.

        An upper bound: the neurons that spike are taken to be those with the most listeners.
        """
        chip_of = {s: core.chip for core in self.placed.cores for s in core.block.synapses}
        listeners = {}
        for spikes in self.placed.model.inputs:
            fan_out = np.zeros((self.placed.n_chips, spikes.n_neurons), dtype=np.int64)
            for axon in spikes.axons:
                axon_of = np.asarray(axon.map_axon(np.arange(spikes.n_neurons)))
                used = np.array([axon.target.axon_compartment_base(a) is not None for a in range(axon.target.n_axons)])
                fan_out[chip_of[axon.target]] += (axon_of >= 0) & used[axon_of]
            listeners[spikes] = fan_out
        if not listeners:
            return 0
        fan_out = np.concatenate(list(listeners.values()), axis=1)
        return int(np.sort(fan_out, axis=1)[:, ::-1][:, : self.input_spikes_max].sum(axis=1).max())


Use = Tuple[int, int]  # used, allowed
Measure = Callable[[Any, ChipLimits], Use]
Rule = Callable[["Case"], List[Violation]]


def per_core(resource: str, change: str) -> Callable[[Measure], Rule]:
    """Make a rule of a function that returns (used, allowed) of a block."""

    def make(measure: Measure) -> Rule:
        @functools.wraps(measure)
        def rule(case: Case) -> List[Violation]:
            found = []
            for core in case.placed.cores:
                used, allowed = measure(core.block, case.chip)
                if used > allowed:
                    where = (measure.__name__, core.layer.name, core.index)
                    found.append(Violation(*where, resource, int(used), int(allowed), change))
            return found

        return rule

    return make


@per_core("compartments", "cut it into smaller blocks: hardware.partition(net) finds their shape")
def compartments(block: Any, chip: ChipLimits) -> Use:
    """A core holds 1024 compartments."""
    return block.n_neurons, chip.compartments


@per_core("input axons", "cut its rows and columns, or connect fewer neurons to it")
def input_axons(block: Any, chip: ChipLimits) -> Use:
    """A core takes 4096 input axons: one for each pixel or neuron that any of its compartments listens to."""
    return sum(s.n_axons for s in block.synapses), chip.input_axons


@per_core(
    "output axon slots",
    "cut the layers it feeds into fewer blocks, cut its own rows and columns, or use pop_type 16",
)
def output_axons(block: Any, chip: ChipLimits) -> Use:
    """A core has 4096 slots for output axons: one (pop32: two) a pixel or neuron for each core that needs it."""
    return sum(a.axon_slots() for a in block.axons), chip.output_axons


@per_core(
    "synapse memory bits",
    "put fewer channels in a block, or build it with channels_last=False (shares more weights)",
)
def synapse_memory(block: Any, chip: ChipLimits) -> Use:
    """A core stores 1,048,576 bits of synapses."""
    return sum(s.bits() for s in block.synapses), chip.synapse_bits


@per_core(
    "axon base modulo 4",
    "with channels_last=True put a multiple of 4 channels in a block, or use pop_type 32",
)
def pop16_base(block: Any, chip: ChipLimits) -> Use:
    """A pop16 axon can only start at every fourth compartment."""
    bases = [np.asarray(s.axon_compartment_bases) for s in block.synapses if s.pop_type == 16]
    return max([int((b[b >= 0] % chip.pop16_base_multiple).max(initial=0)) for b in bases], default=0), 0


def integer_range(case: Case) -> List[Violation]:
    """Weights, thresholds and biases of a block must fit their integers on one scale."""
    change = "bring weights, gains and biases closer together in size"
    return [
        Violation(
            "integer_range",
            core.layer.name,
            core.index,
            f"blocks without integers ({core.misfit})",
            1,
            0,
            change,
        )
        for core in case.placed.cores
        if core.misfit is not None
    ]


def on_chip(case: Case) -> List[Violation]:
    """nengo_loihi refuses a network without an ensemble on the chip."""
    if case.placed.cores:
        return []
    change = "leave at least one ensemble with on_chip unset or True"
    return [Violation("on_chip", "", None, "networks without an ensemble on the chip", 1, 0, change)]


# ------------------------------------------------------------------------- checked only on the way to the board


@per_core(
    "synapse configurations",
    "merge connections into it, or bring their largest weights closer together",
)
def synapse_configs(block: Any, chip: ChipLimits) -> Use:
    """A core has few synapse formats; each weight exponent and index width takes one."""
    return len(
        {tuple(getattr(s.synapse_cfg, p) for p in s.synapse_cfg.params) for s in block.synapses}
    ), chip.synapse_configs


@per_core(
    "compartment configurations",
    "give the neurons of a block the same time constants and refractory period",
)
def compartment_configs(block: Any, chip: ChipLimits) -> Use:
    """A core has few combinations of current decay, voltage decay, refractory period and noise."""
    at = block.compartment
    kinds = np.stack([np.asarray(c, dtype=float) for c in (at.decay_u, at.decay_v, at.refract_delay, at.enable_noise)])
    return np.unique(kinds, axis=1).shape[1], chip.compartment_configs


@per_core("thresholds", "give the neurons of a block the same threshold")
def threshold_configs(block: Any, chip: ChipLimits) -> Use:
    """A core has few thresholds."""
    return len(np.unique(block.compartment.vth)), chip.threshold_configs


@per_core("refractory steps", "shorten tau_ref")
def refractory_period(block: Any, chip: ChipLimits) -> Use:
    """The refractory period is a 6-bit number of steps."""
    return block.compartment.refract_delay.max(), chip.refractory_steps


@per_core("channels into a pop16 connection", "use pop_type 32 for this connection")
def pop16_populations(block: Any, chip: ChipLimits) -> Use:
    """NxSDK's pop16 spikes tell 32 channels apart; only the emulator takes more."""
    channels = [s.weights[0].shape[0] for s in block.synapses if s.pop_type == 16]
    return max(channels, default=0), chip.pop16_populations


@per_core("input axons of a core with pop16", "use pop_type 32, or cut its rows and columns")
def pop16_input_axons(block: Any, chip: ChipLimits) -> Use:
    """A pop16 spike carries 10 bits of axon number."""
    narrow = any(s.pop_type == 16 for s in block.synapses)
    return sum(s.n_axons for s in block.synapses) if narrow else 0, chip.pop16_input_axons


def chips(case: Case) -> List[Violation]:
    """The board carries so many chips of 128 cores each."""
    used, cores = case.placed.n_chips, len(case.placed.cores)
    if used <= case.board.n_chips:
        return []
    change = f"use a larger board or fewer neurons: {cores:,} cores are needed, {case.board.cores:,} are there"
    return [Violation("chips", "", None, "chips", used, case.board.n_chips, change)]


def spike_counters(case: Case) -> List[Violation]:
    """Without SNIPs every neuron whose spikes are read takes a spike counter of its chip."""
    if case.uses_snips:
        return []
    used: Dict[int, Tuple[List[str], int]] = {}
    for core, n in case.probed("spiked"):
        names, total = used.get(core.chip, ([], 0))
        used[core.chip] = (
            names if core.layer.name in names else names + [core.layer.name],
            total + n,
        )
    allowed = case.chip.spike_counters_per_chip
    change = "read fewer neurons (a small layer before the output), or run with precompute=False"
    return [
        Violation(
            "spike_counters",
            ", ".join(names),
            None,
            f"spike counters of chip {chip}",
            n,
            allowed,
            change,
        )
        for chip, (names, n) in sorted(used.items())
        if n > allowed
    ]


def probes_on_population_axons(case: Case) -> List[Violation]:
    """Without SNIPs a spike probe is a discrete axon, and NxSDK cannot mix those with population axons (#242)."""
    if case.uses_snips:
        return []
    change = "read a layer that feeds no convolution, or run with precompute=False"
    return [
        Violation(
            "probes_on_population_axons",
            core.layer.name,
            core.index,
            "probed neurons with population axons",
            n,
            0,
            change,
        )
        for core, n in case.probed("spiked")
        if n and any(axon.pop_type for axon in core.block.axons)
    ]


def input_spikes(case: Case) -> List[Violation]:
    """With SNIPs only so many spikes a step reach a chip; nengo_loihi drops the rest."""
    if case.input_spikes_max is None or not case.uses_snips:
        return []
    needed, allowed = case.snip_spikes_needed, case.snip_max_spikes_per_step
    if needed <= allowed:
        return []
    change = f"pass hardware_options={{'snip_max_spikes_per_step': {needed}}}, or run with precompute=True"
    return [Violation("input_spikes", "", None, "spikes a step into one chip", needed, allowed, change)]


RULES = (
    on_chip,
    compartments,
    input_axons,
    output_axons,
    synapse_memory,
    pop16_base,
    integer_range,
    synapse_configs,
    compartment_configs,
    threshold_configs,
    refractory_period,
    pop16_populations,
    pop16_input_axons,
    chips,
    spike_counters,
    probes_on_population_axons,
    input_spikes,
)
