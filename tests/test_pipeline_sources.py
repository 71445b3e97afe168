"""Mask folders, volumes in other layouts and class data: right arrays, honoured splits, one line for what is wrong."""

import gzip
import json
import shutil

import nibabel
import numpy as np
import pytest
from cotrain.hardware.errors import CotrainError, InputError, MissingError
from cotrain.pipeline import datasets, experiment
from cotrain.pipeline.datasets import IGNORE, hippocampus, synthetic
from cotrain.pipeline.datasets.idx import CIFAR_CLASSES
from cotrain.pipeline.report.sections import data as data_section
from nibabel.orientations import axcodes2ornt, ornt_transform
from PIL import Image
from test_pipeline_datasets_files import find_data, real

SHAPE = (12, 16)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)
    return path


# ----------------------------------------------------------------------------------------------
# Mask folders


def masks_at(root, values=(0, 1, 2), n=8, size=(24, 32), palette=False):
    """Pictures whose label image is a threshold of them; returns the label images."""
    rng = np.random.default_rng(0)
    out = []
    for k in range(n):
        picture = rng.integers(0, 256, (size[0] // 4, size[1] // 4)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
        labels = np.array(values, np.uint8)[picture.astype(int) * len(values) // 256]
        save(root / "images" / f"p{k}.png", picture)
        image = Image.fromarray(labels)
        if palette:
            image = Image.fromarray(labels).convert("P")
            image.putdata(labels.ravel().tolist())
        save(root / "labels" / f"p{k}.png", image)
        out.append(labels)
    return np.stack(out)


def load_masks(root, **options):
    return datasets.load("masks", root / "images", labels=root / "labels", **{"image_shape": SHAPE, **options})


@pytest.mark.parametrize("palette", [False, True])
def test_masks_of_several_classes_and_of_one(tmp_path, palette):
    labels = masks_at(tmp_path, (0, 1, 2, 255), palette=palette)
    two = load_masks(tmp_path, image_shape=labels.shape[1:], classes=(2, 1))
    expected = np.choose(np.minimum(labels, 3), [0, 2, 1, IGNORE])
    np.testing.assert_array_equal(two.targets, expected)
    assert two.class_names == ("2", "1") and two.n_classes == 2
    one = load_masks(tmp_path, image_shape=labels.shape[1:])
    np.testing.assert_array_equal(one.targets, np.choose(np.minimum(labels, 3), [0, 1, 1, IGNORE]))
    assert any("neither learnt nor scored" in note for note in one.notes)
    small = load_masks(tmp_path)  # labels keep their numbers when they shrink
    np.testing.assert_array_equal(small.targets, one.targets[:, 1::2, 1::2])
    assert small.images.shape == (8, *SHAPE, 1)


def test_masks_of_0_and_255_are_black_and_white(tmp_path):
    labels = masks_at(tmp_path, (0, 255))
    data = load_masks(tmp_path, image_shape=labels.shape[1:])
    np.testing.assert_array_equal(data.targets, labels / 255)
    np.testing.assert_array_equal(
        load_masks(tmp_path, image_shape=labels.shape[1:], classes=(255,)).targets, data.targets
    )


def test_masks_in_folders_of_splits(tmp_path):
    labels = masks_at(tmp_path)
    for k, part in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        for kind in ("images", "labels"):
            place = tmp_path / kind / part
            place.mkdir(exist_ok=True)
            (tmp_path / kind / f"p{k}.png").rename(place / f"p{k}.png")
    data = load_masks(tmp_path)
    assert data.split.tolist() == ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    assert len(labels) == len(data)


PHOTOGRAPH = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
BAD_MASKS = {
    "another size": (lambda p: save(p / "labels/p3.png", np.ones((5, 5), np.uint8)), {}, "24 x 32 pixels and its mask"),
    "value not asked for": (lambda p: None, {"classes": (1,)}, "the label 2: data.classes has 1"),
    "no mask": (lambda p: (p / "labels/p3.png").unlink(), {}, "the mask is missing"),
    "no image": (lambda p: (p / "images/p3.png").unlink(), {}, "the image is missing"),
    "colours": (lambda p: save(p / "labels/p3.png", np.ones((24, 32, 3), np.uint8)), {}, "colours"),
    "a photograph": (lambda p: save(p / "labels/p3.png", PHOTOGRAPH), {}, "768 values from 0 to 767"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_MASKS)
def test_a_bad_mask_is_rejected_by_name(tmp_path, kind):
    spoil, options, text = BAD_MASKS[kind]
    masks_at(tmp_path)
    if options:  # every other mask holds the label 1 alone
        for k in (0, 1, 2, 4, 5, 6, 7):
            save(tmp_path / f"labels/p{k}.png", np.ones((24, 32), np.uint8))
    spoil(tmp_path)
    (rejected,) = load_masks(tmp_path, **options).rejected
    assert rejected.name == "p3" and text in rejected.reason and "\n" not in str(rejected)


def test_masks_that_cannot_be_used_at_all(tmp_path):
    masks_at(tmp_path, (0,))
    with pytest.raises(InputError, match="no label image marks a pixel of a label above 0"):
        load_masks(tmp_path)
    masks_at(tmp_path)
    with pytest.raises(InputError, match=r"no usable sample.*the label 1, 2: data.classes has 7.*and 7 more"):
        load_masks(tmp_path, classes=(7,))
    with pytest.raises(InputError, match="different label values"):
        load_masks(tmp_path, classes=(1, 1))
    save(tmp_path / "labels/p3.bmp", np.ones((24, 32), np.uint8))
    with pytest.raises(InputError, match="holds both p3.bmp and p3.png"):
        load_masks(tmp_path)
    with pytest.raises(MissingError, match="no folder .*other, which should hold label images"):
        datasets.load("masks", tmp_path / "images", labels=tmp_path / "other", image_shape=SHAPE)


# ----------------------------------------------------------------------------------------------
# Volumes


@pytest.fixture(scope="module")
def tubes(tmp_path_factory):
    return synthetic.ensure(tmp_path_factory.mktemp("made"), "hippocampus", 5, 0, synthetic.hippocampus_files)


def as_nnunet(tubes, place, channels=1, version=2):
    """nnU-Net's raw layout of the synthetic hippocampi."""
    for kind in ("imagesTr", "labelsTr"):
        (place / kind).mkdir(parents=True)
    for path in (tubes / hippocampus.FOLDER / "imagesTr").iterdir():
        for c in range(channels):
            shutil.copy(path, place / "imagesTr" / path.name.replace(".nii", f"_{c:04d}.nii"))
        shutil.copy(path.parent.parent / "labelsTr" / path.name, place / "labelsTr")
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    described = {
        1: {"modality": {str(c): "T1" for c in range(channels)}, "labels": {str(v): k for k, v in labels.items()}},
        2: {"channel_names": {str(c): "T1" for c in range(channels)}, "labels": labels, "file_ending": ".nii.gz"},
    }[version]
    (place / "dataset.json").write_text(json.dumps(described))
    return place


def load_volumes(place, **options):
    return datasets.load("volumes", place, **{"image_shape": (32, 32), "n_slices": 16, **options})


@pytest.mark.parametrize("version", [1, 2])
def test_nnunet_layout_gives_the_same_arrays(tubes, tmp_path, version):
    ours = datasets.load("hippocampus", tubes, image_shape=(32, 32), n_slices=16)
    data = load_volumes(as_nnunet(tubes, tmp_path / "raw", version=version))
    for key in ("images", "targets", "names", "groups", "split", "slices"):
        np.testing.assert_array_equal(getattr(data, key), getattr(ours, key))
    halves = load_volumes(tmp_path / "raw", classes=(1, 2))
    assert halves.class_names == ("anterior", "posterior") and set(np.unique(halves.targets)) == {0, 1, 2}
    np.testing.assert_array_equal(halves.targets > 0, ours.targets > 0)
    named = datasets.load("hippocampus", tubes, image_shape=(32, 32), n_slices=16, classes=(1, 2))
    np.testing.assert_array_equal(named.targets, halves.targets)


@real
def test_the_real_hippocampi_in_nnunet_layout_give_the_same_arrays(tmp_path):
    source = find_data() / hippocampus.FOLDER
    names = sorted(p.name for p in (source / "imagesTr").glob("hippocampus_*.nii.gz"))[::30]
    for kind, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (tmp_path / "raw" / kind).mkdir(parents=True)
        (tmp_path / "Task04_Hippocampus" / kind).mkdir(parents=True)
        for name in names:
            shutil.copy(source / kind / name, tmp_path / "raw" / kind / name.replace(".nii.gz", ending))
            shutil.copy(source / kind / name, tmp_path / "Task04_Hippocampus" / kind / name)
    ours = datasets.load("hippocampus", tmp_path)
    found = datasets.load("volumes", tmp_path / "raw", image_shape=(40, 56), n_slices=40)
    np.testing.assert_array_equal(found.images, ours.images)
    np.testing.assert_array_equal(found.targets, ours.targets)


@pytest.mark.parametrize("codes", ["LAS", "LPS", "PIR", "SAR", "ILP"])
def test_a_turned_volume_gives_the_same_slices(tubes, tmp_path, codes):
    right = load_volumes(as_nnunet(tubes, tmp_path / "ras"), axis="y", n_slices=0)
    turned = as_nnunet(tubes, tmp_path / "turned")
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    for kind in ("imagesTr", "labelsTr"):
        for path in (turned / kind).iterdir():
            file = nibabel.load(path)
            nibabel.save(nibabel.Nifti1Image(np.asanyarray(file.dataobj), file.affine).as_reoriented(turn), path)
    found = load_volumes(turned, axis="y", n_slices=0)
    np.testing.assert_array_equal(found.images, right.images)
    np.testing.assert_array_equal(found.targets, right.targets)
    assert found.notes == right.notes and "voxels of 1 x 1 x 1 mm" in found.notes


def test_axis_size_and_channels(tubes, tmp_path):
    place = as_nnunet(tubes, tmp_path / "raw", channels=2)
    data = load_volumes(place, axis="x", fit="resize", image_shape=(20, 24), n_slices=0)
    assert data.input_shape == (20, 24, 2) and data.channel_kind == "modalities"
    volume = np.asanyarray(nibabel.load(place / "labelsTr/hippocampus_003.nii.gz").dataobj)
    part = data.targets[data.groups == "hippocampus_003"]
    assert len(part) == volume.shape[0]
    scale = part[0].size / volume[0].size
    assert part.sum() == pytest.approx((volume > 0).sum() * scale, rel=0.1)
    settings = experiment.load("demo-cae", ["data.name=volumes", f"data.path={place}", "data.channels=2"]).data
    assert datasets.load_for(settings, tmp_path, tmp_path).n_channels == 2
    settings = experiment.load("demo-cae", ["data.name=volumes", f"data.path={place}"]).data
    with pytest.raises(InputError, match="data.channels is 1, and volumes has 2"):
        datasets.load_for(settings, tmp_path, tmp_path)


def test_nnunet_folds_are_honoured(tubes, tmp_path):
    place = as_nnunet(tubes, tmp_path / "raw")
    cases = [f"hippocampus_{k:03d}" for k in range(1, 6)]
    (place / "splits_final.json").write_text(json.dumps([{"train": cases[:3], "val": cases[3:]}]))
    data = load_volumes(place)
    parts = {split: sorted(set(data.groups[data.split == split].tolist())) for split in datasets.SPLITS}
    assert parts["validation"] == cases[3:]
    assert len(parts["test"]) == 1 and set(parts["train"]) | set(parts["test"]) == set(cases[:3])
    (place / "splits_final.json").write_text(json.dumps([{"train": cases[:3], "val": cases[2:]}]))
    with pytest.raises(InputError, match="hippocampus_003 is in two splits, train and validation"):
        load_volumes(place)
    (place / "splits_final.json").write_text("[3]")
    with pytest.raises(InputError, match=r"splits_final.json: expected a list of folds"):
        load_volumes(place)


def test_the_same_volume_packed_and_plain_is_refused(tubes, tmp_path):
    place = as_nnunet(tubes, tmp_path / "raw")
    path = place / "imagesTr/hippocampus_002_0000.nii.gz"
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    with pytest.raises(InputError, match="holds both hippocampus_002_0000.nii and hippocampus_002_0000.nii.gz"):
        load_volumes(place)
    path.unlink()
    assert not load_volumes(place).rejected
    shutil.copy(path.with_suffix(""), place / "imagesTr/hippocampus_002_0002.nii")
    with pytest.raises(InputError, match=r"hippocampus_002 has the channels \[0, 2\]; expected 0 to 1"):
        load_volumes(place)


def test_labels_that_dataset_json_does_not_know(tubes, tmp_path):
    place = as_nnunet(tubes, tmp_path / "raw")
    with pytest.raises(InputError, match=r"data.classes names the label 3, .* 1 .anterior"):
        load_volumes(place, classes=(1, 3))
    described = json.loads((place / "dataset.json").read_text())
    del described["labels"]["posterior"]
    (place / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"other values than \(0, 1\): 2"):
        load_volumes(place)
    for text in ("{", '{"labels": 3}', '{"labels": {"a": []}, "channel_names": 1}', "[" * 9999):
        (place / "dataset.json").write_text(text)
        try:
            load_volumes(place)
        except CotrainError as error:
            assert "\n" not in str(error) and "dataset.json" in str(error)


def header_claims(path, shape):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape(shape)
    header["magic"], header["vox_offset"] = b"n+1", 352
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4)))


@pytest.mark.parametrize(
    "shape, text", [((2000, 2000, 500), "at most 1,073,741,824"), ((500, 500, 500), "claims 500,000,352")]
)
def test_a_header_that_lies_takes_no_memory(tubes, tmp_path, shape, text):
    import tracemalloc

    place = as_nnunet(tubes, tmp_path / "raw")
    header_claims(place / "imagesTr/hippocampus_002_0000.nii.gz", shape)
    tracemalloc.start()
    (rejected,) = load_volumes(place).rejected
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert text in rejected.reason and peak < 50e6


def test_every_changed_byte_of_a_packed_volume_is_found_or_changes_nothing(tubes, tmp_path):
    """The gzip header holds a time and a name, which are no data; everything else is under the checksum."""
    place = as_nnunet(tubes, tmp_path / "raw")
    for path in [p for kind in ("imagesTr", "labelsTr") for p in (place / kind).iterdir() if "001" not in p.name]:
        path.unlink()
    path = place / "imagesTr/hippocampus_001_0000.nii.gz"
    good, before = path.read_bytes(), load_volumes(place)
    rng = np.random.default_rng(0)
    n_found = 0
    for k in range(80):
        bad = bytearray(good)
        at = len(good) - 1 - k if k < 8 else int(rng.integers(len(good)))
        bad[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(bad))
        try:
            np.testing.assert_array_equal(load_volumes(place).images, before.images)
            assert at < 10, at
        except InputError as error:
            n_found += 1
            assert "hippocampus_001" in str(error) and "\n" not in str(error)
    assert n_found > 70
    for end in (len(good) - 1, len(good) - 8, 40, 3, 0):
        path.write_bytes(good[:end])
        with pytest.raises(InputError, match="hippocampus_001"):
            load_volumes(place)


def test_damaged_headers_only_give_our_errors(tubes, tmp_path):
    place = as_nnunet(tubes, tmp_path / "raw")
    for path in [p for kind in ("imagesTr", "labelsTr") for p in (place / kind).iterdir() if "001" not in p.name]:
        path.unlink()
    path = place / "imagesTr/hippocampus_001_0000.nii.gz"
    plain = gzip.decompress(path.read_bytes())
    path.unlink()
    path, rng = path.with_suffix(""), np.random.default_rng(1)
    n_read = 0
    for k in range(150):
        bad = bytearray(plain)
        for at in rng.integers(0, 352, 1 + k % 3):
            bad[at] = int(rng.integers(256))
        path.write_bytes(bytes(bad))
        try:
            load_volumes(place)
            n_read += 1
        except CotrainError as error:
            assert "\n" not in str(error)
    assert 10 < n_read < 140


# ----------------------------------------------------------------------------------------------
# Classes


def classes_at(root, parts=("",), names=("cat", "dog"), n=6, size=(10, 8)):
    rng = np.random.default_rng(0)
    for part in parts:
        for name in names:
            for k in range(n):
                save(
                    root / part / name / f"{k:03d}.png",
                    rng.integers(0, 256, (*size, 3)).astype(np.uint8),
                )
    return root


def load_classes(root, **options):
    return datasets.load("classes", root, **{"image_shape": (10, 8), "channels": 3, **options})


def test_class_folders(tmp_path):
    data = load_classes(classes_at(tmp_path))
    assert data.class_names == ("cat", "dog") and data.targets.tolist() == [0] * 6 + [1] * 6
    with Image.open(tmp_path / "dog/004.png") as picture:
        np.testing.assert_allclose(data.images[10], np.asarray(picture) / 255, atol=1e-7)
    assert data.names[10] == "dog/004" and set(data.split.tolist()) == set(datasets.SPLITS)


def test_class_folders_of_splits_and_a_test_part_alone(tmp_path):
    classes_at(tmp_path, ("train", "test"))
    data = load_classes(tmp_path)
    counts = {split: int((data.split == split).sum()) for split in datasets.SPLITS}
    assert counts == {"train": 11, "validation": 1, "test": 12}
    shutil.rmtree(tmp_path / "train")
    alone = load_classes(tmp_path)
    assert set(alone.split.tolist()) == {"test"}
    np.testing.assert_array_equal(alone.images, data.images[data.split == "test"])


BAD_CLASSES = {
    "an empty class": (lambda p: (p / "eel").mkdir(), "class folder .*eel holds no picture"),
    "one class only": (lambda p: shutil.rmtree(p / "cat"), r"one class only \(dog\)"),
    "nothing": (lambda p: (shutil.rmtree(p / "cat"), shutil.rmtree(p / "dog")), "expected class folders"),
    "splits and classes": (lambda p: classes_at(p, ("train", "test")), "folders of splits .test, train. and cat"),
    "one name twice": (lambda p: save(p / "cat/001.jpg", np.zeros((4, 4), np.uint8)), "both 001.jpg and 001.png"),
}


@pytest.mark.parametrize("kind", BAD_CLASSES)
def test_class_folders_that_cannot_be_used(tmp_path, kind):
    spoil, text = BAD_CLASSES[kind]
    spoil(classes_at(tmp_path))
    with pytest.raises(CotrainError, match=text) as raised:
        load_classes(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_class_that_was_never_trained_is_refused(tmp_path):
    classes_at(tmp_path, ("train", "test"))
    save(tmp_path / "test/eel/0.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="the class eel is in test and not in train"):
        load_classes(tmp_path)


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def mnist_at(root, parts=("train", "t10k"), n=30):
    rng = np.random.default_rng(0)
    made = {}
    (root / "mnist").mkdir(parents=True, exist_ok=True)
    for part in parts:
        made[part] = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8), rng.integers(0, 10, n).astype(np.uint8)
        for array, kind in zip(made[part], ("images-idx3", "labels-idx1"), strict=True):
            (root / "mnist" / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx_bytes(array)))
    return made


def test_mnist_and_its_test_part_alone(tmp_path):
    made = mnist_at(tmp_path)
    data = datasets.load("mnist", tmp_path)
    test = data.subset("test")
    np.testing.assert_allclose(test.images[..., 0], made["t10k"][0] / 255, atol=1e-7)
    np.testing.assert_array_equal(test.targets, made["t10k"][1])
    assert data.class_names == tuple("0123456789") and (data.split == "validation").sum() == 3
    for path in (tmp_path / "mnist").glob("train*"):
        path.unlink()
    alone = datasets.load("mnist", tmp_path)
    np.testing.assert_array_equal(alone.images, test.images)
    assert alone.class_names == data.class_names and alone.names.tolist() == test.names.tolist()


def test_damaged_idx_files_are_one_line(tmp_path):
    mnist_at(tmp_path)
    path = tmp_path / "mnist/t10k-images-idx3-ubyte.gz"
    good = path.read_bytes()
    lies = idx_bytes(np.zeros((1, 28, 28), np.uint8))
    lies = gzip.compress(lies[:4] + (10**9).to_bytes(4, "big") + lies[8:])
    for bad, text in ((good[:-9], "ends early"), (lies, "claims .1000000000, 28, 28"), (gzip.compress(b"x"), "no IDX")):
        path.write_bytes(bad)
        with pytest.raises(CotrainError, match=text) as raised:
            datasets.load("mnist", tmp_path)
        assert "t10k-images" in str(raised.value) and "\n" not in str(raised.value)
    path.unlink()
    with pytest.raises(CotrainError, match="holds t10k-labels-idx1-ubyte.gz and not its images"):
        datasets.load("mnist", tmp_path)


def test_cifar_batches_and_folders_give_the_same(tmp_path):
    rng = np.random.default_rng(0)
    names = CIFAR_CLASSES
    pixels, labels = (
        rng.integers(0, 256, (20, 32, 32, 3)).astype(np.uint8),
        np.repeat(np.arange(10), 2).astype(np.uint8),
    )
    rows = np.concatenate([labels[:, None], pixels.transpose(0, 3, 1, 2).reshape(20, -1)], axis=1)
    place = tmp_path / "official/cifar-10-batches-bin"
    place.mkdir(parents=True)
    (place / "test_batch.bin").write_bytes(rows.tobytes())
    for k, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        save(tmp_path / "folders/cifar-10/test" / names[label] / f"{k:04d}.png", picture)
    official = datasets.load("cifar10", tmp_path / "official")
    folders = datasets.load("cifar10", tmp_path / "folders")
    np.testing.assert_array_equal(official.images, folders.images)
    np.testing.assert_array_equal(official.targets, folders.targets)
    np.testing.assert_allclose(official.images, pixels / 255, atol=1e-7)
    assert official.class_names == names and set(official.split.tolist()) == {"test"}
    shutil.rmtree(tmp_path / "folders/cifar-10/test/cat")  # a part may lack a class: the others keep their numbers
    assert set(datasets.load("cifar10", tmp_path / "folders").targets.tolist()) == set(range(10)) - {3}
    save(tmp_path / "folders/cifar-10/test/dragon/1.png", pixels[0])
    with pytest.raises(InputError, match="dragon is no class of airplane"):
        datasets.load("cifar10", tmp_path / "folders")
    (place / "test_batch.bin").write_bytes(rows.tobytes()[:-1])
    with pytest.raises(CotrainError, match="no whole number of 3073"):
        datasets.load("cifar10", tmp_path / "official")


@real
def test_the_real_digits():
    data = datasets.load("mnist", find_data())
    assert data.images.shape[1:] == (28, 28, 1) and (data.split != "test").sum() == 60_000
    assert np.bincount(data.targets[data.split != "test"]).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]  # fmt: skip  (published counts of the training set)


