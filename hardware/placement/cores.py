"""A network as it would lie on the board: every block on its core and chip, in floating point and in integers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from cotrain.hardware.builder import uncut as blocks
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.placement.graph import read_graph
from nengo.exceptions import NengoException


@dataclass(eq=False)
class FloatBlock:
    """A block's parameters before they become integers. Synapse weights: one list of arrays per group of synapses."""

    bias: np.ndarray
    threshold: np.ndarray
    decay_current: np.ndarray
    decay_voltage: np.ndarray
    scales_voltage: bool  # whether input is multiplied by the voltage decay (LIF)
    weights: list


@dataclass(eq=False)
class Core:
    """One core and the block on it."""

    index: int
    chip: int
    layer: object  # hardware.placement.graph.Layer
    block: object  # nengo_loihi.block.LoihiBlock, discretised where ``misfit`` is None
    floats: FloatBlock
    compartments: np.ndarray  # of the layer, which this core holds
    misfit: str = None  # why the block has no integer form


@dataclass(eq=False)
class Placed:
    """All cores of a network."""

    graph: object
    cores: list
    cut_of: dict = field(default_factory=dict)  # layer name: (block shape, ensemble shape)

    @property
    def model(self):
        return self.graph.model

    @property
    def n_chips(self):
        return 1 + max(core.chip for core in self.cores) if self.cores else 0

    def of(self, layer):
        """Cores of one layer."""
        return [core for core in self.cores if core.layer is layer]


def place(net, chip, dt_s=0.001, precompute=None):
    """Build ``net`` for the chip, cut as its config says, and give every block a core. Nothing is checked.

    Raises
    ------
    UnsupportedError, InputError
        As `hardware.builder.uncut.build_uncut`.
    """
    graph = read_graph(net, dt_s, precompute)
    model = graph.model
    block_map = blocks.cut(model)
    cores, cut_of = [], {}
    for layer, (uncut, parts) in zip(graph.layers, block_map.items()):
        shape = model.block_shapes[uncut]
        cut_of[layer.name] = (
            tuple(int(n) for n in np.minimum(shape.shape, shape.ensemble_shape)),
            tuple(int(n) for n in shape.ensemble_shape),
        )
        for block, members in parts.items():
            floats = _floats(block)
            cores.append(Core(len(cores), 0, layer, block, floats, np.array(list(members)), _discretise(block)))
    _allocate(model, cores, chip)
    return Placed(graph, cores, cut_of)


def _floats(block):
    at = block.compartment
    weights = [[np.array(w) for w in synapse.weights] for synapse in block.synapses]
    return FloatBlock(at.bias.copy(), at.vth.copy(), at.decay_u.copy(), at.decay_v.copy(), bool(at.scale_v), weights)


def _discretise(block):
    """Turn a block into integers; return why that is impossible, or None."""
    discretize = import_nengo_loihi("builder.discretize")
    try:
        with blocks.undisturbed():
            discretize.discretize_block(block)
    except (NengoException, AssertionError) as error:
        return " ".join(str(error).split()) or "no weight exponent fits its weights, thresholds and biases together"
    return None


def _allocate(model, cores, chip):
    """Give every core its chip: as nengo_loihi's default allocator would, or in order where that one gives up."""
    for core in cores:
        core.chip = core.index // chip.cores_per_chip
    fits = all(c.misfit is None and c.block.n_neurons <= chip.compartments for c in cores)
    if len(cores) <= chip.cores_per_chip or not fits:
        return
    allocators = import_nengo_loihi("hardware.allocators")
    board = allocators.GreedyInterchip(cores_per_chip=chip.cores_per_chip)(model, n_chips=len(cores))
    chip_of = {block: k for k, c in enumerate(board.chips) for core in c.cores for block in core.blocks}
    for core in cores:
        core.chip = chip_of[core.block]
