"""Runs a `Program`: many samples, each from rest, on all cores.

This file knows arrays and threads; what a step does is in `kernels`, how the arrays lie is in `layout`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import List, Optional, Sequence

import numpy as np
from cotrain.hardware.builder.probes import weighted_by_vectors
from cotrain.hardware.compiler.program import ARRAYS, Program, ProgramProbe
from cotrain.hardware.emulator.kernels import Readout, Scratch, run_sample
from cotrain.hardware.emulator.memory import LayoutBuilder
from cotrain.hardware.errors import InputError

MAX_CHUNK = 32  # steps that a layer runs in a row; more would not fit the spike lists into the cache
EVENT_BYTES = 64 << 20  # bound on the spike lists of one thread


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, by running a program of one compartment.

    Most of a compilation happens outside Python's lock, so it can go on while a network is built.
    """
    arrays = {name: np.zeros(1, dtype=dtype) for name, dtype in ARRAYS.items()}
    for name in ARRAYS:
        if name.startswith(("input", "scheduled", "synapse", "axon", "entry", "weights", "indices", "route")):
            arrays[name] = np.zeros(1 if name.endswith("_start") else 0, dtype=ARRAYS[name])
    arrays["block_start"] = np.array([0, 1])
    Emulator(Program(0.001, ("",), ("",), (), arrays, ())).run([], 1)


def default_threads() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this platform
        return os.cpu_count() or 1


@dataclass
class Recording:
    """What one sample left behind; see `kernels.run_sample` for the fields."""

    spikes: np.ndarray
    currents: np.ndarray
    voltages: np.ndarray
    n_spikes: np.ndarray
    n_synops: np.ndarray
    overflows: np.ndarray


