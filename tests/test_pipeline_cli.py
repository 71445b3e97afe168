"""The command line from images to report on a tiny experiment, and one line for everything that can be wrong."""

import contextlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.pipeline import __version__, experiment
from cotrain.pipeline.__main__ import VERBS, main, parser_for
from cotrain.pipeline.evaluation.evaluate import MODELS
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.folder import RunFolder
from cotrain.pipeline.runs.lock import locked
from cotrain.pipeline.stages.quantize import MODELS as MODELS_IN_INTEGERS
from small_training import TINY

EXPERIMENT = "demo-locnet"
STAGES = ("train", "finetune", "deploy", "report")


def cotrain(*arguments) -> int:
    try:
        return main([str(a) for a in arguments])
    except SystemExit as error:  # argparse
        return error.code


@pytest.fixture(scope="module")
def run_and_told(tmp_path_factory):
    """Run folders of every stage, and what the verbs printed. A person's paths are shorter than those of tests."""
    folder, said = tmp_path_factory.mktemp("runs"), {}
    for verb in STAGES:
        said[verb] = io.StringIO()
        with contextlib.chdir(folder.parent), contextlib.redirect_stdout(said[verb]):
            assert cotrain(verb, EXPERIMENT, "--runs", folder.name, *TINY) == 0
    return folder, {verb: out.getvalue() for verb, out in said.items()}


@pytest.fixture(scope="module")
def runs(run_and_told):
    """Run folders of every stage; a test that changes them copies them first."""
    return run_and_told[0]


@pytest.fixture
def copy(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    return tmp_path / "runs"


def test_every_row_has_been_run_and_counts_add_up(runs):
    metrics = artifacts.read_json(runs / EXPERIMENT / "deploy" / "metrics.json")
    assert (metrics["schema"], metrics["experiment"], metrics["metric"]) == (1, EXPERIMENT, "iou")
    assert metrics["n_samples"] == 4 and metrics["dataset"]["n_total"] == 40
    assert [row["model"] for row in metrics["rows"]] == list(MODELS)
    for row in metrics["rows"]:
        assert "skipped" not in row and 0 <= row["ci95"][0] <= row["value"] <= row["ci95"][1] <= 1
        if row["model"] in ("constant", "ann"):
            assert row["spikes_per_inference"] is None
        else:
            assert row["spikes_per_inference"] == pytest.approx(
                sum(layer["spikes_per_inference"] for layer in row["layers"])
            )
    assert [row["model"] for row in metrics["protocols"]["shifted"]["rows"]] == list(MODELS)


def test_predictions_give_the_metrics_again(runs):
    """Another path to the number: the saved boxes, scored with the arithmetic written out."""
    metrics = artifacts.read_json(runs / EXPERIMENT / "deploy" / "metrics.json")
    arrays = artifacts.read_npz(runs / EXPERIMENT / "deploy" / "predictions.npz")
    for row in metrics["rows"]:
        values = []
        for (a0, a1, a2, a3), (b0, b1, b2, b3) in zip(
            arrays[f"{row['model']}/prediction"].astype(float), arrays["targets"].astype(float), strict=True
        ):
            overlap = max(min(a2, b2) - max(a0, b0), 0) * max(min(a3, b3) - max(a1, b1), 0)
            area = max(a2 - a0, 0) * max(a3 - a1, 0)
            values.append(overlap / (area + (b2 - b0) * (b3 - b1) - overlap) if area else 0.0)
        assert row["value"] == pytest.approx(np.mean(values), abs=1e-6)


def test_a_second_run_does_nothing_and_says_so(runs, capsys):
    before = {p: p.stat().st_mtime_ns for p in runs.rglob("*") if p.is_file()}
    for verb in STAGES:
        assert cotrain(verb, EXPERIMENT, "--runs", runs, *TINY) == 0
        assert "up to date" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in runs.rglob("*") if p.is_file()} == before


