"""What runs in NengoDL's place gives NengoDL's bits."""

import dataclasses

import numpy as np
import pytest
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.evaluation import event_model, models
from cotrain.pipeline.evaluation.models import CheckedModel, NengoDLModel
from cotrain.pipeline.experiment import NetworkSettings
from cotrain.pipeline.networks import IMAGE, spec_for
from cotrain.pipeline.report.sections import settings
from graph_networks import GRAPHS
from test_pipeline_networks import random_image, random_params

SPECS = {
    **GRAPHS,
    "locnet": spec_for(NetworkSettings(name="locnet", filters=(4, 16), dense=(20,)), (12, 20)),
    "cae": spec_for(NetworkSettings(name="cae", filters=(5, 18), pool_kernel=3), (12, 16)),
}
SETTINGS = {
    "chip": [],
    "nengo": ["neurons.rate_curve=ideal", "neurons.rate_scale_hz=900"],  # several spikes a step
    "delay": ["finetune.synapse_s=1e-5"],
    "spread": ['finetune.initial_voltage="spread"'],
}


def experiment_for(*overrides):
    return experiments.load("demo-locnet", ["finetune.n_steps=20", "finetune.readout_steps=4", *overrides])


def images_of(spec, n):
    return np.stack([random_image(spec, seed) for seed in range(n)]).astype(np.float32)


def spiking_params(spec):
    return {name: value * (2 if "kernel" in name else 1) for name, value in random_params(spec).items()}


@pytest.mark.parametrize(
    "name, settings",
    [
        *((name, settings) for name in SPECS for settings in ("chip", "spread")),
        ("cae", "nengo"),
        ("locnet", "nengo"),
        ("locnet", "delay"),
    ],  # fmt: skip
)
def test_readout_and_every_spike_equal_nengo_dls(name, settings, monkeypatch):
    spec, experiment = SPECS[name], experiment_for(*SETTINGS[settings])
    params, images = spiking_params(spec), images_of(spec, 3)
    inner = [edge for edge in spec.edges() if edge.source != IMAGE]
    with NengoDLModel(experiment, spec, params, "hybrid", 3) as model:
        readout, outputs = model.outputs(images)
        events = event_model.EventModel(model, params)
        monkeypatch.setattr(event_model.EventModel, "_not_in_order", lambda self, params: inner)
        sums = event_model.EventModel(model, params)  # TensorFlow adds up
    assert not events.given and len(sums.given) == len(inner)
    theirs = {k: np.rint(values * np.float32(model.amplitude)).astype(int) for k, values in outputs.items()}
    assert all(counts.sum() > 10 for counts in theirs.values()), "the comparison says something"
    assert (max(counts.max() for counts in theirs.values()) > 1) == (settings == "nengo")
    for fast in (events, sums):
        for i, (ours, spikes) in enumerate(fast.run(images)):
            np.testing.assert_array_equal(ours, readout[i])
            for layer in spec.layers:
                np.testing.assert_array_equal(spikes[layer.name].dense(layer.n_neurons), theirs[layer.name][i])


def batches_of(model, images):
    with model:
        return list(model.run(images))


def test_counts_of_a_row_equal_nengo_dls(monkeypatch):
    monkeypatch.setattr(models, "N_CHECKED", 2)
    spec, experiment = SPECS["cae"], experiment_for()
    params, images = spiking_params(spec), images_of(spec, 5)
    model = CheckedModel(experiment, spec, params)
    ours = batches_of(model, images)
    theirs = batches_of(NengoDLModel(experiment, spec, params, "hybrid", 2), images)
    assert model.extra == {"checked_samples": 2}
    row = {"model": "hybrid", **model.extra}
    (told,) = settings.nengo_dls_part({"metrics": {"rows": [{"model": "ann"}, row]}})
    assert "the first 2 samples of hybrid." in told.text
    assert not settings.nengo_dls_part({"metrics": {"rows": [{"model": "ann"}, {**row, "checked_samples": 0}]}})
    assert [len(batch.readout) for batch in ours] == [2, 2, 1]
    for a, b in zip(ours, theirs, strict=True):
        for field in dataclasses.fields(a):
            np.testing.assert_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


@pytest.mark.parametrize("why", ["a bit differs", "lif"])
def test_where_it_would_not_be_equal_nengo_dl_runs_all(why, monkeypatch):
    monkeypatch.setattr(models, "N_CHECKED", 2)
    spec, experiment = SPECS["locnet"], experiment_for(*(["neurons.kind=lif"] if why == "lif" else []))
    params, images = spiking_params(spec), images_of(spec, 4)
    model = CheckedModel(experiment, spec, params)
    assert (model.fast is None) == (why == "lif")
    if model.fast:
        model.fast.readout_bias[0] = np.nextafter(model.fast.readout_bias[0], np.float32(9))
    ours = batches_of(model, images)
    theirs = batches_of(NengoDLModel(experiment, spec, params, "hybrid", 2), images)
    assert model.extra == {"checked_samples": 0}
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.readout, b.readout)
        np.testing.assert_equal(a.neuron_spikes, b.neuron_spikes)
