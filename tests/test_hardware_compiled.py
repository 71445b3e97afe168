"""Compiled functions where nothing can be kept on disk, or only in a temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cotrain.hardware.emulator.compiled import _own_folder

# as in a container: the installation cannot be written to, and there is no home
NO_HOME = """
from numba.core.caching import CompileResultCacheImpl
for kind in CompileResultCacheImpl._locator_classes:
    if "UserProvided" not in kind.__name__:
        kind.from_function = classmethod(lambda cls, function, path: None)
{before}
import cotrain.hardware.emulator.kernels, cotrain.hardware.host.exact  # does not fail
import numpy as np
from cotrain.hardware.host.neurons import count_spikes  # compiled in a second
total, counts = np.zeros(2, dtype=np.int64), np.zeros(3, dtype=np.int64)
count_spikes(np.array([[0, 1, 1], [0, 0, 1.0]]), total, counts)
assert total.tolist() == [2, 1] and counts.tolist() == [0, 1, 2]
"""


def run(folder, before=""):
    environment = {**os.environ, "TMPDIR": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)
    code = [sys.executable, "-W", "ignore", "-c", NO_HOME.format(before=before)]
    done = subprocess.run(code, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_temporary_folder_serves(tmp_path):
    run(tmp_path)
    (folder,) = tmp_path.glob("cotrain-numba-*")
    assert folder.stat().st_mode & 0o777 == 0o700 and list(folder.rglob("*.nbc"))


def test_and_so_does_none():
    run("/nonexistent", "import tempfile; tempfile.gettempdir = lambda: '/proc/nowhere'")


def test_a_folder_that_others_can_write_to_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ours = Path(_own_folder())
    assert ours.parent == tmp_path
    ours.chmod(0o777)
    assert _own_folder() is None
    ours.rmdir()
    (tmp_path / "elsewhere").mkdir()
    ours.symlink_to(tmp_path / "elsewhere")
    assert _own_folder() is None
