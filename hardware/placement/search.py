"""Search for the cuts with the fewest cores: exact over grid cuts along a chain of layers.

How a layer is cut decides the output axons of the layers before it, and nothing else about them. So the layers are
settled from the last to the first, and for each cut of the layers still open to a constraint (in a chain: one) only
the cheapest way to settle everything behind it is kept. That is dynamic programming; where a graph branches so much
that the table would grow beyond `MAX_STATES`, only the cheapest states are kept and the result may not be the optimum.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import List, Tuple, Union

import numpy as np
from cotrain.hardware.chip.limits import ChipLimits
from cotrain.hardware.placement.graph import Cut, Graph, Layer, Link

MAX_STATES = 4000


@dataclass(eq=False)
class Candidate:
    """A cut of one layer that the layer itself could take."""

    cut: Cut
    in_axons: int
    synapse_bits: int
    traffic: int  # input axons of all blocks together
    pop16: tuple  # for each group of synapses: could its axons be pop16
    noise: float = 0.0  # rounding error of the weights, relative to their power

    @property
    def cores(self) -> int:
        return self.cut.n_blocks


def _sizes(n, multiple=1):
    """Block sizes that cut ``n`` into different numbers of blocks, the smallest for each, and their multiples."""
    sizes = {-(-n // k) for k in range(1, n + 1)}
    sizes |= {min(-(-s // multiple) * multiple, n) for s in sizes}
    return sorted(sizes)


def problems(layer: Layer, cut: Cut, candidate: Candidate, chip: ChipLimits) -> List[Tuple[str, int, int]]:
    """What stops ``cut`` whatever the other layers do: [(resource, used, allowed)]."""
    used = {
        "compartments": (cut.block_size, chip.compartments),
        "input axons": (candidate.in_axons, chip.input_axons),
        "synapse memory bits": (candidate.synapse_bits, chip.synapse_bits),
    }
    found = [(name, u, allowed) for name, (u, allowed) in used.items() if u > allowed]
    for group in layer.synapses:
        if group.synapse.pop_type == 16 and group.conv is not None:
            if cut.ensemble_shape == group.conv.output_shape:
                multiple = chip.pop16_base_multiple
                if not group.conv.bases_are_multiples(cut.shape, multiple):
                    found.append(("channels in a block modulo 4, for pop16", cut.shape[-1] % multiple, 0))
            if candidate.in_axons > 2 ** group.synapse.axon_bits():
                found.append(("input axons with pop16", candidate.in_axons, 2 ** group.synapse.axon_bits()))
    return found


def evaluate(layer: Layer, cut: Cut, chip: ChipLimits) -> Candidate:
    """Return the `Candidate` of ``layer`` for ``cut``."""
    costs = [group.input_cost(cut) for group in layer.synapses]
    in_axons, bits, traffic = (sum(c[k] for c in costs) for k in range(3))
    pop16 = tuple(
        group.conv is not None
        and group.conv.n_channels <= chip.pop16_populations
        and in_axons <= chip.pop16_input_axons
        and cut.ensemble_shape == group.conv.output_shape
        and group.conv.bases_are_multiples(cut.shape, chip.pop16_base_multiple)
        for group in layer.synapses
    )
    return Candidate(cut, in_axons, bits, traffic, pop16)


def candidates(
    layer: Layer, chip: ChipLimits, spread: float = 3.0
) -> Tuple[List[Candidate], List[Tuple[str, int, int]]]:
    """All cuts of ``layer`` that satisfy the limits of its own blocks, fewest blocks first.

    ``spread`` drops those with more than ``spread`` times the fewest blocks (plus 8). A cut that the user or
    nengo_loihi has chosen is the only candidate, and is given back even where it breaks a limit.

    Returns
    -------
    (list of Candidate, list of (resource, used, allowed))
        The second says what stops every cut, of the one that came closest, where there is none.
    """
    if layer.chosen is not None:
        only = evaluate(layer, Cut(*layer.chosen), chip)
        return [only], problems(layer, only.cut, only, chip)
    multiples = [4 if len(layer.shape) == 3 else 1] * len(layer.shape)
    shapes = itertools.product(*(_sizes(n, m) for n, m in zip(layer.shape, multiples)))
    cuts = sorted((Cut(s, layer.shape) for s in shapes), key=lambda c: (c.n_blocks, c.shape))
    found: List[Candidate] = []
    stopped = [("compartments", cuts[-1].block_size, chip.compartments)]
    for cut in cuts:
        if cut.block_size > chip.compartments:
            continue
        if found and cut.n_blocks > spread * found[0].cores + 8:
            break
        candidate = evaluate(layer, cut, chip)
        stopped = problems(layer, cut, candidate, chip)
        if not stopped:
            found.append(candidate)
    return found, [] if found else stopped


def axon_table(link: Link, sources: List[Candidate], targets: List[Candidate], pop16: bool) -> np.ndarray:
    """(n_sources, n_targets) output axon slots of the worst source block, for every pair of cuts.

    ``pop16``: let the axons be pop16 where the target's cut allows it and the user has not chosen.
    """
    group = link.synapses
    conv = group.conv
    aligned = (
        conv is not None
        and all(s.cut.ensemble_shape == conv.input_shape for s in sources)
        and all(t.cut.ensemble_shape == conv.output_shape for t in targets)
        and np.array_equal(link.compartment_map, _pixels(conv))
    )
    if aligned:
        axons = _aligned_axons(conv, sources, targets)
    else:
        fan_out = np.stack([group.fan_out(t.cut) for t in targets], axis=1)
        if np.all(fan_out == fan_out[0]):  # dense: only the number of target blocks matters
            axons = np.outer([_driving(link, s.cut) for s in sources], fan_out[0])
        else:
            axons = np.stack([_axons(link, s.cut, fan_out) for s in sources])
    if group.synapse.pop_type == 0:
        return axons
    if not group.pop_free:
        return axons * (2 if group.synapse.pop_type == 32 else 1)
    narrow = np.array([pop16 and t.pop16[link.position] for t in targets])
    return axons * np.where(narrow, 1, 2)


def _pixels(conv):
    """(n,) input pixel of every neuron of an image that a convolution reads whole."""
    pixels = np.arange(conv.rows.n_in * conv.cols.n_in)
    return np.repeat(pixels, conv.n_channels) if conv.channels_last else np.tile(pixels, conv.n_channels)


def _aligned_axons(conv, sources, targets):
    """Output axons where the source is cut along the image: rows and columns count apart."""
    src = [conv.spatial(s.cut.shape) for s in sources]
    tgt = [conv.spatial(t.cut.shape) + (t.cut.n_blocks == 1,) for t in targets]
    filters = np.array([-(-conv.n_filters // c) for _, _, c, _ in tgt])

    def along(axis, k):
        kinds_src = sorted({s[k] for s in src})
        kinds_tgt = sorted({(t[k], t[3]) for t in tgt})
        table = np.array([[axis.fan_out(a, b, whole) for b, whole in kinds_tgt] for a in kinds_src])
        rows = [kinds_src.index(s[k]) for s in src]
        return table[np.ix_(rows, [kinds_tgt.index((t[k], t[3])) for t in tgt])]

    return along(conv.rows, 0) * along(conv.cols, 1) * filters


def _pairs(link, cut):
    """Each (block, axon) that at least one compartment of the block drives."""
    drives = link.compartment_map >= 0
    n_axons = link.synapses.synapse.n_axons
    pair = np.unique(cut.block_of[drives] * n_axons + link.compartment_map[drives])
    return pair // n_axons, pair % n_axons


def _driving(link, cut):
    block, _ = _pairs(link, cut)
    return int(np.bincount(block, minlength=1).max())


def _axons(link, cut, fan_out):
    block, axon = _pairs(link, cut)
    total = np.zeros((cut.n_blocks, fan_out.shape[1]), dtype=np.int64)
    np.add.at(total, block, fan_out[axon])
    return total.max(axis=0)


@dataclass(eq=False)
class _State:
    """Cheapest ways to settle the layers so far, one row for each combination of the open layers' cuts."""

    open_layers: list
    cuts: np.ndarray  # (n_states, n_open) index of the candidate
    cost: np.ndarray  # (n_states,)
    history: list  # [(layer, chosen candidate of each row, row of the state before)]


