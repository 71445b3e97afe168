"""Numbers as a reader wants them: few digits, SI prefixes, a real minus sign, a dash for what does not apply."""

from __future__ import annotations

import math

NOTHING = "–"
_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def score(value: float | None) -> str:
    """IoU or Dice: four decimals, as in the paper."""
    return NOTHING if value is None else f"{value:.4f}"


def interval(ci: list[float] | None) -> str:
    return NOTHING if not ci else f"{ci[0]:.4f} to {ci[1]:.4f}"


def points(difference: float | None) -> str:
    """A difference of scores in points (hundredths), signed."""
    if difference is None:
        return NOTHING
    text = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def rate(value_hz: float | None) -> str:
    return NOTHING if value_hz is None else f"{value_hz:.1f}"


def count(value: float | None) -> str:
    """A count, grouped by thousands; from ten million on with an SI prefix."""
    if value is None:
        return NOTHING
    if abs(value) >= 1e7:
        return si(value).strip()
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.1f}"


def si(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Three significant digits with an SI prefix: ``si(2.71e-4, "J")`` is "271 µJ"."""
    if value is None:
        return NOTHING
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".strip()
    exponent = min(max(3 * math.floor(math.log10(abs(value)) / 3), -15), 12)
    scaled = f"{value / 10.0**exponent:.{digits}g}"
    if abs(float(scaled)) >= 1000 and exponent < 12:  # 999.9 rounds to 1000
        exponent, scaled = exponent + 3, f"{value / 10.0 ** (exponent + 3):.{digits}g}"
    if "e" in scaled:
        scaled = f"{float(scaled):.0f}"
    return f"{scaled} {_PREFIXES[exponent]}{unit}".rstrip()


def percent(fraction: float | None) -> str:
    if fraction is None:
        return NOTHING
    return f"{100 * fraction:.1g} %" if 0 < abs(fraction) < 5e-4 else f"{100 * fraction:.1f} %"


def plural(n: int, word: str) -> str:
    return f"{n:,} {word}" + ("" if n == 1 else "s")
