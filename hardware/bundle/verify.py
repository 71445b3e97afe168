"""``cotrain verify``: is a bundle what was packed, does it still give what it gave, and what did the board give?"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
from cotrain.hardware.bundle import archive, run
from cotrain.hardware.bundle.compare import Comparison
from cotrain.hardware.bundle.folder import Folder
from cotrain.hardware.bundle.results import read_record, read_results
from cotrain.hardware.errors import CorruptError, InputError


@dataclass(frozen=True)
class Verified:
    """A bundle that was checked, and results that were compared with it."""

    manifest: Dict[str, Any]
    emulated: Dict[str, Any]  # the comparison in the emulator's results.json
    results: Optional[Dict[str, Any]] = None  # results.json that came back
    comparison: Optional[Comparison] = None  # of them with what is expected
    outputs: Optional[Dict[str, Any]] = None  # {sample: (size,) output} of them
    expected: Optional[Dict[str, Any]] = None  # and what is expected
    spikes: Optional[Dict[str, Any]] = None  # {layer: (n_neurons,) mean over the samples in which it was counted}
    description: Optional[Dict[str, Any]] = None

    @property
    def equal(self) -> bool:
        """Whether all is as expected, to the last bit."""
        return self.emulated["equal"] and (self.comparison is None or self.comparison.equal)


def verify(bundle: Path, results: Optional[Path] = None, say=print) -> Verified:
    """Check a bundle (archive or unpacked folder), re-run it on the emulator, and compare results with it.

    Raises
    ------
    MissingError, CorruptError
        A file is missing or a bit of it changed; it is named.
    InputError
        The results belong to another bundle.
    """
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        folder, manifest = _checked(Path(bundle), Path(scratch))
        say(f"{bundle}: {len(manifest['files'])} files as packed, digest {manifest['digest'][:12]}")
        emulated = _rerun(folder, Path(scratch) / "results", say)
        if results is None:
            return Verified(manifest, emulated)
        return _compare(folder, manifest, emulated, Path(results), say)


def _checked(bundle, scratch):
    if not bundle.is_dir():
        top, files, manifest = archive.read_archive(bundle)
        archive.unpack(files, scratch / top)
        return scratch / top, manifest
    try:
        manifest = run.check_files(str(bundle))
        for name in run.strangers(str(bundle), manifest):
            raise run.Damaged(f"{name} is not part of the bundle; move it elsewhere")
    except run.Damaged as error:
        raise CorruptError(f"{bundle}: {error}") from None
    return bundle.resolve(), manifest


def _rerun(folder, out, say):
    """Run the bundle's own code in a process of its own, which sees nothing but the bundle and installed packages."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-B", "run.py", "--target", "emulator", "--results", str(out)],
        cwd=str(folder), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{folder.name} cannot be run here: {last}")
    emulated = read_results(out)["comparison"]
    if emulated["equal"]:
        say(f"emulator: {emulated['samples']} samples, every spike and output as expected")
    else:
        say(f"emulator: {emulated['samples_different']} of {emulated['samples']} samples differ; "
            f"first: {emulated['first_difference']}")  # fmt: skip
    return emulated


def _compare(path, manifest, emulated, results, say):
    folder = Folder(path, manifest["digest"])
    tree = read_results(results)
    if tree["bundle"] != folder.digest:
        raise InputError(
            f"{results} holds results of bundle {str(tree['bundle'])[:12]}, not of {folder.digest[:12]}; "
            "give the bundle that was run"
        )
    comparison, outputs, expected, counts = Comparison(folder.layers, folder.names), {}, {}, {}
    for index in sorted(int(i) for i in tree["samples"]):
        if not 0 <= index < len(folder.names):
            raise CorruptError(f"{results}: sample {index} is not in the bundle, which has {len(folder.names)}")
        record, wanted = read_record(results, tree, index), folder.expected(index)
        comparison.add(index, wanted, record)
        outputs[folder.names[index]], expected[folder.names[index]] = record["output"], wanted["output"]
        for name in folder.layers:
            if f"spikes/{name}" in record:
                counts.setdefault(name, []).append(record[f"spikes/{name}"])
    say(f"{tree['target']}: {len(outputs)} of {len(folder.names)} samples came back")
    say(comparison.table())
    spikes = {name: np.mean(each, axis=0) for name, each in counts.items()}
    return Verified(manifest, emulated, tree, comparison, outputs, expected, spikes, folder.description)
