"""Batch normalisation in training, weight decay, and what views a phase draws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import experiment, training
from cotrain.pipeline.datasets import Dataset
from cotrain.pipeline.experiment import TrainSettings
from cotrain.pipeline.networks import spec_for
from cotrain.pipeline.neurons.nengo_types import tf
from cotrain.pipeline.tasks import TASKS
from cotrain.pipeline.training.backend import make_backend
from cotrain.pipeline.training.unrolled import normalise
from small_training import boxes_data, experiment_for, masks_data

DATA = {"boxes": boxes_data, "masks": masks_data}


def job(task, **changes):
    base = experiment_for(task)
    return training.job_for(
        dataclasses.replace(base, train=dataclasses.replace(base.train, backend="tensorflow", **changes)),
        DATA[task](),
        "ann",
    )


@pytest.mark.parametrize("task", ["boxes", "masks"])
def test_folding_is_keras_batch_normalisation_after_the_layer(task):
    """Keras's own layer, given the same statistics, is the other side."""
    spec = spec_for(experiment_for(task).network, (8, 8))
    rng = np.random.default_rng(0)
    params = spec.init_params(1)
    gammas, statistics = normalise.initial(spec)
    gammas = {name: rng.uniform(0.2, 2, value.shape).astype(np.float32) for name, value in gammas.items()}
    statistics = {name: rng.uniform(0.2, 2, value.shape).astype(np.float32) for name, value in statistics.items()}
    params = {k: rng.normal(size=v.shape).astype(np.float32) if k.endswith("bias") else v for k, v in params.items()}
    folded = normalise.fold(spec, {**params, **gammas}, statistics)
    assert set(folded) == set(params)
    for layer in spec.layers:
        x = rng.normal(size=(16, layer.units)).astype(np.float32)  # a neuron's input without its bias
        keras = tf.keras.layers.BatchNormalization(epsilon=normalise.EPSILON)
        keras.build(x.shape)
        keras.set_weights([
            gammas[f"{layer.name}.gamma"], params[f"{layer.name}.bias"],
            statistics[f"{layer.name}.mean"], statistics[f"{layer.name}.variance"],
        ])  # fmt: skip
        factor = folded[f"{layer.name}.kernel"] / params[f"{layer.name}.kernel"]  # of each filter, wherever it is
        factor = factor.reshape(-1, layer.units)
        np.testing.assert_allclose(factor, np.broadcast_to(factor[0], factor.shape), rtol=1e-5)
        # float32: a few roundings of values up to 10
        np.testing.assert_allclose(x * factor[0] + folded[f"{layer.name}.bias"], keras(x), atol=1e-5)


def test_a_normalised_batch_has_mean_bias_and_deviation_gamma():
    trained = {"a.gamma": tf.constant([0.5, 2.0])}
    x = tf.constant(np.random.default_rng(0).normal(3, 5, (64, 4, 4, 2)), tf.float32)
    layer = dataclasses.make_dataclass("Named", ["name"])("a")
    y = normalise.BatchNorm(trained)(layer, x).numpy().reshape(-1, 2)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), [0.5, 2.0], rtol=1e-4)


def test_what_is_kept_learns_and_needs_no_normalisation(tmp_path):
    base = experiment_for("masks")
    train = dataclasses.replace(base.train, backend="tensorflow", batch_norm=True, epochs=30, average=0.9)
    # at first it sees nothing anywhere, as the readout's bias has it
    settings = dataclasses.replace(base, train=dataclasses.replace(train, learning_rate=0.03))
    data = masks_data()
    found = training.train(settings, data, tmp_path, "key", lambda _: None)
    spec = spec_for(settings.network, data.input_shape)
    spec.check_params(found.params)  # plain kernels and biases
    values = [epoch["metric"] for epoch in found.history["epochs"]]
    assert max(values) > values[0] + 0.3  # of Dice
    # the kept parameters score what the history says, in a backend that knows nothing of normalisation
    plain = make_backend("tensorflow", training.job_for(base, data, "ann"), found.params)
    validation = data.subset("validation")
    overlap = plain.predict(validation.images).reshape(validation.targets.shape) > 0
    truth = validation.targets > 0
    dice = 2 * (overlap & truth).sum() / (overlap.sum() + truth.sum())
    assert dice == pytest.approx(max(values), abs=1e-6)  # four slices, one volume: its Dice is the metric


