"""SLURM's commands as far as dask-jobqueue calls them: sbatch runs the script at once, in the background."""

from pathlib import Path

SBATCH = """#!/bin/sh
# the script is gone when sbatch has returned, as in SLURM
copy=$(mktemp)
cat "$1" > "$copy"
setsid bash "$copy" > /dev/null 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -TERM -- "-$1"
"""


def make(folder: Path) -> Path:
    """Write `sbatch` and `scancel` into `folder`, which belongs on the PATH then."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder
