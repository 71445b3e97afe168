"""``cotrain explore``: how few steps and spikes will do."""

from __future__ import annotations

import argparse
from pathlib import Path

from cotrain.hardware.errors import InputError
from cotrain.pipeline.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_experiments(parser)
    parser.add_argument(
        "--steps", default="", metavar="10,20,40", help="steps of a presentation (default: shares of finetune.n_steps)"
    )
    parser.add_argument(
        "--rates", default="", metavar="100,200,400",
        help="rates of an activation of 1 in Hz (default: half, once, twice rate_scale_hz)",
    )  # fmt: skip
    parser.add_argument(
        "--split", choices=("validation", "test", "all"), default="validation",
        help="the samples that are scored (default: validation)",
    )  # fmt: skip
    parser.add_argument(
        "--params",
        choices=("pretrained", "run"),
        default="",
        help="default: the run's where there is one",
    )
    parser.add_argument(
        "--limit", type=int, default=120, metavar="N",
        help="first N samples and the rest of their volume; 0: all (default: 120)",
    )  # fmt: skip
    options.add_workers(parser)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="result; the picture goes beside it")


def run(arguments: argparse.Namespace) -> int:
    steps, rates_hz = numbers("--steps", arguments.steps, int), numbers("--rates", arguments.rates, float)
    experiment = options.load(arguments, arguments.experiment)
    options.check_json(arguments.json)
    from cotrain.pipeline.evaluation.explore import explore

    with options.spread(arguments):
        explore(
            experiment, arguments.data, arguments.runs, arguments.json, steps=steps, rates_hz=rates_hz,
            split=arguments.split, source=arguments.params, limit=arguments.limit,
        )  # fmt: skip
    return 0


def numbers(option: str, text: str, kind: type) -> tuple:
    """Comma-separated numbers of the command line; none for an empty text.

    Raises
    ------
    InputError
        Something else.
    """
    try:
        return tuple(kind(part) for part in text.split(",")) if text else ()
    except ValueError:
        wanted = {int: "whole numbers", float: "numbers"}[kind]
        raise InputError(f"{option} is {text!r}; expected {wanted} with commas between them") from None
