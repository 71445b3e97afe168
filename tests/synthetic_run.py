"""A run folder as the stages leave it, made of numbers drawn at random: nothing here was trained or emulated.

For tests of the report alone. Formats: pipeline/evaluation, pipeline/stages/{train,finetune,quantize,deploy}.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cotrain.pipeline import experiment
from cotrain.pipeline.evaluation.synops import fan_out
from cotrain.pipeline.evaluation.tally import agreement, skipped
from cotrain.pipeline.metrics import bootstrap_ci, mean_rate_hz
from cotrain.pipeline.networks import spec_for
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.stages.runner import STAGES, Context
from cotrain.pipeline.tasks import task_of

MODELS = ("constant", "ann", "converted", "hybrid", "loihi-converted", "loihi-hybrid")
NOISE = dict(zip(MODELS, (0.11, 0.02, 0.07, 0.035, 0.075, 0.04), strict=True))
REJECTED = [
    {"name": "image_0077", "path": "101_ObjectCategories/airplanes/image_0077.jpg", "reason": "box has no area"},
    {
        "name": "image_0099",
        "path": "101_ObjectCategories/airplanes/image_0099.jpg",
        "reason": "unreadable: <truncated> & gone",
    },
]


def make(runs: Path, name: str = "demo-locnet", skip: tuple[str, ...] = (), seed: int = 0) -> Context:
    """Write train, finetune, quantize and deploy of `name` below `runs`; the report stage's context."""
    settings = experiment.load(name)
    rng = np.random.default_rng(seed)
    spec = spec_for(settings.network, (settings.data.height, settings.data.width))
    context = Context(settings, STAGES["report"], runs, runs)
    _training(context, spec, rng)
    _quantize(context, spec, rng)
    _deploy(context, settings, spec, rng, skip)
    return context


def _write(context, stage, files):
    folder = context.folder(stage)
    folder.begin()
    for file, value in files.items():
        (artifacts.write_npz if file.endswith(".npz") else artifacts.write_json)(folder.part / file, value)
    folder.finish({"settings": {}}, list(files), 12.5)


def _training(context, spec, rng):
    for stage, n in (("train", 30), ("finetune", 7)):
        fall = np.exp(-np.arange(n) / (n / 4))
        epochs = [
            {
                "epoch": i + 1,
                "loss": float(0.2 + f),
                "metric": float(0.8 - 0.4 * f),
                "seconds": 1.5,
                "mean_rate_hz": float(40 + 60 * f),
            }
            for i, f in enumerate(fall)
        ]
        epochs.insert(0, {"epoch": 0, "loss": None, "metric": 0.3, "seconds": None, "mean_rate_hz": None})
        params = {k: v + np.float32(0.01) * (stage == "finetune") for k, v in spec.init_params(1).items()}
        _write(context, stage, {artifacts.HISTORY: {"epochs": epochs, "best_epoch": n - 2}, artifacts.PARAMS: params})


def _quantize(context, spec, rng):
    _write(context, "quantize", {artifacts.PLACEMENT: placement(spec), artifacts.QUANTIZATION: quantization(spec, rng)})


