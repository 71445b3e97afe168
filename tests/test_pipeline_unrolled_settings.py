"""What the recipes add to training: warm-up, short epochs, part of the samples in views, penalties, target spread."""

import dataclasses

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import experiment
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.experiment import DataSettings, NeuronSettings, TrainSettings
from cotrain.pipeline.neurons.nengo_types import tf
from cotrain.pipeline.tasks import TASKS
from cotrain.pipeline.tasks.boxes import MAE_WEIGHT
from cotrain.pipeline.tasks.scaling import TargetScaler
from cotrain.pipeline.training.backend import Job
from cotrain.pipeline.training.loop import Schedule, batches
from cotrain.pipeline.training.losses import activity_penalty, giou_loss, penalty_of_sums

IDENTITY = TargetScaler(np.zeros(1, np.float32), np.ones(1, np.float32))


BOXES = Job(None, NeuronSettings(), TASKS["boxes"], IDENTITY, "giou-mae", TrainSettings())


def schedule(**changes):
    return Schedule(TrainSettings(**changes), DataSettings(), seed=3)


def planes(n=400):
    rng = np.random.default_rng(0)
    names = np.array([f"image_{i:04d}" for i in range(n)])
    images = rng.random((n, 8, 8, 1)).astype(np.float32)
    boxes = np.tile(np.array([0.3, 0.3, 0.7, 0.7], np.float32), (n, 1))
    return Dataset("synthetic-planes", "boxes", images, boxes, names, names, np.full(n, "train"))


def test_the_learning_rate_rises_before_it_falls():
    s = schedule(epochs=13, warmup_epochs=3, learning_rate=0.8, schedule="cosine")
    assert [s.rate(epoch) for epoch in (1, 2, 3, 4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert s.rate(13) == pytest.approx(0.008)
    assert schedule(epochs=13, warmup_epochs=1, schedule="constant", learning_rate=0.8).rate(9) == 0.8


def test_an_epoch_ends_after_epoch_samples():
    data = planes(100)
    for epoch_samples, n_batches in ((0, 13), (20, 3), (24, 3), (500, 13)):
        s = schedule(batch_size=8, epoch_samples=epoch_samples)
        assert s.n_batches(len(data)) == n_batches
        assert len(list(batches(data, BOXES, s, 1))) == n_batches


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_a_fraction_of_the_samples_is_seen_in_views(fraction):
    data = planes()
    known = {image.tobytes() for image in data.images}
    views = [
        image.tobytes() not in known
        for images, _ in batches(data, BOXES, schedule(batch_size=40, view_fraction=fraction), 1)
        for image in images
    ]
    # of 400 draws; 4 deviations of a binomial
    assert np.mean(views) == pytest.approx(fraction, abs=4 * np.sqrt(fraction * (1 - fraction) / 400))


def test_giou_mae_adds_the_weighted_absolute_error_of_standardised_boxes():
    scaler = TargetScaler(np.array([0.2, 0.3, 0.6, 0.7], np.float32), np.full(4, 0.1, np.float32))
    boxes = np.array([[0.1, 0.2, 0.5, 0.9]], np.float32), np.array([[0.2, 0.2, 0.6, 0.8]], np.float32)
    expected = float(giou_loss(*boxes)) + MAE_WEIGHT * np.abs(boxes[0] - boxes[1]).mean() / 0.1
    job = dataclasses.replace(BOXES, scaler=scaler)
    loss = job.task.loss(job, *(scaler.standardise(b) for b in boxes))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_penalty_on_the_mean_counts_every_neuron_once():
    activity = [tf.constant([[1.0, 3.0]]), tf.constant([[0.0, 0.0, 0.5, 0.5]])]
    job = Job(
        None, NeuronSettings(rate_scale_hz=200.0), TASKS["boxes"], IDENTITY, "mse", TrainSettings(rate_mean_weight=0.6)
    )
    assert float(activity_penalty(activity, job)) == pytest.approx(0.6 * 5 / 6)
    both = job.with_settings(rate_weight=0.1, rate_max_hz=400.0)  # an activity of 2
    assert float(activity_penalty(activity, both)) == pytest.approx(0.6 * 5 / 6 + 0.1 * (1 / 2 + 0))
    assert activity_penalty(activity, job.with_settings(rate_mean_weight=0.0)) == 0
    outside = [tf.reduce_sum(tf.nn.relu(a - 2.0) ** 2) for a in activity]
    sums = tf.stack([tf.stack([tf.reduce_sum(a), o]) for a, o in zip(activity, outside, strict=True)])
    assert float(penalty_of_sums(sums, [2, 4], both)) == pytest.approx(float(activity_penalty(activity, both)))
    assert penalty_of_sums(sums, [2, 4], job.with_settings(rate_mean_weight=0.0)) == 0


def test_targets_are_standardised_over_their_shifted_views():
    rng = np.random.default_rng(0)
    boxes = rng.normal(0.5, 0.03, (100_000, 4)).astype(np.float32)
    moved = boxes + rng.uniform(-0.1, 0.1, boxes.shape)
    scaler = TASKS["boxes"].scaler(boxes, view_shift=0.1)
    # the deviation of 100,000 draws is known to 1 / sqrt(2 * 100,000) = 0.2 %
    np.testing.assert_allclose(scaler.standardise(moved).std(axis=0), 1, atol=0.01)


@pytest.mark.parametrize("setting", ["train.average=1", "finetune.view_shift=1.2", "train.view_fraction=1.5"])
def test_fractions_beyond_their_range_are_refused(setting):
    with pytest.raises(InputError, match="expected a finite number (at least 0 and below 1|from 0 to 1)$"):
        experiment.load("locnet", [setting])


def test_the_recipes_train_in_tensorflow_and_meet_their_limits():
    for name in ("locnet", "locnet-60", "cae", "cae-parts", "cae-60", "locnet-paper", "cae-paper"):
        settings = experiment.load(name)
        assert settings.train.backend == settings.finetune.backend == "tensorflow"
        # a spike's size is exact in bfloat16
        size = np.float32(1 / (settings.neurons.rate_scale_hz * settings.dt_s))
        assert float(tf.cast(tf.cast(size, tf.bfloat16), tf.float32)) == size
    for name, most in (("locnet", 32), ("locnet-60", 60), ("cae", 32), ("cae-60", 60)):
        settings = experiment.load(name)
        assert settings.finetune.n_steps <= most
