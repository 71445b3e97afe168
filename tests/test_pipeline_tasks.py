"""What the tasks say: scores, constants, encodings; against counting, scikit-like formulas and SciPy."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import datasets
from cotrain.pipeline.datasets import IGNORE, Dataset
from cotrain.pipeline.evaluation.tally import Tally
from cotrain.pipeline.experiment import TrainSettings
from cotrain.pipeline.metrics import box_iou, dice
from cotrain.pipeline.networks import spec_for
from cotrain.pipeline.tasks import LOSSES, TASKS, metric_name, network_for, task_of
from cotrain.pipeline.tasks.boxes import constant_box
from cotrain.pipeline.tasks.masks import constant_mask
from cotrain.pipeline.training import job_for
from cotrain.pipeline.training.backend import make_backend
from scipy.optimize import minimize
from small_training import boxes_data, classes_data, experiment_for, labels_data, masks_data

DATA = {"boxes": boxes_data, "masks": masks_data, "classes": classes_data}


def names_for(n):
    return np.array([f"image_{i:04d}" for i in range(n)])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def planes(root):
    return datasets.load("synthetic-planes", root, image_shape=(32, 64), n_images=60)


@pytest.fixture(scope="module")
def tubes(root):
    return datasets.load("synthetic-hippocampus", root, image_shape=(32, 32), n_volumes=20)


# --- all of them --------------------------------------------------------------------------------------------------


def test_names_metrics_and_losses():
    assert {name: (task.metric, metric_name(task.metric)) for name, task in TASKS.items()} == {
        "boxes": ("iou", "IoU"), "masks": ("dice", "Dice"), "classes": ("accuracy", "accuracy"),
    }  # fmt: skip
    assert len(set(LOSSES)) == len(LOSSES) and TrainSettings().loss in LOSSES
    with pytest.raises(InputError, match="unknown task 'points'; there are boxes, masks, classes"):
        task_of("points")


@pytest.mark.parametrize("make", [boxes_data, masks_data, labels_data, classes_data])
def test_a_network_that_is_never_wrong_scores_one(make):
    data = make()
    task = task_of(data.task)
    perfect = task.as_prediction(data.targets)
    np.testing.assert_allclose(task.scores(perfect, data.targets, data.groups, data.class_names).mean(), 1)
    per_class = task.per_class(perfect, data.targets, data.groups, data.class_names)
    assert set(per_class) == (set(data.class_names) if data.n_classes > 1 else set())
    assert all(value == 1 for value in per_class.values())


@pytest.mark.parametrize("make", [boxes_data, masks_data, labels_data, classes_data])
def test_the_score_is_the_mean_over_the_classes(make):
    data = make()
    task = task_of(data.task)
    rng = np.random.default_rng(1)
    wrong = task.as_prediction(data.targets)[rng.permutation(len(data))]
    per_class = task.per_class(wrong, data.targets, data.groups, data.class_names)
    value = task.scores(wrong, data.targets, data.groups, data.class_names).mean()
    assert 0 < value < 1
    if per_class:
        assert np.mean(list(per_class.values())) == pytest.approx(value)


@pytest.mark.parametrize(("name", "other"), [("boxes", "cae"), ("classes", "cae"), ("masks", "convnet")])
def test_a_network_for_other_data_is_refused(name, other):
    network = experiment_for({"cae": "masks", "convnet": "classes"}[other]).network
    with pytest.raises(InputError, match=f"network.name {other} gives .* for an image; .* has {name}, which need"):
        network_for(network, DATA[name]())


@pytest.mark.parametrize("make", [boxes_data, masks_data, labels_data, classes_data])
def test_the_constant_is_no_worse_than_a_single_target(make):
    """Of the training targets, repeated for all: the best that can be had without looking, but for fitting."""
    data = make()
    task = task_of(data.task)
    constant = task.constant(data)
    ours = task.scores(task.predict_constant(constant, data), data.targets, data.groups, data.class_names).mean()
    for k in range(0, len(data), 5):
        repeated = task.as_prediction(np.repeat(data.targets[k : k + 1], len(data), axis=0))
        assert ours >= task.scores(repeated, data.targets, data.groups, data.class_names).mean() - 1e-9


# --- boxes --------------------------------------------------------------------------------------------------------


def test_boxes_of_a_group_are_averaged():
    true = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=np.float32)
    predicted = np.array([[0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(TASKS["boxes"].scores(predicted, true, np.array(["a", "a", "b"])), [0.75, 0.25])


def test_constant_box_is_no_worse_than_scipys_search(planes):
    boxes = planes.subset("train").targets
    found = minimize(
        lambda box: -box_iou(box, boxes).mean(), np.median(boxes, axis=0), method="Nelder-Mead", options={"xatol": 1e-5}
    )
    ours = box_iou(constant_box(boxes), boxes).mean()
    assert ours >= -found.fun - 2e-3
    assert ours > box_iou(np.median(boxes, axis=0), boxes).mean()


def test_boxes_are_judged_on_moved_images_too():
    data = boxes_data()
    ((name, moved),) = TASKS["boxes"].protocols(data, SimpleNamespace(shift_fraction=0.1, shift_seed=2)).items()
    assert name == "shifted" and not np.array_equal(moved.targets, data.targets)
    assert TASKS["masks"].protocols(masks_data(), None) == {} == TASKS["classes"].protocols(classes_data(), None)


# --- masks --------------------------------------------------------------------------------------------------------


def test_training_starts_at_how_often_each_label_occurs():
    data, task = masks_data(), TASKS["masks"]
    known = data.targets[data.targets != IGNORE]
    share = (np.count_nonzero(known) + 1) / (known.size + 2)
    assert task.first_bias(data) == pytest.approx(np.log(share / (1 - share)), rel=1e-5)
    several = labels_data()
    bias = task.first_bias(several)
    assert bias.shape == (several.n_classes + 1,)
    assert (
        np.exp(bias).sum() == pytest.approx(1)
        and bias.argmax() == np.bincount(several.targets[several.targets != IGNORE].astype(int)).argmax()
    )
    assert TASKS["boxes"].first_bias(boxes_data()).shape == ()


def test_constant_masks_are_the_best_threshold_of_the_mean(tubes):
    train, task = tubes.subset("train"), TASKS["masks"]
    volumes = train.targets.reshape(16, 16, 32, 32)  # 16 volumes of 16 slices, in order
    by_hand = [
        dice(np.broadcast_to(volumes.mean(axis=0) > level, volumes.shape), volumes).mean()
        for level in np.arange(0.5, 16) / 16  # a mean of 16 masks takes no other values
    ]
    ours = task.scores(task.predict_constant(task.constant(train), train), train.targets, train.groups).mean()
    assert max(by_hand) <= ours <= max(by_hand) + 0.02  # ours may also cut among voxels of one frequency
    np.testing.assert_array_equal(task.constant(train), constant_mask(volumes > 0.5))


def test_constant_is_repeated_by_slice(planes, tubes):
    constant = TASKS["masks"].constant(tubes.subset("train"))
    some = tubes.select([33, 5])
    np.testing.assert_array_equal(TASKS["masks"].predict_constant(constant, some), constant[[1, 5]])
    boxes = TASKS["boxes"]
    assert boxes.predict_constant(boxes.constant(planes), planes).shape == (60, 4)
    with pytest.raises(InputError, match="fit it to the same"):
        TASKS["masks"].predict_constant(constant[:4], tubes)


def test_dice_of_several_classes_counts_pixels_of_each_and_ignores_the_unlabelled():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, (2, 4, 6, 7))
    true[:, 0] = IGNORE
    groups = np.array(["b", "b", "a", "c"])
    expected = [
        np.mean([
            2 * ((true == k) & (predicted == k))[groups == g][:, 1:].sum()
            / ((true == k)[groups == g][:, 1:].sum() + (predicted == k)[groups == g][:, 1:].sum())
            for k in (1, 2)
        ])
        for g in ("a", "b", "c")
    ]  # fmt: skip
    np.testing.assert_allclose(TASKS["masks"].scores(predicted, true, groups, ("one", "two")), expected)


def test_readouts_of_masks():
    task = TASKS["masks"]
    np.testing.assert_array_equal(task.predict(np.array([[-1.0, 0, 2, 3]]), (2, 2, 1)), [[[0, 0], [1, 1]]])
    scores = np.array([[0, 1, 2, 5, 1, 1]])  # two pixels of three scores each
    np.testing.assert_array_equal(task.predict(scores, (1, 2, 3)), [[[2, 0]]])
    data = labels_data()
    assert task.output_shape(data) == (8, 8, 3) and task.output_shape(masks_data()) == (8, 8, 1)
    assert network_for(experiment_for("masks").network, data).output_shape == (8, 8, 3)


def test_the_loss_of_one_class_is_refused_for_several():
    with pytest.raises(InputError, match="bce-dice, which knows one class; .* has 2; set it to ce-dice"):
        TASKS["masks"].check_loss("bce-dice", labels_data())
    TASKS["masks"].check_loss("bce-dice", masks_data())


# --- classes ------------------------------------------------------------------------------------------------------


def test_classes_count_alike_however_many_images_they_have():
    true = np.array([0] * 8 + [1] * 2)
    predicted = np.array([0] * 8 + [0, 1])
    task, names = TASKS["classes"], names_for(10)
    assert task.scores(predicted, true, names, ("a", "b")).mean() == pytest.approx((1 + 0.5) / 2)
    assert task.per_class(predicted, true, names, ("a", "b")) == {"a": 1.0, "b": 0.5}
    told = task.details(predicted, true, ("a", "b"))
    assert told == {"fraction_right": 0.9, "confusion": [[8, 0], [1, 1]]}
    assert task.scores(np.zeros(10, int), true, names, ("a", "b")).mean() == pytest.approx(0.5)


def test_balanced_classes_score_the_fraction_right():
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(5), 20)
    predicted = np.where(rng.random(100) < 0.7, true, rng.integers(0, 5, 100))
    scores = TASKS["classes"].scores(predicted, true, names_for(100), tuple("abcde"))
    np.testing.assert_allclose(scores, predicted == true)


def test_a_class_that_does_not_occur_does_not_count():
    true, predicted = np.array([0, 0, 2]), np.array([0, 1, 2])
    task = TASKS["classes"]
    assert task.scores(predicted, true, names_for(3), ("a", "b", "c")).mean() == pytest.approx(0.75)
    assert task.per_class(predicted, true, names_for(3), ("a", "b", "c")) == {"a": 0.5, "c": 1.0}


def test_the_constant_class_is_the_most_frequent_one():
    data = dataclasses.replace(classes_data(), targets=np.array([1] * 20 + [0, 2, 2, 2]))
    constant = TASKS["classes"].constant(data)
    np.testing.assert_array_equal(TASKS["classes"].predict_constant(constant, data), np.ones(24))
    with pytest.raises(InputError, match="fit it to the same classes"):
        TASKS["classes"].predict_constant(np.array([7.0]), data)


def test_views_of_classes_are_shifted_by_whole_pixels_mirrored_and_cut():
    image = np.arange(1, 65, dtype=np.float32).reshape(1, 8, 8, 1) / 64
    data = Dataset("x", "classes", np.repeat(image, 200, axis=0), np.array([0, 1] * 100), names_for(200),
                   names_for(200), np.full(200, "train"))  # fmt: skip
    settings = TrainSettings(view_shift=0.25, view_scale=0.0, view_flip=True)
    views, labels = TASKS["classes"].augment(data, data.images, data.targets, np.random.default_rng(0), settings)
    padded = np.pad(image[0, ..., 0], 2)
    possible = {
        part.tobytes()
        for y in range(5) for x in range(5)
        for part in (np.ascontiguousarray(padded[y : y + 8, x : x + 8][:, ::step]) for step in (1, -1))
    }  # fmt: skip
    seen = {view.tobytes() for view in views[..., 0]}
    assert seen <= possible and len(seen) > 40  # of 50; 200 draws miss 1 in expectation
    np.testing.assert_array_equal(labels, data.targets)
    cut = dataclasses.replace(settings, view_shift=0.0, view_flip=False, view_cutout=0.5)
    views, _ = TASKS["classes"].augment(data, data.images, data.targets, np.random.default_rng(0), cut)
    changed = (views != data.images).sum(axis=(1, 2, 3))
    assert 4 <= changed.min() and changed.max() == 16  # a corner at least, 4 x 4 pixels at most
    assert spec_for(experiment_for("classes").network, (8, 8), 3).output_shape == (3,)


def test_a_row_of_classes():
    """Classes of 5 to 10 images: a resample with many of the rare ones would score above 1."""
    data, experiment = classes_data(), experiment_for("classes")
    tally = Tally(experiment, network_for(experiment.network, data), data, 1)
    tally.final.append(data.targets)
    row = tally.row("ann", 0.0)
    assert row["value"] == pytest.approx(1) and row["ci95"][0] < row["ci95"][1] == 1
    assert row["per_class"] == dict.fromkeys(data.class_names, 1.0) and row["fraction_right"] == 1
    assert np.trace(row["confusion"]) == len(data)


@pytest.mark.parametrize("make", [labels_data, classes_data])
@pytest.mark.parametrize("phase", ["ann", "hybrid"])
def test_both_trainers_have_the_same_loss(make, phase):
    data = make()
    job = job_for(experiment_for(data.task), data, phase)
    params = job.spec.init_params(0)
    batch = data.images[:8], job.scaler.standardise(data.targets[:8]).astype(np.float32)
    losses = []
    for name in ("nengo-dl", "tensorflow"):
        backend = make_backend(name, job, params)
        losses.append([backend.train_step(*batch, 0.01).loss for _ in range(3)])
        backend.close()
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and losses[0][2] < losses[0][0]
