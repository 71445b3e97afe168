"""``cotrain estimate``: energy and time from counts."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("counts", type=Path, metavar="COUNTS.json", help="neurons, spikes and synaptic operations")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the estimate there, too")


def run(arguments: argparse.Namespace) -> int:
    from cotrain.hardware.cost.command import main

    return main(arguments.counts, arguments.json)