# ----------------------------------------------------------------------------------------------
# Settings


@pytest.mark.parametrize(
    "changes, text",
    [
        (["data.name=boxes"], "data.path is empty"),
        (["data.path=x"], "data.path is for your own files"),
        (["data.category=cat"], "data.category is 'cat', which synthetic-planes does not have"),
        (["data.name=mnist", "data.channels=2"], "pictures have 1 .grey. or 3 .colour."),
        (["data.name=hippocampus", "data.invert=true"], "data.invert is True, which hippocampus does not have"),
    ],
)
def test_settings_of_other_data_are_refused(tmp_path, changes, text):
    settings = experiment.load("demo-locnet", changes).data
    with pytest.raises(InputError, match=text):
        datasets.load_for(settings, tmp_path, tmp_path)


def test_offset_and_scale_are_of_the_network_input(tmp_path):
    classes_at(tmp_path)
    changes = ["data.name=classes", f"data.path={tmp_path}", "data.channels=3", "data.height=10", "data.width=8"]
    plain = datasets.load_for(experiment.load("demo-locnet", changes).data, tmp_path, tmp_path)
    scaled = experiment.load("demo-locnet", [*changes, "data.scale=2", "data.offset=-1"]).data
    data = datasets.load_for(scaled, tmp_path, tmp_path)
    np.testing.assert_allclose(data.images, plain.images * 2 - 1, atol=1e-6)
    assert (data.pixel_scale, data.pixel_offset) == (2, -1)
    np.testing.assert_allclose(data.view(3), plain.images[3], atol=1e-6)


