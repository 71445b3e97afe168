"""Several seeds and splits: the interval against the textbook's, and the command on a tiny experiment."""

import shutil

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import experiment
from cotrain.pipeline.__main__ import main
from cotrain.pipeline.commands import repeat
from cotrain.pipeline.runs import artifacts
from small_training import TINY, boxes_data

NAME = "demo-locnet"
FEW = ["--models", "constant,ann,loihi-hybrid"]


def test_interval_by_hand():
    found = repeat.spread([1.0, 2.0, 3.0])
    half = 4.302653 / np.sqrt(3)  # Student's t, two degrees of freedom, 97.5 %: any table
    assert found["mean"] == 2 and found["sd"] == 1
    assert found["ci95"] == pytest.approx([2 - half, 2 + half], abs=1e-6)
    wider = repeat.spread([1.0, 2.0, 3.0], overlap=1 / 8)  # Nadeau and Bengio: 1 / 3 + 1 / 8
    half = 4.302653 * np.sqrt(11 / 24)
    assert wider["ci95"] == pytest.approx([2 - half, 2 + half], abs=1e-6)


def test_a_row_needs_every_seed_and_keeps_their_order():
    def metrics(ann, hybrid):
        rows = [{"model": "ann", "value": ann, "mean_rate_hz": None}]
        rows.append({"model": "hybrid", "value": hybrid, "mean_rate_hz": 20.0, **({} if hybrid else {"skipped": "no"})})
        return {"metric": "iou", "n_samples": 5, "rows": rows, "protocols": {"shifted": {"rows": rows[:1]}}}

    settings = experiment.load(NAME, ["seed=4"])
    summary = repeat.summarise(settings, [metrics(0.5, 0.4), metrics(0.7, None), metrics(0.6, 0.4)])
    assert summary["seeds"] == [4, 5, 6]
    assert [row["model"] for row in summary["rows"]] == ["ann"]
    assert summary["rows"][0]["values"] == [0.5, 0.7, 0.6]
    assert summary["protocols"]["shifted"]["rows"][0]["mean"] == pytest.approx(0.6)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert main(["repeat", NAME, "--seeds", "2", *FEW, "--runs", str(folder), *TINY]) == 0
    return folder


def test_seeds_differ_and_the_split_does_not(runs):
    summary = artifacts.read_json(runs / NAME / "seeds" / "seeds.json")
    folders = runs, runs / NAME / "seeds" / "1"
    first, second = (artifacts.read_npz(folder / NAME / "deploy" / artifacts.PREDICTIONS) for folder in folders)
    np.testing.assert_array_equal(first["names"], second["names"])
    assert not np.array_equal(first["ann/prediction"], second["ann/prediction"])
    assert [row["model"] for row in summary["rows"]] == ["constant", "ann", "loihi-hybrid"]
    for row in summary["rows"]:
        for value, folder in zip(row["values"], folders, strict=True):
            metrics = artifacts.read_json(folder / NAME / "deploy" / artifacts.METRICS)
            assert value == next(r["value"] for r in metrics["rows"] if r["model"] == row["model"])
    constant = summary["rows"][0]
    assert constant["sd"] == 0, "the constant box is of the training split, which all seeds share"
    assert len(summary["protocols"]["shifted"]["rows"]) == 3
    own = artifacts.read_json(runs / NAME / "deploy" / artifacts.METRICS)
    assert not any(row.get("skipped") for row in own["rows"]), "the first seed is the experiment's own run, whole"


