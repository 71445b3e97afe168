"""Place a network on as few cores as possible: choose block shapes, and axon types where they are free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

import numpy as np
from cotrain.hardware.chip.limits import LOIHI1, NAHUKU32, Board, ChipLimits, find_board
from cotrain.hardware.chip.synapse_memory import axon_bits
from cotrain.hardware.errors import InputError, MisfitError
from cotrain.hardware.placement.channels import reorder
from cotrain.hardware.placement.cores import DT_S, Network, as_lowered
from cotrain.hardware.placement.graph import Cut, Layer
from cotrain.hardware.placement.search import Search, candidates

PREFERENCES = ("cores", "precision")
LAYOUTS = ("free", "keep")


@dataclass(frozen=True)
class LayerPlacement:
    """How one layer is cut. Shapes are in memory order; counts are of the worst core unless they say otherwise."""

    name: str
    neurons: int
    ensemble_shape: tuple
    block_shape: tuple
    cores: int
    lower_bound_cores: int
    compartments: int
    input_axons: int
    output_axons: int
    synapse_bits: int
    weight_noise: float  # rounding error of the weights: its power over theirs
    chosen_by: str  # "search", "user", or "nengo_loihi" (decode neurons)
    pop_types: tuple  # of the convolutions into this layer


@dataclass(frozen=True)
class Placement:
    """What `partition` chose.

    Attributes
    ----------
    cores : int
        Neuro cores in use; nengo_loihi puts one block on a core.
    lower_bound_cores : int
        No cut of these layers into blocks can need fewer: each layer needs its compartments, and a dense layer its
        synapse memory and input axons, and no block holds two layers.
    layers : tuple of LayerPlacement
    reordered : dict of {str: (n,) ndarray}
        For every ensemble whose channels were put first, by label: the old number of each of its neurons.
    """

    board: str
    prefer: str
    cores: int
    lower_bound_cores: int
    layers: tuple
    reordered: dict

    def table(self) -> str:
        """The placement as text, one line a layer."""
        head = f"{'layer':<24} {'neurons':>8} {'block shape':>15} {'cores':>6} {'bound':>6} {'weight noise':>13}"
        lines = [head]
        for at in self.layers:
            shape = "x".join(str(n) for n in at.block_shape)
            lines.append(
                f"{at.name[:24]:<24} {at.neurons:>8} {shape:>15} {at.cores:>6} {at.lower_bound_cores:>6} "
                f"{at.weight_noise:>13.2e}"
            )
        lines.append(f"{'total':<24} {'':>8} {'':>15} {self.cores:>6} {self.lower_bound_cores:>6}")
        return "\n".join(lines)


def lower_bound(layer: Layer, chip: ChipLimits) -> int:
    """Fewest blocks that ``layer`` can be cut into, whatever the other layers do."""
    blocks = -(-layer.n // chip.compartments)
    dense = [group for group in layer.synapses if group.dense]
    if dense:
        if sum(group.synapse.n_axons for group in dense) > chip.input_axons:
            return blocks  # every block gets all of them: it does not fit at all
        while blocks < layer.n:
            n = -(-layer.n // blocks)
            bits = sum(int(g.synapse.n_axons * axon_bits(n, g.synapse.synapse_cfg.real_weight_bits)) for g in dense)
            if bits <= chip.synapse_bits:
                break
            blocks += 1
    return int(blocks)


class WeightNoise:
    """Power of the rounding error of a layer's weights over the power of the weights, for any cut.

    A block has one weight scale: its largest weight becomes 255, and weights of both signs are stored in steps of 2
    (NengoLoihi builder/discretize.py). Evenly spread rounding errors of a step s have the power s**2 / 12.
    """

    def __init__(self, layer: Layer) -> None:
        self.peak = np.zeros(layer.n)  # of the weights onto each compartment
        self.count = np.zeros(layer.n)
        self.power = 0.0
        for group in layer.synapses:
            peak, square, count = _incoming(group, layer.n)
            self.peak = np.maximum(self.peak, peak)
            self.count += count
            self.power += float(square.sum())

    def __call__(self, cut: Cut) -> float:
        if self.power == 0:
            return 0.0
        largest = np.zeros(cut.n_blocks)
        np.maximum.at(largest, cut.block_of, self.peak)
        step = 2 * largest[cut.block_of] / LOIHI1.weight_max
        return float(np.sum(self.count * step**2 / 12)) / self.power


def _incoming(group, n):
    """(n,) largest magnitude, sum of squares and number of the weights onto each compartment."""
    weights = group.synapse.weights
    if group.conv is not None:
        # the crop of the kernel that has the most weights is the whole kernel, wherever the image is large enough
        full = max(weights, key=lambda w: w.size)
        filters = full.reshape(group.conv.n_channels, -1, group.conv.n_filters)
        if not group.conv.channels_last:
            filters = full.reshape(group.conv.n_channels, group.conv.n_filters, -1).swapaxes(1, 2)
        filters = filters.reshape(-1, group.conv.n_filters)
        channel = np.indices(group.conv.output_shape)[-1 if group.conv.channels_last else 0].ravel()
        each = np.abs(filters).max(axis=0), np.square(filters).sum(axis=0)
        return each[0][channel], each[1][channel], np.full(n, float(len(filters)))
    if group.dense:
        stacked = np.vstack(weights)
        return (
            np.abs(stacked).max(axis=0),
            np.square(stacked).sum(axis=0),
            np.full(n, float(len(stacked))),
        )
    _, target = group.reach
    flat = np.concatenate([w.ravel() for w in weights]) if weights else np.zeros(0)
    peak = np.zeros(n)
    np.maximum.at(peak, target, np.abs(flat))
    return peak, np.bincount(target, flat**2, n), np.bincount(target, minlength=n).astype(float)


def partition(
    net: Network,
    board: Union[Board, str] = NAHUKU32,
    prefer: str = "cores",
    layout: str = "free",
    extra_cores: float = 0.25,
    dt_s: float = DT_S,
    remove_passthrough: bool = True,
) -> Placement:
    """Choose the block shapes of ``net`` and set them in its config.

    Sets ``net.config[ensemble].block_shape`` of every ensemble on the chip that has none, and
    ``net.config[connection].pop_type = 16`` of convolutions whose pop_type the user has not set, where output axons
    are short. Where that saves cores, and ``layout`` allows, convolutions become channels-first, and their ensembles'
    neurons, gains, biases and dense connections are reordered to match: only where nothing outside the network can
    tell (no probe, no block shape, no decoded connection on them). What the user has set stays, and nothing at all
    changes where no cut fits. The search is exact over grid cuts of a chain of layers, and deterministic.

    Parameters
    ----------
    net : nengo.Network or LoweredNetwork
        A network that was lowered (`hardware.lower`) is cut as well, and not built again unless channels are turned.
    board : Board or str
        The board (or its name) that the network has to fit on.
    prefer : "cores" or "precision"
        "cores": the fewest cores, then the fewest axons. "precision": smaller blocks along the channels, each with a
        weight scale of its own, so that weights are rounded less.
    layout : "free" or "keep"
        "keep": neurons keep their order. Choose it if you compare neurons one by one with those of another copy of
        the network, or will add probes or load parameters after this call.
    extra_cores : float
        For "precision": cores that may be spent beyond the fewest, as a fraction of them.
    dt_s : float
        Simulation step, in seconds.
    remove_passthrough : bool
        As in `nengo_loihi.Simulator`; of a lowered network, what it was lowered with.

    Returns
    -------
    Placement

    Raises
    ------
    MisfitError
        No cut fits; the message names the layer, the resource, what it needs and what would help.
    UnsupportedError
        nengo_loihi cannot put the network on the chip.
    InputError
        An argument is not one of those above.
    """
    for name, value, known in (("prefer", prefer, PREFERENCES), ("layout", layout, LAYOUTS)):
        if value not in known:
            raise InputError(f"{name}={value!r} is not known: choose one of {', '.join(known)}")
    if extra_cores < 0:
        raise InputError(f"extra_cores={extra_cores!r} must be 0 or more: it is a fraction of the fewest cores")
    board = find_board(board)
    lowered = as_lowered(net, dt_s, remove_passthrough)
    search, best, orders = _plan(lowered, board, layout)
    if prefer == "precision":
        best = _most_precise(search, best, board, extra_cores)
    return _apply(lowered, search, best, orders, board, prefer)


def _plan(lowered, board, layout):
    """The search over the network as it is, or with its channels first where that takes fewer cores."""

    def attempt(it):
        try:
            graph = it.graph
            if not graph.layers:
                raise MisfitError("no ensemble is on the chip: leave at least one with on_chip unset or True")
            search, best = _fewest_cores(graph, board)
            cores = sum(options[k].cores for options, k in zip(search.choices, best))
            if cores > board.cores:
                raise MisfitError(
                    f"the network needs {cores:,} cores and {board.name} has {board.cores:,}: use a larger board or "
                    "fewer neurons"
                )
            return (it, search, best), cores
        except MisfitError as error:
            return error, float("inf")

    lowered.start_over()
    found, cores = attempt(lowered)
    orders = {}
    if layout == "free":
        orders, restore = reorder(lowered.net, lowered.model)
        turned = lowered.again() if orders else None
        other, other_cores = attempt(turned) if orders else (None, cores)
        if other_cores < cores:
            found = other
            lowered.become(turned)
        else:
            orders = {}
            restore()
    if isinstance(found, MisfitError):
        raise found
    return (*found[1:], orders)


def _fewest_cores(graph, board):
    """Run the search, first over cuts near each layer's own fewest blocks, then over all."""
    for spread in (3.0, float("inf")):
        choices = []
        for layer in graph.layers:
            found, stopped = candidates(layer, board.chip, spread)
            if stopped:
                raise MisfitError(_why(layer, stopped))
            choices.append(found)
        search = Search(graph, choices, board.chip)
        # cores first; the axons that all blocks take in break ties
        best = search.run([np.array([c.cores + 1e-9 * c.traffic for c in found]) for found in choices])
        if not isinstance(best, int):
            return search, best
    names = ", ".join(graph.layers[link.target].name for link in graph.layers[best].links)
    raise MisfitError(
        f"layer {graph.layers[best].name!r}: output axons exceed {board.chip.output_axons} a core however it and its "
        f"targets ({names}) are cut: make the targets smaller, so that fewer blocks need its spikes"
    )


