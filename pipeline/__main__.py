"""Command line: ``cotrain <verb> ...``. The verbs are the stages, and a few that need no run.

Errors a user can mend are one line on stderr and exit status 2; anything else is our bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cotrain.hardware.errors import CotrainError
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.runs.asked import Asked
from cotrain.pipeline.stages.table import STAGES


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        known = [action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        if known and "invalid choice" in message:
            word = message.split("'")[1]
            verbs = list(known[0])
            message = f"unknown verb {word!r}{experiments.nearest(word, verbs)}; there are {', '.join(verbs)}"
        self.exit(2, f"{self.prog}: {message}\n")


def _arguments() -> argparse.ArgumentParser:
    parser = _Parser(prog="cotrain", description="Take a vision network to Intel's Loihi.", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb", parser_class=_Parser)

    def add(name, function, help):
        verb = verbs.add_parser(name, help=help, description=help, allow_abbrev=False)
        verb.set_defaults(function=function)
        return verb

    def with_data(verb):
        verb.add_argument("--data", type=Path, default=Path(os.environ.get("COTRAIN_DATA") or "data"), metavar="DIR",
                          help="where the data sets lie (default: $COTRAIN_DATA, else data)")  # fmt: skip
        return verb

    def with_settings(verb):
        verb.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides",
                          help="change a setting, for example train.epochs=1")  # fmt: skip
        verb.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="run folders (default: runs)")
        return with_data(verb)

    for stage in STAGES.values():
        verb = with_settings(add(stage.name, _stage, stage.help))
        verb.add_argument("experiment", nargs="+", help=f"{', '.join(experiments.names())}, or a .toml file")
        verb.add_argument("--force", action="store_true", help="run even if the result is up to date")
        if stage.name == "deploy":
            verb.add_argument("--limit", type=int, metavar="N", help="first N test samples (deploy.limit)")
            verb.add_argument("--target", choices=("emulator", "reference"), help="deploy.target")

    verb = add("status", _status, "what has been run, what is running, what is broken")
    verb.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="run folders (default: runs)")

    verb = add("settings", _settings, "print every setting with its default, bounds and meaning")
    verb.add_argument("section", nargs="?", help="for example train, or train.epochs (default: all)")

    verb = with_settings(add("repeat", _repeat, "train, fine-tune and deploy with several seeds: means and intervals"))
    verb.add_argument("experiment")
    verb.add_argument("--seeds", type=int, default=3, metavar="N", help="how many, the experiment's first (default: 3)")
    verb.add_argument("--models", help="comma-separated rows of the further seeds (default: all)")

    verb = with_data(add("sweep", _sweep, "train with many settings, choose on the chip's integers"))
    verb.add_argument("sweep", type=Path, metavar="SWEEP.toml")
    verb.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="run folders (default: runs)")
    verb.add_argument("--workers", type=int, default=1, metavar="N", help="processes, or jobs of slurm (default: 1)")
    verb.add_argument("--cluster", default="", metavar="ADDRESS|slurm", help="tcp://HOST:PORT of a Dask scheduler")
    verb.add_argument("--force", action="store_true", help="delete the trials of another sweep of this name")
    verb.add_argument("--json", type=Path, metavar="FILE", help="where the table goes as well")

    verb = with_settings(add("evaluate", _evaluate, "score models on a data set, without a run folder"))
    verb.add_argument("experiment")
    verb.add_argument("--split", choices=("test", "all"), default="test")
    verb.add_argument("--models", help="comma-separated rows (default: all)")
    verb.add_argument("--params", choices=("pretrained", "run"), default="pretrained")
    verb.add_argument("--limit", type=int, default=0, metavar="N", help="first N samples (default: all)")
    verb.add_argument("--json", type=Path, required=True, metavar="FILE", help="where metrics.json's twin goes")

    verb = with_settings(add("explore", _explore, "steps x rate scale of a trained network, on the chip's integers"))
    verb.add_argument("experiment")
    verb.add_argument("--steps", default="", metavar="10,20,40",
                      help="steps of a presentation (default: shares of finetune.n_steps)")  # fmt: skip
    verb.add_argument("--rates", default="", metavar="100,200,400",
                      help="rates of an activation of 1 in Hz (default: half, once, twice rate_scale_hz)")  # fmt: skip
    verb.add_argument("--split", choices=("validation", "test", "all"), default="validation")
    verb.add_argument("--params", choices=("pretrained", "run"), default="",
                      help="default: the run's, if there is one, else the package's")  # fmt: skip
    verb.add_argument("--limit", type=int, default=120, metavar="N",
                      help="first N samples and the rest of their volume; 0: all (default: 120)")  # fmt: skip
    verb.add_argument("--json", type=Path, required=True, metavar="FILE", help="result; the picture goes beside it")

    verb = add("check", _check, "preflight: does any nengo.Network fit the chip?")
    verb.add_argument("network", metavar="FILE.py:FUNCTION")
    verb.add_argument("--board", default="nahuku32")
    verb.add_argument("--json", type=Path, metavar="FILE")
    verb.add_argument("--keep-passthrough", action="store_true", help="nodes without a function stay (nengo_loihi)")

    verb = add("estimate", _estimate, "energy and time on silicon of any network whose counts are known")
    verb.add_argument("counts", type=Path, metavar="COUNTS.json")
    verb.add_argument("--json", type=Path, metavar="FILE")

    verb = add("verify", _verify, "check a lab bundle, run it again, and compare results that came back")
    verb.add_argument("bundle", type=Path, help="archive or unpacked folder")
    verb.add_argument("results", type=Path, nargs="?", help="folder of results that came back from the lab")
    verb.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="run folders (default: runs)")

    verb = with_data(add("data", _data, "download and verify public data sets"))
    verb.add_argument("names", nargs="*", metavar="NAME", help="caltech101-airplanes, hippocampus, mnist, cifar10; all")
    return parser


def _load(arguments, name):
    overrides = list(arguments.overrides)
    if getattr(arguments, "limit", None) is not None and arguments.verb == "deploy":
        overrides.append(f"deploy.limit={arguments.limit}")
    if getattr(arguments, "target", None):
        overrides.append(f"deploy.target={arguments.target}")
    return experiments.load(name, overrides)


def _stage(arguments) -> int:
    from cotrain.pipeline.stages.runner import run

    loaded = [_load(arguments, name) for name in arguments.experiment]  # refuse all before running any
    for name, experiment in zip(arguments.experiment, loaded, strict=True):
        asked = Asked(name, tuple(arguments.overrides), arguments.runs, arguments.data)
        run(arguments.verb, experiment, arguments.runs, arguments.data, force=arguments.force, asked=asked)
    if arguments.verb == "report" and len(loaded) > 1:
        from cotrain.pipeline.report import write_comparison

        page, *_ = write_comparison(arguments.runs, [experiment.name for experiment in loaded])
        print(f"report: side by side in {page}")
    return 0


def _status(arguments) -> int:
    from cotrain.pipeline.commands.status import run

    run(arguments.runs)
    return 0


def _settings(arguments) -> int:
    from cotrain.pipeline.commands.settings import run

    run(arguments.section)
    return 0


def _models(arguments) -> tuple[str, ...] | None:
    return tuple(arguments.models.split(",")) if arguments.models else None


def _repeat(arguments) -> int:
    from cotrain.pipeline.commands.repeat import run

    run(_load(arguments, arguments.experiment), arguments.runs, arguments.data, arguments.seeds, _models(arguments))
    return 0


def _evaluate(arguments) -> int:
    from cotrain.pipeline.commands.evaluate import run

    run(
        _load(arguments, arguments.experiment), arguments.data, arguments.runs, arguments.split, _models(arguments),
        arguments.params, arguments.limit, arguments.json,
    )  # fmt: skip
    return 0


def _sweep(arguments) -> int:
    from cotrain.pipeline.commands.sweep import run

    run(
        arguments.sweep, arguments.runs, arguments.data, arguments.workers, arguments.cluster, arguments.json,
        arguments.force,
    )  # fmt: skip
    return 0


def _explore(arguments) -> int:
    from cotrain.pipeline.commands.explore import numbers, run

    run(
        _load(arguments, arguments.experiment), arguments.data, arguments.runs, arguments.json,
        steps=numbers("--steps", arguments.steps, int), rates_hz=numbers("--rates", arguments.rates, float),
        split=arguments.split, source=arguments.params, limit=arguments.limit,
    )  # fmt: skip
    return 0


def _check(arguments) -> int:
    from cotrain.hardware.preflight.command import main

    return main(arguments.network, arguments.board, arguments.json, not arguments.keep_passthrough)


def _estimate(arguments) -> int:
    from cotrain.hardware.cost.command import main

    return main(arguments.counts, arguments.json)


def _verify(arguments) -> int:
    from cotrain.pipeline.evaluation.board import verify

    return 0 if verify(arguments.bundle, arguments.results, arguments.runs) else 1


def _data(arguments) -> int:
    from cotrain.pipeline.commands.data import choose, main

    main(arguments.data, choose(tuple(arguments.names)))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the exit status."""
    arguments = _arguments().parse_args(argv)
    try:
        return arguments.function(arguments)
    except CotrainError as error:
        print(f"cotrain: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncotrain: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
