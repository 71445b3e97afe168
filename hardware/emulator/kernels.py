"""The emulator's inner loops: one sample, compiled with Numba.

Each step does what ``nengo_loihi/emulator/interface.py`` does, in this order, with the same 32-bit integers:

1. spikes of the step before add their weights to the synaptic input q of their targets (`deliver`);
2. every compartment is updated (`update_relu`, `update_lif`, `update_general`)::

       q ← wrap(q, 21 bits)
       u ← wrap(decay(u, δu + 1) + q, 23 bits)
       x ← wrap(u + bias, 23 bits)
       v ← clip(decay(v, δv) + x, vmin, vmax);  v ← 0 while refractory
       spike where v > vth;  then v ← 0, r ← refractory period;  r ← max(r − 1, 0)

   with decay(x, δ) = sign(x) ⌊|x| (4096 − δ) / 4096⌋ and wrap(x, b) the two's complement of b bits and a sign;
3. the spikes are collected into a list (`collect`).

How it gets fast. A feed-forward layer depends on others only through their spike lists, so each layer runs several
steps in a row while its state is in the cache (`run_sample`: chunks of steps, stages of layers). Sources with the
same targets follow each other in a list; `deliver` adds up their rows of 16-bit weights in registers and touches the
32-bit inputs once for all of them. No float is involved, so the order of summation cannot matter.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from cotrain.hardware.emulator.compiled import njit
from cotrain.hardware.emulator.memory import LIF, RELU
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_OPTIONS = {"boundscheck": False}

# What one thread writes to. Reused from sample to sample.
Scratch = namedtuple(
    "Scratch",
    [
        "q",  # (n_places,) int32 synaptic input, zero between steps
        "u",  # current
        "v",  # voltage
        "r",  # refractory count
        "flags",  # (n_places,) uint8, spiked in the step just done
        "events",  # int32 lists of spikes: per layer a chunk of steps after the last step of the chunk before
        "event_start",  # (n_layers,) int64
        "slot",  # (n_layers, chunk + 2) int64: events[slot[s] : slot[s + 1]] are the spikes before local step s
        "rows",  # int64, rows being summed
    ],
)

# What is read out. Column tables map a place to a column of `spikes`, or list the places read.
Readout = namedtuple("Readout", ["spike_column", "u_start", "u_place", "v_start", "v_place"])


def _add_rows(lanes):
    """Make ``add_rows(q, place, pool, offset, rows, n_rows, shift)`` for `lanes` neighbouring targets.

    q[place + i] += (Σ_k pool[rows[k] + offset + i]) << shift, the sum in 16 bits. Written as vectors, since compilers
    prove neither that q and pool are apart nor that the length is a multiple of the vector's.
    """

    @intrinsic
    def add_rows(typingctx, q, place, pool, offset, rows, n_rows, shift):
        signature = types.void(q, types.int64, pool, types.int64, rows, types.int64, types.int64)

        def codegen(context, builder, sig, args):
            q_type, _, pool_type, _, rows_type, _, _ = sig.args
            q, place, pool, offset, rows, n_rows, shift = args
            i16, i32, i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
            narrow, wide = ir.VectorType(i16, lanes), ir.VectorType(i32, lanes)
            q_data = context.make_array(q_type)(context, builder, q).data
            pool_data = context.make_array(pool_type)(context, builder, pool).data
            rows_data = context.make_array(rows_type)(context, builder, rows).data

            def load(data, index, kind, align):
                return builder.load(builder.bitcast(builder.gep(data, [index]), kind.as_pointer()), align=align)

            entry = builder.basic_block
            loop = builder.append_basic_block(f"sum{lanes}")
            done = builder.append_basic_block(f"sum{lanes}.done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k, total = builder.phi(i64), builder.phi(narrow)
            row = builder.load(builder.gep(rows_data, [k]))
            after = builder.add(total, load(pool_data, builder.add(row, offset), narrow, 2))
            following = builder.add(k, i64(1))
            for phi, first, again in ((k, i64(0), following), (total, ir.Constant(narrow, None), after)):
                phi.add_incoming(first, entry)
                phi.add_incoming(again, loop)
            builder.cbranch(builder.icmp_signed("<", following, n_rows), loop, done)
            builder.position_at_end(done)
            amount = builder.insert_element(ir.Constant(wide, None), builder.trunc(shift, i32), i32(0))
            amount = builder.shuffle_vector(amount, amount, ir.Constant(ir.VectorType(i32, lanes), None))
            weight = builder.shl(builder.sext(after, wide), amount)
            pointer = builder.bitcast(builder.gep(q_data, [place]), wide.as_pointer())
            builder.store(builder.add(builder.load(pointer, align=4), weight), pointer, align=4)
            return context.get_dummy_value()

        return signature, codegen

    return add_rows


add_rows_128 = _add_rows(128)
add_rows_64 = _add_rows(64)
add_rows_32 = _add_rows(32)
add_rows_16 = _add_rows(16)


@njit(**_OPTIONS)
def deliver(layout, projection, lines, first, last, q, rows):
    """Add the weights of all spikes ``lines[first:last]`` of a projection; return the synaptic operations done."""
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
        target = np.int64(layout.group_target[group])
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


@njit(inline="always", **_OPTIONS)
def _wrap22(x):
    return np.int32(np.int32(x << 10) >> 10)


@njit(inline="always", **_OPTIONS)
def _wrap24(x):
    return np.int32(np.int32(x << 8) >> 8)


@njit(inline="always", **_OPTIONS)
def _decay(x, keep):
    """sign(x) ⌊|x| keep / 4096⌋ in 32 bits: |x| = 4096 h + l, so it is h keep + ⌊l keep / 4096⌋."""
    magnitude = np.uint32(np.int32(abs(x)))
    high = np.uint32(np.uint32(magnitude >> np.uint32(12)) * np.uint32(keep))
    low = np.uint32(np.uint32(magnitude & np.uint32(4095)) * np.uint32(keep)) >> np.uint32(12)
    decayed = np.int32(np.uint32(high + np.uint32(low)))
    return decayed if x >= 0 else np.int32(-decayed)


@njit(**_OPTIONS)
def update_relu(layout, layer, scratch, overflows):
    """Compartments that neither leak nor rest: v ← clip(v + x)."""
    first = layout.layer_start[layer]
    last = first + layout.layer_size[layer]
    keep_u = layout.layer_scalars[layer, 0]
    vmin, vmax = layout.layer_scalars[layer, 3], layout.layer_scalars[layer, 4]
    bias, vth = layout.bias[first:last], layout.vth[first:last]
    qs, us, vs = scratch.q[first:last], scratch.u[first:last], scratch.v[first:last]
    flags = scratch.flags[first:last]
    over_q, over_u, over_x = np.int32(0), np.int32(0), np.int32(0)
    for i in range(last - first):
        q = _wrap22(qs[i])
        over_q = np.int32(over_q + np.int32(q != qs[i]))
        qs[i] = np.int32(0)
        full = np.int32(_decay(us[i], keep_u) + q)
        u = _wrap24(full)
        over_u = np.int32(over_u + np.int32(u != full))
        us[i] = u
        full = np.int32(u + bias[i])
        x = _wrap24(full)
        over_x = np.int32(over_x + np.int32(x != full))
        v = np.int32(vs[i] + x)
        v = np.int32(min(np.int32(max(v, vmin)), vmax))
        spiked = v > vth[i]
        vs[i] = np.int32(0) if spiked else v
        flags[i] = np.uint8(spiked)
    overflows[0] += over_q
    overflows[1] += over_u
    overflows[2] += over_x


@njit(**_OPTIONS)
def update_lif(layout, layer, scratch, overflows):
    """Compartments with a leak or a refractory period, the same for the whole layer."""
    first = layout.layer_start[layer]
    last = first + layout.layer_size[layer]
    keep_u, keep_v = layout.layer_scalars[layer, 0], layout.layer_scalars[layer, 1]
    refractory = layout.layer_scalars[layer, 2]
    vmin, vmax = layout.layer_scalars[layer, 3], layout.layer_scalars[layer, 4]
    bias, vth = layout.bias[first:last], layout.vth[first:last]
    qs, us, vs = scratch.q[first:last], scratch.u[first:last], scratch.v[first:last]
    rs, flags = scratch.r[first:last], scratch.flags[first:last]
    over_q, over_u, over_x = np.int32(0), np.int32(0), np.int32(0)
    for i in range(last - first):
        q = _wrap22(qs[i])
        over_q = np.int32(over_q + np.int32(q != qs[i]))
        qs[i] = np.int32(0)
        full = np.int32(_decay(us[i], keep_u) + q)
        u = _wrap24(full)
        over_u = np.int32(over_u + np.int32(u != full))
        us[i] = u
        full = np.int32(u + bias[i])
        x = _wrap24(full)
        over_x = np.int32(over_x + np.int32(x != full))
        v = np.int32(_decay(vs[i], keep_v) + x)
        v = np.int32(min(np.int32(max(v, vmin)), vmax))
        r = rs[i]
        v = np.int32(0) if r > 0 else v
        spiked = v > vth[i]
        vs[i] = np.int32(0) if spiked else v
        r = refractory if spiked else r
        rs[i] = np.int32(max(np.int32(r - 1), np.int32(0)))
        flags[i] = np.uint8(spiked)
    overflows[0] += over_q
    overflows[1] += over_u
    overflows[2] += over_x


@njit(**_OPTIONS)
def update_general(layout, layer, scratch, overflows, noise):
    """Compartments that differ within the layer, or are noisy. `noise` is one value per noisy compartment."""
    q_all, u_all, v_all, r_all = scratch.q, scratch.u, scratch.v, scratch.r
    for i in range(layout.layer_start[layer], layout.layer_start[layer] + layout.layer_size[layer]):
        row = layout.noise_row[i]
        extra = np.int32(0) if row < 0 else noise[row]
        at_membrane = layout.noise_membrane[i]
        full = q_all[i] if at_membrane else np.int32(q_all[i] + extra)
        q = _wrap22(full)
        overflows[0] += q != full
        q_all[i] = np.int32(0)
        full = np.int32(_decay(u_all[i], layout.keep_u[i]) + q)
        u = _wrap24(full)
        overflows[1] += u != full
        u_all[i] = u
        full = np.int32(u + layout.bias[i])
        if at_membrane:
            full = np.int32(full + extra)
        x = _wrap24(full)
        overflows[2] += x != full
        v = np.int32(_decay(v_all[i], layout.keep_v[i]) + x)
        v = np.int32(min(np.int32(max(v, layout.vmin[i])), layout.vmax[i]))
        r = r_all[i]
        if r > 0:
            v = np.int32(0)
        spiked = v > layout.vth[i]
        if spiked:
            v = np.int32(0)
            r = layout.refractory[i]
        v_all[i] = v
        r_all[i] = np.int32(max(np.int32(r - 1), np.int32(0)))
        scratch.flags[i] = np.uint8(spiked)


@intrinsic
def _mask(typingctx, flags, first):
    """Bit i of the result is set where flags[first + i] is not zero, i = 0 … 63."""

    def codegen(context, builder, sig, args):
        i8, i64 = ir.IntType(8), ir.IntType(64)
        vector = ir.VectorType(i8, 64)
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), vector.as_pointer())
        loaded = builder.load(pointer, align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", loaded, ir.Constant(vector, None)), i64)

    return types.uint64(flags, types.int64), codegen


@intrinsic
def _lowest_bit(typingctx, mask):
    """Number of the lowest bit that is set."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.uint64), codegen


