"""The ceiling's lines in a report, where they belong and where they do not, and the tool that measures one."""

from __future__ import annotations

import copy
import dataclasses
import fnmatch
import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import synthetic_run
from cotrain.pipeline import datasets, experiment, report
from cotrain.pipeline.evaluation import ceilings
from cotrain.pipeline.evaluation.evaluate import evaluate
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.tasks import network_for, task_of

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import ceiling as tool  # noqa: E402

WHAT = "plain Keras, a network of this test"
TINY_BOXES = (
    "data.height=16", "data.width=32", "data.n_groups=30", 'network.name="convnet"', "network.filters=[4, 8]",
    "network.strides=[2, 2]", "network.dense=[8]", "train.epochs=2", "train.batch_size=8", "train.learning_rate=0.01",
)  # fmt: skip
BOXES_NETWORK = {"filters": (4, 8), "strides": (2, 2), "dense": (8,), "dropout": 0.1}
TINY_MASKS = (
    "data.n_groups=12", "data.neighbours=1", "train.epochs=1")  # fmt: skip


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return synthetic_run.make(tmp_path_factory.mktemp("runs"), "demo-locnet")


@pytest.fixture(scope="module")
def inputs(context):
    return report.load(context)


def measured(inputs, seeds=(0, 1), away=0.03):
    """A ceiling of a run's data: `away` above its loihi-hybrid row in every image, more with every seed."""
    values = inputs.predictions["loihi-hybrid/group_values"] + away
    found = ceilings.digest(*(inputs.predictions[key] for key in ("targets", "names", "groups")))
    shifted = {k: v for k, v in inputs.metrics["protocols"]["shifted"].items() if k != "rows"}

    def scores(add):
        return {"value": float(np.mean(values + add)), "group_values": (values + add).tolist()}

    return {
        "ceiling": "test", "what": WHAT, "task": "boxes", "metric": "iou", "protocols": {"shifted": shifted},
        "data": ceilings.data_of(inputs.settings["data"], inputs.metrics["dataset"], found), "recipe": {},
        "rows": [
            {"seed": s, "validation": 0.9, **scores(0.01 * s), "protocols": {"shifted": scores(0.01 * s - 0.1)}}
            for s in seeds
        ],
    }  # fmt: skip


@pytest.fixture
def known(monkeypatch, tmp_path):
    """Have the package know the ceilings that are handed to it."""
    path = tmp_path / "known.json"
    monkeypatch.setattr(ceilings, "FILE", path)

    def write(*entries):
        entries = json.loads(json.dumps(entries))
        artifacts.write_json(path, {"schema": ceilings.SCHEMA, "ceilings": entries})

    write()
    return write


def test_it_stands_beside_the_rows_that_were_run_and_not_among_them(inputs, known):
    plain = report.build_document(inputs)
    assert plain["ceiling"] == [] and "ceiling" not in report.render_markdown(report.build_page(plain, inputs)).decode()
    known(measured(inputs))
    document = report.build_document(inputs)
    assert document["metrics"] == plain["metrics"]
    assert document["decision"] == plain["decision"] and document["verdict"] == plain["verdict"]
    (one,) = json.loads(json.dumps(document))["ceiling"]
    chip = next(row["value"] for row in inputs.metrics["rows"] if row["model"] == "loihi-hybrid")
    assert one["value"] == pytest.approx(chip + 0.035) and one["seeds"] == [0, 1]
    assert one["ci95"][0] < one["value"] < one["ci95"][1]
    # every image is as far away as any other: the paired interval has no width
    assert one["against"]["model"] == "loihi-hybrid"
    assert [one["against"]["difference"], *one["against"]["ci95"]] == pytest.approx([-0.035] * 3)
    page = report.build_page(document, inputs)
    markdown, html = report.render_markdown(page).decode(), report.render_html(page).decode()
    lines = [line for line in markdown.splitlines() if f"ceiling: {WHAT}" in line]
    assert len(lines) == 2 and all(WHAT in part for part in (html, markdown))  # all rows, and those that are moved
    assert f"| {chip + 0.035:.4f} |" in lines[0] and "not on the chip, not run here" in lines[0]
    assert lines[0].endswith(f"mean of seeds 0, 1: {chip + 0.03:.4f}, {chip + 0.04:.4f} |")
    assert f"| {chip - 0.065:.4f} |" in lines[1] and lines[1].endswith("| −10.0 |")
    assert "loihi-hybrid against it: −3.5 points (95 % CI −3.5 to −3.5, paired)" in markdown
    table = page.lead[2]
    assert table.rows[-1][0] == f"ceiling: {WHAT}" and len(table.rows) - 1 in table.muted


