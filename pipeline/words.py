"""Words in messages: the nearest name that exists, and values as they are quoted. Light to import."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def nearest(word: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for the closest of `known`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def show(value: Any) -> str:
    """A value as it is quoted in a message: on one line, and not long."""
    return _short.repr(list(value) if isinstance(value, tuple) else value)
