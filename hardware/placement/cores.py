"""One lowering: a network is built, cut into blocks and rounded to integers once, and everybody reads the result.

`partition` chooses the cuts of a `LoweredNetwork`; `check`, `quantization_error`, `compile_network` and `Simulator`
read it. Each of them also takes a nengo.Network and lowers it by itself.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Tuple, Union

import nengo
import numpy as np
from cotrain.hardware.builder import arguments, door, passes
from cotrain.hardware.builder.names import LayerNames
from cotrain.hardware.errors import CotrainError, InputError, MisfitError
from cotrain.hardware.placement.graph import Graph, Layer, Link, read_graph

DT_S = 0.001  # Nengo's default step


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
    layer: Layer
    block: Any  # nengo_loihi.block.LoihiBlock, discretised where ``misfit`` is None
    floats: FloatBlock
    compartments: np.ndarray  # of the layer, which this core holds
    misfit: Optional[str] = None  # why the block has no integer form


class LoweredNetwork:
    """A network in nengo_loihi's terms, built once.

    Parameters
    ----------
    net : nengo.Network
        As it is now: what is changed in it afterwards is not seen.
    dt_s : float
        Simulation step, in seconds.
    remove_passthrough : bool
        As in `nengo_loihi.Simulator`.
    look : bool
        Neither NumPy's global random state nor warnings show that the network was built, and the layers are kept as
        they were before they became integers, for `check` and `quantization_error`. False: for one reader that only
        needs the integers, as nengo_loihi itself would build them.

    Attributes
    ----------
    model : nengo_loihi.builder.Model
        Uncut until `cores` or `integers` is asked for.
    graph : Graph
        Its layers and links before they were cut.

    Raises
    ------
    InputError, UnsupportedError
        As `hardware.builder.passes.build_uncut`.
    """

    def __init__(
        self, net: nengo.Network, dt_s: float = DT_S, *, remove_passthrough: bool = True, look: bool = True
    ) -> None:
        self.net, self.dt_s = net, arguments.step_length(dt_s)
        self.remove_passthrough, self._look = remove_passthrough, look
        self._build()

    def _build(self) -> None:
        self._cores: List[Core] = []
        self._failed: Optional[CotrainError] = None
        self._misfits: List[MisfitError] = []
        self._integers = False
        self._shapes: Dict[str, Tuple[tuple, tuple]] = {}
        with self._undisturbed():
            self.model = passes.build_uncut(self.net, self.dt_s, self.remove_passthrough)
            self._graph = read_graph(self.model, self.net) if self._look else None

    @property
    def graph(self) -> Graph:
        """Its layers and links before they were cut."""
        assert self._graph is not None, "lowered for its integers alone"
        return self._graph

    def _undisturbed(self) -> Any:
        return passes.undisturbed() if self._look else contextlib.nullcontext()

    @property
    def precomputable(self) -> bool:
        """Whether all spikes into the chip can be known before it runs."""
        return bool(self.model.split.precomputable())

    def choose(self, layer: Layer, shape: tuple) -> None:
        """Cut ``layer`` into blocks of ``shape``: in the network's config, and here."""
        block_shape = door.BlockShape(shape, layer.shape)
        layer.network.config[layer.ensemble].block_shape = block_shape
        self.model.block_shapes[layer.block] = block_shape
        layer.chosen = (tuple(shape), layer.shape)

    def narrow(self, link: Link) -> None:
        """Let the axons of a link be pop16: in the network's config, and here."""
        conn = link.synapses.conn
        self.graph.owner_of[conn].config[conn].pop_type = 16
        link.synapses.synapse.pop_type, link.synapses.pop_free = 16, False

    def again(self) -> LoweredNetwork:
        """The network as it is now, built again."""
        return LoweredNetwork(self.net, self.dt_s, remove_passthrough=self.remove_passthrough)

    def start_over(self) -> None:
        """Go back to before it was cut: what has been cut is built again."""
        if self._integers or self._failed is not None:
            self._build()

    def become(self, other: LoweredNetwork) -> None:
        """Take the place of a network that was lowered before the user's network was changed."""
        self.__dict__.update(other.__dict__)

    # --- cut and in integers

    def _lower(self) -> None:
        if self._integers:
            return
        if self._failed is not None:
            raise self._failed
        with self._undisturbed():
            try:
                block_map = passes.cut(self.model)
            except CotrainError as error:  # half of it is cut
                self._failed = error
                raise
            self._integers = True
            layers: List[Any] = self.graph.layers if self._look else [None] * len(block_map)
            scale_of: Dict[Any, Any] = {}
            cores: List[Core] = []
            for layer, (uncut, parts) in zip(layers, block_map.items()):
                if layer is not None:
                    self._shapes[layer.name] = _shape_of(self.model.block_shapes[uncut])
                for block, members in parts.items():
                    floats = _floats(block) if self._look else None
                    scale_of[block], misfit = passes.round_block(self.model, block)
                    if misfit is not None:
                        self._misfits.append(misfit)
                    if layer is not None and floats is not None:
                        why = None if misfit is None else misfit.reason
                        cores.append(Core(len(cores), 0, layer, block, floats, np.array(list(members)), why))
            if not self._misfits:
                passes.round_probes(self.model, scale_of)
        self._cores = cores

    @property
    def cores(self) -> List[Core]:
        """Every block in floating point and in integers; on chip 0, until `place` says otherwise."""
        self._lower()
        return self._cores

    @property
    def shapes(self) -> Dict[str, Tuple[tuple, tuple]]:
        """{layer: (block shape, ensemble shape)}."""
        self._lower()
        return self._shapes

    @property
    def names(self) -> LayerNames:
        """Names of the layers and of the ensembles on the host."""
        return LayerNames(self.model)

    def integers(self) -> Any:
        """The finished `nengo_loihi.builder.Model`, as nengo_loihi's own build leaves it.

        Raises
        ------
        MisfitError
            A block is larger than a core, or has no integer form.
        InputError
            Nothing is on the chip.
        """
        self._lower()
        if self._misfits:
            raise self._misfits[0]
        with self._undisturbed():
            passes.validate(self.model)
        return self.model


