"""Run folders: nothing half-written, every change found, the same bytes from the same arrays."""

import errno
import json
import os
import shlex
import subprocess
import sys
import time

import numpy as np
import pytest
from cotrain.hardware.errors import BusyError, CorruptError, MissingError, OutputError
from cotrain.pipeline.runs import artifacts, parameters
from cotrain.pipeline.runs.folder import RunFolder
from cotrain.pipeline.runs.lock import locked, owner
from cotrain.pipeline.runs.request import Request


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {"conv1.kernel": rng.standard_normal((3, 3, 1, 4)).astype(np.float32), "names": np.array(["a", "bc"])}


def test_npz_round_trip_and_bytes_do_not_depend_on_time_or_order(tmp_path, arrays):
    first = artifacts.npz_bytes(arrays)
    time.sleep(2.1)  # zip time stamps count in twos
    assert artifacts.npz_bytes(dict(reversed(arrays.items()))) == first
    artifacts.write_npz(tmp_path / "x.npz", arrays)
    back = artifacts.read_npz(tmp_path / "x.npz")
    assert set(back) == set(arrays)
    for name in arrays:
        np.testing.assert_array_equal(back[name], arrays[name])
        assert back[name].dtype == arrays[name].dtype
    with np.load(tmp_path / "x.npz", allow_pickle=False) as theirs:  # numpy's own reader
        np.testing.assert_array_equal(theirs["conv1.kernel"], arrays["conv1.kernel"])


def test_objects_are_refused(tmp_path):
    with pytest.raises(ValueError):
        artifacts.write_npz(tmp_path / "x.npz", {"x": np.array([{}], dtype=object)})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "metrics.json"
    artifacts.write_json(path, {"value": 1})
    with pytest.raises(RuntimeError), artifacts.writing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"value": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_a_full_disk_and_a_closed_folder_are_one_line(tmp_path):
    with pytest.raises(OutputError, match="disk is full.*--runs DIR"), artifacts.writing(tmp_path / "x"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        artifacts.write_bytes(tmp_path / "file" / "x", b"")
    with pytest.raises(OutputError, match="cannot write"):
        RunFolder(tmp_path / "file" / "train", "train").begin()


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError):
        artifacts.write_json(tmp_path / "x.json", {"value": float("nan")})


def write(folder, arrays, key=(1, 2)):
    """A stage's work: two outputs and what it leaves behind on the way."""
    folder.begin()
    artifacts.write_bytes(folder.part / artifacts.CHECKPOINT, b"state")
    artifacts.write_npz(folder.part / artifacts.PARAMS, arrays)
    artifacts.write_json(folder.part / artifacts.HISTORY, {"epochs": []})
    folder.finish({"settings": {"epochs": key}}, [artifacts.PARAMS, artifacts.HISTORY], 1.5)
    return folder


@pytest.fixture
def folder(tmp_path, arrays):
    return write(RunFolder(tmp_path / "train", "train"), arrays)


def test_manifest_describes_every_output(folder, arrays):
    manifest = folder.manifest()
    entry = manifest["outputs"][artifacts.PARAMS]
    assert entry["arrays"]["conv1.kernel"] == {"dtype": "<f4", "shape": [3, 3, 1, 4]}
    assert entry["sha256"] == artifacts.sha256((folder.path / artifacts.PARAMS).read_bytes())
    assert manifest["versions"]["numpy"] == np.__version__
    assert manifest["settings"] == {"epochs": [1, 2]}  # tuples are lists in JSON
    assert sorted(p.name for p in folder.path.iterdir()) == ["history.json", "manifest.json", "params.npz"]
    assert [p.name for p in folder.path.parent.iterdir()] == ["train"]


def test_every_flipped_bit_is_found_and_the_file_named(folder):
    path = folder.path / artifacts.PARAMS
    data = path.read_bytes()
    good = folder.verify()
    for position in range(0, len(data), 97):
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(CorruptError, match=r"params\.npz was changed"):
            folder.verify()
    path.write_bytes(data)
    assert folder.verify() == good
    path.unlink()
    with pytest.raises(CorruptError, match=r"params\.npz is missing"):
        folder.verify()


