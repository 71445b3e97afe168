"""``cotrain init`` and ``cotrain inspect``: from a folder of files to an experiment, and a page to look at."""

import json
import re
import shutil

import numpy as np
import pytest
from cotrain.pipeline import datasets, experiment
from cotrain.pipeline.__main__ import main as cotrain
from cotrain.pipeline.commands import pace
from cotrain.pipeline.datasets import caltech101, hippocampus, synthetic
from cotrain.pipeline.datasets.guess import propose_size
from PIL import Image
from test_pipeline_boxes import FORMATS, edges
from test_pipeline_sources import classes_at, masks_at, mnist_at, save


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    return (
        synthetic.ensure(root, "planes", 14, 0, synthetic.plane_files),
        synthetic.ensure(root, "hippocampus", 5, 0, synthetic.hippocampus_files),
    )


def boxes_at(made, place, kind):
    (place / "images").mkdir(parents=True)
    for path in (made[0] / caltech101.IMAGES).iterdir():
        shutil.copy(path, place / "images")
    labels = place / "labels" if kind in ("voc", "yolo") else place
    labels.mkdir(exist_ok=True)
    FORMATS[kind](list(edges(made[0])), labels)
    return place


def init(place, output, *more):
    return cotrain(["init", str(place), "-o", str(output), *map(str, more)])


def load(output):
    settings = experiment.load(str(output)).data
    return settings, datasets.load_for(settings, output.parent, output.parent)


@pytest.mark.parametrize("kind", FORMATS)
def test_boxes_of_every_format_are_recognised(made, tmp_path, capsys, kind):
    here, there = tmp_path / "here", tmp_path / "there"
    boxes_at(made, here / "mine", kind)
    assert init(here / "mine", here / "my.toml") == 0
    settings, data = load(here / "my.toml")
    assert settings.name == "boxes" and len(data) == 14 and settings.category == "airplane"
    assert settings.invert  # the sky is bright
    said = capsys.readouterr().out
    assert "airplane (14)" in said and said.endswith(f"next: cotrain inspect {here / 'my.toml'}\n")
    here.rename(there)  # paths go with the folder
    assert len(load(there / "my.toml")[1]) == 14


def test_masks_volumes_classes_and_digits_are_recognised(made, tmp_path):
    masks_at(tmp_path / "masks", (0, 1, 3, 255))
    assert init(tmp_path / "masks", tmp_path / "m.toml") == 0
    settings, data = load(tmp_path / "m.toml")
    assert settings.classes == (1, 3) and data.task == "masks" and (settings.height, settings.width) == (24, 32)
    assert init(made[1] / hippocampus.FOLDER, tmp_path / "v.toml") == 0
    settings, data = load(tmp_path / "v.toml")
    assert settings.name == "volumes" and settings.classes == (1, 2) and not data.rejected
    assert init(classes_at(tmp_path / "zoo"), tmp_path / "c.toml") == 0
    settings, data = load(tmp_path / "c.toml")
    assert settings.channels == 3 and data.class_names == ("cat", "dog")
    mnist_at(tmp_path)
    assert init(tmp_path / "mnist", tmp_path / "d.toml") == 0
    settings, data = load(tmp_path / "d.toml")
    assert (settings.height, settings.width) == (28, 28) and len(data) == 60


def test_what_is_written_trains(made, tmp_path, capsys):
    boxes_at(made, tmp_path / "mine", "coco")
    assert init(tmp_path / "mine", tmp_path / "my.toml") == 0
    small = ["--set", "train.epochs=1", *SMALL]
    assert cotrain(["train", str(tmp_path / "my.toml"), *small, "--runs", str(tmp_path / "runs")]) == 0
    assert "train my: done" in capsys.readouterr().out