def test_the_same_seed_gives_the_same_bytes(runs, tmp_path):
    """In a process of its own, as a user would run it."""
    command = [sys.executable, "-m", "cotrain.pipeline", "train", EXPERIMENT, "--until", "finetune", "--runs"]
    subprocess.run([*command, str(tmp_path), *TINY], check=True, capture_output=True, cwd=Path(__file__).parents[1])
    for verb in ("train", "finetune"):
        ours, theirs = (folder / EXPERIMENT / verb / artifacts.PARAMS for folder in (runs, tmp_path))
        assert ours.read_bytes() == theirs.read_bytes(), verb


def test_quantize_builds_each_network_once(copy, monkeypatch):
    """Placed, checked, compiled and its rounding measured: nengo_loihi splits every network that it builds first."""
    split, seen = import_nengo_loihi("splitter").Split, []
    begin = split.__init__
    monkeypatch.setattr(
        split, "__init__", lambda self, *args, **kw: (seen.append(args[0]), begin(self, *args, **kw))[1]
    )
    before = {p.name: p.read_bytes() for p in (copy / EXPERIMENT / "quantize").glob("*.npz")}
    assert cotrain("quantize", EXPERIMENT, "--runs", copy, *TINY, "--force") == 0
    assert len(seen) == len({id(net) for net in seen}) == len(MODELS_IN_INTEGERS) == 2
    assert before == {p.name: p.read_bytes() for p in (copy / EXPERIMENT / "quantize").glob("*.npz")} != {}


def test_lines_fit_and_end_with_what_came_out_and_where_it_lies(run_and_told):
    runs, told = run_and_told
    for verb, text in told.items():
        lines = text.splitlines()
        assert max(map(len, lines)) <= 80 and "\x1b" not in text
        assert [line for line in lines if line.startswith(f"{verb} {EXPERIMENT}: done in ")]
    metrics = artifacts.read_json(runs / EXPERIMENT / "deploy" / "metrics.json")
    for phase in ("train", "finetune"):
        history = artifacts.read_json(runs / EXPERIMENT / phase / artifacts.HISTORY)
        best = history["epochs"][history["best_epoch"]]
        backend = experiment.load(EXPERIMENT).resolved()[phase]["backend"]
        assert f"(backend {backend})" in told[phase]
        shown = [line for line in told[phase].splitlines() if line.startswith("  epoch ")]
        assert len(shown) == len(history["epochs"]) - 1
        for line, epoch in zip(shown, history["epochs"][1:], strict=True):
            assert f"loss {epoch['loss']:.4g}" in line and f"iou {epoch['metric']:.4f}" in line
        assert f"{phase} {EXPERIMENT}: validation iou {best['metric']:.4f}" in told[phase]
    value = {row["model"]: row["value"] for row in metrics["rows"]}
    assert f"deploy {EXPERIMENT}: loihi-hybrid iou {value['loihi-hybrid']:.4f}, " in told["deploy"]
    assert f"a constant answer ({value['constant']:.4f})" in " ".join(told["deploy"].split())
    assert "1 cores" not in told["deploy"] and "on 1 chip " in told["deploy"]
    page = runs / EXPERIMENT / "report" / "report.html"
    assert page.is_file() and told["report"].count(str(page.relative_to(runs.parent))) == 1


def test_the_next_command_is_one_that_works_as_printed(runs, capsys, monkeypatch):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    assert cotrain("train", EXPERIMENT, "--runs", runs, *TINY) == 0
    command = capsys.readouterr().out.partition("next:")[2].replace("\\\n", " ")
    program, *words = shlex.split(command)
    assert (program, words[0]) == ("cotrain", "finetune")
    assert cotrain(*words) == 0 and "up to date" in capsys.readouterr().out