@njit(**_OPTIONS)
def collect(layout, layer, scratch, at, counts):
    """Append the places (within the layer) whose flag is set to `events` from `at` on; return where the list ends."""
    first = layout.layer_start[layer]
    flags, events = scratch.flags, scratch.events
    for begin in range(0, layout.layer_size[layer], 64):  # layers are padded to multiples of 64
        mask = _mask(flags, first + begin)
        while mask != np.uint64(0):
            place = begin + _lowest_bit(mask)
            mask &= mask - np.uint64(1)
            events[at] = place
            counts[first + place] += np.int32(1)
            at += 1
    return at


@njit(**_OPTIONS)
def run_sample(
    layout, scratch, readout, n_steps, input_start, input_lines, noise, spikes, us, vs,
    n_spikes, n_synops, overflows, counts,
):  # fmt: skip
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
    spikes, us, vs : (n_steps, n_columns) uint8, int32, int32
        Written: what `readout` asks for. `spikes` must be zero.
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
            for t in range(begin, end):
                s = t - begin
                for k in range(layout.stage_start[stage], layout.stage_start[stage + 1]):
                    layer = layout.stage_layer[k]
                    for p in range(layout.projection_start[layer], layout.projection_start[layer + 1]):
                        unit = layout.projection_unit[p]
                        if unit < n_layers:
                            n_synops[layer] += deliver(
                                layout, p, events, slot[unit, s], slot[unit, s + 1], scratch.q, scratch.rows
                            )
                        else:
                            first = input_start[unit - n_layers, t]
                            last = input_start[unit - n_layers, t + 1]
                            n_synops[layer] += deliver(layout, p, input_lines, first, last, scratch.q, scratch.rows)
                    kind = layout.layer_kind[layer]
                    if kind == RELU:
                        update_relu(layout, layer, scratch, overflows[layer])
                    elif kind == LIF:
                        update_lif(layout, layer, scratch, overflows[layer])
                    else:
                        update_general(layout, layer, scratch, overflows[layer], noise[min(t, noise.shape[0] - 1)])
                    at = slot[layer, s + 1]
                    slot[layer, s + 2] = collect(layout, layer, scratch, at, counts)
                    n_spikes[layer] += slot[layer, s + 2] - at
                    place = layout.layer_start[layer]
                    if spikes.shape[1] > 0:
                        for e in range(at, slot[layer, s + 2]):
                            column = readout.spike_column[place + events[e]]
                            if column >= 0:
                                spikes[t, column] = 1
                    for c in range(readout.u_start[layer], readout.u_start[layer + 1]):
                        us[t, c] = scratch.u[readout.u_place[c]]
                    for c in range(readout.v_start[layer], readout.v_start[layer + 1]):
                        vs[t, c] = scratch.v[readout.v_place[c]]
        for layer in range(n_layers):  # the last step's spikes go to the front
            first, last = slot[layer, end - begin], slot[layer, end - begin + 1]
            at = scratch.event_start[layer]
            for e in range(first, last):
                events[at] = events[e]
                at += 1
            slot[layer, 1] = at
