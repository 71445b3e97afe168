"""Training: losses against closed forms, steps against hand computation, resume, seeds, early stopping."""

import dataclasses
import json

import numpy as np
import pytest

from hardware.errors import InputError
from pipeline import training
from pipeline.datasets.augment import shifted
from pipeline.datasets.base import Dataset
from pipeline.experiment import (
    DataSettings,
    Experiment,
    FinetuneSettings,
    NetworkSettings,
    NeuronSettings,
    TrainSettings,
)
from pipeline.neurons import tf
from pipeline.training import checkpoint, job_for, loop
from pipeline.training.backend import StepResult, make_backend
from pipeline.training.losses import binary_cross_entropy, dice_loss, giou_loss, rate_penalty, task_loss
from pipeline.training.scaling import TargetScaler

IDENTITY = TargetScaler(np.zeros(1, np.float32), np.ones(1, np.float32))


def boxes_data(n=24, shape=(8, 8), seed=0):
    """A bright rectangle on black; its box is the target."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 4, (n, 2))
    high = low + rng.integers(2, 5, (n, 2))
    images = np.zeros((n, *shape, 1), np.float32)
    for image, (y0, x0), (y1, x1) in zip(images, low, high, strict=True):
        image[y0:y1, x0:x1] = 0.8
    targets = (np.concatenate([low, high], axis=1) / 8).astype(np.float32)
    names = np.array([f"image_{i:04d}" for i in range(n)])
    split = np.array(["train"] * (n - 8) + ["validation"] * 4 + ["test"] * 4)
    return Dataset("synthetic-planes", "boxes", images, targets, names, names, split)


def masks_data(n=24, seed=0):
    """The rectangle's pixels are the target; four slices a volume."""
    data = boxes_data(n, seed=seed)
    groups = np.array([f"volume_{i // 4}" for i in range(n)])
    return dataclasses.replace(
        data,
        name="synthetic-hippocampus",
        task="masks",
        targets=(data.images[..., 0] > 0).astype(np.float32),
        groups=groups,
    )


def experiment_for(task, **changes):
    network = {
        "boxes": NetworkSettings(name="locnet", filters=(3, 4), dense=(12,)),
        "masks": NetworkSettings(name="cae", filters=(3, 4), bottleneck_layers=1),
    }[task]
    base = Experiment(
        name="test",
        network=network,
        train=TrainSettings(
            epochs=3, batch_size=8, loss={"boxes": "mae", "masks": "bce-dice"}[task], learning_rate=0.01, augment=False
        ),
        finetune=FinetuneSettings(
            epochs=2, batch_size=8, n_steps=12, readout_steps=6, learning_rate=0.01, augment=False
        ),
    )
    return dataclasses.replace(base, **changes)


def quiet(_):
    pass


# --- losses -------------------------------------------------------------------------------------------------------


def test_box_losses_equal_their_formulas():
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, 6, 4)).astype(np.float32)
    error = np.abs(prediction - target).astype(np.float64)
    expected = {
        "mse": (error**2).mean(),
        "mae": error.mean(),
        "huber": float(tf.keras.losses.Huber()(target, prediction)),
    }
    for name, value in expected.items():
        assert float(task_loss(name, prediction, target, IDENTITY)) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "loss"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 0.0),
        ([0, 0, 2, 2], [0, 1, 2, 3], 1 - 2 / 6),  # the hull is the union
        ([0, 0, 1, 1], [2, 2, 3, 3], 1 + (9 - 2) / 9),  # apart: hull 9, union 2
        ([2, 2, 0, 0], [0, 0, 2, 2], 0.0),  # corners the other way round
    ],
)
def test_giou_of_boxes_by_hand(a, b, loss):
    value = giou_loss(tf.constant([a], tf.float32), tf.constant([b], tf.float32))
    assert float(value) == pytest.approx(loss, abs=1e-6)


