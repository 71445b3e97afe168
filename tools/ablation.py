"""Which parts of the recipe help: LocNet on the aeroplanes, each variant with several seeds, on the validation split.

    python tools/ablation.py [--data DIR] [--seeds 3] [--epochs 20] [--json reports/ablation.json]

A variant is one change of settings. Every variant is scored as the ANN, as the simply converted network
with the chip's dynamics, and after hybrid fine-tuning. Small images and short trainings: for comparison between
variants, not with the committed results.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from pipeline import datasets, experiment, metrics, training
from pipeline.datasets.augment import shifted
from pipeline.training.unrolled import forward, tf

BASE = ("data.height=48", "data.width=96", "train.view_fraction=0.8", "finetune.epochs=1", "finetune.schedule=constant")
VARIANTS = {
    "recipe": (),
    "ideal rate curve in the ANN": ("neurons.rate_curve=ideal",),
    "no penalty on rates": ("train.rate_mean_weight=0", "finetune.rate_mean_weight=0"),
    "synapse 5 ms": ("finetune.synapse_s=0.005",),
}
SAME_ANN = ("synapse 5 ms",)  # only fine-tuning differs from the recipe


def score(settings, phase: str, params, data) -> tuple[float, float]:
    """(IoU, mean rate in Hz) with the chip's neurons."""
    chip = dataclasses.replace(settings, neurons=dataclasses.replace(settings.neurons, rate_curve="loihi"))
    base = settings if phase == "ann" else chip
    everything = datasets.Dataset(
        data.name, data.task, data.images, data.targets, data.names, data.groups, np.full(len(data), "train")
    )
    job = dataclasses.replace(training.job_for(base, everything, phase), precision="float32")
    predicted, activity = [], []
    for first in range(0, len(data), 24):
        out, layers = forward(job, params, tf.constant(data.images[first : first + 24]))
        predicted.append(out.numpy())
        activity.append(sum(float(tf.reduce_sum(a)) for a in layers))
    value = metrics.score("boxes", np.concatenate(predicted), data.targets, data.groups).mean()
    rate = sum(activity) * settings.neurons.rate_scale_hz / len(data) / job.spec.n_neurons
    return float(value), float(rate)


def run(name: str, seed: int, epochs: int, data: Path, known: dict) -> dict:
    settings = experiment.load("locnet", [*BASE, f"train.epochs={epochs}", f"seed={seed}", *VARIANTS[name]])
    dataset = datasets.load_for(settings.data, data, data)
    key = ("recipe" if name in SAME_ANN else name, seed)

    def quiet(_):
        pass

    with tempfile.TemporaryDirectory() as folder:
        if key not in known:
            known[key] = training.train(settings, dataset, Path(folder), "ann", quiet).params
        hybrid = training.finetune(settings, dataset, known[key], Path(folder), "hybrid", quiet).params
    validation, result = dataset.subset("validation"), {"variant": name, "seed": seed}
    for protocol, samples in (("standard", validation), ("shifted", shifted(validation))):
        for model, phase, params in (
            ("ann", "ann", known[key]), ("converted", "hybrid", known[key]), ("hybrid", "hybrid", hybrid),
        ):  # fmt: skip
            value, rate = score(settings, phase, params, samples)
            result[f"{model}/{protocol}"] = round(value, 4)
            if protocol == "standard":
                result[f"{model}/mean_rate_hz"] = round(rate, 1)
    print(result, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", type=Path, default=Path("reports/ablation.json"))
    arguments = parser.parse_args()
    rows, known = [], {}
    for seed in range(arguments.seeds):
        for name in VARIANTS:
            rows.append(run(name, seed, arguments.epochs, arguments.data, known))
            report = {"schema": 1, "split": "validation", "epochs": arguments.epochs, "base": list(BASE), "rows": rows}
            report["variants"] = {name: list(changes) for name, changes in VARIANTS.items()}
            temporary = arguments.json.with_suffix(".tmp")
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, arguments.json)
    columns = [key for key in rows[0] if key not in ("variant", "seed")]
    print("| variant | " + " | ".join(columns) + " |\n" + "| --- " * (len(columns) + 1) + "|")
    for name in VARIANTS:
        values = np.array([[row[c] for c in columns] for row in rows if row["variant"] == name])
        cells = [f"{m:.4g} ± {s:.2g}" for m, s in zip(values.mean(0), values.std(0), strict=True)]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
