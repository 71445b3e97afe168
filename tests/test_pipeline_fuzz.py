"""Short versions of ``make fuzz``: spoilt files for every reader, stages killed at their writes; in children."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cotrain.hardware.errors import CorruptError, MissingError
from cotrain.pipeline.datasets.base import Unusable
from fuzz import inputs, killed, readers

HERE = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def script(name, *arguments):
    """Run one of the long checks; (exit status, what it printed)."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "fuzz" / name), *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, **ONE_THREAD},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_spoilt_files_are_read_or_refused_in_one_line():
    code, printed = script("inputs.py", "--scale", 0.01, "--dry")
    assert code == 0, printed
    assert all(name in printed for name in readers.READERS)


def test_stages_killed_at_their_writes_go_on_to_the_same_bytes(tmp_path):
    """Every sixteenth change of the disk; all of them, and at random moments: ``make fuzz``."""
    code, printed = script("kills.py", "--every", 16, "--json", tmp_path / "counts.json")
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert code == 0 and counts["wrong"] == 0, printed
    assert counts["killed at a change"] >= 12 and counts["changes of deploy"] > 30


def changes(folder, log):
    """What a child does below `folder`."""
    (folder / "new").mkdir()
    (folder / "new" / "a").write_bytes(b"12345678")
    os.rename(folder / "new" / "a", folder / "b")
    (folder / "b").unlink()
    return 0


@pytest.mark.parametrize(
    "at, left", [(1, []), (2, ["new"]), (3, ["new", "new/a"]), (4, ["new", "new/a"]), (5, ["b", "new"])]
)
def test_a_kill_is_where_it_is_asked_for(tmp_path, at, left):
    code = killed.forked(lambda: changes(tmp_path, None), killed.Watch(tmp_path, at))
    assert code == -9 and sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == left
    if at == 3:
        assert (tmp_path / "new" / "a").read_bytes() == b"1234"  # half of a write


@pytest.mark.parametrize("kind", [CorruptError, MissingError, Unusable])
def test_what_a_file_holds_cannot_write_to_the_terminal(kind):
    text = str(kind("label 'a\x1b[2J\r\nb\u202e' of x.json"))
    assert text.isprintable() and "a\\x1b[2J\\r\\nb\\u202e" in text


@pytest.mark.parametrize("name, number", [("onnx", 200013), ("onnx", 200188), ("keras", 200419)])
def test_models_that_were_no_one_line_once(name, number, tmp_path):
    """A name that is no UTF-8, a border of 16 million pixels, an index of HDF5 that points nowhere."""
    reader = readers.READERS[name]
    file, data = inputs.spoilt(reader, reader.seeds(tmp_path), number)
    (tmp_path / file).write_bytes(data)
    assert inputs.outcome(reader, tmp_path / file) in ("read", "refused")
