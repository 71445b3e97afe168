"""``cotrain verify``: is a bundle what was packed, does it still give what it gave, and what did the board give?

A bundle is a stranger's file. It is read as data: sizes and names are bounded, its network is built and emulated by the
code of this package, and nothing in it is executed unless that is asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional

import numpy as np
from cotrain.hardware import terminal
from cotrain.hardware.bundle import archive, run
from cotrain.hardware.bundle.differences import Differences
from cotrain.hardware.bundle.folder import Folder
from cotrain.hardware.bundle.results import read_record, read_results
from cotrain.hardware.bundle.targets import EmulatorTarget
from cotrain.hardware.errors import CorruptError, CotrainError, InputError, UnsupportedError
from cotrain.hardware.files import one_line

Builders = Mapping[str, Callable]


@dataclass(frozen=True)
class Verification:
    """A bundle that was checked, and results that were compared with it."""

    manifest: Dict[str, Any]
    emulated: Dict[str, Any]  # the comparison in the emulator's results.json
    results: Optional[Dict[str, Any]] = None  # results.json that came back
    comparison: Optional[Differences] = None  # of them with what is expected
    outputs: Optional[Dict[str, Any]] = None  # {sample: (size,) output} of them
    expected: Optional[Dict[str, Any]] = None  # and what is expected
    spikes: Optional[Dict[str, Any]] = None  # {layer: (n_neurons,) mean over the samples in which it was counted}
    description: Optional[Dict[str, Any]] = None

    @property
    def equal(self) -> bool:
        """Whether all is as expected, to the last bit."""
        return self.emulated["equal"] and (self.comparison is None or self.comparison.equal)


def verify(
    bundle: Path,
    results: Optional[Path] = None,
    say: Callable[[str], None] = terminal.say,
    builders: Optional[Builders] = None,
    execute: bool = False,
) -> Verification:
    """Check a bundle (archive or unpacked folder), emulate it again, and compare results with it.

    Parameters
    ----------
    builders : mapping of {str: callable}, optional
        The functions that may build a bundle's network, by the name that bundles have for them ("module:function"). A
        bundle that names another one is refused.
    execute : bool
        Run the bundle's own ``run.py`` in the place of this package's code, as the user who calls.

    Raises
    ------
    MissingError, CorruptError
        A file is missing or a bit of it changed; it is named.
    UnsupportedError
        The bundle's network is made by code that only the bundle has.
    InputError
        The results belong to another bundle.
    """
    bundle = Path(bundle)
    if bundle.is_dir():
        files, manifest = archive.read_folder(bundle)
    else:
        _, files, manifest = archive.read_archive(bundle)
    say(f"{bundle}: {len(manifest['files'])} files as packed, digest {manifest['digest'][:12]}")
    folder = Folder(bundle, manifest["digest"], files)
    emulated = _executed(bundle, files, manifest, say) if execute else _emulated(folder, builders or {})
    if emulated["equal"]:
        say(f"emulator: {terminal.plural(emulated['samples'], 'sample')}, every spike and output as expected")
    else:
        say(f"emulator: {emulated['samples_different']} of {emulated['samples']} samples differ; "
            f"first: {emulated['first_difference']}")  # fmt: skip
    if results is None:
        return Verification(manifest, emulated)
    return _compare(folder, manifest, emulated, Path(results), say)


def _emulated(folder: Folder, builders: Builders) -> Dict[str, Any]:
    """The comparison of what is expected with what this package's emulator gives."""
    name = folder.description["builder"]
    if name not in builders:
        raise UnsupportedError(
            f"{folder.path}: its network is made by {ascii(name)[:80]}, which is not part of this package; "
            "--execute runs the bundle's own code, as you"
        )
    try:
        emulator = EmulatorTarget(folder, builders[name])
        comparison = Differences(folder.layers, folder.names)
        try:
            for index in range(len(folder.names)):
                comparison.add(index, folder.expected(index), emulator.run(index))
        finally:
            emulator.close()
    except Exception as error:  # whatever nonsense a description holds, it is the bundle that is wrong
        if isinstance(error, CotrainError) and str(folder.path) in str(error):
            raise
        what = one_line(error) if isinstance(error, CotrainError) else f"{type(error).__name__}: {one_line(error)}"
        raise CorruptError(f"{folder.path}: its network cannot be built and run ({what}); fetch it again") from None
    return comparison.to_dict()


def _executed(bundle: Path, files: Dict[str, bytes], manifest: Dict[str, Any], say) -> Dict[str, Any]:
    """Run the bundle's own code in a process of its own, which sees nothing but the bundle and installed packages."""
    say(f"executing run.py of {bundle}")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        inside, out = Path(scratch) / "bundle", Path(scratch) / "results"
        archive.unpack({**files, run.MANIFEST: run.canonical(manifest)}, inside)
        done = subprocess.run(
            [sys.executable, "-B", "run.py", "--target", "emulator", "--results", str(out)],
            cwd=str(inside), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
        )  # fmt: skip
        if done.returncode not in (0, 1):
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{bundle} cannot be run here: {last}")
        return read_results(out)["comparison"]


def _compare(folder, manifest, emulated, results, say):
    tree = read_results(results)
    if tree["bundle"] != folder.digest:
        raise InputError(
            f"{results} holds results of bundle {str(tree['bundle'])[:12]}, not of {folder.digest[:12]}; "
            "give the bundle that was run"
        )
    comparison, outputs, expected, counts = Differences(folder.layers, folder.names), {}, {}, {}
    for index in sorted(int(i) for i in tree["samples"]):
        if not 0 <= index < len(folder.names):
            raise CorruptError(f"{results}: sample {index} is not in the bundle, which has {len(folder.names)}")
        record, wanted = read_record(results, tree, index, folder.layers), folder.expected(index)
        comparison.add(index, wanted, record)
        outputs[folder.names[index]], expected[folder.names[index]] = record["output"], wanted["output"]
        for name in folder.layers:
            if f"spikes/{name}" in record:
                counts.setdefault(name, []).append(record[f"spikes/{name}"])
    say(f"{tree['target']}: {len(outputs)} of {len(folder.names)} samples came back")
    say(comparison.table())
    spikes = {name: np.mean(each, axis=0) for name, each in counts.items()}
    return Verification(manifest, emulated, tree, comparison, outputs, expected, spikes, folder.description)
