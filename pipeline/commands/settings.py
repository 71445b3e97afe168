"""``cotrain settings``: every key of an experiment with its default, its bounds and what it means."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import Any

from cotrain.hardware import terminal
from cotrain.hardware.errors import InputError
from cotrain.pipeline.checked import Entry, entries
from cotrain.pipeline.experiment import SECTIONS, Experiment
from cotrain.pipeline.words import nearest

WIDTH = 79
INDENT = "    "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "section", nargs="?", metavar="SECTION", help="for example train, or train.epochs (default: all)"
    )


def run(arguments: argparse.Namespace) -> int:
    show(arguments.section)
    return 0


def show(section: str | None, say: Callable[[str], None] = terminal.say) -> None:
    """Print the settings of one section, or of all.

    Raises
    ------
    InputError
        No section, and no setting, has that name.
    """
    classes = {"": Experiment, **SECTIONS}
    key = None
    if section is not None:
        name, _, key = section.partition(".")
        if name not in SECTIONS and name in {one.key for one in entries(Experiment)}:
            name, key = "", name
        if name not in classes or (section and not name and not key):
            raise InputError(
                f"unknown section {section!r}{nearest(section, SECTIONS)}; there are {', '.join(SECTIONS)}"
            )
        classes = {name: classes[name]}
    for name, cls in classes.items():
        chosen = [one for one in entries(cls) if not key or one.key == key]
        if not chosen:
            keys = [one.key for one in entries(cls)]
            raise InputError(f"unknown setting {section!r}{nearest(key or '', keys)}; there are {', '.join(keys)}")
        say(f"[{name}]  # {_first_line(cls)}" if name else f"# {_first_line(cls)}")
        for one in chosen:
            for line in describe(one):
                say(line)
        say("")


def describe(one: Entry) -> list[str]:
    """``key = default``, then what it means and what may stand there, in lines of 79 characters."""
    unit = f"  # {one.unit}" if one.unit else ""
    text = f"{one.meaning[0].upper()}{one.meaning[1:]}. {one.allowed[0].upper()}{one.allowed[1:]}."
    heads = textwrap.wrap(
        f"{one.key} = {toml(one.default)}{unit}", WIDTH, subsequent_indent="  ", break_on_hyphens=False
    )
    return heads + textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)


def toml(value: Any) -> str:
    """A setting's value as an experiment's file has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return repr(value)


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0].rstrip(".")
