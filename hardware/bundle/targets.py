"""Run one sample at a time on a target; each gives the same kind of record (`hardware.bundle.record`)."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

import nengo
import numpy as np
from cotrain.hardware.bundle.folder import Folder, Record
from cotrain.hardware.bundle.record import output_record, spike_counts
from cotrain.hardware.simulator.simulator import Simulator

TARGETS = ("emulator", "reference", "loihi")


def open_target(name: str, folder: Folder, layers: int = 0) -> Any:
    """The target `name`, one of TARGETS; `layers` as in `hardware.bundle.board.BoardTarget`."""
    if name == "loihi":
        from cotrain.hardware.bundle.board import BoardTarget

        return BoardTarget(folder, layers)
    return {"emulator": EmulatorTarget, "reference": ReferenceTarget}[name](folder)


class EmulatorTarget:
    """The fast emulator."""

    def __init__(self, folder: Folder, builder: Optional[Callable] = None):
        self.folder, self.built = folder, folder.build(builder)
        description = folder.description
        self.sim = Simulator(
            self.built.net, target="emulator", seed=description["seed"], dt_s=description["dt_s"], threads=1
        )
        self.input_spikes_max = 0
        self.overflows: Dict[str, int] = {}

    def run(self, index: int) -> Record:
        """The record of sample `index`."""
        image = self.folder.images[index].reshape(1, 1, -1)
        out = self.sim.predict({self.built.image: image}, n_steps=self.folder.n_steps)
        stats = self.sim.stats
        self.input_spikes_max = max(self.input_spikes_max, int(stats.input_spikes_max))
        for label, count in stats.overflows.items():
            self.overflows[label] = self.overflows.get(label, 0) + int(count)
        record = output_record(out[self.built.output][0], self.folder.readout_steps)
        for name in self.folder.layers:
            record[f"spikes/{name}"] = stats.neuron_spikes[name].astype(np.uint16)
        return record

    def close(self) -> None:
        self.sim.close()


class ReferenceTarget:
    """nengo-loihi's own emulator."""

    def __init__(self, folder: Folder):
        self.folder, self.built = folder, folder.build()
        with self.built.net:
            self.probes = {name: nengo.Probe(layer.neurons) for name, layer in self.built.layers.items()}
        description = folder.description
        self.sim = Simulator(self.built.net, target="reference", seed=description["seed"], dt_s=description["dt_s"])

    def run(self, index: int) -> Record:
        """The record of sample `index`."""
        image = self.folder.images[index].reshape(1, 1, -1)
        out = self.sim.predict({self.built.image: image}, n_steps=self.folder.n_steps)
        record = output_record(out[self.built.output][0], self.folder.readout_steps)
        for name, probe in self.probes.items():
            record[f"spikes/{name}"] = spike_counts(out[probe][0])
        return record

    def close(self) -> None:
        self.sim.close()