class Search:
    """Candidates and axon tables of a graph, and the search over them."""

    def __init__(self, graph: Graph, choices: List[List[Candidate]], chip: ChipLimits, pop16: bool = True) -> None:
        self.graph, self.choices, self.chip = graph, choices, chip
        self.tables = {}
        for layer in graph.layers:
            for link in layer.links:
                table = axon_table(link, choices[link.source], choices[link.target], pop16)
                self.tables[link] = table
        self.order = self._from_last_to_first()

    def _from_last_to_first(self):
        """Layers with every layer after its targets, as far as loops allow."""
        order, seen = [], set()

        def visit(i):
            stack = [(i, iter(self.graph.layers[i].links))]
            seen.add(i)
            while stack:
                j, links = stack[-1]
                for link in links:
                    if link.target not in seen:
                        seen.add(link.target)
                        stack.append((link.target, iter(self.graph.layers[link.target].links)))
                        break
                else:
                    order.append(j)
                    stack.pop()

        for i in range(len(self.graph.layers)):
            if i not in seen:
                visit(i)
        return order

    def run(self, cost: List[np.ndarray]) -> Union[List[int], int]:
        """Settle all layers at the least total cost.

        Parameters
        ----------
        cost : list of (n_candidates,) arrays
            Cost of every candidate of every layer.

        Returns
        -------
        list of int or int
            The candidate of every layer; or, where nothing fits, the layer whose output axons never do.
        """
        layers = self.graph.layers
        # a source's output axons are known once the source and all its targets are settled
        waiting = {i: {i} | {link.target for link in layers[i].links} for i in range(len(layers)) if layers[i].links}
        settled = set()
        state = _State([], np.zeros((1, 0), dtype=np.int64), np.zeros(1), [])
        for i in self.order:
            settled.add(i)
            ready = [s for s, needs in waiting.items() if needs <= settled]
            n = len(self.choices[i])
            total_cost = state.cost[None, :] + cost[i][:, None]
            fits = np.ones((n, len(state.cost)), dtype=bool)
            for source in ready:
                del waiting[source]
                slots = 0
                for link in layers[source].links:
                    slots = slots + self._slots(link, i, state)
                fits &= slots <= self.chip.output_axons
                if not fits.any():
                    return source
            row, old = np.nonzero(fits)
            needed = set().union(*waiting.values()) if waiting else set()
            stay = [k for k, layer in enumerate(state.open_layers) if layer in needed]
            open_layers = [state.open_layers[k] for k in stay]
            cuts = state.cuts[old][:, stay]
            if i in needed:
                open_layers, cuts = open_layers + [i], np.column_stack([cuts, row])
            keep = self._cheapest(cuts, total_cost[row, old])
            state = _State(
                open_layers,
                cuts[keep],
                total_cost[row, old][keep],
                state.history + [(i, row[keep], old[keep])],
            )
        best, at = {}, 0  # one state is left: nothing is open
        for layer, chosen, before in reversed(state.history):
            best[layer] = int(chosen[at])
            at = int(before[at])
        return [best[i] for i in range(len(layers))]

    def _slots(self, link, current, state):
        """Axon slots of ``link`` for (candidates of ``current``) x (states)."""
        table = self.tables[link]

        def of(layer):
            if layer == current:
                return np.arange(len(self.choices[current]))[:, None]
            return state.cuts[:, state.open_layers.index(layer)][None, :]

        return table[of(link.source), of(link.target)]

    @staticmethod
    def _cheapest(cuts, cost):
        """Rows with the least cost of each combination of cuts; ties go to the first."""
        if cuts.shape[1] == 0:
            return np.array([np.argmin(cost)])
        order = np.lexsort([cost] + [cuts[:, k] for k in range(cuts.shape[1])])
        ordered = cuts[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
        keep = order[first]
        if len(keep) > MAX_STATES:
            keep = keep[np.argsort(cost[keep], kind="stable")[:MAX_STATES]]
        return keep
