"""What travels to the lab, and how it is checked there and here."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from bundle_of import tiny_bundle, unpacked
from cotrain.hardware.bundle import archive, run, verify
from cotrain.hardware.bundle.differences import Differences
from cotrain.hardware.bundle.folder import Folder, npz_bytes
from cotrain.hardware.bundle.results import Results
from cotrain.hardware.bundle.source import closure
from cotrain.hardware.chip.limits import LOIHI1, Board
from cotrain.hardware.errors import CorruptError, InputError, MisfitError
from cotrain.hardware.files import read_npz
from cotrain.pipeline.networks.rebuild import BUILDER, rebuild

ROOT = Path(__file__).resolve().parents[1]
OWN = "cotrain/", "run.py"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("submission"), n_samples=3)


@pytest.fixture(scope="module")
def unpacked_once(bundle, tmp_path_factory):
    return unpacked(bundle, tmp_path_factory.mktemp("lab"))


@pytest.fixture
def folder(unpacked_once, tmp_path):
    """A copy that a test may spoil."""
    left_by_others = shutil.ignore_patterns("results-*", "__pycache__")
    return Path(shutil.copytree(unpacked_once, tmp_path / "copy", ignore=left_by_others))


def python(folder, *arguments, interpreter=sys.executable, options=(), **environ):
    """Run the bundle as a lab would: nothing of this checkout is in sight."""
    clean = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
    return subprocess.run(
        [interpreter, *options, "run.py", *arguments],
        cwd=folder,
        env={**clean, **environ},
        capture_output=True,
        text=True,
    )


def one_line(done, *words):
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and all(word in done.stderr for word in words), done.stderr


# --- what travels


def test_the_same_inputs_give_the_same_bytes(bundle, tmp_path):
    again = tiny_bundle(tmp_path, n_samples=3)
    assert again.name == bundle.name and again.read_bytes() == bundle.read_bytes()
    assert bundle.name == f"tiny-{archive.read_archive(bundle)[2]['digest'][:12]}.tar.gz"
    assert tiny_bundle(tmp_path, n_samples=2).name != bundle.name


def test_one_folder_without_times_and_owners(bundle):
    with tarfile.open(bundle) as tar:
        members = tar.getmembers()
    assert {m.name.partition("/")[0] for m in members} == {bundle.name.removesuffix(".tar.gz")}
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert bundle.stat().st_size < 10e6


def test_it_holds_what_the_lab_needs_and_nothing_else(bundle):
    _, files, manifest = archive.read_archive(bundle)
    assert set(manifest["files"]) == set(files) - {"manifest.json"}
    outside = {name for name in files if not name.startswith(OWN) and not name.startswith("expected/")}
    assert outside == {
        "manifest.json", "README.md", "requirements.txt", "environment.sh", "LICENSE", "NOTICE.md", "network.json",
        "params.npz", "inputs.npz", "preflight.json",
    }  # fmt: skip
    modules = {name for name in files if name.endswith(".py")}
    ours = {m for m in modules if m.startswith("cotrain/pipeline/")}
    networks = {m for m in ours if m.startswith(("cotrain/pipeline/networks/", "cotrain/pipeline/neurons/"))}
    assert ours == networks | {"cotrain/pipeline/__init__.py"}
    not_needed = ("placement/search", "preflight/rules", "cost/estimate", "bundle/pack")
    assert all((ROOT / "hardware" / f"{name}.py").is_file() for name in not_needed)
    assert not modules & {f"cotrain/hardware/{name}.py" for name in not_needed}
    for name in modules:
        ast.parse(files[name], name, feature_version=(3, 8))
        assert b"import tensorflow" not in files[name] and b"import nengo_dl" not in files[name]
    ast.parse(files["run.py"], "run.py", feature_version=(3, 4))  # an old Python can say that it is too old
    assert b"never run on silicon" in files["README.md"] and b"@" not in files["README.md"]


def test_imports_inside_functions_travel_too(tmp_path, monkeypatch):
    zoo = {"__init__": "", "a": "def f():\n    from zoo import b", "b": "import zoo.c", "c": "import json"}
    for name, text in zoo.items():
        (tmp_path / "zoo").mkdir(exist_ok=True)
        (tmp_path / "zoo" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert list(closure(["zoo.a"], ["zoo"])) == ["zoo/__init__.py", "zoo/a.py", "zoo/b.py", "zoo/c.py"]


def test_what_the_board_would_fail_is_not_written(tmp_path, capsys):
    small = Board("small", 1, dataclasses.replace(LOIHI1, spike_counters_per_chip=1, input_axons=8))
    with pytest.raises(MisfitError, match="no bundle was written, because the board would fail: .* of small"):
        tiny_bundle(tmp_path / "out", board=small)
    assert not (tmp_path / "out").exists()


def test_snips_where_spike_counters_do_not_suffice(tmp_path):
    few = Board("few", 1, dataclasses.replace(LOIHI1, spike_counters_per_chip=4))
    _, files, _ = archive.read_archive(tiny_bundle(tmp_path, n_samples=1, board=few))
    description, summary = json.loads(files["network.json"]), json.loads(files["expected/summary.json"])
    assert description["precompute"] is False
    assert description["hardware_options"]["snip_max_spikes_per_step"] >= summary["input_spikes_max"] > 50
    assert json.loads(files["preflight.json"])["violations"] == []


# --- one flipped bit


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_flipped_bit_anywhere_in_the_archive(bundle, tmp_path):
    data = bundle.read_bytes()
    rng, n_bits = random.Random(0), 8 * len(data)
    bits = [*range(80), *range(n_bits - 8 * 12, n_bits), *(rng.randrange(n_bits) for _ in range(60))]
    for bit in bits:
        copy = tmp_path / bundle.name
        copy.write_bytes(flipped(data, bit))
        with pytest.raises(CorruptError, match=bundle.name):
            archive.read_archive(copy)
    copy.write_bytes(data[:-1000])
    with pytest.raises(CorruptError, match="cannot be unpacked"):
        archive.read_archive(copy)


def test_a_flipped_bit_in_any_file_names_it(bundle, tmp_path):
    top, files, _ = archive.read_archive(bundle)
    rng = random.Random(1)
    for name, data in files.items():
        spoilt = {**files, name: flipped(data, rng.randrange(8 * len(data)))}
        with pytest.raises(run.DamagedBundle, match=f"^{name} is damaged"):
            run.check_files(top, spoilt.__getitem__)
        with pytest.raises(run.DamagedBundle, match=f"^{name} is missing"):
            run.check_files(top, {n: d for n, d in files.items() if n != name}.__getitem__)
    manifest = files["manifest.json"]
    for bit in rng.sample(range(8 * len(manifest)), 1000):
        with pytest.raises(run.DamagedBundle, match="^manifest.json is damaged"):
            run.read_manifest(flipped(manifest, bit))
    packed = tmp_path / "again.tar.gz"
    packed.write_bytes(archive.archive_bytes({**files, "params.npz": files["params.npz"] + b"\0"}, top))
    with pytest.raises(CorruptError, match="params.npz is damaged"):
        archive.read_archive(packed)
    packed.write_bytes(archive.archive_bytes({**files, "numpy.py": b""}, top))
    with pytest.raises(CorruptError, match="numpy.py is not part of the bundle"):
        archive.read_archive(packed)


def test_headers_of_the_archive_are_checked(bundle, tmp_path):
    top, files, _ = archive.read_archive(bundle)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            item = tarfile.TarInfo(f"{top}/{name}")
            item.size, item.mtime = len(data), 1
            tar.addfile(item, io.BytesIO(data))
    other = tmp_path / "other.tar.gz"
    other.write_bytes(buffer.getvalue())
    with pytest.raises(CorruptError, match="headers are not those"):
        archive.read_archive(other)


# --- in the lab


def test_emulator_reproduces_every_spike_and_resumes(unpacked_once):
    first = python(unpacked_once, "--target", "emulator", "--limit", "1")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "1 sample, all equal to the last bit" in first.stdout
    rest = python(unpacked_once, "--target", "emulator", "--resume")
    assert rest.returncode == 0, rest.stdout + rest.stderr
    assert "sample 1 of 3" not in rest.stdout and "3 samples, all equal" in rest.stdout
    tree = json.loads((unpacked_once / "results-emulator" / "results.json").read_text())
    assert tree["complete"] and [r["first_sample"] for r in tree["ran_on"]] == [0, 1]
    assert tree["ran_on"][0]["packages"]["nengo-loihi"] == "1.1.0" and tree["ran_on"][0]["target"] == "emulator"
    for i in range(3):
        expected = read_npz(unpacked_once / "expected" / f"sample-{i:04d}.npz")
        found = read_npz(unpacked_once / "results-emulator" / f"sample-{i:04d}.npz")
        assert sorted(found) == sorted(expected) and all(np.array_equal(found[k], expected[k]) for k in found)
        assert sum(int(v.sum()) for k, v in found.items() if k.startswith("spikes/")) > 100


def test_a_killed_job_goes_on(folder):
    clean = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
    command = [sys.executable, "-u", "run.py", "--target", "reference"]
    job = subprocess.Popen(command, cwd=folder, env=clean, stdout=subprocess.PIPE, text=True)
    for line in job.stdout:
        if "sample 1 of 3" in line:
            job.send_signal(signal.SIGKILL)
            break
    job.communicate()
    assert job.returncode == -signal.SIGKILL
    assert json.loads((folder / "results-reference" / "results.json").read_text())["complete"] is False
    done = python(folder, "--target", "reference", "--resume")
    assert done.returncode == 0 and "sample 1 of 3" not in done.stdout, done.stdout + done.stderr
    assert "3 samples, all equal to the last bit" in done.stdout


def test_files_are_checked_before_anything_is_imported(folder):
    name = "cotrain/hardware/simulator/simulator.py"
    source = folder / name
    source.write_bytes(flipped(source.read_bytes(), 5000))
    one_line(python(folder, "--target", "emulator"), f"{name} is damaged", "unpack the archive again")
    source.unlink()
    one_line(python(folder, "--target", "emulator"), f"{name} is missing")


def test_a_module_that_would_hide_another_is_refused(folder):
    (folder / "numpy.py").write_text("raise SystemExit(99)")
    one_line(python(folder, "--target", "emulator"), "numpy.py is not part of the bundle")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--target",)),
        (("--target", "sim"), ("invalid choice: 'sim'",)),
        (("--target", "emulator", "--limit", "4"), ("--limit is 4", "give 1 to 3")),
        (("--target", "emulator", "--limit", "x"), ("--limit",)),
        (("--target", "loihi"), ("needs Intel's NxSDK", "--target emulator")),
    ],
)
def test_arguments_that_cannot_work(unpacked_once, arguments, words):
    one_line(python(unpacked_once, *arguments), *words)


def test_a_partition_that_does_not_exist(unpacked_once):
    done = python(unpacked_once, "--target", "loihi", PARTITION="nahuku33")
    one_line(done, "PARTITION=nahuku33 does not exist", "nahuku32_2h")


OTHERS = [("nengo", "0.9.0"), ("nengo-loihi", "0.9.0"), ("nengo", "3.2.0" if sys.version_info >= (3, 13) else "4.1.0")]


@pytest.mark.parametrize(("package", "version"), OTHERS)
def test_another_version_is_refused(unpacked_once, tmp_path, package, version):
    info = tmp_path / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    done = python(unpacked_once, "--target", "emulator", PYTHONPATH=str(tmp_path))
    one_line(done, f"{package} is {version}; the bundle needs", "pip install -r requirements.txt")


def test_a_python_of_tomorrow_is_refused():
    with pytest.raises(run.DamagedBundle, match="this is Python 3.14; the bundle needs Python 3.8"):
        run.check_python((3, 14, 0))


def test_packages_that_are_not_installed(unpacked_once):
    one_line(python(unpacked_once, "--target", "emulator", options=["-S"]), "nengo is not installed for this Python")


def interpreters(version):
    """Interpreters of a version: in PATH, or installed by pyenv."""
    found = [shutil.which(f"python{version}"), *Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python")]
    works = [subprocess.run([p, "--version"], capture_output=True).returncode == 0 for p in found if p]
    return [str(p) for p, ok in zip((p for p in found if p), works, strict=True) if ok]


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_another_python_is_refused(unpacked_once, version):
    if not interpreters(version):
        pytest.skip(f"no Python {version} on this machine")
    done = python(unpacked_once, "--target", "emulator", interpreter=interpreters(version)[0])
    one_line(done, f"this is Python {version}", "python3.8 run.py")


def test_python_38_with_the_pinned_requirements(unpacked_once, tmp_path, pytestconfig):
    if not interpreters("3.8"):
        pytest.skip("no Python 3.8 on this machine")
    pins = (unpacked_once / "requirements.txt").read_bytes()
    cache = getattr(pytestconfig, "cache", None)  # made once, unless pytest keeps nothing
    home = (Path(cache.mkdir("lab-python38")) if cache else tmp_path) / run.hashlib.sha256(pins).hexdigest()[:12]
    lab = home / "bin" / "python"
    if not (home / "ready").exists():
        subprocess.run([interpreters("3.8")[0], "-m", "venv", "--clear", str(home)], check=True)
        command = [str(lab), "-m", "pip", "install", "-q", "-r", str(unpacked_once / "requirements.txt")]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"pip cannot install the pinned requirements: {made.stderr.strip().splitlines()[-1]}")
        (home / "ready").touch()
    for target in ("reference", "emulator"):
        done = python(unpacked_once, "--target", target, "--results", str(tmp_path / target), interpreter=str(lab))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "3 samples, all equal to the last bit" in done.stdout and "python 3.8" in done.stdout


# --- back from the lab

OURS = {BUILDER: rebuild}


def came_back(unpacked_once, path, change=None, target="loihi", n=3):
    """A results folder, as the board would write it; `change(record)` for sample 1."""
    lab = Folder(unpacked_once, run.check_files(str(unpacked_once))["digest"])
    results = Results(path, lab, target, resume=False)
    for index in range(n):
        record = lab.expected(index)
        if index == 1 and change is not None:
            change(record)
        results.add(index, record, 0.1)
    return lab, results


def test_verify_runs_the_bundle_again(unpacked_once, tmp_path):
    said = []
    came_back(unpacked_once, tmp_path, n=2)
    checked = verify.verify(unpacked_once, tmp_path, said.append, OURS)
    assert checked.equal and checked.emulated["samples"] == 3
    assert "emulator: 3 samples, every spike and output as expected" in said
    assert "loihi: 2 of 3 samples came back" in said


def test_the_first_difference_is_named(unpacked_once, tmp_path, monkeypatch):
    def change(record):
        record["spikes/pool1"][7] += 2
        record["spikes/dense1"][0] += 1
        record["output_steps"][9:] += np.uint64(1)
        record["output"][2] += 0.25

    monkeypatch.setattr(verify, "_emulated", lambda *_: {"equal": True, "samples": 3})
    lab, _ = came_back(unpacked_once, tmp_path, change)
    said = []
    checked = verify.verify(unpacked_once, tmp_path, said.append, OURS)
    was = int(lab.expected(1)["spikes/pool1"][7])
    assert not checked.equal
    assert checked.comparison.first == (
        f"sample 1 (s1), layer pool1: neuron 7 spiked {was + 2} times, expected {was} "
        f"(1 of {len(lab.expected(1)['spikes/pool1'])} neurons differ)"
    )
    assert checked.comparison.samples_different == 1 and checked.comparison.output_difference_max == pytest.approx(0.25)
    assert "1 of 3 samples differ" in said[-1]


def test_a_difference_of_the_output_alone(unpacked_once):
    lab = Folder(unpacked_once, "")
    record = lab.expected(0)
    record["output_steps"][11] += np.uint64(1)
    del record["spikes/dense1"]  # a layer that the board did not count
    comparison = Differences(lab.layers, lab.names)
    comparison.add(0, lab.expected(0), record)
    assert comparison.first == "sample 0 (s0), output: differs from step 12 on; largest difference of the mean 0"
    assert comparison.to_dict()["layers"][-1]["spikes"] is None and "not counted" in comparison.table()


def test_damaged_results_are_named(unpacked_once, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "_emulated", lambda *_: {"equal": True, "samples": 3})
    lab, results = came_back(unpacked_once, tmp_path / "a")
    record = tmp_path / "a" / "sample-0002.npz"
    record.write_bytes(flipped(record.read_bytes(), 3000))
    with pytest.raises(CorruptError, match="sample-0002.npz is damaged"):
        verify.verify(unpacked_once, tmp_path / "a", lambda text: None, OURS)
    with pytest.raises(CorruptError, match="sample-0002.npz is damaged"):
        Results(tmp_path / "a", lab, "loihi", resume=True)
    results.tree["bundle"] = "0" * 64
    results.save()
    with pytest.raises(InputError, match="holds results of bundle 000000000000, not of"):
        verify.verify(unpacked_once, tmp_path / "a", lambda text: None, OURS)
    with pytest.raises(InputError, match="holds results of bundle 0+, not"):
        Results(tmp_path / "a", lab, "loihi", resume=True)


def test_a_bundle_that_cannot_reproduce_itself(unpacked_once, tmp_path):
    """Its checksums are right, but what is expected is not what its network gives: verify says where."""
    top = tmp_path / "forged"
    files = {str(p.relative_to(unpacked_once)): p.read_bytes() for p in unpacked_once.rglob("*") if p.is_file()}
    files = {n: d for n, d in files.items() if "__pycache__" not in n and not n.startswith(("results", "manifest"))}
    record = read_npz(unpacked_once / "expected" / "sample-0000.npz")
    record["spikes/conv1"][3] += 1
    files["expected/sample-0000.npz"] = npz_bytes(record)
    files["manifest.json"], _ = archive.manifest_bytes(files, {"experiment": "tiny", "version": "0"})
    archive.unpack(files, top)
    done = python(top, "--target", "reference", "--limit", "1")
    assert done.returncode == 1 and "first: sample 0 (s0), layer conv1: neuron 3 spiked" in done.stdout, done.stderr
