"""``cotrain verify``: a lab bundle, and what came back from the lab."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from cotrain.hardware import terminal
from cotrain.pipeline.commands import options
from cotrain.pipeline.evaluation.rows import BOARD as MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="archive or unpacked folder")
    parser.add_argument(
        "results", type=Path, nargs="?", metavar="RESULTS", help="folder of results that came back from the lab"
    )
    parser.add_argument(
        "--execute", action="store_true", help="run the bundle's own run.py: its code is executed, as you"
    )
    options.add_runs(parser)


def run(arguments: argparse.Namespace) -> int:
    return 0 if verify(arguments.bundle, arguments.results, arguments.runs, execute=arguments.execute) else 1


def verify(
    bundle: Path, results: Path | None, runs: Path, say: Callable[[str], None] = terminal.say, execute: bool = False
) -> bool:
    """Check a bundle; given results of a board, compare them and write the row.

    Returns
    -------
    bool
        Whether every value and every spike is what is expected.

    Raises
    ------
    MissingError, CorruptError, InputError
        As `hardware.bundle.verify.verify`.
    """
    from cotrain.hardware.bundle.verify import verify as check
    from cotrain.pipeline.evaluation.board import board_row
    from cotrain.pipeline.networks.rebuild import BUILDER, rebuild
    from cotrain.pipeline.runs import artifacts

    checked = check(bundle, results, say, {BUILDER: rebuild}, execute)
    if checked.results is None:
        return checked.equal
    experiment = checked.manifest["experiment"]
    if checked.results["target"] != "loihi":
        say(f"no {MODEL} row: these results are of target {checked.results['target']}, not of a board")
        return checked.equal
    deploy = artifacts.stage_folder(runs, experiment, "deploy")
    if not (deploy / artifacts.PREDICTIONS).is_file():
        say(f"no {MODEL} row: {deploy} has no {artifacts.PREDICTIONS}; first run: cotrain deploy {experiment}")
        return checked.equal
    scored, metrics = (
        artifacts.read_npz(deploy / artifacts.PREDICTIONS),
        artifacts.read_json(deploy / artifacts.METRICS),
    )
    row = board_row(checked, scored, metrics)
    path = artifacts.board_file(runs, experiment)
    artifacts.write_sealed(path, row)
    say(f"{MODEL} row in {path}; put it into the report: cotrain report {experiment} --force")
    return checked.equal