def test_what_the_chip_has_passed_is_no_ceiling(inputs, known):
    known(measured(inputs, away=-0.05))
    document = report.build_document(inputs)
    assert document["ceiling"][0]["against"]["difference"] > 0
    markdown = report.render_markdown(report.build_page(document, inputs)).decode()
    assert f"ceiling: {WHAT}" not in markdown.lower() and markdown.count(f"reference: {WHAT}") == 2
    assert f"> Reference: {WHAT}" in markdown


def test_one_seed_and_the_better_one_first(inputs, known):
    low = {**measured(inputs, seeds=(3,)), "ceiling": "low", "what": "low"}
    high = {**measured(inputs, seeds=(3,)), "ceiling": "high", "what": "high"}
    low["rows"][0]["validation"] = 0.8
    known(low, high)
    document = report.build_document(inputs)
    assert [one["what"] for one in document["ceiling"]] == ["high", "low"]
    assert "; seed 3)" in report.render_markdown(report.build_page(document, inputs)).decode()


def other(**changes):
    return lambda entry: {**entry, "data": {**entry["data"], **changes}}


@pytest.mark.parametrize(
    "change",
    [
        other(name="caltech101-airplanes"), other(height=64), other(split_seed=1), other(n_slices=5), other(n_train=9),
        other(test_digest="0" * 64), lambda entry: {**entry, "task": "masks", "metric": "dice"},
        lambda entry: {**entry, "rows": []},
    ],
)  # fmt: skip
def test_other_data_have_another_ceiling(inputs, known, change):
    known(change(measured(inputs)))
    assert report.build_document(inputs)["ceiling"] == []


def test_the_samples_decide_and_not_the_experiment(inputs, known):
    """Another experiment on the same data has the same ceiling; a target that moved, or fewer samples, has none."""
    known(measured(inputs))
    settings = copy.deepcopy(inputs.settings)
    settings["data"]["neighbours"], settings["network"]["filters"] = 2, [4, 4, 4]
    renamed = dataclasses.replace(inputs, experiment="mine", settings=settings)
    assert len(report.build_document(renamed)["ceiling"]) == 1
    targets = inputs.predictions["targets"].copy()
    targets[0, 0] += 0.01
    moved = dataclasses.replace(inputs, predictions={**inputs.predictions, "targets": targets})
    fewer = {key: v[:20] for key, v in inputs.predictions.items()}
    for one in (moved, dataclasses.replace(inputs, predictions=fewer), dataclasses.replace(inputs, predictions={})):
        assert report.build_document(one)["ceiling"] == []


def test_a_protocol_of_another_size_is_left_out(inputs, known):
    entry = measured(inputs)
    entry["protocols"]["shifted"] = {**entry["protocols"]["shifted"], "shift_fraction": 0.04}
    known(entry)
    document = report.build_document(inputs)
    assert document["ceiling"][0]["protocols"] == {}
    assert report.render_markdown(report.build_page(document, inputs)).decode().count(f"ceiling: {WHAT}") == 1


def test_a_report_is_made_again_when_a_ceiling_was_measured(context, inputs, known, monkeypatch):
    monkeypatch.setitem(context.__dict__, "dataset_digest", "of no interest")
    before = context.key()
    known(measured(inputs))
    assert context.key() != before


