"""What the comparison says: points lost or won at each step, and the paper's figures beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from cotrain.pipeline.evaluation.rows import CHIP_FIRST, run_rows
from cotrain.pipeline.metrics import bootstrap_ci
from cotrain.pipeline.report import text
from cotrain.pipeline.tasks import metric_name, task_of


@dataclass(frozen=True)
class Paper:
    """What the ICASSP 2023 paper reports for one network."""

    data: str
    dataset: str  # our name of the same data set, "" where we have another
    metric: str
    values: dict[str, tuple[float, float | None]]  # model -> (score, mean rate in Hz)


PAPER_TITLE = "Joint ANN-SNN co-training for object localization and image segmentation, ICASSP 2023"
PAPER = {
    "locnet": Paper(
        "Caltech-101 aeroplanes", "caltech101-airplanes", "iou",
        {"ann": (0.8945, None), "converted": (0.7431, 174.6), "hybrid": (0.8253, 137.5)},
    ),
    "cae": Paper(
        "hippocampus in MRI of ADNI", "", "dice",
        {"ann": (0.8221, None), "converted": (0.4859, 708.0), "hybrid": (0.7648, 731.0)},
    ),
}  # fmt: skip

# (key, from, to, what happens between the two)
STEPS = (
    ("conversion", "ann", "converted", "conversion to spikes"),
    ("hybrid", "converted", "hybrid", "hybrid fine-tuning"),
    ("chip-converted", "converted", "loihi-converted", "chip, converted network"),
    ("chip", "hybrid", "loihi-hybrid", "chip, hybrid network"),
    ("total", "ann", "loihi-hybrid", "ANN to chip, all together"),
)
# what is told where NengoDL's spiking rows were not run
STEPS_ON_CHIP = (
    ("to-chip", "ann", "loihi-converted", "conversion to the chip's integers"),
    ("hybrid-on-chip", "loihi-converted", "loihi-hybrid", "hybrid fine-tuning, on the chip"),
)
CHAINS = (("conversion", "hybrid", "chip"), ("to-chip", "hybrid-on-chip"))  # steps that add up to "total"


def unit(metrics: dict[str, Any]) -> str:
    """What intervals are drawn over: a picture, or where several samples belong together what the task calls them."""
    return "image" if metrics.get("n_groups") in (None, metrics["n_samples"]) else task_of(metrics["task"]).unit


def chip_step_name(settings: dict[str, Any]) -> str:
    """What can differ between NengoDL and the chip: the dynamics only where NengoDL did not run the chip's."""
    if settings.get("neurons", {}).get("rate_curve") == "loihi":
        return "quantisation (NengoDL already runs the chip's neuron dynamics)"
    return "quantisation and the chip's neuron dynamics"


def paper_for(network: str, dataset: str) -> dict[str, Any] | None:
    """The paper's figures for a network, where the data are the paper's; on others they would not compare."""
    paper = PAPER.get(network)
    if paper is None or not paper.dataset or dataset != paper.dataset:
        return None
    return {
        "title": PAPER_TITLE,
        "data": paper.data,
        "same_data": True,
        "rows": {m: {"value": v, "mean_rate_hz": r} for m, (v, r) in paper.values.items()},
    }


def steps(metrics: dict[str, Any], predictions: dict[str, np.ndarray], seed: int = 0) -> list[dict[str, Any]]:
    """Difference of scores at each step.

    The interval is the paired bootstrap over groups (the same images or volumes under both models), which is narrower
    and fairer than the difference of two intervals.
    """
    rows = run_rows(metrics)
    found = []
    coarse = STEPS_ON_CHIP if not {"converted", "hybrid"} <= set(rows) and "loihi-converted" in rows else ()
    for key, before, after, what in (*STEPS, *coarse):
        step = {"step": key, "from": before, "to": after, "what": what}
        missing = [m for m in (before, after) if m not in rows]
        if missing:
            found.append({**step, "difference": None, "ci95": None, "skipped": f"{' and '.join(missing)} not run"})
            continue
        step["difference"] = rows[after]["value"] - rows[before]["value"]
        step["ci95"] = paired(predictions, before, after, seed)
        found.append(step)
    return found


