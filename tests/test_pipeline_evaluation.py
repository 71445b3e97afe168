"""The comparison: counts against Nengo itself, rows that are never dropped."""

import dataclasses

import nengo
import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.datasets import Dataset
from cotrain.pipeline.evaluation import models, row_states
from cotrain.pipeline.evaluation.evaluate import RowStates, check_models, evaluate
from cotrain.pipeline.evaluation.models import LoihiModel, NengoDLModel
from cotrain.pipeline.evaluation.synops import fan_out
from cotrain.pipeline.evaluation.tally import Tally, agreement, skipped
from cotrain.pipeline.networks import Input, Layer, build, neurons_for, spec_for


def _edge(kind, input_shape, units, kernel, stride, padding):
    if kind == "dense":
        return Layer("x", units, (units,), (Input("image", kind, input_shape),)).edges()[0]
    reference = {"conv": nengo.Convolution, "conv_transpose": nengo.ConvolutionTranspose}[kind](
        units, input_shape, kernel_size=kernel, strides=stride, padding=padding
    )
    entry = Input("image", kind, input_shape, kernel, stride, padding)
    return Layer("x", units, reference.output_shape.shape, (entry,)).edges()[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ("dense", (7,), 5, (1, 1), (1, 1), "valid"),
        ("conv", (6, 8, 2), 3, (3, 3), (1, 1), "same"),
        ("conv", (6, 8, 2), 3, (2, 2), (2, 2), "valid"),
        ("conv", (6, 8, 1), 4, (3, 3), (2, 2), "same"),
        ("conv", (7, 9, 2), 3, (3, 3), (2, 2), "same"),
        ("conv", (7, 9, 2), 3, (3, 3), (2, 2), "valid"),
        ("conv", (5, 5, 1), 2, (5, 5), (1, 1), "valid"),
        ("conv", (8, 6, 1), 2, (4, 4), (1, 1), "same"),
        ("conv_transpose", (3, 4, 2), 3, (2, 2), (2, 2), "valid"),
        ("conv_transpose", (3, 4, 2), 2, (3, 3), (2, 2), "valid"),
        ("conv", (7, 9, 2), 3, (3, 2), (2, 1), "same"),
        ("conv_transpose", (3, 4, 2), 2, (3, 1), (2, 3), "valid"),
    ],
)
def test_fan_out_is_the_column_count_of_nengos_own_matrix(arguments):
    edge = _edge(*arguments)
    with nengo.Network() as net:
        source = nengo.Node(size_in=edge.n_inputs)
        probe = nengo.Probe(nengo.Node(size_in=edge.target.n_neurons), synapse=None)
        nengo.Connection(source, probe.target, synapse=None, transform=edge.transform(np.ones(edge.kernel_shape)))
        given = nengo.Node(lambda t: np.eye(edge.n_inputs)[int(round(t / 0.001)) - 1])
        nengo.Connection(given, source, synapse=None)
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(edge.n_inputs)
    # one weight of 1 reaches an output from each input at most, so the sum over outputs is the number of weights
    np.testing.assert_array_equal(fan_out(edge), np.rint(sim.data[probe].sum(axis=1)))


@pytest.fixture(scope="module")
def small():
    experiment = experiments.load(
        "demo-locnet",
        ["network.filters=[2, 3]", "network.dense=[6]", "finetune.n_steps=24", "finetune.readout_steps=4"],
    )
    experiment = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, height=8, width=12))
    spec = spec_for(experiment.network, (8, 12))
    images = np.random.default_rng(0).random((3, 8, 12, 1)).astype(np.float32)
    return experiment, spec, {k: 3 * v for k, v in spec.init_params(1).items()}, images  # x 3: every layer spikes


def test_nengo_dl_counts_equal_nengos(small):
    experiment, spec, params, images = small
    with NengoDLModel(experiment, spec, params, "hybrid") as model:
        (batch,) = model.run(images)
    built = build(spec, neurons_for(experiment.neurons, "spiking"), params, experiment.finetune.synapse_s)
    with built.net:
        probes = {name: nengo.Probe(layer.neurons) for name, layer in built.layers.items()}
    for i, image in enumerate(images):
        built.image.output = image.ravel()
        with nengo.Simulator(built.net, dt=experiment.dt_s, progress_bar=False) as sim:
            sim.run_steps(experiment.finetune.n_steps)
        total, above = 0, None
        for layer in spec.layers:
            spikes = sim.data[probes[layer.name]] > 0
            assert batch.spikes[layer.name][i] == spikes.sum()
            if above is not None:
                assert batch.synops[layer.name][i] == (above[:-1].sum(axis=0) * fan_out(layer.edges()[0])).sum()
            above, total = spikes, total + spikes.sum()
        assert total > 20  # the comparison says something
        np.testing.assert_allclose(batch.readout[i], sim.data[built.output], atol=1e-4)
    assert set(batch.synops) == {layer.name for layer in spec.layers[1:]}
    assert batch.step_spikes.sum() == sum(counts.sum() for counts in batch.spikes.values())
    for name, counts in batch.neuron_spikes.items():
        assert counts.sum() == batch.spikes[name].sum()


def test_models_are_run_in_their_order_and_unknown_ones_named():
    assert check_models(["hybrid", "constant"]) == ("constant", "hybrid")
    with pytest.raises(InputError, match="unknown model 'hybird'; did you mean 'hybrid'"):
        check_models(["hybird"])


