"""Run one network on images, in NengoDL or on emulated Loihi, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import nengo
import numpy as np

from hardware.errors import InputError
from pipeline.evaluation.synops import fan_out
from pipeline.experiment import Experiment
from pipeline.networks import BuiltNetwork, NetworkSpec, Params, build, neurons_for

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
        Synaptic operations that arrive at a layer. What the host computes (the first layer, the readout) is not counted.
    step_spikes : (n_steps,) int64
        Spikes of all layers in each step, summed over the samples.
    """

    readout: np.ndarray
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    neuron_spikes: dict[str, np.ndarray] = field(default_factory=dict)
    synops: dict[str, np.ndarray] = field(default_factory=dict)
    step_spikes: np.ndarray | None = None


@dataclass
class Extras:
    """What a Loihi run tells beside its results."""

    overflows: dict[str, int] = field(default_factory=dict)
    input_spikes_max: int = 0


def flat(images: np.ndarray) -> np.ndarray:
    """Images (n, height, width, 1) as an input of Nengo (n, 1, size): constant over the presentation."""
    return images.reshape(len(images), 1, -1)


def run_nengo_dl(
    experiment: Experiment, spec: NetworkSpec, params: Params, phase: str, images: np.ndarray
) -> Iterator[Batch]:
    """Run `phase` ("ann", or "hybrid" for spikes) in NengoDL.

    Parameters
    ----------
    images : (n, height, width, 1) float32
    """
    from pipeline.neurons import nengo_dl  # with builders for the chip's neurons

    spiking = phase == "hybrid"
    n_steps = experiment.finetune.n_steps if spiking else 1
    built = build(
        spec, neurons_for(experiment.neurons, phase), params, experiment.finetune.synapse_s if spiking else None,
        seed=experiment.seed,
    )  # fmt: skip
    probes = {}
    if spiking:
        with built.net:
            probes = {
                name: nengo.Probe(layer.neurons, label=f"spikes of {name}") for name, layer in built.layers.items()
            }
    size = spec.readout.n_neurons + (spec.n_neurons if spiking else 0)
    minibatch = int(np.clip(PROBE_BYTES / (4 * size * n_steps), 1, min(64, len(images))))
    amplitude = experiment.dt_s * experiment.neurons.rate_scale_hz
    with nengo_dl.Simulator(
        built.net, dt=experiment.dt_s, minibatch_size=minibatch, seed=experiment.seed, progress_bar=False
    ) as sim:
        for first in range(0, len(images), minibatch):
            part = flat(images[first : first + minibatch])
            n = len(part)
            padded = np.concatenate([part, np.zeros((minibatch - n, *part.shape[1:]), part.dtype)])
            data = sim.predict_on_batch({built.image: np.repeat(padded, n_steps, axis=1)}, n_steps=n_steps)
            batch = Batch(data[built.output][:n])
            if spiking:
                _count(batch, spec, {name: data[probe][:n] for name, probe in probes.items()}, amplitude)
            yield batch


def _count(batch: Batch, spec: NetworkSpec, outputs: dict[str, np.ndarray], amplitude: float) -> None:
    """Spike counts from NengoDL's outputs, which are 1 / (dt rate_scale) in a step with a spike."""
    steps, total = 0, None
    layers = {layer.name: layer for layer in spec.layers}
    names = list(outputs)
    for name, values in outputs.items():
        spikes = np.rint(values * np.float32(amplitude)).astype(np.int32)
        batch.spikes[name] = spikes.sum(axis=(1, 2), dtype=np.int64)
        batch.neuron_spikes[name] = spikes.sum(axis=(0, 1), dtype=np.int64)
        steps = steps + spikes.sum(axis=(0, 2), dtype=np.int64)
        if total is not None:
            batch.synops[name] = total @ fan_out(layers[name])
        if name != names[-1]:
            total = spikes.sum(axis=1, dtype=np.int64)
    batch.step_spikes = steps


def loihi_network(experiment: Experiment, spec: NetworkSpec, params: Params, probes: bool = False) -> BuiltNetwork:
    """The network as it goes to the chip, before it is cut into blocks. `probes` adds one for the spikes of each layer."""
    built = build(
        spec, neurons_for(experiment.neurons, "loihi"), params, experiment.finetune.synapse_s, loihi=True,
        seed=experiment.seed,
    )  # fmt: skip
    if probes:
        with built.net:
            for name, layer in built.layers.items():
                nengo.Probe(layer.neurons, label=name)
    return built


def placed_network(experiment: Experiment, spec: NetworkSpec, params: Params, probes: bool = False) -> BuiltNetwork:
    """`loihi_network`, cut into blocks for the experiment's board."""
    import hardware

    built = loihi_network(experiment, spec, params, probes)
    hardware.partition(built.net, board=experiment.quantize.board, prefer=experiment.quantize.prefer)
    return built


def run_loihi(
    experiment: Experiment, built: BuiltNetwork, images: np.ndarray, extras: Extras, target: str, n_steps: int
) -> Iterator[Batch]:
    """Run a placed network on `target`; see `placed_network`.

    Parameters
    ----------
    images : (n, height, width, 1) float32
    extras : Extras
        Filled in.
    """
    import hardware

    if not len(images):
        raise InputError("no images to run; choose a larger --limit")
    size = experiment.deploy.batch_size
    with hardware.Simulator(built.net, target=target, dt=experiment.dt_s, seed=experiment.seed, progress=False) as sim:
        for first in range(0, len(images), size):
            out = sim.predict({built.image: flat(images[first : first + size])}, n_steps=n_steps)
            stats = sim.stats
            for label, count in stats.overflows.items():
                extras.overflows[label] = extras.overflows.get(label, 0) + int(count)
            extras.input_spikes_max = max(extras.input_spikes_max, int(stats.input_spikes_max))
            names = list(built.layers)
            yield Batch(
                out[built.output],
                {name: stats.spikes[name] for name in names},
                {name: stats.neuron_spikes[name] for name in names},
                {name: stats.synops[name] for name in names[1:]},
                stats.step_spikes,
            )


def raster(experiment: Experiment, built: BuiltNetwork, image: np.ndarray) -> dict[str, np.ndarray]:
    """The spikes of one inference on the emulator.

    Parameters
    ----------
    built : BuiltNetwork
        Placed, with a probe of each layer's spikes.
    image : (1, height, width, 1) float32

    Returns
    -------
    dict
        "<layer>/step", "<layer>/neuron" (n_spikes,) int32 and "<layer>/n_neurons" () int32.
    """
    import hardware

    with hardware.Simulator(built.net, target="emulator", dt=experiment.dt_s, seed=experiment.seed) as sim:
        out = sim.predict({built.image: flat(image)}, n_steps=experiment.finetune.n_steps)
    arrays = {}
    for probe in built.net.all_probes:
        if probe.label in built.layers:
            step, neuron = np.nonzero(out[probe][0])
            arrays[f"{probe.label}/step"] = step.astype(np.int32)
            arrays[f"{probe.label}/neuron"] = neuron.astype(np.int32)
            arrays[f"{probe.label}/n_neurons"] = np.int32(built.layers[probe.label].n_neurons)
    return arrays