def placement(spec):
    """In place of hardware.check(...).to_dict()."""
    cores, layers = [], []
    for layer in spec.layers[1:]:
        n = -(-layer.n_neurons // 700)
        for part in range(n):
            use = {
                "compartments": -(-layer.n_neurons // n),
                "input_axons": 900,
                "output_axons": 1800 + part,
                "synapse_bits": 400_000,
            }
            cores.append({"core": len(cores), "chip": len(cores) // 128, "layer": layer.name, **use})
        share = {"compartments": 0.6, "input_axons": 0.2, "output_axons": 0.4, "synapse_bits": 0.38}
        layers.append({
            "name": layer.name, "neurons": layer.n_neurons, "cores": n, "lower_bound_cores": 1,
            "block_shape": [8, 8, 4], "ensemble_shape": list(layer.output_shape), "mean": share, "most": share,
        })  # fmt: skip
    return {
        "board": "nahuku32", "cores": len(cores), "chips": 1 + cores[-1]["chip"], "lower_bound_cores": len(layers),
        "utilisation": {"layers": layers, "cores": cores}, "violations": [],
        "findings": [{"rule": "input_spikes", "layer": "pool1", "value": 3, "message": "many spikes enter at once"}],
        "hardware_options": {"snip_max_spikes_per_step": 300},
    }  # fmt: skip


def quantization(spec, rng):
    """In place of hardware.preflight.command.quantization.quantization_error, for both networks."""
    layers = [
        {
            "name": layer.name, "cores": 1, "weight_error": float(e), "weights_zeroed": 0.01, "weight_bits_lost": 0,
            "bias_error": 0.001, "threshold_error": 0.0, "tau_current_s": 0.002, "tau_current_chip_s": 0.00201,
            "tau_voltage_s": None, "tau_voltage_chip_s": None, "rate_hz": 30.0, "rate_chip_hz": 30.5,
            "rate_error_hz": float(10 * e),
        }
        for layer, e in zip(spec.layers[1:], 0.01 + 0.02 * rng.random(len(spec.layers) - 1), strict=True)
    ]  # fmt: skip
    one = {"layers": layers, "rates_from": "mean field", "input_rate_hz": 100.0}
    return {"converted": one, "hybrid": one}


def _samples(settings, spec, rng):
    """Images with a bright box or blob, as (images uint8, targets, names, groups)."""
    h, w = settings.data.height, settings.data.width
    y, x = np.mgrid[:h, :w]
    images, targets, names, groups = [], [], [], []
    boxes = spec.output_shape == (4,)
    for i in range(24):
        cy, cx = h * rng.uniform(0.4, 0.6), w * rng.uniform(0.4, 0.6)
        ry, rx = h * rng.uniform(0.15, 0.3), w * rng.uniform(0.2, 0.35)
        blob = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
        images.append(np.clip(blob * 150 + rng.normal(60, 20, (h, w)), 0, 255).astype(np.uint8))
        targets.append(np.array([cy - ry, cx - rx, cy + ry, cx + rx]) / (h, w, h, w) if boxes else blob)
        names.append(f"image_{i:04d}" if boxes else f"hippocampus_{i // 4:03d}/z{i % 4:02d}")
        groups.append(names[-1].split("/")[0])
    targets = np.array(targets, np.float32 if boxes else bool)
    return np.array(images), targets, np.array(names), np.array(groups)


def _predict(targets, noise, rng):
    if targets.ndim == 2:
        return (targets + rng.normal(0, noise, targets.shape)).astype(np.float32)
    flip = rng.random(targets.shape) < noise
    return targets ^ flip


def _deploy(context, settings, spec, rng, skip):
    images, targets, names, groups = _samples(settings, spec, rng)
    task = "boxes" if targets.ndim == 2 else "masks"
    n_steps, dt = settings.finetune.n_steps, settings.dt_s
    predictions = {
        "names": names,
        "groups": groups,
        "group_names": np.unique(groups),
        "images": images,
        "targets": targets,
    }
    rates, rows, raster = {}, [], {}
    steps = [*range(5, n_steps, 5), n_steps]
    trajectory = {"n_steps": steps, "models": {}, "spikes": {}}
    for model in MODELS:
        if model in skip:
            rows.append(skipped(model, "not asked for (deploy.models)"))
            continue
        predicted = _predict(targets, NOISE[model], rng)
        values = task_of(task).scores(predicted, targets, groups)
        predictions[f"{model}/prediction"], predictions[f"{model}/group_values"] = predicted, values
        row = {**skipped(model, ""), "value": float(values.mean()), "ci95": list(bootstrap_ci(values)), "seconds": 1.25}
        del row["skipped"]
        rows.append(row)
        if model in ("constant", "ann"):
            continue
        for layer in spec.layers:
            base = np.random.default_rng(len(layer.name)).gamma(1.0, 30.0, layer.n_neurons)
            noise = rng.normal(0, 3, layer.n_neurons) * model.startswith("loihi")
            rates[f"{model}/{layer.name}"] = np.clip(base + noise, 0, 1000).astype(np.float32)
            spikes = float(rates[f"{model}/{layer.name}"].sum() * n_steps * dt)
            synops = (
                0.0
                if layer is spec.layers[0]
                else float(fan_out(layer.edges()[0]).mean() * row["layers"][-1]["spikes_per_inference"])
            )
            row["layers"].append({
                "name": layer.name, "neurons": layer.n_neurons, "on_chip": layer is not spec.layers[0],
                "spikes_per_inference": spikes, "synops_per_inference": synops,
                "mean_rate_hz": mean_rate_hz(spikes, layer.n_neurons, n_steps, dt),
            })  # fmt: skip
        total = sum(layer["spikes_per_inference"] for layer in row["layers"])
        row["spikes_per_inference"] = total
        row["synops_per_inference"] = sum(layer["synops_per_inference"] for layer in row["layers"])
        row["mean_rate_hz"] = mean_rate_hz(total, spec.n_neurons, n_steps, dt)
        if model.startswith("loihi"):
            row["overflows"], row["input_spikes_max"] = {layer.name: 0 for layer in spec.layers[1:]}, 321
        trajectory["models"][model] = [row["value"] * min(1.0, s / (0.6 * n_steps)) for s in steps]
        if not model.startswith("loihi"):  # the emulator counts per presentation
            trajectory["spikes"][model] = [total * s / n_steps for s in steps]
    kinds = [k for k in ("converted", "hybrid") if not {k, f"loihi-{k}"} & set(skip)]
    by_model = {m: {n.split("/")[1]: v for n, v in rates.items() if n.startswith(f"{m}/")} for m in MODELS}
    placed = placement(spec)
    metrics = {
        "schema": 1, "experiment": settings.name, "task": task, "metric": task_of(task).metric,
        "class_names": ["object"], "network": spec.to_dict(),
        "dt_s": dt, "n_samples": len(names), "n_groups": len(np.unique(groups)), "n_steps": n_steps,
        "readout_steps": settings.finetune.readout_steps, "target": "emulator", "rows": rows, "protocols": {},
        "agreement": {k: agreement(by_model[k], by_model[f"loihi-{k}"]) for k in kinds},
        "dataset": {
            "name": settings.data.name, "n_total": 240, "n_train": 192, "n_validation": 24, "n_test": 24,
            "rejected": REJECTED,
        },
        "board": settings.quantize.board, "cores": placed["cores"], "chips": placed["chips"],
    }  # fmt: skip
    if task == "boxes":
        shifted = [
            {**{k: r[k] for k in ("model", "ci95", "mean_rate_hz")}, "value": r["value"] - 0.05}
            for r in rows
            if not r.get("skipped")
        ]
        metrics["protocols"]["shifted"] = {"shift_fraction": 0.08, "shift_seed": 1, "rows": shifted}
    files = {
        artifacts.METRICS: metrics, artifacts.PREDICTIONS: predictions, artifacts.RATES: rates,
        artifacts.TRAJECTORY: trajectory,
    }  # fmt: skip
    if "loihi-hybrid" not in skip:
        for layer in spec.layers:
            chance = rates[f"loihi-hybrid/{layer.name}"] * dt
            step, neuron = np.nonzero(rng.random((n_steps, layer.n_neurons)) < chance)
            raster |= {f"{layer.name}/step": step.astype(np.int32), f"{layer.name}/neuron": neuron.astype(np.int32),
                       f"{layer.name}/n_neurons": np.int32(layer.n_neurons)}  # fmt: skip
        files[artifacts.RASTER] = {**raster, "sample": names[0]}
    _write(context, "deploy", files)