def test_a_training_with_normalisation_goes_on_where_it_was():
    data = masks_data()
    job_ = job("masks", batch_norm=True, average=0.9, weight_decay=0.1)
    params = job_.spec.init_params(0)
    images, targets = data.images[:8], data.targets[:8].reshape(8, -1)
    whole = make_backend("tensorflow", job_, params)
    for _ in range(3):
        whole.train_step(images, targets, 1e-2)
    state = whole.state()
    whole.train_step(images, targets, 1e-2)
    resumed = make_backend("tensorflow", job_, params)
    resumed.restore(state)
    resumed.train_step(images, targets, 1e-2)
    for name, value in whole.params().items():
        np.testing.assert_array_equal(resumed.params()[name], value)


def test_weight_decay_takes_its_part_of_kernels_alone():
    data = masks_data()
    images, targets = data.images[:8], data.targets[:8].reshape(8, -1)
    params = job("masks").spec.init_params(0)
    after = []
    for decay in (0.0, 0.5):
        backend = make_backend("tensorflow", job("masks", weight_decay=decay), params)
        backend.train_step(images, targets, 0.1)
        after.append(backend.params())
    for name, value in after[0].items():
        kept = 1 - 0.1 * 0.5 if name.endswith("kernel") else 1.0
        np.testing.assert_allclose(after[1][name], value * kept, rtol=1e-6)


def test_nengo_dl_refuses_what_it_does_not_know():
    for change in ({"batch_norm": True}, {"weight_decay": 0.1}):
        wrong = job("masks", **change)
        with pytest.raises(InputError, match="batch_norm, weight_decay"):
            make_backend("nengo-dl", wrong, wrong.spec.init_params(0))


def test_views_below_0_are_the_tasks_own():
    settings = TrainSettings(view_stretch=0.1, view_rotate_deg=20.0)
    assert TASKS["masks"].views(settings) == {"shift": 0.08, "scale": 0.08, "stretch": 0.1, "rotate_deg": 20.0}
    assert TASKS["boxes"].views(settings) == {"shift": 0.08, "scale": 0.08, "stretch": 0.1}
    assert experiment.load("demo-cae").train.view_gain == -1


def test_an_epoch_may_be_judged_by_a_part_of_whole_volumes():
    data = masks_data(16)  # four slices a volume
    assert [len(data.whole_groups(n)) for n in (0, 1, 4, 5, 16, 99)] == [16, 4, 4, 8, 16, 16]


def test_samples_that_come_class_by_class_are_judged_across_the_classes():
    names = np.array([f"test/{k // 50}/{k:03d}" for k in range(500)])
    data = Dataset(
        name="x", task="classes", images=np.zeros((500, 4, 4, 1), np.float32), targets=np.arange(500) // 50,
        names=names, groups=names, split=np.full(500, "validation"), class_names=tuple("0123456789"),
    )  # fmt: skip
    chosen = data.whole_groups(100)
    assert len(chosen) == 100 and (np.bincount(chosen.targets, minlength=10) > 2).all()
    np.testing.assert_array_equal(data.whole_groups(100).names, chosen.names)
    np.testing.assert_array_equal(data.whole_groups(0).names, names)
    assert np.bincount(data.spread(20).targets).tolist() == [2] * 10
    assert [len(data.spread(n)) for n in (1, 499, 500, 501, None)] == [1, 499, 500, 500, 500]
    np.testing.assert_array_equal(masks_data(16).spread(6).names, masks_data(16).names[:6])
