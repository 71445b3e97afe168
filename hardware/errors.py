"""Errors a user can act on.

One class per way a reader must react. Each is also the builtin that a caller would catch, and each message is one
line: what is wrong, where, what was expected, what to do next. The command line prints that line and exits with 2.
"""

from __future__ import annotations

from typing import Any, Tuple


def printable(text: str) -> str:
    """`text` in one line: what a terminal would act on (line ends, escapes of a stranger's file) is spelt out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class CotrainError(Exception):
    """Base of every error that is the user's to mend.

    Attributes
    ----------
    part : str
        The part of a network that it speaks of, where one is known ("layer 'conv1'").
    reason : str
        What nengo_loihi or Nengo said, where it is their error in our words.
    at : object or None
        The part itself.
    refusals : tuple of hardware.builder.refusals.Refusal
        All that was found together with what this error says.
    """

    part: str = ""
    reason: str = ""
    at: Any = None
    refusals: Tuple[Any, ...] = ()

    def __str__(self) -> str:  # of OSErrors, too, which would print an errno pair
        return printable(str(self.args[0])) if self.args else ""


class InputError(CotrainError, ValueError):
    """A value, setting, shape or type is not what is allowed: change it."""


class MissingError(CotrainError, FileNotFoundError):
    """Something that is needed is not there: make or fetch it."""


class CorruptError(CotrainError, ValueError):
    """A file is damaged, was changed, or comes from a newer version: make it again."""


class UnsupportedError(CotrainError, NotImplementedError):
    """The request is valid, but this target cannot do it: use the target that the message names."""


class MisfitError(CotrainError, RuntimeError):
    """The network does not fit the chip or board: change the network, its block shapes, or the board."""


class OutputError(CotrainError, OSError):
    """A result cannot be written: free space or choose another folder."""


class BusyError(CotrainError, BlockingIOError):
    """Another process is at work there: wait for it."""
