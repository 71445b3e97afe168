"""Settings, stages and versions, and the commands that make this report again."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.datasets import NAMED
from cotrain.pipeline.evaluation.rows import MODELS, ROWS, run_rows
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Code, Fold, Table, Text
from cotrain.pipeline.report.load import Inputs


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """Everything that was set, and where the numbers come from."""
    return {
        "settings": inputs.settings,
        "stages": inputs.stages,
        "reproduce": reproduce(inputs),
    }


def blocks(document: dict[str, Any], inputs: Inputs) -> list[Block]:
    """The commands; all else is folded away."""
    return [
        Text("To make this report again:"),
        Code("\n".join(document["reproduce"])),
        Fold(
            "Every setting, the stages and the versions",
            (settings(document["settings"]), stages(document), versions(document)),
        ),
        Text("Models: " + "; ".join(f"{m}: {ROWS[m].meaning}" for m in MODELS) + ".", "note"),
        *nengo_dls_part(document),
    ]


def nengo_dls_part(document: dict[str, Any]) -> list[Text]:
    """What of its spiking rows NengoDL ran itself; nothing where it ran all of them."""
    checked = {model: row.get("checked_samples") for model, row in run_rows(document["metrics"]).items()}
    told = [f"{text.plural(n, 'sample')} of {model}" for model, n in checked.items() if n]
    if not told:
        return []
    return [
        Text(
            f"NengoDL itself ran the first {' and the first '.join(told)}. The others are sums of the same floats in "
            "the same order without NengoDL's loop over time; on those first samples every readout and every spike was "
            "equal to the last bit.",
            "note",
        )
    ]


def reproduce(inputs: Inputs) -> list[str]:
    """Commands that make this report again, with every setting that differs from the packaged experiment."""
    from cotrain.pipeline import experiment as experiments

    changed = []
    if inputs.experiment in experiments.names():
        packaged = experiments.load(inputs.experiment).resolved()
        changed = [f"--set {key}={_toml(value)}" for key, value in _differences(packaged, inputs.settings)]
    name = inputs.experiment if inputs.experiment in experiments.names() else f"{inputs.experiment}.toml"
    options = " ".join(["", *changed])
    data = inputs.settings["data"]["name"]
    fetch = [f"cotrain data {data}"] if data in NAMED else []  # nobody fetches your own files, or drawn ones
    train = [] if inputs.metrics.get("parameters") == "pretrained" else ["train", "finetune"]
    return fetch + [f"cotrain {verb} {name}{options}" for verb in (*train, "deploy", "report")]


def _differences(packaged: dict, used: dict, prefix: str = ""):
    for key, value in used.items():
        if isinstance(value, dict):
            yield from _differences(packaged.get(key, {}), value, f"{prefix}{key}.")
        elif packaged.get(key) != value and _listed(packaged.get(key)) != _listed(value):
            yield f"{prefix}{key}", value


def _listed(value):
    return list(value) if isinstance(value, tuple) else value


def _toml(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "'[" + ",".join(f'"{v}"' if isinstance(v, str) else str(v) for v in value) + "]'"
    return str(value)


def settings(values: dict[str, Any]) -> Table:
    """Each setting as `section.key`."""
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += [(f"{key}.{leaf}", _setting(v)) for leaf, v in value.items()]
        else:
            rows.append((key, _setting(value)))
    return Table("Settings, resolved.", ("Setting", "Value"), tuple(rows), "ll", tall=True)


def stages(document: dict[str, Any]) -> Table:
    """Seconds and revision of each stage."""
    rows = tuple(
        (name, f"{s['seconds']:.1f}" if s.get("seconds") is not None else text.NOTHING, s.get("git") or text.NOTHING)
        for name, s in document["stages"].items()
    )
    return Table("Stages that this report was made from.", ("Stage", "Seconds", "Source revision"), rows, "lrl")


def versions(document: dict[str, Any]) -> Table:
    """Versions of each stage; one column where they all agree."""
    by_stage = {name: s.get("versions") or {} for name, s in document["stages"].items()}
    packages = dict.fromkeys(p for versions in by_stage.values() for p in versions)
    rows = []
    for package in packages:
        found = {name: v.get(package) for name, v in by_stage.items()}
        values = set(found.values())
        told = values.pop() if len(values) == 1 else ", ".join(f"{stage} {v}" for stage, v in found.items())
        rows.append((package, told or text.NOTHING))
    return Table("Versions.", ("Package", "Version"), tuple(rows), "ll")


def _setting(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
