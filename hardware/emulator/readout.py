"""What is recorded of a program, and how probes read it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from cotrain.hardware.builder.probes import weighted_by_vectors
from cotrain.hardware.compiler.program import Program, ProgramProbe
from cotrain.hardware.emulator.bits import scatter, unpacked
from cotrain.hardware.emulator.kernels import Readout
from cotrain.hardware.emulator.updates import WORD


@dataclass
class Recording:
    """What one sample left behind; see `kernels.run_sample` for the fields.

    Of many samples (`Emulator.run_many`) the arrays have one more axis, and `sample` is all that is to be asked.
    """

    words: np.ndarray
    bit_column: np.ndarray  # of each bit of `words`, as in `bits.scatter`
    n_columns: int
    currents: np.ndarray
    voltages: np.ndarray
    n_spikes: Any
    n_synops: Any
    overflows: Any

    def sample(self, b: int) -> Recording:
        """One of many."""
        mine = (self.currents, self.voltages, self.n_spikes, self.n_synops, self.overflows)
        return Recording(self.words[b], self.bit_column, self.n_columns, *(array[b] for array in mine))

    @cached_property
    def spikes(self) -> np.ndarray:
        """(n_steps, n_columns) bool."""
        return unpacked(self.words, self.bit_column, self.n_columns)


@dataclass
class SpikeReader:
    """How spikes become what a probe reads of them.

    Attributes
    ----------
    words : slice
        Of ``Recording.words``.
    column : (64 n_words,) int32
        As in `bits.scatter`.
    n_columns : int
    value : numpy scalar
        Of a spike; the probe's numbers are of its type.
    """

    words: slice
    column: np.ndarray
    n_columns: int
    value: Any

    def write(self, words: np.ndarray, out: np.ndarray) -> None:
        """Write the spikes of (n_steps, n_words) into zeros (n_steps, n_columns)."""
        if out.dtype == bool:
            scatter(words, self.column, np.uint8(1), out.view(np.uint8))
        else:
            scatter(words, self.column, self.value, out)


class Recorder:
    """Columns of what is recorded, for probes and for whoever asks for more.

    Parameters
    ----------
    program : Program
    layout : memory.Layout
    place : (n_compartments,) int array
        Position of each compartment in the layout.
    record : dict of {str: (n,) int array}
        Compartments to record besides those that probes need: "spiked", "voltage", "current".

    Attributes
    ----------
    columns : dict of {str: (n_columns,) int64}
        The compartment of each column, in the order of layers and neurons, so that a whole layer is a slice.
    """

    def __init__(self, program: Program, layout: Any, place: np.ndarray, record: Dict[str, Any]):
        self.program, self.layout, self.place = program, layout, place
        wanted: Dict[str, list] = {"spiked": [], "voltage": [], "current": []}
        for probe in program.probes:
            wanted[probe.key].extend(probe.compartments)
        for key, compartments in record.items():
            wanted[key].append(np.asarray(compartments, dtype=np.int64))
        self._layer = layer = np.repeat(program.block_layer, np.diff(program.block_start))
        self.columns, self._column_of = {}, {}
        for key, parts in wanted.items():
            chosen = np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
            chosen = chosen[np.lexsort((program.neuron[chosen], layer[chosen]))].astype(np.int64)
            self.columns[key] = chosen
            self._column_of[key] = np.full(program.n_compartments, -1, dtype=np.int64)
            self._column_of[key][chosen] = np.arange(len(chosen))
        n_layers = len(layout.layer_size)
        self.word = np.full(n_layers, -1, dtype=np.int64)
        self.n_words = 0
        for k in np.unique(layer[self.columns["spiked"]]):
            self.word[k] = self.n_words
            self.n_words += -(-int(layout.layer_size[k]) // WORD)
        self.bit_column = self._bits_to(self.columns["spiked"])
        starts = {
            key: np.searchsorted(layer[self.columns[key]], np.arange(n_layers + 1)).astype(np.int64)
            for key in ("current", "voltage")
        }
        self.readout = Readout(
            self.word,
            starts["current"],
            place[self.columns["current"]],
            starts["voltage"],
            place[self.columns["voltage"]],
        )
        self._probe_columns = [
            [_slice_or_index(self._column_of[probe.key][c]) for c in probe.compartments] for probe in program.probes
        ]
        self._spiked = [self._spike_columns(probe) if probe.key == "spiked" else None for probe in program.probes]

    def _bits(self, compartments):
        """Number of the bit of each compartment in a step of ``Recording.words``."""
        layer = self._layer[compartments]
        return self.word[layer] * WORD + self.place[compartments] - self.layout.layer_start[layer]

    def _bits_to(self, compartments):
        column = np.full(self.n_words * WORD, -1, dtype=np.int32)
        column[self._bits(compartments)] = np.arange(len(compartments))
        return column

    def _spike_columns(self, probe):
        """(bit columns of the neurons that a probe reads, each once; how many; columns of each block among them)."""
        columns = [self._column_of["spiked"][c] for c in probe.compartments]
        distinct, inverse = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *columns]), return_inverse=True)
        ends = np.cumsum([0] + [len(c) for c in columns])
        mine = [_slice_or_index(inverse[a:b]) for a, b in zip(ends, ends[1:])]
        return self._bits_to(self.columns["spiked"][distinct]), len(distinct), mine

    def recording(
        self,
        words: np.ndarray,
        currents: np.ndarray,
        voltages: np.ndarray,
        n_spikes: np.ndarray,
        n_synops: np.ndarray,
        overflows: np.ndarray,
    ) -> Recording:
        """The `Recording` of what the kernels have written."""
        n_columns = len(self.columns["spiked"])
        return Recording(words, self.bit_column, n_columns, currents, voltages, n_spikes, n_synops, overflows)

    def table(self, recording: Recording, key: str) -> np.ndarray:
        """(n_steps, n_columns) of what was recorded."""
        return {"spiked": lambda: recording.spikes, "current": lambda: recording.currents}.get(
            key, lambda: recording.voltages
        )()

    def read(self, recording: Recording, key: str, compartments: Any) -> np.ndarray:
        """(n_steps, n) values of some recorded compartments."""
        return self.table(recording, key)[:, self._column_of[key][compartments]]

    def probe_outputs(self, recording: Recording, probe: int) -> List[np.ndarray]:
        """What a probe reads, one array per block."""
        spiked = self._spiked[probe]
        if spiked is not None:
            bit_column, n_columns, mine = spiked
            table = unpacked(recording.words, bit_column, n_columns)
            return [table[:, columns] for columns in mine]
        table = self.table(recording, self.program.probes[probe].key)
        return [table[:, columns] for columns in self._probe_columns[probe]]

    def elements(self, probe: int) -> Optional[Tuple[Any, Optional[float]]]:
        """(what to hand to `element_table`, weight) of a probe that takes each value by itself; None if it adds up."""
        p = self.program.probes[probe]
        weights: Any = {None if w is None else w.item() if w.ndim == 0 else "array" for w in p.weights}
        if len(weights) > 1 or "array" in weights or not p.compartments:
            return None
        compartments = np.concatenate(p.compartments)
        compartments = compartments if p.reindexing is None else compartments[p.reindexing]
        reader: Any = _slice_or_index(self._column_of[p.key][compartments])
        if p.key == "spiked" and np.unique(compartments).size == compartments.size:
            reader = self._reader(compartments, np.bool_(True))
        return reader, weights.pop()

    def element_table(self, recording: Recording, probe: int, reader: Any) -> np.ndarray:
        """(n_steps, size) unweighted values of a probe that has `elements`."""
        if not isinstance(reader, SpikeReader):
            return self.table(recording, self.program.probes[probe].key)[:, reader]
        out = np.zeros((len(recording.words), reader.n_columns), dtype=bool)
        reader.write(recording.words[:, reader.words], out)
        return out

    def spike_reader(self, probe: int) -> Optional[SpikeReader]:
        """How the spikes of a probe can be kept as bits until somebody looks; None where that would not save memory."""
        p = self.program.probes[probe]
        elements = self.elements(probe) if p.key == "spiked" else None
        if elements is None or not isinstance(elements[0], SpikeReader):
            return None
        reader, weight = elements
        if weight is not None and not (np.asarray(p.weights[0]).dtype == np.float64 and weight > 0):
            return None
        value = np.bool_(True) if weight is None else np.float64(weight)
        if len(reader.column) // WORD > reader.n_columns:
            return None
        return SpikeReader(reader.words, reader.column, reader.n_columns, value)

    def _reader(self, compartments, value):
        column = self._bits_to(compartments)
        words = np.flatnonzero((column >= 0).reshape(-1, WORD).any(axis=1))
        chosen = slice(int(words[0]), int(words[-1]) + 1) if words.size else slice(0, 0)
        column = column[chosen.start * WORD : chosen.stop * WORD].copy()
        return SpikeReader(chosen, column, len(compartments), value)


def _slice_or_index(columns):
    if len(columns) and (np.diff(columns) == 1).all():
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


def decode(probe: ProgramProbe, outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Weight what a probe read, as ``LoihiProbe.weight_outputs``.

    The products are the same NumPy calls on arrays of the same shape and layout, since the order in which floats are
    summed is part of the result.
    """
    if any(w is not None and w.ndim == 1 for w in probe.weights):
        return weighted_by_vectors(outputs, probe.weights, probe.reindexing)
    weighted = [o if w is None else np.asarray(o).dot(w) for o, w in zip(outputs, probe.weights)]
    if any(w is not None and w.ndim > 1 for w in probe.weights):
        return np.asarray(sum(weighted))
    result = np.column_stack(weighted)
    return result if probe.reindexing is None else result[..., probe.reindexing]
