"""Progress: a line that is rewritten on a terminal, with Rich and without, and single lines in a log."""

from __future__ import annotations

import io
import sys

import pytest
from cotrain.hardware import progress
from cotrain.hardware.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(params=["rich", "plain"])
def kind(request, monkeypatch):
    monkeypatch.setattr(progress, "REWRITTEN_EVERY_S", 0)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    if request.param == "plain":
        for name in ("rich.console", "rich.progress"):
            monkeypatch.setitem(sys.modules, name, None)
    return request.param


def test_a_terminal_has_one_line_that_ends_clean(kind):
    out = Terminal()
    with Progress("training [a]", 10, done=4, stream=out) as bar:
        bar.advance()
        bar.close()  # something else is printed
        out.write("epoch 1\n")
        bar.advance(5)
    text = out.getvalue()
    assert "training [a]" in text and "5/10" in text and "10/10" in text and "left" in text
    assert ("━" in text or "-" in text) == (kind == "rich")
    cleared = "\r\x1b[1A\x1b[2K" if kind == "rich" else "\r" + " " * 70 + "\r"
    before, after = text.split("epoch 1\n")
    assert before.endswith(cleared) and after.endswith(cleared)


def test_a_log_has_lines_now_and_then(monkeypatch):
    out = io.StringIO()
    with Progress("training", 3, stream=out) as bar:
        bar.advance(3)
    assert out.getvalue() == ""  # over before a line was due
    monkeypatch.setattr(progress, "LOGGED_EVERY_S", 0)
    with Progress("training", 3, stream=out) as bar:
        bar.advance(), bar.advance(2)
    first, second = out.getvalue().splitlines()
    assert first.startswith("  training: 1/3, ") and first.endswith(" left") and second.startswith("  training: 3/3, ")


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