def test_the_old_result_stays_until_the_new_one_is_whole(folder):
    good = folder.verify()
    folder.begin()
    artifacts.write_json(folder.part / artifacts.HISTORY, {"epochs": [1]})
    assert folder.finished() and folder.verify() == good
    folder.abandon()
    assert not folder.part.exists() and folder.verify() == good
    folder.begin()
    artifacts.write_bytes(folder.part / artifacts.CHECKPOINT, b"state")
    artifacts.write_json(folder.part / artifacts.HISTORY, {"epochs": [1]})
    folder.abandon()  # what a run goes on from is kept
    assert [p.name for p in folder.part.iterdir()] == [artifacts.CHECKPOINT] and folder.verify() == good


def test_what_an_earlier_version_left_unfinished_is_gone_on_with(tmp_path):
    folder = RunFolder(tmp_path / "train", "train")
    folder.path.mkdir()
    (folder.path / artifacts.CHECKPOINT).write_bytes(b"state")
    folder.begin()
    assert (folder.part / artifacts.CHECKPOINT).read_bytes() == b"state" and not folder.path.exists()


class Killed(BaseException):
    pass


def kill_at(limit, patch):
    """Have the process end in front of a change of the disk: `limit` of them are too many."""
    done = []

    def counted(real):
        def change(*args, **kwargs):
            done.append(real.__name__)
            if len(done) == limit:
                raise Killed
            return real(*args, **kwargs) if real is not fsync else None  # slow, and nobody cuts the power

        return change

    fsync = os.fsync
    for name in ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync"):
        patch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("before", ["nothing", "a result"])
def test_killed_at_any_change_of_the_disk_it_ends_with_one_whole_result(tmp_path, monkeypatch, arrays, before):
    """At every rename, removal and new folder of a run: after `settle` the old result or the new one, whole."""
    states, n_changes = set(), 0
    other = {name: value + 1 for name, value in arrays.items() if value.dtype.kind == "f"}
    for limit in range(1, 100):
        folder = RunFolder(tmp_path / str(limit) / "train", "train")
        folder.path.parent.mkdir()
        if before == "a result":
            write(folder, arrays)
        with monkeypatch.context() as patch:
            kill_at(limit, patch)
            try:
                write(folder, other, key=(3, 4))
                killed = False
            except Killed:
                killed = True
        folder.settle()
        state = folder.manifest()["settings"]["epochs"] if folder.finished() else None
        if state:
            folder.verify()
            assert state in ([1, 2], [3, 4])
            if state == [3, 4]:
                assert sorted(p.name for p in folder.path.iterdir()) == ["history.json", "manifest.json", "params.npz"]
        else:
            assert before == "nothing"
        if not killed:
            n_changes = limit
            break
        states.add(str(state))
        write(folder, other, key=(3, 4))  # the same command again
        assert folder.manifest()["settings"]["epochs"] == [3, 4] and folder.verify()
        assert [p.name for p in folder.path.parent.iterdir()] == ["train"]
    assert n_changes > 10 and states == {"[3, 4]", "None" if before == "nothing" else "[1, 2]"}


def test_a_changed_manifest_is_found(folder):
    text = folder.manifest_path.read_text()
    for before, after in (('"stage": "train"', '"stage": "trian"'), ("1.5", "1.6"), ('"bytes": ', '"bytes": 1')):
        assert before in text
        folder.manifest_path.write_text(text.replace(before, after))
        with pytest.raises(CorruptError, match="manifest.json was changed.*train stage again with --force"):
            folder.verify()


@pytest.mark.parametrize("name", ["../params.npz", "/etc/passwd", "a" * 300, "a\0b", ""])
def test_a_manifest_that_certifies_itself_names_no_files_elsewhere(folder, name):
    manifest = {key: value for key, value in folder.manifest().items() if key != "sha256"}
    manifest["outputs"][name] = {"sha256": "0" * 64}
    artifacts.write_sealed(folder.manifest_path, manifest)
    with pytest.raises(CorruptError, match="manifest.json names the file"):
        folder.verify()


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 3000, "1e999", '{"schema": 99, "outputs": {}}', '{"schema": 2}'])
def test_a_damaged_manifest_is_one_line(folder, text):
    folder.manifest_path.write_text(text)
    with pytest.raises(CorruptError, match="manifest.json"):
        folder.manifest()