def paired(predictions: dict[str, np.ndarray], before: str, after: str, seed: int = 0) -> list[float] | None:
    """Interval of the difference between two models on the same images or volumes; None where they were not kept."""
    a, b = (predictions.get(f"{model}/group_values") for model in (before, after))
    return None if a is None or b is None else list(bootstrap_ci(b - a, seed=seed))


def beats_constant(metrics: dict[str, Any], predictions: dict[str, np.ndarray]) -> dict[str, Any]:
    """Whether the row nearest to the chip is better than the best prediction that ignores the image.

    Returns
    -------
    dict
        "answer": "yes", "no", "unsure" (better by less than its interval) or None (one of the two was not run);
        "model", "value", "constant", "difference", "ci95"; "others": networks whose value is above the constant's;
        "protocols": the same of each test protocol.
    """
    rows = run_rows(metrics)
    model = next((m for m in CHIP_FIRST if m in rows), None)
    found = {"model": model, **_against_constant(rows, model, paired(predictions, "constant", model or ""))}
    protocols = metrics.get("protocols") or {}
    found["protocols"] = {
        name: _against_constant({row["model"]: row for row in one["rows"]}, model, None)
        for name, one in protocols.items()
    }
    return found


def _against_constant(rows: dict[str, dict[str, Any]], model: str | None, ci95: list[float] | None) -> dict[str, Any]:
    if model is None or model not in rows or "constant" not in rows:
        return {"answer": None, "value": None, "constant": None, "difference": None, "ci95": None, "others": []}
    value, floor = rows[model]["value"], rows["constant"]["value"]
    own = rows[model].get("ci95")
    low = ci95[0] if ci95 else own[0] - floor if own else 0.0
    return {
        "answer": "no" if value <= floor else "yes" if low > 0 else "unsure",
        "value": value, "constant": floor, "difference": value - floor, "ci95": ci95,
        "others": [m for m, row in rows.items() if m not in (model, "constant") and row["value"] > floor],
    }  # fmt: skip


def _not_above(beats: dict[str, Any], name: str) -> list[str]:
    """Said first of all, where it does not."""
    if beats["answer"] not in ("no", "unsure"):
        return []
    said = (
        f"{beats['model']} scores {name} {text.score(beats['value'])}, the best prediction that ignores the image "
        f"{text.score(beats['constant'])}."
    )
    if beats["answer"] == "unsure":
        return [f"**That this beats the constant predictor is not sure**: {said}"]
    others = beats["others"]
    if not others:
        return [f"**Nothing here beats the constant predictor**: {said}"]
    return [f"**{beats['model']} does not beat the constant predictor** ({', '.join(others)} would): {said}"]


def sentences(document: dict[str, Any]) -> list[str]:
    """The verdict, most important first."""
    metrics, by_step = document["metrics"], {s["step"]: s for s in document["steps"]}
    rows, name = run_rows(metrics), metric_name(metrics["metric"])
    found = _not_above(document["decision"]["beats_constant"], name)
    total = by_step["total"]
    if total.get("skipped"):
        last = next((m for m in CHIP_FIRST if m in rows), None)
        reasons = "; ".join(f"{r['model']}: {r['skipped']}" for r in metrics["rows"] if r.get("skipped"))
        reached = f"The last row that was run is {last} with {name} {text.score(rows[last]['value'])}. " if last else ""
        found.append(f"**No verdict from ANN to chip.** {reached}Not run: {reasons or total['skipped']}.")
    else:
        verb = "loses" if total["difference"] < 0 else "gains"
        found.append(
            f"**From ANN to chip the {name} goes from {text.score(rows['ann']['value'])} to "
            f"{text.score(rows['loihi-hybrid']['value'])}: it {verb} {abs(100 * total['difference']):.1f} points**"
            f"{_ci(total)}{_noise(total, metrics)}. {_where(by_step, document)}"
        )
    found += _too_fast(document)
    found.append(_constant(rows, name))
    spiking = rows.get("loihi-hybrid") or rows.get("hybrid")
    if spiking and spiking.get("mean_rate_hz") is not None:
        found.append(
            f"The {spiking['model']} network fires at {text.rate(spiking['mean_rate_hz'])} Hz on average and spends "
            f"{text.count(spiking['spikes_per_inference'])} spikes on {metrics['n_steps']} steps of one inference."
        )
    return found