# ----------------------------------------------------------------------------------------------
# What a folder may hold


def test_a_picture_in_two_splits_is_refused(tmp_path):
    classes_at(tmp_path, ("train", "test"))
    shutil.copy(tmp_path / "train/cat/002.png", tmp_path / "test/cat/renamed.png")
    with pytest.raises(InputError, match="renamed and train/cat/002 are the same picture, one in test and one"):
        load_classes(tmp_path)
    masks_at(tmp_path / "m")
    for part in ("train", "test"):
        for kind in ("images", "labels"):
            (tmp_path / "m" / kind / part).mkdir()
            shutil.copy(tmp_path / "m" / kind / "p1.png", tmp_path / "m" / kind / part / f"{part}.png")
    with pytest.raises(InputError, match="are the same picture, one in test and one in train"):
        load_masks(tmp_path / "m")


def test_links_that_lead_back_are_followed_once(tmp_path):
    classes_at(tmp_path / "data")
    (tmp_path / "data/cat/again").symlink_to(tmp_path / "data/cat")
    (tmp_path / "data/dog/up").symlink_to(tmp_path / "data")
    data = load_classes(tmp_path / "data")
    assert (data.targets == 0).sum() == 6 and len(set(data.names.tolist())) == len(data)


def test_names_that_no_terminal_can_show(tmp_path):
    classes_at(tmp_path / "data")
    save(tmp_path / "data/cat/\x1b[31m\n.png", np.zeros((4, 4), np.uint8))
    (tmp_path / "data/cat/\x1b[31m\n.png").write_bytes(b"")
    (rejected,) = load_classes(tmp_path / "data").rejected
    assert str(rejected).isprintable()
    (tmp_path / "data/cat").rename(tmp_path / "data/c\udcff")
    with pytest.raises(InputError, match=r"'c\\udcff', a name that is no UTF-8"):
        datasets.load("boxes", tmp_path / "data", image_shape=SHAPE)


def test_more_than_the_memory_holds_is_refused_before_it_is_read(tmp_path):
    classes_at(tmp_path)
    with pytest.raises(InputError, match=r"6 images of 1000000 x 1000000 x 3 take 72,000 GB and this machine has"):
        load_classes(tmp_path, image_shape=(10**6, 10**6))


def test_what_a_reader_should_know_goes_into_the_report(tmp_path):
    classes_at(tmp_path, ("train", "test"))
    data = load_classes(tmp_path)
    found = datasets.describe(data, 12)
    assert found["notes"] == list(data.notes) and "without a validation part" in found["notes"][1]
    blocks = data_section.blocks({"metrics": {"dataset": found, "n_samples": 12}})
    assert data.notes in [block.items for block in blocks if hasattr(block, "items")]
