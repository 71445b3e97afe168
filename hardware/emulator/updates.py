"""One step of the compartments of a layer::

       q ← wrap(q, 21 bits)
       u ← wrap(decay(u, δu + 1) + q, 23 bits)
       x ← wrap(u + bias, 23 bits)
       v ← clip(decay(v, δv) + x, vmin, vmax);  v ← 0 while refractory
       spike where v > vth;  then v ← 0, r ← refractory period;  r ← max(r − 1, 0)

with decay(x, δ) = sign(x) ⌊|x| (4096 − δ) / 4096⌋ and wrap(x, b) the two's complement of b bits and a sign.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cotrain.hardware.emulator.compiled import njit
from cotrain.hardware.emulator.memory import LIF, RELU
from cotrain.hardware.emulator.vectors import LANES, update_lif, update_relu

_OPTIONS = {"boundscheck": False}
WORD = 64  # places start at multiples of this: compartments whose spikes are one word of bits


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
def update_compartments(
    layout: Any, first: int, q_at: int, scratch: Any, overflows: np.ndarray, noise: np.ndarray
) -> np.uint16:
    """Update `LANES` compartments of any kind one by one, for one step; returns their spikes as bits.

    Their synaptic input begins at ``scratch.q[q_at]``; `noise` is one value per noisy compartment.
    """
    q_all, u_all, v_all, r_all = scratch.q, scratch.u, scratch.v, scratch.r
    spikes = 0
    for i in range(first, first + LANES):
        j = q_at + i - first
        row = layout.noise_row[i]
        extra = np.int32(0) if row < 0 else noise[row]
        at_membrane = layout.noise_membrane[i]
        full = q_all[j] if at_membrane else np.int32(q_all[j] + extra)
        q = _wrap22(full)
        overflows[0] += q != full
        q_all[j] = np.int32(0)
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
        if v > layout.vth[i]:
            v = np.int32(0)
            r = layout.refractory[i]
            spikes |= 1 << (i - first)
        v_all[i] = v
        r_all[i] = np.int32(max(np.int32(r - 1), np.int32(0)))
    return np.uint16(spikes)


@njit(**_OPTIONS)
def update_layer(layout: Any, layer: int, n: int, scratch: Any, overflows: np.ndarray, noise: np.ndarray) -> None:
    """Update a layer for `n` steps in a row, of which the synaptic input lies in ``scratch.q``.

    Its spikes are bits of ``scratch.words``. `noise` is that of the first step: layers that have some run step by step.
    """
    q, words, stride = scratch.q, scratch.words, scratch.q_stride
    row = stride // LANES
    kind, start, size = layout.layer_kind[layer], layout.layer_start[layer], layout.layer_size[layer]
    scalars = layout.layer_scalars
    registers = (q, scratch.u, scratch.v, scratch.r, layout.bias, layout.vth, words)
    numbers = (
        scalars[layer, 0], scalars[layer, 1], scalars[layer, 2], scalars[layer, 3], scalars[layer, 4], scalars[layer, 5]
    )  # fmt: skip
    for k in range((size + WORD - 1) // WORD * (WORD // LANES)):  # whole words
        first, done = start + k * LANES, 0
        while done < n:
            if kind == RELU:
                done = update_relu(registers, numbers, k * LANES, stride, first, k, row, done, n)
            elif kind == LIF:
                done = update_lif(registers, numbers, k * LANES, stride, first, k, row, done, n)
            if done < n:  # something may wrap around: one by one, and counted
                at = done * stride + k * LANES
                words[done * row + k] = update_compartments(layout, first, at, scratch, overflows, noise)
                done += 1
