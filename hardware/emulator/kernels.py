"""The emulator's inner loops: one sample, compiled with Numba.

Each step does what ``nengo_loihi/emulator/interface.py`` does, in this order, with the same 32-bit integers:

1. spikes of the step before add their weights to the synaptic input q of their targets (`deliver`);
2. every compartment is updated (`updates.update_layer`, with the equations);
3. the spikes are collected into a list (`collect`).

How it gets fast. A feed-forward layer depends on others only through their spike lists, so each layer runs several
steps in a row while its state is in the cache (`run_sample`: chunks of steps, stages of layers), and of these some at
once, so that its compartments are read and written once for all of them (`run_layer`). Sources with the
same targets follow each other in a list; `deliver` adds up their rows of 16-bit weights in registers and touches the
32-bit inputs once for all of them. No float is involved, so the order of summation cannot matter.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
from cotrain.hardware.emulator.compiled import njit
from cotrain.hardware.emulator.flat import STEP
from cotrain.hardware.emulator.updates import WORD, update_layer
from cotrain.hardware.emulator.vectors import (
    LANES,
    add_row_8,
    add_row_16,
    add_row_32,
    add_row_64,
    add_row_128,
    add_rows_16,
    add_rows_32,
    add_rows_64,
    add_rows_128,
    lowest_bit,
)

_OPTIONS = {"boundscheck": False, "error_model": "numpy"}  # nothing here can raise

# What one thread writes to. Reused from sample to sample.
Scratch = namedtuple(
    "Scratch",
    [
        "q",  # int32, synaptic input of one layer for some steps, `q_stride` apart; zero in between
        "q_stride",  # int
        "block",  # (n_layers,) int64, steps that a layer may run in a row
        "u",  # (n_places,) int32 current
        "v",  # voltage
        "r",  # refractory count
        "words",  # uint16, spikes of one layer in the steps just done, a bit each, q_stride / 16 apart
        "words64",  # uint64, the same memory
        "events",  # int32 lists of spikes: per layer a chunk of steps after the last step of the chunk before
        "event_start",  # (n_layers,) int64
        "slot",  # (n_layers, chunk + 2) int64: events[slot[s] : slot[s + 1]] are the spikes before local step s
        "rows",  # int64, rows being summed
    ],
)

# What is read out: the first word of each layer's spikes (-1: not recorded), and the places of registers.
Readout = namedtuple("Readout", ["word", "u_start", "u_place", "v_start", "v_place"])


@njit(**_OPTIONS)
def deliver(
    layout: Any, projection: int, lines: np.ndarray, first: int, last: int, q: np.ndarray, at: Any, rows: np.ndarray
) -> int:
    """Add the weights of all spikes ``lines[first:last]`` of a projection to q; return the synaptic operations done.

    ``q[at + place]`` is the synaptic input of a place.
    """
    offset = layout.projection_offset[projection]
    shift = layout.projection_shift[projection]
    limit = min(layout.projection_limit[projection], rows.size)
    n_synops = 0
    i = first
    while i < last:
        line = offset + lines[i]
        group = layout.line_group[line]
        if group < 0:
            i += 1
            continue
        n = 0
        while True:  # neighbours in the list with the same targets
            rows[n] = np.int64(layout.line_row[line]) * 16
            n += 1
            i += 1
            if i == last or n == limit:
                break
            line = offset + lines[i]
            if layout.line_group[line] != group:
                break
        target = at + np.int64(layout.group_target[group])
        pattern = layout.group_pattern[group]
        n_synops += n * layout.pattern_targets[pattern]
        weight = 0
        for run in range(layout.pattern_start[pattern], layout.pattern_start[pattern + 1]):
            place = target + layout.run_offset[run]
            blocks = np.int64(layout.run_blocks[run])
            while blocks >= 8:
                add_rows_128(q, place, layout.pool, weight, rows, n, shift)
                place += 128
                weight += 128
                blocks -= 8
            if blocks >= 4:
                add_rows_64(q, place, layout.pool, weight, rows, n, shift)
                place += 64
                weight += 64
                blocks -= 4
            if blocks >= 2:
                add_rows_32(q, place, layout.pool, weight, rows, n, shift)
                place += 32
                weight += 32
                blocks -= 2
            if blocks >= 1:
                add_rows_16(q, place, layout.pool, weight, rows, n, shift)
                weight += 16
    return n_synops


@njit(**_OPTIONS)
def deliver_flat(layout: Any, projection: int, lines: np.ndarray, first: int, last: int, q: np.ndarray, at: Any) -> int:
    """`deliver`, each spike by itself."""
    start, table = layout.flat_start[projection], layout.flat_line
    shift = layout.projection_shift[projection]
    runs, blocks = layout.flat_runs[projection], layout.flat_blocks[projection]
    pool = layout.flat_pool
    n_synops = 0
    for i in range(first, last):
        line = start + np.int64(lines[i]) * (2 + runs)
        row = np.int64(table[line]) * STEP
        n_synops += table[line + 1]
        for r in range(line + 2, line + 2 + runs):
            place = at + np.int64(table[r])
            left = blocks
            while left >= 16:
                add_row_128(q, place, pool, row, shift)
                place += 128
                row += 128
                left -= 16
            if left & 8:
                add_row_64(q, place, pool, row, shift)
                place += 64
                row += 64
            if left & 4:
                add_row_32(q, place, pool, row, shift)
                place += 32
                row += 32
            if left & 2:
                add_row_16(q, place, pool, row, shift)
                place += 16
                row += 16
            if left & 1:
                add_row_8(q, place, pool, row, shift)
                row += 8
    return n_synops


@njit(**_OPTIONS)
def one_by_one(layout: Any, projection: int, n_lines: int, n_spikes: int) -> bool:
    """Whether `deliver_flat` is quicker than `deliver`, by rough numbers of cycles (measured)."""
    if layout.flat_start[projection] < 0 or n_lines == 0:
        return False
    blocks = layout.flat_runs[projection] * layout.flat_blocks[projection] * STEP / LANES
    together = 1 + (layout.flat_sources[projection] - 1) * n_spikes / n_lines  # of a group that has any
    return together * (8 + 2.5 * blocks) < 45 + blocks * (2 + 0.5 * together)


@njit(**_OPTIONS)
def collect(layout: Any, layer: int, words: np.ndarray, scratch: Any, at: Any, counts: np.ndarray) -> int:
    """Append the places (within the layer) whose bit is set to `events` from `at` on; return where the list ends."""
    first = layout.layer_start[layer]
    events = scratch.events
    for w in range((layout.layer_size[layer] + WORD - 1) // WORD):
        word = words[w]
        while word != np.uint64(0):
            place = WORD * w + lowest_bit(word)
            word &= word - np.uint64(1)
            events[at] = place
            counts[first + place] += np.int32(1)
            at += 1
    return at


@njit(inline="always", **_OPTIONS)  # a call would count references to all arrays, with locked instructions
def arrive(
    layout: Any, layer: int, t: int, s: int, at: Any, scratch: Any, input_start: np.ndarray, input_lines: np.ndarray
) -> int:
    """Add the weights of what reaches a layer in step t, the s-th of its chunk, to q from `at` on; returns synops."""
    n_layers = layout.layer_start.size - 1
    slot, n_synops = scratch.slot, 0
    for p in range(layout.projection_start[layer], layout.projection_start[layer + 1]):
        unit = layout.projection_unit[p]
        if unit < n_layers:
            lines, first, last = scratch.events, slot[unit, s], slot[unit, s + 1]
        else:
            lines, first, last = input_lines, input_start[unit - n_layers, t], input_start[unit - n_layers, t + 1]
        if one_by_one(layout, p, layout.unit_size[unit], last - first):
            n_synops += deliver_flat(layout, p, lines, first, last, scratch.q, at)
        else:
            n_synops += deliver(layout, p, lines, first, last, scratch.q, at, scratch.rows)
    return n_synops


@njit(**_OPTIONS)
def run_layer(
    layout: Any, layer: int, t: int, s: int, n: int, scratch: Any, readout: Any, input_start: np.ndarray,
    input_lines: np.ndarray, noise: np.ndarray, words: np.ndarray, us: np.ndarray, vs: np.ndarray,
    n_spikes: np.ndarray, n_synops: np.ndarray, overflows: np.ndarray, counts: np.ndarray,
) -> None:  # fmt: skip
    """Run a layer for `n` steps from t on, the s-th and following of their chunk."""
    slot, stride = scratch.slot, scratch.q_stride
    for k in range(n):
        at = k * stride - layout.layer_start[layer]
        n_synops[layer] += arrive(layout, layer, t + k, s + k, at, scratch, input_start, input_lines)
    update_layer(layout, layer, n, scratch, overflows[layer], noise[min(t, noise.shape[0] - 1)])
    word = readout.word[layer]
    for k in range(n):
        fired = scratch.words64[k * (stride // WORD) : (k + 1) * (stride // WORD)]
        at = slot[layer, s + k + 1]
        slot[layer, s + k + 2] = collect(layout, layer, fired, scratch, at, counts)
        n_spikes[layer] += slot[layer, s + k + 2] - at
        if word >= 0:
            for w in range((layout.layer_size[layer] + WORD - 1) // WORD):  # a slice could raise
                words[t + k, word + w] = fired[w]
    for c in range(readout.u_start[layer], readout.u_start[layer + 1]):
        us[t, c] = scratch.u[readout.u_place[c]]
    for c in range(readout.v_start[layer], readout.v_start[layer + 1]):
        vs[t, c] = scratch.v[readout.v_place[c]]


@njit(**_OPTIONS)
def run_sample(
    layout: Any, scratch: Any, readout: Any, n_steps: int, input_start: np.ndarray, input_lines: np.ndarray,
    noise: np.ndarray, words: np.ndarray, us: np.ndarray, vs: np.ndarray,
    n_spikes: np.ndarray, n_synops: np.ndarray, overflows: np.ndarray, counts: np.ndarray,
) -> None:  # fmt: skip
    """Run one sample.

    Parameters
    ----------
    layout, scratch, readout
        See the named tuples. The state in scratch is where the sample goes on from.
    n_steps : int
    input_start : (n_inputs, n_steps + 1) int64
        ``input_lines[input_start[k, t] : input_start[k, t + 1]]`` are the lines of host input k whose spikes reach
        their synapses in step t.
    input_lines : int32
    noise : (n_steps or 0, n_noisy) int32
    words, us, vs : (n_steps, n_words) uint64, (n_steps, n_columns) int32, int32
        Written: what `readout` asks for; spikes as bits.
    n_spikes, n_synops : (n_layers,) int64
        Added to: spikes fired by, and synaptic operations arriving at, each layer.
    overflows : (n_layers, 3) int64
        Added to: registers that wrapped (synaptic input, current, membrane input).
    counts : (n_places,) int32
        Added to: spikes of each compartment.
    """
    n_layers = layout.layer_start.size - 1
    slot, events = scratch.slot, scratch.events
    chunk = slot.shape[1] - 2
    for begin in range(0, n_steps, chunk):
        end = min(begin + chunk, n_steps)
        for stage in range(layout.stage_start.size - 1):
            first, last = layout.stage_start[stage], layout.stage_start[stage + 1]
            block = scratch.block[layout.stage_layer[first]]
            for t in range(begin, end, block):
                for k in range(first, last):
                    run_layer(
                        layout, layout.stage_layer[k], t, t - begin, min(block, end - t), scratch, readout,
                        input_start, input_lines, noise, words, us, vs, n_spikes, n_synops, overflows, counts,
                    )  # fmt: skip
        for layer in range(n_layers):  # the last step's spikes go to the front
            first, last = slot[layer, end - begin], slot[layer, end - begin + 1]
            at = scratch.event_start[layer]
            for e in range(first, last):
                events[at] = events[e]
                at += 1
            slot[layer, 1] = at


@njit(**_OPTIONS)
def run_samples(
    layout: Any, scratch: Any, readout: Any, resume: bool, n_steps: int, input_start: np.ndarray,
    input_lines: np.ndarray, noise: np.ndarray, words: np.ndarray, us: np.ndarray, vs: np.ndarray,
    n_spikes: np.ndarray, n_synops: np.ndarray, overflows: np.ndarray, counts: np.ndarray,
) -> None:  # fmt: skip
    """Run samples one after the other, each from rest unless `resume`; Python's lock is free all the time.

    The arrays are those of `run_sample` with one more axis, the first: that of the samples. `input_lines`, `noise` and
    `counts` are common to all.
    """
    n_layers = layout.layer_start.size - 1
    for b in range(input_start.shape[0]):
        if not resume:
            scratch.u[:] = 0
            scratch.v[:] = 0
            scratch.r[:] = 0
            for layer in range(n_layers):  # no spikes before the first step
                scratch.slot[layer, 0] = scratch.event_start[layer]
                scratch.slot[layer, 1] = scratch.event_start[layer]
        run_sample(
            layout, scratch, readout, n_steps, input_start[b], input_lines, noise,
            words[b], us[b], vs[b], n_spikes[b], n_synops[b], overflows[b], counts,
        )  # fmt: skip
