"""The report's tables. A row of metrics.json is never left out: one that was not run says why."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.evaluation.rows import ROWS, run_rows
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Items, Table, Text
from cotrain.pipeline.report.sections.verdict import unit
from cotrain.pipeline.tasks import metric_name


def comparison(document: dict[str, Any]) -> Table:
    """The rows of metrics.json in their order, the paper's figures beside ours."""
    metrics, paper = document["metrics"], document["paper"]
    name = metric_name(metrics["metric"])
    rows, muted = [], set()
    columns = ["Model", name, "95 % CI"]
    if paper:
        columns.append("Paper" if paper["same_data"] else "Paper (other data set)")
    columns += ["Mean rate (Hz)", "Spikes / inference", "Synaptic ops / inference", "Run time (s)", "What it is"]
    for i, row in enumerate(metrics["rows"]):
        cells = [row["model"]]
        if row.get("skipped"):
            muted.add(i)
            cells += ["not run", row["skipped"]]
        else:
            cells += [f"**{text.score(row['value'])}**", text.interval(row.get("ci95"))]
        if paper:
            cells.append(_paper(paper["rows"].get(row["model"])))
        cells += [
            text.rate(row.get("mean_rate_hz")),
            text.count(row.get("spikes_per_inference")),
            text.count(row.get("synops_per_inference")),
            text.NOTHING if row.get("seconds") is None else f"{row['seconds']:.1f}",
            ROWS[row["model"]].meaning if row["model"] in ROWS else "",
        ]
        rows.append(tuple(cells))
    caption = f"{name} on {text.plural(metrics['n_samples'], 'test sample')}; 95 % bootstrap intervals"
    caption += f" over {text.plural(metrics['n_groups'], unit(metrics))}." if metrics.get("n_groups") else "."
    align = "l" + "r" * (len(columns) - 2) + "l"
    return Table(caption, tuple(columns), tuple(rows), align, frozenset(muted))


def _paper(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return text.NOTHING
    rate = "" if entry["mean_rate_hz"] is None else f" @ {entry['mean_rate_hz']:g} Hz"
    return f"{text.score(entry['value'])}{rate}"


def steps(document: dict[str, Any]) -> Table:
    """Points lost or won at each step."""
    rows, muted = [], set()
    for i, step in enumerate(document["steps"]):
        name = f"{step['from']} → {step['to']}"
        if step.get("skipped"):
            muted.add(i)
            rows.append((name, text.NOTHING, step["skipped"], step["what"]))
        else:
            ci = " to ".join(map(text.points, step["ci95"])) if step["ci95"] else text.NOTHING
            rows.append((name, text.points(step["difference"]), ci, step["what"]))
    name = metric_name(document["metrics"]["metric"])
    caption = f"Where points go (1 point is 0.01 {name}); paired bootstrap over the same images or volumes."
    return Table(caption, ("Step", "Points", "95 % CI", "What happens"), tuple(rows), "lrrl", frozenset(muted))


def protocols(document: dict[str, Any]) -> list:
    """Test protocols beside the plain one, such as shifted images."""
    found = []
    plain = run_rows(document["metrics"])
    for name, protocol in (document["metrics"].get("protocols") or {}).items():
        details = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in protocol.items() if isinstance(v, int | float))
        rows = tuple(
            (
                row["model"],
                text.score(row.get("value")),
                text.interval(row.get("ci95")),
                text.points(row["value"] - plain[row["model"]]["value"]) if row["model"] in plain else text.NOTHING,
            )
            for row in protocol["rows"]
        )
        metric = metric_name(document["metrics"]["metric"])
        caption = f"Protocol “{name}” ({details}): the same test images, moved."
        found.append(Table(caption, ("Model", metric, "95 % CI", "Points against unmoved"), rows, "lrrr"))
    return found


def seeds(document: dict[str, Any]) -> list[Table]:
    """The same experiment trained with other seeds, under every protocol."""
    summary = document.get("seeds")
    if not summary:
        return []
    metric = metric_name(summary["metric"])
    columns = ("Model", *(f"Seed {seed}" for seed in summary["seeds"]), "Mean", "95 % CI", "Mean rate (Hz)")
    found = []
    for protocol, rows in (("", summary["rows"]), *((n, p["rows"]) for n, p in summary["protocols"].items())):
        where = f" under protocol “{protocol}”" if protocol else ""
        caption = (
            f"{metric} of {text.plural(len(summary['seeds']), 'training')} from other initial parameters{where}; "
            "same split. The interval is that of the mean over seeds (Student's t)."
        )
        cells = tuple(
            (
                row["model"],
                *map(text.score, row["values"]),
                f"**{text.score(row['mean'])}**",
                text.interval(row["ci95"]),
                " ".join(map(text.rate, row["mean_rate_hz"])) if row["mean_rate_hz"][0] is not None else text.NOTHING,
            )
            for row in rows
        )
        found.append(Table(caption, columns, cells, "l" + "r" * (len(columns) - 1)))
    return found


