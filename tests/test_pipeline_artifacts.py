"""Run folders: nothing half-written, every change found, the same bytes from the same arrays."""

import errno
import json
import os
import time

import numpy as np
import pytest
from cotrain.hardware.errors import CorruptError, MissingError, OutputError
from cotrain.pipeline.runs import artifacts


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
        artifacts.RunFolder(tmp_path / "file" / "train", "train").open()


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError):
        artifacts.write_json(tmp_path / "x.json", {"value": float("nan")})


@pytest.fixture
def folder(tmp_path, arrays):
    folder = artifacts.RunFolder(tmp_path / "train", "train")
    folder.open()
    artifacts.write_npz(folder.path / artifacts.PARAMS, arrays)
    artifacts.write_json(folder.path / artifacts.HISTORY, {"epochs": []})
    folder.close({"settings": {"epochs": (1, 2)}}, [artifacts.PARAMS, artifacts.HISTORY], 1.5)
    return folder


def test_manifest_describes_every_output(folder, arrays):
    manifest = folder.manifest()
    entry = manifest["outputs"][artifacts.PARAMS]
    assert entry["arrays"]["conv1.kernel"] == {"dtype": "<f4", "shape": [3, 3, 1, 4]}
    assert entry["sha256"] == artifacts.sha256((folder.path / artifacts.PARAMS).read_bytes())
    assert manifest["versions"]["numpy"] == np.__version__
    assert folder.fresh({"settings": {"epochs": (1, 2)}})  # tuples are lists in JSON
    assert not folder.fresh({"settings": {"epochs": (1, 3)}})


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


def test_a_folder_without_manifest_is_unfinished(folder):
    assert folder.finished()
    folder.open()
    assert not folder.finished() and not folder.fresh({})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99, "outputs": {}}'])
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
