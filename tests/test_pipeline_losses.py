"""Losses and the scaling of targets against closed forms."""

import numpy as np
import pytest
from cotrain.pipeline.neurons.nengo_types import tf
from cotrain.pipeline.training.losses import binary_cross_entropy, dice_loss, giou_loss, rate_penalty, task_loss
from cotrain.pipeline.training.scaling import TargetScaler
from small_training import IDENTITY, boxes_data


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
