"""What holds for every data set: names, options, splits, the constant predictor, overlays."""

import numpy as np
import pytest
from cotrain.hardware.errors import InputError, OutputError
from cotrain.pipeline import datasets
from cotrain.pipeline.datasets.base import split_by_group
from cotrain.pipeline.datasets.overlay import overlay
from cotrain.pipeline.tasks import task_of
from PIL import Image


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def planes(root):
    return datasets.load("synthetic-planes", root, n_images=60)


@pytest.fixture(scope="module")
def tubes(root):
    return datasets.load("synthetic-hippocampus", root, n_volumes=20)


def test_unknown_name_and_option_name_the_nearest(tmp_path):
    with pytest.raises(InputError, match="did you mean 'hippocampus'.*synthetic-planes"):
        datasets.load("hippocampos", tmp_path)
    with pytest.raises(InputError, match="did you mean 'n_images'"):
        datasets.load("synthetic-planes", tmp_path, n_image=3)


@pytest.mark.parametrize("shape", [(32,), (0, 4), (32.5, 64), "32x64", None])
def test_image_shape_must_be_two_whole_numbers(tmp_path, shape):
    with pytest.raises(InputError, match="image_shape is"):
        datasets.load("synthetic-planes", tmp_path, image_shape=shape)


def test_arrays_are_as_promised(planes, tubes):
    assert planes.images.shape == (60, 32, 64, 1) and planes.targets.shape == (60, 4)
    assert tubes.images.shape == (320, 32, 32, 1) and tubes.targets.shape == (320, 32, 32)
    for data in (planes, tubes):
        assert data.images.dtype == data.targets.dtype == np.float32
        assert data.images.min() >= 0 and data.images.max() <= 1
        assert len(data) == len(data.names) == len(set(data.names.tolist()))
    assert set(np.unique(tubes.targets)) == {0, 1}
    assert np.all(planes.targets[:, :2] < planes.targets[:, 2:])


def test_split_is_by_group_and_seeded(tubes):
    for group in np.unique(tubes.groups):
        assert len(set(tubes.split[tubes.groups == group].tolist())) == 1
    n_groups = {s: len(np.unique(tubes.subset(s).groups)) for s in datasets.SPLITS}
    assert n_groups == {"train": 16, "validation": 2, "test": 2}
    assert np.array_equal(split_by_group(tubes.groups, 0), tubes.split)
    assert not np.array_equal(split_by_group(tubes.groups, 1), tubes.split)


def test_split_sizes_of_the_real_sets():
    images = np.array([f"image_{k:04d}" for k in range(719)])
    volumes = np.repeat([f"hippocampus_{k:03d}" for k in range(220)], 40)
    assert np.sum(split_by_group(images, 0) == "test") == np.sum(split_by_group(images, 0) == "validation") == 72
    assert np.sum(split_by_group(volumes, 0) == "test") == 880


def test_split_hardly_changes_with_a_few_files_fewer():
    names = np.array([f"image_{k:04d}" for k in range(720)])
    some = names[:700]
    before = dict(zip(names.tolist(), split_by_group(names, 0).tolist(), strict=True))
    after = split_by_group(some, 0).tolist()
    changed = sum(before[name] != now for name, now in zip(some.tolist(), after, strict=True))
    assert changed <= 2 * 4  # at each of the two borders the places move by at most 20 * 0.1 * 2


@pytest.mark.parametrize("n", range(1, 13))
def test_tiny_folders_split_too(n):
    split = split_by_group(np.array([f"image_{k}" for k in range(n)]), 0).tolist()
    assert split.count("test") == 1
    assert split.count("validation") == (1 if n > 1 else 0)
    assert split.count("train") == max(n - 2, 0)


def test_subset_select_take(planes):
    assert planes.subset("all") is planes
    assert len(planes.subset("test")) == 6
    assert planes.take(3).names.tolist() == planes.names[:3].tolist()
    assert planes.take(None) is not None and len(planes.take(None)) == 60
    with pytest.raises(InputError, match="train, validation, test, all"):
        planes.subset("tests")
    one = planes.take(1).select([0])
    with pytest.raises(InputError, match="nothing is in the"):
        one.subset({"train", "test"}.difference(one.split).pop())


def test_synthetic_tasks_are_not_solved_by_a_constant(root):
    """About half of the score is left to win."""
    for name, expected in (("synthetic-planes", (0.45, 0.62)), ("synthetic-hippocampus", (0.4, 0.62))):
        data = datasets.load(name, root)
        assert not data.rejected
        train, test = data.subset("train"), data.subset("test")
        task = task_of(data.task)
        value = task.scores(task.predict_constant(task.constant(train), test), test.targets, test.groups).mean()
        assert expected[0] < value < expected[1], name


def test_overlay_draws_boxes_and_outlines(planes, tubes, tmp_path):
    for data in (planes, tubes):
        path = overlay(
            data, tmp_path / f"{data.name}.png", n=7, predicted=np.roll(data.targets, 1, axis=0), n_columns=4
        )
        picture = np.asarray(Image.open(path)).astype(int)
        height, width = data.image_shape
        assert picture.shape == (2 * (4 * height + 4), 4 * (4 * width + 4), 3)
        green = picture[..., 1] - picture[..., 0] > 100
        assert green.any() and (picture[..., 0] - picture[..., 1] > 100).any()
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_overlay_puts_the_box_where_the_plane_is(planes, tmp_path):
    picture = np.asarray(Image.open(overlay(planes.select([0]), tmp_path / "one.png"))).astype(int)
    rows, columns = np.nonzero(picture[..., 1] - picture[..., 0] > 100)
    drawn = np.array([rows.min() / 128, columns.min() / 256, (rows.max() + 1) / 128, (columns.max() + 1) / 256])
    np.testing.assert_allclose(drawn, planes.targets[0], atol=1.5 / 128)


def test_overlay_where_a_file_is_in_the_way(planes, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        overlay(planes, tmp_path / "file" / "one.png", n=1)
