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

import numpy as np

INDEX_BITS = np.array([0, 6, 7, 8, 9, 10, 11, 12])  # what Loihi can store an index in (NengoLoihi block.py)
WEIGHT_BITS = 8
SYNAPSES_PER_BLOCK = 64
HEADER_BITS = 4 + 6
MEMORY_UNIT_BITS = 64


def axon_bits(n_weights, bits_per_weight):
    """Synapse memory of axons with ``n_weights`` weights each (NengoLoihi block.py, SynapseConfig.bits_per_axon)."""

    def rounded(n):
        bits = n * bits_per_weight + HEADER_BITS
        return np.where(n > 0, -(-bits // MEMORY_UNIT_BITS) * MEMORY_UNIT_BITS, 0)

    full, rest = np.divmod(np.asarray(n_weights), SYNAPSES_PER_BLOCK)
    return full * rounded(np.asarray(SYNAPSES_PER_BLOCK)) + rounded(rest)


def index_bits(max_index):
    """Bits that the widest compartment index of a synapse takes."""
    bits = int(np.ceil(np.log2(max_index + 1)))
    return int(INDEX_BITS[np.searchsorted(INDEX_BITS, bits)]) if bits <= INDEX_BITS[-1] else 2 * bits


@dataclass(frozen=True, eq=False)
class Axis:
    """One spatial axis of a convolution: input pixel i reaches outputs first[i] ... first[i] + count[i] - 1.

    ``kernel[i]`` is the kernel position that the first of these uses, ``kernel_step`` how far the next output's
    position is from it; ``count[i]`` is 0 for a pixel without targets.
    """

    n_in: int
    n_out: int
    first: tuple
    count: tuple
    kernel: tuple
    kernel_step: int
    _memo: dict = field(default_factory=dict, repr=False)

    def profiles(self, size):
        """Kinds of blocks when the outputs are cut every ``size``: [(block length, entries)], without repeats.

        An entry is (first output within the block, number of outputs, kernel position of the first) of an input pixel
        that reaches the block. Pixels of equal entries differ only in where they come from.
        """
        if size in self._memo:
            return self._memo[size]
        kinds = []
        for start in range(0, self.n_out, size):
            stop = min(start + size, self.n_out)
            entries = []
            for first, count, kernel in zip(self.first, self.count, self.kernel):
                low, high = max(first, start), min(first + count, stop)
                if low < high:
                    position = kernel + (low - first) * self.kernel_step
                    entries.append((low - start, high - low, position))
            kind = (stop - start, tuple(entries))
            if kind not in kinds:
                kinds.append(kind)
        return self._memo.setdefault(size, kinds)

    def fan_out(self, source_size, target_size, whole_target):
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
        first, count = np.array(self.first), np.array(self.count)
        hits = (first[:, None] < starts + target_size) & (first[:, None] + count[:, None] > starts)
        hits &= count[:, None] > 0
        per_pixel = hits.sum(axis=1)
        most = max(per_pixel[i : i + source_size].sum() for i in range(0, self.n_in, source_size))
        return self._memo.setdefault(key, int(most))


def axis_of(transform, axis):
    """Return the `Axis` of a nengo.Convolution or nengo.transforms.ConvolutionTranspose (2-D)."""
    transpose = type(transform).__name__ == "ConvolutionTranspose"
    n_in = transform.input_shape.spatial_shape[axis]
    n_out = transform.output_shape.spatial_shape[axis]
    kernel, stride = transform.kernel_size[axis], transform.strides[axis]
    same = transform.padding == "same"
    # paddings as nengo's convolution defines them (NengoLoihi conv.py)
    if transpose:
        pad = -(min(max(n_out + kernel - 1 - (n_in - 1) * stride - 1, 0), 2 * (kernel - 1)) // 2) if same else 0
    else:
        pad = max((n_out - 1) * stride + kernel - n_in, 0) // 2 if same else 0
    first, count, position = [], [], []
    for i in range(n_in):
        start = i * stride + pad if transpose else i + pad + 1 - kernel
        hits = [(start + k, k) for k in range(kernel)]
        if transpose:
            hits = [(out, k) for out, k in hits if 0 <= out < n_out]
        else:
            hits = [(r // stride, k) for r, k in hits if r % stride == 0 and 0 <= r // stride < n_out]
        first.append(hits[0][0] if hits else 0)
        count.append(len(hits))
        position.append(hits[0][1] if hits else 0)
    return Axis(n_in, n_out, tuple(first), tuple(count), tuple(position), 1 if transpose else stride)


@dataclass(frozen=True, eq=False)
class ConvGeometry:
    """A 2-D convolution as the partitioner sees it."""

    rows: Axis
    cols: Axis
    n_channels: int  # of the input: the populations of an axon
    n_filters: int
    channels_last: bool

    @property
    def output_shape(self):
        spatial = (self.rows.n_out, self.cols.n_out)
        return spatial + (self.n_filters,) if self.channels_last else (self.n_filters,) + spatial

    @property
    def input_shape(self):
        spatial = (self.rows.n_in, self.cols.n_in)
        return spatial + (self.n_channels,) if self.channels_last else (self.n_channels,) + spatial

    def spatial(self, shape):
        """Split a shape into (rows, columns, channels), whatever the order in memory."""
        return shape if self.channels_last else (shape[1], shape[2], shape[0])

    def input_cost(self, shape):
        """Worst input axons and synapse bits of a block of ``shape``, and input axons summed over all blocks.

        Returns
        -------
        (int, int, int)
        """
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
                base // 256,
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
        bits_per_weight = WEIGHT_BITS + index_bits(int((offset * 256 + reach).max()))
        return int(axon_bits(self.n_channels * n_filters * n_r * n_c, bits_per_weight).sum())

    def bases_are_multiples(self, shape, multiple):
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


def conv_geometry(transform):
    """Return the `ConvGeometry` of a nengo.Convolution or ConvolutionTranspose with two spatial dimensions."""
    return ConvGeometry(
        rows=axis_of(transform, 0),
        cols=axis_of(transform, 1),
        n_channels=transform.input_shape.n_channels,
        n_filters=transform.n_filters,
        channels_last=transform.channels_last,
    )
