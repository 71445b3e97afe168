"""Data as strangers have them, for the fuzz of readers: pictures, volumes, labels, class files."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
from fuzz.spoil import Seeds


def drawn(shape=(9, 14), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


# --- pictures


def pictures(folder: Path) -> Seeds:
    from PIL import Image

    grey, colour = Image.fromarray(drawn()), Image.fromarray(drawn((9, 14, 3)))
    palette, fine = grey.convert("P"), Image.fromarray(drawn().astype(np.uint16) * 257)
    float_ = Image.fromarray(np.linspace(0, 1, 126, dtype=np.float32).reshape(9, 14))
    alpha = Image.fromarray(np.dstack([drawn((9, 14, 3)), np.full((9, 14), 255, np.uint8)]))
    exif = Image.Exif()
    exif[0x0112] = 6
    made = [
        ("a.jpg", grey, {}),
        ("a.jpeg", colour, {"exif": exif}),
        ("a.jpg", colour, {"progressive": True}),
        ("a.png", grey, {}),
        ("a.png", palette, {"transparency": 3}),
        ("a.png", fine, {}),
        ("a.png", alpha, {}),
        ("a.bmp", colour, {}),
        ("a.bmp", palette, {}),
        ("a.tif", fine, {"compression": "tiff_lzw"}),
        ("a.tif", colour, {"compression": "tiff_deflate"}),
        ("a.tif", float_, {}),
        ("a.tiff", grey, {"compression": "packbits"}),
        ("a.webp", colour, {}),
        ("a.webp", alpha, {"lossless": True}),
        ("a.ppm", colour, {}),
        ("a.pgm", grey, {}),
    ]
    return [(name, _saved(picture, name, options)) for name, picture, options in made]


def label_images(folder: Path) -> Seeds:
    from PIL import Image

    grey, fine = Image.fromarray(drawn()), Image.fromarray(drawn().astype(np.uint16) * 257)
    whole = Image.fromarray(drawn().astype(np.float32))
    made = [
        ("m.png", grey, {}),
        ("m.png", grey.convert("P"), {}),
        ("m.png", grey.convert("1"), {}),
        ("m.png", fine, {}),
        ("m.tif", fine, {"compression": "tiff_lzw"}),
        ("m.tif", whole, {}),
        ("m.bmp", grey, {}),
        ("m.pgm", grey, {}),
    ]
    return [(name, _saved(picture, name, options)) for name, picture, options in made]


def _saved(picture, name: str, options) -> bytes:
    kinds = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "tiff": "TIFF", "ppm": "PPM", "pgm": "PPM"}
    buffer, ending = io.BytesIO(), name.rpartition(".")[2]
    picture.save(buffer, kinds.get(ending, ending.upper()), **options)
    return buffer.getvalue()


def read_picture(path: Path):
    from cotrain.pipeline.datasets.pictures import read_picture

    made = read_picture(path, (8, 12), channels=3)
    assert made.image.shape == (8, 12, 3) and 0 <= made.image.min() and made.image.max() <= 1


def read_mask(path: Path):
    from cotrain.pipeline.datasets.pictures import check_size, read_labels

    labels = read_labels(path)
    assert labels.dtype == np.int32 and labels.shape == check_size(path)


# --- MATLAB, NIfTI


def mats(folder: Path) -> Seeds:
    import scipy.io
    import scipy.sparse

    box, contour = np.array([[30, 137, 49, 349]], np.uint16), np.random.default_rng(0).random((2, 9))
    trees = (
        {"box_coord": box, "obj_contour": contour},
        {"box_coord": scipy.sparse.csc_matrix(box.astype(float)), "obj_contour": contour},
        {"box_coord": box.astype(float), "s": {"a": 1}, "c": np.array([[1, "x"]], object), "t": "text", "l": box > 40},
    )
    out = []
    for k, tree in enumerate(trees):
        for packed in (True, False):
            buffer = io.BytesIO()
            scipy.io.savemat(buffer, tree, do_compression=packed)
            out.append((f"{k}.mat", buffer.getvalue()))
    return out


def read_mat(path: Path):
    from cotrain.pipeline.datasets.matfile import read_mat

    return read_mat(path)


def volumes(folder: Path) -> Seeds:
    import nibabel

    rng, out = np.random.default_rng(0), []
    for dtype, shape in (("f4", (5, 6, 7)), ("u1", (5, 6, 7)), ("i2", (4, 5, 6, 2)), ("f8", (3, 4, 5))):
        volume = nibabel.Nifti1Image(np.rint(rng.random(shape) * 9).astype(dtype), np.diag([1.0, 1.0, 2.0, 1.0]))
        data = volume.to_bytes()
        out += [("v.nii", data), ("v.nii.gz", gzip.compress(data, 6, mtime=0))]
    return out


def read_volume(path: Path):
    from cotrain.pipeline.datasets import volumes
    from cotrain.pipeline.datasets.nifti import read_volume

    if read_volume(path, "label").array.ndim == 3:
        volumes.read_pair([path], path)


# --- labels of boxes: whole data sets of three pictures


def three_pictures(folder: Path) -> None:
    from PIL import Image

    (folder / "pictures").mkdir(parents=True)
    for k in range(3):
        Image.fromarray(drawn((20, 30), k)).save(folder / "pictures" / f"p{k}.png")


def cocos(folder: Path) -> Seeds:
    tree = {
        "images": [{"id": k, "file_name": f"p{k}.png", "width": 30, "height": 20} for k in range(3)],
        "annotations": [
            {"id": 5 + k, "image_id": k, "category_id": 1, "bbox": [2 + k, 3, 10, 8.5], "iscrowd": 0} for k in range(3)
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    return [("coco.json", json.dumps(tree).encode())]


def csvs(folder: Path) -> Seeds:
    rows = "".join(f"p{k}.png,{2 + k},3,12,11.5,thing\n" for k in range(3))
    other = rows.replace(",", ";").replace("thing", "train")
    return [
        ("a.csv", f"image,x0,y0,x1,y1,class\n{rows}".encode()),
        ("a.csv", rows.encode()),
        ("a.csv", f"\ufeffFilename;Left;Top;Right;Bottom;Split\n{other}".encode()),
    ]


def vocs(folder: Path) -> Seeds:
    box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>11</ymax></bndbox>"
    size = "<size><width>30</width><height>20</height><depth>1</depth></size>"
    start = '<?xml version="1.0"?>\n<annotation><filename>p0.png</filename>'
    text = f"{start}{size}\n<object><name>thing</name>{box}</object>\n"
    evil = '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d SYSTEM "file:///etc/passwd">]>\n'
    return [
        ("voc/p0.xml", f"{text}</annotation>".encode()),
        ("voc/p0.xml", (evil + text.partition("\n")[2] + "</annotation>").encode()),
    ]


def yolos(folder: Path) -> Seeds:
    (folder / "yolo").mkdir(exist_ok=True)
    (folder / "yolo" / "p1.txt").write_text("0 0.5 0.5 0.25 0.3\n")
    return [
        ("yolo/p0.txt", b"0 0.5 0.5 0.25 0.3\n0 0.4 0.4 0.1 0.1\n"),
        ("yolo/classes.txt", b"thing\nother\n"),
        ("yolo/data.yaml", b"path: .\nnames:\n  0: thing\n  1: other\n"),
        ("yolo/data.yaml", b"names: [thing, 'other']\n"),
    ]


def read_boxes(path: Path):
    from cotrain.pipeline import datasets

    labels = path.parent if path.parent.name in ("voc", "yolo") else path
    pictures = next(p for p in (path.parent / "pictures", path.parent.parent / "pictures") if p.is_dir())
    try:
        return datasets.load("boxes", pictures, labels=labels, image_shape=(8, 12))
    finally:
        if path.name.startswith(("classes", "data")):
            path.unlink()  # the next seed is another list of names


# --- class files


def idxs(folder: Path) -> Seeds:
    images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (3, 5, 4)) + drawn((3, 5, 4)).tobytes()
    labels = b"\0\0\x08\x01" + (3).to_bytes(4, "big") + bytes([1, 2, 3])
    (folder / "idx").mkdir(exist_ok=True)
    (folder / "idx" / "train-images-idx3-ubyte").write_bytes(images)
    (folder / "idx" / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    (folder / "idx" / "t10k-images-idx3-ubyte").write_bytes(images[:16] + images[:15:-1])
    return [
        ("idx/train-labels-idx1-ubyte", labels),
        ("idx2/train-images-idx3-ubyte", images),
        ("idx3/train-images-idx3-ubyte.gz", gzip.compress(images, mtime=0)),
    ]


def read_classes(path: Path):
    from cotrain.pipeline import datasets
    from cotrain.pipeline.datasets.idx import read_cifar, read_idx

    if path.suffix == ".bin":
        return read_cifar(path)
    if path.parent.name == "idx":
        return datasets.load("classes", path.parent, image_shape=(5, 4))
    return read_idx(path)


def cifars(folder: Path) -> Seeds:
    return [("data_batch_1.bin", b"".join(bytes([k]) + drawn((3072,)).tobytes() for k in range(3)))]


# --- JSON that belongs to volumes, manifests, results, counts, reports


def volume_jsons(folder: Path) -> Seeds:
    first = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "front": 1, "back": 2}, "numTraining": 2}
    second = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "front", "2": "back"}}
    return [
        ("dataset.json", json.dumps(first).encode()),
        ("dataset.json", json.dumps(second).encode()),
        ("splits_final.json", json.dumps([{"train": ["v1", "v2"], "val": ["v3"]}]).encode()),
    ]


def two_volumes(folder: Path) -> None:
    import nibabel

    rng = np.random.default_rng(0)
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
        for k in (1, 2, 3):
            image = rng.random((4, 5, 3)) * 9 if kind == "imagesTr" else (rng.random((4, 5, 3)) * 3)
            array = image.astype("f4" if kind == "imagesTr" else "u1")
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / kind / f"v{k}.nii")


def read_volume_folder(path: Path):
    from cotrain.pipeline import datasets

    try:
        return datasets.load("volumes", path.parent, image_shape=(8, 8))
    finally:
        path.unlink()