def test_quiet_says_nothing_but_errors(copy, capfd):
    assert cotrain("report", EXPERIMENT, "--runs", copy, *TINY, "--force", "--quiet") == 0
    assert capfd.readouterr() == ("", "")
    assert cotrain("report", EXPERIMENT, "--runs", copy, *TINY, "--set", "train.epochs=3", "-q") == 2
    out, error = capfd.readouterr()
    assert out == "" and error.count("\n") == 1


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_result_of_other_settings_is_replaced_only_when_that_is_said(copy, capsys):
    before = contents(copy)
    assert cotrain("deploy", EXPERIMENT, "--runs", copy, *TINY, "--limit", 2) == 2
    error = capsys.readouterr().err
    assert "deploy.limit=0, now it is 2; --force replaces it" in error and error.count("\n") == 1
    assert contents(copy) == before
    assert cotrain("deploy", EXPERIMENT, "--runs", copy, *TINY, "--limit", 2, "--force") == 0
    out = capsys.readouterr().out
    assert f"quantize {EXPERIMENT}: up to date" in out and f"deploy {EXPERIMENT}: done" in out
    assert artifacts.read_json(copy / EXPERIMENT / "deploy" / "metrics.json")["n_samples"] == 2
    assert not list(copy.glob("*/*.part")) and not list(copy.glob("*/*.old"))
    capsys.readouterr()
    arguments = ["deploy", EXPERIMENT, "--runs", copy, *TINY, "--set", "train.epochs=3"]
    assert cotrain(*arguments) == 2
    error = capsys.readouterr().err
    assert "train.epochs=2, now it is 3" in error
    assert f"cotrain train {EXPERIMENT} --force --set" in error and f"--runs {copy}" in error


@pytest.mark.parametrize(
    "change",
    [
        ["--set", "deploy.models=['hybird']"],
        ["--set", "deploy.n_bootstrap=0"],
        ["--set", "network.filters=[2, 4, 4, 4, 4, 4]"],
        ["--set", "network.name=locnt"],
        ["--set", "data.name=nowhere"],
        ["--set", "data.n_groups=1"],
        ["--set", "train.loss=bce-dice"],
        ["--set", "train.precision=bfloat16"],
        ["--set", "finetune.readout_steps=1000"],
        ["--set", "seed=4294967296"],
        ["--set", "train.epochs=3"],
    ],
    ids=lambda change: change[1],
)
def test_a_refused_setting_leaves_a_finished_run_as_it_was(change, runs, capsys):
    before = contents(runs / EXPERIMENT)
    for verb in ("train", "finetune", "quantize", "deploy", "report"):
        for force in ([], ["--force"]):
            if force and verb == "train" and change[1] == "train.epochs=3":
                continue  # which is not refused
            if cotrain(verb, EXPERIMENT, "--runs", runs, *TINY, *change, *force) == 0:
                assert "up to date" in capsys.readouterr().out  # it does not depend on that setting
            else:
                error = capsys.readouterr().err
                assert error.count("\n") == 1
            assert contents(runs / EXPERIMENT) == before, verb


def test_a_second_process_is_refused_with_the_name_of_the_first(copy, capsys):
    with locked(copy / EXPERIMENT):
        assert cotrain("train", EXPERIMENT, "--runs", copy, *TINY) == 0, "what is up to date needs no lock"
        assert cotrain("train", EXPERIMENT, "--runs", copy, *TINY, "--force") == 2
    error = capsys.readouterr().err
    assert "is being written by `" in error and f"process {os.getpid()}" in error and error.count("\n") == 1


def test_a_training_that_is_killed_before_its_manifest_loses_no_epoch(copy, monkeypatch, capsys):
    def killed(*_):
        raise KeyboardInterrupt

    good = (copy / EXPERIMENT / "train" / artifacts.PARAMS).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", killed)
        assert cotrain("train", EXPERIMENT, "--runs", copy, *TINY, "--force") == 130
    capsys.readouterr()
    assert cotrain("train", EXPERIMENT, "--runs", copy, *TINY, "--force") == 0
    out = capsys.readouterr().out
    assert "going on after epoch 2" in out and "epoch 1/2" not in out
    assert (copy / EXPERIMENT / "train" / artifacts.PARAMS).read_bytes() == good
    assert not (copy / EXPERIMENT / "train" / artifacts.CHECKPOINT).exists()


