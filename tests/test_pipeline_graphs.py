"""Networks with skips, against loops over pixels, Nengo, NengoDL and nengo-loihi."""

import dataclasses
import json

import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.errors import InputError
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.evaluation.models import LoihiModel, NengoDLModel, placed_network
from cotrain.pipeline.evaluation.synops import fan_out
from cotrain.pipeline.experiment import NeuronSettings
from cotrain.pipeline.networks import IMAGE, Input, NetworkSpec, build, neurons_for
from graph_networks import GRAPHS, skips
from test_pipeline_networks import random_image, random_params, reference_rates, run_nengo


@pytest.fixture(scope="module")
def experiment():
    return experiments.load("demo-locnet", ["finetune.n_steps=24", "finetune.readout_steps=4"])


def params_of(spec):
    """All layers spike, and no two of the kernels that add up are equal."""
    return {name: value * (2 if "kernel" in name else 1) for name, value in random_params(spec).items()}


@pytest.mark.parametrize("name", GRAPHS)
def test_rates_equal_loops_over_pixels(name):
    spec = GRAPHS[name]
    params, image = params_of(spec), random_image(spec)
    neurons = neurons_for(NeuronSettings(kind="rectified", rate_curve="ideal"), "ann")
    _, readout = run_nengo(build(spec, neurons, params), image, 1)
    expected = reference_rates(spec, params, image)
    # Nengo computes in float64: only the order of sums differs, of at most 100 terms of size 10 per layer
    np.testing.assert_allclose(readout[-1].reshape(expected.shape), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", GRAPHS)
def test_nengo_dl_gives_nengos_spikes(name, experiment):
    spec = GRAPHS[name]
    params = params_of(spec)
    images = np.stack([random_image(spec, seed) for seed in range(2)]).astype(np.float32)
    with NengoDLModel(experiment, spec, params, "hybrid") as model:
        (batch,) = model.run(images)
    built = build(spec, neurons_for(experiment.neurons, "spiking"), params, experiment.finetune.synapse_s)
    for i, image in enumerate(images):
        outputs, readout = run_nengo(built, image, experiment.finetune.n_steps)
        spikes = {layer: values > 0 for layer, values in outputs.items()}
        np.testing.assert_allclose(batch.readout[i], readout, atol=1e-4)
        for layer in spec.layers:
            assert batch.spikes[layer.name][i] == spikes[layer.name].sum() > 0
            expected = sum(
                (spikes[edge.source][:-1].sum(axis=0) * fan_out(edge)).sum()
                for edge in layer.edges()
                if edge.source != IMAGE
            )
            assert batch.synops.get(layer.name, np.zeros(2))[i] == expected


@pytest.mark.parametrize("name", GRAPHS)
def test_the_emulator_gives_nengo_loihis_integers(name, experiment):
    spec = GRAPHS[name]
    params, image = params_of(spec), random_image(spec).astype(np.float32)
    n_steps = experiment.finetune.n_steps
    built, lowered = placed_network(experiment, spec, params, probes=True)
    with hardware.Simulator(lowered, target="emulator", seed=0) as sim:
        ours = sim.predict({built.image: image.reshape(1, 1, -1)}, n_steps=n_steps)
    built.image.output = image.ravel()
    loihi = import_nengo_loihi()
    with loihi.Simulator(built.net, target="sim", dt=experiment.dt_s, seed=0, progress_bar=False) as sim:
        sim.run_steps(n_steps)
        for probe in built.net.all_probes:
            assert np.any(sim.data[probe]), probe.label
            np.testing.assert_array_equal(ours[probe][0], sim.data[probe], err_msg=probe.label)


def test_the_emulators_counts_are_those_of_its_spikes(experiment):
    spec = GRAPHS["skips"]
    params, images = params_of(spec), random_image(spec)[np.newaxis].astype(np.float32)
    with LoihiModel(experiment, spec, params, "emulator") as model:
        (batch,) = model.run(images)
    with LoihiModel(experiment, spec, params, "reference") as model:
        (theirs,) = model.run(images)
    np.testing.assert_array_equal(batch.readout, theirs.readout)
    assert set(batch.synops) == {layer.name for layer in spec.layers} - set(spec.on_host)
    for layer in spec.layers:
        assert batch.spikes[layer.name][0] == theirs.spikes[layer.name][0]


def test_signals_arrive_after_as_many_steps_as_layers_lie_between():
    spec = GRAPHS["skips"]
    assert spec.depths() == {
        "conv1": (0, 0), "pool1": (1, 1), "conv2": (2, 2), "up1": (3, 3), "conv3": (1, 4), "conv4": (1, 5),
        "readout": (1, 5),
    }  # fmt: skip
    assert [edge.target.name for edge in spec.edges_from("conv1")] == ["pool1", "conv3", "conv4"]
    assert spec.on_host == ("conv1",)


def test_a_graph_survives_json():
    spec = GRAPHS["skips"]
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_border_of_zeros_around_the_image_is_the_hosts():
    layer = dataclasses.replace(
        skips((6, 8, 2)).layers[0],
        inputs=(Input(IMAGE, "conv", (5, 6, 2), (3, 3), (1, 1), "valid", (2, 1, 0, 4)),),
    )
    spec = NetworkSpec("bordered", (5, 6, 2), (layer, *skips().layers[1:]), skips().readout)
    spec.check()
    params, image = params_of(spec), random_image(spec)
    neurons = neurons_for(NeuronSettings(kind="rectified", rate_curve="ideal"), "ann")
    _, readout = run_nengo(build(spec, neurons, params), image, 1)
    expected = reference_rates(spec, params, image)
    np.testing.assert_allclose(readout[-1].reshape(expected.shape), expected, rtol=0, atol=1e-10)
    edge = spec.layers[0].edges()[0]
    np.testing.assert_array_equal(fan_out(edge).reshape(5, 6, 2)[:, :, 0] // 3, np.array([
        [3, 6, 9, 9, 9, 9], [3, 6, 9, 9, 9, 9], [3, 6, 9, 9, 9, 9], [3, 6, 9, 9, 9, 9], [2, 4, 6, 6, 6, 6]
    ]))  # fmt: skip


def test_what_does_not_fit_is_named():
    spec = skips()
    conv3 = spec.layers[4]

    def broken(**changes):
        layers = tuple(dataclasses.replace(layer, **changes) if layer is conv3 else layer for layer in spec.layers)
        return dataclasses.replace(spec, layers=layers)

    (first, second) = conv3.inputs
    for changes, said in (
        (
            {"inputs": (first, dataclasses.replace(second, source="conv4"))},
            "conv3 listens to conv4, which is no earlier",
        ),
        ({"inputs": (dataclasses.replace(first, shape=(6, 8, 4)),)}, r"expects up1 in shape \(6, 8, 4\)"),
        ({"inputs": (dataclasses.replace(first, padding="valid"),)}, r"does not lead from \(6, 8, 3\) to \(6, 8, 3\)"),
        ({"inputs": (first, Input(IMAGE, "conv", (6, 8, 2)))}, "pass it on through a layer of its own"),
        ({"inputs": (Input("conv2", "conv_transpose", (3, 4, 4), (3, 3), (2, 2), "same"),)}, "one pixel off"),
        ({"name": "conv1"}, "two layers are called conv1"),
    ):
        with pytest.raises(InputError, match=said):
            broken(**changes).check()
