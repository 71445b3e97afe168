"""nengo-loihi's synapses of a convolution, one weight entry at a time instead of one pixel at a time."""

from __future__ import annotations

from typing import Any, List, Tuple

import numpy as np
from cotrain.hardware.builder.convolution import axes_of
from cotrain.hardware.chip.synapse_memory import COMPARTMENT_BASES
from nengo.transforms import ConvolutionTranspose


def conv2d_loihi_weights(transform: Any) -> Tuple[List[np.ndarray], List[np.ndarray], np.ndarray, np.ndarray]:
    """As `nengo_loihi.conv.conv2d_loihi_weights`.

    Only a transposed convolution with padding "same" and an output shape of its own (twice the input, say) comes out as
    in Nengo, whose padding nengo_loihi gets wrong there.

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
        kernel = kernel[:, ::-1, ::-1, :]  # its positions in the order of the outputs that they lead to

    rows, columns = axes_of(transform)
    (row_masks, row_kind), (column_masks, column_kind) = _kinds(rows), _kinds(columns)
    used = ((rows.count > 0)[:, None] & (columns.count > 0)).ravel()
    offset = rows.first[:, None] * output[1] + columns.first
    offset = (offset * n_filters if transform.channels_last else offset).ravel()
    base = offset % COMPARTMENT_BASES
    # entries in the order in which pixels first need them
    key = np.stack(
        [
            np.repeat(row_kind, len(column_kind)),
            np.tile(column_kind, len(row_kind)),
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
    for i, j, index_offset in kinds[by_first].tolist():
        mask_i, mask_j = row_masks[i], column_masks[j]
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


def _kinds(axis):
    """The different ways in which an axis crops the kernel, (n_kinds, n_kernel) bool, and each input's, (n_in,)."""
    masks, kind = np.unique(axis.ascending >= 0, axis=0, return_inverse=True)
    return masks, kind.ravel()
