"""The layers of a network on the chip and the links between them, read from nengo_loihi's uncut model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

import nengo
import numpy as np
from cotrain.hardware.builder import door, passes
from cotrain.hardware.builder.names import LayerNames
from cotrain.hardware.chip.synapse_memory import axon_bits
from cotrain.hardware.placement.costs import ConvGeometry, conv_geometry


@dataclass(eq=False)
class Cut:
    """A layer cut into blocks of ``shape``, as nengo_loihi's BlockShape does it."""

    shape: tuple
    ensemble_shape: tuple
    _block_of: Optional[np.ndarray] = None

    @property
    def counts(self) -> Tuple[int, ...]:
        """Number of blocks along each dimension."""
        return tuple(-(-n // b) for n, b in zip(self.ensemble_shape, self.shape))

    @property
    def n_blocks(self) -> int:
        return int(np.prod(self.counts))

    @property
    def block_size(self) -> int:
        """Compartments of the largest block."""
        return int(np.prod(np.minimum(self.shape, self.ensemble_shape)))

    @property
    def block_of(self) -> np.ndarray:
        """(n,) block that each compartment falls into."""
        if self._block_of is None:
            along = [np.arange(n) // b for n, b in zip(self.ensemble_shape, self.shape)]
            grid = np.meshgrid(*along, indexing="ij")
            self._block_of = np.ravel_multi_index(grid, self.counts).ravel()
        return self._block_of


@dataclass(eq=False)
class Synapses:
    """One group of synapses onto a layer, and what it costs the blocks that the layer is cut into.

    Memory is counted as if all weights were different. nengo_loihi stores axons with the same weights once, so where
    weights coincide (a kernel of ones) its blocks take less.
    """

    synapse: Any  # nengo_loihi.block.Synapse, uncut
    conv: Optional[ConvGeometry] = None
    conn: Any = None  # the connection that nengo_loihi made them from (its own copy where spikes enter the chip)
    pop_free: bool = False  # the user has not chosen a pop_type
    dense: bool = False  # every axon reaches every compartment
    _reach: Optional[tuple] = None

    @property
    def reach(self) -> Tuple[np.ndarray, np.ndarray]:
        """(axon, compartment) of every connection, as two arrays."""
        if self._reach is None:
            synapse, axons, targets = self.synapse, [], []
            for i in range(synapse.n_axons):
                base = synapse.axon_compartment_base(i)
                if base is not None:  # None: a pixel that no output uses
                    targets.append(synapse.axon_weights_indices(i)[1] + base)
                    axons.append(np.full(targets[-1].size, i))
            none = [np.zeros(0, dtype=int)]
            self._reach = np.concatenate(axons or none), np.concatenate(targets or none)
        return self._reach

    def input_cost(self, cut: Cut) -> Tuple[int, int, int]:
        """Worst input axons and synapse bits of a block of ``cut``, and input axons summed over all blocks."""
        if self.conv is not None and cut.ensemble_shape == self.conv.output_shape:
            return self.conv.input_cost(cut.shape)
        bits_per_weight = self.synapse.synapse_cfg.real_weight_bits
        if self.dense:
            n_axons, n = self.synapse.n_axons, cut.block_size
            return n_axons, int(n_axons * axon_bits(n, bits_per_weight)), n_axons * cut.n_blocks
        axon, target = self.reach
        pair, counts = np.unique(axon * cut.n_blocks + cut.block_of[target], return_counts=True)
        owner = pair % cut.n_blocks
        if cut.n_blocks == 1:
            axons = total = self.synapse.n_axons
        else:
            per_block = np.bincount(owner, minlength=cut.n_blocks)
            axons, total = int(per_block.max()), int(per_block.sum())
        if self.conv is not None:
            return (
                axons,
                0,
                total,
            )  # the user's cut runs across the image: sharing of weights is not predicted
        bits = np.bincount(owner, axon_bits(counts, bits_per_weight), cut.n_blocks)
        return axons, int(bits.max()), total

    def fan_out(self, cut: Cut) -> np.ndarray:
        """(n_axons,) number of blocks of ``cut`` that each axon reaches."""
        if cut.n_blocks == 1 or self.dense:
            return np.full(self.synapse.n_axons, cut.n_blocks)
        axon, target = self.reach
        pair = np.unique(axon * cut.n_blocks + cut.block_of[target])
        return np.bincount(pair // cut.n_blocks, minlength=self.synapse.n_axons)


@dataclass(eq=False)
class Link:
    """Axons from one layer to the synapses of another."""

    source: int
    target: int
    synapses: Synapses
    position: int  # of the synapses among the target's
    compartment_map: np.ndarray  # (n,) axon that each compartment of the source drives, -1 for none


@dataclass(eq=False)
class Layer:
    """Compartments that nengo_loihi keeps in one block until it is cut."""

    name: str
    n: int
    block: object
    ensemble: nengo.Ensemble = None  # None: decode neurons, which nengo_loihi cuts itself
    network: nengo.Network = None  # whose config speaks for the ensemble
    shape: tuple = ()  # how the compartments lie: (rows, columns, channels) in memory order, or (n,)
    chosen: Optional[tuple] = None  # (block shape, ensemble shape) where it is not ours to choose
    synapses: List[Synapses] = field(default_factory=list)
    links: List[Link] = field(default_factory=list)  # outgoing


@dataclass(eq=False)
class Graph:
    """All layers on the chip, in the order in which nengo_loihi has them."""

    layers: List[Layer]
    model: object  # nengo_loihi.builder.Model, uncut
    inputs: list  # (SpikeInput, compartment_map, Synapses, layer index)
    owner_of: Dict[Any, nengo.Network]  # the network whose config speaks for an ensemble or connection


def _is_set(config, obj, name):
    """Whether the user has set ``name`` for ``obj`` (or for all of its kind) in a nengo config."""
    kind = config[type(obj)]
    return config[obj] in kind.get_param(name) or name in kind.default_params


def read_graph(model: Any, net: nengo.Network) -> Graph:
    """The `Graph` of an uncut model that `hardware.builder.passes.build_uncut` made of ``net``."""
    owners, names = passes.owners(net), LayerNames(model)
    maker = {p["weights"]: obj for obj, p in model.objs.items() if isinstance(obj, nengo.Connection) and "weights" in p}
    layers: List[Layer] = []
    index: Dict[Any, int] = {}
    targets: Dict[Any, Tuple[int, Synapses, int]] = {}
    for block in model.blocks:
        ensemble = names.ensemble(block)
        index[block] = len(layers)
        layer = Layer(names.block(block), block.n_neurons, block, ensemble, owners.get(ensemble))
        layers.append(layer)
        for k, synapse in enumerate(block.synapses):
            group = _read_synapses(owners, synapse, block.n_neurons, maker.get(synapse))
            layer.synapses.append(group)
            targets[synapse] = (index[block], group, k)
    for block, i in index.items():
        for axon in block.axons:
            j, group, k = targets[axon.target]
            axon_of = np.asarray(axon.map_axon(np.arange(block.n_neurons)))
            layers[i].links.append(Link(i, j, group, k, axon_of))
    inputs = []
    for spikes in model.inputs:
        for axon in spikes.axons:
            j, group, _ = targets[axon.target]
            inputs.append((spikes, np.asarray(axon.map_axon(np.arange(spikes.n_neurons))), group, j))
    for layer in layers:
        _read_shape(layer, model)
    return Graph(layers, model, inputs, owners)


def _read_synapses(owners, synapse, n, conn):
    group = Synapses(synapse, conn=conn)
    if synapse.pop_type:
        group.conv = conv_geometry(group.conn.transform)
        if group.conn in owners:
            group.pop_free = not _is_set(owners[group.conn].config, group.conn, "pop_type")
    else:
        every = np.arange(n)
        group.dense = all(i.shape[1] == n and np.array_equal(i[0], every) for i in synapse.indices)
    return group


def _read_shape(layer, model):
    """Find how the layer's compartments lie, and whether its cut is given."""
    given = model.block_shapes.get(layer.block)
    if given is not None:
        layer.shape = tuple(int(n) for n in given.ensemble_shape)
        layer.chosen = (tuple(int(n) for n in given.shape), layer.shape)
        return
    incoming = [s.conv.output_shape for s in layer.synapses if s.conv is not None]
    outgoing = [
        link.synapses.conv.input_shape
        for link in layer.links
        if link.synapses.conv is not None and np.prod(link.synapses.conv.input_shape) == layer.n
    ]
    layer.shape = (incoming + outgoing + [(layer.n,)])[0]
    if layer.ensemble is None:
        utilisation = layer.block.utilization().values()
        n_blocks = max(-(-used // allowed) for used, allowed in utilisation)
        layer.chosen = ((-(-layer.n // n_blocks),), (layer.n,))
        model.block_shapes[layer.block] = door.BlockShape(*layer.chosen)
