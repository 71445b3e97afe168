"""What the long checks counted, kept in ``reports/fuzz.json``: one entry a check."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "reports" / "fuzz.json"


def write(name: str, counts: dict) -> None:
    """Put the counts of one check in the place of its last ones."""
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    kept[name] = counts
    kept = dict(sorted(kept.items()))
    FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    FILE.with_suffix(".md").write_text(page(kept), encoding="utf-8")


def page(kept: dict) -> str:
    """All counts as Markdown: a section a check, a table where it counts by kind."""
    lines = ["# What the long checks counted", "", "Written by `make fuzz`; `tests/fuzz/` holds the checks.", ""]
    for name, counts in kept.items():
        lines += [f"## {name}", ""]
        counts = {**counts.pop("readers", {}), **counts}
        rows = {kind: row for kind, row in counts.items() if isinstance(row, dict)}
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        if rows:
            lines += ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
            lines += [
                f"| {kind} | " + " | ".join(str(row.get(c, "")) for c in columns) + " |" for kind, row in rows.items()
            ]
        else:
            lines += ["| | |", "| --- | ---: |", *(f"| {key} | {value} |" for key, value in counts.items())]
        lines.append("")
    return "\n".join(lines)
