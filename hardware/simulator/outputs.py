"""What `predict` returns: spikes stay bits until somebody looks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterator

import numpy as np
from cotrain.hardware.emulator.readout import SpikeReader

_THREADED_BYTES = 4 << 20  # a result smaller than this is not worth a second thread


class KeptSpikes:
    """Spikes of one probe in all samples.

    Parameters
    ----------
    reader : SpikeReader
    words : (n_samples, n_kept, n_words) uint64
    threads : int
        That may convert them.
    """

    def __init__(self, reader: SpikeReader, words: np.ndarray, threads: int):
        self.reader, self.words, self.threads = reader, words, threads

    def array(self) -> np.ndarray:
        """(n_samples, n_kept, size) of the probe's numbers."""
        n, n_kept = self.words.shape[:2]
        # pages of zeros that no spike touches are never taken from the system
        out = np.zeros((n, n_kept, self.reader.n_columns), dtype=self.reader.value.dtype)
        if out.nbytes < _THREADED_BYTES or self.threads == 1:
            for words, rows in zip(self.words, out):
                self.reader.write(words, rows)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(self.reader.write, self.words, out))
        return out


class Outputs(dict):
    """{probe: (n_samples, n_kept, size) array}; a dictionary whose spikes become numbers when they are asked for."""

    def __getitem__(self, probe: Any) -> np.ndarray:
        value = super().__getitem__(probe)
        if isinstance(value, KeptSpikes):
            value = value.array()
            self[probe] = value
        return value

    # every way to a value goes through the one above; a loop of our own keeps dict(outputs) from passing it by
    def __iter__(self) -> Iterator[Any]:
        return super().__iter__()

    def get(self, probe: Any, default: Any = None) -> Any:
        return self[probe] if probe in self else default

    def values(self) -> Any:
        return [self[probe] for probe in self]

    def items(self) -> Any:
        return [(probe, self[probe]) for probe in self]

    def pop(self, probe: Any, *default: Any) -> Any:
        if probe in self:
            self[probe]
        return super().pop(probe, *default)

    def popitem(self) -> Any:
        probe = next(reversed(self))
        return probe, self.pop(probe)

    def setdefault(self, probe: Any, default: Any = None) -> Any:
        if probe not in self:
            self[probe] = default
        return self[probe]

    def copy(self) -> dict:
        return dict(self.items())

    __copy__ = copy

    def __or__(self, other):
        return self.copy() | dict(other)

    def __ror__(self, other):
        return dict(other) | self.copy()

    def __eq__(self, other):
        return self.copy() == other

    def __ne__(self, other):
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return repr(self.copy())

    def __reduce__(self):
        return dict, (self.copy(),)
