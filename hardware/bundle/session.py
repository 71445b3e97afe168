"""What ``python run.py`` does once its files are checked."""

from __future__ import annotations

import argparse
import platform
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Sequence

from cotrain.hardware.errors import CotrainError, InputError, MissingError

EXACT = ("nengo", "nengo-loihi")  # another version of these may build another network
RECORDED = ("nengo", "nengo-loihi", "numpy", "scipy", "numba")


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"run.py: {message}\n")


def _arguments(argv):
    parser = _Parser(prog="run.py", description="Run this bundle and compare it with what is expected.")
    parser.add_argument(
        "--target", required=True, choices=("loihi", "emulator", "reference"),
        help="loihi: the board (needs NxSDK); emulator: the fast emulator; reference: nengo-loihi's own",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="first N samples (default: all)")
    parser.add_argument("--resume", action="store_true", help="go on with the results of a job that was killed")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: results-<target> in this folder")
    parser.add_argument(
        "--layers", type=int, default=1, metavar="N",
        help="loihi: count the spikes of every layer for the first N samples, one more run a layer (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--energy-samples", type=int, metavar="N",
        help="loihi: presentations under the power meter, all runs together (default: 5,000 steps a run)",
    )  # fmt: skip
    parser.add_argument("--no-energy", action="store_true", help="loihi: do not measure energy")
    return parser.parse_args(argv)


def check_packages(requirements: str) -> Dict[str, str]:
    """Versions of the packages that results depend on.

    Parameters
    ----------
    requirements : str
        Text of requirements.txt.

    Raises
    ------
    MissingError
        A package is not installed.
    InputError
        Nengo or NengoLoihi of another version than the one for this Python, or NumPy 2 before Python 3.13.
    """
    install = "run: python -m pip install -r requirements.txt"
    found = {}
    for name in RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise MissingError(f"{name} is not installed for this Python ({sys.executable}); {install}") from None
    pins = _pins(requirements)
    for name in EXACT:
        if found[name] != pins[name]:
            raise InputError(f"{name} is {found[name]}; the bundle needs {pins[name]}; {install}")
    if int(found["numpy"].split(".")[0]) > 1 and sys.version_info < (3, 13):
        raise InputError(f"numpy is {found['numpy']}; Nengo 3.2 needs a version below 2; {install}")
    return found


def _pins(requirements: str) -> Dict[str, str]:
    """Versions (``name==version``) that requirements.txt wants under this Python: ``; python_version < "3.13"``."""
    pins = {}
    for line in requirements.split("\n"):
        wanted, _, condition = line.partition(";")
        name, equal, version = wanted.partition("==")
        if not equal or line.startswith("#"):
            continue
        if condition:
            _, sign, python = condition.split()[:3]
            bound = tuple(int(part) for part in python.strip('"').split("."))
            if (sys.version_info[:2] < bound) != (sign == "<"):
                continue
        pins[name.strip()] = version.strip()
    return pins


def main(argv: Sequence[str], folder: Any, manifest: Dict[str, Any]) -> int:
    """Run the bundle in `folder`; the exit status."""
    arguments = _arguments(argv)
    try:
        return _run(arguments, Path(folder), manifest)
    except CotrainError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nrun.py: interrupted; the same command with --resume goes on", file=sys.stderr)
        return 130


def _run(arguments, path: Path, manifest: Dict[str, Any]) -> int:
    # nengo-loihi fills arrays of integers with NaN before it fills them with numbers.
    warnings.filterwarnings("ignore", message="invalid value encountered in cast")
    versions = check_packages((path / "requirements.txt").read_text())
    where = {}
    if arguments.target == "loihi":
        from cotrain.hardware.bundle import board

        where = board.environment()
    from cotrain.hardware.bundle.differences import Differences
    from cotrain.hardware.bundle.energy import MOST_SAMPLES
    from cotrain.hardware.bundle.folder import Folder
    from cotrain.hardware.bundle.results import Results
    from cotrain.hardware.bundle.targets import open_target

    folder = Folder(path, manifest["digest"])
    n_samples = _count("--limit", arguments.limit, len(folder.names))
    if arguments.energy_samples is not None and not 1 <= arguments.energy_samples <= MOST_SAMPLES:
        raise InputError(f"--energy-samples is {arguments.energy_samples}; give 1 to {MOST_SAMPLES}")
    ran_on = {
        "target": arguments.target,
        "host": platform.node(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
        "hardware_options": folder.description["hardware_options"] if where else None,
        "precompute": folder.description["precompute"] if where else None,
        **where,
    }
    print(f"bundle {folder.description['experiment']} {folder.digest[:12]}, {n_samples} samples")
    print("running on " + ", ".join(f"{key} {_text(value)}" for key, value in ran_on.items() if value is not None))
    results = Results(
        arguments.results or path / f"results-{arguments.target}", folder, arguments.target, arguments.resume
    )
    results.tree["ran_on"].append({**ran_on, "first_sample": len(results.done())})
    left = [index for index in range(n_samples) if index not in results.done()]
    to_measure = bool(where) and not arguments.no_energy and _unmeasured(results.tree.get("energy"))
    if left or to_measure:
        target = open_target(arguments.target, folder, arguments.layers)
        try:
            for index in left:
                started = time.perf_counter()
                results.add(index, target.run(index), time.perf_counter() - started)
                print(f"  sample {index + 1} of {n_samples} ({folder.names[index]})", flush=True)
            if to_measure:
                results.tree["energy"] = board.measure_energy(target, where, arguments.energy_samples)
                _tell_energy(results.tree["energy"])
            if where:
                results.tree["ran_on"][-1]["chips"] = target.chips
        finally:
            target.close()
    comparison = Differences(folder.layers, folder.names)
    for index in range(n_samples):
        comparison.add(index, folder.expected(index), results.record(index))
    results.tree.update(complete=len(results.done()) == len(folder.names), comparison=comparison.to_dict())
    results.save()
    print(comparison.table())
    print(f"results in {results.path}")
    return 0 if comparison.equal else 1


def _unmeasured(energy) -> bool:
    """Whether there is no measurement yet, or one that could not tell the power from its noise."""
    return energy is None or "skipped" in energy or "not_measurable" in energy.get("dynamic", {})


def _tell_energy(found: Dict[str, Any]) -> None:
    from cotrain.hardware.bundle.energy import sentence

    print(sentence(found))
    needed = found.get("dynamic", {}).get("samples_needed")
    if needed:
        print(f"  then: python run.py --target loihi --resume --energy-samples {needed}")


def _count(what: str, asked, there: int) -> int:
    if asked is None:
        return there
    if not 1 <= asked <= there:
        raise InputError(f"{what} is {asked}; the bundle holds {there} samples: give 1 to {there}")
    return asked


def _text(value) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {_text(v)}" for k, v in value.items()) + ")"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
