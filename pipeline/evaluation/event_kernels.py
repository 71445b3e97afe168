"""Inner loops of `event_model`: one sample of a spiking network in float32, spike by spike, compiled with Numba.

Each number is made by the operations that NengoDL's graph makes it with, in the same order, so that it is the same to
the last bit: a weighted sum starts at 0 and takes its inputs in C order, fused multiply and add; all else rounds after
each operation. What is not 0 is all that is added, since adding 0 changes nothing.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
from cotrain.hardware.emulator.compiled import njit
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16  # added at once
ZERO, ONE = np.float32(0), np.float32(1)

# What `run_layers` reads; the arrays of all edges and layers follow each other.
Tables = namedtuple(
    "Tables",
    [
        "layers",  # (n_layers, 4) int64: first edge, end of the edges, first neuron, neurons; the last is the readout
        "edges",  # (n_edges, 6) int64: source, its channels, first weight, weights a channel, first pixel, row of given
        "weights",  # float32: by source channel, tap, target channel
        "pixels",  # int64: first run of each pixel of each edge's source, and the end
        "run_target",  # int64: where a run of neighbouring targets starts
        "run_weight",  # where its weights start, from the channel's
        "run_length",
    ],
)

# What the neurons of a network are; float32.
Neurons = namedtuple("Neurons", "on_chip gain dt unit keep inflow delay")

# What a sample leaves behind and what a thread works on.
Scratch = namedtuple(
    "Scratch",
    [
        "events",  # (n + 8,) int32: neurons that spiked, in order of layer, step, neuron
        "values",  # (n + 8,) float32: the output that they had
        "slot",  # (n_layers, n_steps + 1) int64: events[slot[l, t] : slot[l, t + 1]] are those of a step
        "sums",  # (n_edges of a layer and one more, n_neurons) float32: what the synapses hold
        "sum",  # (n_neurons,) float32
        "current",
        "voltage",
        "spikes",  # of each neuron in a step, 8 more than there are neurons
        "fired",  # uint64, of which each byte is a neuron; those behind the last neuron stay 0
    ],
)


@intrinsic
def add_scaled(typingctx: Any, target: Any, place: Any, weights: Any, row: Any, n_blocks: Any, value: Any) -> Any:
    """target[place + i] += weights[row + i] * value for n_blocks (> 0) times LANES neighbours, rounded once."""
    signature = types.void(target, types.int64, weights, types.int64, types.int64, types.float32)

    def codegen(context, builder, sig, args):
        target_type, _, weights_type, _, _, _ = sig.args
        target, place, weights, row, n_blocks, value = args
        i32, i64, vector = ir.IntType(32), ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
        target_data = context.make_array(target_type)(context, builder, target).data
        weights_data = context.make_array(weights_type)(context, builder, weights).data
        scale = builder.insert_element(ir.Constant(vector, ir.Undefined), value, i32(0))
        scale = builder.shuffle_vector(scale, scale, ir.Constant(ir.VectorType(i32, LANES), None))

        entry = builder.basic_block
        loop, done = builder.append_basic_block("blocks"), builder.append_basic_block("blocks.done")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(i64)
        offset = builder.mul(k, i64(LANES))
        to = builder.bitcast(builder.gep(target_data, [builder.add(place, offset)]), vector.as_pointer())
        by = builder.bitcast(builder.gep(weights_data, [builder.add(row, offset)]), vector.as_pointer())
        product = builder.fmul(builder.load(by, align=4), scale, flags=("contract",))
        builder.store(builder.fadd(builder.load(to, align=4), product, flags=("contract",)), to, align=4)
        following = builder.add(k, i64(1))
        k.add_incoming(i64(0), entry)
        k.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, n_blocks), loop, done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@njit(boundscheck=False, fastmath={"contract"})
def weighted_sum(tables: Any, edge: Any, scratch: Any, first: Any, last: Any, total: Any) -> Any:
    """The edge's map of the spikes ``events[first:last]`` of its source; written to `total`."""
    channels, weight, step, pixel_base = (
        tables.edges[edge, 1], tables.edges[edge, 2], tables.edges[edge, 3], tables.edges[edge, 4],
    )  # fmt: skip
    total[:] = ZERO
    for event in range(first, last):
        neuron, value = np.int64(scratch.events[event]), scratch.values[event]
        pixel = neuron // channels
        base = weight + (neuron - pixel * channels) * step
        for run in range(tables.pixels[pixel_base + pixel], tables.pixels[pixel_base + pixel + 1]):
            place, row, length = tables.run_target[run], base + tables.run_weight[run], tables.run_length[run]
            blocks = length // LANES
            if blocks:
                add_scaled(total, place, tables.weights, row, blocks, value)
            for i in range(blocks * LANES, length):
                total[place + i] += tables.weights[row + i] * value