class Emulator:
    """A program laid out for this machine. Thread-safe: state lives in `Scratch` objects.

    Parameters
    ----------
    program : Program
    record : dict of {str: (n,) int array}, optional
        Compartments to record besides those that probes need: "spiked", "voltage", "current".
    """

    def __init__(self, program: Program, record: Optional[dict] = None):
        self.program = program
        builder = LayoutBuilder(program)
        self.layout = builder.build()
        self.place = builder.place
        self.n_places = builder.n_places
        self.n_layers = builder.n_layers
        self.record = record or {}
        self._readout()
        noisy = np.flatnonzero(program.noise_on)
        self._noisy = noisy
        # as emulator/interface.py, NoiseState: float64, rounded towards zero
        self._noise_offset = program.noise_offset[noisy] * 64
        self._noise_scale = 2.0 ** (program.noise_exp[noisy] - 7)

    def _readout(self):
        wanted = {"spiked": [], "voltage": [], "current": []}
        for probe in self.program.probes:
            wanted[probe.key].extend(probe.compartments)
        for key, compartments in self.record.items():
            wanted[key].append(np.asarray(compartments, dtype=np.int64))
        # columns in the order of layers and neurons, so that a whole layer is a slice
        p = self.program
        layer = np.repeat(p.block_layer, np.diff(p.block_start))
        self.columns, self._column_of = {}, {}
        for key, parts in wanted.items():
            chosen = np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
            chosen = chosen[np.lexsort((p.neuron[chosen], layer[chosen]))].astype(np.int64)
            self.columns[key] = chosen
            self._column_of[key] = np.full(p.n_compartments, -1, dtype=np.int64)
            self._column_of[key][chosen] = np.arange(len(chosen))
        spike_column = np.full(self.n_places, -1, dtype=np.int32)
        spike_column[self.place[self.columns["spiked"]]] = np.arange(len(self.columns["spiked"]))
        starts = {
            key: np.searchsorted(layer[self.columns[key]], np.arange(self.n_layers + 1)).astype(np.int64)
            for key in ("current", "voltage")
        }
        self.readout = Readout(
            spike_column,
            starts["current"],
            self.place[self.columns["current"]],
            starts["voltage"],
            self.place[self.columns["voltage"]],
        )
        self._probe_columns = [
            [_slice_or_index(self._column_of[probe.key][c]) for c in probe.compartments] for probe in p.probes
        ]

    # --- one sample

    def new_scratch(self, n_steps: int = MAX_CHUNK) -> Scratch:
        """Memory for one thread, all compartments at rest."""
        per_step = 4 * max(1, int(self.layout.layer_size.sum()))
        chunk = max(1, min(MAX_CHUNK, n_steps, EVENT_BYTES // per_step - 1))
        size = (chunk + 1) * self.layout.layer_size
        flags = np.zeros(self.n_places, dtype=np.uint8)

        def registers() -> np.ndarray:
            return np.zeros(self.n_places, dtype=np.int32)

        return Scratch(
            registers(),
            registers(),
            registers(),
            registers(),
            flags=flags,
            events=np.empty(int(size.sum()), dtype=np.int32),
            event_start=np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.int64),
            slot=np.zeros((self.n_layers, chunk + 2), dtype=np.int64),
            rows=np.zeros(256, dtype=np.int64),
        )

    def new_counts(self) -> np.ndarray:
        return np.zeros(self.n_places, dtype=np.int32)

    def layer_counts(self, counts: np.ndarray, layer: int) -> np.ndarray:
        """Spikes of each neuron of a layer, in the order of its ensemble."""
        p = self.program
        first, last = np.searchsorted(p.block_layer, [layer, layer + 1])
        mine = slice(p.block_start[first], p.block_start[last])
        out = np.zeros(int(self.layout.layer_size[layer]), dtype=np.int64)
        out[p.neuron[mine]] = counts[self.place[mine]]
        return out

    def noise(self, rng: np.random.RandomState, n_steps: int) -> np.ndarray:
        """(n_steps, n_noisy) int32; the reference draws for every compartment, so this does, too."""
        if not self._noisy.size:
            return np.zeros((1, 0), dtype=np.int32)
        n = self.program.n_compartments
        draws = [rng.randint(-127, 128, size=n, dtype=np.int32)[self._noisy] for _ in range(n_steps)]
        return ((np.stack(draws) + self._noise_offset) * self._noise_scale).astype(np.int32)

    def run_one(self, scratch, start, lines, n_steps, noise, counts, resume=False) -> Recording:
        """Run one sample, from rest unless `resume`; see `kernels.run_sample`."""
        if not resume:
            for state in (scratch.q, scratch.u, scratch.v, scratch.r, scratch.flags):
                state.fill(0)
        self._last_spikes(scratch)
        n_spikes, n_synops = (np.zeros(self.n_layers, dtype=np.int64) for _ in range(2))
        overflows = np.zeros((self.n_layers, 3), dtype=np.int64)
        spikes = np.zeros((n_steps, len(self.columns["spiked"])), dtype=np.uint8)
        us = np.empty((n_steps, len(self.columns["current"])), dtype=np.int32)
        vs = np.empty((n_steps, len(self.columns["voltage"])), dtype=np.int32)
        run_sample(
            self.layout, scratch, self.readout, n_steps, start, lines, noise,
            spikes, us, vs, n_spikes, n_synops, overflows, counts,
        )  # fmt: skip
        return Recording(spikes.view(bool), us, vs, n_spikes, n_synops, overflows)

    def _last_spikes(self, scratch):
        """The first list of each layer: its spikes of the step before."""
        spiked = np.flatnonzero(scratch.flags)
        bounds = np.searchsorted(spiked, self.layout.layer_start)
        for layer, at in enumerate(scratch.event_start):
            lines = spiked[bounds[layer] : bounds[layer + 1]] - self.layout.layer_start[layer]
            scratch.events[at : at + len(lines)] = lines
            scratch.slot[layer, :2] = at, at + len(lines)

    def table(self, recording: Recording, key: str) -> np.ndarray:
        """(n_steps, n_columns) of what was recorded."""
        return {"spiked": recording.spikes, "current": recording.currents, "voltage": recording.voltages}[key]

    def read(self, recording: Recording, key: str, compartments) -> np.ndarray:
        """(n_steps, n) values of some recorded compartments."""
        return self.table(recording, key)[:, self._column_of[key][compartments]]

    def probe_outputs(self, recording: Recording, probe: int) -> List[np.ndarray]:
        """What a probe reads, one array per block."""
        table = self.table(recording, self.program.probes[probe].key)
        return [table[:, columns] for columns in self._probe_columns[probe]]

    def probe_elements(self, probe: int):
        """(columns, weight) of a probe that takes each value by itself, None if it adds values up."""
        p = self.program.probes[probe]
        weights = {None if w is None else w.item() if w.ndim == 0 else "array" for w in p.weights}
        if len(weights) > 1 or "array" in weights or not p.compartments:
            return None
        columns = self._column_of[p.key][np.concatenate(p.compartments)]
        columns = columns if p.reindexing is None else columns[p.reindexing]
        return _slice_or_index(columns), weights.pop()

    # --- many samples

    def run(self, spikes: Sequence[np.ndarray], n_steps: int, seed: int = 0, threads: Optional[int] = None):
        """Run a batch without a host.

        Parameters
        ----------
        spikes : list of (n_samples, n_steps, size) bool arrays
            For each host input, in the program's order, the lines that spike in each step. A spike of step t reaches
            its synapses in step t + 1.
        n_steps : int
        seed : int
            Of the noise. Every sample sees the same noise, as a fresh nengo_loihi.Simulator would.

        Returns
        -------
        list of Recording, one per sample
        """
        sizes = self.program.input_size
        if len(spikes) != len(sizes):
            raise InputError(
                f"{len(spikes)} inputs given, the program has {len(sizes)}: {', '.join(self.program.inputs)}"
            )
        n_samples = len(spikes[0]) if len(spikes) else 1
        for label, size, array in zip(self.program.inputs, sizes, spikes):
            expected = (n_samples, n_steps, size)
            if np.shape(array) != expected or np.asarray(array).dtype != bool:
                raise InputError(f"input {label}: expected bool {expected}, got {array.dtype} {np.shape(array)}")
        noise = self.noise(np.random.RandomState(seed), n_steps)
        counts = self.new_counts()

        def one(sample):
            start, lines = input_lists([a[sample] for a in spikes], n_steps)
            return self.run_one(self.new_scratch(n_steps), start, lines, n_steps, noise, counts)

        with ThreadPoolExecutor(threads or default_threads()) as pool:
            return list(pool.map(one, range(n_samples)))


def _slice_or_index(columns):
    if len(columns) and (np.diff(columns) == 1).all():
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


def input_lists(spikes, n_steps):
    """Spike lists of `kernels.run_sample` from one (n_steps, size) array per input, one step later."""
    start = np.zeros((len(spikes), n_steps + 1), dtype=np.int64)
    lines, total = [], 0
    for k, array in enumerate(spikes):
        array = np.asarray(array)[: n_steps - 1]
        step, line = np.nonzero(array)
        start[k, 0] = total
        start[k, 1] = total
        start[k, 2:] = total + np.cumsum(np.bincount(step, minlength=n_steps - 1))
        lines.append(line.astype(np.int32))
        total += len(line)
    return start, np.concatenate(lines) if lines else np.zeros(0, dtype=np.int32)


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
