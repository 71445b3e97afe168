"""nengo-loihi's cutting of synapses and axons into blocks, on whole arrays.

`nengo_loihi.builder.split_blocks` goes through every input axon in Python, with sets of its targets; for a network of
a hundred cores that takes seconds. The functions here return the same objects with the same numbers, in the same
order; `tests/test_hardware_fastbuild.py` holds them to it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.chip.synapse_memory import COMPARTMENT_BASES


def split_synapse(old_block: Any, old_synapse: Any, new_blocks: Dict[Any, Any], validate: Any) -> Dict[Any, List[int]]:
    """Cut a synapse group; same arguments and result as `nengo_loihi.builder.split_blocks.split_synapse`."""
    theirs = door.split_blocks
    levels = door.ValidationLevel
    if validate >= levels.FULL or not _is_regular(old_synapse):
        return theirs.split_synapse(old_block, old_synapse, new_blocks, validate=validate)
    owner, place = _owners(old_block.n_neurons, [ids.list for ids in new_blocks.values()])
    row = _common_row(old_synapse)
    parts = _cut_shared(old_synapse, owner, place) if row is None else _cut_dense(old_synapse, row, owner, place)
    block_list, new_synapses = list(new_blocks), OrderedDict()
    for k, part in parts:
        synapse = theirs.Synapse(len(part.axons))
        if old_synapse.label is not None:
            synapse.label = "%s[%d]" % (old_synapse.label, k)
        block_list[k].add_synapse(synapse)
        set_entries(synapse, part.weights, part.rows, old_synapse.synapse_cfg.compression)
        synapse.axon_to_weight_map = np.asarray(part.entry_of_axon)
        synapse.axon_compartment_bases = part.base
        synapse.pop_type = old_synapse.pop_type
        new_synapses[synapse] = part.axons
    theirs.logger.info(
        "Split synapse (%d) into (%s)", old_synapse.n_axons, ", ".join(str(s.n_axons) for s in new_synapses)
    )
    return new_synapses


def split_axon(
    old_axon: Any, old_axon_idxs: Any, old_atoms: Any, new_synapses: Optional[Dict[Any, List[int]]]
) -> List[Any]:
    """Cut an axon; same arguments and result as `nengo_loihi.builder.split_blocks.split_axon`."""
    theirs = door.split_blocks
    old = np.asarray(old_axon_idxs)
    n_old = old_axon.target.n_axons
    if new_synapses is None or not old.size or old.max() >= n_old:
        return theirs.split_axon(old_axon, old_axon_idxs, old_atoms, new_synapses)
    axons = []
    table = np.empty(n_old + 1, dtype=np.int64)
    line = np.where(old >= 0, old, n_old)
    for k, (synapse, ids) in enumerate(new_synapses.items()):
        table.fill(-1)
        table[ids] = np.arange(len(ids))
        new = table[line]
        n_axons = np.unique(new[new >= 0]).size
        if n_axons == 0:
            continue
        axon = theirs.Axon(n_axons)
        if old_axon.label is not None:
            axon.label = "%s[%d]" % (old_axon.label, k)
        axon.target = synapse
        axon.compartment_map = new
        axon.compartment_atoms = np.asarray(old_atoms)
        axons.append(axon)
    return axons


def set_entries(synapse: Any, weights: List[np.ndarray], rows: List[np.ndarray], compression: int) -> None:
    """Give a new synapse its weight memory, as ``Synapse._set_weights_indices`` on the same entries would.

    Parameters
    ----------
    weights : list of (n_atoms, n_targets) arrays
    rows : list of (n_targets,) int arrays
        Targets of each entry, the same for all its atoms.
    """
    sizes = [w.size for w in weights]
    flat = np.concatenate([w.ravel() for w in weights])
    indices = np.empty((1, flat.size), dtype=np.int32)
    ends = np.cumsum(sizes).tolist()
    shapes = [w.shape for w in weights]
    index_views = [indices[0, e - n : e].reshape(s) for e, n, s in zip(ends, sizes, shapes)]
    for view, row in zip(index_views, rows):
        view[:] = row
    # all entries as one: what is derived from them is their maximum
    synapse._set_weights_indices([flat[None]], [indices], weight_dtype=flat.dtype, compression=compression)
    synapse.weights = [flat[e - n : e].reshape(s) for e, n, s in zip(ends, sizes, shapes)]
    synapse.indices = index_views


@dataclass
class _Part:
    """What one block gets of a synapse group.

    Attributes
    ----------
    axons : list of int
        Input axons of the uncut group, in order, that reach this block.
    weights, rows : list of array
        As in `set_entries`.
    entry_of_axon : list of int
    base : (n_axons,) int64 array
    """

    axons: List[int]
    weights: list
    rows: list
    entry_of_axon: List[int]
    base: np.ndarray


def _is_regular(synapse) -> bool:
    """Whether the group is one of the two kinds that nengo-loihi can cut, and made of arrays."""
    shared = synapse.pop_type != 0
    for table in (synapse.axon_to_weight_map, synapse.axon_compartment_bases):
        if isinstance(table, np.ndarray) != shared or (table is None) == shared:
            return False
    if not synapse.weights or not all(isinstance(w, np.ndarray) for w in synapse.weights):
        return False
    return all(len(i) == 1 or (i == i[:1]).all() for i in synapse.indices)


def _owners(n_compartments, members):
    """Block of every compartment, and its place there."""
    owner = np.empty(n_compartments, dtype=np.int16 if len(members) < 2**15 else np.int32)
    place = np.empty(n_compartments, dtype=np.int64)
    for k, ids in enumerate(members):
        owner[ids] = k
        place[ids] = np.arange(len(ids))
    return owner, place


def _common_row(synapse):
    """The targets, if they are the same for every axon of a dense connection."""
    if synapse.pop_type != 0 or len(synapse.indices) != synapse.n_axons:
        return None
    first = synapse.indices[0]
    if len(first) != 1 or not first.size or any(i.shape != first.shape for i in synapse.indices):
        return None
    return first[0] if (np.concatenate(synapse.indices) == first).all() else None


def _cut_dense(synapse, row, owner, place):
    matrix = np.concatenate(synapse.weights)
    owner_of_target = owner[row]
    for k in np.unique(owner_of_target).tolist():
        chosen = owner_of_target == k
        part = np.ascontiguousarray(matrix[:, chosen])
        n_bytes = part.itemsize * part.shape[1]
        data = part.tobytes()
        known = {}
        entry = [known.setdefault(data[i : i + n_bytes], len(known)) for i in range(0, len(data), n_bytes)]
        weights = np.frombuffer(b"".join(known), dtype=part.dtype).reshape(len(known), 1, -1)
        targets = place[row[chosen]]
        base = np.zeros(len(matrix), dtype=np.int64)
        yield k, _Part(list(range(len(matrix))), list(weights), [targets] * len(known), entry, base)


def _cut_shared(synapse, owner, place):
    """Cut a group whose axons reach different targets: a convolution, or sparse weights."""
    axon, position, compartment, entry = _elements(synapse)
    block_of = owner[compartment]
    order = np.argsort(block_of, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(block_of[order]))])
    contents = _Contents(synapse.weights)
    for k in range(len(bounds) - 1):
        mine = order[bounds[k] : bounds[k + 1]]
        if not mine.size:
            continue
        its_axon = axon[mine]
        first = np.concatenate([[0], np.flatnonzero(np.diff(its_axon)) + 1])
        axons = its_axon[first]
        target = place[compartment[mine]]
        if synapse.pop_type == 0:
            base = np.zeros(len(first), dtype=np.int64)
        else:
            base = np.minimum.reduceat(target, first) % COMPARTMENT_BASES
        ends = np.concatenate([first[1:], [mine.size]])
        target = target - np.repeat(base, ends - first)
        yield k, contents.part(axons, entry[axons], base, position[mine], target, first, ends)


def _elements(synapse):
    """One line per axon and target: axon, position in its entry, compartment; and the entry of every axon."""
    size = np.array([i.shape[1] for i in synapse.indices])
    start = np.cumsum(size) - size
    flat = np.concatenate([i[0] for i in synapse.indices])
    n_axons = synapse.n_axons
    if synapse.pop_type == 0:
        entry, base = np.arange(n_axons), np.zeros(n_axons, dtype=np.int64)
    else:
        entry, base = synapse.axon_to_weight_map, synapse.axon_compartment_bases.astype(np.int64)
    used = np.flatnonzero(base >= 0)
    n = size[entry[used]]
    position = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    compartment = flat[np.repeat(start[entry[used]], n) + position] + np.repeat(base[used], n)
    return np.repeat(used, n), position, compartment, entry


class _Contents:
    """Recognises entries with equal weights, by their bytes as nengo-loihi does."""

    def __init__(self, weights):
        self.weights = weights
        self.number, self.cuts = {}, {}
        self.whole = [self._number(w) for w in weights]

    def _number(self, w):
        return self.number.setdefault((w.shape[1], w.tobytes()), len(self.number))

    def part(self, axons, entries, base, position, target, first, ends) -> _Part:
        """Weight memory of one block. `position` and `target`: one value per axon and target, axon by axon."""
        known: Dict[Any, int] = {}
        weights: List[np.ndarray] = []
        rows: List[np.ndarray] = []
        entry_of_axon: List[int] = []
        positions, targets = position.tobytes(), target.tobytes()
        width = position.itemsize
        assert target.itemsize == width
        for entry, a, b in zip(entries.tolist(), first.tolist(), ends.tolist()):
            at = slice(a * width, b * width)
            which = (self.whole[entry], positions[at])
            if which not in self.cuts:
                cut = self.weights[entry][:, position[a:b]]
                self.cuts[which] = self._number(cut), cut
            number, cut = self.cuts[which]
            key = (number, targets[at])
            if key not in known:
                known[key] = len(weights)
                weights.append(cut)
                rows.append(target[a:b])
            entry_of_axon.append(known[key])
        return _Part(axons.tolist(), weights, rows, entry_of_axon, base)
