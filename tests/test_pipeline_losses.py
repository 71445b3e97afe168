"""Losses and the scaling of targets against closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
from cotrain.pipeline.datasets import IGNORE
from cotrain.pipeline.neurons.nengo_types import tf
from cotrain.pipeline.tasks import TASKS
from cotrain.pipeline.tasks.scaling import TargetScaler
from cotrain.pipeline.training.losses import binary_cross_entropy, dice_loss, giou_loss, rate_penalty
from small_training import IDENTITY, boxes_data


def task_loss(name, prediction, target, scaler=IDENTITY, label_smoothing=0.0):
    """The loss of that name, of whichever task has it."""
    (task,) = (task for task in TASKS.values() if name in task.losses)
    job = SimpleNamespace(loss=name, scaler=scaler, settings=SimpleNamespace(label_smoothing=label_smoothing))
    return task.loss(job, prediction, tf.constant(target))


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
    assert float(binary_cross_entropy(logits, target, 1.0 + 0 * target)) == pytest.approx(expected, rel=1e-6)
    dice = (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    assert float(dice_loss(p.astype(np.float32), target, 1.0)) == pytest.approx(1 - dice, rel=1e-5)
    for name in ("bce-dice", "ce-dice"):
        assert float(task_loss(name, logits, target)) == pytest.approx((expected + 1 - dice) / 2, rel=1e-5)


def softmax(scores):
    scores = np.exp(scores.astype(np.float64))
    return scores / scores.sum(axis=-1, keepdims=True)


def test_the_loss_of_several_classes_is_soft_max_cross_entropy_with_dice():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 30, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (4, 30)).astype(np.float32)
    p, wanted = softmax(scores), np.eye(3)[labels.astype(int)]
    entropy = -(wanted * np.log(p)).sum(axis=-1).mean()
    dice = [
        (2 * (p * wanted)[..., k].sum() + 1) / (p[..., k].sum() + wanted[..., k].sum() + 1) for k in (1, 2)
    ]  # the background has no Dice
    expected = (entropy + 1 - np.mean(dice)) / 2
    assert float(task_loss("ce-dice", scores.reshape(4, -1), labels)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n_classes", [1, 2])
def test_pixels_that_nobody_labelled_do_not_count(n_classes):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 20, 1 if n_classes == 1 else 3)).astype(np.float32)
    labels = rng.integers(0, n_classes + 1, (2, 20)).astype(np.float32)
    labels[:, 15:] = IGNORE
    whole = float(task_loss("ce-dice", logits.reshape(2, -1), labels))
    part = float(task_loss("ce-dice", logits[:, :15].reshape(2, -1), labels[:, :15]))
    assert whole == pytest.approx(part, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_classes_is_keras_cross_entropy(smoothing):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(7, 5)).astype(np.float32)
    labels = rng.integers(0, 5, (7, 1)).astype(np.float32)
    keras = tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = float(keras(np.eye(5)[labels[:, 0].astype(int)], scores))
    found = float(task_loss("cross-entropy", scores, labels, label_smoothing=smoothing))
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_rate_penalty_is_the_squared_distance_from_the_range():
    rates = tf.constant([[100.0, 200.0], [400.0, 260.0]])
    assert float(rate_penalty(rates, 150.0, 250.0)) == (50**2 + 0 + 150**2 + 10**2) / 4
    assert float(rate_penalty(rates, 250.0, 250.0)) == (150**2 + 50**2 + 150**2 + 10**2) / 4  # the paper's target


# --- targets ------------------------------------------------------------------------------------------------------


def test_standardised_targets_have_mean_0_and_deviation_1():
    targets = np.random.default_rng(0).uniform(0.2, 0.9, (200, 4)).astype(np.float32)
    scaler = TASKS["boxes"].scaler(targets)
    standardised = scaler.standardise(targets)
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(scaler.restore(standardised), targets, atol=1e-6)


def test_a_folded_readout_gives_boxes_as_they_are():
    scaler = TASKS["boxes"].scaler(boxes_data().targets)
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
