"""Run nengo-loihi's own test suite with the fast emulator in the place of its `EmulatorInterface`.

    python tests/peer/nengo_loihi_suite.py [--reference] [--digits mnist10.pkl] [pytest arguments]

The installed package carries the suite but neither its ``conftest.py`` (see `nengo_loihi_plugin`) nor the ten digits
that 17 convolution tests read; a copy of the package gets drawn digits in their place, on which these tests compare
the same things, or with ``--digits`` nengo-loihi's own (``nengo_loihi/tests/mnist10.pkl`` of its repository). What
does not pass is run again on nengo-loihi's own emulator, listed, and explained; exit status 0 where everything is
explained. `--reference` runs the suite on nengo-loihi's own emulator instead.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import pickletools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

INI = """[pytest]
filterwarnings =
    ignore
nengo_neurons =
    nengo.LIF
    nengo.SpikingRectifiedLinear
nengo_simloader = nengo_loihi.tests.make_test_sim
"""

EXTRAS = "nengo-extras==0.5.0 --hash=sha256:4508d30b6bd859d15ceda3c62c36e2c6e0ce045579c0e355c1f0855bbf5c63fa"

# What is left out on purpose, by the refusal or the thing that the test takes hold of.
REASONS = (
    ("on-chip learning", "does not apply: learning on the chip (PES) is refused by name"),
    ("not discretised", "does not apply: target 'simreal' and float models; the emulator runs integers only"),
    ("test only runs on hardware", "does not apply: needs the chip"),
    ("nxsdk", "does not apply: needs NxSDK"),
    ("nxmetis", "does not apply: needs nxmetis"),
)


def drawn_digits():
    """Ten images of 28 × 28 in [0, 1]: strokes with soft edges, as (images, labels)."""
    rows, cols = np.mgrid[:28, :28]
    images = []
    for k in range(10):
        ring = np.abs(np.hypot(rows - 14, cols - 14) - (4 + k % 4))
        bar = np.abs((cols - 14) * np.cos(0.3 * k) + (rows - 14) * np.sin(0.3 * k))
        image = np.clip(2.5 - np.minimum(ring, bar), 0, 1)
        image *= np.hypot(rows - 14, cols - 14) < 11
        images.append(image.ravel().astype(np.float32))
    return np.array(images), np.arange(10)


def holds_arrays_only(file: Path) -> bool:
    """Whether a pickle names nothing but what NumPy's arrays are made with: read, not run."""
    known = {
        "numpy.core.multiarray _reconstruct",
        "numpy._core.multiarray _reconstruct",
        "numpy ndarray",
        "numpy dtype",
    }
    named, strings = set(), []
    for code, argument, _ in pickletools.genops(file.read_bytes()):
        if code.name == "GLOBAL":
            named.add(argument)
        elif code.name == "STACK_GLOBAL":
            named.add(" ".join(strings[-2:]))
        elif code.name in ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID") or code.name.startswith("EXT"):
            return False
        elif "UNICODE" in code.name or "STRING" in code.name:
            strings.append(str(argument))
    return named <= known | {"_codecs encode"}


def copy_package(folder: Path, own_digits: Path | None = None) -> Path:
    package = Path(importlib.util.find_spec("nengo_loihi").submodule_search_locations[0])
    target = folder / "nengo_loihi"
    shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
    digits = target / "tests" / "mnist10.pkl"
    if own_digits is not None:
        if not holds_arrays_only(own_digits):
            sys.exit(
                f"{own_digits}: holds more than arrays, so it is not read: fetch nengo_loihi/tests/mnist10.pkl again"
            )
        shutil.copy(own_digits, digits)
    elif not digits.exists():
        digits.write_bytes(pickle.dumps(drawn_digits()))
    (folder / "pytest.ini").write_text(INI)
    return target


def install_extras(folder: Path) -> None:
    """nengo-extras, which the suite draws with and nothing else here needs, below `folder`."""
    requirement = folder / "extras.txt"
    requirement.write_text(f"{EXTRAS}\n")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    options = ["--no-build-isolation", "--require-hashes", "--target", folder, "-r", requirement]
    subprocess.run([*pip, *options], check=True)


def run(folder: Path, arguments, reference: bool):
    """Run pytest; {test: [outcome, reason]}."""
    outcomes = folder / "outcomes.json"
    outcomes.unlink(missing_ok=True)
    paths = [folder, HERE / "child", HERE, ROOT, os.environ.get("PYTHONPATH")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(p) for p in paths if p),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "COTRAIN_PEER_JSON": str(outcomes),
        "COTRAIN_PEER_REFERENCE": str(int(reference)),
    }
    command = [sys.executable, "-m", "pytest", "-q", "--slow", "--tb=line", "-p", "nengo_loihi_plugin"]
    command += ["-p", "no:cacheprovider", "-c", str(folder / "pytest.ini"), "--rootdir", str(folder)]
    subprocess.run([*command, *arguments], cwd=folder, env=environment, check=False)
    return json.loads(outcomes.read_text()) if outcomes.exists() else {}


def explain(reason: str, outcome: str, on_reference: str) -> str:
    """Why a test did not pass; "" where nothing explains it."""
    for part, explanation in REASONS:
        if part in reason:
            return explanation
    if on_reference and on_reference == outcome:
        return f"{outcome} with nengo-loihi's own emulator, too: {reason.splitlines()[0] if reason else 'expected'}"
    return ""


def main(arguments) -> int:
    reference = "--reference" in arguments
    arguments = [a for a in arguments if a != "--reference"]
    digits = None
    if "--digits" in arguments:
        at = arguments.index("--digits")
        digits = Path(arguments[at + 1]).resolve()
        del arguments[at : at + 2]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_package(folder, digits)
        install_extras(folder)
        outcomes = run(folder, arguments or ["nengo_loihi"], reference)
        left = {test: o for test, o in outcomes.items() if o[0] != "passed"}
        doubtful = [test for test, (outcome, reason) in left.items() if not explain(reason, outcome, "")]
        theirs = run(folder, doubtful, reference=True) if doubtful and not reference else {}
    unexplained = 0
    print(f"\nnengo-loihi's suite on {'its own' if reference else 'the fast'} emulator")
    print(f"{len(outcomes) - len(left)} of {len(outcomes)} passed; the others:")
    groups = {}
    for test, (outcome, reason) in sorted(left.items()):
        why = explain(reason, outcome, theirs.get(test, [""])[0])
        if not why:
            unexplained += 1
            why = f"UNEXPLAINED {outcome}: {reason.splitlines()[0] if reason else ''}"
        groups.setdefault(why, []).append(test)
    for why, tests in sorted(groups.items()):
        print(f"- {why} ({len(tests)})")
        for test in tests:
            print(f"    {test}")
    return 1 if unexplained or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
