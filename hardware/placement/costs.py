"""Which pixels a convolution connects, axis by axis, and what a block of its outputs then costs.

A convolution on Loihi has one input axon per input pixel (all channels share it as a population), and axons whose
weights are the same share them in synapse memory. nengo_loihi addresses a weight by the compartment where it starts
(a base below 256, plus a rest that is baked into the stored indices), so the weights of the middle of an image are
stored again for every 256 compartments that a block spans, and again for every way the kernel is cropped at an edge
of the block (conv.py and builder/split_blocks.py of NengoLoihi 1.1.0).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Dict, List, Tuple

import numpy as np
from cotrain.hardware.builder.convolution import Axis, axes_of
from cotrain.hardware.chip.synapse_memory import COMPARTMENT_BASES, WEIGHT_BITS, axon_bits, index_bits


@dataclass(frozen=True, eq=False)
class CutAxis:
    """One spatial axis of a convolution whose outputs are cut into blocks."""

    axis: Axis
    _memo: dict = field(default_factory=dict, repr=False)

    @property
    def n_in(self) -> int:
        return self.axis.n_in

    @property
    def n_out(self) -> int:
        return self.axis.n_out

    def profiles(self, size: int) -> List[Tuple[int, tuple]]:
        """Kinds of blocks when the outputs are cut every ``size``: [(block length, entries)], without repeats.

        An entry is (first output within the block, number of outputs, kernel position of the first) of an input pixel
        that reaches the block. Pixels of equal entries differ only in where they come from.
        """
        if size in self._memo:
            return self._memo[size]
        kinds = []
        reached = list(zip(*(a.tolist() for a in (self.axis.first, self.axis.count, self.axis.first_position))))
        for start in range(0, self.n_out, size):
            stop = min(start + size, self.n_out)
            entries = []
            for first, count, kernel in reached:
                low, high = max(first, start), min(first + count, stop)
                if low < high:
                    position = kernel + (low - first) * self.axis.step
                    entries.append((low - start, high - low, position))
            kind = (stop - start, tuple(entries))
            if kind not in kinds:
                kinds.append(kind)
        return self._memo.setdefault(size, kinds)

    def fan_out(self, source_size: int, target_size: int, whole_target: bool) -> int:
        """Most axons along this axis that one block of ``source_size`` pixels sends, summed over target blocks.

        ``whole_target``: the target is one single block, for which nengo_loihi reserves an axon for each pixel, used
        or not.
        """
        if whole_target:
            return min(source_size, self.n_in)
        key = (source_size, target_size)
        if key in self._memo:
            return self._memo[key]
        starts = np.arange(0, self.n_out, target_size)
        first, count = self.axis.first, self.axis.count
        hits = (first[:, None] < starts + target_size) & (first[:, None] + count[:, None] > starts)
        hits &= count[:, None] > 0
        per_pixel = hits.sum(axis=1)
        most = max(per_pixel[i : i + source_size].sum() for i in range(0, self.n_in, source_size))
        return self._memo.setdefault(key, int(most))


# Costs do not hang on weights, and networks that differ in nothing else are often placed one after the other
MOST_COSTS = 100_000
_COSTS: Dict[tuple, Tuple[int, int, int]] = {}


@dataclass(frozen=True, eq=False)
class ConvGeometry:
    """A 2-D convolution as the partitioner sees it."""

    rows: CutAxis
    cols: CutAxis
    n_channels: int  # of the input: the populations of an axon
    n_filters: int
    channels_last: bool

    @property
    def output_shape(self) -> Tuple[int, int, int]:
        spatial = (self.rows.n_out, self.cols.n_out)
        return spatial + (self.n_filters,) if self.channels_last else (self.n_filters,) + spatial

    @property
    def input_shape(self) -> Tuple[int, int, int]:
        spatial = (self.rows.n_in, self.cols.n_in)
        return spatial + (self.n_channels,) if self.channels_last else (self.n_channels,) + spatial

    def spatial(self, shape: tuple) -> tuple:
        """Split a shape into (rows, columns, channels), whatever the order in memory."""
        return shape if self.channels_last else (shape[1], shape[2], shape[0])

    def input_cost(self, shape: tuple) -> Tuple[int, int, int]:
        """Worst input axons and synapse bits of a block of ``shape``, and input axons summed over all blocks.

        Returns
        -------
        (int, int, int)
        """
        key = (self.rows.axis, self.cols.axis, self.n_channels, self.n_filters, self.channels_last, shape)
        if key not in _COSTS:
            if len(_COSTS) >= MOST_COSTS:
                _COSTS.clear()
            _COSTS[key] = self._input_cost(shape)
        return _COSTS[key]

    def _input_cost(self, shape):
        h, w, c = self.spatial(shape)
        n_row_blocks, n_col_blocks = -(-self.rows.n_out // h), -(-self.cols.n_out // w)
        n_filter_blocks = -(-self.n_filters // c)
        whole = n_row_blocks * n_col_blocks * n_filter_blocks == 1
        if whole:
            axons = total = self.rows.n_in * self.cols.n_in
        else:
            row_kinds, col_kinds = self.rows.profiles(h), self.cols.profiles(w)
            axons = max(len(r) for _, r in row_kinds) * max(len(k) for _, k in col_kinds)
            total = n_filter_blocks * self.rows.fan_out(self.rows.n_in, h, False)
            total *= self.cols.fan_out(self.cols.n_in, w, False)
        filters = {
            min(c, self.n_filters),
            self.n_filters - (n_filter_blocks - 1) * min(c, self.n_filters),
        }
        bits = max(
            self._bits(row, col, f)
            for row, col, f in itertools.product(self.rows.profiles(h), self.cols.profiles(w), filters)
        )
        return axons, bits, total

    def _bits(self, row_kind, col_kind, n_filters):
        """Synapse memory of one block: each distinct (crop of the kernel, start of its indices) is stored once."""
        (h, rows), (w, cols) = row_kind, col_kind
        if not rows or not cols:
            return 0
        r, c = np.array(rows), np.array(cols)
        step = n_filters if self.channels_last else 1
        base = (r[:, None, 0] * w + c[None, :, 0]) * step
        shape = base.shape
        keys = np.stack(
            [
                base // COMPARTMENT_BASES,
                np.broadcast_to(r[:, None, 1], shape),
                np.broadcast_to(r[:, None, 2], shape),
                np.broadcast_to(c[None, :, 1], shape),
                np.broadcast_to(c[None, :, 2], shape),
            ],
            axis=-1,
        ).reshape(-1, 5)
        keys = np.unique(keys @ np.array([64**4, 1, 64, 64**2, 64**3]))
        offset, n_r, n_c = keys // 64**4, keys % 64, keys // 64**2 % 64
        if self.channels_last:
            reach = ((n_r - 1) * w + n_c) * n_filters - 1
        else:
            reach = (n_filters - 1) * h * w + (n_r - 1) * w + n_c - 1
        bits_per_weight = WEIGHT_BITS + index_bits(int((offset * COMPARTMENT_BASES + reach).max()))
        return int(axon_bits(self.n_channels * n_filters * n_r * n_c, bits_per_weight).sum())

    def bases_are_multiples(self, shape: tuple, multiple: int) -> bool:
        """Whether every block of ``shape`` starts all its axons at a multiple of ``multiple`` compartments."""
        h, w, c = self.spatial(shape)
        n_filter_blocks = -(-self.n_filters // c)
        for n_filters in {
            min(c, self.n_filters),
            self.n_filters - (n_filter_blocks - 1) * min(c, self.n_filters),
        }:
            step = n_filters if self.channels_last else 1
            if step % multiple == 0:
                continue
            for (_, rows), (width, cols) in itertools.product(self.rows.profiles(h), self.cols.profiles(w)):
                starts = {(r * width + k) * step for r, _, _ in rows for k, _, _ in cols}
                if any(start % multiple for start in starts):
                    return False
        return True


def conv_geometry(transform: Any) -> ConvGeometry:
    """Return the `ConvGeometry` of a nengo.Convolution or ConvolutionTranspose with two spatial dimensions."""
    rows, columns = axes_of(transform)
    return ConvGeometry(
        rows=CutAxis(rows),
        cols=CutAxis(columns),
        n_channels=transform.input_shape.n_channels,
        n_filters=transform.n_filters,
        channels_last=transform.channels_last,
    )