def histories(document: dict[str, Any]) -> list[Table]:
    found = []
    for stage, history in document["histories"].items():
        epochs = (history or {}).get("epochs") or []
        if not epochs:
            continue
        keys = [k for k in epochs[-1] if isinstance(epochs[-1][k], int | float) and k != "epoch"]
        rows = tuple((str(e["epoch"]), *(_number(e.get(k)) for k in keys)) for e in epochs)
        columns = ("Epoch", *(k.replace("_hz", " (Hz)").replace("_", " ") for k in keys))
        found.append(Table(f"Epochs of `{stage}`. {kept(history)}", columns, rows, tall=len(rows) > 12))
    return found


def kept(history: dict[str, Any]) -> str:
    """Which epoch's parameters a training returned; epoch 0 is before its first step."""
    best = history.get("best_epoch")
    if best is None:
        return ""
    return f"Epoch {best} was kept." if best else "Epoch 0 was kept: no epoch was better than the parameters before."


def layers(document: dict[str, Any]) -> Table:
    """Neurons, spikes and rates of each layer, in every spiking row."""
    rows = [r for r in document["metrics"]["rows"] if r.get("layers") and not r.get("skipped")]
    names = [layer["name"] for layer in rows[0]["layers"]] if rows else []
    cells = []
    for i, name in enumerate(names):
        first = rows[0]["layers"][i]
        where = "" if first.get("on_chip", True) else " (host)"
        line = [f"{name}{where}", text.count(first["neurons"])]
        for row in rows:
            layer = row["layers"][i]
            line += [text.count(layer["spikes_per_inference"]), text.rate(layer["mean_rate_hz"])]
        cells.append(tuple(line))
    if rows:
        total = ["all", text.count(sum(layer["neurons"] for layer in rows[0]["layers"]))]
        for row in rows:
            total += [text.count(row["spikes_per_inference"]), text.rate(row["mean_rate_hz"])]
        cells.append(tuple(total))
    columns = ["Layer", "Neurons"]
    for row in rows:
        columns += [f"{row['model']}: spikes", "Hz"]
    return Table("Spikes per inference and mean rate of each layer.", tuple(columns), tuple(cells))


def agreement(document: dict[str, Any]) -> list[Table]:
    """How far each layer's rates lie apart, NengoDL against Loihi."""
    found = document["metrics"].get("agreement") or {}
    by_kind = {kind: {layer["name"]: layer for layer in one["layers"]} for kind, one in found.items()}
    names = list(dict.fromkeys(name for layers in by_kind.values() for name in layers))
    if not names:
        return []
    rows, columns = [], ["Layer"]
    for kind in by_kind:
        columns += [f"{kind}: mean absolute difference (Hz)", f"{kind}: correlation"]
    for name in names:
        line = [name]
        for layers in by_kind.values():
            layer = layers.get(name, {})
            difference, r = layer.get("rate_mean_abs_difference_hz"), layer.get("rate_correlation")
            line.append(text.NOTHING if difference is None else f"{difference:.3f}")
            line.append(text.NOTHING if r is None else f"{r:.4f}")
        rows.append(tuple(line))
    return [Table("Agreement of the neurons' mean rates, NengoDL against Loihi.", tuple(columns), tuple(rows))]


def activity(document: dict[str, Any]) -> list[Table]:
    """Neurons at the two ends: those that never fire, and the fastest."""
    found = document["rates"]
    names = list(dict.fromkeys(layer["name"] for layers in found.values() for layer in layers))
    if not names:
        return []
    by_model = {model: {layer["name"]: layer for layer in layers} for model, layers in found.items()}
    columns = ["Layer"]
    for model in by_model:
        columns += [f"{model}: silent", "fastest (Hz)"]
    rows = []
    for name in names:
        line = [name]
        for layers in by_model.values():
            layer = layers.get(name, {})
            line += [text.percent(layer.get("silent")), text.rate(layer.get("fastest_hz"))]
        rows.append(tuple(line))
    caption = "Neurons that fired for no test sample, and the largest mean rate of a neuron."
    return [Table(caption, tuple(columns), tuple(rows))]


def saturation(document: dict[str, Any]) -> list:
    """Wrapped registers and the host's traffic of the emulated rows."""
    rows = []
    for model, row in run_rows(document["metrics"]).items():
        if "overflows" not in row:
            continue
        wrapped = {k: v for k, v in (row.get("overflows") or {}).items() if v}
        told = ", ".join(f"{layer} {text.count(n)}" for layer, n in wrapped.items()) or "none"
        rows.append((model, told, text.count(row.get("input_spikes_max"))))
    if not rows:
        return []
    caption = "Saturation: registers that overflowed, and the most spikes that entered the chip in one step."
    return [Table(caption, ("Model", "Overflowed registers", "Most input spikes in a step"), tuple(rows), "llr")]


