"""Numbers as a reader wants them: few digits, SI prefixes, a real minus sign, a dash for what does not apply."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cotrain.hardware.terminal import plural as plural

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
    exponent = _exponent(abs(value))
    scaled = f"{value / 10.0**exponent:.{digits}g}"
    if abs(float(scaled)) >= 1000 and exponent < 12:  # 999.9 rounds to 1000
        exponent, scaled = exponent + 3, f"{value / 10.0 ** (exponent + 3):.{digits}g}"
    if "e" in scaled:
        scaled = f"{float(scaled):.0f}"
    return f"{scaled} {_PREFIXES[exponent]}{unit}".rstrip()


def column(values: Sequence[float | None], unit: str = "", digits: int = 3) -> tuple[str, list[str]]:
    """Numbers of one column, in one unit and with one number of decimals.

    Parameters
    ----------
    values : sequence of float or None
        None where there is nothing to tell.
    unit : str
        Of the values, without a prefix; "" for counts.
    digits : int
        Significant digits of the largest; the smallest gets two, as far as three decimals give them.

    Returns
    -------
    str
        The unit with the prefix of the largest value, for the column's head.
    list of str
        As many as there are values.
    """
    sizes = [abs(v) for v in values if v and math.isfinite(v)]
    if not sizes:
        return unit, [NOTHING if v is None else f"{v:g}" for v in values]
    exponent = _exponent(max(sizes)) if unit or max(sizes) >= 1e7 else 0
    largest, smallest = (round(math.log10(v / 10.0**exponent), 9) for v in (max(sizes), min(sizes)))
    decimals = min(max(digits - 1 - math.floor(largest), 1 - math.floor(smallest), 0), 3)
    if not unit and all(v == int(v) for v in sizes) and not exponent:
        decimals = 0
    return f"{_PREFIXES[exponent]}{unit}", [fixed(v, exponent, decimals) for v in values]


def fixed(value: float | None, exponent: int, decimals: int) -> str:
    """`value` in units of ten to the `exponent`; what is too small for the decimals says so."""
    if value is None:
        return NOTHING
    scaled = value / 10.0**exponent
    if 0 < abs(scaled) < 0.5 * 10.0**-decimals:
        return f"< {10.0**-decimals:.{decimals}f}"
    return f"{scaled:,.{decimals}f}".replace("-", "−")


def in_head(name: str, unit: str) -> str:
    """A column's head with its unit."""
    return f"{name} ({unit})" if unit else name


def _exponent(value: float) -> int:
    return min(max(3 * math.floor(math.log10(value) / 3), -15), 12)


def percent(fraction: float | None) -> str:
    if fraction is None:
        return NOTHING
    return f"{100 * fraction:.1g} %" if 0 < abs(fraction) < 5e-4 else f"{100 * fraction:.1f} %"
