"""`nengo_loihi.Simulator`, as `hardware.Simulator` uses it: probes that sample, and memory asked for in advance."""

from __future__ import annotations

import copy
import functools
from typing import Any, Iterable, Optional

import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.errors import InputError
from cotrain.hardware.host.operators import make_steps

CHUNK_STEPS = 4096  # run in one go: what host and chip keep of a step in between does not add up over a long run
RECORDED_BYTES = 3 << 30  # recordings larger than this do not leave room in 4 GB
_ROW_BYTES = 128  # of one array on Python's heap: Nengo keeps one for every step


def sampled(steps: np.ndarray, sample_every: Optional[float], dt_s: float) -> np.ndarray:
    """Which steps (counted from 1) a probe records: step mod (sample_every / dt) < 1, as in `nengo.Simulator`."""
    if sample_every is None:
        return np.ones(len(steps), dtype=bool)
    return steps % (sample_every / dt_s) < 1


@functools.lru_cache(maxsize=None)
def recording_simulator() -> Any:
    """A subclass of `nengo_loihi.Simulator` whose probes on the chip know ``sample_every``."""
    base: Any = door.ReferenceSimulator

    class RecordedData(door.SimulationData):
        def __getitem__(self, key):
            if key not in self.raw and not any(key in fallback for fallback in self.fallbacks):
                raise InputError(f"data: {key!r} is not one of the probes and objects of this network")
            return super().__getitem__(key)

    class RecordingSimulator(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.data = RecordedData(self._probe_outputs)
            for sim in self.hosts:
                self.data.add_fallback(sim.data)
            # neurons that fire by chance draw from generators that were seeded when they were built
            if not hasattr(self.model, "random_states"):
                self.model.random_states = {
                    op: copy.deepcopy(op.state_extra)
                    for sim in self.hosts
                    for op in sim.step_order
                    if getattr(op, "state_extra", None)
                }
            self.random_states = self.model.random_states

        @property
        def hosts(self):
            return [self.sims[name] for name in ("host_pre", "host") if name in self.sims]

        def start_over(self, interface) -> None:
            """Time, probes and host at their initial values, on another emulator; ``seed`` says what chance gives."""
            for name, k in (("host_pre", 0), ("host", 1)):
                if name in self.sims:
                    self.sims[name].reset()
                    for op, states in self.random_states.items():
                        for key, rng in states.items():
                            op.state_extra[key].set_state(rng.get_state())
                    self.sims[name]._steps = make_steps(self.sims[name], np.random.RandomState([self.seed, k]))
            self.sims["emulator"] = interface
            for spike_input in self.model.inputs:
                forget_sent(spike_input)
            self._runner = door.StepRunner(self.model, self.sims, self.precompute, self.timers)
            self._n_steps, self._time = 0, 0
            self.clear_probes()

        def _probe(self):
            self._probe_step_time()
            chip = self.sims["loihi" if "loihi" in self.sims else "emulator"]
            for probe in self.model.nengo_probes:
                if probe in self.model.chip2host_params:
                    continue
                data = np.asarray(chip.collect_probe_output(self.model.objs[probe]["out"]))
                steps = np.arange(self._n_steps - len(data) + 1, self._n_steps + 1)
                self._probe_outputs[probe].extend(data[sampled(steps, probe.sample_every, self.dt)])

    return RecordingSimulator


def forget_sent(spike_input: Any) -> None:
    """Drop the spikes that the host has sent."""
    for t in set(spike_input.spikes) - spike_input.permanent:
        del spike_input.spikes[t]


def check_recordings(probes: Iterable[Any], n_steps: int, dt_s: float) -> None:
    """Refuse a run of which the probes would record more than fits.

    Raises
    ------
    InputError
    """
    n_bytes = 0
    for probe in probes:
        every = 1 if probe.sample_every is None else max(1.0, probe.sample_every / dt_s)
        n_bytes += n_steps / every * (_ROW_BYTES + 8 * probe.size_in)
    if n_bytes > RECORDED_BYTES:
        fit = int(n_steps * RECORDED_BYTES / n_bytes)
        raise InputError(
            f"{n_steps:,} steps: what the probes record needs {n_bytes / 2**30:,.1f} GiB, and "
            f"{RECORDED_BYTES / 2**30:.0f} are allowed: run {fit:,} steps, read sim.data, call sim.clear_probes() and "
            "go on; or give the probes sample_every"
        )