def _why(layer, stopped):
    """One line for the resource that no cut of a layer satisfies."""
    resource, used, allowed = max(stopped, key=lambda s: s[1] / max(s[2], 1))
    if layer.chosen is not None and layer.ensemble is not None:
        shape = "x".join(str(n) for n in layer.chosen[0])
        return (
            f"layer {layer.name!r}: the block shape {shape} that you set needs {used} {resource} of {allowed}: "
            "make the blocks smaller, or leave block_shape unset"
        )
    help_ = {
        "input axons": "connect fewer neurons or pixels to it",
        "synapse memory bits": "use fewer inputs, channels or a smaller kernel",
    }.get(resource, "make the layer smaller")
    return f"layer {layer.name!r}: even in its smallest blocks it needs {used} {resource} of {allowed} a core: {help_}"


def _most_precise(search, best, board, extra_cores):
    """Least rounding error of the weights within the allowed number of cores."""
    cores = [np.array([c.cores for c in found], dtype=float) for found in search.choices]
    fewest = sum(c[k] for c, k in zip(cores, best))
    budget = min(int(fewest * (1 + extra_cores)), board.cores)
    noise = []
    for layer, found in zip(search.graph.layers, search.choices):
        of = WeightNoise(layer)
        noise.append(np.array([of(c.cut) for c in found]))

    def total(values, picks):
        return sum(v[k] for v, k in zip(values, picks))

    least = total(noise, best)
    # each price of a core gives the least noise for the cores it spends; a bisection finds the price to pay
    low, high = 0.0, max(float(n.max()) for n in noise)
    for _ in range(24):
        price = (low + high) / 2
        picks = search.run([n + price * c for n, c in zip(noise, cores)])
        if total(cores, picks) > budget:
            low = price
            continue
        high = price
        if total(noise, picks) < least:
            least, best = total(noise, picks), picks
    return best


