"""What verbs have in common: the parser, options, and the experiments that are asked for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cotrain.hardware.errors import InputError
from cotrain.pipeline.layers import names
from cotrain.pipeline.runs.request import DATA, RUNS, Request
from cotrain.pipeline.words import nearest

if TYPE_CHECKING:
    from cotrain.pipeline.experiment import Experiment


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest option that exists."""

    def __init__(self, **options: Any):
        super().__init__(
            allow_abbrev=False, add_help=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        first, _, rest = message.partition(": ")
        if first == "unrecognized arguments":
            word = rest.split()[0].partition("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            message = f"unknown argument {word!r}{nearest(word, known) if word.startswith('-') else ''}"
            message += f"; see {self.prog} --help"
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every verb takes."""
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors; files and exit status tell")
    parser.add_argument("-h", "--help", action="help", help="show this and exit")


def add_experiments(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """One experiment or several, with what changes their settings and says where things lie."""
    parser.add_argument(
        "experiment",
        nargs="+" if several else None,
        metavar="EXPERIMENT",
        help=f"{', '.join(names())}, or a .toml file",
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides",
                        help="change a setting, for example train.epochs=1 (all: cotrain settings)")  # fmt: skip
    add_runs(parser)
    add_data(parser)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Where data sets lie."""
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("COTRAIN_DATA") or DATA), metavar="DIR",
                        help="where the named data sets lie (default: $COTRAIN_DATA, else data)")  # fmt: skip


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Where results lie."""
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="run folders (default: runs)")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Who does the work."""
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes, or jobs of slurm (default: 1)")
    parser.add_argument(
        "--cluster", default="", metavar="ADDRESS|slurm", help="tcp://HOST:PORT of a Dask scheduler, or slurm"
    )


@contextmanager
def spread(arguments: argparse.Namespace) -> Iterator[None]:
    """Have comparisons in here scored by the workers that are asked for; by this process alone where none are."""
    if arguments.workers == 1 and not arguments.cluster:
        yield
        return
    from cotrain.pipeline.evaluation import shards
    from cotrain.pipeline.runs import artifacts
    from cotrain.pipeline.sweeps.workers import pool

    logs = arguments.runs.resolve() / artifacts.SLURM_LOGS
    with pool(arguments.workers, arguments.cluster, logs=logs) as workers:
        with shards.spread(workers, max(arguments.workers, workers.n_workers)):
            yield


def add_models(parser: argparse.ArgumentParser, help: str) -> None:
    """Rows of a comparison."""
    parser.add_argument("--models", type=lambda text: tuple(text.split(",")), metavar="ROW,ROW", help=help)


def check_json(path: Path) -> None:
    """Refuse a file of ``--json`` that could not be written, before any work.

    Raises
    ------
    InputError
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"--json {path}: the folder {folder} does not exist; make it first")


def load(arguments: argparse.Namespace, name: str, more: Iterable[str] = ()) -> Experiment:
    """The experiment `name` with what ``--set`` and other options (`more`, as for ``--set``) change."""
    from cotrain.pipeline import experiment

    return experiment.load(name, [*arguments.overrides, *more])


def asked(arguments: argparse.Namespace, name: str) -> Request:
    """How experiment `name` was asked for."""
    return Request(name, tuple(arguments.overrides), arguments.runs, arguments.data)
