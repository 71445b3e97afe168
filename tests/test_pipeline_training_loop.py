"""Epochs: early stopping, the learning rate, checkpoints, batches; a backend that follows a script."""

import dataclasses

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline.datasets.augment import shifted
from cotrain.pipeline.experiment import DataSettings, TrainSettings
from cotrain.pipeline.training import checkpoint, job_for, loop
from cotrain.pipeline.training.backend import StepResult
from small_training import IDENTITY, boxes_data, experiment_for, quiet


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
    job = dataclasses.replace(job_for(experiment_for("boxes"), data, "ann"), scaler=IDENTITY)
    backend = Scripted(data, values, losses, moved)
    settings = TrainSettings(
        epochs=len(values) - 1, batch_size=16, learning_rate=0.5, schedule=schedule, augment=False, patience=patience
    )
    plan = loop.Schedule(settings, DataSettings(), seed=0)
    return backend, loop.fit(backend, job, plan, data, tmp_path, key, say)


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


def test_a_watcher_that_stops_a_training_stops_it_again(tmp_path):
    """What it is told hangs on the epochs alone, not on where a process was killed."""
    told, values = [], [0.2, 0.5, 0.4, 0.6, 0.3]

    def watcher(epoch, best):
        told.append((epoch, round(best, 6)))
        if epoch == 2:
            raise RuntimeError("enough")

    for _ in range(2):
        with loop.watched(watcher), pytest.raises(RuntimeError):
            fit_script(tmp_path, values)
    assert told == [(1, 0.5), (2, 0.5), (2, 0.5)]
    fit_script(tmp_path, values)
    assert len(told) == 3  # nobody watches any more


def test_batches_are_full_cover_every_sample_and_depend_on_seed_and_epoch():
    data = boxes_data(25)  # 17 for training
    train = data.subset("train")
    plan = loop.Schedule(TrainSettings(epochs=2, batch_size=5, augment=True), DataSettings(), seed=3)

    job = dataclasses.replace(job_for(experiment_for("boxes"), data, "ann"), scaler=IDENTITY)

    def epoch(number, schedule=plan):
        return list(loop.batches(train, job, schedule, number))

    assert [len(images) for images, _ in epoch(1)] == [5, 5, 5, 5]
    for (a, b), (c, d) in zip(epoch(1), epoch(1), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    assert not np.array_equal(epoch(1)[0][0], epoch(2)[0][0])
    assert not np.array_equal(epoch(1)[0][0], epoch(1, dataclasses.replace(plan, seed=4))[0][0])
    plain = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, augment=False))
    seen = {image.tobytes() for images, _ in epoch(1, plain) for image in images}
    assert seen == {image.tobytes() for image in train.images}
    views = [image.tobytes() for images, _ in epoch(1) for image in images]
    assert len(set(views) - seen) > 5, "views differ from the images as they are"
