"""``make fuzz``: the long versions of what the tests try in short; counts go to ``reports/fuzz.json``, ``.md``.

``--scale F`` takes that share of the inputs, networks and kills.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NETWORKS = 1500
KILLS_AT_RANDOM = 8  # a stage
SWEEP_KILLS = 5


def main(argv) -> int:
    """Run every check, one after the other; 1 where one of them found something."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    scale = parser.parse_args(argv).scale
    some = max(1, math.ceil(KILLS_AT_RANDOM * scale))
    checks = (
        ("inputs.py", "--scale", scale),
        ("flips.py", "--scale", scale),
        ("archives.py",),
        ("networks.py", max(1, round(NETWORKS * scale))),
        ("kills.py", "--every", max(1, round(1 / scale)), "--random", some),
        ("sweeps.py", "--kills", max(1, math.ceil(SWEEP_KILLS * scale))),
    )
    failed = []
    for name, *arguments in checks:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-W", "ignore", str(HERE / name), *map(str, arguments)]).returncode:
            failed.append(name)
    print(f"found something: {', '.join(failed)}" if failed else "nothing found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