def boxes_on(images):
    names = np.array(["a", "b", "c"])
    targets = np.tile(np.float32([0.1, 0.2, 0.6, 0.7]), (3, 1))
    return Dataset("x", "boxes", images, targets, names, names, np.array(["test"] * 3))


def test_a_skipped_row_keeps_every_key_of_a_row(small):
    experiment, spec, params, images = small
    dataset = boxes_on(images)
    tally = Tally(experiment, spec, dataset, 24)
    with NengoDLModel(experiment, spec, params, "hybrid") as model:
        for batch in model.run(images):
            tally.add(batch)
    row = tally.row("hybrid", 1.0)
    assert set(skipped("hybrid", "why")) == set(row) | {"skipped"}
    assert [layer["name"] for layer in row["layers"]] == [layer.name for layer in spec.layers]
    assert row["spikes_per_inference"] == pytest.approx(sum(layer["spikes_per_inference"] for layer in row["layers"]))
    seconds = 24 * experiment.dt_s
    assert row["mean_rate_hz"] == pytest.approx(row["spikes_per_inference"] / spec.n_neurons / seconds)
    for name, rates in tally.rates_hz().items():
        layer = next(layer for layer in row["layers"] if layer["name"] == name)
        assert rates.mean() == pytest.approx(layer["mean_rate_hz"], rel=1e-5)
    assert tally.curve_steps == [5, 10, 15, 20, 24]
    assert tally.curve_values()[-1] == row["value"]


def test_agreement_is_zero_distance_and_correlation_one_only_for_equal_rates():
    rates = {"a": np.array([1.0, 2.0, 4.0]), "silent": np.zeros(3)}
    same, silent = agreement(rates, rates)["layers"]
    assert (same["rate_mean_abs_difference_hz"], same["rate_correlation"]) == (0, pytest.approx(1))
    assert silent["rate_correlation"] is None
    other = agreement(rates, {"a": np.array([4.0, 2.0, 1.0]), "silent": np.ones(3)})["layers"]
    assert other[0]["rate_mean_abs_difference_hz"] == pytest.approx(2)
    assert other[0]["rate_correlation"] < 0 and other[1]["rate_mean_abs_difference_hz"] == 1


def test_counts_of_the_emulator_equal_those_of_nengo_loihis(small):
    """Synaptic operations too: counted in the kernels there, from fan-outs here."""
    experiment, spec, params, images = small
    with LoihiModel(experiment, spec, params, "emulator") as model:
        (ours,) = model.run(images)
    with LoihiModel(experiment, spec, params, "reference") as model:
        theirs = list(model.run(images))
    assert all(counts.sum() > 0 for counts in ours.spikes.values())
    np.testing.assert_array_equal(ours.readout, np.concatenate([batch.readout for batch in theirs]))
    for name in ours.spikes:
        np.testing.assert_array_equal(ours.spikes[name], np.concatenate([batch.spikes[name] for batch in theirs]))
        np.testing.assert_array_equal(ours.neuron_spikes[name], sum(batch.neuron_spikes[name] for batch in theirs))
    for name in ours.synops:
        np.testing.assert_array_equal(ours.synops[name], np.concatenate([batch.synops[name] for batch in theirs]))


class Stop(Exception):
    pass


def noted(function, calls):
    def call(*arguments):
        calls.append(function)
        return function(*arguments)

    return call


@pytest.mark.parametrize("stop_in", ["converted", "loihi-hybrid"])
def test_a_stopped_comparison_goes_on_within_the_row(small, tmp_path, monkeypatch, stop_in):
    experiment, spec, params, images = small
    experiment = dataclasses.replace(experiment, deploy=dataclasses.replace(experiment.deploy, batch_size=1))
    dataset, both = boxes_on(images), {"ann": params, "hybrid": {k: 1.1 * v for k, v in params.items()}}

    def run(folder=None, key="key", say=lambda _: None):
        where = RowStates(folder, key) if folder else None
        return evaluate(experiment, spec, both, dataset.targets[0], dataset, say=say, states=where)

    def without_seconds(result):
        result.metrics.pop("seconds")
        return result.metrics | {"rows": [{**row, "seconds": None} for row in result.metrics["rows"]]}

    whole = run()
    save = RowStates.save

    def stop_after(self, model, tallies, facts):
        save(self, model, tallies, facts)
        if model == stop_in:
            raise Stop

    monkeypatch.setattr(row_states, "EVERY_S", 0)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(RowStates, "save", stop_after)
        run(tmp_path / "rows")
    opened, lines = [], []
    for name in ("NengoDLModel", "LoihiModel"):
        monkeypatch.setattr(models, name, noted(getattr(models, name), opened))
    parts = run(tmp_path / "rows", say=lines.append)
    n = {"converted": 3, "loihi-hybrid": 1}[stop_in]  # NengoDL takes all three at once; then come three moved ones
    assert f"  {stop_in}: going on after {n} of 6 samples" in lines
    assert len(opened) == {"converted": 4, "loihi-hybrid": 1}[stop_in], "rows that are done are not run again"
    assert without_seconds(parts) == without_seconds(whole)
    assert parts.trajectory == whole.trajectory
    for name, values in {**whole.predictions, **whole.rates}.items():
        np.testing.assert_array_equal({**parts.predictions, **parts.rates}[name], values, err_msg=name)
    run(tmp_path / "rows", key="other", say=(others := []).append)
    assert not any("going on" in line for line in others), "what was done for other settings is not used"
