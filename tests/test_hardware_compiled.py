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


CLOSURES = """
from cotrain.hardware.emulator.compiled import njit
from numba import njit as numba_njit

def adding(n, known_by):
    @numba_njit
    def inner(x):
        return x + n

    @njit(known_by)
    def outer(x):
        return inner(x)

    return outer

def found(function, argument):
    value = function(argument)
    return value, sum(function.stats.cache_hits.values())
"""


def test_a_closure_over_compiled_functions_is_found_again_by_its_name(tmp_path):
    """Numba's own name for it differs in every process."""
    (tmp_path / "closures.py").write_text(CLOSURES)
    call = (
        "import closures as c; print(*[c.found(c.adding(n, name), 1) for n, name in ((1, 'one'), (2, 'two'), (1, ''))])"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    for hits in (0, 1):
        done = subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True)
        assert done.stdout.split("\n")[0] == f"(2, {hits}) (3, {hits}) (2, 0)", done.stderr
