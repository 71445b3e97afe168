"""Program → the arrays that the kernels run over.

A layer's blocks are laid together again, pixel by pixel with the channels adjacent, so that the targets of one
spike of a convolution are a few long runs of neighbours (one per kernel row) and not hundreds of short ones. Sources
that reach the same targets form a *group*; they differ only in their row of weights. Rows with the same contents are
kept once.

Names: a *unit* sends spikes (the layers, then the host's inputs). A *projection* joins a unit to a layer. A *pattern*
is the shape of a group's targets: runs of neighbours relative to the first one, each padded to `vectors.LANES`.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, Dict, List

import numpy as np
from cotrain.hardware.compiler.program import Program
from cotrain.hardware.emulator.flat import flat_tables
from cotrain.hardware.emulator.pool import Pool, distinct_rows, numbers

_ALIGN = 64  # layers start at multiples of this many compartments
_INT16_MAX = 32767
_CURRENT_RANGE = 1 << 23  # of a register of 23 bits and a sign

# Everything the kernels read, as one flat tuple of arrays.
Layout = namedtuple(
    "Layout",
    [
        "layer_start",  # (n_layers + 1,) int64, first place of each layer
        "layer_size",  # (n_layers,) int64, compartments without padding
        "layer_kind",  # (n_layers,) int64, which update: see updates.update_layer
        "layer_scalars",  # (n_layers, 6) int32: 4095 - decay_u, 4096 - decay_v, refractory, vmin, vmax, bound on |u|
        "stage_start",  # (n_stages + 1,) int64 into stage_layer; layers of a stage are run together
        "stage_layer",  # int64
        "bias",  # the following have one value per place
        "vth",
        "keep_u",  # 4095 - decay_u
        "keep_v",  # 4096 - decay_v
        "refractory",
        "vmin",
        "vmax",
        "noise_row",  # row of the noise table, -1: none
        "noise_membrane",
        "unit_size",  # (n_units,) int64, lines of each unit
        "projection_start",  # (n_layers + 1,) int64: projections into each layer
        "projection_unit",  # int64
        "projection_offset",  # int64, first value of the unit's lines in line_group, line_row
        "projection_shift",  # int64, weights were shifted right by this many bits
        "projection_limit",  # int64, as many rows can be summed in 16 bits
        "line_group",  # int32, -1: this line has no target here
        "line_row",  # int32, first weight in pool, / LANES
        "group_target",  # int32, first place
        "group_pattern",  # int32
        "pattern_start",  # int64 into run_*
        "pattern_targets",  # int64, synapses of one spike
        "run_offset",  # int32, relative to the group's first place
        "run_blocks",  # int32, length / LANES
        "pool",  # int16 weights
        "flat_start",  # of each projection, int64: first number of its lines in flat_line, -1: it has none
        "flat_runs",  # int64, runs of each of its lines
        "flat_blocks",  # int64, length of each run / flat.STEP
        "flat_sources",  # float64, lines of a group, on average
        "flat_line",  # int32, of each line: first weight in flat_pool / flat.STEP, synapses, place of each run
        "flat_pool",  # int16 weights, with zeros where runs are filled up
    ],
)

RELU, LIF, GENERAL = 0, 1, 2  # values of layer_kind


class LayoutBuilder:
    """Builds a `Layout`; keeps `place`, the position of every compartment of the program in it."""

    def __init__(self, program: Program):
        self.program = program
        self.n_layers = len(program.layers)
        self.layer_of = np.repeat(program.block_layer, np.diff(program.block_start))
        self.layer_size = np.bincount(self.layer_of, minlength=self.n_layers)
        padded = -(-self.layer_size // _ALIGN) * _ALIGN
        self.layer_start = np.concatenate([[0], np.cumsum(padded)]).astype(np.int64)
        self.place = self.layer_start[self.layer_of] + program.order
        self.n_places = int(self.layer_start[-1]) + 2 * _ALIGN  # padded rows may reach beyond the last layer
        self.unit_size = np.concatenate([self.layer_size, program.input_size]).astype(np.int64)

        p = program
        axons = np.diff(p.synapse_axon_start)
        self._axon_first = np.repeat(p.block_start[p.synapse_block], axons) + p.axon_base
        self._axon_used = p.axon_base >= 0
        self.index_number = numbers(p.indices, p.entry_index_start)  # entries with equal indices have equal numbers

    def build(self) -> Layout:
        pool = Pool()
        targets = self._routes_by_target()
        start, unit, offset, shift, limit = [0], [], [], [], []
        line_group, line_row, n_lines = [], [], 0
        for layer in range(self.n_layers):
            for source, routes in sorted(targets[layer].items()):
                for plane in self._projection(pool, source, routes):
                    unit.append(source)
                    offset.append(n_lines)
                    shift.append(plane.shift)
                    limit.append(plane.limit)
                    line_group.append(plane.group)
                    line_row.append(plane.row)
                    n_lines += len(plane.group)
            start.append(len(unit))
        edges = [(u, k) for k in range(self.n_layers) for u in unit[start[k] : start[k + 1]] if u < self.n_layers]
        stages = stages_of(self.n_layers, edges)
        kind, scalars = self._kinds()
        arrays = pool.arrays()
        return Layout(
            layer_start=self.layer_start,
            layer_size=self.layer_size.astype(np.int64),
            layer_kind=kind,
            layer_scalars=scalars,
            stage_start=np.cumsum([0] + [len(s) for s in stages]).astype(np.int64),
            stage_layer=np.array([k for s in stages for k in s], dtype=np.int64),
            unit_size=self.unit_size,
            projection_start=np.array(start, dtype=np.int64),
            projection_unit=np.array(unit, dtype=np.int64),
            projection_offset=np.array(offset, dtype=np.int64),
            projection_shift=np.array(shift, dtype=np.int64),
            projection_limit=np.array(limit, dtype=np.int64),
            line_group=_joined(line_group),
            line_row=_joined(line_row),
            **self._per_place(),
            **arrays,
            **flat_tables(arrays, line_group, line_row),
        )

    # --- compartments

    def _spread(self, values, dtype=np.int32, fill=0):
        out = np.full(self.n_places, fill, dtype=dtype)
        out[self.place] = values
        return out

    def _per_place(self):
        p = self.program
        noisy = np.flatnonzero(p.noise_on)
        row = np.full(p.n_compartments, -1)
        row[noisy] = np.arange(len(noisy))
        return {
            "bias": self._spread(p.bias),
            "vth": self._spread(p.vth, fill=np.iinfo(np.int32).max),
            "keep_u": self._spread(4095 - p.decay_u),
            "keep_v": self._spread(4096 - p.decay_v),
            "refractory": self._spread(p.refractory),
            "vmin": self._spread(p.vmin),
            "vmax": self._spread(p.vmax),
            "noise_row": self._spread(row, fill=-1),
            "noise_membrane": self._spread(p.noise_at_membrane, dtype=bool),
        }

    def _kinds(self):
        p = self.program
        kind = np.full(self.n_layers, GENERAL, dtype=np.int64)
        scalars = np.zeros((self.n_layers, 6), dtype=np.int32)
        columns = (4095 - p.decay_u, 4096 - p.decay_v, p.refractory, p.vmin, p.vmax)
        for k in range(self.n_layers):
            mine = self.layer_of == k
            values = [np.unique(c[mine]) for c in columns]
            if p.noise_on[mine].any() or any(len(v) > 1 for v in values):
                continue
            # within this bound neither the current nor its sum with a bias wraps around
            u_limit = max(0, _CURRENT_RANGE - int(np.abs(p.bias[mine].astype(np.int64)).max(initial=0)))
            scalars[k] = [v[0] for v in values] + [u_limit]
            # a count of 1 is taken off again in the same step: such a neuron has no refractory period
            kind[k] = RELU if scalars[k, 1] == 4096 and scalars[k, 2] <= 1 else LIF
        return kind, scalars

    # --- synapses

    def _routes_by_target(self):
        """Per layer: {unit: routes from it}."""
        p = self.program
        targets = [{} for _ in range(self.n_layers)]
        for r, (source, synapse) in enumerate(zip(p.route_source, p.route_synapse)):
            unit = p.block_layer[source] if source >= 0 else self.n_layers - 1 - source
            layer = p.block_layer[p.synapse_block[synapse]]
            targets[layer].setdefault(int(unit), []).append(r)
        return targets

    def _projection(self, pool, unit, routes):
        """Group and row of every line of a unit, for one target layer; several planes where one cannot hold it."""
        p = self.program
        by_source = {}
        for r in routes:
            by_source.setdefault(int(p.route_source[r]), []).append(r)
        fans = _Fans(self, pool, self._weight_scale(routes))
        planes: List[_Plane] = []
        for source, rs in by_source.items():
            axon = np.stack([p.route_axon[p.route_start[r] : p.route_start[r + 1]] for r in rs], axis=1)
            atom = np.stack([p.route_atom[p.route_start[r] : p.route_start[r + 1]] for r in rs], axis=1)
            first = p.synapse_axon_start[p.route_synapse[rs]]
            axon = np.where(axon >= 0, axon + first, -1)
            axon[(axon >= 0) & ~self._axon_used[axon]] = -1
            if source >= 0:
                lines = p.order[p.block_start[source] : p.block_start[source + 1]]
            else:
                lines = np.arange(len(axon))
            for lines_of_fan, plane_number, group, rows in fans.of(axon, atom, lines):
                while len(planes) <= plane_number:
                    planes.append(_Plane(self.unit_size[unit]))
                planes[plane_number].group[lines_of_fan] = group
                planes[plane_number].row[lines_of_fan] = rows
        for number, plane in enumerate(planes):
            plane.shift, plane.limit = fans.scale[number % len(fans.scale)][1:]
        return planes

    def _weight_scale(self, routes):
        """Digits that weights are split into: (bits below, shift, rows that 16 bits can sum) per plane.

        Loihi's weights are 8 bits times a power of two, which one 16-bit digit holds; only weights set by hand need
        more.
        """
        p = self.program
        axons = [np.arange(*p.synapse_axon_start[[s, s + 1]]) for s in np.unique(p.route_synapse[routes])]
        used = np.zeros(len(p.entry_atoms), dtype=bool)
        used[p.axon_entry[np.concatenate(axons)]] = True
        weights = p.weights[np.repeat(used, np.diff(p.entry_start))]
        bits = int(np.bitwise_or.reduce(weights)) if weights.size else 0
        shift = (bits & -bits).bit_length() - 1 if bits else 0
        largest = max(-int(weights.min()), int(weights.max())) >> shift if weights.size else 0
        if largest <= _INT16_MAX:
            return [(None, shift, max(1, _INT16_MAX // max(1, largest)))]
        return [(15, 0, 1), (15, 15, 1), (None, 30, 1)]


class _Plane:
    def __init__(self, n_lines):
        self.group = np.full(n_lines, -1, dtype=np.int32)
        self.row = np.zeros(n_lines, dtype=np.int32)
        self.shift, self.limit = 0, 1


class _Fans:
    """Turns "these axons" into targets, patterns and rows; each shape is worked out once and then recognised."""

    def __init__(self, builder: LayoutBuilder, pool: Pool, scale):
        p = builder.program
        self.places, self.axon_first, self.axon_entry = builder.place, builder._axon_first, p.axon_entry
        self.weights, self.entry_start, self.entry_atoms = p.weights, p.entry_start, p.entry_atoms
        self.indices, self.index_start = p.indices, p.entry_index_start
        self.pool, self.scale = pool, scale
        self.index_number = builder.index_number
        self.known: Dict[Any, Any] = {}
        self.spots: Dict[Any, Any] = {}
        self.index_of: Dict[Any, Any] = {}
        self.shapes: Dict[Any, Any] = {}
        self.rows_known: Dict[Any, Any] = {}

    def of(self, axon, atom, lines):
        """Yield (lines, plane, group, rows) for all lines of one source.

        Parameters
        ----------
        axon, atom : (n_lines, n_routes) int arrays
            Input axon (of the whole program, -1 for none) and atom of each route.
        lines : (n_lines,) int array
            Place of each line within its unit.
        """
        used = axon >= 0
        common = atom.max(axis=1, initial=0, where=used)
        separate = ((atom != common[:, None]) & used).any() or not self._one_index_row(axon[used])
        # where targets or rows depend on the atom, each (axon, atom) is treated as an axon of its own
        key = np.where(used, axon * (atom.max() + 1) + atom, -1) if separate else axon
        first, inverse = distinct_rows(key)
        by_fan = np.argsort(inverse, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(inverse))])
        for f, line in enumerate(first):
            chosen = used[line]
            if not chosen.any():
                continue
            mine = by_fan[bounds[f] : bounds[f + 1]]
            atoms = atom[line][chosen] if separate else None
            for plane, group, rows in self._fan(axon[line][chosen], atoms):
                yield lines[mine], plane, group, rows[0] if separate else rows[common[mine]]

    def _one_index_row(self, axons):
        entries = np.unique(self.axon_entry[axons])
        n_weights = self.entry_start[entries + 1] - self.entry_start[entries]
        n_indices = self.index_start[entries + 1] - self.index_start[entries]
        return bool((n_indices * self.entry_atoms[entries] == n_weights).all())

    def _fan(self, axons, atoms):
        """[(plane, group, first weight of each atom's row)] of one set of axons."""
        atoms_key = None if atoms is None else atoms.tobytes()
        key = (axons.tobytes(), atoms_key)
        if key not in self.known:
            entries = self.axon_entry[axons]
            # dense connections: other weights, but the same targets for every axon
            spot = (self.axon_first[axons].tobytes(), self.index_number[entries].tobytes(), atoms_key)
            if spot not in self.spots:
                self.spots[spot] = self._spot(axons, entries, atoms, spot[1:])
            self.known[key] = self._with_rows(entries, atoms, atoms_key, *self.spots[spot])
        return self.known[key]

    def _spot(self, axons, entries, atoms, index_key):
        """(shape of the targets, group of each of its planes)."""
        if index_key not in self.index_of:
            parts = [self._index(e, None if atoms is None else atoms[k]) for k, e in enumerate(entries)]
            self.index_of[index_key] = np.concatenate(parts), np.array([len(i) for i in parts])
        index, sizes = self.index_of[index_key]
        target = self.places[np.repeat(self.axon_first[axons], sizes) + index]
        if not len(target):
            return None, []
        shape_key = (sizes.tobytes(), (target - target[0]).tobytes())
        if shape_key not in self.shapes:
            self.shapes[shape_key] = self._shape(target, sizes)
        shape = self.shapes[shape_key]
        return shape, [self.pool.group(target[0] + first, pattern) for _, first, pattern in shape]

    def _index(self, entry, atom):
        index = self.indices[self.index_start[entry] : self.index_start[entry + 1]]
        n_targets = (self.entry_start[entry + 1] - self.entry_start[entry]) // self.entry_atoms[entry]
        if atom is None or index.size == n_targets:
            return index
        return index.reshape(-1, n_targets)[atom]

    def _with_rows(self, entries, atoms, atoms_key, shape, groups):
        """[(plane, group, first weight of each atom's row)]."""
        fans = []
        for number, group in enumerate(groups):
            chosen, _, pattern = shape[number]
            key = (entries.tobytes(), atoms_key, id(shape), number)  # shapes are kept, so their ids stay theirs
            if key not in self.rows_known:
                table = self._table(entries, atoms)[:, chosen]
                self.rows_known[key] = [self.pool.rows(d, pattern) for d in _digits(table, self.scale)]
            for digit, rows in enumerate(self.rows_known[key]):
                fans.append((number * len(self.scale) + digit, group, rows))
        return fans

    def _shape(self, target, sizes):
        """[(which targets, in order; the first place relative to target[0]; pattern)], usually just one.

        A compartment that is reached k times (parallel connections) is served by k planes.
        """
        axon = np.repeat(np.arange(len(sizes)), sizes)
        # numpy's += on indices that repeat within one axon: the last one counts
        _, last = np.unique(np.stack([axon, target])[:, ::-1], axis=1, return_index=True)
        kept = np.sort(len(target) - 1 - last)
        order = kept[np.argsort(target[kept], kind="stable")]
        at = target[order]
        start = np.concatenate([[True], at[1:] != at[:-1]])
        repeat = np.arange(len(at)) - np.flatnonzero(start)[np.cumsum(start) - 1]
        out = []
        for r in range(int(repeat.max()) + 1):
            chosen = order[repeat == r]
            out.append((chosen, target[chosen[0]] - target[0], self.pool.pattern(target[chosen] - target[chosen[0]])))
        return out

    def _table(self, entries, atoms):
        """(n_atoms, n_targets) weights of several entries side by side."""
        tables = []
        for k, e in enumerate(entries):
            table = self.weights[self.entry_start[e] : self.entry_start[e + 1]].reshape(self.entry_atoms[e], -1)
            tables.append(table if atoms is None else table[atoms[k] : atoms[k] + 1])
        return np.concatenate(tables, axis=1)


def _digits(table, scale):
    for bits, shift, _ in scale:
        digit = table >> shift
        yield digit if bits is None else digit & ((1 << bits) - 1)


def stages_of(n_layers: int, edges: Any) -> List[List[int]]:
    """Layers in order of dependence; layers that feed each other (recurrent networks) share a stage."""
    reach = np.eye(n_layers, dtype=bool)
    for source, target in edges:
        reach[source, target] = True
    for k in range(n_layers):  # Warshall's closure
        reach |= reach[:, k : k + 1] & reach[k : k + 1]
    together = reach & reach.T
    stages, seen = [], set()
    for k in sorted(range(n_layers), key=lambda k: (reach[:, k].sum(), k)):
        if k not in seen:
            stages.append([int(j) for j in np.flatnonzero(together[k])])
            seen.update(stages[-1])
    return stages


def _joined(parts):
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
