"""Run one network on images, in NengoDL or on emulated Loihi, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import nengo
import numpy as np
from cotrain.hardware.placement.cores import LoweredNetwork
from cotrain.pipeline.evaluation.synops import fan_out
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.networks import BuiltNetwork, NetworkSpec, Params, build, neurons_for

PROBE_BYTES = 256e6  # NengoDL keeps every probe's history: this bounds its batch


@dataclass
class Batch:
    """What one batch of samples gave.

    Attributes
    ----------
    readout : (n_samples, n_steps, size)
        The output probe.
    spikes : {layer: (n_samples,) int64}
        Spikes of each layer in each presentation; empty for the ANN.
    neuron_spikes : {layer: (n_neurons,) int64}
        Summed over the samples.
    synops : {layer: (n_samples,) int64}
        Synaptic operations that arrive at a layer; not what the host computes (the first layer, the readout).
    step_spikes : (n_steps,) int64
        Spikes of all layers in each step, summed over the samples.
    """

    readout: np.ndarray
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    neuron_spikes: dict[str, np.ndarray] = field(default_factory=dict)
    synops: dict[str, np.ndarray] = field(default_factory=dict)
    step_spikes: np.ndarray | None = None


def flat(images: np.ndarray) -> np.ndarray:
    """Images (n, height, width, 1) as an input of Nengo (n, 1, size): constant over the presentation."""
    return images.reshape(len(images), 1, -1)


class NengoDLModel:
    """A network in NengoDL, built once and run on any number of images.

    Parameters
    ----------
    phase : {"ann", "hybrid"}
        Rates in one step, or spikes over the experiment's number of steps.
    """

    extra: dict = {}  # what its row tells that others do not

    def __init__(self, experiment: Experiment, spec: NetworkSpec, params: Params, phase: str):
        from cotrain.pipeline.compat import import_nengo_dl

        nengo_dl = import_nengo_dl()
        self.spec, spiking = spec, phase == "hybrid"
        self.n_steps = experiment.finetune.n_steps if spiking else 1
        neurons = neurons_for(experiment.neurons, phase)
        synapse_s = experiment.finetune.synapse_s if spiking else None
        self.built = build(spec, neurons, params, synapse_s, seed=experiment.seed)
        self.probes = _spike_probes(self.built) if spiking else {}
        with self.built.net:  # unmerged: see pipeline.training.nengo_dl
            nengo_dl.configure_settings(
                stateful=False,
                planner=nengo_dl.graph_optimizer.noop_planner,
                sorter=nengo_dl.graph_optimizer.noop_order_signals,
            )
        size = spec.readout.n_neurons + (spec.n_neurons if spiking else 0)
        self.minibatch = int(np.clip(PROBE_BYTES / (4 * size * self.n_steps), 1, 64))
        self.amplitude = experiment.dt_s * experiment.neurons.rate_scale_hz  # times output: spikes in a step
        self.sim = nengo_dl.Simulator(
            self.built.net, dt=experiment.dt_s, minibatch_size=self.minibatch, seed=experiment.seed, progress_bar=False
        )

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.sim.close()

    def run(self, images: np.ndarray) -> Iterator[Batch]:
        """Run on images (n, height, width, 1)."""
        for first in range(0, len(images), self.minibatch):
            part = flat(images[first : first + self.minibatch])
            n = len(part)
            padded = np.concatenate([part, np.zeros((self.minibatch - n, *part.shape[1:]), part.dtype)])
            data = self.sim.predict_on_batch(
                {self.built.image: np.repeat(padded, self.n_steps, axis=1)}, n_steps=self.n_steps
            )
            batch = Batch(data[self.built.output][:n])
            if self.probes:
                count(batch, self.spec, {k: v[:n] for k, v in _by_layer(data, self.probes).items()}, self.amplitude)
            yield batch


def count(batch: Batch, spec: NetworkSpec, outputs: dict[str, np.ndarray], amplitude: float) -> None:
    """Fill in the counts of `batch` from what the layers' probes recorded.

    Parameters
    ----------
    outputs : {layer: (n_samples, n_steps, n_neurons)}
    amplitude : float
        What makes one spike of an output 1.
    """
    steps: Any = 0
    for name, values in outputs.items():
        spikes = np.rint(values * np.float32(amplitude)).astype(np.int32)
        batch.spikes[name] = spikes.sum(axis=(1, 2), dtype=np.int64)
        batch.neuron_spikes[name] = spikes.sum(axis=(0, 1), dtype=np.int64)
        steps = steps + spikes.sum(axis=(0, 2), dtype=np.int64)
        on_chip = [edge for edge in spec.edges_from(name) if edge.target is not spec.readout]
        if on_chip:
            total = spikes[:, :-1].sum(axis=1, dtype=np.int64)  # those of the last step arrive after it
        for edge in on_chip:
            arriving = batch.synops.get(edge.target.name, 0)
            batch.synops[edge.target.name] = arriving + total @ fan_out(edge)
    batch.step_spikes = steps


def placed_network(
    experiment: Experiment, spec: NetworkSpec, params: Params, probes: bool = False
) -> tuple[BuiltNetwork, LoweredNetwork]:
    """The network as it goes to the chip, cut into blocks for the experiment's board.

    `probes` adds one for the spikes of each layer. The second value is what `hardware` reads in the network's place:
    nengo_loihi has built it once.
    """
    from cotrain import hardware

    built = build(
        spec,
        neurons_for(experiment.neurons, "loihi"),
        params,
        experiment.finetune.synapse_s,
        loihi=True,
        seed=experiment.seed,
    )
    if probes:
        _spike_probes(built)
    settings, lowered = experiment.quantize, hardware.lower(built.net, dt_s=experiment.dt_s)
    # neurons are compared one by one with NengoDL's, so they keep their order
    hardware.partition(lowered, board=settings.board, prefer=settings.prefer, layout="keep")
    return built, lowered


def _spike_probes(built: BuiltNetwork) -> dict[str, nengo.Probe]:
    with built.net:
        return {name: nengo.Probe(layer.neurons, label=name) for name, layer in built.layers.items()}


def _by_layer(data, probes: dict[str, nengo.Probe]) -> dict[str, np.ndarray]:
    return {name: data[probe] for name, probe in probes.items()}


class LoihiModel:
    """A network in the chip's integers, on the fast emulator or on nengo-loihi's own ("reference").

    `overflows` {layer: registers that wrapped} and `input_spikes_max` (the most spikes that entered the chip in a step)
    grow with every run on the emulator, from what `extra` says of runs before.
    """

    def __init__(
        self, experiment: Experiment, spec: NetworkSpec, params: Params, target: str, extra: dict | None = None
    ):
        from cotrain import hardware

        self.spec, self.n_steps, self.size = spec, experiment.finetune.n_steps, experiment.deploy.batch_size
        self.counts = target == "emulator"  # the other one has no counters
        self.built, lowered = placed_network(experiment, spec, params, probes=not self.counts)
        self.probes = {p.label: p for p in self.built.net.all_probes if p.label in self.built.layers}
        self.amplitude = experiment.dt_s * experiment.neurons.rate_scale_hz
        before = extra or {"overflows": {}, "input_spikes_max": 0 if self.counts else None}
        self.overflows: dict[str, int] = dict(before["overflows"])
        self.input_spikes_max: int | None = before["input_spikes_max"]
        self.sim = hardware.Simulator(lowered, target=target, seed=experiment.seed)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.sim.close()

    @property
    def extra(self) -> dict:
        return {"overflows": dict(self.overflows), "input_spikes_max": self.input_spikes_max}

    def run(self, images: np.ndarray) -> Iterator[Batch]:
        """Run on images (n, height, width, 1)."""
        for first in range(0, len(images), self.size if self.counts else 1):
            part = flat(images[first : first + (self.size if self.counts else 1)])
            out = self.sim.predict({self.built.image: part}, n_steps=self.n_steps)
            batch = Batch(out[self.built.output])
            if self.counts:
                self._take(batch, self.sim.stats)
            else:
                count(batch, self.spec, _by_layer(out, self.probes), self.amplitude)
            yield batch

    def _take(self, batch: Batch, stats) -> None:
        names = list(self.built.layers)
        on_host = self.spec.on_host
        batch.spikes = {name: stats.spikes[name] for name in names}
        batch.neuron_spikes = {name: stats.neuron_spikes[name] for name in names}
        batch.synops = {name: stats.synops[name] for name in names if name not in on_host}
        for label, n in stats.overflows.items():
            self.overflows[label] = self.overflows.get(label, 0) + int(n)
        self.input_spikes_max = max(self.input_spikes_max or 0, int(stats.input_spikes_max))


def open_model(
    experiment: Experiment, spec: NetworkSpec, params: Params, model: str, extra: dict | None = None
) -> NengoDLModel | LoihiModel:
    """The network of a row of the comparison, to be run on images; `extra` is what the row told before."""
    if model.startswith("loihi-"):
        return LoihiModel(experiment, spec, params, experiment.deploy.target, extra)
    return NengoDLModel(experiment, spec, params, "ann" if model == "ann" else "hybrid")


def raster(experiment: Experiment, spec: NetworkSpec, params: Params, image: np.ndarray) -> dict[str, np.ndarray]:
    """The spikes of one inference on the emulator.

    Parameters
    ----------
    spec, params
        The network, and what it is to have learned.
    image : (1, height, width, 1) float32

    Returns
    -------
    dict
        "<layer>/step", "<layer>/neuron" (n_spikes,) int32 and "<layer>/n_neurons" () int32.
    """
    from cotrain import hardware

    built, lowered = placed_network(experiment, spec, params, probes=True)
    with hardware.Simulator(lowered, target="emulator", seed=experiment.seed) as sim:
        out = sim.predict({built.image: flat(image)}, n_steps=experiment.finetune.n_steps)
    arrays: dict[str, Any] = {}
    for probe in built.net.all_probes:
        if probe.label in built.layers:
            step, neuron = np.nonzero(out[probe][0])
            arrays[f"{probe.label}/step"] = step.astype(np.int32)
            arrays[f"{probe.label}/neuron"] = neuron.astype(np.int32)
            arrays[f"{probe.label}/n_neurons"] = np.int32(built.layers[probe.label].n_neurons)
    return arrays
