"""Voltages that start spread: the same on the chip, in nengo-loihi's emulator, in NengoDL and in the trainer."""

import dataclasses

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.pipeline.evaluation.costs import by_layer, counts_of
from cotrain.pipeline.evaluation.models import CheckedModel, LoihiModel, NengoDLModel
from cotrain.pipeline.experiment import FinetuneSettings, NeuronSettings
from cotrain.pipeline.networks import build, neurons_for, rebuild
from cotrain.pipeline.neurons.nengo_types import tf
from cotrain.pipeline.neurons.phases import lift_of, spread
from cotrain.pipeline.training.unrolled import trainer
from graph_networks import GRAPHS
from small_training import IDENTITY
from test_pipeline_event_model import experiment_for, images_of, spiking_params

SPREAD = FinetuneSettings(initial_voltage="spread")
SPEC = GRAPHS["skips"]


def deployed(*overrides):
    return experiment_for("finetune.initial_voltage=spread", *overrides)


def test_any_stretch_of_neighbours_is_spread_over_all_of_the_range():
    values = spread(5000)
    assert values.min() >= 0 and values.max() < 1
    for first in (0, 777, 4900):
        counts, _ = np.histogram(values[first : first + 100], 10, (0, 1))
        assert counts.min() >= 8 and counts.max() <= 12


@pytest.mark.parametrize("kind", ["rectified", "lif"])
def test_one_spike_of_that_weight_lifts_a_neuron_to_its_threshold(kind):
    """In Nengo's own simulator: a hair more than the weight makes it fire in the next step, a hair less does not."""
    settings = NeuronSettings(kind=kind, tau_ref_s=0.001)
    lift, neurons = lift_of(settings, SPREAD, 0.001), neurons_for(settings, "spiking")
    with nengo.Network() as net:
        once = nengo.Node([0])
        once.output = lambda t: 1 / (0.001 * settings.rate_scale_hz) if t < 0.0015 else 0
        post = nengo.Ensemble(
            2, 1, neuron_type=neurons.neuron_type, gain=np.full(2, neurons.gain), bias=np.zeros(2), seed=0
        )
        nengo.Connection(once, post.neurons, transform=[[lift * 0.99], [lift * 1.01]], synapse=None)
        spikes = nengo.Probe(post.neurons)
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(5)
    assert (sim.data[spikes] > 0).sum(axis=0).tolist() == [0, 1]
    assert lift_of(settings, FinetuneSettings(), 0.001) == 0


def test_slow_neurons_of_a_layer_fire_one_after_the_other():
    """Of neurons that would all fire in one step, the 21st, about as many fire in each of them."""
    spec = SPEC
    params = spiking_params(spec)
    for layer in spec.layers:  # black images leave the host's layer silent
        params[f"{layer.name}.bias"] = np.zeros_like(params[f"{layer.name}.bias"])
    layer = spec.layers[1]
    params[f"{layer.name}.bias"] += 1 / (20.5 * 0.001 * experiment_for().neurons.rate_scale_hz)
    found = {}
    for voltage in ("zero", "spread"):
        experiment = experiment_for(
            f"finetune.initial_voltage={voltage}", "finetune.n_steps=25", "neurons.kind=rectified"
        )
        with LoihiModel(experiment, spec, params, "reference") as model:
            probe = model.probes[layer.name]
            image = np.zeros((1, 1, model.built.image.size_out))
            spikes = model.sim.predict({model.built.image: image}, n_steps=25)[probe][0]
        found[voltage] = (spikes > 0).sum(axis=1)
        assert found[voltage].sum() >= layer.n_neurons
    assert (found["zero"] > 0).sum() == 1
    assert (found["spread"] > 0).sum() > 15 and found["spread"].max() < 0.2 * layer.n_neurons


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_emulator_equals_nengo_loihi_and_both_count_alike(name):
    spec = GRAPHS[name]
    params, images = spiking_params(spec), images_of(spec, 2)
    found = {}
    for target in ("emulator", "reference"):
        with LoihiModel(deployed("deploy.batch_size=2"), spec, params, target) as model:
            found[target] = list(model.run(images))
    ours, theirs = found["emulator"][0], found["reference"]
    np.testing.assert_array_equal(ours.readout, np.concatenate([batch.readout for batch in theirs]))
    for layer in spec.layers:
        n_spikes = np.concatenate([batch.spikes[layer.name] for batch in theirs])
        np.testing.assert_array_equal(ours.spikes[layer.name], n_spikes)
        if layer.name not in spec.on_host:
            n_synops = np.concatenate([batch.synops[layer.name] for batch in theirs])
            np.testing.assert_array_equal(ours.synops[layer.name], n_synops)
    assert min(ours.spikes[layer.name].sum() for layer in spec.layers) > 10, "the comparison says something"


