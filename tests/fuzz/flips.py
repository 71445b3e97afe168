"""One bit changed: in the files of a run, in bundles, ``.npz`` and packed volumes.

Each is found, by an error that names the file, or the bytes are harmless: what is read is the same, bit for bit.
``python tests/fuzz/flips.py [--scale F]``: a hundred of each.
"""

from __future__ import annotations

import argparse
import collections
import random
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
from cotrain.hardware.errors import CotrainError  # noqa: E402
from cotrain.pipeline.datasets.base import Unusable  # noqa: E402

EACH = 100


def flipped(data: bytes, draw: random.Random) -> bytes:
    """`data` with one bit the other way."""
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def judge(read, path: Path, same) -> str:
    """ "found and named", "harmless", or what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read()
    except (CotrainError, Unusable) as error:
        # a reader of one sample gives the reason; its loader names the sample (`Rejection`)
        named = isinstance(error, Unusable) or str(path) in str(error) or path.name in str(error)
        return "found and named" if named else f"found, not named: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "harmless" if same(found) else "other values without a word"


def runs(folder: Path, draw: random.Random, n: int):
    """Every file of every stage, what came back from a board and what several seeds gave."""
    from cotrain.pipeline.runs import artifacts
    from cotrain.pipeline.runs.folder import RunFolder
    from fuzz.run_files import extras, made_run

    made_run(folder)
    for name, data in extras(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    stages = [p.parent for p in folder.rglob(artifacts.MANIFEST)]
    sealed = [p for p in folder.rglob("*.json") if p.parent not in stages]

    def read():
        for stage in stages:
            RunFolder(stage, stage.name).verify()
        for path in sealed:
            artifacts.read_sealed(path)

    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    for k in range(n):
        path = paths[k % len(paths)]
        yield path, read, lambda found: False  # nothing in a run is harmless


def bundles(folder: Path, draw: random.Random, n: int):
    """The archive, from its first byte to its last."""
    from bundle_of import tiny_bundle
    from cotrain.hardware.bundle.archive import read_archive

    path = tiny_bundle(folder)
    right = read_archive(path)
    for _ in range(n):
        yield path, lambda: read_archive(path), lambda found: found == right


def arrays(folder: Path, draw: random.Random, n: int):
    """Arrays, packed and not."""
    from cotrain.hardware.files import read_npz, write_npz

    rng = np.random.default_rng(0)
    right = {"a": rng.random((20, 30)), "b": rng.integers(0, 9, 50), "c": np.array(["x", "yz"])}
    for k in range(n):
        path = folder / f"a{k % 2}.npz"
        write_npz(path, right, level=6 * (k % 2))
        yield path, lambda path=path: read_npz(path), lambda found: equal(found, right)


def volumes(folder: Path, draw: random.Random, n: int):
    """``.nii.gz``."""
    import nibabel
    from cotrain.pipeline.datasets.nifti import read_volume

    path = folder / "v.nii.gz"
    rng = np.random.default_rng(0)
    nibabel.save(nibabel.Nifti1Image(rng.random((9, 8, 7)).astype("f4"), np.diag([1.0, 1, 2, 1])), path)
    right = vars(read_volume(path))
    for _ in range(n):
        yield path, lambda: read_volume(path), lambda found: equal(vars(found), right)


def equal(found: dict, right: dict) -> bool:
    """The same names, types and bits."""
    return found.keys() == right.keys() and all(
        np.asarray(found[k]).dtype == np.asarray(right[k]).dtype
        and np.asarray(found[k]).tobytes() == np.asarray(right[k]).tobytes()
        for k in right
    )


KINDS = {kind.__name__: kind for kind in (runs, bundles, arrays, volumes)}


def examine(kind: str, n: int) -> tuple[dict[str, int], list[str]]:
    """(counts, what is wrong)."""
    draw, counts, bad = random.Random(kind), collections.Counter(), []
    with tempfile.TemporaryDirectory() as name:
        for path, read, same in KINDS[kind](Path(name), draw, n):
            whole = path.read_bytes()
            path.write_bytes(flipped(whole, draw))
            found = judge(read, path, same)
            path.write_bytes(whole)
            if found in ("found and named", "harmless"):
                counts[found] += 1
            else:
                bad.append(f"{path.name}: {found}")
    return {"flips": n, **counts, "wrong": len(bad)}, bad


def main(argv) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--dry", action="store_true", help="leave reports/ as it is")
    arguments = parser.parse_args(argv)
    table, failed = {}, False
    for kind in KINDS:
        table[kind], bad = examine(kind, max(4, round(EACH * arguments.scale)))
        print(f"{kind:<8} {table[kind]}", *bad, sep="\n    ", flush=True)
        failed |= bool(bad)
    if not arguments.dry:
        from fuzz.counts import write

        write("flips", table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
