"""Every command in a ```bash block of the documentation runs, as it is printed and in the order of the pages.

On few and small pictures, with few epochs: `experiment.load` adds settings. Commands that need a cluster, a board or a
download stand in ```text blocks and are only parsed (test_docs.py).
"""

import glob
import json
import os
import re
import shlex
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_models
import pytest
from cotrain.pipeline import experiment
from cotrain.pipeline.__main__ import main
from cotrain.pipeline.sweeps import workers
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = re.findall(r"(\S+\.md)", (ROOT / "mkdocs.yml").read_text())  # in their order
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.S)
SMALL = [
    "train.backend=tensorflow", "train.epochs=2", "train.warmup_epochs=0", "finetune.backend=tensorflow",
    "finetune.epochs=1", "finetune.n_steps=16", "finetune.readout_steps=6", "finetune.epoch_samples=32",
    'deploy.models=["constant", "ann", "loihi-converted", "loihi-hybrid"]', "deploy.n_bootstrap=50",
    "submission.n_samples=2",
]  # fmt: skip
OF = {
    "locnet": ["data.height=16", "data.width=32", "network.filters=[2, 4]", "network.dense=[8]"],
    "cae": ["network.filters=[2, 4]"],
    "convnet": [],
    "model": [],
}


def commands() -> list:
    found = []
    for page in PAGES:
        for i, (language, text) in enumerate(BLOCK.findall((DOCS / page).read_text())):
            lines = [shlex.split(line, comments=True) for line in text.splitlines()] if language == "bash" else []
            found += [pytest.param(words[1:], id=f"{page[:-3]}-{i}-{words[1]}") for words in lines
                      if words[:1] == ["cotrain"]]  # fmt: skip
    return found


@contextmanager
def alone(*_, **__):
    """In place of worker processes, which would not know of the small settings."""
    yield workers.Pool()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader would be: with pictures, a model, a network, the files that the pages show, the demo's runs."""
    root = tmp_path_factory.mktemp("reader")
    (root / "pictures").mkdir()
    rng, images, marks = np.random.default_rng(0), [], []
    for i in range(30):
        x, y, w, h = rng.integers(2, 20), rng.integers(2, 8), rng.integers(8, 30), rng.integers(5, 16)
        picture = np.full((32, 64), 20, np.uint8)
        picture[y : y + h, x : x + w] = 220
        Image.fromarray(picture).save(root / "pictures" / f"{i:02}.png")
        images.append({"id": i, "file_name": f"{i:02}.png", "width": 64, "height": 32})
        marks.append({"id": i, "image_id": i, "category_id": 1, "bbox": [int(v) for v in (x, y, w, h)]})
    coco = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "patch"}]}
    (root / "labels.json").write_text(json.dumps(coco))
    g = onnx_models.Graph((1, 16, 32), seed=0)
    x = g.node("Relu", g.conv("input", 1, 3, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1]))
    x = g.node("Relu", g.conv(x, 3, 4, (2, 2), strides=[2, 2]))
    x = g.node("Gemm", g.node("Flatten", x), g.random(4 * 4 * 8, 4), g.random(4, size=0.1))
    onnx.save(g.model(x, [4]), root / "mine.onnx")
    python = [text for language, text in BLOCK.findall((DOCS / "python.md").read_text()) if language == "python"]
    (network,) = [text for text in python if "with nengo.Network" in text]
    body = network.replace("\n", "\n    ")
    (root / "my_network.py").write_text(f"def build():\n    {body}\n    return net\n")
    for page in PAGES:
        for language, text in BLOCK.findall((DOCS / page).read_text()):
            if language == "json":
                (root / "counts.json").write_text(text)
    (root / "docs" / "sweeps").mkdir(parents=True)
    sweep = re.sub(r"(?m)^trials = \d+", "trials = 2", (DOCS / "sweeps" / "rates.toml").read_text())
    (root / "docs" / "sweeps" / "rates.toml").write_text(sweep)
    before, load, pool = os.getcwd(), experiment.load, workers.pool

    def small(name, overrides=()):
        plain = load(name, overrides)
        changes = [*SMALL, *OF[plain.network.name]]
        if plain.data.name.startswith("synthetic-"):
            changes.append(f"data.n_groups={8 if plain.network.name == 'cae' else 40}")
        return load(name, [*changes, *(overrides or ())])

    os.chdir(root)
    experiment.load, workers.pool = small, alone
    try:
        for verb in ("train", "finetune", "deploy", "report"):
            assert main([verb, "demo-locnet", "demo-cae", "--quiet"]) == 0
        yield root
    finally:
        experiment.load, workers.pool = load, pool
        os.chdir(before)


@pytest.mark.parametrize("words", commands())
def test_command(words, folder, capsys):
    given = [path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])]
    assert main(given) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    whole = ("/", "cotrain ")  # paths and commands, for programs that read
    assert told and all(len(line) <= 80 for line in told.splitlines() if not any(word in line for word in whole))
    for option, file in zip(words, words[1:], strict=False):
        if option in ("--json", "-o"):
            assert (folder / file).stat().st_size > 100


def test_pages_have_commands():
    assert len(commands()) >= 20
