"""``cotrain train``, ``finetune``, ``quantize``, ``deploy``, ``report``, ``submission``: the stages."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from cotrain.pipeline.commands import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_experiments(parser, several=True)
    parser.add_argument(
        "--force", action="store_true", help="run even if the result is up to date, and replace one of other settings"
    )
    if parser.get_default("verb") == "deploy":
        options.add_workers(parser)
        parser.add_argument("--limit", type=int, metavar="N", help="first N test samples (deploy.limit)")
        parser.add_argument(
            "--target", choices=("emulator", "reference"), help="the fast emulator, or nengo-loihi's (deploy.target)"
        )


def run(arguments: argparse.Namespace) -> int:
    given = {key: getattr(arguments, key, None) for key in ("limit", "target")}
    more = [f"deploy.{key}={value}" for key, value in given.items() if value is not None]
    loaded = [options.load(arguments, name, more) for name in arguments.experiment]  # refuse all before running any
    from cotrain.pipeline.stages import runner

    with options.spread(arguments) if arguments.verb == "deploy" else nullcontext():
        for name, experiment in zip(arguments.experiment, loaded, strict=True):
            runner.run(
                arguments.verb, experiment, arguments.runs, arguments.data, arguments.force,
                asked=options.asked(arguments, name),
            )  # fmt: skip
    if arguments.verb == "report" and len(loaded) > 1:
        from cotrain.pipeline.report import write_comparison

        page, *_ = write_comparison(arguments.runs, [experiment.name for experiment in loaded])
        print(f"report: side by side in {page}")
    return 0