def test_what_comes_with_the_package():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    inside = ceilings.FILE.relative_to(ceilings.FILE.parents[1]).as_posix()
    assert any(fnmatch.fnmatch(inside, pattern) for pattern in patterns["cotrain.pipeline"])
    found = ceilings.read()
    assert found["schema"] == ceilings.SCHEMA
    for one in found["ceilings"]:
        assert set(one["data"]) == {*ceilings.SETTINGS, *ceilings.COUNTS, "test_digest"}
        assert one["metric"] == task_of(one["task"]).metric and one["rows"]
        made = tool.CEILINGS[one["ceiling"]]
        settings = experiment.load(made.experiment, list(made.changes))
        assert made.what == one["what"] and settings.data.name == one["data"]["name"]
        assert {key: one["recipe"][key] for key in made.options} == json.loads(json.dumps(made.options))
        assert one["recipe"]["learning_rate"] == settings.train.learning_rate
        for row in one["rows"]:
            for scores in (row, *row["protocols"].values()):
                assert scores["value"] == pytest.approx(np.mean(scores["group_values"]), abs=1e-6)
            assert set(row["protocols"]) == set(one["protocols"])


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The tool with small networks on data that are drawn; a function that runs it and returns what it wrote."""
    small = {
        "boxes": tool.Ceiling("demo-locnet", "boxes", tool.convnet, BOXES_NETWORK, TINY_BOXES),
        "masks": tool.Ceiling("demo-cae", "masks", tool.unet, {"filters": (4, 6, 8)}, TINY_MASKS),
    }
    monkeypatch.setattr(tool, "CEILINGS", small)

    def run(name, *more):
        out, work = tmp_path / "out.json", tmp_path / "work"
        tool.main([name, "--data", str(tmp_path), "--out", str(out), "--work", str(work), *more])
        return ceilings.read(out)["ceilings"]

    return run


def constant_on(name, changes, folder):
    """What a comparison on the same data writes, of the constant predictor alone."""
    settings = experiment.load(name, [*changes, 'deploy.models=["constant"]'])
    dataset = datasets.load_for(settings.data, folder, folder / "drawn")
    scored = dataset.subset("test")
    constant = task_of(dataset.task).constant(dataset.subset("train"))
    found = evaluate(settings, network_for(settings.network, dataset), {}, constant, scored, say=lambda _: None)
    found.metrics["dataset"] = datasets.describe(dataset, len(scored))
    return settings.resolved(), found.metrics, found.predictions


def test_the_tool_measures_what_the_report_then_shows(tiny, tmp_path, known, capsys):
    (first,) = tiny("boxes", "--seeds", "0")
    (row,) = first["rows"]
    assert 0 < row["value"] < 1 and set(row["protocols"]) == {"shifted"}
    found = tiny("boxes", "--seeds", "0", "1")
    assert "seed 0: in" in capsys.readouterr().out
    assert found[0]["rows"][0] == row and [one["seed"] for one in found[0]["rows"]] == [0, 1]
    assert found[0]["rows"][1]["value"] != row["value"]
    assert not [path for path in (tmp_path / "work").iterdir() if path.name.startswith("boxes")]
    known(*found)
    run = constant_on("demo-locnet", TINY_BOXES, tmp_path)
    (shown,) = ceilings.beside(*run)
    assert shown["values"] == [one["value"] for one in found[0]["rows"]] and shown["against"] is None
    assert list(shown["protocols"]) == ["shifted"]
    assert ceilings.beside(*constant_on("demo-locnet", [*TINY_BOXES, "data.split_seed=3"], tmp_path)) == []
    out, (entry,) = tmp_path / "out.json", found
    tool.add(out, {**entry, "recipe": {"epochs": 3}, "rows": []}, row)  # another recipe: the old rows are gone
    assert [one["seed"] for one in ceilings.read(out)["ceilings"][0]["rows"]] == [0]


def test_the_tool_on_neighbouring_slices(tiny, tmp_path, known):
    (found,) = tiny("masks")
    assert found["recipe"]["input"] == [32, 32, 3] and 0 <= found["rows"][0]["value"] <= 1
    known(found)
    one_slice = [change for change in TINY_MASKS if "neighbours" not in change]
    (shown,) = ceilings.beside(*constant_on("demo-cae", one_slice, tmp_path))
    assert shown["value"] == found["rows"][0]["value"]
    assert len(found["rows"][0]["group_values"]) == 1  # a tenth of the volumes; slices of one are scored together


def test_the_networks_are_plain_keras_and_keep_what_was_best(tmp_path, tiny):
    """Ordinary layers; parameters with the targets' scale folded in answer as the standardised ones restored."""
    allowed = {
        "InputLayer", "Conv2D", "Conv2DTranspose", "BatchNormalization", "ReLU", "MaxPooling2D", "Concatenate",
        "Flatten", "Dropout", "Dense",
    }  # fmt: skip
    for name, made in tool.CEILINGS.items():
        settings = experiment.load(made.experiment, list(made.changes))
        dataset = datasets.load_for(settings.data, tmp_path, tmp_path)
        trial = tool.Trial(name, settings, dataset)
        backend, scaler = trial.backend, trial.job.scaler
        assert {type(layer).__name__ for layer in backend.model.layers} <= allowed
        images, targets = dataset.images[:8], scaler.standardise(dataset.targets[:8]).astype(np.float32)
        losses = [backend.train_step(images, targets, 0.01).loss for _ in range(12)]
        assert losses[-1] < losses[0]
        state, standard = backend.state(), backend.predict(images)
        backend.load(scaler.fold(backend.params()))
        np.testing.assert_allclose(backend.predict(images), scaler.restore(standard), atol=1e-4)
        backend.train_step(images, targets, 0.01)
        backend.restore(state)
        np.testing.assert_array_equal(backend.predict(images), standard)
        backend.close()
