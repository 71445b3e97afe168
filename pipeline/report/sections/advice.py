"""What to try next, with a command that works as it is printed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from cotrain.pipeline.evaluation.rows import MODELS, ROWS, run_rows
from cotrain.pipeline.report import text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.runs.request import DATA, Request

MOST = 3  # pieces of advice on the first screen
ENOUGH = tuple(name for name in MODELS if ROWS[name].on_chip or not ROWS[name].spiking)  # rows that a verdict needs


def following(inputs: Inputs, document: dict[str, Any], beats: dict[str, Any]) -> list[dict[str, str]]:
    """At most `MOST` things to try, the most urgent first: {"what", "command"}; a command may be "".

    Parameters
    ----------
    beats : dict
        Of `verdict.beats_constant`.
    """
    asked = _asked(inputs)
    found = [{"what": v["change"], "command": ""} for v in document["placement"].get("violations", [])[:1]]
    learnt = "ann" in beats["others"] or any(one["answer"] == "yes" for one in beats["protocols"].values())
    if beats["answer"] in ("no", "unsure") and not learnt:  # else it is lost on the way, or the samples hardly differ
        what = "Look whether what is marked in the pictures is right, and whether there is enough of it."
        found.append({"what": what, "command": asked.command("inspect")})
    found += _missing_rows(document, asked)
    found += _longer_training(document, asked)
    found += _steps_and_rates(document, asked)
    return found[:MOST]


def _asked(inputs: Inputs) -> Request:
    """How the report was asked for; where the data lie is left out where the environment says it."""
    asked = inputs.asked or Request(inputs.experiment)
    known = os.environ.get("COTRAIN_DATA")
    return dataclasses.replace(asked, data=DATA) if known and asked.data == Path(known) else asked


def _missing_rows(document: dict[str, Any], asked: Request) -> list[dict[str, str]]:
    """Rows of the chip that nobody asked for."""
    rows = run_rows(document["metrics"])
    if any(ROWS[model].on_chip for model in rows if model in ROWS):
        return []
    kept = tuple(o for o in asked.overrides if not o.startswith("deploy.models="))
    models = "deploy.models=[" + ",".join(f'"{model}"' for model in ENOUGH) + "]"
    command = dataclasses.replace(asked, overrides=(*kept, models)).command("deploy", "--force")
    return [{"what": "Run the rows on the chip's integers; without them there is no verdict.", "command": command}]


def _longer_training(document: dict[str, Any], asked: Request) -> list[dict[str, str]]:
    """The ANN's last epoch was its best: it was still learning."""
    epochs = (document["histories"].get("train") or {}).get("epochs") or []
    if len(epochs) < 2 or document["histories"]["train"].get("best_epoch") != epochs[-1]["epoch"]:
        return []
    n = epochs[-1]["epoch"]
    kept = tuple(o for o in asked.overrides if not o.startswith("train.epochs="))
    longer = dataclasses.replace(asked, overrides=(*kept, f"train.epochs={2 * n}"))
    what = f"Train longer: the last of {text.plural(n, 'epoch')} was the best one."
    return [{"what": what, "command": longer.command("train", "--force")}]


def _steps_and_rates(document: dict[str, Any], asked: Request) -> list[dict[str, str]]:
    """What `explore` recommends; to run it, where nobody has."""
    found, n_steps = document["explored"], document["metrics"]["n_steps"]
    if not found:
        file = artifacts.own_exploration(document["experiment"])
        what = f"See whether fewer than {text.plural(n_steps, 'step')}, or other rates, do as well."
        return [{"what": what, "command": asked.command("explore", "--json", file)}]
    knee, trained = found["knee"], found["trained"]
    at = f"{text.plural(knee['n_steps'], 'step')} at {knee['rate_scale_hz']:g} Hz"
    cost = f"{text.score(knee['value'])} for {text.si(knee['energy_j'], 'J')}, estimated, on the {found['split']} split"
    if (knee["n_steps"], knee["rate_scale_hz"]) == (n_steps, trained["rate_scale_hz"]):
        return [
            {"what": f"Steps and rate are well chosen: no point that was explored is better than {at}.", "command": ""}
        ]
    kept = tuple(o for o in asked.overrides if o.partition("=")[0] not in ("deploy.n_steps", "deploy.readout_steps"))
    if knee["rate_scale_hz"] == trained["rate_scale_hz"]:
        so = (f"deploy.n_steps={knee['n_steps']}", f"deploy.readout_steps={knee['readout_steps']}")
        command = dataclasses.replace(asked, overrides=(*kept, *so)).command("deploy", "--force")
        return [{"what": f"Present it for {at}: {cost}.", "command": command}]
    anew = (
        f"neurons.rate_scale_hz={knee['rate_scale_hz']:g}", f"finetune.n_steps={knee['n_steps']}",
        f"finetune.readout_steps={knee['readout_steps']}",
    )  # fmt: skip
    elsewhere = asked.runs.with_name(f"{asked.runs.name}-{knee['rate_scale_hz']:g}hz")
    command = dataclasses.replace(asked, overrides=(*kept, *anew), runs=elsewhere).command("train")
    return [{"what": f"Train anew for {at}: {cost}.", "command": command}]
