"""Installation: a Python that will not do gets one line, nothing is done twice, lock files and package are complete."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
INPUTS = ("requirements-build.lock", "requirements.lock", "pyproject.toml")

# Stands in for an interpreter: answers as a given version, notes what pip is asked for
PYTHON = """#!/bin/bash
case "$*" in
  *"sys.exit(not (3, 11)"*) [[ {version} =~ ^3\\.1[1-3]\\. ]];;
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
    add_python(checkout, "python3", "3.14.0")
    assert "no Python 3.11, 3.12 or 3.13 found" in refused(make_venv(checkout))


@pytest.mark.parametrize("version", ["3.9.2", "3.14.0"])
def test_a_chosen_python_out_of_range(checkout, version):
    python = add_python(checkout, "mine", version)
    assert f"Python {version}; use Python 3.11, 3.12 or 3.13" in refused(make_venv(checkout, PYTHON=str(python)))


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


def locked(name="requirements.lock"):
    """{package: [(requirement, its hashes)]}; a package has one entry for each range of Pythons."""
    entries = {}
    for line in (ROOT / name).read_text().replace("\\\n", " ").splitlines():
        requirement, *hashes = line.split("--hash=")
        requirement = Requirement(requirement)
        entries.setdefault(requirement.name, []).append((requirement, hashes))
    return entries


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_lock_file_is_exact_and_names_no_host(name):
    text = (ROOT / name).read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    for requirement, hashes in (entry for entries in locked(name).values() for entry in entries):
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
        assert hashes and all(hash.strip().startswith("sha256:") for hash in hashes), requirement


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_lock_file_has_what_the_project_asks_for(python):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    lock = locked()
    for line in [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate(environment):
            continue
        (found,) = [entry for entry, _ in lock[wanted.name] if entry.marker.evaluate(environment)]
        (version,) = found.specifier
        assert wanted.specifier.contains(version.version), (line, found)
    (build,) = locked("requirements-build.lock")["setuptools"]
    assert build in lock["setuptools"]


def test_list_of_packages_is_that_of_the_folders():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent for top in ("hardware", "pipeline") for path in (ROOT / top).rglob("__init__.py")}
    assert listed == sorted(".".join(["cotrain", *folder.relative_to(ROOT).parts]) for folder in folders)


def test_wheel_holds_every_file_of_the_packages(tmp_path):
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for package in ("pipeline", "hardware"):
        shutil.copytree(ROOT / package, source / package, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wanted = {
        f"cotrain/{file.relative_to(source)}"
        for p in ("pipeline", "hardware")
        for file in (source / p).rglob("*")
        if file.is_file()
    }
    command = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        source,
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()
