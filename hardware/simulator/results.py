"""What `predict` gives: batches put together to one array a probe, and to `Stats`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Sequence

import numpy as np
from cotrain.hardware.emulator.emulator import Emulator
from cotrain.hardware.emulator.readout import Recording, decode
from cotrain.hardware.host.neurons import scale_into
from cotrain.hardware.host.plan import HostBatch
from cotrain.hardware.simulator.outputs import KeptSpikes, Outputs


@dataclass
class Stats:
    """What happened during the last `predict` (or, after `run_steps`, since the start).

    Attributes
    ----------
    spikes : dict of {label: (n_samples,) int64}
        Spikes of each ensemble, on and off the chip.
    neuron_spikes : dict of {label: (n_neurons,) int64}
        Spikes of each neuron, summed over samples, in the order of the ensemble.
    synops : dict of {label: (n_samples,) int64}
        Synaptic operations (a spike times a weight in synapse memory) arriving at each ensemble on the chip.
    input_spikes_max : int
        The most spikes that entered the chip in one step of any sample.
    overflows : dict of {label: int}
        Registers that wrapped around: synaptic input, current, membrane input.
    """

    spikes: Dict[str, np.ndarray] = field(default_factory=dict)
    neuron_spikes: Dict[str, np.ndarray] = field(default_factory=dict)
    synops: Dict[str, np.ndarray] = field(default_factory=dict)
    input_spikes_max: int = 0
    overflows: Dict[str, int] = field(default_factory=dict)


class BatchResult:
    """What one batch leaves: counts of chip and host, and what probes recorded."""

    def __init__(self, emulator: Emulator, n: int, labels: Iterable[str], host_probes: Dict[Any, Any]):
        self.counts = emulator.new_counts()
        self.n_spikes = np.zeros((n, emulator.n_layers), dtype=np.int64)
        self.n_synops = np.zeros((n, emulator.n_layers), dtype=np.int64)
        self.overflows = np.zeros(emulator.n_layers, dtype=np.int64)
        self.host_spikes = {label: np.zeros(n, dtype=np.int64) for label in labels}
        self.host_counts: Dict[str, np.ndarray] = {}
        self.input_spikes_max = 0
        self.probes: Dict[Any, list] = {}
        self.host_probes = host_probes
        self.n_kept: Dict[Any, int] = {}  # steps of each of these, less one

    def add_chip(self, where: Any, recording: Recording) -> None:
        """Count what a sample did, or those of a slice."""
        self.n_spikes[where] += recording.n_spikes
        self.n_synops[where] += recording.n_synops
        overflows = recording.overflows.sum(axis=-1)
        self.overflows += overflows.sum(axis=0) if overflows.ndim > 1 else overflows

    def add_host(self, batch: HostBatch, where: Any = slice(None)) -> None:
        for label, spikes in batch.spikes.items():
            self.host_spikes[label][where] += spikes
            counts = batch.counts[label]
            known = self.host_counts.setdefault(label, np.zeros_like(counts))
            known += counts


class Result:
    """Collects batches into one array a probe."""

    def __init__(self, probes: Sequence[Any], n_samples: int, host_probes: Dict[Any, Any]):
        self.probes, self.n_samples = probes, n_samples
        self.arrays = dict(host_probes)

    def outputs(self, readers: Dict[Any, Any], threads: int) -> Outputs:
        """`Outputs`; the arrays of probes that have a `SpikeReader` are words of bits."""
        return Outputs(
            (probe, KeptSpikes(readers[probe], self.arrays[probe], threads) if probe in readers else self.arrays[probe])
            for probe in self.probes
        )

    def put(self, i: int, j: int, out: BatchResult) -> None:
        for probe, parts in out.probes.items():
            if probe not in self.arrays:
                self.arrays[probe] = np.empty((self.n_samples, *parts[0].shape), dtype=parts[0].dtype)
            np.stack(parts, out=self.arrays[probe][i:j])


class StatsSum:
    """Adds batches up to `Stats`."""

    def __init__(self, runner: Any, n_samples: int):
        self.runner = runner
        n_layers = runner.emulator.n_layers
        self.n_spikes = np.zeros((n_samples, n_layers), dtype=np.int64)
        self.n_synops = np.zeros((n_samples, n_layers), dtype=np.int64)
        self.overflows = np.zeros(n_layers, dtype=np.int64)
        self.counts = runner.emulator.new_counts().astype(np.int64)
        self.host_spikes = {label: np.zeros(n_samples, dtype=np.int64) for label in runner.labels}
        self.host_counts: Dict[str, np.ndarray] = {}
        self.input_spikes_max = 0

    def put(self, i: int, j: int, out: BatchResult) -> None:
        self.n_spikes[i:j], self.n_synops[i:j] = out.n_spikes, out.n_synops
        self.overflows += out.overflows
        self.counts += out.counts
        self.input_spikes_max = max(self.input_spikes_max, out.input_spikes_max)
        for label, spikes in out.host_spikes.items():
            self.host_spikes[label][i:j] = spikes
        for label, counts in out.host_counts.items():
            self.host_counts[label] = self.host_counts.get(label, 0) + counts

    def stats(self) -> Stats:
        return chip_stats(
            self.runner.emulator, self.n_spikes, self.n_synops, self.overflows, self.counts,
            self.input_spikes_max, self.host_spikes, self.host_counts,
        )  # fmt: skip


def chip_stats(
    emulator: Emulator,
    n_spikes: np.ndarray,
    n_synops: np.ndarray,
    overflows: np.ndarray,
    counts: np.ndarray,
    input_spikes_max: int,
    host_spikes: Dict[str, np.ndarray],
    host_counts: Dict[str, np.ndarray],
) -> Stats:
    """`Stats` with labels in the place of numbers; n_spikes and n_synops are (n_samples, n_layers)."""
    labels = emulator.program.layers
    neuron_spikes = {label: emulator.layer_counts(counts, k) for k, label in enumerate(labels)}
    return Stats(
        spikes={**host_spikes, **{label: n_spikes[:, k] for k, label in enumerate(labels)}},
        neuron_spikes={**host_counts, **neuron_spikes},
        synops={label: n_synops[:, k] for k, label in enumerate(labels)},
        input_spikes_max=int(input_spikes_max),
        overflows={label: int(overflows[k]) for k, label in enumerate(labels)},
    )


class Received:
    """Values that a node on the host gets from one sample's recording."""

    def __init__(self, runner: Any, index: int, recording: Recording):
        emulator, probe = runner.emulator, runner.program.probes[index]
        elements = runner.elements[index]
        if elements is None:
            self.table, self.weight = decode(probe, emulator.recorder.probe_outputs(recording, index)), None
        else:  # no need to hold all steps as floats
            reader, self.weight = elements
            self.table = emulator.recorder.element_table(recording, index, reader)

    def write(self, t: int, row: np.ndarray) -> None:
        """Put the values of step t into `row`."""
        if self.weight is None:
            row[...] = self.table[t]
        else:
            scale_into(self.table[t], self.weight, row)
