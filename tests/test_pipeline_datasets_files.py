"""The loaders on files: good ones against other readers, and every kind of bad one."""

import gzip
import os
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scipy.io
from cotrain.hardware.errors import InputError, MissingError, OutputError
from cotrain.pipeline import datasets
from cotrain.pipeline.datasets import caltech101, digits, hippocampus, synthetic
from PIL import Image

N_PLANES, N_VOLUMES = 5, 4


def find_data():
    places = [os.environ.get("COTRAIN_DATA"), "../shared/data", "data"]
    here = Path(__file__).parent.parent
    return next((here / p for p in places if p and (here / p / "caltech-101").is_dir()), None)


real = pytest.mark.skipif(find_data() is None, reason="needs the public data sets: make data")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    planes = synthetic.ensure(root, "planes", N_PLANES, 0, synthetic.plane_files)
    tubes = synthetic.ensure(root, "hippocampus", N_VOLUMES, 0, synthetic.hippocampus_files)
    return planes, tubes


@pytest.fixture
def planes(made, tmp_path):
    """A copy that may be spoilt, with the paths of its second image and annotation."""
    shutil.copytree(made[0], tmp_path / "p")
    root = tmp_path / "p"
    return root, root / caltech101.IMAGES / "image_0002.jpg", root / caltech101.ANNOTATIONS / "annotation_0002.mat"


@pytest.fixture
def tubes(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "t")
    folder = tmp_path / "t" / hippocampus.FOLDER
    return (
        tmp_path / "t",
        folder / "imagesTr" / "hippocampus_002.nii.gz",
        folder / "labelsTr" / "hippocampus_002.nii.gz",
    )


def load_planes(root):
    return datasets.load("caltech101-airplanes", root, image_shape=(32, 64))


def load_tubes(root):
    return datasets.load("hippocampus", root, image_shape=(32, 32), n_slices=16)


# ----------------------------------------------------------------------------------------------
# Good files


def test_plane_is_read_as_pillow_and_scipy_read_it(planes):
    root, image_path, annotation_path = planes
    data = load_planes(root)
    assert data.names.tolist() == [f"image_{k:04d}" for k in range(1, N_PLANES + 1)] and not data.rejected
    picture = Image.open(image_path)
    y0, y1, x0, x1 = scipy.io.loadmat(annotation_path)["box_coord"][0].astype(float)
    expected = [y0 / picture.height, x0 / picture.width, y1 / picture.height, x1 / picture.width]
    np.testing.assert_allclose(data.targets[1], expected, rtol=1e-6)
    grey = 255 - np.asarray(picture.convert("L"), dtype=float)
    # Shrinking keeps the mean grey, to a rounding of half a level a pixel.
    assert data.images[1].mean() * 255 == pytest.approx(grey.mean(), abs=0.5)
    inside = data.images[1, int(y0 / picture.height * 32) + 1 : int(y1 / picture.height * 32), :, 0]
    assert inside.max() > 2 * np.median(data.images[1])  # the plane is dark in the file, so bright here


def test_box_of_small_integers_does_not_wrap(planes):
    root, image_path, annotation_path = planes
    Image.new("L", (400, 300), 255).save(image_path)
    scipy.io.savemat(annotation_path, {"box_coord": np.array([[10, 250, 20, 255]], dtype=np.uint8)})
    np.testing.assert_allclose(load_planes(root).targets[1], [10 / 300, 20 / 400, 250 / 300, 255 / 400], rtol=1e-6)


