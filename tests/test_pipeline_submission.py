"""From parameters to the bundle, and back from the board into the report, on the command line."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from bundle_of import unpacked
from cotrain.hardware.bundle import archive, run, verify
from cotrain.hardware.bundle.folder import Folder
from cotrain.hardware.bundle.results import Results
from cotrain.pipeline import experiment
from cotrain.pipeline.__main__ import main
from cotrain.pipeline.networks import spec_for
from cotrain.pipeline.networks.rebuild import describe, rebuild
from cotrain.pipeline.runs import artifacts, parameters

EXPERIMENT = "demo-locnet"
TINY = [
    "--set", "data.height=16", "--set", "data.width=32", "--set", "data.n_groups=40", "--set", "network.filters=[2, 4]",
    "--set", "network.dense=[8]", "--set", "finetune.n_steps=20", "--set", "finetune.readout_steps=5",
    "--set", "deploy.n_bootstrap=50", "--set", 'deploy.models=["constant", "loihi-hybrid"]',
]  # fmt: skip


def cotrain(*arguments) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a bundle of all four test samples, made without any training."""
    folder = tmp_path_factory.mktemp("place")
    settings = experiment.load(EXPERIMENT, TINY[1::2])
    params = spec_for(settings.network, (16, 32)).init_params(0)
    params = {name: np.abs(p) if name.endswith("kernel") else p for name, p in params.items()}  # all layers spike
    params["readout.kernel"] *= 0.01
    params["readout.bias"] = np.float32([0.3, 0.2, 0.7, 0.8])  # a box that scores
    arrays = parameters.pack({"ann": params, "hybrid": params}, np.array([0.2, 0.2, 0.8, 0.8]))
    (folder / "pretrained").mkdir()
    artifacts.write_npz(folder / "pretrained" / f"{EXPERIMENT}.npz", arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameters, "PRETRAINED_DIR", folder / "pretrained")
        for verb in ("submission", "deploy"):
            assert cotrain(verb, EXPERIMENT, "--runs", folder / "runs", *TINY) == 0
        yield folder


@pytest.fixture
def bundle(place):
    (path,) = (place / "submission").glob("*.tar.gz")
    return path


def test_submission_writes_one_archive_and_says_which(place, bundle, capsys):
    told = artifacts.read_json(place / "runs" / EXPERIMENT / "submission" / artifacts.SUBMISSION)
    assert told["archive"] == bundle.name == f"{EXPERIMENT}-{told['digest'][:12]}.tar.gz"
    assert told["sha256"] == artifacts.sha256(bundle.read_bytes()) and told["n_samples"] == 4
    assert told["parameters"] == "pretrained"
    before = bundle.read_bytes()
    os.remove(bundle)  # a result that is up to date elsewhere must not stand in for the archive
    assert cotrain("submission", EXPERIMENT, "--runs", place / "runs", *TINY) == 0
    assert bundle.read_bytes() == before
    assert f"cotrain verify {bundle}" in capsys.readouterr().out


def test_the_network_is_that_of_the_experiment(bundle):
    """Made again from JSON, it has the settings, shapes and parameters that the experiment gives."""
    _, files, _ = archive.read_archive(bundle)
    description = json.loads(files["network.json"])
    settings = experiment.load(EXPERIMENT, TINY[1::2])
    spec = spec_for(settings.network, (16, 32))
    assert description["network"] == json.loads(
        json.dumps(describe(spec, settings.neurons, settings.finetune.synapse_s, settings.seed))
    )
    assert description["layers"] == [layer.name for layer in spec.layers]
    built = rebuild(description["network"], spec.init_params(0))
    assert built.spec == spec and list(built.layers) == description["layers"]


def test_verify_an_archive(bundle, tmp_path, capsys):
    assert cotrain("verify", bundle) == 0
    assert "emulator: 4 samples, every spike and output as expected" in capsys.readouterr().out
    spoilt = tmp_path / bundle.name
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 16
    spoilt.write_bytes(bytes(data))
    assert cotrain("verify", spoilt) == 2
    assert cotrain("verify", tmp_path / "nothing.tar.gz") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and f"{spoilt} is damaged" in errors[0] and "nothing.tar.gz does not exist" in errors[1]