def test_giou_is_of_boxes_in_fractions_of_the_image():
    scaler = TargetScaler(np.array([0.2, 0.3, 0.6, 0.7], np.float32), np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    boxes = np.array([[0.1, 0.2, 0.5, 0.9]], np.float32), np.array([[0.2, 0.2, 0.6, 0.8]], np.float32)
    standardised = [scaler.standardise(b) for b in boxes]
    assert float(task_loss("giou", *standardised, scaler)) == pytest.approx(float(giou_loss(*boxes)), rel=1e-5)


def test_mask_losses_equal_keras_and_the_formula():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 30)).astype(np.float32)
    target = (rng.random((4, 30)) < 0.3).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
    assert float(binary_cross_entropy(logits, target)) == pytest.approx(expected, rel=1e-6)
    dice = (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    assert float(dice_loss(logits, target)) == pytest.approx(1 - dice, rel=1e-5)
    assert float(task_loss("bce-dice", logits, target, IDENTITY)) == pytest.approx((expected + 1 - dice) / 2, rel=1e-5)


def test_the_rate_penalty_is_the_squared_distance_from_the_range():
    rates = tf.constant([[100.0, 200.0], [400.0, 260.0]])
    assert float(rate_penalty(rates, 150.0, 250.0)) == (50**2 + 0 + 150**2 + 10**2) / 4
    assert float(rate_penalty(rates, 250.0, 250.0)) == (150**2 + 50**2 + 150**2 + 10**2) / 4  # the paper's target


# --- targets ------------------------------------------------------------------------------------------------------


def test_standardised_targets_have_mean_0_and_deviation_1():
    targets = np.random.default_rng(0).uniform(0.2, 0.9, (200, 4)).astype(np.float32)
    scaler = TargetScaler.fit("boxes", targets)
    standardised = scaler.standardise(targets)
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(scaler.restore(standardised), targets, atol=1e-6)


def test_a_folded_readout_gives_boxes_as_they_are():
    scaler = TargetScaler.fit("boxes", boxes_data().targets)
    rng = np.random.default_rng(1)
    params = {"readout.kernel": rng.normal(size=(5, 4)), "readout.bias": rng.normal(size=4)}
    x = rng.normal(size=(3, 5))
    folded = scaler.fold(params)
    np.testing.assert_allclose(
        x @ folded["readout.kernel"] + folded["readout.bias"],
        scaler.restore(x @ params["readout.kernel"] + params["readout.bias"]),
    )
    for name, value in scaler.unfold(folded).items():
        np.testing.assert_allclose(value, params[name])


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

    from pipeline.networks import build, decode, neurons_for

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
    assert "going on after epoch 2" in lines[0] and not any("epoch 2/4" in line for line in lines)
    assert parts.history == whole.history
    for name, value in whole.params.items():
        assert parts.params[name].tobytes() == value.tobytes(), name
    assert not (tmp_path / "parts" / checkpoint.FILE).exists()
    other = training.train(dataclasses.replace(experiment, seed=1), data, tmp_path / "other", "key", say=quiet)
    assert not np.array_equal(other.params["conv1.kernel"], whole.params["conv1.kernel"])


class Scripted:
    """A backend whose validation follows a script: its parameters are the number of epochs that were trained.

    `moved`: what it scores on the moved images, where that is not `values` too.
    """

    def __init__(self, data, values, losses=None, moved=None):
        self.values, self.losses, self.epoch, self.rates = (values, moved or values), losses, 0, []
        validation = data.subset("validation")
        self.protocols = validation, shifted(validation)

    def train_step(self, images, targets, learning_rate):
        self.epoch += 1
        self.rates.append(learning_rate)
        return StepResult(self.losses[self.epoch - 1] if self.losses else 1.0, np.ones(5))

    def predict(self, images):
        (which,) = [i for i, dataset in enumerate(self.protocols) if np.array_equal(dataset.images, images)]
        boxes = self.protocols[which].targets.copy()
        factor = self.values[which][self.epoch]  # the IoU will be that
        boxes[:, 2] = boxes[:, 0] + (boxes[:, 2] - boxes[:, 0]) * factor
        return boxes

    def params(self):
        return {"epoch": np.array(self.epoch), "readout.kernel": np.ones(1), "readout.bias": np.ones(1)}

    def state(self):
        return {"epoch": np.array(self.epoch)}

    def restore(self, state):
        self.epoch = int(state["epoch"])


def fit_script(tmp_path, values, schedule="constant", patience=2, losses=None, moved=None, say=quiet, key="key"):
    data = boxes_data()
    spec = job_for(experiment_for("boxes"), data, "ann").spec
    backend = Scripted(data, values, losses, moved)
    settings = TrainSettings(
        epochs=len(values) - 1, batch_size=16, learning_rate=0.5, schedule=schedule, augment=False, patience=patience
    )
    plan = loop.Schedule.of(settings, DataSettings(), seed=0)
    return backend, loop.fit(backend, spec, IDENTITY, plan, data, tmp_path, key, say)


def test_early_stopping_keeps_the_best_epoch(tmp_path):
    backend, trained = fit_script(tmp_path, [0.2, 0.5, 0.7, 0.6, 0.65, 0.9])
    assert backend.epoch == 4 and trained.history["best_epoch"] == 2 and trained.params["epoch"] == 2
    assert [e["metric"] for e in trained.history["epochs"]] == pytest.approx([0.2, 0.5, 0.7, 0.6, 0.65])


def test_of_equal_epochs_the_first_is_kept(tmp_path):
    _, trained = fit_script(tmp_path, [0.2, 0.7, 0.7, 0.7], patience=0)
    assert trained.history["best_epoch"] == 1 and trained.params["epoch"] == 1


def test_an_epoch_is_judged_on_moved_images_too(tmp_path):
    _, trained = fit_script(tmp_path, [0.89, 0.87, 0.88, 0.90], moved=[0.76, 0.85, 0.85, 0.80], patience=0)
    assert trained.history["best_epoch"] == 2, "neither best on unmoved images (3) nor first on moved ones (1)"
    assert [e["metric"] for e in trained.history["epochs"]] == pytest.approx([0.825, 0.86, 0.865, 0.85])


def test_without_patience_all_epochs_run(tmp_path):
    backend, trained = fit_script(tmp_path, [0.9, 0.5, 0.7, 0.6, 0.65], patience=0)
    assert backend.epoch == 4 and trained.params["epoch"] == 0, "what fine-tuning makes worse is not kept"


def test_the_cosine_schedule_starts_at_the_learning_rate_and_ends_at_a_hundredth(tmp_path):
    backend, _ = fit_script(tmp_path, [0.1] * 6, schedule="cosine", patience=0)
    half = 0.5 * (0.01 + 0.99 / 2)
    assert (
        backend.rates[0] == 0.5 and backend.rates[2] == pytest.approx(half) and backend.rates[4] == pytest.approx(0.005)
    )


def test_a_loss_that_is_not_finite_ends_with_advice(tmp_path):
    with pytest.raises(InputError, match="loss of epoch 2: nan; take a learning_rate below 0.5"):
        fit_script(tmp_path, [0.1] * 4, losses=[1.0, float("nan"), 1.0])


@pytest.mark.parametrize("damage", ["other key", "cut", "not an archive"])
def test_a_checkpoint_that_does_not_fit_is_not_used(tmp_path, damage):
    with pytest.raises(InputError):
        fit_script(tmp_path, [0.1, 0.2, 0.3], losses=[1.0, float("nan")])
    path = tmp_path / checkpoint.FILE
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "not an archive":
        path.write_bytes(b"nothing")
    lines = []
    _, trained = fit_script(
        tmp_path, [0.1, 0.2, 0.3], say=lines.append, key="other" if damage == "other key" else "key"
    )
    assert "before training" in lines[0] and trained.history["best_epoch"] == 2


def test_ctrl_c_says_how_to_go_on(tmp_path):
    lines = []

    def say(line):
        lines.append(line)
        if "epoch 1/" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_script(tmp_path, [0.1, 0.2, 0.3], say=say)
    assert lines[-1] == "  stopped in epoch 2; the same command goes on from there"
    backend, trained = fit_script(tmp_path, [0.1, 0.2, 0.3], say=lines.append)
    assert "  going on after epoch 1" in lines and len(backend.rates) == 1 and trained.history["best_epoch"] == 2


def test_batches_are_full_cover_every_sample_and_depend_on_seed_and_epoch():
    data = boxes_data(25)  # 17 for training
    train = data.subset("train")
    plan = loop.Schedule.of(TrainSettings(epochs=2, batch_size=5, augment=True), DataSettings(), seed=3)

    def epoch(number, schedule=plan):
        return list(loop.batches(train, IDENTITY, schedule, number))

    assert [len(images) for images, _ in epoch(1)] == [5, 5, 5, 5]
    for (a, b), (c, d) in zip(epoch(1), epoch(1), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    assert not np.array_equal(epoch(1)[0][0], epoch(2)[0][0])
    assert not np.array_equal(epoch(1)[0][0], epoch(1, dataclasses.replace(plan, seed=4))[0][0])
    plain = dataclasses.replace(plan, augment=False)
    seen = {image.tobytes() for images, _ in epoch(1, plain) for image in images}
    assert seen == {image.tobytes() for image in train.images}
    views = [image.tobytes() for images, _ in epoch(1) for image in images]
    assert len(set(views) - seen) > 5, "views differ from the images as they are"


# --- refusals -----------------------------------------------------------------------------------------------------


def test_network_loss_and_data_of_different_tasks_are_refused():
    with pytest.raises(InputError, match="cae predicts masks; data.name synthetic-planes has boxes"):
        job_for(experiment_for("masks"), boxes_data(), "ann")
    with pytest.raises(InputError, match="train.loss is mae; for masks expected one of bce-dice"):
        settings = TrainSettings(loss="mae")
        job_for(experiment_for("masks", train=settings), masks_data(), "ann")
    with pytest.raises(InputError, match="nengo-dl"):
        make_backend("torch", None, {})
