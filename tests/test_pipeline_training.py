"""Training: NengoDL's parameters in and out, steps against hand computation, resume, seeds."""

import dataclasses
import json

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import training
from cotrain.pipeline.experiment import (
    NetworkSettings,
    NeuronSettings,
    TrainSettings,
)
from cotrain.pipeline.training import checkpoint, job_for
from cotrain.pipeline.training.backend import make_backend
from small_training import boxes_data, experiment_for, masks_data, quiet

# --- the NengoDL backend ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["boxes", "masks"])
def data(request):
    return {"boxes": boxes_data, "masks": masks_data}[request.param]()


@pytest.mark.parametrize("phase", ["ann", "hybrid"])
def test_parameters_go_into_nengo_dl_and_back_exactly(data, phase):
    job = job_for(experiment_for(data.task), data, phase)
    params = {n: np.random.default_rng(0).normal(size=v.shape).astype("f") for n, v in job.spec.init_params(0).items()}
    backend = make_backend("nengo-dl", job, params)
    found = backend.params()
    backend.close()
    assert list(found) == list(params)
    for name, value in params.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == np.float32


@pytest.mark.parametrize("kind", ["lif", "rectified"])
@pytest.mark.parametrize("phase", ["ann", "hybrid"])
def test_what_is_trained_is_what_is_saved(data, phase, kind):
    """The backend predicts what the saved parameters give in a plain build of the network, in Nengo's simulator."""
    import nengo
    from cotrain.pipeline.networks import build, decode, neurons_for

    experiment = experiment_for(data.task, neurons=NeuronSettings(kind=kind))
    job = job_for(experiment, data, phase)
    backend = make_backend("nengo-dl", job, job.spec.init_params(1))
    images, targets = data.images[:8], job.scaler.standardise(data.targets[:8]).astype(np.float32)
    for _ in range(2):
        backend.train_step(images, targets, 0.01)
    predicted, params = job.scaler.restore(backend.predict(images[:3])), job.scaler.fold(backend.params())
    backend.close()
    spiking = phase == "hybrid"
    neurons = neurons_for(experiment.neurons, "spiking" if spiking else "ann")
    built = build(job.spec, neurons, params, job.synapse_s)
    for image, prediction in zip(images, predicted, strict=False):
        built.image.output = image.ravel()
        with nengo.Simulator(built.net, progress_bar=False) as sim:
            sim.run_steps(job.n_steps)
            expected = decode(job.spec, sim.data[built.output][None], job.readout_steps)[0]
        # float32 against float64; a spike that falls on another step would show as 1 / (200 Hz * 6 ms) times a weight
        np.testing.assert_allclose(prediction, expected.ravel(), rtol=1e-3, atol=1e-3)


def test_a_step_of_the_ann_is_adam_on_the_gradient_by_hand():
    """One dense layer and the readout, rates, against NumPy."""
    data = boxes_data(shape=(8, 8))
    experiment = experiment_for("boxes", neurons=NeuronSettings(rate_curve="ideal"))
    network = NetworkSettings(name="locnet", filters=(1,), dense=(6,), kernel=1, pool_kernel=1)
    experiment = dataclasses.replace(experiment, network=network, train=TrainSettings(batch_size=4, loss="mse"))
    job = job_for(experiment, data, "ann")
    params = job.spec.init_params(0)
    params["conv1.kernel"][:] = params["pool1.kernel"][:] = 1  # every second pixel, as it is
    backend = make_backend("nengo-dl", job, params)
    images, target = data.images[:4], job.scaler.standardise(data.targets[:4]).astype(np.float32)
    loss = backend.train_step(images, target, 0.01).loss
    after = backend.params()
    backend.close()

    x = images[:, ::2, ::2, 0].reshape(4, -1).astype(np.float64)
    inner = x @ params["dense1.kernel"]
    hidden = np.maximum(inner, 0)
    error = hidden @ params["readout.kernel"] - target
    assert loss == pytest.approx((error**2).mean(), rel=1e-5)
    d_out = 2 * error / error.size
    d_inner = (d_out @ params["readout.kernel"].T) * (inner > 0)
    gradients = {
        "readout.kernel": hidden.T @ d_out,
        "readout.bias": d_out.sum(axis=0),
        "dense1.kernel": x.T @ d_inner,
        "dense1.bias": d_inner.sum(axis=0),
    }
    for name, gradient in gradients.items():
        # Adam's first step: the moments are the gradient and its square
        clear = np.abs(gradient) > 1e-4
        expected = params[name] - 0.01 * gradient / (np.abs(gradient) + 1e-7)
        assert clear.any()
        np.testing.assert_allclose(after[name][clear], expected[clear], atol=2e-5)


