"""What a worker must have in common with whoever sends it work: all that results are a function of."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from cotrain import hardware, pipeline
from cotrain.pipeline.runs import record


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of what is installed, and a digest of this package's own source, of this process."""
    return {**record.versions(), "source": _source()}


def differing(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """The first name whose version is not the same; "" for none."""
    return next((name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)), "")


def _source() -> str:
    digest = hashlib.sha256()
    for package in (hardware, pipeline):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder).as_posix()} ".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
