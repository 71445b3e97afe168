"""What spikes add to their targets, each kept once: patterns of targets, groups, rows of weights."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import numpy as np
from cotrain.hardware.emulator.vectors import LANES


class Pool:
    """Patterns, groups and rows of weights, each kept once."""

    def __init__(self) -> None:
        self.patterns: Dict[bytes, int] = {}
        self.groups: Dict[Any, int] = {}
        self.row_at: Dict[Any, int] = {}
        self.pattern_start: List[int] = [0]
        self.pattern_targets: List[int] = []
        self.positions: List[Any] = []
        self.run_offset: List[int] = []
        self.run_blocks: List[int] = []
        self.weights: List[np.ndarray] = []
        self.n_weights = 0

    def group(self, first: int, pattern: int) -> int:
        """Number of the group that starts at a place."""
        return self.groups.setdefault((int(first), pattern), len(self.groups))

    def pattern(self, offset: np.ndarray) -> int:
        """Number of the pattern of these (sorted, distinct) places, relative to the first."""
        key = offset.tobytes()
        if key not in self.patterns:
            self.patterns[key] = len(self.patterns)
            self._add_pattern(offset)
        return self.patterns[key]

    def _add_pattern(self, offset):
        # adding a few zeros costs less than another run
        first = np.concatenate([[0], np.flatnonzero(np.diff(offset) > LANES) + 1])
        last = np.concatenate([first[1:], [len(offset)]]) - 1
        blocks = -(-(offset[last] - offset[first] + 1) // LANES)
        start = np.concatenate([[0], np.cumsum(blocks)]) * LANES
        run = np.repeat(np.arange(len(first)), last - first + 1)
        self.positions.append((start[run] + offset - offset[first[run]], int(start[-1])))
        self.run_offset.extend(offset[first])
        self.run_blocks.extend(blocks)
        self.pattern_start.append(len(self.run_offset))
        self.pattern_targets.append(len(offset))

    def rows(self, table: np.ndarray, pattern: int) -> np.ndarray:
        """Store (n_atoms, n_targets) weights; return where each row starts, in multiples of LANES."""
        position, width = self.positions[pattern]
        padded = np.zeros((len(table), width), dtype=np.int16)
        padded[:, position] = table
        key = padded.tobytes()
        if key not in self.row_at:
            self.row_at[key] = self.n_weights // LANES
            self.weights.append(padded.ravel())
            self.n_weights += padded.size
        return (self.row_at[key] + np.arange(len(table)) * (width // LANES)).astype(np.int32)

    def arrays(self) -> Dict[str, np.ndarray]:
        keys = np.array(list(self.groups), dtype=np.int32).reshape(-1, 2)
        # the kernels load up to 128 weights at once
        weights = self.weights + [np.zeros(128, dtype=np.int16)]
        return {
            "group_target": np.ascontiguousarray(keys[:, 0]),
            "group_pattern": np.ascontiguousarray(keys[:, 1]),
            "pattern_start": np.array(self.pattern_start, dtype=np.int64),
            "pattern_targets": np.array(self.pattern_targets, dtype=np.int64),
            "run_offset": np.array(self.run_offset, dtype=np.int32),
            "run_blocks": np.array(self.run_blocks, dtype=np.int32),
            "pool": np.concatenate(weights),
        }


def numbers(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Number the stretches values[start[k] : start[k + 1]]; equal ones get equal numbers."""
    data = values.tobytes()
    known: Dict[bytes, int] = {}
    at = (start * values.itemsize).tolist()
    return np.array([known.setdefault(data[a:b], len(known)) for a, b in zip(at, at[1:])], dtype=np.int32)


def distinct_rows(table: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """First place of every distinct row, rows in ascending order; and the number of each row among them."""
    start = np.arange(len(table) + 1) * table.shape[1]
    number = numbers(np.ascontiguousarray(table), start)
    _, first = np.unique(number, return_index=True)
    order = np.lexsort(table[first].T[::-1])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[number]
