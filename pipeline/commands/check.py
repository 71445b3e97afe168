"""``cotrain check``: preflight of any network."""

from __future__ import annotations

import argparse
from pathlib import Path

from cotrain.hardware.chip.limits import BOARDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", metavar="FILE.py:FUNCTION", help="a function that returns a nengo.Network")
    parser.add_argument(
        "--board", default="nahuku32", help=f"{', '.join(board.name for board in BOARDS)} (default: nahuku32)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--keep-passthrough", action="store_true", help="nodes without a function stay (nengo_loihi)")


def run(arguments: argparse.Namespace) -> int:
    from cotrain.hardware.preflight.command import main

    return main(arguments.network, arguments.board, arguments.json, not arguments.keep_passthrough)