def test_volume_is_cut_about_its_centre_and_scaled_by_its_percentiles(tubes):
    root, image_path, label_path = tubes
    rng = np.random.default_rng(0)
    volume, label = rng.normal(1e6, 2e5, (34, 30, 19)), np.zeros((34, 30, 19), dtype=np.float32)
    label[10:20, 12:18, 5:9] = 1
    label[10:20, 12:18, 9:12] = 2
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.float32), np.eye(4)), image_path)
    nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), label_path)
    data = load_tubes(root)
    one = data.select(data.groups == "hippocampus_002")
    assert one.names[3] == "hippocampus_002/z03"
    low, high = np.percentile(volume.astype(np.float32), [1, 99])
    expected = np.clip((volume - low) / (high - low), 0, 1)[1:33, :, 1:17]
    np.testing.assert_allclose(one.images[:, :, 1:31, 0], expected.transpose(2, 0, 1), atol=1e-5)
    assert np.all(one.images[:, :, [0, 31]] == 0)
    np.testing.assert_array_equal(one.targets[:, :, 1:31], (label > 0)[1:33, :, 1:17].transpose(2, 0, 1))


@real
def test_real_planes():
    data = load_planes(find_data())
    rejected = {r.name: r for r in data.rejected}
    if "image_0118" in rejected:  # known: its box has no height
        assert "no area" in rejected["image_0118"].reason
        assert rejected["image_0118"].path.endswith("annotation_0118.mat")
    assert set(rejected) <= {"image_0118"} and "image_0118" not in data.names
    on_disk = len(list((find_data() / caltech101.IMAGES).glob("image_*.jpg")))
    assert len(data) + len(rejected) == on_disk
    height, width = (data.targets[:, 2:] - data.targets[:, :2]).T
    # Most of the picture is the aeroplane: half the height, three quarters of the width.
    assert 0.4 < np.median(height) < 0.8 and 0.6 < np.median(width) < 0.9


@real
def test_real_hippocampi():
    data = datasets.load("hippocampus", find_data())
    assert not data.rejected  # known: a centred box of 40 x 56 x 40 holds every labelled voxel
    n_volumes = len(list((find_data() / hippocampus.FOLDER / "imagesTr").glob("hippocampus_*.nii.gz")))
    assert data.images.shape == (n_volumes * 40, 40, 56, 1)
    paths = sorted((find_data() / hippocampus.FOLDER / "labelsTr").glob("hippocampus_*.nii.gz"))[::20]
    for path in paths:
        label = np.asanyarray(nibabel.load(path).dataobj)
        mask = data.targets[data.groups == path.name.removesuffix(".nii.gz")]
        assert mask.sum() == (label > 0).sum()
        assert 0.03 < mask.sum() / label.size < 0.08  # known: 3.8 to 7.5 % of a volume


# ----------------------------------------------------------------------------------------------
# Bad files: the sample is named, the others stay


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def box(value):
    return lambda image, annotation: scipy.io.savemat(annotation, {"box_coord": np.array(value)})


BAD_PLANES = {
    "truncated JPEG": (lambda image, annotation: cut(image), "image cannot be read: .*truncated"),
    "no JPEG": (lambda image, annotation: image.write_text("<html>"), "image cannot be read: cannot identify"),
    "empty JPEG": (lambda image, annotation: image.write_bytes(b""), "image cannot be read"),
    "folder": (lambda image, annotation: (image.unlink(), image.mkdir()), "image cannot be read"),
    "no image": (lambda image, annotation: image.unlink(), "the image is missing"),
    "no annotation": (lambda image, annotation: annotation.unlink(), "the annotation is missing"),
    "truncated .mat": (lambda image, annotation: cut(annotation), "annotation cannot be read"),
    "no .mat": (lambda image, annotation: annotation.write_bytes(os.urandom(300)), "annotation cannot be read"),
    "no box_coord": (lambda image, annotation: scipy.io.savemat(annotation, {"box": 1}), "has no box_coord"),
    "three numbers": (box([[1, 2, 3]]), r"shape \(1, 3\): expected 4 numbers"),
    "text": (box(["abcd"]), "expected 4 numbers"),
    "NaN": (box([[1, np.nan, 3, 4]]), "NaN"),
    "no height": (box([[38, 38, 10, 26]]), r"no area: .* \[38, 38, 10, 26\]"),
    "inverted": (box([[30, 50, 60, 20]]), "no area"),
    "outside": (box([[30, 50, 20, 999]]), "not inside its image"),
}


