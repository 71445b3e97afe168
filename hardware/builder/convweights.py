"""nengo-loihi's synapses of a convolution, one weight entry at a time instead of one pixel at a time."""

from __future__ import annotations

import numpy as np
from nengo.transforms import ConvolutionTranspose

BASES = 256  # compartment bases that an axon can have; the rest of an offset goes into the indices


def conv2d_loihi_weights(transform):
    """As `nengo_loihi.conv.conv2d_loihi_weights`.

    Parameters
    ----------
    transform : nengo.Convolution or nengo.transforms.ConvolutionTranspose
        With its kernel as an array.

    Returns
    -------
    weights, indices : list of (n_channels, n_targets) arrays
        The entries of weight memory.
    entry_of_axon, base : (n_pixels,) int32 arrays
        Entry and compartment base (-1: not used) of the axon of every input pixel.
    """
    assert transform.channels_last == transform.input_shape.channels_last, "channel position changes"
    transpose = isinstance(transform, ConvolutionTranspose)
    kernel = transform.init
    n_channels, n_filters = transform.input_shape.n_channels, transform.n_filters
    assert kernel.shape == (*transform.kernel_size, n_channels, n_filters)
    output = transform.output_shape.spatial_shape
    kernel = np.transpose(kernel, (2, 0, 1, 3))
    if not transpose:
        kernel = kernel[:, ::-1, ::-1, :]  # convolution as correlation

    rows, columns = (_Axis(transform, dimension, transpose) for dimension in (0, 1))
    used = (rows.mask.any(axis=1)[:, None] & columns.mask.any(axis=1)).ravel()
    offset = rows.first[:, None] * output[1] + columns.first
    offset = (offset * n_filters if transform.channels_last else offset).ravel()
    base = offset % BASES
    # entries in the order in which pixels first need them
    key = np.stack(
        [
            np.repeat(rows.kind, len(columns.kind)),
            np.tile(columns.kind, len(rows.kind)),
            offset - base,
        ],
        axis=1,
    )[used]
    kinds, first, entry = np.unique(key, axis=0, return_index=True, return_inverse=True)
    by_first = np.argsort(first, kind="stable")
    rank = np.empty(len(kinds), dtype=np.int32)
    rank[by_first] = np.arange(len(kinds))

    base_of_axon = np.full(used.size, -1, dtype=np.int32)
    base_of_axon[used] = base[used]
    entry_of_axon = np.zeros(used.size, dtype=np.int32)
    entry_of_axon[used] = rank[entry.ravel()]

    weights, indices = [], []
    for row_kind, column_kind, index_offset in kinds[by_first].tolist():
        mask_i, mask_j = rows.masks[row_kind], columns.masks[column_kind]
        w = kernel[:, mask_i[:, None] * mask_j, :]
        steps = np.ix_(np.arange(mask_i.sum()), np.arange(mask_j.sum()), np.arange(n_filters))
        if transform.channels_last:
            target = (steps[0] * output[1] + steps[1]) * n_filters + steps[2]
        else:
            w = np.transpose(w, (0, 2, 1))
            target = steps[2] * (output[0] * output[1]) + steps[0] * output[1] + steps[1]
            target = np.moveaxis(target, 2, 0)
        weights.append(w.reshape(n_channels, -1))
        target = (target.ravel() + index_offset).astype(np.int32)
        indices.append(np.repeat(target[None], n_channels, axis=0))
    highest = np.array([i.max() for i in indices])
    n_compartments = output[0] * output[1] * n_filters
    assert (base_of_axon[used] + highest[entry_of_axon[used]] < n_compartments).all()
    return weights, indices, entry_of_axon, base_of_axon


class _Axis:
    """One dimension of a convolution.

    Attributes
    ----------
    mask : (n_input, n_kernel) bool array
        Which elements of the kernel fall on outputs, for each input.
    first : (n_input,) int array
        The first of these outputs; undefined where there is none.
    kind : (n_input,) int array
        Number of the row of `masks` that equals the input's row of `mask`.
    """

    def __init__(self, transform, dimension, transpose):
        n_in = transform.input_shape.spatial_shape[dimension]
        n_out = transform.output_shape.spatial_shape[dimension]
        size, stride = transform.kernel_size[dimension], transform.strides[dimension]
        pad = 0
        if transform.padding == "same":  # as nengo._vendor.npconv2d
            if transpose:
                reach = (n_in - 1) * stride + 1
                pad = -(min(max(n_out + size - 1 - reach, 0), (size - 1) * 2) // 2)
            else:
                pad = max((n_out - 1) * stride + size - n_in, 0) // 2
        start = np.arange(n_in) * stride + pad if transpose else np.arange(n_in) + pad + 1 - size
        place = start[:, None] + np.arange(size)
        if transpose:
            self.mask = (place >= 0) & (place < n_out)
            assert self.mask.any(axis=1).all()
        else:
            self.mask = (place >= 0) & (place < (n_out - 1) * stride + 1) & (place % stride == 0)
        self.first = place[np.arange(n_in), self.mask.argmax(axis=1)]
        if not transpose:
            self.first //= stride
        self.masks, kind = np.unique(self.mask, axis=0, return_inverse=True)
        self.kind = kind.ravel()