def _where(by_step: dict[str, Any], document: dict[str, Any]) -> str:
    known = known_chain(by_step, document["settings"])
    if not known:
        return ""
    told = ", ".join(f"{label} {text.points(step['difference'])}" for step, label in known)
    worst = largest_loss(known)
    blame = f" The largest loss: {worst}." if worst else " No single step loses more than its interval."
    return f"In points: {told}.{blame}"


def known_chain(by_step: dict[str, Any], settings: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Steps that were measured, with their names: those that add up from ANN to chip where there are such."""
    labels = {
        "conversion": "conversion to spikes",
        "hybrid": "hybrid fine-tuning",
        "chip": chip_step_name(settings),
        "to-chip": "conversion to the chip's integers",
        "hybrid-on-chip": "hybrid fine-tuning",
    }
    chains = [
        [(by_step[key], labels[key]) for key in chain if key in by_step and not by_step[key].get("skipped")]
        for chain in CHAINS
    ]
    whole = [found for found, chain in zip(chains, CHAINS, strict=True) if len(found) == len(chain)]
    return (whole or chains)[0]


def largest_loss(known: list[tuple[dict[str, Any], str]]) -> str:
    """Name of the step that loses most, "" where none loses more than its interval."""
    worst, label = min(known, key=lambda item: item[0]["difference"])
    sure = worst["difference"] <= -0.0005 and (not worst["ci95"] or worst["ci95"][1] < 0)
    return label.split(" (")[0] if sure else ""


def _too_fast(document: dict[str, Any]) -> list[str]:
    """Say so where NengoDL's neurons fire at rates that the chip's cannot."""
    for model in ("hybrid", "converted"):
        layers = [layer for layer in document["rates"].get(model, []) if layer["too_fast"]]
        if not layers:
            continue
        all_neurons = sum(layer["neurons"] for layer in document["rates"][model])
        share = sum(layer["neurons"] * layer["too_fast"] for layer in layers) / all_neurons
        first, most = layers[0], max(layers, key=lambda layer: layer["too_fast"])
        limit = f"{text.count(1 / document['metrics']['dt_s'])} Hz"
        where = f"{first['name']} {text.percent(first['too_fast'])}"
        if most is not first:
            where += f", most in {most['name']} {text.percent(most['too_fast'])}"
        return [
            f"**On the chip a neuron spikes at most once a step, {limit}.** In NengoDL {text.percent(share)} of the "
            f"{model} network's neurons fire faster, on average over the test samples (first in {where}): on the chip "
            "they saturate, and the layers behind them get less than they were trained with. Train for lower rates: "
            'neurons.rate_curve = "loihi", train.rate_max_hz with train.rate_weight, train.rate_mean_weight.'
        ]
    return []


def _noise(step: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Say so where the samples are too few to tell a difference from none."""
    if not step.get("ci95") or not step["ci95"][0] <= 0 <= step["ci95"][1]:
        return ""
    return f", which {metrics.get('n_groups') or metrics['n_samples']} {unit(metrics)}s cannot tell from none"


def _ci(step: dict[str, Any]) -> str:
    if not step.get("ci95"):
        return ""
    low, high = (text.points(v) for v in step["ci95"])
    return f" (95 % CI {low} to {high})"


def _constant(rows: dict[str, dict[str, Any]], name: str) -> str:
    constant = rows.get("constant")
    networks = [r for m, r in rows.items() if m != "constant"]
    if not constant or not networks:
        return "No constant predictor was run, so there is no floor to compare with."
    floor = constant["value"]
    below = [r for r in networks if r["value"] <= floor]
    unsure = [r for r in networks if r["value"] > floor and r.get("ci95") and r["ci95"][0] <= floor]
    said = f"The constant predictor scores {name} {text.score(floor)}; "
    if not below and not unsure:
        return said + "every network row lies above it, interval included."
    parts = []
    if below:
        parts.append("**" + ", ".join(r["model"] for r in below) + " not above it**")
    if unsure:
        parts.append("above it by less than their interval: " + ", ".join(r["model"] for r in unsure))
    return said + "; ".join(parts) + "."
