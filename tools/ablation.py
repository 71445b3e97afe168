"""Which parts of a recipe help: each left out or changed in turn, with several seeds, on the validation split.

    python tools/ablation.py locnet-60|cae-60 [--data DIR] [--seeds 0 1 2] [--out reports/ablation]

Every variant is scored as the ANN, as the simply converted network and after hybrid fine-tuning, the last two in the
chip's integers on the emulator. Networks are the recipes' own; CAE's ANN is trained for 10 epochs. Writes
OUT-<experiment>.json after every row and the table OUT-<experiment>.md at the end; a row that is already there is not
run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from cotrain.hardware.errors import CotrainError
from cotrain.hardware.progress import duration
from cotrain.pipeline import datasets, experiment, training
from cotrain.pipeline.commands.repeat import spread
from cotrain.pipeline.evaluation import evaluate
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.tasks import network_for, task_of

BASE = {"locnet-60": (), "cae-60": ("train.epochs=10",)}  # where a training is shorter than the recipe's
VALIDATION_GROUPS = {"locnet-60": 0, "cae-60": 10}  # images or volumes that are scored (0: all)
VARIANTS = {  # settings, and whether the ANN is the recipe's
    "recipe": ((), True),
    "ideal rate curve in the ANN": (("neurons.rate_curve=ideal",), False),
    "no penalty on rates": (
        (
            "train.rate_mean_weight=0", "finetune.rate_mean_weight=0", "train.rate_weight=0", "finetune.rate_weight=0",
        ),
        False,
    ),
    "synapses of 5 ms": (("finetune.synapse_s=0.005",), True),
    "weights rounded in fine-tuning": (("finetune.round_weights=true",), True),
    "30 steps, the last 15 read out": (("finetune.n_steps=30", "finetune.readout_steps=15"), True),
}  # fmt: skip
MODELS = ("ann", "loihi-converted", "loihi-hybrid")


def run(name: str, variant: str, seed: int, data: Path, anns: dict) -> dict:
    """Train one variant with one seed and score it."""
    changes, same_ann = VARIANTS[variant]
    settings = experiment.load(name, [*BASE[name], f"seed={seed}", *changes])
    settings = dataclasses.replace(settings, deploy=dataclasses.replace(settings.deploy, models=MODELS))
    dataset = datasets.load_for(settings.data, data, data)
    key = ("recipe" if same_ann else variant, seed)

    def quiet(_):
        pass

    with tempfile.TemporaryDirectory() as folder:
        if key not in anns:
            anns[key] = training.train(settings, dataset, Path(folder), "ann", quiet).params
        # the chip has its own rate curve, whatever the ANN was trained with
        chip = dataclasses.replace(settings, neurons=dataclasses.replace(settings.neurons, rate_curve="loihi"))
        hybrid = training.finetune(chip, dataset, anns[key], Path(folder), "hybrid", quiet).params
    validation = dataset.subset("validation")
    if VALIDATION_GROUPS[name]:
        last = np.unique(validation.groups)[VALIDATION_GROUPS[name]]
        validation = validation.take(int(np.argmax(validation.groups == last)))
    spec = network_for(settings.network, dataset)
    constant = task_of(dataset.task).constant(dataset.subset("train"))
    found = evaluate(
        settings, spec, {"ann": anns[key], "hybrid": hybrid}, constant, validation, say=quiet,
    ).metrics  # fmt: skip
    row = {"variant": variant, "seed": seed}
    protocols = {"": found["rows"], **{f"/{n}": p["rows"] for n, p in found["protocols"].items()}}
    for suffix, rows in protocols.items():
        for entry in rows:
            if entry["model"] in MODELS:
                row[f"{entry['model']}{suffix}"] = round(entry["value"], 5)
                if not suffix and entry["mean_rate_hz"] is not None:
                    row[f"{entry['model']}/mean_rate_hz"] = round(entry["mean_rate_hz"], 2)
    return row


def table(report: dict) -> str:
    """Means over seeds; of the last column the 95 % interval of the difference to the recipe, paired by seed."""
    rows = report["rows"]
    suffix = "/shifted" if "ann/shifted" in rows[0] else ""
    columns = [f"ann{suffix}", f"loihi-converted{suffix}", f"loihi-hybrid{suffix}", "loihi-hybrid/mean_rate_hz"]
    heads = ["ANN", "converted, Loihi", "hybrid, Loihi", "rate (Hz)", "hybrid against the recipe's (95 %)"]
    lines = ["| variant | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    by = {(row["variant"], row["seed"]): row for row in rows}
    for variant in report["variants"]:
        seeds = [seed for v, seed in by if v == variant]
        if not seeds:
            continue
        cells = []
        for column in columns:
            values = [by[variant, seed][column] for seed in seeds]
            digits = 1 if "rate" in column else 4
            each = " ".join(f"{value:.{digits}f}" for value in values)
            cells.append(f"**{np.mean(values):.{digits}f}** ({each})")
        key = columns[2]
        paired = [by[variant, s][key] - by["recipe", s][key] for s in seeds if ("recipe", s) in by]
        if variant == "recipe" or len(paired) < 2:
            cells.append("")
        else:
            found = spread(paired)
            cells.append(f"{found['mean']:+.4f} ({found['ci95'][0]:+.4f} to {found['ci95'][1]:+.4f})")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def page(report: dict) -> str:
    """The table, and what was run."""
    name, groups = report["experiment"], report["groups"]
    scored = f"the first {groups} volumes of the validation split" if groups else "the validation split"
    where = "; images and boxes moved and scaled by up to 8 %" if "ann/shifted" in report["rows"][0] else ""
    base = f" with `{' '.join(report['base'])}`" if report["base"] else ""
    changed = "".join(f"- {v}: `{' '.join(changes)}`\n" for v, changes in report["variants"].items() if changes)
    return (
        f"# Ablation: {name}\n\n`python tools/ablation.py {name} --data DATA`: the recipe{base}, scored on {scored}"
        f'{where}. "Loihi" is the emulator\'s integers. Mean over seeds (each seed); the last column is paired by '
        f"seed.\n\n{table(report)}\n{changed}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=sorted(BASE))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("reports/ablation"))
    arguments = parser.parse_args()
    name = arguments.experiment
    path = arguments.out.with_name(f"{arguments.out.name}-{name}.json")
    report = {
        "schema": 2, "experiment": name, "split": "validation", "groups": VALIDATION_GROUPS[name],
        "base": list(BASE[name]), "variants": {variant: list(changes) for variant, (changes, _) in VARIANTS.items()},
        "rows": [],
    }  # fmt: skip
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if {**before, "rows": []} == report:
            report = before
    done = {(row["variant"], row["seed"]) for row in report["rows"]}
    anns: dict = {}
    todo = [(v, s) for s in arguments.seeds for v in VARIANTS if (v, s) not in done]
    started = time.perf_counter()
    for i, (variant, seed) in enumerate(todo):
        report["rows"].append(run(name, variant, seed, arguments.data, anns))
        artifacts.write_json(path, report)
        left = (time.perf_counter() - started) / (i + 1) * (len(todo) - i - 1)
        print(report["rows"][-1], f"{duration(left)} left", flush=True)
    path.with_suffix(".md").write_text(page(report), encoding="utf-8")
    print(table(report))


if __name__ == "__main__":
    try:
        main()
    except CotrainError as error:
        sys.exit(f"ablation: {error}")
