"""``cotrain estimate COUNTS.json``: energy and time of any network whose counts are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from cotrain.hardware import files, terminal
from cotrain.hardware.cost.estimate import Estimate, estimate
from cotrain.hardware.cost.measured import sentences

_AGAIN = "write counts as JSON, with n_steps and layers: [{neurons}] at least"
_SCALE = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))


def main(path: Path, json_path: Optional[Path] = None) -> int:
    """Read counts, print the estimate, and write it.

    Parameters
    ----------
    path : path-like
        JSON with the keys of `hardware.cost.counts.Counts`.
    json_path : path-like, optional
        Where the estimate goes.

    Raises
    ------
    CotrainError
        The file cannot be read or written, or the counts cannot be.
    """
    counts = files.read_json(path, missing=_AGAIN, damaged=_AGAIN)
    found = estimate(counts, str(path))
    terminal.say("\n".join(table(found)))
    if json_path is not None:
        files.write_json(json_path, found.as_dict(), "choose another --json FILE", parents=False)
    terminal.say(verdict(found) + (f"; written to {json_path}" if json_path is not None else ""))
    return 0


def table(found: Estimate) -> List[str]:
    """Lines: total first, terms second, then what it stands on."""
    rows = [("energy of one inference", "value", "low", "high")]
    rows += [
        _row(key, found["energy_j"][key], "J") for key in ("total", "core_dynamic", "x86", "leakage", "board_idle")
    ]
    rows += [("time of one inference", "", "", "")]
    rows += [_row(key, found["time_s"][key], "s") for key in ("total", "steps", "input", "fixed")]
    lines = [f"{found['name']}: an estimate; nothing was measured"]
    lines += [f"  {name:<26}{value:>12}{low:>12}{high:>12}" for name, value, low, high in rows]
    lines.append(f"limiter: {found['limiter']}")
    for title, said in (("not known", found["unknown"]), ("assumed", found["assumptions"])):
        lines += [f"{title}:"] + [f"  {line}" for line in said] if said else []
    first, *rest = sentences()
    return [*lines, first, *(f"  {line}" for line in rest)]


def verdict(found: Estimate) -> str:
    """Energy and time of an inference, in a line."""
    energy, time = found["energy_j"]["total"], found["time_s"]["total"]
    said = [_spread(energy, "J"), _spread(time, "s")]
    return f"estimate of {found['name']}: {' in '.join(said)} an inference"


def _spread(part: Dict[str, Any], unit: str) -> str:
    between = f"{_si(part['low'], unit)} to {_si(part['high'], unit)}"
    return between if part["value"] is None else f"{_si(part['value'], unit)} ({between})"


def _row(key: str, part: Dict[str, Any], unit: str):
    return (f"  {key}", *(_si(part[end], unit) for end in ("value", "low", "high")))


def _si(value: Optional[float], unit: str) -> str:
    """Three digits and a prefix; a dash where there is no value."""
    if value is None:
        return "-"
    for scale, prefix in _SCALE:
        if value >= 0.9995 * scale:
            return f"{value / scale:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