def test_filters_share_one_bias(data):
    job = job_for(experiment_for(data.task), data, "ann")
    backend = make_backend("nengo-dl", job, job.spec.init_params(0))
    backend.train_step(data.images[:8], job.scaler.standardise(data.targets[:8]).astype(np.float32), 0.01)
    bias = backend.params()["conv1.bias"]
    backend.close()
    assert bias.shape == (3,) and np.all(bias != 0)


def test_predictions_do_not_depend_on_batches(data):
    job = job_for(experiment_for(data.task), data, "hybrid")
    backend = make_backend("nengo-dl", job, job.spec.init_params(0))
    together = backend.predict(data.images[:11])  # a full batch and three more
    np.testing.assert_array_equal(backend.predict(data.images[:11][::-1])[::-1], together)
    np.testing.assert_array_equal(backend.predict(data.images[9:10]), together[9:10])
    backend.close()


def test_a_penalty_brings_rates_into_the_range():
    data = boxes_data()
    rates = {}
    for weight in (0.0, 10.0):
        settings = TrainSettings(
            batch_size=16, loss="mae", rate_weight=weight, rate_min_hz=60.0, rate_max_hz=60.0, learning_rate=0.01
        )
        job = job_for(experiment_for("boxes", train=settings), data, "ann")
        backend = make_backend("nengo-dl", job, job.spec.init_params(0))
        targets = job.scaler.standardise(data.targets[:16]).astype(np.float32)
        for _ in range(60):
            rates[weight] = backend.train_step(data.images[:16], targets, 0.01).rates_hz
        backend.close()
    assert np.abs(rates[10.0] - 60).mean() < 0.5 * np.abs(rates[0.0] - 60).mean()


# --- epochs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["boxes", "masks"])
def test_both_networks_learn_and_the_hybrid_learns_its_own_dynamics(task, tmp_path):
    data = {"boxes": boxes_data, "masks": masks_data}[task](48)
    base = experiment_for(task)
    experiment = dataclasses.replace(
        base,
        train=dataclasses.replace(base.train, epochs=30),
        finetune=dataclasses.replace(base.finetune, epochs=6, n_steps=16, readout_steps=8, patience=0),
    )
    ann = training.train(experiment, data, tmp_path / "train", "key", say=quiet)
    first, last = ann.history["epochs"][1], ann.history["epochs"][-1]
    assert last["loss"] < 0.7 * first["loss"]
    hybrid = training.finetune(experiment, data, ann.params, tmp_path / "finetune", "key", say=quiet)
    values, losses = ([e[key] for e in hybrid.history["epochs"]] for key in ("metric", "loss"))
    assert losses[-1] < 0.9 * losses[1]
    assert hybrid.history["best_epoch"] == int(np.argmax(values))
    assert json.loads(json.dumps(hybrid.history, allow_nan=False)) == hybrid.history
    assert list((tmp_path / "finetune" / "tensorboard").glob("events.*"))


def test_one_seed_gives_one_result_and_a_stopped_training_goes_on_to_it(tmp_path):
    data = boxes_data()
    base = experiment_for("boxes")
    experiment = dataclasses.replace(base, train=dataclasses.replace(base.train, augment=True, epochs=4))
    whole = training.train(experiment, data, tmp_path / "whole", "key", say=quiet)

    class Stop(Exception):
        pass

    def stop_in_epoch_3(line):
        if "epoch 2/4" in line:
            raise Stop

    with pytest.raises(Stop):
        training.train(experiment, data, tmp_path / "parts", "key", say=stop_in_epoch_3)
    assert (tmp_path / "parts" / checkpoint.FILE).is_file()
    lines = []
    parts = training.train(experiment, data, tmp_path / "parts", "key", say=lines.append)
    assert "going on after epoch 2" in "\n".join(lines) and not any("epoch 2/4" in line for line in lines)
    assert parts.history == whole.history
    for name, value in whole.params.items():
        assert parts.params[name].tobytes() == value.tobytes(), name
    # whoever keeps the result removes the checkpoint then; until then the same call finds the same result
    assert training.train(experiment, data, tmp_path / "parts", "key", say=quiet).history == whole.history
    other = training.train(dataclasses.replace(experiment, seed=1), data, tmp_path / "other", "key", say=quiet)
    assert not np.array_equal(other.params["conv1.kernel"], whole.params["conv1.kernel"])


# --- refusals -----------------------------------------------------------------------------------------------------


def test_network_loss_and_data_of_different_tasks_are_refused():
    with pytest.raises(InputError, match="cae gives 8 x 8 x 4 values for an image; .* has boxes, which need 4 values"):
        job_for(experiment_for("masks"), boxes_data(), "ann")
    with pytest.raises(InputError, match="train.loss is mae; for masks expected one of bce-dice, ce-dice"):
        settings = TrainSettings(loss="mae")
        job_for(experiment_for("masks", train=settings), masks_data(), "ann")
    with pytest.raises(InputError, match="nengo-dl"):
        make_backend("torch", None, {})