def test_reading_what_is_not_there_or_damaged(tmp_path):
    with pytest.raises(MissingError, match="does not exist"):
        artifacts.read_npz(tmp_path / "x.npz")
    with pytest.raises(MissingError, match="does not exist"):
        artifacts.read_json(tmp_path / "x.json")
    for content in (b"", b"PK\x03\x04rubbish", b"not a zip"):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(CorruptError, match="cannot be read"):
            artifacts.read_npz(tmp_path / "x.npz")


HOLD = """
import sys, time
from pathlib import Path
from cotrain.pipeline.runs.lock import locked
sys.argv = ["cotrain", "train", "locnet"]
with locked(Path({folder!r})):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_writes_and_a_dead_one_keeps_no_lock(tmp_path):
    folder = tmp_path / "locnet"
    command = [sys.executable, "-c", HOLD.format(folder=str(folder))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BusyError) as caught, locked(folder):
            pass
        text = str(caught.value)
        assert f"`cotrain train locnet` (process {process.pid} on " in text and "\n" not in text
        assert f"process {process.pid}" in owner(folder)
        process.kill()
    with locked(folder):
        assert owner(folder).count(f"process {os.getpid()}") == 1
        (folder / "something").touch()
    assert owner(folder) == ""
    with locked(folder):
        pass


def test_a_lock_leaves_nothing_where_nothing_came_of_it(tmp_path):
    with locked(tmp_path / "x"):
        assert (tmp_path / "x").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_names_of_comparisons_stay_short(tmp_path):
    few = artifacts.comparison_file(tmp_path, ["a", "b"], "html")
    many = artifacts.comparison_file(tmp_path, [f"experiment-{i}" for i in range(30)], "html")
    assert few.name == "report-a-b.html" and many.name.startswith("report-30-experiments-") and len(many.name) < 60


def test_a_command_is_printed_as_it_was_asked_for(tmp_path):
    asked = Request("my set.toml", ("train.epochs=1", "title=a b"), tmp_path / "r")
    words = shlex.split(asked.command("train", "--force"))
    assert words == [
        "cotrain", "train", "my set.toml", "--force", "--set", "train.epochs=1", "--set", "title=a b",
        "--runs", str(tmp_path / "r"),
    ]  # fmt: skip
    assert Request("locnet").command("report") == "cotrain report locnet"


def test_small_package_keeps_what_fine_tuning_raised(tmp_path, monkeypatch):
    """Rates raised before fine-tuning scale whole kernels: what is left in 8 bits is small all the same."""
    rng = np.random.default_rng(0)
    ann = {"dense1.kernel": rng.normal(size=(40, 12)), "dense1.bias": rng.normal(size=12)}
    ann = {name: value.astype(np.float32) for name, value in ann.items()}
    ann["dense1.kernel"][:, 3] = 0  # a unit that has died
    moved = 4 * ann["dense1.kernel"] + 0.02 * rng.normal(size=(40, 12))
    hybrid = {"dense1.kernel": moved.astype(np.float32), "dense1.bias": ann["dense1.bias"] + 1}
    arrays = parameters.pack({"ann": ann, "hybrid": hybrid}, np.zeros(4), small=True)
    monkeypatch.setattr(parameters, "package_file", lambda experiment: tmp_path / "small.npz")
    artifacts.write_npz(tmp_path / "small.npz", arrays)
    found = parameters.from_package(None).params
    assert found["ann"]["dense1.kernel"].dtype == found["hybrid"]["dense1.kernel"].dtype == np.float32
    np.testing.assert_allclose(found["ann"]["dense1.kernel"], ann["dense1.kernel"], rtol=1e-3)
    np.testing.assert_allclose(found["hybrid"]["dense1.kernel"], hybrid["dense1.kernel"], atol=6e-4)
    np.testing.assert_array_equal(found["hybrid"]["dense1.bias"], hybrid["dense1.bias"])