def _pop_types(search, best, chip):
    """Connections whose axons have to be pop16: of each layer that is short of output axons, the largest first."""
    narrow = set()
    for i, layer in enumerate(search.graph.layers):
        wide = {}
        for link in layer.links:
            slots = _wide_slots(search, link, best)
            wide[link] = slots
        total = sum(wide.values())
        for link in sorted(wide, key=wide.get, reverse=True):
            if total <= chip.output_axons:
                break
            saved = wide[link] - int(search.tables[link][best[i], best[link.target]])
            if saved:
                narrow.add(link)
                total -= saved
    return narrow


def _wide_slots(search, link, best):
    """Output axon slots of ``link`` if its axons stay as wide as they are by default."""
    slots = int(search.tables[link][best[link.source], best[link.target]])
    target = search.choices[link.target][best[link.target]]
    free = link.synapses.pop_free and target.pop16[link.position]
    return 2 * slots if free else slots


def _apply(lowered, search, best, orders, board, prefer):
    """Write what the search has chosen into the network's config."""
    graph = search.graph
    chosen = [options[k] for options, k in zip(search.choices, best)]
    pop16 = _pop_types(search, best, board.chip)
    placed = []
    for i, (layer, candidate) in enumerate(zip(graph.layers, chosen)):
        by = "search" if layer.chosen is None else "user" if layer.ensemble else "nengo_loihi"
        if by == "search":
            lowered.choose(layer, candidate.cut.shape)
        axons = 0
        for link in layer.links:
            wide = _wide_slots(search, link, best)
            axons += int(search.tables[link][best[i], best[link.target]]) if link in pop16 else wide
            if link in pop16:
                lowered.narrow(link)
        placed.append(
            LayerPlacement(
                name=layer.name,
                neurons=layer.n,
                ensemble_shape=candidate.cut.ensemble_shape,
                block_shape=candidate.cut.shape,
                cores=candidate.cores,
                lower_bound_cores=lower_bound(layer, board.chip),
                compartments=candidate.cut.block_size,
                input_axons=candidate.in_axons,
                output_axons=axons,
                synapse_bits=candidate.synapse_bits,
                weight_noise=WeightNoise(layer)(candidate.cut),
                chosen_by=by,
                pop_types=tuple(
                    16 if any(link.synapses is group for link in pop16) else group.synapse.pop_type
                    for group in layer.synapses
                    if group.conv is not None
                ),
            )
        )
    return Placement(
        board=board.name,
        prefer=prefer,
        cores=sum(at.cores for at in placed),
        lower_bound_cores=sum(at.lower_bound_cores for at in placed),
        layers=tuple(placed),
        reordered={ensemble.label or str(ensemble): order for ensemble, order in orders.items()},
    )
