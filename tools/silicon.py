"""Estimate against measurement for every row of networks measured on Loihi 1 silicon: ``make silicon DATA=DIR``.

    python tools/silicon.py --data DIR [--out reports] [--sana-fe reports/silicon-sanafe.json]

DIR holds rows.csv (public measurements; SOURCES.md beside it says what they are). Writes silicon.json and silicon.md,
and the summary that every estimate prints, hardware/cost/silicon.json. Nothing is fitted here but the one rate that is
declared for ABR's scaled keyword spotter.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools")]

from cotrain import hardware  # noqa: E402
from cotrain.hardware import files  # noqa: E402
from cotrain.hardware.cost.estimate import constants  # noqa: E402
from cotrain.hardware.cost.measured import SUMMARY, TERMS  # noqa: E402
from cotrain.hardware.errors import CotrainError  # noqa: E402
from cotrain.pipeline.report.text import NOTHING, plural, si  # noqa: E402
from silicon_rows import SCALED_ROWS, Case, cases, declared_rate, read_rows, scaled_counts  # noqa: E402

TIMED = "x86 at the measured time"


def part(estimate: dict[str, Any], term: str) -> dict[str, float | None]:
    """{"value", "low", "high"} of a term; "dynamic" is core dynamic and x86 together."""
    if term == "time":
        return estimate["time_s"]["total"]
    if term == "dynamic":
        both = [estimate["energy_j"][key] for key in ("core_dynamic", "x86")]
        return {
            end: None if any(p[end] is None for p in both) else sum(p[end] for p in both)
            for end in ("value", "low", "high")
        }
    return estimate["energy_j"][term]


def compare(case: Case) -> list[dict[str, Any]]:
    """One entry for each term that the row measured."""
    estimates = [hardware.estimate(counts) for counts in case.counts]
    found = []
    for term in TERMS:
        if term not in case.measured:
            continue
        parts = [part(estimate, term) for estimate in estimates]
        value = parts[0]["value"] if len(parts) == 1 else None
        found.append(_entry(case, term, value, min(p["low"] for p in parts), max(p["high"] for p in parts)))
    if "x86" in case.measured and case.counts[0].get("x86_active_ratio") is not None:
        timed = hardware.estimate({**case.counts[0], "seconds_per_inference": case.measured["time"]})
        x86 = timed["energy_j"]["x86"]
        power = x86["value"] / case.measured["time"]
        entry = _entry(case, "x86", x86["value"], x86["low"], x86["high"])
        entry.update(term=TIMED, power_error=power / case.measured["x86_power_w"] - 1)
        entry["inside"] = abs(entry["error"]) <= 0.01  # a point: NxSDK's own formula, less 0.5 % of static power
        found.insert(2, entry)
    return found


def _about(case: Case) -> dict[str, Any]:
    """What a row is, and what is not known of it."""
    estimate = hardware.estimate(case.counts[-1]) if case.counts else {}
    return {
        "source": case.row["source"], "protocol": case.row["protocol"], "tier": case.row["tier"],
        "declared": case.declared, "not_estimated": case.cannot or None, "limiter": estimate.get("limiter"),
        "unknown": estimate.get("unknown"),
    }  # fmt: skip


def _entry(case: Case, term: str, value: float | None, low: float, high: float) -> dict[str, Any]:
    measured = case.measured[term]
    spread = case.row["spread_percent"]
    return {
        "row": case.name, "term": term, "measured": measured,
        "spread_percent": float(spread) if spread else None, "value": value, "low": low, "high": high,
        "error": None if value is None else value / measured - 1, "inside": low <= measured <= high,
    }  # fmt: skip


def slope(rows: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Energy of ABR's scaled keyword spotter over its copies, by least squares, with the one declared rate."""
    rate = declared_rate(rows)
    copies, measured, estimated = [], [], []
    for name in SCALED_ROWS[1:]:  # N = 0 has no copy whose size could be told
        row = rows[f"abr-scaled-{name}"]
        copies.append(int(name[1:]))
        measured.append(float(row["energy_dynamic_over_awake_idle_uj"]) * 1e-6)
        estimate = hardware.estimate(scaled_counts(row, copies[-1], rate))
        estimated.append(estimate["energy_j"]["core_dynamic"]["value"])
    ours, theirs = (statistics.linear_regression(copies, y).slope for y in (estimated, measured))
    unseen = (estimated[-1] - estimated[3]) / (measured[-1] - measured[3]) - 1  # 6 to 10 copies
    return {
        "rate_per_step": rate, "rate_from": "abr-scaled-n01 to -n04", "copies": copies, "measured_j": measured,
        "estimated_core_dynamic_j": estimated, "measured_j_per_copy": theirs, "estimated_j_per_copy": ours,
        "error": ours / theirs - 1, "error_6_to_10_copies": unseen,
    }  # fmt: skip