REFUSED = {
    "nothing": (lambda p: save(p / "mine/a.png", np.zeros((4, 4), np.uint8)), "1 files of .png, of which nothing"),
    "no folder": (lambda p: shutil.rmtree(p / "mine"), "no folder .*mine"),
    "one class": (lambda p: classes_at(p / "mine", names=("cat",)), "one class only"),
    "two kinds of labels": (
        lambda p: (masks_at(p / "mine"), (p / "mine/boxes.csv").write_text("p0.png,1,1,9,9,x\n")),
        "several labels: .*boxes.csv .boxes. and .*labels .masks.; choose with --labels",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_known_is_one_line_and_nothing_is_written(tmp_path, capsys, kind):
    (tmp_path / "mine").mkdir()
    spoil, text = REFUSED[kind]
    spoil(tmp_path)
    assert init(tmp_path / "mine", tmp_path / "my.toml") == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"cotrain: [^\n]*\n", error) and re.search(text, error), error
    assert not (tmp_path / "my.toml").exists()


def test_labels_are_chosen_and_files_are_not_replaced(tmp_path, capsys):
    masks_at(tmp_path / "mine")
    (tmp_path / "mine/boxes.csv").write_text("p0.png,1,1,9,9,x\np1.png,1,1,9,9,x\np2.png,1,1,9,9,x\n")
    assert init(tmp_path / "mine", tmp_path / "my.toml", "--labels", tmp_path / "mine/boxes.csv") == 0
    assert load(tmp_path / "my.toml")[0].name == "boxes"
    assert init(tmp_path / "mine", tmp_path / "my.toml", "--labels", tmp_path / "mine/labels") == 2
    assert "my.toml is there already" in capsys.readouterr().err
    assert init(tmp_path / "mine", tmp_path / "my.toml", "--labels", tmp_path / "mine/labels", "--force") == 0
    assert load(tmp_path / "my.toml")[0].name == "masks"
    assert init(tmp_path / "mine", tmp_path / "my.txt") == 2
    assert init(tmp_path / "mine", tmp_path / "no/my.toml", "--labels", tmp_path / "mine/labels") == 2
    assert init(tmp_path / "mine", tmp_path / "m.toml", "--model", tmp_path / "no.keras") == 2


def test_names_with_quotes_are_written_as_toml(tmp_path):
    place = tmp_path / 'my "best" \\ data'
    save(place / "images/a.png", np.zeros((20, 30), np.uint8))
    save(place / "images/b.png", np.ones((20, 30), np.uint8))
    (place / "boxes.csv").write_text('image,x0,y0,x1,y1,class\na.png,1,1,9,9,"cat ""x""\n#[y]"\nb.png,1,1,9,9,dog\n')
    assert init(place, tmp_path / "my.toml") == 0
    assert load(tmp_path / "my.toml")[0].category == 'cat "x"\n#[y]'


@pytest.mark.parametrize("area", [64 * 128, 64 * 64, 32 * 32])
def test_proposed_sizes_keep_the_aspect_ratio_and_can_be_halved(area):
    for height, width in ((164, 398), (240, 320), (1080, 1920), (3000, 2000), (32, 32), (10, 900), (28, 28)):
        found = propose_size(height, width, area)
        assert all(n % 8 == 0 and 16 <= n <= 256 for n in found) and found[0] * found[1] <= area
        if max(height, width) < 5 * min(height, width):
            assert 0.75 < found[0] / found[1] / (height / width) < 1.35


def test_pictures_of_a_camera_give_an_experiment_that_fits(tmp_path, capsys):
    """Three to four: what was proposed once needed 4,160 input axons of 4,096 in its first dense layer."""
    rng = np.random.default_rng(0)
    rows = ["image,x0,y0,x1,y1"]
    for i in range(10):
        x, y = rng.integers(0, 100, 2)
        picture = np.full((240, 320), 235, np.uint8)
        picture[y : y + 90, x : x + 120] = 60
        save(tmp_path / f"mine/images/{i}.png", picture)
        rows.append(f"{i}.png,{x},{y},{x + 120},{y + 90}")
    (tmp_path / "mine/boxes.csv").write_text("\n".join(rows))
    assert init(tmp_path / "mine", tmp_path / "my.toml") == 0
    capsys.readouterr()
    assert cotrain(["inspect", str(tmp_path / "my.toml"), "--quick", "--runs", str(tmp_path / "runs")]) == 0
    assert "next: cotrain train" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------
# inspect


@pytest.fixture
def mine(made, tmp_path):
    boxes_at(made, tmp_path / "mine", "coco")
    tree = json.loads((tmp_path / "mine/coco.json").read_text())
    tree["annotations"][1]["bbox"] = [5, 5, 0, 9]
    tree["images"][2]["file_name"] = "<script>alert(1)</script>.jpg"
    (tmp_path / "mine/images/image_0003.jpg").rename(tmp_path / "mine/images/script.jpg")
    (tmp_path / "mine/coco.json").write_text(json.dumps(tree))
    init(tmp_path / "mine", tmp_path / "my.toml")
    return tmp_path


SMALL = [
    "network.filters=[2, 2, 4]", "network.dense=[4]", "finetune.n_steps=8", "finetune.readout_steps=2",
    "data.height=16", "data.width=32",
]  # fmt: skip
SMALL = [word for change in SMALL for word in ("--set", change)]


def test_inspect_shows_counts_rejects_cores_and_minutes(mine, capsys, monkeypatch):
    monkeypatch.setattr(pace, "STEPS_S", 0.1)
    runs = mine / "runs"
    rows = 'deploy.models=["constant", "ann", "loihi-hybrid"]'  # without NengoDL's spikes, which take long to build
    more = ["--runs", str(runs), "--json", str(mine / "facts.json"), "--set", rows, *SMALL]
    assert cotrain(["inspect", str(mine / "my.toml"), *more]) == 0
    said = capsys.readouterr().out
    assert "12 samples" in said and "2 not used" in said and "the box has no area" in said
    assert f"next: cotrain train {mine / 'my.toml'} --set" in said and f"--runs {runs}" in said
    facts = json.loads((mine / "facts.json").read_text())
    assert facts["data"]["splits"] == {"train": 10, "validation": 1, "test": 1}
    assert facts["network"]["fits"] and facts["network"]["cores"] >= 1 and facts["network"]["input_spikes_max"] > 0
    assert [one["stage"] for one in facts["minutes"]] == ["train", "finetune", "deploy"]
    assert all(one["minutes"] > 0 for one in facts["minutes"])
    page = (runs / "my/inspect.html").read_text()
    assert page.count("<image ") == 12 and page.count("<script") == 1 and "&lt;script&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)  # fetches nothing
    assert sorted(p.name for p in (runs / "my").iterdir()) == ["inspect.html"]


def test_inspect_says_what_does_not_fit(mine, capsys):
    large = ["--set", "quantize.board=kapoho_bay", "--set", "network.filters=[64, 64, 64]", "--quick"]
    assert cotrain(["inspect", str(mine / "my.toml"), "--runs", str(mine / "runs"), *large]) == 0
    said = capsys.readouterr().out
    assert "does not fit kapoho_bay" in said and "next: make the network smaller" in said
    assert "It does not fit kapoho_bay" in (mine / "runs/my/inspect.html").read_text()


def test_inspect_refuses_what_train_would(mine, capsys):
    assert cotrain(["inspect", str(mine / "my.toml"), "--set", "network.name=cae", "--quick"]) == 2
    assert cotrain(["inspect", str(mine / "my.toml"), "--set", "train.loss=bce-dice", "--quick"]) == 2
    assert not (mine / "runs").exists()
    assert all(line.startswith("cotrain: ") for line in capsys.readouterr().err.splitlines())


def test_slices_and_classes_are_shown(made, tmp_path):
    init(made[1] / hippocampus.FOLDER, tmp_path / "v.toml")
    classes_at(tmp_path / "zoo", n=12)
    init(tmp_path / "zoo", tmp_path / "c.toml")
    for name, text in (("v", "hippocampus_00"), ("c", "cat")):
        small = ["--set", "network.filters=[4, 4, 4]"] if name == "v" else ["--set", "network.filters=[4, 4, 4, 4]"]
        assert cotrain(["inspect", str(tmp_path / f"{name}.toml"), "--runs", str(tmp_path), "--quick", *small]) == 0
        page = (tmp_path / name / "inspect.html").read_text()
        assert text in page and page.count("<image ") >= 5
    assert Image.MAX_IMAGE_PIXELS is not None
