"""Classes of settings: frozen dataclasses whose fields carry bounds, unit and help, checked however they are made.

`setting` declares a field, `settings` makes the class. pydantic does the checking, in the constructor and therefore in
`dataclasses.replace` too; what it finds is told in one line with the nearest name that exists.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform, get_args, get_origin

from cotrain.hardware.errors import InputError
from cotrain.pipeline.words import nearest, show
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

T = TypeVar("T")

_CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_BOUNDS = {"ge": "least", "gt": "above", "le": "most", "lt": "below", "min_length": "shortest", "max_length": "longest"}
_WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}


def setting(
    meaning: str,
    *,
    default: Any,
    unit: str = "",
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    shortest: int | None = None,
    longest: int | None = None,
    choices: Iterable[str] = (),
    location: bool = False,
    suffix: str = "",
) -> Any:
    """Declare a field of a class of settings.

    Parameters
    ----------
    meaning : str
        Help text; what the value is, not what it is called.
    default
        By name: type checkers look for it there.
    unit : str
        Of the value, where it has one.
    least, above, most, below
        Bounds of a number, or of each number of a tuple: >=, >, <=, <.
    shortest, longest : int
        Length of a text or tuple.
    choices : iterable of str
        All values, or all entries of a tuple, that are allowed.
    location : bool
        A path. In an experiment's file it is relative to that file, and where a result lies is no part of what it is a
        function of.
    suffix : str
        Of a location that may be a name as well: a text without it is no path.
    """
    more: dict[str, Any] = {"unit": unit, "choices": tuple(choices), "location": location, "suffix": suffix}
    more["each"] = {"ge": least, "gt": above, "le": most, "lt": below} if isinstance(default, tuple) else {}
    bounds = {} if isinstance(default, tuple) else {"ge": least, "gt": above, "le": most, "lt": below}
    given: dict[str, Any] = {**bounds, "min_length": shortest, "max_length": longest}
    given = {name: value for name, value in given.items() if value is not None}
    return Field(default=default, description=meaning, json_schema_extra=more, **given)


@dataclass_transform(frozen_default=True, field_specifiers=(setting, dataclasses.field))
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass that checks its values whenever one is made.

    An attribute ``SECTION`` of the class stands in front of names in messages. A method ``check_together(self)``, where
    there is one, raises InputError for values that do not go together.
    """
    made: Any = pydantic_dataclass(cls, frozen=True, config=_CONFIG)
    fill = made.__init__

    @functools.wraps(fill)
    def __init__(self, *args, **values):
        try:
            fill(self, *args, **{name: _tuples(value) for name, value in values.items()})
        except ValidationError as error:
            raise InputError(_explain(made, error)) from None
        for one in entries(made):
            _check_entries(one, getattr(self, one.key))
        together = getattr(self, "check_together", None)
        if together:
            together()

    made.__init__ = __init__
    return made


@dataclass(frozen=True)
class Entry:
    """What is known of one setting."""

    section: str  # "" for a setting that stands in none
    key: str
    kind: type
    item: type | None  # of a tuple
    default: Any
    meaning: str
    unit: str
    choices: tuple[str, ...]
    location: bool
    suffix: str  # of a location that may be a name: what has it is a path
    bounds: dict[str, float]  # by the names that `setting` has for them

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def allowed(self) -> str:
        """What may stand here, in words."""
        each = f"one of {', '.join(self.choices)}" if self.choices else _WORDS[self.item or self.kind] + self.range
        if self.item:
            return (
                f"{'a non-empty list' if self.bounds.get('shortest') else 'a list'}{self._most('entries')}, each {each}"
            )
        return each + self._most("characters")

    @property
    def range(self) -> str:
        """Bounds of a number, in words that follow on "a number"."""
        b = {name: _number(value) for name, value in self.bounds.items()}
        if "least" in b and "most" in b:
            return f" from {b['least']} to {b['most']}"
        words = {"least": "at least", "above": "above", "most": "at most", "below": "below"}
        parts = [f"{word} {b[name]}" for name, word in words.items() if name in b]
        return f" {' and '.join(parts)}" if parts else ""

    def _most(self, what: str) -> str:
        return f" of at most {self.bounds['longest']} {what}" if "longest" in self.bounds else ""


@functools.cache
def entries(cls: type) -> tuple[Entry, ...]:
    """The settings of a class, in their order; its sections are not among them."""
    hints = typing.get_type_hints(cls)
    found = []
    fields: dict[str, FieldInfo] = cls.__pydantic_fields__  # type: ignore[attr-defined]
    for key, info in fields.items():
        kind = hints[key]
        if dataclasses.is_dataclass(kind):
            continue
        more: dict = info.json_schema_extra or {}  # type: ignore[assignment]
        bounds = {name: getattr(part, name) for part in info.metadata for name in _BOUNDS if hasattr(part, name)}
        bounds.update({name: value for name, value in more["each"].items() if value is not None})
        found.append(Entry(
            section=getattr(cls, "SECTION", ""), key=key, kind=get_origin(kind) or kind,
            item=get_args(kind)[0] if get_origin(kind) is tuple else None, default=info.default,
            meaning=info.description or "", unit=more["unit"], choices=more["choices"], location=more["location"],
            suffix=more["suffix"],
            bounds={_BOUNDS[name]: value for name, value in bounds.items() if value is not None},
        ))  # fmt: skip
    return tuple(found)


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # as JSON and TOML have them


def _check_entries(one: Entry, value: Any) -> None:
    values = value if one.item else (value,)
    if one.choices:
        for word in values:
            if word not in one.choices:
                raise InputError(f"{one.name} is {show(word)}{nearest(word, one.choices)}; expected {one.allowed}")
    if not one.item:
        return
    b = one.bounds
    for number in values:
        good = (
            number >= b.get("least", number) and number <= b.get("most", number)
            and not number <= b.get("above", number - 1) and not number >= b.get("below", number + 1)
        ) if one.item is not str else True  # fmt: skip
        if not good:
            raise InputError(f"{one.name} is {show(value)}; expected {one.allowed}")


def _explain(cls: type, error: ValidationError) -> str:
    """The first of the errors in one line."""
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    section = getattr(cls, "SECTION", "")
    known = {one.key: one for one in entries(cls)}
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden", "no_such_attribute"):
        names = [f.name for f in dataclasses.fields(cls)]
        inside = f" in [{section}]" if section else ""
        return f"unknown setting {key!r}{inside}{nearest(key, names)}; there are {', '.join(names)}"
    if key not in known:
        return f"{key or cls.__name__}: {first['msg']}, got {show(first['input'])}"
    one = known[key]
    value = first["input"]
    if len(first["loc"]) > 1:
        return f"{one.name} has an entry {show(value)}; expected {one.allowed}"
    close = nearest(value, one.choices) if isinstance(value, str) else ""
    return f"{one.name} is {show(value)}{close}; expected {one.allowed}"
