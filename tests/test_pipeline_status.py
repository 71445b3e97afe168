"""cotrain status: what it says of folders that are done, running, stopped, changed, broken."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
import synthetic_run
from cotrain.hardware.errors import MissingError
from cotrain.pipeline.commands import status
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.lock import locked


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("status")
    synthetic_run.make(folder, "demo-locnet")
    return folder


def told(runs):
    lines = []
    status.show(runs, say=lines.append)
    assert all(len(line) <= 80 for line in lines if "/" not in line), lines
    return "\n".join(lines)


def test_stages_scores_and_size(runs):
    text = told(runs)
    metrics = json.loads((runs / "demo-locnet" / "deploy" / artifacts.METRICS).read_text())
    score = next(row["value"] for row in metrics["rows"] if row["model"] == "loihi-hybrid")
    assert "train, finetune, quantize, deploy" in text and "report" not in text
    assert f"loihi-hybrid {score:.4f}" in text.replace("\n            ", " ")
    (size,) = re.findall(r"demo-locnet \(([\d.]+) MB\)", text)
    assert float(size) == pytest.approx(sum(p.stat().st_size for p in runs.rglob("*")) / 1e6, abs=0.3)
    assert "broken" not in text and "running" not in text and "settings" not in text


def test_running_and_stopped(runs):
    part = artifacts.part_of(artifacts.stage_folder(runs, "demo-locnet", "report"))
    part.mkdir()
    told_so_far = {"done": 3, "total": 10, "unit": "epochs", "seconds_left": 125.0}
    artifacts.write_json(part / artifacts.PROGRESS, told_so_far)
    try:
        assert "stopped   report, 3 of 10 epochs, about 2 min" in told(runs)
        with locked(artifacts.experiment_folder(runs, "demo-locnet")):
            assert f"process {os.getpid()}" in told(runs).replace("\n            ", " ") and "running   report" in told(
                runs
            )
        (part / artifacts.PROGRESS).write_text('{"done": []')
        assert "stopped   report;" in told(runs)
    finally:
        for path in part.iterdir():
            path.unlink()
        part.rmdir()


def test_a_changed_file_is_named(runs):
    path = runs / "demo-locnet" / "train" / artifacts.PARAMS
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        text = told(runs).replace("\n            ", " ")
        assert f"broken    {path} was changed" in text and "done      finetune" in text
    finally:
        path.write_bytes(before)


def test_settings_that_differ():
    resolved = json.loads(json.dumps(synthetic_run.experiment.load("locnet").resolved()))
    assert status.differing("locnet", resolved) == []
    resolved["train"]["epochs"] = 7
    resolved["network"]["dense"] = [9]
    assert status.differing("locnet", resolved) == ["network.dense=[9]", "train.epochs=7"]


def test_a_sweep_and_an_empty_folder(tmp_path):
    assert told(tmp_path) == f"{tmp_path}: no experiment has been run here"
    folder = artifacts.sweep_folder(tmp_path, "mine")
    artifacts.write_json(folder / artifacts.SWEEP_PLAN, {})
    assert "none has ended yet" in told(tmp_path)
    trials = [{"state": "complete"}, {"state": "misfit"}, {"state": "complete"}]
    artifacts.write_json(folder / artifacts.SWEEP_TABLE, {"trials": trials, "pareto": [0]})
    text = told(tmp_path)
    assert "2 complete, 1 misfit; the front: 0" in text and "stopped" not in text and "running" not in text
    artifacts.write_json(folder / artifacts.SWEEP_TABLE, {"trials": trials, "pareto": [0], "n_trials": 5})
    assert "3 of 5: 2 complete, 1 misfit" in told(tmp_path) and "stopped   the same command" in told(tmp_path)
    with locked(folder):
        assert f"process {os.getpid()}" in told(tmp_path) and "stopped" not in told(tmp_path)
    (folder / artifacts.SWEEP_TABLE).write_text("[" * 5000)
    assert "cannot be read" in told(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(MissingError, match="--runs DIR"):
        status.show(tmp_path / "none")


def test_it_is_quick(runs):
    """No TensorFlow, no SciPy: somebody who looks does not wait."""
    command = [sys.executable, "-X", "importtime", "-m", "cotrain.pipeline", "status", "--runs", str(runs)]
    started = time.process_time()
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and time.process_time() - started < 5
    assert not re.search(r"\| +(tensorflow|nengo|scipy|numba)$", result.stderr, re.M)
