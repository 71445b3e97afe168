"""Scores against closed forms, counting pixels, and SciPy."""

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from cotrain.hardware.errors import InputError
from cotrain.pipeline import metrics


def test_iou_equals_counting_pixels():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 21, size=(2, 200, 2, 2))
    a, b = np.sort(corners, axis=2).reshape(2, 200, 4)

    def paint(box):
        picture = np.zeros((20, 20), dtype=bool)
        picture[box[0] : box[2], box[1] : box[3]] = True
        return picture

    for one, other, iou in zip(a, b, metrics.box_iou(a / 20, b / 20), strict=True):
        both, either = (paint(one) & paint(other)).sum(), (paint(one) | paint(other)).sum()
        empty = not paint(one).any() or not paint(other).any()
        assert iou == pytest.approx(0 if empty else both / either, abs=1e-12)


def test_iou_of_two_squares_by_hand():
    assert metrics.box_iou([0, 0, 2, 2], [1, 1, 3, 3]) == pytest.approx(1 / 7)


def test_iou_broadcasts_and_an_inverted_box_scores_nothing():
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.1, 0.1], [0.5, 0.1, 0.1, 0.5]])
    np.testing.assert_allclose(metrics.box_iou([0.1, 0.1, 0.5, 0.5], boxes), [1, 0, 0])


def test_iou_refuses_what_a_diverged_network_gives():
    with pytest.raises(InputError, match="diverged"):
        metrics.box_iou([np.nan, 0, 1, 1], [0, 0, 1, 1])


def test_dice_pools_the_pixels_of_a_group_as_scipy_counts_them():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 12, 5, 6)) > 0.6
    groups = np.repeat(["v2", "v1", "v3"], 4)
    expected = [
        1 - scipy.spatial.distance.dice(a[groups == g].ravel(), b[groups == g].ravel()) for g in ("v1", "v2", "v3")
    ]
    np.testing.assert_allclose(metrics.dice(a, b.astype(np.float32), groups), expected, rtol=1e-12)
    # Pooling is not the mean over slices.
    assert abs(metrics.dice(a, b)[groups == "v1"].mean() - expected[0]) > 1e-4


def test_dice_of_empty_masks():
    empty, full = np.zeros((1, 3, 3)), np.ones((1, 3, 3))
    assert metrics.dice(empty, empty) == [1]
    assert metrics.dice(full, empty) == [0]


def test_dice_refuses_shapes_that_differ():
    with pytest.raises(InputError, match=r"\(1, 3, 3\) and \(1, 3, 4\)"):
        metrics.dice(np.zeros((1, 3, 3)), np.zeros((1, 3, 4)))


def test_bootstrap_equals_scipys_percentile_interval():
    values = np.random.default_rng(1).beta(8, 2, size=72)
    ours = metrics.bootstrap_ci(values, seed=3, n_resamples=20000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20000, rng=np.random.default_rng(4)
    ).confidence_interval
    # A quantile at 0.025 of 20000 draws has a standard error of sqrt(p (1 - p) / n) / density, and the density of a
    # normal there is 0.058 / sd: 0.019 sd of the mean. Two such, four standard errors: 0.11 sd.
    assert ours == pytest.approx(theirs, abs=0.11 * values.std() / np.sqrt(72))


def test_bootstrap_is_seeded():
    values = np.arange(10.0)
    assert metrics.bootstrap_ci(values, seed=1) == metrics.bootstrap_ci(values, seed=1)
    assert metrics.bootstrap_ci(values, seed=1) != metrics.bootstrap_ci(values, seed=2)
    with pytest.raises(InputError):
        metrics.bootstrap_ci(np.array([]))


def test_mean_rate():
    assert metrics.mean_rate_hz(50, n_neurons=10, n_steps=100, dt_s=0.001) == pytest.approx(50)
