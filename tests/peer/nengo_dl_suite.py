"""Run NengoDL's own test suite on the TensorFlow of this environment.

    python tests/peer/nengo_dl_suite.py [pytest arguments]

The suite is taken from NengoDL's source archive (the one that requirements.lock names), because the installed package
leaves out the suite's ``conftest.py`` and settings. It runs as this project runs NengoDL, but for one test in a
pytest of its own, see `EXACT`. Exit status: 0 where both passed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# It compares two convolutions to the bit, and oneDNN rounds them differently (3e-8): run without oneDNN.
EXACT = "nengo_dl/tests/test_converter.py::test_sequential"


def locked_requirement(name: str) -> str:
    """The entry of requirements.lock for one package: version and hashes."""
    entries = (ROOT / "requirements.lock").read_text().replace("\\\n", " ").splitlines()
    (entry,) = [entry for entry in entries if entry.startswith(f"{name}==")]
    return entry


def unpack_source(folder: Path) -> Path:
    """Download NengoDL's source archive into `folder`; the folder that it unpacks to."""
    requirement = folder / "requirement.txt"
    requirement.write_text(locked_requirement("nengo-dl"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    options = ["--no-deps", "--no-build-isolation", "--no-binary=:all:", "--require-hashes"]
    subprocess.run([*pip, *options, "--dest", folder, "-r", requirement], check=True)
    (archive,) = folder.glob("nengo*dl-*.tar.gz")
    shutil.unpack_archive(archive, folder)
    return folder / archive.name.removesuffix(".tar.gz")


def run_pytest(source: Path, arguments: list[str], **variables: str) -> int:
    """Exit status of pytest in `source`; every Python that its tests start has Keras 2, too."""
    folders = [str(HERE / "child"), str(ROOT), os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(filter(None, folders))
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", **variables}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
    return subprocess.call(command, cwd=source, env=environment)


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        source = unpack_source(Path(folder))
        if arguments:
            return run_pytest(source, arguments)
        exact = run_pytest(source, [EXACT], TF_ENABLE_ONEDNN_OPTS="0")
        return run_pytest(source, ["nengo_dl", f"--deselect={EXACT}"]) or exact


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
