"""``cotrain explore``: steps x rate scale on the chip's integers; deployment with other steps than fine-tuned for."""

from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import experiment
from cotrain.pipeline.__main__ import main
from cotrain.pipeline.evaluation import explore, shards
from cotrain.pipeline.networks import spec_for
from cotrain.pipeline.report.sections import explored
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.folder import RunFolder
from cotrain.pipeline.sweeps.workers import Pool
from PIL import Image
from small_training import TINY

NAME = "demo-locnet"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Stages train and finetune as they leave them, with parameters that were drawn, not trained."""
    folder = tmp_path_factory.mktemp("runs")
    settings = experiment.load(NAME, TINY[1::2])
    spec = spec_for(settings.network, (settings.data.height, settings.data.width, 1))
    for stage, seed in (("train", 1), ("finetune", 2)):
        made = RunFolder(folder / NAME / stage, stage)
        made.begin()
        artifacts.write_npz(made.part / artifacts.PARAMS, spec.init_params(seed))
        made.finish({"settings": {}}, [artifacts.PARAMS], 1.0)
    return folder


def cotrain(*arguments):
    return main([str(a) for a in arguments])


def test_the_grid_is_what_evaluate_counts_at_the_same_point(runs, tmp_path, capsys):
    found = tmp_path / "explored.json"
    grid = ("--steps", "8,20", "--rates", "100,200", "--split", "test", "--limit", "0")
    assert cotrain("explore", NAME, "--runs", runs, *grid, "--json", found, *TINY) == 0
    told = capsys.readouterr().out
    result = json.loads(found.read_text())
    assert [(row["n_steps"], row["rate_scale_hz"]) for row in result["rows"]] == [
        (8, 100), (20, 100), (8, 200), (20, 200),
    ]  # fmt: skip
    assert [row["trained"] for row in result["rows"]] == [False, False, False, True]
    evaluated = tmp_path / "evaluated.json"
    for row in result["rows"]:
        changes = (
            "--set", f"finetune.n_steps={row['n_steps']}", "--set", f"finetune.readout_steps={row['readout_steps']}",
            "--set", f"neurons.rate_scale_hz={row['rate_scale_hz']}",
        )  # fmt: skip
        assert cotrain(
            "evaluate", NAME, "--runs", runs, "--params", "run", "--models", "loihi-hybrid", "--json", evaluated,
            *TINY, *changes,
        ) == 0  # fmt: skip
        metrics = json.loads(evaluated.read_text())
        theirs = next(r for r in metrics["rows"] if r["model"] == "loihi-hybrid")
        moved = next(r for r in metrics["protocols"]["shifted"]["rows"] if r["model"] == "loihi-hybrid")
        assert (row["value"], row["unmoved"]) == (moved["value"], theirs["value"])
        assert row["mean_rate_hz"] == moved["mean_rate_hz"]
    more = {(row["n_steps"], row["rate_scale_hz"]): row["spikes_per_inference"] for row in result["rows"]}
    assert more[8, 100] < more[20, 100] < more[20, 200]
    assert result["knee"]["n_steps"] in (8, 20) and "knee: " in told and "<- knee" in told
    with Image.open(found.with_suffix(".png")) as picture:
        assert picture.size[0] > 500 and np.asarray(picture.convert("L")).std() > 5  # something is drawn


def test_shards_of_any_size_give_the_same_bytes(runs, tmp_path, monkeypatch):
    settings = experiment.load(NAME, TINY[1::2])
    found = []
    for name, size in (("whole", 0), ("few", 3), ("many", 1)):
        path = tmp_path / f"{name}.json"
        monkeypatch.setattr(shards, "SAMPLES", size)
        monkeypatch.setattr(shards, "SHARDS", 10**6)  # none is larger than that
        workers = shards.spread(Pool(), 2) if size else nullcontext()
        with workers:
            explore.explore(settings, tmp_path, runs, path, steps=(8, 12), rates_hz=(200.0,), split="test", limit=4)
        result = json.loads(path.read_text())
        del result["seconds"]
        found.append((result, path.with_suffix(".png").read_bytes()))
    assert found[0] == found[1] == found[2]


def row(steps, value, energy_j):
    return {"n_steps": steps, "readout_steps": 1, "rate_scale_hz": 100.0, "value": value, "energy_j": energy_j}


def test_the_knee_is_the_cheapest_that_loses_little():
    rows = [row(5, 0.80, 1.0), row(10, 0.896, 2.0), row(20, 0.9, 4.0), row(40, 0.899, 8.0)]
    assert explore.mark_knee(rows)["n_steps"] == 10  # 0.004 lost
    assert [r["knee"] for r in rows] == [False, True, False, False]
    assert [r["on_front"] for r in rows] == [True, True, True, False]  # the last one is worse and dearer
    rows = [row(10, 0.894, 2.0), row(20, 0.9, 4.0)]
    assert explore.mark_knee(rows)["n_steps"] == 20  # 0.006 lost is too much


def test_the_readout_keeps_its_share_of_the_steps():
    settings = experiment.load("demo-cae")  # 40 steps, 12 read out
    tune = explore.at(settings, 10, 50).finetune
    assert (tune.n_steps, tune.readout_steps) == (10, 3)
    assert explore.at(settings, 1, 50).finetune.readout_steps == 1
    for steps, rate, words in ((0, 100, "--steps"), (10, -5, "--rates")):
        with pytest.raises(InputError, match=words):
            explore.at(settings, steps, rate)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--steps", "ten"), "--steps is 'ten'; expected whole numbers"),
        (("--steps", "10,0"), "--steps"),
        (("--rates", "0"), "--rates"),
        (("--params", "pretrained"), "no pretrained parameters for demo-locnet"),
    ],
)
def test_one_line_for_what_is_wrong(arguments, words, runs, tmp_path, capsys):
    found = tmp_path / "explored.json"
    assert cotrain("explore", NAME, "--runs", runs, *arguments, "--json", found, *TINY) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1 and not found.exists()


def test_deployment_with_other_steps_says_so(runs, capsys):
    changes = ("--set", "deploy.n_steps=8", "--set", 'deploy.models=["loihi-hybrid"]')
    settings = experiment.load(NAME, [*TINY[1::2], *changes[1::2]])
    assert settings.deployed().finetune.n_steps == 8 and settings.deployed().finetune.readout_steps == 2
    assert experiment.load(NAME).deployed() == experiment.load(NAME)
    with pytest.raises(InputError, match="deploy.readout_steps is 9; expected at most"):
        experiment.load(NAME, ["deploy.n_steps=8", "deploy.readout_steps=9"])


def test_the_report_recommends_the_knee():
    rows = [row(5, 0.80, 1e-3), row(10, 0.896, 2e-3), row(20, 0.9, 4e-3)]
    for one in rows:
        one.update(trained=False, mean_rate_hz=20.0, spikes_per_inference=1234.0)
    found = {
        "knee": explore.mark_knee(rows), "metric": "dice", "protocol": "", "split": "validation", "tolerance": 0.005,
        "n_samples": 40, "rows": rows,
    }  # fmt: skip
    advice, table = explored.blocks({"explored": found})
    assert "10 steps at 100 Hz" in advice.text and "0.896" in advice.text
    assert [cells[-1] for cells in table.rows] == ["", "knee", ""]
    assert explored.blocks({"explored": {}}) == []
