"""What is kept of one sample's run.

A record holds

    output              (size,) float64: the output probe, averaged over the last `readout_steps` steps
    output_steps        (n_steps,) uint64: for each step, the first 8 bytes of sha256 of the output (as <f8)
    spikes/<layer>      (n_neurons,) uint16: spikes of each neuron

so that every value and every spike of a run can be compared to the last bit, and a file of it stays small.
"""

from __future__ import annotations

import hashlib

import numpy as np
from cotrain.hardware.bundle.folder import Record


def output_record(output: np.ndarray, readout_steps: int) -> Record:
    """What a record keeps of the output probe, (n_steps, size)."""
    rows = np.ascontiguousarray(output, dtype="<f8")
    steps = [int.from_bytes(hashlib.sha256(row.tobytes()).digest()[:8], "little") for row in rows]
    return {"output": rows[-readout_steps:].mean(axis=0), "output_steps": np.array(steps, dtype=np.uint64)}


def spike_counts(data: np.ndarray) -> np.ndarray:
    """Spikes of each neuron from a probe of its output, (n_steps, n_neurons), which is 0 in steps without a spike."""
    return np.count_nonzero(data, axis=0).astype(np.uint16)
