"""What is read from the chip: nengo-loihi's probes, for vectors of weights and for indices in any order.

nengo-loihi 1.1 weights a probe with a vector as if it were a matrix of one column (every output is then the dot
product), and cannot cut a probe whose indices descend, repeat or come as an array. `chip_probe` is its class with
those two mended; `split_probe` cuts it. A probe that nengo-loihi reads rightly comes out as nengo-loihi makes it.
"""

from __future__ import annotations

import functools
from typing import Any, Optional

import numpy as np
from cotrain.hardware.builder import door


@functools.lru_cache(maxsize=None)
def chip_probe() -> Any:
    """A subclass of `nengo_loihi.probe.LoihiProbe`."""
    base: Any = door.LoihiProbe

    class ChipProbe(base):
        """Reads blocks; a vector of weights multiplies value by value, as the diagonal matrix of it would."""

        @property
        def output_size(self):
            sizes = []
            for block, chosen, weights in zip(self.target, self.slice, self.weights):
                n_read = np.arange(block.compartment.n_compartments)[chosen].size
                sizes.append(weights.shape[1] if weights is not None and weights.ndim == 2 else n_read)
            return sizes[0] if self.is_transformed else sum(sizes)

        def weight_outputs(self, outputs):
            if not any(w is not None and w.ndim == 1 for w in self.weights):
                return super().weight_outputs(outputs)
            return weighted_by_vectors(outputs, self.weights, self.reindexing)

    ChipProbe.__qualname__ = "ChipProbe"
    return ChipProbe


def weighted_by_vectors(outputs: Any, weights: Any, reindexing: Optional[np.ndarray]) -> np.ndarray:
    """(n_steps, size): each block's values (n_steps, n) times its vector (n,), in the probe's order.

    The sum with 0 makes of -0.0 what a product with a matrix makes of it.
    """
    parts = [np.atleast_2d(np.asarray(values)) * w + 0.0 for values, w in zip(outputs, weights)]
    result = np.column_stack(parts)
    return result if reindexing is None else result[..., reindexing]


def split_probe(probe: Any, block_map: Any, synapse_map: Any, validate: Any = None) -> None:
    """As `nengo_loihi.builder.split_blocks.split_probe`, for indices in any order."""
    theirs = door.split_blocks
    (old_block,), (old_weights,), (chosen,) = probe.target, probe.weights, probe.slice
    new_blocks = block_map[old_block]
    if len(new_blocks) <= 1:
        return
    read = np.arange(old_block.n_neurons)[chosen]
    vector = old_weights is not None and old_weights.ndim == 1
    if not vector and isinstance(chosen, slice) and (np.diff(read) > 0).all():
        theirs.split_probe(probe, block_map, synapse_map, *([] if validate is None else [validate]))
        return
    targets, slices, weights, positions = [], [], [], []
    for block, members in new_blocks.items():
        place = np.full(old_block.n_neurons, -1)
        place[np.asarray(members.list)] = np.arange(len(members))
        mine = np.flatnonzero(place[read] >= 0)
        if mine.size:
            targets.append(block)
            slices.append(place[read[mine]])
            positions.append(mine)
            by_value = old_weights is not None and old_weights.ndim > 0
            weights.append(old_weights[mine] if by_value else old_weights)
    order = np.concatenate(positions)
    in_order = np.array_equal(order, np.arange(order.size))
    probe.target, probe.slice, probe.weights = targets, slices, weights
    # matrices are summed, so their order is that of their columns
    probe.reindexing = None if probe.is_transformed or in_order else np.argsort(order)
