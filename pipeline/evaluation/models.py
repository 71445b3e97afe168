"""Run one network on images, in NengoDL or on emulated Loihi, batch by batch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import nengo
import numpy as np
from cotrain.hardware.placement.cores import LoweredNetwork
from cotrain.pipeline.evaluation.rows import OWN
from cotrain.pipeline.evaluation.synops import fan_out
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.networks import BuiltNetwork, Edge, NetworkSpec, Params, build, neurons_for
from cotrain.pipeline.neurons.phases import lift_of

if TYPE_CHECKING:
    from cotrain.pipeline.evaluation.event_model import EventModel
    from cotrain.pipeline.evaluation.framework import OwnModel

PROBE_BYTES = 256e6  # NengoDL keeps every probe's history: this bounds its batch
MINIBATCH = 64  # and so does this
N_CHECKED = 8  # samples of a spiking row that NengoDL itself runs before something faster takes over


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
    most : int
        Samples that are run at once at most.
    """

    extra: dict = {}  # what its row tells that others do not

    def __init__(self, experiment: Experiment, spec: NetworkSpec, params: Params, phase: str, most: int = MINIBATCH):
        from cotrain.pipeline.compat import import_nengo_dl

        nengo_dl = import_nengo_dl()
        self.spec, spiking = spec, phase == "hybrid"
        self.n_steps = experiment.finetune.n_steps if spiking else 1
        neurons = neurons_for(experiment.neurons, phase)
        synapse_s = experiment.finetune.synapse_s if spiking else None
        lift = lift_of(experiment.neurons, experiment.finetune, experiment.dt_s) if spiking else 0.0
        self.built = build(spec, neurons, params, synapse_s, lift=lift, seed=experiment.seed)
        self.probes = _spike_probes(self.built) if spiking else {}
        with self.built.net:  # unmerged: see pipeline.training.nengo_dl
            nengo_dl.configure_settings(
                stateful=False,
                planner=nengo_dl.graph_optimizer.noop_planner,
                sorter=nengo_dl.graph_optimizer.noop_order_signals,
            )
        size = spec.readout.n_neurons + (spec.n_neurons if spiking else 0)
        self.minibatch = int(np.clip(PROBE_BYTES / (4 * size * self.n_steps), 1, most))
        self.amplitude = experiment.dt_s * experiment.neurons.rate_scale_hz  # times output: spikes in a step
        self.sim = nengo_dl.Simulator(
            self.built.net, dt=experiment.dt_s, minibatch_size=self.minibatch, seed=experiment.seed, progress_bar=False
        )

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.sim.close()

    def run(self, images: np.ndarray) -> Iterator[Batch]:
        """Run on images (n, height, width, channels)."""
        for first in range(0, len(images), self.minibatch):
            readout, outputs = self.outputs(images[first : first + self.minibatch])
            batch = Batch(readout)
            if outputs:
                count(batch, self.spec, outputs, self.amplitude, self.built.start is not None)
            yield batch

    def outputs(self, images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What the probes recorded of at most `minibatch` images: the readout, and of spiking layers their outputs."""
        part, n = flat(images), len(images)
        padded = np.concatenate([part, np.zeros((self.minibatch - n, *part.shape[1:]), part.dtype)])
        data = self.sim.predict_on_batch(
            {self.built.image: np.repeat(padded, self.n_steps, axis=1)}, n_steps=self.n_steps
        )
        outputs = {name: values[:n] for name, values in _by_layer(data, self.probes).items()}
        return data[self.built.output][:n], outputs


class CheckedModel:
    """A spiking network in NengoDL, of which NengoDL runs the first samples and `EventModel` the others.

    The first samples are run by both. Where a single bit differs, or the neurons are none that `EventModel` knows,
    NengoDL runs them all. `extra` says how many were run by both: "checked_samples", 0 where all were NengoDL's.
    """

    def __init__(self, experiment: Experiment, spec: NetworkSpec, params: Params, extra: dict | None = None):
        from cotrain.pipeline.evaluation import event_model

        self.spec = spec
        self.model = NengoDLModel(experiment, spec, params, "hybrid", N_CHECKED)
        self.fast: Any = event_model.EventModel(self.model, params) if event_model.supported(self.model) else None
        self.checked, self.before = 0, (extra or {}).get("checked_samples", 0)
        self.fan_out = functools.cache(fan_out)  # of an edge

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.model.sim.close()

    @property
    def extra(self) -> dict:
        return {"checked_samples": max(self.checked, self.before)}

    def run(self, images: np.ndarray) -> Iterator[Batch]:
        """Run on images (n, height, width, channels)."""
        size = self.model.minibatch
        if self.fast is not None and not self.checked and len(images) > size:
            head, images = images[:size], images[size:]
            readout, outputs = self.model.outputs(head)
            batch = Batch(readout)
            count(batch, self.spec, outputs, self.model.amplitude, self.model.built.start is not None)
            if self._equal(self.fast, head, readout, outputs):
                self.checked = size
            else:
                self.fast = None
            yield batch
        if self.fast is None or not self.checked:
            yield from self.model.run(images)
            return
        results = self.fast.run(images)
        for start in range(0, len(images), size):
            yield self._batch([next(results) for _ in images[start : start + size]])

    def _equal(self, fast: EventModel, images: np.ndarray, readout: np.ndarray, outputs: dict[str, np.ndarray]) -> bool:
        """Whether the fast way gives what NengoDL gave."""
        for i, (ours, spikes) in enumerate(fast.run(images)):
            if not np.array_equal(ours, readout[i]):
                return False
            for name, values in outputs.items():
                theirs = _n_spikes(values[i], self.model.amplitude)
                if not np.array_equal(spikes[name].dense(values.shape[-1]), theirs):
                    return False
        return True

    def _batch(self, results: list) -> Batch:
        batch = Batch(np.stack([readout for readout, _ in results]))
        for layer in self.spec.layers:
            found = [spikes[layer.name] for _, spikes in results]
            steps = np.array([spikes.per_step() for spikes in found])
            batch.spikes[layer.name] = steps.sum(axis=1)
            batch.neuron_spikes[layer.name] = np.sum([s.per_neuron(layer.n_neurons) for s in found], axis=0)
            batch.step_spikes = steps.sum(axis=0) + (0 if batch.step_spikes is None else batch.step_spikes)
            for edge in _to_chip(self.spec, layer.name):
                reached = self.fan_out(edge)
                arriving = np.array([spikes.before_last_step(reached) for spikes in found])
                batch.synops[edge.target.name] = arriving + batch.synops.get(edge.target.name, 0)
        if self.model.built.start is not None:
            _count_start(batch, self.spec, len(results), self.model.n_steps)
        return batch


def count(
    batch: Batch, spec: NetworkSpec, outputs: dict[str, np.ndarray], amplitude: float, started: bool = False
) -> None:
    """Fill in the counts of `batch` from what the layers' probes recorded.

    Parameters
    ----------
    outputs : {layer: (n_samples, n_steps, n_neurons)}
    amplitude : float
        What makes one spike of an output 1.
    started : bool
        Whether one spike of no layer went into every neuron, in the first step.
    """
    steps: Any = 0
    for name, values in outputs.items():
        spikes = _n_spikes(values, amplitude)
        batch.spikes[name] = spikes.sum(axis=(1, 2), dtype=np.int64)
        batch.neuron_spikes[name] = spikes.sum(axis=(0, 1), dtype=np.int64)
        steps = steps + spikes.sum(axis=(0, 2), dtype=np.int64)
        on_chip = _to_chip(spec, name)
        if on_chip:
            total = spikes[:, :-1].sum(axis=1, dtype=np.int64)  # those of the last step arrive after it
        for edge in on_chip:
            arriving = batch.synops.get(edge.target.name, 0)
            batch.synops[edge.target.name] = arriving + total @ fan_out(edge)
    batch.step_spikes = steps
    if started:
        _count_start(batch, spec, *next(iter(outputs.values())).shape[:2])


def _count_start(batch: Batch, spec: NetworkSpec, n_samples: int, n_steps: int) -> None:
    """Add what the spike that spreads the voltages costs: a weight for each neuron on the chip, in the second step."""
    for layer in spec.layers:
        if layer.name not in spec.on_host and n_steps > 1:
            batch.synops[layer.name] = batch.synops.get(layer.name, 0) + np.full(n_samples, layer.n_neurons, np.int64)


def _n_spikes(outputs: np.ndarray, amplitude: float) -> np.ndarray:
    return np.rint(outputs * np.float32(amplitude)).astype(np.int32)


def _to_chip(spec: NetworkSpec, name: str) -> list[Edge]:
    """The edges from a layer whose operations the chip would do."""
    return [edge for edge in spec.edges_from(name) if edge.target is not spec.readout]


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
        lift=lift_of(experiment.neurons, experiment.finetune, experiment.dt_s),
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
                count(batch, self.spec, _by_layer(out, self.probes), self.amplitude, self.built.start is not None)
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
) -> NengoDLModel | LoihiModel | CheckedModel | OwnModel:
    """The network of a row of the comparison, to be run on images; `extra` is what the row told before."""
    if model == OWN:
        from cotrain.pipeline.evaluation.framework import OwnModel

        return OwnModel(experiment, spec)
    if model.startswith("loihi-"):
        return LoihiModel(experiment, spec, params, experiment.deploy.target, extra)
    if model == "ann":
        return NengoDLModel(experiment, spec, params, "ann")
    return CheckedModel(experiment, spec, params, extra)


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
