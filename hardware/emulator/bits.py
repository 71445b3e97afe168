"""Spikes as bits, and what they become when somebody looks."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np
from cotrain.hardware.emulator.compiled import njit
from cotrain.hardware.emulator.vectors import lowest_bit, n_bits


@njit(boundscheck=False)
def scatter(words: np.ndarray, column: np.ndarray, value: Any, out: np.ndarray) -> None:
    """Write spikes where they belong, and nothing else: zeros that no spike touches need not be in memory.

    Parameters
    ----------
    words : (n_steps, n_words) uint64
    column : (64 n_words,) int32
        Where a bit goes, -1: nowhere.
    value : scalar of out's type
    out : (n_steps, n_columns)
        Zeros.
    """
    for t in range(words.shape[0]):
        for w in range(words.shape[1]):
            word = words[t, w]
            while word != np.uint64(0):
                at = column[64 * w + lowest_bit(word)]
                word &= word - np.uint64(1)
                if at >= 0:
                    out[t, at] = value


def unpacked(words: np.ndarray, column: np.ndarray, n_columns: int) -> np.ndarray:
    """(n_steps, n_columns) bool: the spikes of `words`; parameters as of `scatter`."""
    out = np.zeros((len(words), n_columns), dtype=np.uint8)
    scatter(words, column, np.uint8(1), out)
    return out.view(bool)


@njit(boundscheck=False)
def listed(words: np.ndarray, column: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """(start, lines) of spikes: ``lines[start[t] : start[t + 1]]`` are those of step t; parameters as of `scatter`."""
    n_steps = words.shape[0]
    start = np.zeros(n_steps + 1, dtype=np.int64)
    total = 0
    for t in range(n_steps):
        for w in range(words.shape[1]):
            total += n_bits(words[t, w])
    lines = np.empty(total, dtype=np.int32)
    k = 0
    for t in range(n_steps):
        for w in range(words.shape[1]):
            word = words[t, w]
            while word != np.uint64(0):
                at = column[64 * w + lowest_bit(word)]
                word &= word - np.uint64(1)
                if at >= 0:
                    lines[k] = at
                    k += 1
        start[t + 1] = k
    return start, lines[:k]
