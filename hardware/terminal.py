"""What is said on a terminal: in 80 columns, in colour where somebody looks, nothing where quiet was asked for."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from contextlib import contextmanager
from typing import Any, Iterator, List

from cotrain.hardware.progress import QUIET, tell

WIDTH = 79  # some terminals go on to the next line when the 80th column is written

# What stands out, in the order of looking: the first that fits paints its part of the line.
_BOLD, _RED, _GREEN, _CYAN = "1", "31", "32", "36"
_STYLES = (
    (re.compile(r"^.*(?:does not fit|violations: [1-9]|differ; first|\bbroken\b).*$"), _RED),
    (re.compile(r"(?<=: )(?:done in .*|up to date.*|wrote .*)$"), _GREEN),
    (re.compile(r"\bcotrain [a-z]+ .*$|^ +--[a-z].*$"), _CYAN),
    (re.compile(r"^[a-z]+ [\w.-]+(?=: )"), _BOLD),
)
_COMMAND = re.compile(r"^(?P<before>.*?)(?P<command>\bcotrain [a-z]+ .*)$")
_WORD = re.compile(r"(?:'[^']*'|\\.|[^\s'])+")  # of a command that shlex has joined


def say(text: str) -> None:
    """Print lines of at most 79 characters; nothing where `quiet` holds.

    A command at the end of a line is broken where a shell takes it up again, but stays whole for programs that read.
    """
    if QUIET.get():
        return
    painted = in_colour(sys.stdout)
    for line in text.split("\n"):
        for part in fitted(line, commands=on_terminal(sys.stdout)):
            print(paint(part) if painted else part, flush=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Say nothing in here, and show no progress."""
    token = QUIET.set(True)
    try:
        yield
    finally:
        QUIET.reset(token)


def complain(text: str) -> None:
    """Say what is wrong on standard error: one line, or where that is a terminal lines that fit.

    Standard error may be closed, or not there at all.
    """
    if not in_colour(sys.stderr):
        tell(sys.stderr, f"{text}\n")
        return
    head, colon, rest = "\n".join(fitted(text)).partition(": ")
    tell(sys.stderr, f"\x1b[{_RED}m{head}{colon}\x1b[0m{rest}\n" if colon else f"{head}\n")


def in_colour(stream: Any) -> bool:
    """Whether a stream is a terminal that is to have colours (https://no-color.org)."""
    return on_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def on_terminal(stream: Any) -> bool:
    """Whether somebody looks."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # closed, or not there at all
        return False


def paint(line: str) -> str:
    """A line with its most telling part in colour."""
    for pattern, style in _STYLES:
        found = pattern.search(line)
        if found:
            start, end = found.span()
            return f"{line[:start]}\x1b[{style}m{line[start:end]}\x1b[0m{line[end:]}"
    return line


def fitted(line: str, width: int = WIDTH, commands: bool = True) -> List[str]:
    """A line as lines of at most `width` characters; words, paths among them, stay whole.

    One that ends in a command stays whole where `commands` is false.
    """
    if len(line) <= width or line.endswith("\\") or line.lstrip().startswith("--"):  # part of a broken command
        return [line]
    found = _COMMAND.match(line)
    if not found:
        return _wrapped(line, width)
    return _with_command(found["before"], found["command"], width) if commands else [line]


def _wrapped(line: str, width: int) -> List[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    lines = textwrap.wrap(line, width, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False)
    return lines or [""]


def _with_command(before: str, command: str, width: int) -> List[str]:
    """What a command follows on, and the command, which ends in a backslash where it goes on in the next line.

    It is broken in front of options alone, each of which stays with its value; what it is about stays whole.
    """
    parts: List[str] = []
    for word in _WORD.findall(command):
        if parts and not word.startswith("-") and not (parts[-1].startswith("-") and " " in parts[-1]):
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    indent = " " * (len(before) - len(before.lstrip()))
    lines, line = [], before + parts[0]
    if len(line) > width and len(before) > width // 4:
        lines, line = _wrapped(before.rstrip(), width), f"{indent}  {parts[0]}"
    for part in parts[1:]:
        if len(line) + len(part) + 3 > width:
            lines.append(f"{line} \\")
            line = f"    {part}"
        else:
            line += f" {part}"
    return [*lines, line]


def plural(n: int, noun: str, nouns: str = "") -> str:
    """``1 chip``, ``1,024 chips``; `nouns` where it is not made with an s."""
    return f"{n:,} {noun if n == 1 else nouns or f'{noun}s'}"
