"""A Dataset checks itself where it is made: every kind of wrong array is refused in one line that names the sample."""

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline.datasets import IGNORE, Dataset, warp
from cotrain.pipeline.datasets import augment as views
from cotrain.pipeline.phase_settings import TrainSettings
from cotrain.pipeline.tasks import task_of


def make(task="boxes", n=6, channels=1, **changes):
    rng = np.random.default_rng(0)
    images = rng.random((n, 8, 10, channels)).astype(np.float32)
    targets = {
        "boxes": np.tile(np.float32([0.1, 0.2, 0.6, 0.7]), (n, 1)),
        "masks": rng.integers(0, 2, (n, 8, 10)).astype(np.float32),
        "classes": np.arange(n) % 3,
    }[task]
    names = np.array([f"sample_{k}" for k in range(n)])
    arrays = {"images": images, "targets": targets, "names": names, "groups": names, "split": np.full(n, "train")}
    return Dataset(name="mine", task=task, **{**arrays, **changes})


def put(array, index, value):
    array = array.copy()
    array[index] = value
    return array


GOOD = {task: make(task) for task in ("boxes", "masks", "classes")}
BOX, MASK, CLASS = (GOOD[task].targets for task in GOOD)
IMAGES = GOOD["boxes"].images
BAD = {
    "pixels of 0-255": ("boxes", {"images": IMAGES * 255}, r"sample_0 has pixels from .* to 25\d.*from 0 to 1"),
    "one NaN pixel": ("masks", {"images": put(IMAGES, (3, 1, 2, 0), np.nan)}, "sample_3 has pixels that are NaN"),
    "one infinite pixel": ("masks", {"images": put(IMAGES, (3, 1, 2, 0), np.inf)}, "sample_3 .*NaN or infinite"),
    "a negative pixel": ("classes", {"images": put(IMAGES, (5, 0, 0, 0), -0.1)}, "sample_5 has pixels from -0.1"),
    "bytes": ("boxes", {"images": (IMAGES * 255).astype(np.uint8)}, "images are uint8"),
    "no channel axis": ("boxes", {"images": IMAGES[..., 0]}, r"expected float32 \(n, height, width, channels\)"),
    "no sample": ("boxes", {"images": IMAGES[:0]}, "shape"),
    "boxes in pixels": ("boxes", {"targets": BOX * 10}, r"sample_0: the box .* is not inside"),
    "NaN box": ("boxes", {"targets": put(BOX, (2, 1), np.nan)}, "sample_2: the box .* is not inside"),
    "box of no area": ("boxes", {"targets": put(BOX, (4, 2), 0.1)}, "sample_4: the box .* has no area"),
    "corners swapped": ("boxes", {"targets": BOX[:, [2, 3, 0, 1]]}, "has no area"),
    "a box too few": ("boxes", {"targets": BOX[:-1]}, r"expected float32 \(6, 4\)"),
    "labels 0, 1, 2 as one class": (
        "masks",
        {"targets": put(MASK, (1, 0, 0), 2), "class_names": ("organ",)},
        "sample_1: the mask holds 2: .*1 to 1 for organ",
    ),
    "half a label": ("masks", {"targets": put(MASK, (1, 0, 0), 0.5)}, "sample_1: the mask holds 0.5"),
    "NaN label": ("masks", {"targets": put(MASK, (1, 0, 0), np.nan)}, "sample_1: the mask holds nan"),
    "mask of another size": ("masks", {"targets": MASK[:, 1:]}, r"shape \(6, 7, 10\): expected float32 \(6, 8, 10\)"),
    "class out of range": ("classes", {"targets": CLASS, "class_names": ("cat", "dog")}, "sample_2: the class is 2"),
    "float classes": ("classes", {"targets": CLASS.astype(np.float32)}, "targets of classes are float32"),
    "one class only": ("classes", {"targets": CLASS * 0}, "one class only"),
    "unknown split": ("boxes", {"split": np.array(["train"] * 5 + ["dev"])}, "sample_5 is in the split 'dev'"),
    "group in two splits": (
        "boxes",
        {"groups": np.array(list("aabbcc")), "split": np.array(["train"] * 3 + ["test"] * 3)},
        "b is in two splits, train and test",
    ),
    "two samples of one name": ("boxes", {"names": np.array(list("abcdea"))}, "2 samples are called a"),
    "names too short": ("boxes", {"names": np.array(list("abc"))}, "names has shape"),
    "another task": ("boxes", {"task": "depth"}, "task is 'depth'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_no_data_set_may_be_is_refused(kind):
    task, changes, text = BAD[kind]
    base = {k: getattr(GOOD[task], k) for k in ("task", "images", "targets", "names", "groups", "split")}
    with pytest.raises(InputError, match=text) as raised:
        Dataset(**{"name": "mine", **base, **changes})
    assert "\n" not in str(raised.value) and "mine" in str(raised.value)


def test_defaults_say_what_the_arrays_are():
    data = make("masks", channels=3, groups=np.array(list("abbabb")))
    assert data.slices.tolist() == [0, 0, 1, 1, 2, 3] and data.channel_kind == "colour"
    assert data.class_names == ("foreground",) and data.n_classes == 1
    assert make("classes").class_names == ("0", "1", "2")
    assert data.select([4, 1]).slices.tolist() == [2, 0]


def test_other_ranges_of_pixels_are_the_network_inputs():
    data = make(images=IMAGES * 2 - 1, pixel_scale=2.0, pixel_offset=-1.0, inverted=True)
    np.testing.assert_allclose(data.view(2), 1 - IMAGES[2, ..., 0], atol=1e-6)
    with pytest.raises(InputError, match="from 1 to 3"):
        make(images=IMAGES * 2 - 1, pixel_scale=2.0, pixel_offset=1.0)
    far = views.shifted(data, 0.9, seed=3)
    assert far.images.min() == -1  # what comes in from outside is the background, not the middle of the range
    seen = make("classes", images=data.images, pixel_scale=2.0, pixel_offset=-1.0)
    settings = TrainSettings(view_shift=0.5, view_scale=0.0)
    moved, _ = task_of("classes").augment(seen, seen.images, CLASS, np.random.default_rng(0), settings)
    assert moved.min() >= -1 and moved.max() <= 1 and (moved == -1).any()


def test_views_of_masks_keep_every_class_and_what_is_not_labelled():
    masks = np.zeros((2, 12, 12), np.float32)
    masks[:, 2:6, 2:6], masks[:, 6:10, 2:6], masks[:, 2:6, 7:9] = 1, 2, IGNORE
    identity = np.tile(np.eye(2), (2, 1, 1))
    np.testing.assert_array_equal(warp.warp_masks(masks, identity, np.zeros((2, 2))), masks)
    moved = warp.warp_masks(masks, identity, np.tile([1.0, 2.0], (2, 1)))
    np.testing.assert_array_equal(moved[:, 1:, 2:], masks[:, :-1, :-2])
    half = warp.warp_masks(masks, identity, np.tile([0.1, 0.2], (2, 1)))
    assert set(np.unique(half)) == {0, 1, 2, IGNORE}  # a mean of labels would give 1.5 or 128
    np.testing.assert_array_equal(half, masks)  # less than half a pixel: nothing changes but nothing blends


def test_views_move_all_channels_alike():
    data = make("classes", channels=1)
    colour = np.repeat(data.images, 3, axis=3) * np.float32([1, 0.5, 0.25])
    one, labels = task_of("classes").view(data.images, CLASS, np.random.default_rng(1), rotate_deg=20)
    three, _ = task_of("classes").view(colour, CLASS, np.random.default_rng(1), rotate_deg=20)
    np.testing.assert_allclose(three, one * np.float32([1, 0.5, 0.25]), atol=1e-6)
    assert labels is CLASS and not np.array_equal(one, data.images)