def trajectory(document: dict[str, Any]) -> list[Table]:
    found = document["trajectory"]
    if not found.get("n_steps"):
        return []
    models, spikes, energy = found["models"], found.get("spikes") or {}, found.get("energy_j_estimate") or {}
    name = metric_name(document["metrics"]["metric"])
    columns = ["Steps", *(f"{m}: {name}" for m in models), *(f"{m}: spikes" for m in spikes)]
    columns += [f"{m}: energy (estimate)" for m in energy]
    rows = []
    for i, step in enumerate(found["n_steps"]):
        line = [str(step), *(text.score(v[i]) for v in models.values()), *(text.count(v[i]) for v in spikes.values())]
        rows.append((*line, *(text.si(v[i], "J") for v in energy.values())))
    return [
        Table("If a presentation stops early.", tuple(columns), tuple(rows), "r" * len(columns), tall=len(rows) > 12)
    ]


def quantization(document: dict[str, Any]) -> list[Table]:
    """What rounding to the chip's integers costs each layer (hardware.preflight.command.quantization)."""
    found = []
    columns = (
        "Layer", "Weights: RMS error", "zeroed", "bits lost", "Biases: RMS error / threshold",
        "Thresholds: largest error", "Current filter (ms)", "Membrane (ms)", "Rate, floats (Hz)", "Rate, integers (Hz)",
        "Rate error (Hz)",
    )  # fmt: skip
    for kind, one in document["quantization"].items():
        rows = []
        for e in one["layers"]:
            shares = [text.percent(e.get(key)) for key in ("weight_error", "weights_zeroed")]
            errors = [text.percent(e.get(key)) for key in ("bias_error", "threshold_error")]
            filters = [_asked_and_got(e, key) for key in ("tau_current", "tau_voltage")]
            rates = [_number(e.get(key)) for key in ("rate_hz", "rate_chip_hz", "rate_error_hz")]
            rows.append((e["name"], *shares, _number(e.get("weight_bits_lost")), *errors, *filters, *rates))
        source = "those measured" if one.get("rates_from") == "stats" else f"all {_number(one.get('input_rate_hz'))} Hz"
        caption = f"The {kind} network in integers. Rates are computed for steady input; off-chip rates are {source}."
        found.append(Table(caption, columns, tuple(rows)))
    return found


def _asked_and_got(entry: dict[str, Any], key: str) -> str:
    """A time constant, and what the chip makes of it, in ms; one that does not decay has none."""
    values = [entry.get(f"{key}{which}_s") for which in ("", "_chip")]
    shown = [text.NOTHING if v is None else f"{1e3 * v:.3g}" for v in values]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} → {shown[1]}"


def neurobench(document: dict[str, Any]) -> Table:
    columns = (
        "Model",
        "Footprint",
        "ConnectionSparsity",
        "ActivationSparsity",
        "Dense",
        "Effective_MACs",
        "Effective_ACs",
    )
    rows = []
    for model, e in document["neurobench"].items():
        operations = e["SynapticOperations"]
        sparsity = [
            text.NOTHING if e[k] is None else f"{e[k]:.4f}" for k in ("ConnectionSparsity", "ActivationSparsity")
        ]
        rows.append((model, text.count(e["Footprint"]), *sparsity, *(text.count(operations[k]) for k in columns[4:])))
    return Table("NeuroBench's metrics.", columns, tuple(rows))


def data(document: dict[str, Any]) -> list:
    found = document["metrics"].get("dataset") or {}
    counts = (("all", "n_total"), ("train", "n_train"), ("validation", "n_validation"), ("test", "n_test"))
    rows = tuple((label, text.count(found[key])) for label, key in counts if key in found)
    scored = (("scored here", text.count(document["metrics"]["n_samples"])),)
    blocks: list = [Table(f"Samples of {found.get('name', 'the data set')}.", ("Split", "Samples"), rows + scored)]
    notes = tuple(str(note) for note in found.get("notes") or ())
    blocks += [Items(notes)] if notes else []
    rejected = found.get("rejected") or []
    if not rejected:
        return [*blocks, Text("No sample was rejected.")]
    caption = f"{text.plural(len(rejected), 'sample')} found and not used."
    lines = tuple((r["name"], r["reason"], f"`{r['path']}`") for r in rejected)
    return [*blocks, Table(caption, ("Sample", "Reason", "File"), lines, "lll", tall=len(lines) > 12)]


def settings(document: dict[str, Any]) -> Table:
    rows = []
    for key, value in document["settings"].items():
        if isinstance(value, dict):
            rows += [(f"{key}.{leaf}", _setting(v)) for leaf, v in value.items()]
        else:
            rows.append((key, _setting(value)))
    return Table("Settings, resolved.", ("Setting", "Value"), tuple(rows), "ll", tall=True)


def stages(document: dict[str, Any]) -> Table:
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


def _number(value: Any) -> str:
    if value is None:
        return text.NOTHING
    if isinstance(value, list | tuple):
        return " × ".join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.4g}"
