"""Cores, chips and arriving spikes of each layer, as far as the counts say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Tuple

from cotrain.hardware.chip.events import CORES_PER_TILE, MESH_HEIGHT, MESH_WIDTH
from cotrain.hardware.chip.limits import LOIHI1
from cotrain.hardware.cost.counts import X86_PER_CHIP, Counts, LayerCounts
from cotrain.hardware.cost.ranges import Range, at_most, exactly, total

# assumed: of cores beside those of the layers (input, relays), half as many or a tile; of chips twice the fewest, as
# NengoLoihi takes two by default
FURTHER_CORES = 0.5
CHIPS_FACTOR = 2
# assumed: cores of a convolution that one spike goes to, as its kernel reaches over the edges of blocks
LOCAL_CORES = 4.0


@dataclass(frozen=True)
class LayerOccupancy:
    """A layer with everything that its energy and time need; what is not known is a range without a value."""

    counts: LayerCounts
    cores: Range
    spikes: Range
    synops: Range
    messages_in: Range
    messages_out: Range


@dataclass(frozen=True)
class Occupancy:
    """What the whole network takes."""

    layers: Tuple[LayerOccupancy, ...]
    cores: Range
    chips: Range
    input_spikes: Range


def occupy(counts: Counts) -> Occupancy:
    """Fill in what follows from the counts; where nothing does, the limits of the chip."""
    cores, in_use, chips = _cores(counts)
    n, layers = counts.n_steps, counts.layers
    arriving = at_most(counts.input_spikes_per_inference, LOIHI1.input_axons * n * cores[0].high)
    found: List[LayerOccupancy] = []
    incoming, entering = _messages(None, arriving, layers[0], cores[0]), arriving
    if counts.input_spikes_per_inference is None and layers[0].synops_per_inference is not None:
        # a spike does at least one synaptic operation, and at most one on each neuron: all of a dense layer
        most = layers[0].synops_per_inference
        few = most / layers[0].neurons
        arriving = entering = Range(few, few, few if layers[0].synapse == "dense" else most)
        incoming = _messages(None, arriving, layers[0], cores[0])
    for i, layer in enumerate(layers):
        spikes = at_most(layer.spikes_per_inference, layer.neurons * n)
        last = i + 1 == len(layers)
        outgoing = (
            _known(layer.messages_per_inference, spikes)
            if last
            else _messages(layer.messages_per_inference, spikes, layers[i + 1], cores[i + 1])
        )
        found.append(LayerOccupancy(layer, cores[i], spikes, _synops(layer, arriving, n), incoming, outgoing))
        arriving, incoming = spikes, outgoing
    return Occupancy(tuple(found), in_use, chips, entering)


def _known(messages, spikes: Range) -> Range:
    return spikes if messages is None else exactly(messages)


def _messages(messages, spikes: Range, target: LayerCounts, cores: Range) -> Range:
    """Messages of `spikes` to a layer: one for each core of a dense one, one or a few for another."""
    if messages is not None:
        return exactly(messages)
    least, most = max(1.0, cores.low), max(1.0, cores.high)
    if target.synapse == "dense":
        return spikes * Range(max(1.0, cores.middle), least, most)
    return spikes * Range(1.0, 1.0, most if target.synapse is None else min(most, LOCAL_CORES))


def _synops(layer: LayerCounts, arriving: Range, n_steps: int) -> Range:
    """Synaptic operations, or their bounds: one a spike and neuron, on no more axons than a core has."""
    if layer.synops_per_inference is not None:
        return exactly(layer.synops_per_inference)
    most = min(arriving.high, LOIHI1.input_axons * n_steps) * layer.neurons
    least = min(most, arriving.low * layer.neurons) if layer.synapse == "dense" else 0.0
    return Range(None, least, most)


def _cores(counts: Counts) -> Tuple[List[Range], Range, Range]:
    """Cores of each layer, of all, and chips."""
    layers, given = counts.layers, counts.cores
    least = [layer.cores or layer.least_cores for layer in layers]
    room = min((LOIHI1.cores_per_chip * counts.chips if counts.chips else math.inf), counts.powered_cores or math.inf)
    if given is not None and given < sum(least):  # layers share cores
        neurons = sum(layer.neurons for layer in layers)
        each = [exactly(layer.cores or given * layer.neurons / neurons) for layer in layers]
    else:
        open_cores = math.inf if given is None else given - sum(least)
        free = [layer for layer in layers if layer.cores is None]
        spread = sum(layer.neurons for layer in free)
        each = []
        for layer, few in zip(layers, least):
            if layer.cores is not None:
                each.append(exactly(layer.cores))
                continue
            most = max(few, min(layer.neurons, few + open_cores, room))
            value = few if given is None else min(most, few + open_cores * layer.neurons / spread)
            each.append(Range(float(value), float(few), float(most)))
    if given is not None:
        in_use = exactly(given)
    else:
        in_use = total(each)
        high = max(in_use.low, min(in_use.high + max(FURTHER_CORES * in_use.low, CORES_PER_TILE), room))
        in_use = Range(min(in_use.middle, high), in_use.low, high)
    if counts.chips is not None:
        return each, in_use, exactly(counts.chips)
    value, low, high = (float(-(-n // LOIHI1.cores_per_chip)) for n in (in_use.middle, in_use.low, in_use.high))
    low = max(low, math.ceil((counts.x86_in_use or 0) / X86_PER_CHIP))
    return each, in_use, Range(max(value, low), low, max(high, low) * CHIPS_FACTOR)


def hops(cores: Range) -> Tuple[Range, Range]:
    """`mean_hops` over a range of cores."""
    each = [mean_hops(n) for n in (cores.middle, cores.low, cores.high)]
    return Range(*(x for x, _ in each)), Range(*(y for _, y in each))


def mean_hops(cores: float) -> Tuple[float, float]:
    """Mean hops in x and y between two tiles drawn independently from those that `cores` fill by column.

    For two uniform draws from 0..n-1, E|i - j| = (n^2 - 1) / (3 n).
    """
    tiles = min(max(1, math.ceil(cores / CORES_PER_TILE)), MESH_WIDTH * MESH_HEIGHT)
    height = min(tiles, MESH_HEIGHT)
    width = math.ceil(tiles / MESH_HEIGHT)
    return (width**2 - 1) / (3 * width), (height**2 - 1) / (3 * height)