@pytest.mark.parametrize("kind", BAD_PLANES)
def test_bad_plane_is_rejected_by_name(planes, kind):
    root, image_path, annotation_path = planes
    spoil, reason = BAD_PLANES[kind]
    spoil(image_path, annotation_path)
    data = load_planes(root)
    assert len(data) == N_PLANES - 1 and "image_0002" not in data.names
    (rejected,) = data.rejected
    assert rejected.name == "image_0002" and root / rejected.path in (image_path, annotation_path)
    assert re.search(reason, rejected.reason), rejected.reason
    assert "\n" not in str(rejected)


def nifti(array, affine=None):
    return nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)


def edit(change):
    """Load, change and save a volume."""

    def spoil(path):
        file = nibabel.load(path)
        array = np.array(file.dataobj, dtype=np.float32)
        array = change(array)
        nibabel.save(nifti(array), path)

    return spoil


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return edit(change)


def move(path):
    array = np.array(nibabel.load(path).dataobj)
    nibabel.save(nifti(array, np.diag([2.0, 1, 1, 1])), path)


BAD_VOLUMES = {
    "other shape": ("label", edit(lambda a: a[:-1]), r"shape \(\d+, \d+, \d+\) and its label \(\d+"),
    "four axes": ("image", edit(lambda a: np.stack([a, a], axis=-1)), "expected 3 axes"),
    "other place": ("label", move, "affines differ"),
    "NaN": ("image", put((3, 4, 5), np.nan), "NaN"),
    "infinity": ("image", put((3, 4, 5), np.inf), "NaN or infinity"),
    "NaN label": ("label", put((3, 4, 5), np.nan), "other values than whole numbers"),
    "other label": ("label", put((3, 4, 5), 7), r"other values than \(0, 1, 2\): 7"),
    "empty label": ("label", edit(np.zeros_like), "marks no voxel"),
    "flat": ("image", edit(np.ones_like), "flat"),
    "at the edge": ("label", put((0, 0, 0), 1), "1 labelled voxels lie outside .* 32 x 32 x 16"),
    "truncated": ("image", cut, "image cannot be read"),
    "truncated label": ("label", cut, "label cannot be read"),
    "no NIfTI": ("image", lambda path: path.write_bytes(gzip.compress(b"text" * 200)), "image cannot be read"),
    "no gzip": ("image", lambda path: path.write_text("<html>"), "image cannot be read"),
    "no image": ("image", Path.unlink, "image is missing"),
    "no label": ("label", Path.unlink, "label is missing"),
}


@pytest.mark.parametrize("kind", BAD_VOLUMES)
def test_bad_volume_is_rejected_by_name(tubes, kind):
    root, image_path, label_path = tubes
    which, spoil, reason = BAD_VOLUMES[kind]
    spoil(image_path if which == "image" else label_path)
    data = load_tubes(root)
    assert len(data) == (N_VOLUMES - 1) * 16 and "hippocampus_002" not in data.groups
    (rejected,) = data.rejected
    assert rejected.name == "hippocampus_002"
    assert re.search(reason, rejected.reason), rejected.reason
    assert "\n" not in str(rejected)


def test_files_of_other_kinds_are_no_samples(planes, tubes):
    for root, path, load in ((planes[0], planes[1], load_planes), (tubes[0], tubes[1], load_tubes)):
        (path.parent / f"._{path.name}").write_bytes(b"AppleDouble")
        (path.parent / "Thumbs.db").write_bytes(b"")
        assert not load(root).rejected


# ----------------------------------------------------------------------------------------------
# Nothing to load: one line