def test_what_is_done_is_not_done_again(runs, capsys):
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.*") if path.name != "seeds.json"}
    assert main(["repeat", NAME, "--seeds", "2", *FEW, "--runs", str(runs), *TINY]) == 0
    assert capsys.readouterr().out.count("up to date") == 2 * 4  # quantize, too
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_report_shows_the_seeds_of_its_settings_only(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    where = ["--runs", str(tmp_path / "runs"), *TINY]
    assert main(["report", NAME, *where]) == 0
    report = tmp_path / "runs" / NAME / "report"
    summary = artifacts.read_json(tmp_path / "runs" / NAME / "seeds" / "seeds.json")
    assert artifacts.read_json(report / "report.json")["seeds"] == summary
    line = next(line for line in (report / "report.md").read_text().split("| Model | Seed 0 | Seed 1 |")[1].splitlines()
                if line.startswith("| ann |"))  # fmt: skip
    assert [f"{value:.4f}" for value in summary["rows"][1]["values"]] == [cell.strip() for cell in line.split("|")[2:4]]
    summary["settings"]["train"]["epochs"] = 3
    artifacts.write_sealed(tmp_path / "runs" / NAME / "seeds" / "seeds.json", summary)
    assert main(["report", NAME, *where]) == 0, "no --force: the seeds have changed"
    assert artifacts.read_json(report / "report.json")["seeds"] == {}


def test_splits_differ_in_their_images_and_have_a_table_of_their_own(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    where = ["--runs", str(tmp_path / "runs"), *TINY]
    assert main(["repeat", NAME, "--splits", "2", *FEW, *where]) == 0
    own = tmp_path / "runs" / NAME
    summary = artifacts.read_json(own / "splits" / "splits.json")
    assert summary["splits"] == [0, 1] and "seeds" not in summary
    folders = own, own / "splits" / "1" / NAME
    metrics = [artifacts.read_json(folder / "deploy" / artifacts.METRICS) for folder in folders]
    names = [set(artifacts.read_npz(folder / "deploy" / artifacts.PREDICTIONS)["names"]) for folder in folders]
    assert names[0] != names[1]
    ratio = np.mean([one["dataset"]["n_test"] / one["dataset"]["n_train"] for one in metrics])
    for row in summary["rows"]:
        values = [next(r["value"] for r in one["rows"] if r["model"] == row["model"]) for one in metrics]
        assert {**row, "mean_rate_hz": 0} == {"model": row["model"], **repeat.spread(values, ratio), "mean_rate_hz": 0}
    assert main(["report", NAME, *where]) == 0
    report = artifacts.read_json(own / "report" / "report.json")
    assert report["splits"] == summary and report["seeds"]["seeds"] == [0, 1]
    page = (own / "report" / "report.md").read_text()
    assert "| Model | Split 0 | Split 1 |" in page and "| Model | Seed 0 | Seed 1 |" in page


def test_a_split_that_comes_with_the_data_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(repeat.datasets, "load_for", lambda *_: boxes_data())
    with pytest.raises(InputError, match="their split comes with the data; use --seeds"):
        repeat.repeat(experiment.load(NAME), tmp_path, tmp_path, 2, repeats=repeat.SPLITS)
    assert not list(tmp_path.iterdir())


def test_two_workers_score_what_one_process_scores(runs, tmp_path, monkeypatch):
    from cotrain.pipeline.evaluation import shards

    monkeypatch.setattr(shards, "SAMPLES", 1)  # some shards a row
    found = []
    for workers in ("1", "2"):
        path = tmp_path / f"{workers}.json"
        arguments = ["evaluate", NAME, "--params", "run", "--runs", str(runs), "--json", str(path), *TINY]
        # a row of each kind: no network, rates, NengoDL, the chip's integers
        models = ["--models", "constant,ann,hybrid,loihi-hybrid"]
        assert main([*arguments, *models, "--workers", workers]) == 0
        metrics = artifacts.read_json(path)
        for row in [metrics, *metrics["rows"]]:
            del row["seconds"]
        found.append(metrics)
    assert found[0]["n_samples"] > 2
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--seeds", "1"], "--seeds is 1; expected 2 or more"),
        (["--splits", "1"], "--splits is 1; expected 2 or more"),
        (["--models", "anm"], "unknown model 'anm'; did you mean"),
    ],
)
def test_refusals(arguments, said, tmp_path, capsys):
    assert main(["repeat", NAME, *arguments, "--runs", str(tmp_path), *TINY]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
