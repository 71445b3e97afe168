"""Boxes from COCO, VOC, YOLO and CSV: the same arrays as from the publisher's files, and one line for what is wrong."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from cotrain.hardware.errors import CotrainError, InputError
from cotrain.pipeline import datasets
from cotrain.pipeline.datasets import caltech101, synthetic
from cotrain.pipeline.datasets.matfile import read_mat
from PIL import Image
from test_pipeline_datasets_files import find_data, real

SHAPE = (32, 64)


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    return synthetic.ensure(tmp_path_factory.mktemp("made"), "planes", 12, 0, synthetic.plane_files)


def edges(root):
    """Of each picture: file, height, width, and the box [y0, y1, x0, x1] of its .mat file."""
    for path in sorted((root / caltech101.IMAGES).glob("*.jpg")):
        with Image.open(path) as picture:
            width, height = picture.size
        annotation = root / caltech101.ANNOTATIONS / path.name.replace("image", "annotation").replace(".jpg", ".mat")
        yield path, height, width, read_mat(annotation)["box_coord"].ravel().tolist()


def as_coco(rows, place):
    images = [{"id": k, "file_name": p.name, "height": h, "width": w} for k, (p, h, w, _) in enumerate(rows)]
    annotations = [
        {"id": k + 7, "image_id": k, "category_id": 3, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
        for k, (*_, (y0, y1, x0, x1)) in enumerate(rows)
    ]
    tree = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "airplane"}]}
    (place / "coco.json").write_text(json.dumps(tree))
    return place / "coco.json"


def as_voc(rows, place):
    for path, height, width, (y0, y1, x0, x1) in rows:
        (place / f"{path.stem}.xml").write_text(
            f"<annotation><filename>{path.name}</filename><size><width>{width}</width><height>{height}</height>"
            f"<depth>3</depth></size><object><name>airplane</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object></annotation>"
        )
    return place


def as_yolo(rows, place):
    (place / "classes.txt").write_text("airplane\n")
    for path, height, width, (y0, y1, x0, x1) in rows:
        numbers = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
        (place / f"{path.stem}.txt").write_text("0 " + " ".join(f"{v:.8f}" for v in numbers) + "\n")
    return place


def as_csv(rows, place, header=("class", "y1", "x1", "image", "x0", "y0")):
    with open(place / "boxes.csv", "w", newline="") as file:
        writer = csv.writer(file)
        names = header or ("image", "x0", "y0", "x1", "y1", "class")
        if header:
            writer.writerow(header)
        for path, _, _, (y0, y1, x0, x1) in rows:
            row = {"image": path.name, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "class": "airplane"}
            writer.writerow([row[name] for name in names])
    return place / "boxes.csv"


FORMATS = {"coco": as_coco, "voc": as_voc, "yolo": as_yolo, "csv": as_csv, "bare csv": lambda r, p: as_csv(r, p, None)}


def compare(root, tmp_path, kind):
    ours = datasets.load("caltech101-airplanes", root, image_shape=SHAPE)
    labels = FORMATS[kind](list(edges(root)), tmp_path)
    found = datasets.load("boxes", root / caltech101.IMAGES, labels=labels, image_shape=SHAPE, invert=True)
    np.testing.assert_array_equal(found.names, ours.names)
    np.testing.assert_array_equal(found.images, ours.images)
    np.testing.assert_array_equal(found.split, ours.split)
    # YOLO's text has 8 digits of a fraction; the others hold whole pixels.
    np.testing.assert_allclose(found.targets, ours.targets, atol=2e-8 if kind == "yolo" else 0, rtol=6e-8)
    assert found.class_names == ("airplane",) and found.inverted
    assert [r.name for r in found.rejected] == [r.name for r in ours.rejected]


@pytest.mark.parametrize("kind", FORMATS)
def test_planes_in_another_format_give_the_same_arrays(planes, tmp_path, kind):
    compare(planes, tmp_path, kind)


@real
def test_the_real_planes_as_coco_give_the_same_arrays(tmp_path):
    compare(find_data(), tmp_path, "coco")


def test_boxes_mean_what_their_formats_say(tmp_path):
    """A picture of 10 x 20 whose pixels of rows 2 to 4 and columns 5 to 9 are the object, by hand."""
    Image.new("L", (20, 10)).save(tmp_path / "a.png")
    expected = [[2 / 10, 5 / 20, 5 / 10, 10 / 20]]
    files = {
        "a.json": json.dumps({
            "images": [{"id": "x", "file_name": "a.png", "width": 20, "height": 10}],
            "annotations": [{"image_id": "x", "category_id": 1, "bbox": [5, 2, 5, 3]}],
            "categories": [{"id": 1, "name": "it"}],
        }),
        "voc/a.xml": "<annotation><object><name>it</name><bndbox><xmin>6</xmin><ymin>3</ymin><xmax>10</xmax>"
                     "<ymax>5</ymax></bndbox></object></annotation>",
        "yolo/a.txt": "0 0.375 0.35 0.25 0.3\n",
        "a.csv": "\ufeffFilename;Xmin;Ymin;Xmax;Ymax\r\na.png;5;2;10;5\r\n",
        "b.csv": "image,x1,y1,x2,y2,label\na.png,5,2,10,5,it\n",
        "c.csv": "a.png,5,2,10,5,it\n",
    }  # fmt: skip
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        labels = path.parent if "/" in name else path
        found = datasets.load("boxes", tmp_path, labels=labels, image_shape=(4, 8))
        np.testing.assert_allclose(found.targets, expected, atol=1e-7, err_msg=name)


# ----------------------------------------------------------------------------------------------
# Choices and splits


@pytest.fixture
def folder(planes, tmp_path):
    """A copy of the pictures, with a COCO tree to change and a function that loads it."""
    shutil.copytree(planes / caltech101.IMAGES, tmp_path / "pictures")
    rows = list(edges(planes))
    tree = json.loads(as_coco(rows, tmp_path).read_text())

    def load(**options):
        (tmp_path / "coco.json").write_text(json.dumps(tree))
        return datasets.load(
            "boxes", tmp_path / "pictures", labels=tmp_path / "coco.json", image_shape=SHAPE, **options
        )

    return tmp_path / "pictures", tree, load


def test_the_largest_of_several_is_taken_and_told(folder):
    _, tree, load = folder
    before = load()
    tree["categories"].append({"id": 4, "name": "bird"})
    for category, box in ((3, [1, 1, 2, 2]), (3, [3, 3, 4, 5]), (4, [0, 0, 70, 70])):
        tree["annotations"].append({"id": 900, "image_id": 2, "category_id": category, "bbox": box})
    with pytest.raises(InputError, match=r"set data.category to one of airplane \(14\), bird \(1\)"):
        load()
    with pytest.raises(InputError, match="did you mean 'airplane'"):
        load(category="airplanes")
    data = load(category="airplane")
    np.testing.assert_array_equal(data.targets, before.targets)
    assert "1 picture(s) have several objects of airplane; the largest is the target" in data.notes
    bird = load(category="bird")
    assert len(bird) == 1 and "11 picture(s) have no bird and are not used" in bird.notes


def test_splits_that_come_with_the_data_are_honoured(folder):
    pictures, tree, load = folder
    for k, name in enumerate(["train"] * 7 + ["val"] * 2 + ["test"] * 3):
        entry = tree["images"][k]
        (pictures / name).mkdir(exist_ok=True)
        (pictures / entry["file_name"]).rename(pictures / name / entry["file_name"])
        entry["file_name"] = f"{name}/{entry['file_name']}"
    data = load()
    assert data.split.tolist() == [
        {"train": "train", "val": "validation", "test": "test"}[name.split("/")[0]] for name in data.names
    ]
    assert (data.split == "test").sum() == 3 and any("as they come with the data" in note for note in data.notes)


def test_a_missing_part_is_drawn_from_the_training_part(folder):
    pictures, tree, load = folder
    for k, entry in enumerate(tree["images"]):
        name = "train" if k < 8 else "val"
        (pictures / name).mkdir(exist_ok=True)
        (pictures / entry["file_name"]).rename(pictures / name / entry["file_name"])
        entry["file_name"] = f"{name}/{entry['file_name']}"
    data = load()
    counts = {split: int((data.split == split).sum()) for split in datasets.SPLITS}
    assert counts == {"train": 7, "validation": 4, "test": 1}
    assert all(name.startswith("val/") for name in data.names[data.split == "validation"])
    assert any("without a test part: 1 of the training part" in note for note in data.notes)


def test_voc_lists_and_yolo_folders_are_splits(planes, tmp_path):
    rows = list(edges(planes))
    yolo = [f"yolo/{part}/{kind}" for part in ("train", "test") for kind in ("images", "labels")]
    for sub in ("JPEGImages", "Annotations", "ImageSets/Main", *yolo):
        (tmp_path / sub).mkdir(parents=True)
    as_voc(rows, tmp_path / "Annotations")
    stems = [path.stem for path, *_ in rows]
    for name, part in (("train", stems[:8]), ("val", stems[8:9]), ("test", stems[9:11])):
        (tmp_path / f"ImageSets/Main/{name}.txt").write_text("\n".join(part))
    for path, *_ in rows:
        shutil.copy(path, tmp_path / "JPEGImages")
    data = datasets.load("boxes", tmp_path / "JPEGImages", labels=tmp_path / "Annotations", image_shape=SHAPE)
    assert data.names.tolist() == stems[:11] and data.split.tolist() == ["train"] * 8 + ["validation"] + ["test"] * 2
    assert any(note.startswith("1 sample(s) are in no list") for note in data.notes)
    (tmp_path / "ImageSets/Main/val.txt").write_text(stems[0])
    with pytest.raises(InputError, match=f"{stems[0]} is in two splits, train and validation"):
        datasets.load("boxes", tmp_path / "JPEGImages", labels=tmp_path / "Annotations", image_shape=SHAPE)

    as_yolo(rows, tmp_path / "yolo")
    for k, (path, *_) in enumerate(rows):
        part = "train" if k < 9 else "test"
        shutil.copy(path, tmp_path / f"yolo/{part}/images")
        (tmp_path / f"yolo/{path.stem}.txt").rename(tmp_path / f"yolo/{part}/labels/{path.stem}.txt")
    data = datasets.load("boxes", tmp_path / "yolo", image_shape=SHAPE)
    assert (data.split == "test").sum() == 3 and len(data) == 12 and data.class_names == ("airplane",)


# ----------------------------------------------------------------------------------------------
# What is wrong with the whole: one line


def set_in(tree, *path):
    *keys, last, value = path
    for key in keys:
        tree = tree[key]
    tree[last] = value


BAD_COCO = {
    "no object": (lambda t: t.clear(), "no COCO file: expected an object with the lists images"),
    "annotations no list": (lambda t: set_in(t, "annotations", {}), "no COCO file"),
    "categories a number": (lambda t: set_in(t, "categories", 1e308), "no COCO file"),
    "image without a file": (lambda t: t["images"][0].pop("file_name"), "an image has no id or no file_name"),
    "image of no id": (lambda t: set_in(t, "annotations", 1, "image_id", 77), "image_id 77, which no image has"),
    "category of no id": (lambda t: set_in(t, "annotations", 0, "category_id", 5), "category_id 5, which no"),
    "id a list": (lambda t: set_in(t, "annotations", 0, "image_id", [1]), r"the image_id \[1\], which no image has"),
    "two of one id": (lambda t: set_in(t, "images", 1, "id", 0), "two images have the id 0"),
    "nothing marked": (lambda t: set_in(t, "annotations", []), "marks no object"),
    "twice": (lambda t: set_in(t, "images", 1, "file_name", "image_0001.jpg"), "image_0001.jpg is marked twice"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_COCO)
def test_labels_that_cannot_be_used_are_one_line(folder, kind):
    _, tree, load = folder
    spoil, text = BAD_COCO[kind]
    spoil(tree)
    with pytest.raises(CotrainError, match=text) as raised:
        load()
    assert "\n" not in str(raised.value) and "coco.json" in str(raised.value)


BAD_MARKS = {
    "no area": ([5, 5, 0, 9], "the box has no area"),
    "negative": ([50, 50, -20, 9], "the box has no area"),
    "outside": ([50, 5, 900, 9], r"the box .* is not inside its image of \d+ x \d+ pixels"),
    "three numbers": ([5, 5, 9], r"annotation 8: bbox is \[5, 5, 9\], expected 4 numbers"),
    "text": (["a", 5, 9, 9], "expected 4 numbers"),
    "nothing": (None, "expected 4 numbers"),
    "large": ([10**400, 5, 9, 9], "expected 4 numbers|not inside"),
}


@pytest.mark.parametrize("kind", BAD_MARKS)
def test_a_bad_box_is_rejected_by_name(folder, kind):
    _, tree, load = folder
    tree["annotations"][1]["bbox"], text = BAD_MARKS[kind]
    data = load()
    (rejected,) = data.rejected
    assert len(data) == 11 and rejected.name == "image_0002"
    assert re.search(text, rejected.reason), rejected.reason


@pytest.mark.parametrize("name", ["../coco.json", "/etc/passwd", "..\\x.jpg", "pictures/../../x.jpg"])
def test_names_outside_the_folder_are_rejected(folder, name):
    _, tree, load = folder
    tree["images"][1]["file_name"] = name
    (rejected,) = load().rejected
    assert "outside the folder of pictures" in rejected.reason


def test_other_sizes_and_missing_pictures_are_rejected(folder):
    pictures, tree, load = folder
    tree["images"][0]["width"] += 1
    (pictures / "image_0002.jpg").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(pictures / "image_0003.jpg") as picture:
        picture.save(pictures / "image_0003.jpg", exif=exif)
    reasons = [r.reason for r in load().rejected]
    assert "the labels are for" in reasons[0] and reasons[1] == "the image is missing"
    assert "its EXIF orientation turns it" in reasons[2]


def write(tmp_path, **files):
    Image.new("L", (20, 10), 9).save(tmp_path / "a.png")
    Image.new("L", (20, 10), 9).save(tmp_path / "b.png")
    for name, text in files.items():
        path = tmp_path / "labels" / name.replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path / "labels"


XML = "<annotation><object><name>it</name><bndbox>{}</bndbox></object></annotation>"
BOX = "<xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>"
BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>' + XML.format("&y;")
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + XML.format("&x;")
GOOD_XML, GOOD_TXT = XML.format(BOX), "0 0.5 0.5 0.2 0.2\n"
BAD_FILES = {
    "XML bomb": ("xml", BOMB, "a document type or entities"),
    "external entity": ("xml", OUTSIDE, "a document type or entities"),
    "no XML": ("xml", "<annotation>", "the label is no XML"),
    "bytes": ("xml", b"\x00\xff\xfe", "the label is no XML"),
    "deep XML": ("xml", "<a>" * 100_000, "no XML|root is"),
    "another root": ("xml", "<svg/>", "its root is <svg>"),
    "no number": ("xml", XML.format("<xmin>2</xmin>"), "no number in bndbox/ymin"),
    "NaN": ("xml", XML.format(BOX.replace("9", "nan", 1)), "NaN or infinity"),
    "no name": ("xml", GOOD_XML.replace("it", " "), "no name"),
    "above 1": ("txt", "0 0.5 0.5 20 0.2\n", "line 1 has 20: YOLO's numbers are fractions"),
    "negative": ("txt", "0 -0.5 0.5 0.2 0.2\n", "line 1 has -0.5"),
    "not a number": ("txt", "0 nan 0.5 0.2 0.2\n", "line 1 has nan"),
    "words": ("txt", "cat 0.5 0.5 0.2 0.2\n", "line 1 holds no numbers"),
    "polygon": ("txt", "0 0.5 0.5 0.2 0.2 0.3 0.3\n", "line 1 has 7 values"),
    "sticks out": ("txt", "0 0.9 0.5 0.5 0.2\n", "is not inside its image"),
    "no UTF-8": ("txt", b"\xff\xfe0 0.5", "can't decode"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_label_file_is_rejected_by_name(tmp_path, kind):
    ending, bad, text = BAD_FILES[kind]
    good = GOOD_XML if ending == "xml" else GOOD_TXT
    labels = write(tmp_path, **{f"a_{ending}": good, f"b_{ending}": bad})
    data = datasets.load("boxes", tmp_path, labels=labels, image_shape=(4, 8))
    (rejected,) = data.rejected
    assert data.names.tolist() == ["a"] and rejected.name == "b"
    assert re.search(text, rejected.reason), rejected.reason
    assert "\n" not in str(rejected)


BAD_CSV = {
    "missing column": ("image,x0,y0,x1\na.png,1,1,5\n", "no column for y1"),
    "no header, too few": ("a.png,1,1\n", "no column for image, x0, y0, x1, y1"),
    "short row": ("image,x0,y0,x1,y1\na.png,1,1\n", "line 2: 3 values"),
    "no name": ("image,x0,y0,x1,y1\n,1,1,5,5\n", "line 2: no name"),
    "empty": ("", "is empty"),
    "no UTF-8": (b"\xff\xfe\x00", "no CSV in UTF-8"),
    "unknown split": ("image,x0,y0,x1,y1,split\na.png,1,1,5,5,later\n", "line 2: the split 'later'"),
    "two splits": ("image,x0,y0,x1,y1,split\na.png,1,1,5,5,train\na.png,2,2,5,5,test\n", "a.png is in two splits"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_CSV)
def test_a_csv_that_cannot_be_used_is_one_line(tmp_path, kind):
    text, reason = BAD_CSV[kind]
    labels = write(tmp_path, boxes_csv=text)
    with pytest.raises(InputError, match=reason) as raised:
        datasets.load("boxes", tmp_path, labels=labels / "boxes.csv", image_shape=(4, 8))
    assert "\n" not in str(raised.value) and "boxes.csv" in str(raised.value)


def test_json_that_is_none_or_nested_is_one_line(tmp_path):
    for text in ("{", "[" * 100_000, '{"images": NaN}', "\xff"):
        labels = write(tmp_path, boxes_json=text)
        with pytest.raises(CotrainError, match="boxes.json") as raised:
            datasets.load("boxes", tmp_path, labels=labels / "boxes.json", image_shape=(4, 8))
        assert "\n" not in str(raised.value)


def test_two_pictures_of_one_name_are_refused(tmp_path):
    labels = write(tmp_path, a_txt=GOOD_TXT)
    Image.new("L", (20, 10)).save(tmp_path / "a.JPG", format="JPEG")
    with pytest.raises(InputError, match=r"holds both a.JPG and a.png.*remove or rename one"):
        datasets.load("boxes", tmp_path, labels=labels, image_shape=(4, 8))


def test_names_in_capitals_are_read(tmp_path):
    labels = write(tmp_path, a_TXT=GOOD_TXT)
    (tmp_path / "a.png").unlink()
    Image.new("L", (20, 10)).save(tmp_path / "a.JPG", format="JPEG")
    assert len(datasets.load("boxes", tmp_path, labels=labels, image_shape=(4, 8))) == 1


def test_damaged_labels_only_give_our_errors(folder):
    """Bytes of each format, changed at random: a data set or one line."""
    pictures, tree, _ = folder
    rng = np.random.default_rng(0)
    rows = [(pictures / f"image_{k:04d}.jpg", 80, 150, [3, 40, 5, 90]) for k in range(1, 4)]
    place = pictures.parent / "spoilt"
    n_read = 0
    for kind, make in FORMATS.items():
        for _ in range(25):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            labels = make(rows, place)
            path = labels if labels.is_file() else sorted(labels.iterdir())[-1]
            data = bytearray(path.read_bytes())
            for where in rng.integers(0, len(data), 2):
                data[where] = int(rng.choice([rng.integers(256), *b'0"<,{}[]-e\n']))
            path.write_bytes(bytes(data))
            try:
                datasets.load("boxes", pictures, labels=labels, image_shape=(4, 8))
                n_read += 1
            except CotrainError as error:
                assert "\n" not in str(error), kind
    assert n_read > 10
