"""The linear maps of a network as `event_kernels` takes them: what a spike adds, and where, as runs of neighbours."""

from __future__ import annotations

import numpy as np
from cotrain.hardware.builder.convolution import Axis
from cotrain.pipeline.evaluation.event_kernels import Tables
from cotrain.pipeline.networks import IMAGE, Edge, NetworkSpec, Params


def tables(spec: NetworkSpec, edges: dict[str, list[Edge]], params: Params, given: list[Edge]) -> Tables:
    """All maps between layers, and into the readout.

    Parameters
    ----------
    edges : {layer or the readout: its edges}
        In the order in which they add up.
    given : list of Edge
        Those whose sums somebody else computes; numbered in this order.
    """
    names = [layer.name for layer in spec.layers]
    layer_rows: list[tuple[int, ...]] = []
    edge_rows: list[tuple[int, ...]] = []
    weights, pixels = [], []
    targets: list[int] = []
    offsets: list[int] = []
    lengths: list[int] = []
    n_weights, n_pixels, neuron = 0, 0, 0
    for layer in (*spec.layers, spec.readout):
        first = len(edge_rows)
        for edge in edges[layer.name]:
            if edge.source == IMAGE:
                continue
            if edge in given:
                edge_rows.append((names.index(edge.source), 1, 0, 0, 0, given.index(edge)))
                continue
            table, starts, runs = _map(edge, params[edge.param])
            edge_rows.append((names.index(edge.source), len(table), n_weights, table[0].size, n_pixels, -1))
            pixels.append(starts + len(targets))
            for into, column in zip((targets, offsets, lengths), runs, strict=True):
                into.extend(column)
            weights.append(table.ravel())
            n_weights += table.size
            n_pixels += len(starts)
        layer_rows.append((first, len(edge_rows), neuron, layer.n_neurons))
        neuron += layer.n_neurons
    nothing = np.zeros(1)
    return Tables(
        np.array(layer_rows, np.int64).reshape(-1, 4),
        np.array(edge_rows, np.int64).reshape(-1, 6),
        np.concatenate([*weights, nothing]).astype(np.float32),
        np.concatenate([*pixels, nothing]).astype(np.int64),
        *(np.array(column, np.int64) for column in (targets, offsets, lengths)),
    )


def _map(edge: Edge, kernel: np.ndarray):
    """(weights (channels, ...), first run of each pixel and the end, three columns of runs) of one edge."""
    if edge.kind == "dense":
        return np.ascontiguousarray(kernel, np.float32), np.array([0, 1]), ([0], [0], [kernel.shape[1]])
    transposed, units = edge.kind == "conv_transpose", edge.units
    rows, columns = (
        Axis.padded(
            edge.input_shape[axis], edge.output_shape[axis], edge.input.kernel[axis], edge.input.stride[axis],
            edge.input.padding, transposed,
        )
        for axis in (0, 1)
    )  # fmt: skip
    # along a row of targets, weights follow each other in the order of the targets that an input reaches
    step = columns.step
    ascending = kernel if transposed else kernel[:, ::-1]
    width = -(-kernel.shape[1] // step)
    placed = np.zeros((kernel.shape[0], step * width, *kernel.shape[2:]), np.float32)
    place = np.arange(kernel.shape[1]) % step * width + np.arange(kernel.shape[1]) // step
    placed[:, place] = ascending
    table = np.ascontiguousarray(placed.transpose(2, 0, 1, 3))  # channel, row of the kernel, place, target channel
    above, _, left, _ = edge.input.pad
    height, breadth = edge.input.shape[:2]
    first, count, slot = columns.first, columns.count, place[columns.first_position]
    starts, runs = [0], []
    for y in range(above, above + height):
        reached = [(k, row) for k, row in enumerate(rows.outputs[y]) if row >= 0]
        for x in range(left, left + breadth):
            if count[x]:
                for k, row in reached:
                    target = row * edge.output_shape[1] + first[x]
                    runs.append((target * units, (k * step * width + slot[x]) * units, count[x] * units))
            starts.append(len(runs))
    columns_of_runs = np.array(runs, np.int64).reshape(-1, 3).T.tolist()
    return table, np.array(starts), columns_of_runs
