"""Runs a `Program`: many samples, each from rest, on all cores.

This file knows arrays and threads; what a step does is in `kernels`, how the arrays lie is in `layout`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
from cotrain.hardware.compiler.program import ARRAYS, Program
from cotrain.hardware.emulator.flat import STEP
from cotrain.hardware.emulator.kernels import Scratch, run_samples
from cotrain.hardware.emulator.memory import GENERAL, LayoutBuilder
from cotrain.hardware.emulator.readout import Recorder, Recording
from cotrain.hardware.emulator.updates import WORD
from cotrain.hardware.emulator.vectors import MAX_LANES
from cotrain.hardware.errors import InputError

MAX_CHUNK = 32  # steps that a layer runs in a row; more would not fit the spike lists into the cache
BLOCK_BYTES = 384 << 10  # synaptic input of a layer for the steps that it runs in a row: some of a second-level cache
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
        self.recorder = Recorder(program, self.layout, self.place, record or {})
        noisy = np.flatnonzero(program.noise_on)
        self._noisy = noisy
        # as emulator/interface.py, NoiseState: float64, rounded towards zero
        self._noise_offset = program.noise_offset[noisy] * 64
        self._noise_scale = 2.0 ** (program.noise_exp[noisy] - 7)

    # --- one sample

    def new_scratch(self, n_steps: int = MAX_CHUNK) -> Scratch:
        """Memory for one thread, all compartments at rest."""
        per_step = 4 * max(1, int(self.layout.layer_size.sum()))
        chunk = max(1, min(MAX_CHUNK, n_steps, EVENT_BYTES // per_step - 1))
        size = (chunk + 1) * self.layout.layer_size
        stride = -(-int(self.layout.layer_size.max(initial=1)) // WORD) * WORD
        block = self._block(chunk)
        beyond = max(MAX_LANES, STEP * int(self.layout.flat_blocks.max(initial=0)))  # zeros are added there
        words = np.zeros(stride // WORD * int(block.max(initial=1)), dtype=np.uint64)

        def registers() -> np.ndarray:
            return np.zeros(self.n_places, dtype=np.int32)

        return Scratch(
            q=np.zeros(stride * int(block.max(initial=1)) + beyond, dtype=np.int32),
            q_stride=stride,
            block=block,
            u=registers(),
            v=registers(),
            r=registers(),
            words=words.view(np.uint16),
            words64=words,
            events=np.empty(int(size.sum()), dtype=np.int32),
            event_start=np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.int64),
            slot=np.zeros((self.n_layers, chunk + 2), dtype=np.int64),
            rows=np.zeros(256, dtype=np.int64),
        )

    def _block(self, chunk: int) -> np.ndarray:
        """(n_layers,) steps that a layer can run in a row before others must know its spikes."""
        layout = self.layout
        block = np.maximum(1, np.minimum(chunk, BLOCK_BYTES // np.maximum(4, 4 * layout.layer_size)))
        block[layout.layer_kind == GENERAL] = 1
        for first, last in zip(layout.stage_start[:-1], layout.stage_start[1:]):
            alone = layout.stage_layer[first]
            units = layout.projection_unit[layout.projection_start[alone] : layout.projection_start[alone + 1]]
            if last - first > 1 or alone in units:
                block[layout.stage_layer[first:last]] = 1
        for start in (self.recorder.readout.u_start, self.recorder.readout.v_start):
            block[np.diff(start) > 0] = 1  # registers are read after every step
        return block.astype(np.int64)

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

    def run_many(
        self,
        scratch: Any,
        start: np.ndarray,
        lines: np.ndarray,
        n_steps: int,
        noise: np.ndarray,
        counts: np.ndarray,
        resume: bool = False,
    ) -> Recording:
        """Run samples one after the other, from rest unless `resume`, in one call without Python's lock.

        Parameters
        ----------
        start : (n_samples, n_inputs, n_steps + 1) int64
        lines : int32
            See `kernels.run_sample`.
        counts : (n_places,) int32
            Added to: spikes of each compartment, over all samples.

        Returns
        -------
        Recording
            Its arrays have an axis of samples, the first; `Recording.sample` is one of them.
        """
        n, recorder = len(start), self.recorder
        n_spikes, n_synops = (np.zeros((n, self.n_layers), dtype=np.int64) for _ in range(2))
        overflows = np.zeros((n, self.n_layers, 3), dtype=np.int64)
        words = np.empty((n, n_steps, recorder.n_words), dtype=np.uint64)
        us = np.empty((n, n_steps, len(recorder.columns["current"])), dtype=np.int32)
        vs = np.empty((n, n_steps, len(recorder.columns["voltage"])), dtype=np.int32)
        run_samples(
            self.layout, scratch, recorder.readout, resume, n_steps, start, lines, noise,
            words, us, vs, n_spikes, n_synops, overflows, counts,
        )  # fmt: skip
        return recorder.recording(words, us, vs, n_spikes, n_synops, overflows)

    def run_one(
        self,
        scratch: Any,
        start: np.ndarray,
        lines: np.ndarray,
        n_steps: int,
        noise: np.ndarray,
        counts: np.ndarray,
        resume: bool = False,
    ) -> Recording:
        """Run one sample, from rest unless `resume`; see `kernels.run_sample`."""
        return self.run_many(scratch, start[None], lines, n_steps, noise, counts, resume).sample(0)

    def read(self, recording: Recording, key: str, compartments: Any) -> np.ndarray:
        """(n_steps, n) values of some recorded compartments."""
        return self.recorder.read(recording, key, compartments)

    # --- many samples

    def run(
        self, spikes: Sequence[np.ndarray], n_steps: int, seed: int = 0, threads: Optional[int] = None
    ) -> List[Recording]:
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


def input_lists(spikes: Sequence[np.ndarray], n_steps: int) -> Tuple[np.ndarray, np.ndarray]:
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