def summarise(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Median and worst error of each term where there is a value, and rows whose measurement lies in the range."""
    found = {}
    for term in TERMS:
        mine = [entry for entry in entries if entry["term"] == term]
        errors = sorted((abs(e["error"]), e["row"]) for e in mine if e["error"] is not None)
        if not mine:
            continue
        found[term] = {
            "rows": len(mine), "inside": sum(e["inside"] for e in mine), "points": len(errors),
            "median_error": statistics.median(e for e, _ in errors) if errors else None,
            "worst_error": errors[-1][0] if errors else None, "worst_row": errors[-1][1] if errors else None,
        }  # fmt: skip
    return found


def build(data: Path, sana_fe: dict[str, Any] | None) -> dict[str, Any]:
    """Everything that the report says."""
    every = cases(data)
    entries = [entry for case in every for entry in (compare(case) if case.counts else [])]
    return {
        "schema": 1,
        "what": "estimates of cotrain.hardware.estimate against public measurements on Loihi 1 silicon",
        "command": "make silicon DATA=DIR",
        "summary": summarise(entries),
        "slope": slope(read_rows(data)),
        "entries": entries,
        "rows": {case.name: _about(case) for case in every},
        "sana_fe": sana_fe,
        "constants": constants(),
    }


def shipped(document: dict[str, Any]) -> dict[str, Any]:
    """What goes with the package: the summary, the slope's error, SANA-FE's."""
    slope = {key: document["slope"][key] for key in ("rate_per_step", "error", "error_6_to_10_copies")}
    sana_fe = document["sana_fe"] and {key: document["sana_fe"][key] for key in ("version", "summary")}
    return {"rows": len(document["rows"]), "summary": document["summary"], "slope": slope, "sana_fe": sana_fe}


def markdown(document: dict[str, Any]) -> str:
    """The report's text."""
    slope = document["slope"]
    lines = [
        "# Estimates of energy and time against measured Loihi 1 chips",
        "",
        f"Made by `{document['command']}` from {len(document['rows'])} public measurements. The estimate knows a "
        "row's counts only, never its measured time or energy. Where activity is not published there is no value, only "
        "the range that the chip allows; such a range says that nothing contradicts, and no more.",
        "",
        "## Summary",
        "",
        "| term | rows | inside the range | with a value | median error | worst error | of row |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for term, s in document["summary"].items():
        errors = (
            (NOTHING,) * 3
            if not s["points"]
            else (_percent(s["median_error"]), _percent(s["worst_error"]), s["worst_row"])
        )
        lines.append(f"| {TERMS[term]} | {s['rows']} | {s['inside']} | {s['points']} | " + " | ".join(errors) + " |")
    lines += [
        "",
        f"ABR's scaled keyword spotter, core dynamic energy over size: {si(slope['estimated_j_per_copy'], 'J')} a copy "
        f"estimated, {si(slope['measured_j_per_copy'], 'J')} measured ({_signed(slope['error'])}), with one declared "
        f"rate: {100 * slope['rate_per_step']:.2f} % of neurons spike in a step, from the rise between 1 and 4 copies. "
        f"Between 6 and 10 copies, which the rate has not seen: {_signed(slope['error_6_to_10_copies'])}.",
        "",
        "## Every row",
        "",
        "| row | term | measured | estimate | low | high | error | inside |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for e in document["entries"]:
        unit = "s" if e["term"] == "time" else "J"
        spread = f" ± {e['spread_percent']:.3g} %" if e["spread_percent"] and e["term"] in ("dynamic", "total") else ""
        error = NOTHING if e["error"] is None else _signed(e["error"])
        numbers = " | ".join(si(e[key], unit) for key in ("value", "low", "high"))
        cells = f"{e['row']} | {TERMS[e['term']]} | {si(e['measured'], unit)}{spread} | {numbers} | {error}"
        lines.append(f"| {cells} | {'yes' if e['inside'] else '**no**'} |")
    lines += ["", "Not estimated:", ""]
    lines += [f"- {name}: {r['not_estimated']}" for name, r in document["rows"].items() if r["not_estimated"]]
    lines += ["", "## What is unknown or declared, row by row", ""]
    for name, r in document["rows"].items():
        if not r["not_estimated"]:
            lines.append(f"- **{name}**; limiter: {r['limiter']}.")
            lines += [f"  - declared: {line}" for line in r["declared"]]
            lines += [f"  - unknown: {line}" for line in _grouped(r["unknown"])]
    lines += _sana_fe(document["sana_fe"])
    lines += [
        "",
        "## Constants",
        "",
        "| name | value | low | high | source | fitted on |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    for c in document["constants"]:
        numbers = " | ".join(si(c[key], c["unit"]) for key in ("value", "low", "high"))
        lines.append(f"| `{c['name']}` | {numbers} | {c['source']} | {c['fitted'] or NOTHING} |")
    lines += ["", "## Sources of the rows", ""]
    lines += [f"- {name}: {s['source']}. {s['protocol']}." for name, s in document["rows"].items()]
    return "\n".join(lines) + "\n"


def _grouped(unknown: list[str]) -> list[str]:
    """The same key of several layers as one line; silicon.json has them all."""
    layers: dict[str, list[str]] = {}
    found = []
    for line in unknown:
        layer, _, key = line.partition(" not given;")[0].partition(": ")
        if " not given;" in line and key:
            layers.setdefault(key, []).append(layer)
        else:
            found.append(line)
    for key, names in reversed(layers.items()):
        few = names if len(names) <= 4 else [*names[:2], "...", names[-1]]
        found.insert(0, f"{key} of {plural(len(names), 'layer')} ({', '.join(few)})")
    return found


def _sana_fe(found: dict[str, Any] | None) -> list[str]:
    lines = ["", "## Beside SANA-FE", ""]
    if not found:
        return [*lines, "Not run: `python tools/silicon_sanafe.py --data DIR` writes what belongs here."]
    lines += [
        f"SANA-FE {found['version']} (GPL-3; run by `tools/silicon_sanafe.py` in an environment of its own, no part of "
        f"this package). {found['how']}",
        "",
        "| row | term | measured | SANA-FE | error | ours | error |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for e in found["entries"]:
        unit = "s" if e["term"] == "time" else "J"
        theirs = f"{si(e['sana_fe'], unit)} | {_signed(e['sana_fe_error'])}"
        ours = f"{si(e['ours'], unit)} | {_signed(e['our_error'])}"
        lines.append(f"| {e['row']} | {TERMS[e['term']]} | {si(e['measured'], unit)} | {theirs} | {ours} |")
    return lines


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f} %".replace("-", "−")


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of rows.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "reports", metavar="DIR")
    parser.add_argument("--sana-fe", type=Path, default=ROOT / "reports" / "silicon-sanafe.json", metavar="FILE")
    parser.add_argument("--summary", type=Path, default=SUMMARY, metavar="FILE", help="what goes with the package")
    arguments = parser.parse_args(argv)
    try:
        sana_fe = files.read_json(arguments.sana_fe) if arguments.sana_fe.is_file() else None
        document = build(arguments.data, sana_fe)
        files.write_json(arguments.out / "silicon.json", document)
        files.write_text(arguments.out / "silicon.md", markdown(document))
        files.write_json(arguments.summary, shipped(document))
    except CotrainError as error:
        print(f"silicon: {error}", file=sys.stderr)
        return 2
    for term, s in document["summary"].items():
        told = (
            ""
            if not s["points"]
            else f", median error {_percent(s['median_error'])}, worst {_percent(s['worst_error'])}"
        )
        print(f"{TERMS[term]}: {s['inside']} of {s['rows']} rows inside{told}")
    print(f"written to {arguments.out / 'silicon.md'}, silicon.json and {arguments.summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
