"""tools/make_venv.sh: one line and exit status 2 for a Python that will not do; work only where something changed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INPUTS = ("requirements-build.lock", "requirements.lock", "pyproject.toml")

# Stands in for an interpreter: answers as a given version, notes what pip is asked for
PYTHON = """#!/bin/bash
case "$*" in
  *"sys.exit(not (3, 10)"*) [[ {version} =~ ^3\\.1[0-2]\\. ]];;
  *"print("*) echo {version};;
  *"import ensurepip"*) {ensurepip};;
  --version) echo Python {version};;
  "-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo venv "$@" >> calls;;
  "-m pip"*) echo "$@" >> calls;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with the script, its inputs and a PATH of its own without any Python."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "tools" / "make_venv.sh", tmp_path / "tools")
    for name in INPUTS:
        shutil.copy(ROOT / name, tmp_path)
    for tool in ("bash", "dirname", "cat", "cmp", "rm", "mkdir", "cp", "awk", "head"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def add_python(checkout, name="python3.11", version="3.11.2", ensurepip="true"):
    file = checkout / "bin" / name
    file.write_text(PYTHON.format(version=version, ensurepip=ensurepip))
    file.chmod(0o755)
    return file


def make_venv(checkout, **variables):
    environment = {"PATH": str(checkout / "bin"), "HOME": os.environ.get("HOME", "/"), **variables}
    return subprocess.run(
        [shutil.which("bash"), "tools/make_venv.sh"], cwd=checkout, env=environment, capture_output=True, text=True
    )


def calls(checkout):
    file = checkout / "calls"
    text = file.read_text() if file.exists() else ""
    file.unlink(missing_ok=True)
    return text


def refused(result):
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_no_python(checkout):
    assert "install python3.11" in refused(make_venv(checkout))


def test_only_a_python_out_of_range(checkout):
    add_python(checkout, "python3", "3.13.0")
    assert "no Python 3.10, 3.11 or 3.12 found" in refused(make_venv(checkout))


@pytest.mark.parametrize("version", ["3.9.2", "3.13.0"])
def test_a_chosen_python_out_of_range(checkout, version):
    python = add_python(checkout, "mine", version)
    assert f"Python {version}; use Python 3.10, 3.11 or 3.12" in refused(make_venv(checkout, PYTHON=str(python)))


def test_a_chosen_python_that_is_not_there(checkout):
    add_python(checkout)
    assert "PYTHON=pyhton3.11 is not there" in refused(make_venv(checkout, PYTHON="pyhton3.11"))


def test_debian_without_venv(checkout):
    add_python(checkout, ensurepip="false")
    assert "apt-get install python3.11-venv" in refused(make_venv(checkout))


def test_runs_again_only_when_something_changed(checkout):
    add_python(checkout)
    first = make_venv(checkout)
    assert first.returncode == 0 and first.stderr == ""
    assert "--require-hashes" in calls(checkout)
    second = make_venv(checkout)
    assert (second.returncode, second.stdout, calls(checkout)) == (0, "", "")
    for name in INPUTS:
        with open(checkout / name, "a") as file:
            file.write("# changed\n")
        assert make_venv(checkout).returncode == 0
        again = calls(checkout)
        assert "pip" in again and "--clear" not in again
    assert calls(checkout) == ""


def test_another_python_makes_it_anew_only_when_asked_for(checkout):
    add_python(checkout)
    make_venv(checkout)
    other = add_python(checkout, "python3.12", "3.12.1")
    calls(checkout)
    assert make_venv(checkout).returncode == 0 and calls(checkout) == ""
    assert make_venv(checkout, PYTHON=str(other)).returncode == 0
    assert "--clear" in calls(checkout)


def test_an_interrupted_installation_is_done_again(checkout):
    python = add_python(checkout)
    python.write_text(python.read_text().replace('"-m pip"*) echo', '"-m pip"*) exit 1; echo'))
    assert make_venv(checkout).returncode != 0
    assert not (checkout / ".venv" / ".stamp").exists()
    add_python(checkout)
    assert make_venv(checkout).returncode == 0
    assert (checkout / ".venv" / ".stamp").exists()
