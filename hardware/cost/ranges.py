"""Numbers with a low and a high end, and perhaps a value between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Optional, Union


@dataclass(frozen=True)
class Range:
    """A quantity that is not negative. `value` is None where only the ends are known.

    Sums and products take the ends together (low with low, high with high): the errors are not taken to be independent.
    """

    value: Optional[float]
    low: float
    high: float

    def __post_init__(self):
        assert 0 <= self.low <= self.high < math.inf, self
        assert self.value is None or self.low * (1 - 1e-9) <= self.value <= self.high * (1 + 1e-9), self

    def __add__(self, other: Range) -> Range:
        value = None if self.value is None or other.value is None else self.value + other.value
        return Range(value, self.low + other.low, self.high + other.high)

    def __mul__(self, other: Union[Range, float, Any]) -> Range:
        """Times a number, a `Range` or a `hardware.chip.events.Constant`."""
        if isinstance(other, (int, float)):
            other = exactly(other)
        value = None if self.value is None or other.value is None else self.value * other.value
        return Range(value, self.low * other.low, self.high * other.high)

    __rmul__ = __mul__

    def over(self, other: Range) -> Range:
        """Divided by `other`, which is not 0: the low end by its high one."""
        value = None if self.value is None or other.value is None else self.value / other.value
        return Range(value, self.low / other.high, self.high / other.low)

    @property
    def middle(self) -> float:
        """The value, or the geometric mean of the ends."""
        return math.sqrt(self.low * self.high) if self.value is None else self.value

    def to_dict(self) -> Dict[str, Optional[float]]:
        return {"value": self.value, "low": self.low, "high": self.high}


def exactly(value: float) -> Range:
    """A number that is known."""
    return Range(float(value), float(value), float(value))


def total(parts: Iterable[Range]) -> Range:
    """Their sum; 0 of none."""
    found = exactly(0.0)
    for part in parts:
        found = found + part
    return found


def at_most(value: Optional[float], high: float) -> Range:
    """A count that is known, or lies between 0 and `high`."""
    return Range(None, 0.0, float(high)) if value is None else exactly(value)


def largest(parts: Iterable[Range]) -> Range:
    """End by end, the largest of some."""
    parts = list(parts)
    values = [part.value for part in parts if part.value is not None]
    value = max(values) if len(values) == len(parts) else None
    return Range(value, max(p.low for p in parts), max(p.high for p in parts))
