"""The fast emulator behind the calls of ``nengo_loihi.emulator.EmulatorInterface``.

`nengo_loihi.Simulator` can use it in the place of its own: same calls, same numbers. nengo-loihi's test suite runs
on it that way (``make peer-tests``), and `hardware.Simulator.run_steps` does.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import Any, Dict, Optional

import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.compiler.compile import program_from_model
from cotrain.hardware.emulator.emulator import Emulator
from nengo.exceptions import SimulationError

_REGISTERS = ("q0", "current", "u2")  # nengo-loihi's names, in the order of kernels' overflow counts


class FastInterface:
    """Runs a built `nengo_loihi.builder.Model` step by step or many steps at once.

    Parameters
    ----------
    model : nengo_loihi.builder.Model
    seed : int, optional
        Of the noise.
    emulator : Emulator, optional
        The model's program, if it has been compiled already.
    """

    strict = False  # as in EmulatorInterface: overflow is an error, not a warning

    def __init__(self, model: Any, seed: Optional[int] = None, emulator: Optional[Emulator] = None) -> None:
        self.closed = True
        self.seed = np.random.randint(2**31 - 1) if seed is None else seed
        self.rng = np.random.RandomState(self.seed)
        self.emulator = Emulator(program_from_model(model)) if emulator is None else emulator
        self.inputs = list(model.inputs)
        self.probes = list(model.probes)
        self.outputs: Dict[Any, list] = {probe: [] for probe in self.probes}
        self.filter = door.ProbeFilter(dt=model.dt)
        self.dt = model.dt
        self.scratch = self.emulator.new_scratch()
        self.counts = self.emulator.new_counts()
        n_layers = self.emulator.n_layers
        self.n_spikes, self.n_synops = np.zeros(n_layers, np.int64), np.zeros(n_layers, np.int64)
        self.overflows = np.zeros((n_layers, 3), np.int64)
        self.input_spikes: Dict[int, int] = defaultdict(int)  # step → spikes that entered the chip
        self.t = 0
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        self.close()

    def close(self) -> None:
        self.closed = True

    def clear_probes(self) -> None:
        """Nothing to do: `collect_probe_output` clears what it returns."""

    def host2chip(self, spikes: Any, errors: Any) -> None:
        if errors:
            raise SimulationError("on-chip learning is not in the emulator")
        for spike_input, t, spike_idxs in spikes:
            spike_input.add_spikes(t, spike_idxs)

    def step(self) -> None:
        self.run_steps(1)

    def run_steps(self, steps: int) -> None:
        start, lines = self._take_input(steps)
        noise = self.emulator.noise(self.rng, steps)
        r = self.emulator.run_one(self.scratch, start, lines, steps, noise, self.counts, resume=self.t > 0)
        self.last = r
        self.t += steps
        self.n_spikes += r.n_spikes
        self.n_synops += r.n_synops
        self.overflows += r.overflows
        for i, probe in enumerate(self.probes):
            self.outputs[probe].append(self.emulator.recorder.probe_outputs(r, i))
        for name, n in zip(_REGISTERS, r.overflows.sum(axis=0)):
            if n:
                if self.strict:
                    raise SimulationError(f"Overflow in {name}")
                warnings.warn(f"Overflow in {name}", stacklevel=2)

    def _take_input(self, steps):
        """Spikes that the host sent for steps t .. t + steps - 1 arrive one step later."""
        start = np.zeros((len(self.inputs), steps + 1), dtype=np.int64)
        lists, total = [np.zeros(0, dtype=np.int32)], 0
        for k, spike_input in enumerate(self.inputs):
            start[k, 0] = total
            for s in range(steps):
                if self.t + s >= 1:
                    lines = np.asarray(spike_input.spike_idxs(self.t + s), dtype=np.int32)
                    self.input_spikes[self.t + s] += len(lines)
                    lists.append(lines)
                    total += len(lines)
                start[k, s + 1] = total
        return start, np.concatenate(lists)

    def _outputs(self, probe):
        runs = self.outputs[probe]
        if not runs:
            return [[] for _ in probe.target]
        outputs = [np.concatenate(parts) if len(runs) > 1 else parts[0] for parts in zip(*runs)]
        runs.clear()
        return outputs

    def collect_probe_output(self, probe: Any) -> np.ndarray:
        """Collect and clear output from a particular probe."""
        return self.filter(probe, probe.weight_outputs(self._outputs(probe)))

    def chip2host(self, probes_receivers: Any) -> None:
        """Send what the probes read since the last call to the host's receiving nodes.

        A value of step t is received for step t + 1 (``ProbeState.send``).
        """
        for probe, receiver in probes_receivers.items():
            assert probe.synapse is None, "filters belong to the connection on the host"
            outputs = self._outputs(probe)
            n_steps = len(outputs[0])
            if n_steps:
                first = self.t - n_steps
                for j, x in enumerate(probe.weight_outputs(outputs)):
                    receiver.receive(self.dt * (first + j + 2), x)
