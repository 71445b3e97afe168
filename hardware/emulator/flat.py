"""Tables for spikes that come one by one: where the rows of a line go, without a branch that depends on the line.

A group of sources with the same targets costs little a source and much a group (`kernels.deliver`): a processor cannot
foretell where a group ends. Where few of a group spike at once, it is quicker to add each row by itself, in runs that
are all equally many and equally long, filled up with zeros.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import numpy as np
from cotrain.hardware.emulator.vectors import LANES

STEP = 8  # weights of a run are a multiple of this many: two runs that overlap in part hold a processor up
MAX_WEIGHTS = 1024  # of a line: longer ones are better added group by group


def flat_tables(pool: Dict[str, Any], groups: Sequence[np.ndarray], rows: Sequence[np.ndarray]) -> Dict[str, Any]:
    """The fields ``flat_*`` of `memory.Layout`.

    Parameters
    ----------
    pool : dict
        `pool.Pool.arrays`.
    groups, rows : sequences of (n_lines,) int32
        ``line_group`` and ``line_row`` of each projection.
    """
    start: List[int] = []
    runs: List[int] = []
    blocks: List[int] = []
    sources: List[float] = []
    lines, weights = [np.zeros(0, dtype=np.int32)], [np.zeros(MAX_WEIGHTS, dtype=np.int16)]
    n_numbers, n_weights = 0, weights[0].size
    for group, row in zip(groups, rows):
        used = np.flatnonzero(group >= 0)
        made = _projection(pool, group[used], row[used]) if used.size else None
        start.append(-1 if made is None else n_numbers)
        runs.append(0 if made is None else made.place.shape[1])
        blocks.append(0 if made is None else made.blocks)
        sources.append(used.size / max(1, np.unique(group[used]).size))
        if made is not None:
            line = np.zeros((len(group), 2 + made.place.shape[1]), dtype=np.int32)
            line[:, 2:] = made.place.min()  # of those without targets: zeros are added to any place
            line[used, 0] = n_weights // STEP + made.row
            line[used, 1] = pool["pattern_targets"][pool["group_pattern"][group[used]]]
            line[used, 2:] = made.place
            lines.append(line.ravel())
            weights.append(made.weights)
            n_numbers, n_weights = n_numbers + line.size, n_weights + made.weights.size
    return {
        "flat_start": np.array(start, dtype=np.int64),
        "flat_runs": np.array(runs, dtype=np.int64),
        "flat_blocks": np.array(blocks, dtype=np.int64),
        "flat_sources": np.array(sources, dtype=np.float64),
        "flat_line": np.concatenate(lines),
        "flat_pool": np.concatenate(weights),
    }


class _Projection:
    """place: (n_lines, n_runs) of each run; row: (n_lines,) into weights, / STEP; blocks: of each run, / STEP."""

    def __init__(self, place: np.ndarray, row: np.ndarray, blocks: int, weights: np.ndarray):
        self.place, self.row, self.blocks, self.weights = place, row, blocks, weights


def _projection(pool, group, row):
    """A `_Projection`, None where its lines are too long."""
    pattern = pool["group_pattern"][group]
    pattern_start, run_blocks = pool["pattern_start"], pool["run_blocks"]
    patterns = np.unique(pattern)
    first, last = pattern_start[patterns], pattern_start[patterns + 1]
    n_runs = int((last - first).max())
    longest = max(int(run_blocks[a:b].max()) for a, b in zip(first, last)) * LANES
    if n_runs * longest > MAX_WEIGHTS:
        return None
    place = np.repeat(pool["group_target"][group][:, None], n_runs, axis=1).astype(np.int32)
    new_row = np.zeros(len(group), dtype=np.int32)
    tables, n_rows = [], 0
    for p, a, b in zip(patterns, first, last):
        mine = np.flatnonzero(pattern == p)
        place[mine, : b - a] += pool["run_offset"][a:b]
        distinct, inverse = np.unique(row[mine], return_inverse=True)
        table = np.zeros((len(distinct), n_runs, longest), dtype=np.int16)
        at = distinct.astype(np.int64)[:, None] * LANES
        for r, width in enumerate(run_blocks[a:b] * LANES):
            table[:, r, :width] = pool["pool"][at + np.arange(width)]
            at = at + width
        new_row[mine] = n_rows + inverse.ravel()
        tables.append(table)
        n_rows += len(distinct)
    weights = np.concatenate(tables)
    used = np.flatnonzero(weights.any(axis=(0, 1)))  # shorter than in the pool, where these are padded to LANES
    blocks = 1 if not used.size else int(used[-1]) // STEP + 1
    weights = np.ascontiguousarray(weights[:, :, : blocks * STEP])
    return _Projection(place, new_row * (n_runs * blocks), blocks, weights.ravel())