def test_what_came_back_becomes_a_row_of_the_report(place, bundle, tmp_path, monkeypatch, capsys):
    """A board that gives what the emulator gave has the emulator's row: score, and spikes of each layer."""
    lab_path = unpacked(bundle, tmp_path)
    lab = Folder(lab_path, run.check_files(str(lab_path))["digest"])
    results = Results(tmp_path / "results-loihi", lab, "loihi", resume=False)
    for index in range(len(lab.names)):
        results.add(index, lab.expected(index), 0.5)
    results.tree["ran_on"].append({"partition": "nahuku32"})
    results.tree["energy"] = {"skipped": "not measured"}
    results.save()
    monkeypatch.setattr(verify, "_emulated", lambda *_: {"equal": True, "samples": 3})
    runs = place / "runs"
    assert cotrain("verify", bundle, results.path, "--runs", runs) == 0
    assert f"cotrain report {EXPERIMENT} --force" in capsys.readouterr().out
    row = artifacts.read_json(artifacts.board_file(runs, EXPERIMENT))
    metrics = artifacts.read_json(runs / EXPERIMENT / "deploy" / artifacts.METRICS)
    emulated = next(r for r in metrics["rows"] if r["model"] == "loihi-hybrid")
    assert row["model"] == "loihi-board" and row["comparison"]["equal"] and row["n_samples"] == 4
    for key in ("value", "mean_rate_hz", "spikes_per_inference"):
        assert row[key] == pytest.approx(emulated[key], rel=1e-6), key
    assert row["emulator_value"] == row["value"]
    for ours, theirs in zip(row["layers"], emulated["layers"], strict=True):
        assert ours.keys() >= theirs.keys() - {"overflows"}
        assert ours["spikes_per_inference"] == pytest.approx(theirs["spikes_per_inference"], rel=1e-9)
        # Each spike times its weights; the emulator leaves out those of the last step or two, which arrive too late.
        late = 0.15 * ours["synops_per_inference"]  # 3 of 20 steps
        assert theirs["synops_per_inference"] <= ours["synops_per_inference"] <= theirs["synops_per_inference"] + late
    assert emulated["layers"][-1]["spikes_per_inference"] > 0

    assert cotrain("report", EXPERIMENT, "--runs", runs, *TINY, "--force") == 0
    report = artifacts.read_json(runs / EXPERIMENT / "report" / "report.json")
    assert [r["model"] for r in report["metrics"]["rows"]][-1] == "loihi-board"
    assert "loihi-board" in (runs / EXPERIMENT / "report" / "report.md").read_text()


def test_results_of_an_emulator_make_no_row(place, bundle, tmp_path, monkeypatch, capsys):
    lab_path = unpacked(bundle, tmp_path)
    lab = Folder(lab_path, run.check_files(str(lab_path))["digest"])
    results = Results(tmp_path / "results", lab, "emulator", resume=False)
    results.add(0, lab.expected(0), 0.1)
    monkeypatch.setattr(verify, "_emulated", lambda *_: {"equal": True, "samples": 3})
    assert cotrain("verify", bundle, results.path, "--runs", tmp_path / "runs") == 0
    assert "no loihi-board row" in capsys.readouterr().out and not (tmp_path / "runs").exists()


def test_a_board_that_differs_is_told_and_scored(place, bundle, tmp_path, monkeypatch, capsys):
    lab_path = unpacked(bundle, tmp_path)
    lab = Folder(lab_path, run.check_files(str(lab_path))["digest"])
    results = Results(tmp_path / "results", lab, "loihi", resume=False)
    for index in range(2):
        record = {k: v for k, v in lab.expected(index).items() if not k.startswith("spikes/p")}  # pools not counted
        record["output"] = record["output"] + 0.05
        results.add(index, record, 0.5)
    monkeypatch.setattr(verify, "_emulated", lambda *_: {"equal": True, "samples": 3})
    runs = tmp_path / "runs"
    (runs / EXPERIMENT).mkdir(parents=True)
    os.symlink(place / "runs" / EXPERIMENT / "deploy", runs / EXPERIMENT / "deploy")
    assert cotrain("verify", bundle, results.path, "--runs", runs) == 1
    assert f"first: sample 0 ({lab.names[0]}), output: differs" in capsys.readouterr().out
    row = artifacts.read_json(artifacts.board_file(runs, EXPERIMENT))
    assert row["n_samples"] == 2 and row["layers"] == [] and row["spikes_per_inference"] is None
    assert row["value"] != row["emulator_value"]
