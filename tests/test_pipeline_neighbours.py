"""Neighbouring slices as channels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import datasets, experiment
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.datasets.neighbours import with_neighbours


def slices(order=range(6), offset=0.0):
    """Two volumes of three slices; every pixel of slice k of volume v is (1 + 3 v + k) / 10 above the background."""
    groups = np.repeat(["a", "b"], 3)
    images = np.ones((6, 4, 5, 1), np.float32) * (np.arange(1, 7, dtype=np.float32) / 10).reshape(-1, 1, 1, 1)
    data = Dataset(
        "mine", "masks", images + np.float32(offset), np.zeros((6, 4, 5), np.float32),
        np.array([f"{g}/{k}" for g in "ab" for k in range(3)]), groups, np.array(["train"] * 3 + ["test"] * 3),
        pixel_offset=offset,
    )  # fmt: skip
    return data.select(np.array(order))


def test_neighbours_are_of_the_same_volume_and_the_background_lies_beyond():
    seen = with_neighbours(slices(), 1).images[:, 0, 0]
    expected = [[0, 1, 2], [1, 2, 3], [2, 3, 0], [0, 4, 5], [4, 5, 6], [5, 6, 0]]
    np.testing.assert_allclose(seen, np.array(expected) / 10, atol=1e-6)


def test_a_slice_finds_its_neighbours_by_place_and_not_by_order():
    order = [4, 0, 2, 5, 1, 3]
    seen, plain = with_neighbours(slices(order), 2), with_neighbours(slices(), 2)
    np.testing.assert_array_equal(seen.images, plain.images[order])
    assert seen.channel_kind == "slices" and seen.input_shape == (4, 5, 5)
    np.testing.assert_array_equal(seen.view(0), slices(order).images[0, ..., 0])


def test_beyond_a_volume_lies_the_background_also_of_other_ranges():
    seen = with_neighbours(slices(offset=-0.5), 1).images[:, 0, 0]
    np.testing.assert_allclose(seen[0], [-0.5, -0.4, -0.3], atol=1e-6)


def test_pictures_have_no_neighbours():
    data = slices()
    pictures = dataclasses.replace(data, groups=data.names, slices=None)
    with pytest.raises(InputError, match="neighbours is 1, and mine has pictures"):
        with_neighbours(pictures, 1)
    with pytest.raises(InputError, match="3 channels"):
        with_neighbours(with_neighbours(data, 1), 1)
    assert with_neighbours(pictures, 0) is pictures


def test_an_experiment_names_how_many(tmp_path):
    settings = experiment.load("demo-cae", ["data.neighbours=2", "data.n_groups=3"]).data
    data = datasets.load_for(settings, tmp_path, tmp_path)
    alone = datasets.load_for(dataclasses.replace(settings, neighbours=0), tmp_path, tmp_path)
    assert data.input_shape == (32, 32, 5)
    np.testing.assert_array_equal(data.images[..., 2], alone.images[..., 0])
    np.testing.assert_array_equal(data.targets, alone.targets)