def test_counts_of_nengo_dls_rows_hold_the_spike_into_every_neuron():
    spec, images = SPEC, images_of(SPEC, 10)
    params = spiking_params(spec)
    with CheckedModel(deployed(), spec, params) as fast:
        ours = list(fast.run(images))
        assert fast.extra == {"checked_samples": 8}
    with NengoDLModel(deployed(), spec, params, "hybrid", 8) as model:
        theirs = list(model.run(images))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_equal(a.synops, b.synops)
    still = {name: np.zeros_like(value) for name, value in params.items()}
    with NengoDLModel(deployed(), spec, still, "hybrid", 8) as model:
        (batch,) = model.run(images[:3])
    on_chip = {layer.name: [layer.n_neurons] * 3 for layer in spec.layers if layer.name not in spec.on_host}
    assert {name: values.tolist() for name, values in batch.synops.items()} == on_chip


@pytest.mark.parametrize("synapse_s", [0.0, 1e-4, 0.002])
def test_trainer_gives_nengo_dls_spikes(synapse_s):
    experiment = deployed(f"finetune.synapse_s={synapse_s}")
    params, images = spiking_params(SPEC), images_of(SPEC, 3)
    with NengoDLModel(experiment, SPEC, params, "hybrid", 3) as model:
        _, outputs = model.outputs(images)
    job = trainer.Job(SPEC, experiment.neurons, None, IDENTITY, "mse", experiment.finetune)
    tensors = {name: tf.constant(value) for name, value in params.items()}
    last, _ = trainer._spikes(job, tensors, tf.constant(images))
    for name, values in outputs.items():
        mean = values[:, -experiment.finetune.readout_steps :].mean(axis=1)
        far = np.abs(mean - last[name].numpy().reshape(mean.shape)) > 1e-4
        assert mean.any() and far.mean() < 0.005  # rounding moves a voltage over the threshold now and then


def test_network_of_a_bundle_starts_as_the_pipelines():
    experiment, params = deployed(), spiking_params(SPEC)
    lift = lift_of(experiment.neurons, experiment.finetune, experiment.dt_s)
    description = rebuild.describe(SPEC, experiment.neurons, 0.002, 0, lift)
    again = rebuild.rebuild(description, params)
    with LoihiModel(experiment, SPEC, params, "emulator") as model:
        connections = model.built.net.all_connections
    sent = {c.label: c.transform.init for c in connections if str(c.label).startswith("start of")}
    assert len(sent) == len(SPEC.layers)
    for connection in again.net.all_connections:
        if str(connection.label).startswith("start of"):
            np.testing.assert_array_equal(connection.transform.init, sent[connection.label])
    del description["lift"]  # of a bundle from before
    assert again.start is not None and rebuild.rebuild(description, params).start is None


def test_estimate_knows_the_spike_and_its_axons():
    experiment = deployed("deploy.batch_size=2")
    built = build(SPEC, neurons_for(experiment.neurons, "loihi"), spiking_params(SPEC), 0.002, loihi=True, lift=1.0)
    plain = dataclasses.replace(built, net=build(SPEC, neurons_for(experiment.neurons, "loihi"), loihi=True).net)
    placements = [hardware.check(one.net).to_json() for one in (built, plain)]
    assert by_layer(placements[0], SPEC, 1) == by_layer(placements[1], SPEC)
    row = {"model": "loihi-hybrid", "start_spikes": 1, "layers": []}
    assert counts_of(row, SPEC, placements[0], 20)["input_spikes_per_inference"] == 1
