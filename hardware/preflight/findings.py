"""What runs, but not as the user may think: one function a finding, each returning what it sees layer by layer."""

from __future__ import annotations

from typing import Any, List

import numpy as np
from cotrain.hardware.preflight.report import Finding

# Shares below these are what rounding to 8 bits does to any network.
ROUNDED_TO_ZERO = 0.01
SATURATED = 0.001


def weights_rounded_to_zero(case: Any) -> List[Finding]:
    """Weights that vanish, because one far larger weight in the same block sets the scale."""
    found = []
    for layer in case.placed.graph.layers:
        vanished = total = 0
        for core in case.placed.of(layer):
            if core.misfit is not None:
                continue
            for before, synapse in zip(core.floats.weights, core.block.synapses):
                for w, integer in zip(before, synapse.weights):
                    total += np.count_nonzero(w)
                    vanished += np.count_nonzero((w != 0) & (integer == 0))
        if total and vanished / total >= ROUNDED_TO_ZERO:
            share = vanished / total
            message = f"{share:.1%} of its weights round to zero: a few large weights set the scale of a whole block"
            found.append(Finding("weights_rounded_to_zero", layer.name, share, message))
    return found


def lost_weight_bits(case: Any) -> List[Finding]:
    """Weights that keep fewer than 8 bits, because a threshold or bias is large against them."""
    found = []
    for layer in case.placed.graph.layers:
        lost = [
            -s.synapse_cfg.shift_bits - s.synapse_cfg.weight_exp
            for c in case.placed.of(layer)
            for s in c.block.synapses
        ]
        worst = max(lost, default=0)
        if worst > 0:
            message = f"its weights lose {worst} of 8 bits: they are small against its thresholds or biases"
            found.append(Finding("lost_weight_bits", layer.name, worst, message))
    return found


def biases_saturate(case: Any) -> List[Finding]:
    """Neurons that fire at every step that they can from their bias alone."""
    found = []
    for layer in case.placed.graph.layers:
        cores = [c for c in case.placed.of(layer) if c.misfit is None]
        stuck = sum(int(np.sum(c.block.compartment.bias > c.block.compartment.vth)) for c in cores)
        if stuck:
            message = f"{stuck} of {layer.n} neurons have a bias above threshold: they fire as often as they can"
            found.append(Finding("biases_saturate", layer.name, stuck, message))
    return found


def mixed_axons(case: Any) -> List[Finding]:
    """Cores whose neurons send discrete and population spikes; NxSDK's axon compiler is limited there (#242)."""
    found = []
    for layer in case.placed.graph.layers:
        mixed = sum(len({bool(a.pop_type) for a in core.block.axons}) > 1 for core in case.placed.of(layer))
        if mixed:
            message = "it feeds both a convolution and a dense layer, which NxSDK may refuse (nengo-loihi #242)"
            found.append(Finding("mixed_axons", layer.name, mixed, message))
    return found


def registers_overflow(case: Any) -> List[Finding]:
    """Registers that wrapped in emulation."""
    overflows = getattr(case.stats, "overflows", None) or {}
    return [
        Finding(
            "registers_overflow",
            name,
            int(n),
            f"{int(n):,} register overflows in emulation: lower its weights or rates",
        )
        for name, n in overflows.items()
        if n
    ]


def neurons_saturate(case: Any) -> List[Finding]:
    """Neurons that fired at every step that they could in emulation."""
    spikes = getattr(case.stats, "neuron_spikes", None) or {}
    found = []
    for layer in case.placed.graph.layers:
        if not case.n_steps or layer.name not in spikes:
            continue
        runs = len(case.stats.spikes[layer.name])
        fastest = np.empty(layer.n)
        for core in case.placed.of(layer):
            fastest[core.compartments] = case.n_steps // core.block.compartment.refract_delay
        share = float(np.mean(np.asarray(spikes[layer.name]) >= fastest * runs))
        if share >= SATURATED:
            message = f"{share:.1%} of its neurons fire as often as they can in emulation: lower its rates"
            found.append(Finding("neurons_saturate", layer.name, share, message))
    return found


def more_chips_than_default(case: Any) -> List[Finding]:
    """nengo_loihi takes two chips unless told otherwise."""
    n = case.placed.n_chips
    if n <= 2:
        return []
    return [
        Finding(
            "more_chips_than_default",
            "",
            n,
            f"pass hardware_options={{'n_chips': {n}}}: the default is 2",
        )
    ]


FINDINGS = (
    weights_rounded_to_zero,
    lost_weight_bits,
    biases_saturate,
    mixed_axons,
    registers_overflow,
    neurons_saturate,
    more_chips_than_default,
)