def test_the_reference_emulator_gives_the_same_rows(copy):
    """nengo-loihi's own emulator against ours, through the whole pipeline."""
    folder = copy / EXPERIMENT / "deploy"
    limit = ["--limit", "2", "--set", 'deploy.models=["loihi-hybrid", "loihi-converted"]']
    results = {}
    for target in ("emulator", "reference"):
        assert cotrain("deploy", EXPERIMENT, "--runs", copy, *TINY, *limit, "--target", target, "--force") == 0
        rows = artifacts.read_json(folder / "metrics.json")["rows"]
        # nengo-loihi's has no counters of these two
        apart = ("seconds", "overflows", "input_spikes_max")
        results[target] = [{k: v for k, v in row.items() if k not in apart} for row in rows]
        results[target].append(artifacts.arrays_digest(artifacts.read_npz(folder / "rates.npz")))
    assert results["emulator"] == results["reference"]


@pytest.mark.parametrize("verb", ["finetune", "quantize", "deploy", "report"])
def test_a_stage_before_the_one_that_it_needs(verb, tmp_path, capsys):
    assert cotrain(verb, EXPERIMENT, "--runs", tmp_path, *TINY) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "needs the train stage" in error
    assert f"run: cotrain train {EXPERIMENT} --set" in error


@pytest.mark.parametrize(
    "stage, name", [("train", "params.npz"), ("finetune", "params.npz"), ("quantize", "placement.json")]
)
def test_a_changed_byte_in_an_input_names_the_file(stage, name, copy, capsys):
    path = copy / EXPERIMENT / stage / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert cotrain("report", EXPERIMENT, "--runs", copy, *TINY) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(path) in error and "--force" in error


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["trian", "locnet"], ["unknown verb 'trian'", "did you mean 'train'"]),
        (["train", "locnt"], ["unknown experiment 'locnt'", "did you mean 'locnet'"]),
        (["train"], ["required: EXPERIMENT"]),
        (["trian"], ["unknown verb 'trian'", "did you mean 'train'"]),
        (["train", EXPERIMENT, "--foce"], ["unknown argument '--foce'", "did you mean '--force'"]),
        (["train", EXPERIMENT, "--set", "train.epoch=1"], ["unknown setting 'epoch'"]),
        (["train", EXPERIMENT, "--set", "train.epochs=zero"], ["epochs is 'zero'"]),
        (["deploy", EXPERIMENT, "--target", "loihi3"], ["loihi3"]),
        (["train", "locnet", "--data", "nowhere"], ["nowhere", "make data"]),
        (["train", "cae", "--data", "nowhere"], ["nowhere", "make data"]),
        (["evaluate", EXPERIMENT, "--json", "no/such/folder/x.json"], ["no/such/folder"]),
        (
            ["evaluate", EXPERIMENT, "--models", "anm", "--json", "x.json"],
            ["unknown model 'anm'", "did you mean 'ann'"],
        ),
        (["evaluate", EXPERIMENT, "--limit", "-1", "--json", "x.json"], ["--limit is -1"]),
    ],
)
def test_one_line_for_what_is_wrong(arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cotrain(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_a_closed_output_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cotrain("train", EXPERIMENT, "--runs", tmp_path / "file" / "runs", *TINY) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cannot write" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_output_folder(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert cotrain("train", EXPERIMENT, "--runs", tmp_path / "runs", *TINY) == 2
    assert "cannot write" in capsys.readouterr().err


def test_evaluate_scores_a_run(runs, tmp_path, capsys):
    target = tmp_path / "metrics.json"
    arguments = ["evaluate", EXPERIMENT, "--runs", runs, "--params", "run", "--json", target, *TINY]
    assert cotrain(*arguments) == 0
    found = json.loads(target.read_text())
    deployed = artifacts.read_json(runs / EXPERIMENT / "deploy" / "metrics.json")
    values = {row["model"]: row["value"] for row in deployed["rows"]}
    assert {row["model"]: row["value"] for row in found["rows"]} == values
    assert cotrain(*arguments, "--split", "all", "--models", "ann,loihi-hybrid", "--limit", 7) == 0
    found = json.loads(target.read_text())
    assert found["n_samples"] == 7 and found["split"] == "all"
    assert [row["model"] for row in found["rows"] if "skipped" not in row] == ["ann", "loihi-hybrid"]
    assert len(found["rows"]) == len(MODELS)
    assert cotrain(*arguments, "--split", "validation", "--models", "ann") == 0
    found = json.loads(target.read_text())
    (row,) = (row for row in found["rows"] if row["model"] == "ann")
    assert found["split"] == "validation" and row["value"] != values["ann"]  # of other images


def loaded_after(arguments) -> tuple[str, list[str]]:
    """What a command prints, and the heavy packages that it has loaded then."""
    script = (
        "import sys; from cotrain.pipeline.__main__ import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'pydantic', 'tensorflow', 'nengo', 'nengo_loihi', 'numba') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    return out, out.splitlines()[-1]


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_verb_and_loads_nothing_heavy(arguments):
    out, loaded = loaded_after(arguments)
    assert [line.split()[0] for line in out.splitlines() if line[:2] == "  " and line[2] != " "] == list(VERBS)
    assert max(map(len, out.splitlines())) < 80 and loaded == "[]"


def test_help_of_every_verb_describes_every_argument(capsys):
    for name in VERBS:
        parser = parser_for(name)
        for action in parser._actions:
            assert action.help, f"{name} {action.dest}"
    assert loaded_after(["evaluate", "--help"])[1] == "[]"
    with pytest.raises(SystemExit) as caught:
        main(["check", "--help"])
    assert caught.value.code == 0 and "kapoho_bay, nahuku8, nahuku32, pohoiki" in capsys.readouterr().out


def test_version(capsys):
    assert cotrain("--version") == 0
    assert capsys.readouterr().out == f"loihi-cotrain {__version__}\n"


def test_settings_prints_every_key_with_default_bounds_and_meaning(capsys):
    assert cotrain("settings") == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) < 80
    flat = " ".join(text.split())
    for one in experiment.all_settings():
        assert f" {one.key} = " in f" {flat}" and one.meaning[1:] in flat and one.allowed[1:] in flat, one.name
    assert cotrain("settings", "train") == 0
    part = capsys.readouterr().out
    assert part.startswith("[train]") and "[finetune]" not in part and part in text
    assert cotrain("settings", "train.epochs") == 0
    assert capsys.readouterr().out.count(" = ") == 1
    for wrong, words in (("trian", "did you mean 'train'"), ("train.epoch", "did you mean 'epochs'")):
        assert cotrain("settings", wrong) == 2
        assert words in capsys.readouterr().err


def test_sigterm_leaves_no_temporary_folder(tmp_path):
    code = (
        "import os, signal, sys, tempfile, time\n"
        "from cotrain.pipeline import __main__ as command_line\n"
        "from cotrain.pipeline.commands import status\n"
        "def run(arguments):\n"
        "    with tempfile.TemporaryDirectory(dir=sys.argv[1]):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(20)\n"
        "status.run = run\n"
        "sys.exit(command_line.main(['status']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert list(tmp_path.iterdir()) == [] and done.stderr == ""


@pytest.mark.parametrize("words", [["settings"], ["--version"], ["status", "--runs", "a" * 300]], ids=lambda w: w[0])
def test_what_the_machine_lacks_is_one_line(words, tmp_path):
    """A full disk behind standard output, large and small; a name that no disk takes."""
    code = f"import sys; from cotrain.pipeline.__main__ import main; sys.exit(main({words}))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("cotrain: ") and ("No space left" in done.stderr or "too long" in done.stderr)
