"""One line of progress with the time left."""

from __future__ import annotations

import os
import sys
import time
from contextvars import ContextVar
from typing import Any, Optional, TextIO

REWRITTEN_EVERY_S, LOGGED_EVERY_S = 0.2, 15.0
QUIET: ContextVar[bool] = ContextVar("quiet", default=False)  # no progress is shown


def duration(seconds: float) -> str:
    """'42 s', '3 min 05 s' or '2 h 07 min'."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def tell(stream: Any, text: str) -> bool:
    """Write to a stream that may be closed, or not there at all (``2>&-``); whether that was possible.

    What is only told must not end the work that it is told of.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        _drop(stream)
        return False
    except (AttributeError, ValueError):
        return False
    return True


def _drop(stream) -> None:
    """Let what a full stream still holds go nowhere: Python would fail on it at exit, with status 120."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
    except (AttributeError, OSError, ValueError):
        pass


class Progress:
    """Counts work that is done; on a terminal the line is rewritten, in a log a new one comes every 15 seconds.

    The line of a terminal has a bar where Rich is installed; a lab's Python does without.

    Parameters
    ----------
    label : str
        What is being done.
    total : int
        Units of work.
    done : int
        Units that were done before; the time left is told from the others.
    stream : file, optional
        Default: standard error.
    short : bool
        Say in a log, too, what was over before its first line was due.
    """

    def __init__(
        self, label: str, total: int, done: int = 0, stream: Optional[TextIO] = None, short: bool = False
    ) -> None:
        self.short = short
        self.label, self.total, self.done, self.first = label, total, done, done
        self.stream = stream or sys.stderr
        self.rewrites = self.stream is not None and not self.stream.closed and self.stream.isatty()
        self.started = self.written = time.perf_counter()
        self._line: Any = None

    def advance(self, n: int = 1) -> None:
        """`n` more units are done."""
        self.done += n
        if QUIET.get():
            return
        now = time.perf_counter()
        if now - self.written < (REWRITTEN_EVERY_S if self.rewrites else LOGGED_EVERY_S) and self.done < self.total:
            return
        if self.done >= self.total and not (self.rewrites or self.short) and self.written == self.started:
            return
        self.written = now
        left = (now - self.started) / max(self.done - self.first, 1) * (self.total - self.done)
        when = f"{duration(left)} left" if left else duration(now - self.started)
        if self.rewrites:
            if self._line is None:
                self._line = _bar(self) or _PlainLine(self)
            self._line.show(when)
        else:
            tell(self.stream, f"  {self.label}: {self.done}/{self.total}, {when}\n")

    def close(self) -> None:
        """Leave the line; the next `advance` begins it anew."""
        if self._line is not None:
            self._line.clear()
            self._line = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _PlainLine:
    def __init__(self, of: Progress) -> None:
        self.of = of

    def show(self, when: str) -> None:
        text = f"  {self.of.label}: {self.of.done}/{self.of.total}, {when}"
        self._write(f"\r{text:<70}")

    def clear(self) -> None:
        self._write("\r" + " " * 70 + "\r")

    def _write(self, text: str) -> None:
        tell(self.of.stream, text)


def _bar(of: Progress) -> Any:
    """The line by Rich; None where it is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar
    except ImportError:
        return None
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[when]}"),
    )
    # what is printed meanwhile goes where it would go without a bar, and nothing is drawn by a thread
    bar = Bar(
        *columns, console=Console(file=of.stream), transient=True, auto_refresh=False, redirect_stdout=False,
        redirect_stderr=False,
    )  # fmt: skip
    return _RichLine(of, bar)


class _RichLine:
    def __init__(self, of: Progress, bar: Any) -> None:
        self.of, self.bar = of, bar
        self.task = bar.add_task(of.label.replace("[", r"\["), total=of.total, completed=of.done, when="")
        bar.start()

    def show(self, when: str) -> None:
        self.bar.update(self.task, completed=self.of.done, when=when, refresh=True)

    def clear(self) -> None:
        self.bar.stop()
