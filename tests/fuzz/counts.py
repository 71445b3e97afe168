"""What the long checks counted, kept in ``reports/fuzz.json``: one entry a check."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "reports" / "fuzz.json"


def write(name: str, counts: dict) -> None:
    """Put the counts of one check in the place of its last ones."""
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    kept[name] = counts
    FILE.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
