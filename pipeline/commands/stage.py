"""``cotrain train``, ``finetune``, ``quantize``, ``deploy``, ``report``, ``submission``: the stages."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext

from cotrain.hardware import terminal
from cotrain.pipeline.commands import options
from cotrain.pipeline.stages.table import STAGES

NEXT = {"train": "finetune", "finetune": "deploy", "quantize": "deploy", "deploy": "report"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_experiments(parser, several=True)
    parser.add_argument(
        "--force", action="store_true", help="run even if the result is up to date, and replace one of other settings"
    )
    later = _stages_from(parser.get_default("verb"))[1:]
    if later:
        parser.add_argument(
            "--until", choices=later, metavar="STAGE",
            help=f"go on in this process with the stages that follow, up to this one ({', '.join(later)})",
        )  # fmt: skip
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

    last = getattr(arguments, "until", None) or arguments.verb
    verbs = _stages_from(arguments.verb)
    for verb in verbs[: verbs.index(last) + 1]:
        with options.spread(arguments) if arguments.verb == "deploy" else nullcontext():
            for name, experiment in zip(arguments.experiment, loaded, strict=True):
                runner.run(
                    verb, experiment, arguments.runs, arguments.data, arguments.force,
                    asked=options.asked(arguments, name),
                )  # fmt: skip
        if verb == "report" and len(loaded) > 1:
            from cotrain.pipeline.report import write_comparison

            page, *_ = write_comparison(arguments.runs, [experiment.name for experiment in loaded])
            terminal.say(f"report: side by side in {page}")
    if last in NEXT and "MAKELEVEL" not in os.environ:  # make has verbs of its own
        first, *others = arguments.experiment
        command = options.asked(arguments, first).command(NEXT[last], *others)
        for line in terminal.fitted(f"next: {command}"):
            terminal.say(line)
    return 0


def _stages_from(verb: str) -> list[str]:
    """A stage and those that follow it, without what runs by itself where it is needed."""
    names = list(STAGES)
    return [name for name in names[names.index(verb) :] if name == verb or not STAGES[name].automatic]