@pytest.mark.parametrize("load", [load_planes, load_tubes])
def test_missing_folder_says_how_to_get_the_data(tmp_path, load):
    with pytest.raises(MissingError, match=r"make data.*DATA=DIR") as raised:
        load(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(raised.value) and "\n" not in str(raised.value)


def test_empty_folders_say_how_to_get_the_data(planes, tubes):
    for root, path, load in ((planes[0], planes, load_planes), (tubes[0], tubes, load_tubes)):
        for folder in (path[1].parent, path[2].parent):
            shutil.rmtree(folder)
            folder.mkdir()
        with pytest.raises(MissingError, match="nothing in .*make data"):
            load(root)


def test_nothing_usable_names_the_first_reason(planes):
    root, image_path, annotation_path = planes
    for path in annotation_path.parent.iterdir():
        scipy.io.savemat(path, {"something": 1})
    with pytest.raises(InputError, match=r"no usable sample in .*: image_0001: .*box_coord.*, and 4 more") as raised:
        load_planes(root)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("option", [{"n_slices": 0}, {"n_slices": 2.5}, {"percentiles": (99, 1)}])
def test_hippocampus_options_out_of_range(tubes, option):
    with pytest.raises(InputError, match=next(iter(option))):
        datasets.load("hippocampus", tubes[0], **option)


# ----------------------------------------------------------------------------------------------
# Synthetic files


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_synthetic_bytes_depend_on_the_seed_alone(made, tmp_path):
    for kind, folder, files, n in (
        ("planes", made[0], synthetic.plane_files, N_PLANES),
        ("hippocampus", made[1], synthetic.hippocampus_files, N_VOLUMES),
    ):
        assert contents(synthetic.ensure(tmp_path, kind, n, 0, files)) == contents(folder)
        assert contents(synthetic.ensure(tmp_path, kind, n, 1, files)) != contents(folder)


def test_drawn_digits_are_in_mnists_format_and_balanced(tmp_path):
    folder = synthetic.ensure(tmp_path, "digits", 120, 0, digits.digit_files)
    assert contents(folder) == contents(synthetic.ensure(tmp_path / "again", "digits", 120, 0, digits.digit_files))
    data = datasets.load("mnist", folder, image_shape=(20, 20))
    assert (len(data.subset("test")), data.task, data.input_shape) == (20, "classes", (20, 20, 1))
    for split in ("test", "all"):
        counts = np.bincount(data.subset(split).targets)
        assert len(counts) == 10 and (counts == counts[0]).all()
    drawn = datasets.load("synthetic-digits", tmp_path, n_images=120)
    assert drawn.synthetic and drawn.name == "synthetic-digits"
    np.testing.assert_array_equal(drawn.images, data.images)


def test_synthetic_box_is_where_the_plane_is_drawn():
    for number in range(1, 30):
        pixels, mask = synthetic.draw_plane(np.random.default_rng((0, number)))
        assert pixels.shape == mask.shape
        assert pixels[mask].mean() < 0.7 * pixels[~mask].mean()
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_spoilt_or_unfinished_synthetic_data_are_made_again(tmp_path):
    folder = synthetic.ensure(tmp_path, "planes", 2, 0, synthetic.plane_files)
    before = contents(folder)
    for spoil in (
        lambda: (folder / synthetic.COMPLETE).unlink(),
        lambda: (folder / caltech101.IMAGES / "image_0001.jpg").unlink(),
        lambda: cut(folder / caltech101.ANNOTATIONS / "annotation_0002.mat"),
        lambda: (folder / synthetic.COMPLETE).write_text("{"),
    ):
        spoil()
        assert synthetic.ensure(tmp_path, "planes", 2, 0, synthetic.plane_files) == folder
        assert contents(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_whole_synthetic_data_are_not_made_again(tmp_path):
    folder = synthetic.ensure(tmp_path, "planes", 2, 0, synthetic.plane_files)

    def never(n, seed):
        raise AssertionError("made again")

    assert synthetic.ensure(tmp_path, "planes", 2, 0, never) == folder


def test_synthetic_data_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write synthetic data below .*choose another folder"):
        datasets.load("synthetic-planes", tmp_path / "file", n_images=1)


@pytest.mark.parametrize("option", [{"n_images": 0}, {"n_images": 1.5}, {"content_seed": -1}])
def test_synthetic_options_out_of_range(tmp_path, option):
    with pytest.raises(InputError, match="expected a whole number"):
        datasets.load("synthetic-planes", tmp_path, **option)
