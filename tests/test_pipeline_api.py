"""The pipeline from Python: one call, and its result as an object."""

import dataclasses
import subprocess
import sys

import pytest
from cotrain import pipeline
from cotrain.hardware.errors import InputError, MissingError
from cotrain.pipeline import experiment
from cotrain.pipeline.runs import artifacts
from small_training import TINY

EXPERIMENT = "demo-locnet"
OVERRIDES = [word for word in TINY if word != "--set"] + ["train.epochs=1", "finetune.n_steps=10"]


def quiet(_):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder):
    return pipeline.run(EXPERIMENT, runs=folder, until="deploy", overrides=OVERRIDES, say=quiet)


def test_the_result_is_what_the_stages_left(run, folder):
    assert run.metrics == artifacts.read_json(folder / EXPERIMENT / "deploy" / artifacts.METRICS)
    assert len(run.history["train"]["epochs"]) == 2 and run.history["finetune"]["metric"] == "iou"
    assert run.placement["cores"] >= 1 and run.report_path is None and run.folder == folder / EXPERIMENT
    frame = run.to_dataframe()
    assert list(frame.index) == [row["model"] for row in run.metrics["rows"]]
    for row in run.metrics["rows"]:
        assert frame.loc[row["model"], "value"] == row["value"]
        assert [frame.loc[row["model"], "ci95_low"], frame.loc[row["model"], "ci95_high"]] == row["ci95"]
    assert f"{run.metrics['rows'][-1]['value']:.4f}" in str(run)


def test_a_second_call_runs_what_is_not_there(run, folder):
    lines = []
    more = pipeline.run(EXPERIMENT, runs=folder, overrides=OVERRIDES, say=lines.append)
    assert [line for line in lines if "up to date" in line][0].startswith(f"train {EXPERIMENT}")
    assert sum("done in" in line for line in lines) == 1
    assert more.report_path.read_bytes().startswith(b"<!DOCTYPE html>")
    page = more._repr_html_()
    assert page.count("<tr>") == 1 + len(more.rows) and str(more.report_path) in page


def test_settings_can_be_handed_over(run, folder):
    settings = experiment.load(EXPERIMENT, OVERRIDES)
    lines = []
    again = pipeline.run(settings, runs=folder, until="deploy", say=lines.append)
    assert again.metrics == run.metrics and all("up to date" in line for line in lines)
    other = dataclasses.replace(settings, seed=1)
    with pytest.raises(InputError, match="seed=0, now it is 1; --force replaces it"):
        pipeline.run(other, runs=folder, until="train", say=quiet)
    with pytest.raises(InputError, match="overrides"):
        pipeline.run(settings, runs=folder, overrides=["seed=1"])


def test_a_file_of_ones_own_and_what_html_does_with_its_title(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "demo-locnet"\ntitle = "<b>mine"\n')
    with pytest.raises(InputError, match="until is 'deply'; did you mean 'deploy'"):
        pipeline.run(file, runs=tmp_path, until="deply")
    one = pipeline.Run(experiment.load(str(file)), tmp_path)
    assert one.metrics is None and one.history == {} and one.rows == []
    assert "&lt;b&gt;mine" in one._repr_html_() and "<b>mine" not in one._repr_html_()
    with pytest.raises(MissingError, match="run until the deploy stage"):
        one.to_dataframe()


def test_a_changed_byte_is_an_error_that_names_the_file(run, tmp_path):
    import shutil

    copy = tmp_path / "runs"
    shutil.copytree(run.runs, copy)
    path = copy / EXPERIMENT / "deploy" / artifacts.METRICS
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(ValueError, match="metrics.json was changed"):
        _ = pipeline.Run(run.experiment, copy).metrics


def test_import_is_light_and_names_are_told():
    script = "from cotrain import pipeline; import sys; print('numpy' in sys.modules, 'pydantic' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert out == "False False\n"
    assert {"run", "Run", "read_model", "Experiment"} <= set(dir(pipeline))
    with pytest.raises(AttributeError, match="has no attribute 'runn'"):
        _ = pipeline.runn