@njit(boundscheck=False)
def _filtered(total, held, current, neurons):
    """One step of an edge's Lowpass, and what it adds to the currents."""
    for i in range(current.size):
        held[i] = neurons.keep * held[i] + neurons.inflow * total[i]
        current[i] += neurons.gain * held[i]


@njit(boundscheck=False)
def _chip_step(current, voltage, fired, neurons):
    for i in range(current.size):
        v = voltage[i] + current[i] * neurons.dt
        fires = v > ONE
        fired[i] = fires
        voltage[i] = ZERO if fires else (v if v > ZERO else ZERO)


@njit(boundscheck=False)
def _nengo_step(current, voltage, spikes, fired, neurons):
    for i in range(current.size):
        v = voltage[i] + (current[i] if current[i] > ZERO else ZERO) * neurons.dt
        spikes[i] = np.floor(v)
        fired[i] = spikes[i] > ZERO
        voltage[i] = v - spikes[i]


@njit(boundscheck=False)
def _collect(fired, spikes, unit, scratch, at):
    """Append a step's spikes to the list; its new end."""
    words = fired.view(np.uint64)
    for word in range(words.size):
        if words[word]:  # few neurons spike: eight are passed over at once
            for i in range(8 * word, 8 * word + 8):  # without a branch that cannot be foreseen
                scratch.events[at] = i
                scratch.values[at] = spikes[i] * unit
                at += fired[i]
    return at


@njit(boundscheck=False)
def run_layers(
    tables: Any, neurons: Any, scratch: Any, base: Any, lift: Any, given: Any, first_layer: Any, last_layer: Any
) -> Any:
    """Some layers of one sample over all steps.

    Parameters
    ----------
    base : (n_neurons,) float32
        Currents that do not change: biases, and what the image adds.
    lift : (n_neurons,) float32
        What comes in once, with the spikes of the first step; (0,) where nothing does.
    given : (n, n_steps, n_targets) float32
        Weighted sums of edges that are not to be computed here; the step is the source's.
    first_layer, last_layer : int
        Of `tables.layers`, the second one excluded.
    """
    n_steps = scratch.slot.shape[1] - 1
    for layer in range(first_layer, last_layer):
        first_edge, last_edge, start, n = tables.layers[layer]
        current, voltage, spikes = scratch.current[:n], scratch.voltage[:n], scratch.spikes
        sums, total = scratch.sums[:, :n], scratch.sum[:n]
        fired = scratch.fired[: (n + 7) // 8].view(np.uint8)
        fired[n:] = 0
        scratch.spikes[:] = ONE
        voltage[:] = ZERO
        sums[:] = ZERO
        at = np.int64(0) if layer == 0 else scratch.slot[layer - 1, n_steps]
        on_host = first_edge == last_edge  # what comes in is not filtered there
        for t in range(n_steps):
            scratch.slot[layer, t] = at
            current[:] = base[start : start + n]
            for edge in range(first_edge, last_edge):
                source, before = tables.edges[edge, 0], t - neurons.delay
                if before < 0:
                    continue
                if tables.edges[edge, 5] < 0:
                    weighted_sum(
                        tables, edge, scratch, scratch.slot[source, before], scratch.slot[source, before + 1], total
                    )
                    _filtered(total, sums[edge - first_edge], current, neurons)
                else:
                    _filtered(given[tables.edges[edge, 5], before, :n], sums[edge - first_edge], current, neurons)
            if lift.size:
                once = lift[start : start + n]
                if on_host and t == 0:
                    for i in range(n):
                        current[i] += neurons.gain * once[i]
                elif not on_host and t >= neurons.delay:
                    total[:] = ZERO
                    if t == neurons.delay:
                        total[:] = once
                    _filtered(total, sums[last_edge - first_edge], current, neurons)
            if neurons.on_chip:
                _chip_step(current, voltage, fired[:n], neurons)
            else:
                _nengo_step(current, voltage, spikes[:n], fired[:n], neurons)
            at = _collect(fired, spikes, neurons.unit, scratch, at)
        scratch.slot[layer, n_steps] = at


@njit(boundscheck=False)
def read_out(tables: Any, scratch: Any, base: Any, given: Any, readout: Any) -> Any:
    """The readout, the last of the layers, at each step: written to `readout` (n_steps, n), which is not delayed."""
    first_edge, last_edge, _, n = tables.layers[tables.layers.shape[0] - 1]
    total = scratch.sum[:n]
    for t in range(readout.shape[0]):
        for edge in range(first_edge, last_edge):
            if tables.edges[edge, 5] < 0:
                source = tables.edges[edge, 0]
                weighted_sum(tables, edge, scratch, scratch.slot[source, t], scratch.slot[source, t + 1], total)
                for i in range(n):
                    readout[t, i] = total[i] if edge == first_edge else readout[t, i] + total[i]
            else:
                for i in range(n):
                    value = given[tables.edges[edge, 5], t, i]
                    readout[t, i] = value if edge == first_edge else readout[t, i] + value
        for i in range(n):
            readout[t, i] += base[i]