Network = Union[nengo.Network, LoweredNetwork]


def lower(net: nengo.Network, dt_s: float = DT_S, remove_passthrough: bool = True) -> LoweredNetwork:
    """Build ``net`` once, for all calls that take a network: `partition`, `check`, `compile_network`, `Simulator`.

    Parameters
    ----------
    net : nengo.Network
        As it is now: what is changed in it afterwards is not seen. Call `partition` with the result.
    dt_s : float
        Simulation step, in seconds.
    remove_passthrough : bool
        As in `nengo_loihi.Simulator`.

    Returns
    -------
    LoweredNetwork

    Raises
    ------
    InputError
        ``net`` is not a nengo.Network, or a value or function in it is wrong.
    UnsupportedError
        nengo_loihi cannot put the network on the chip.
    """
    return LoweredNetwork(net, dt_s, remove_passthrough=remove_passthrough)


def as_lowered(net: Network, dt_s: float = DT_S, remove_passthrough: bool = True, look: bool = True) -> LoweredNetwork:
    """``net`` itself where it has been lowered with this step, else lowered now.

    Raises
    ------
    InputError
        It was lowered with another step.
    """
    if not isinstance(net, LoweredNetwork):
        return LoweredNetwork(net, dt_s, remove_passthrough=remove_passthrough, look=look)
    if dt_s not in (DT_S, net.dt_s):
        raise InputError(f"dt_s={dt_s!r}, but the network was lowered with dt_s={net.dt_s!r}: leave dt_s out")
    return net


@dataclass(eq=False)
class PlacedNetwork:
    """All cores of a network on the chips of a board."""

    lowered: LoweredNetwork
    cores: List[Core]
    cut_of: Dict[str, Tuple[tuple, tuple]] = field(default_factory=dict)  # layer name: (block shape, ensemble shape)

    @property
    def graph(self) -> Graph:
        return self.lowered.graph

    @property
    def model(self) -> Any:
        return self.lowered.model

    @property
    def n_chips(self) -> int:
        return 1 + max(core.chip for core in self.cores) if self.cores else 0

    def of(self, layer: Layer) -> List[Core]:
        """Cores of one layer."""
        return [core for core in self.cores if core.layer is layer]


def place(net: Network, chip: Any, dt_s: float = DT_S) -> PlacedNetwork:
    """Give every block of ``net``, cut as its config says, a core. Nothing is checked.

    Parameters
    ----------
    net : nengo.Network or LoweredNetwork
    chip : ChipLimits
        Says how many cores a chip has.
    dt_s : float

    Raises
    ------
    UnsupportedError, InputError
        As `lower`.
    """
    found = as_lowered(net, dt_s)
    cores = _allocate(found.model, [replace(core) for core in found.cores], chip)
    return PlacedNetwork(found, cores, found.shapes)


def _shape_of(shape: Any) -> Tuple[tuple, tuple]:
    whole = tuple(int(n) for n in shape.ensemble_shape)
    return tuple(int(n) for n in np.minimum(shape.shape, shape.ensemble_shape)), whole


def _floats(block: Any) -> FloatBlock:
    at = block.compartment
    weights = [[np.array(w) for w in synapse.weights] for synapse in block.synapses]
    return FloatBlock(at.bias.copy(), at.vth.copy(), at.decay_u.copy(), at.decay_v.copy(), bool(at.scale_v), weights)


def _allocate(model: Any, cores: List[Core], chip: Any) -> List[Core]:
    """Give every core its chip: as nengo_loihi's default allocator would, or in order where that one gives up."""
    for core in cores:
        core.chip = core.index // chip.cores_per_chip
    fits = all(c.misfit is None and c.block.n_neurons <= chip.compartments for c in cores)
    if len(cores) <= chip.cores_per_chip or not fits:
        return cores
    board = door.GreedyInterchip(cores_per_chip=chip.cores_per_chip)(model, n_chips=len(cores))
    chip_of = {block: k for k, c in enumerate(board.chips) for core in c.cores for block in core.blocks}
    for core in cores:
        core.chip = chip_of[core.block]
    return cores
