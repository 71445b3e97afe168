"""One line of progress with the time left."""

from __future__ import annotations

import sys
import time


def duration(seconds: float) -> str:
    """'42 s', '3 min 05 s' or '2 h 07 min'."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Progress:
    """Counts work that is done; on a terminal the line is rewritten, in a log a new one comes every 15 seconds.

    Parameters
    ----------
    label : str
        What is being done.
    total : int
        Units of work.
    done : int
        Units that were done before; the time left is told from the others.
    """

    def __init__(self, label: str, total: int, done: int = 0, stream=None):
        self.label, self.total, self.done, self.first = label, total, done, done
        self.stream = stream or sys.stderr
        self.rewrites = self.stream.isatty()
        self.started = self.written = time.perf_counter()

    def advance(self, n: int = 1) -> None:
        """`n` more units are done."""
        self.done += n
        now = time.perf_counter()
        if now - self.written < (0.2 if self.rewrites else 15) and self.done < self.total:
            return
        if self.done >= self.total and not self.rewrites and self.written == self.started:
            return  # short work needs no line in a log
        self.written = now
        left = (now - self.started) / max(self.done - self.first, 1) * (self.total - self.done)
        text = f"  {self.label}: {self.done}/{self.total}"
        text += f", {duration(left)} left" if left else f", {duration(now - self.started)}"
        self.stream.write(f"\r{text:<70}" if self.rewrites else f"{text}\n")
        self.stream.flush()

    def close(self) -> None:
        """Leave the line."""
        if self.rewrites and self.done:
            self.stream.write("\r" + " " * 70 + "\r")
            self.stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        self.close()
