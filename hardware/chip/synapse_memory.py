"""How Loihi 1 stores synapses: what an entry of synapse memory takes, and where an axon may begin.

All from NengoLoihi 1.1.0, block.py (`SynapseConfig`, `Synapse`) and conv.py, which follow Intel's NxSDK.
"""

from __future__ import annotations

from typing import Union

import numpy as np

INDEX_BITS = np.array([0, 6, 7, 8, 9, 10, 11, 12])  # what an index can be stored in
WEIGHT_BITS = 8
SYNAPSES_PER_BLOCK = 64
HEADER_BITS = 4 + 6
MEMORY_UNIT_BITS = 64
# Compartments at which an axon can begin (its base is 8 bits); the rest of an offset goes into the indices.
COMPARTMENT_BASES = 256


def axon_bits(n_weights: Union[int, np.ndarray], bits_per_weight: int) -> np.ndarray:
    """Synapse memory of axons with ``n_weights`` weights each (SynapseConfig.bits_per_axon)."""

    def rounded(n: np.ndarray) -> np.ndarray:
        bits = n * bits_per_weight + HEADER_BITS
        return np.where(n > 0, -(-bits // MEMORY_UNIT_BITS) * MEMORY_UNIT_BITS, 0)

    full, rest = np.divmod(np.asarray(n_weights), SYNAPSES_PER_BLOCK)
    return full * rounded(np.asarray(SYNAPSES_PER_BLOCK)) + rounded(rest)


def index_bits(max_index: int) -> int:
    """Bits that the widest compartment index of a synapse takes."""
    bits = int(np.ceil(np.log2(max_index + 1)))
    return int(INDEX_BITS[np.searchsorted(INDEX_BITS, bits)]) if bits <= INDEX_BITS[-1] else 2 * bits
