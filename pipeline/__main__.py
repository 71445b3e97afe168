"""Command line: ``cotrain <verb> ...``. One table of verbs; a verb's module is imported when it is asked for.

Errors a user can mend are one line on stderr and exit status 2, and so is what the machine lacks (a full disk behind
standard output, a name that no disk takes); anything else is our bug and shows its traceback.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from cotrain.hardware import terminal
from cotrain.hardware.errors import CotrainError, printable
from cotrain.hardware.progress import tell
from cotrain.pipeline import __version__
from cotrain.pipeline.commands.options import Parser, add_common
from cotrain.pipeline.stages.table import STAGES
from cotrain.pipeline.words import nearest

# What comes from the machine and not from a mistake of ours, wherever it comes up
OF_THE_MACHINE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE,
)  # fmt: skip


@dataclass(frozen=True)
class Verb:
    """A row of the table of verbs.

    The module is one of `pipeline.commands`, with ``add_arguments(parser)`` and ``run(arguments) -> exit status``. It
    is light to import: what the work needs is imported in ``run``.
    """

    name: str
    module: str
    help: str
    example: str  # without "cotrain NAME"


_STAGE_EXAMPLES = {
    "train": "mine.toml --set train.epochs=20",
    "finetune": "mine.toml --set finetune.n_steps=32",
    "quantize": "mine.toml --set quantize.board=kapoho_bay",
    "deploy": "mine.toml --limit 8 --target reference",
    "report": "locnet cae",
    "submission": "mine.toml --set submission.n_samples=8",
}
VERBS = {
    verb.name: verb
    for verb in (
        *(Verb(stage.name, "stage", stage.help, _STAGE_EXAMPLES[stage.name]) for stage in STAGES.values()),
        Verb("init", "init", "look at a folder of data, write an experiment that runs as it is",
             "pictures --labels coco.json -o mine.toml"),
        Verb("inspect", "inspect", "before training: counts, pictures, cores, limits, minutes", "mine.toml"),
        Verb("repeat", "repeat", "train, fine-tune and deploy with several seeds or splits: means and intervals",
             "demo-locnet --seeds 3"),
        Verb("sweep", "sweep", "train with many settings, choose on the chip's integers",
             "rates.toml --workers 2 --json rates.json"),
        Verb("evaluate", "evaluate", "score models on a data set, without a run folder",
             "cae --data data --split test --json cae.json"),
        Verb("explore", "explore", "steps x rate scale of a trained network, on the chip's integers",
             "locnet --steps 20,40,60 --rates 125,250 --json explore.json"),
        Verb("check", "check", "does a model or any nengo.Network fit the chip, and what would be refused?",
             "mine.keras --input 64,128,1 --board nahuku32"),
        Verb("estimate", "estimate", "energy and time on silicon of any network whose counts are known",
             "counts.json --json cost.json"),
        Verb("verify", "verify", "check a lab bundle, and compare results that came back",
             "submission/cae-0123abcd.tar.gz results"),
        Verb("data", "data", "download and verify public data sets", "mnist hippocampus"),
        Verb("status", "status", "what has been run, what is running, what is broken", "--runs runs"),
        Verb("settings", "settings", "print every setting with its default, bounds and meaning", "train.epochs"),
        Verb("completion", "completion", "print a script that lets a shell complete verbs, options and settings",
             "bash"),
    )
}  # fmt: skip


def parser_for(name: str) -> Parser:
    """The parser of a verb's arguments.

    Raises
    ------
    SystemExit
        With one line: there is no such verb.
    """
    if name not in VERBS:
        Parser(prog="cotrain").error(f"unknown verb {name!r}{nearest(name, VERBS)}; there are {', '.join(VERBS)}")
    verb = VERBS[name]
    end = "" if verb.help.endswith("?") else "."
    parser = Parser(
        prog=f"cotrain {name}",
        description=f"{verb.help[0].upper()}{verb.help[1:]}{end}",
        epilog=f"example:\n  cotrain {name} {verb.example}",
    )
    module = importlib.import_module(f"cotrain.pipeline.commands.{verb.module}")
    parser.set_defaults(verb=name, run=module.run)
    module.add_arguments(parser)
    add_common(parser)
    return parser


def help_text() -> str:
    """What ``cotrain --help`` prints."""
    lines = ["usage: cotrain VERB ...", "", "Take a vision network to Intel's Loihi.", "", "verbs, the stages first:"]
    width = max(map(len, VERBS)) + 4
    for verb in VERBS.values():
        lines += textwrap.wrap(f"  {verb.name}".ljust(width) + verb.help, 79, subsequent_indent=" " * width)
    lines += [
        "",
        "cotrain VERB --help     the arguments of a verb, with an example",
        "cotrain VERB --quiet    nothing but errors",
        "cotrain --version",
        "",
        "A first picture: make demo. Your own pictures: cotrain init FOLDER -o mine.toml",
    ]
    return "\n".join(lines)


@contextmanager
def _tidy_when_terminated() -> Iterator[None]:
    """Let SIGTERM end the work as an exception does, so that temporary folders and child processes go with it."""

    def stop(number, frame):
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the exit status."""
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()  # what cannot be written is to be told, and not by Python at exit
        return code
    except CotrainError as error:
        terminal.complain(f"cotrain: {error}")
        return 2
    except KeyboardInterrupt:
        tell(sys.stderr, "\ncotrain: interrupted; the same command goes on from the last checkpoint\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        what = printable(str(error.filename)) if error.filename else "standard output"
        terminal.complain(f"cotrain: {what[:300]}: {error.strerror}; free space, or name another file or folder")
        tell(sys.stdout, "")  # lets go of what is left for it
        return 2
    finally:
        tell(sys.stderr, "")  # warnings of others that could not be written


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        print(f"loihi-cotrain {__version__}")
        return 0
    arguments = parser_for(words[0]).parse_args(words[1:])
    with _tidy_when_terminated(), terminal.quiet() if arguments.quiet else nullcontext():
        return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
