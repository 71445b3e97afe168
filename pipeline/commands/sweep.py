"""``cotrain sweep``: many trainings of one experiment, chosen on the chip's integers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cotrain.hardware import terminal
from cotrain.pipeline.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, metavar="SWEEP.toml", help="base, trials, space and objectives")
    options.add_runs(parser)
    options.add_data(parser)
    options.add_workers(parser)
    parser.add_argument("--force", action="store_true", help="delete the trials of another sweep of this name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the table goes as well")


def run(arguments: argparse.Namespace) -> int:
    sweep(
        arguments.sweep, arguments.runs, arguments.data, arguments.workers, arguments.cluster, arguments.json,
        arguments.force,
    )  # fmt: skip
    return 0


def sweep(
    path: Path,
    runs: Path,
    data: Path,
    workers: int = 1,
    cluster: str = "",
    json_path: Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = terminal.say,
) -> dict[str, Any]:
    """Run the sweep of file `path`, or what is left of it.

    Parameters
    ----------
    workers : int
        Processes of this machine, or jobs of a SLURM cluster. The result does not hang on their number.
    cluster : str
        "", "tcp://HOST:PORT" of a Dask scheduler, or "slurm".
    json_path : Path, optional
        Where the table goes besides the sweep's own folder.

    Returns
    -------
    dict
        See `sweeps.driver.run`.
    """
    from cotrain.hardware import files
    from cotrain.pipeline.runs import artifacts
    from cotrain.pipeline.sweeps import driver, plan, sampling
    from cotrain.pipeline.sweeps.workers import check, pool

    read = plan.read(path)
    sampling.import_optuna()  # before anything starts
    check(workers, cluster)
    if json_path is not None:
        options.check_json(json_path)
    logs = runs.resolve() / artifacts.SLURM_LOGS
    with pool(workers, cluster, read.threads, read.slurm, logs, say) as workers_there:
        summary = driver.run(read, runs, data, workers_there, force=force, say=say)
    if json_path is not None:
        files.write_json(json_path, summary)
    return summary
