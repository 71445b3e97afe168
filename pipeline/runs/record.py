"""What a result was made with: versions and the revision of the source."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

DISTRIBUTIONS = (
    "loihi-cotrain", "numpy", "scipy", "nengo", "nengo-dl", "nengo-loihi", "tensorflow", "tf-keras", "numba",
)  # fmt: skip


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


@functools.cache
def git_revision() -> str | None:
    """Revision of the source tree ('+' when it has changes), or None outside a checkout; asked once a process."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
