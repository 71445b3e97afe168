"""The page of one experiment: first screen, then one section per question."""

from __future__ import annotations

from typing import Any

from cotrain.hardware.bundle.energy import sentence
from cotrain.pipeline.evaluation.rows import BOARD, MODELS, ROWS
from cotrain.pipeline.report import explored, figures, pictures, tables, text
from cotrain.pipeline.report.blocks import Code, Figure, Heading, Page, Row, Section, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import classes, costs, placement
from cotrain.pipeline.report.sections.pictures import CASES
from cotrain.pipeline.report.sections.verdict import unit
from cotrain.pipeline.tasks import metric_name, task_of


def build(document: dict[str, Any], inputs: Inputs) -> Page:
    """Every block of the report; both renderings take it from here."""
    sections = (
        Section("pictures", "Predictions over the inputs", tuple(_pictures(document, inputs))),
        *([Section("classes", "Class by class", tuple(classes.blocks(document)))] if classes.told(document) else []),
        Section("training", "Training", tuple(_training(document))),
        Section("layers", "Spikes and rates: NengoDL against Loihi", tuple(_layers(document, inputs))),
        Section("time", "Accuracy over time, spikes and energy", tuple(_time(document))),
        Section("raster", "One inference, spike by spike", tuple(_raster(document, inputs))),
        Section("placement", "Placement on cores and chips", tuple(_placement(document))),
        Section("quantization", "Quantisation", tuple(_quantization(document))),
        Section("energy", "Energy and time (estimates)", tuple(_energy(document))),
        Section("data", "Data", tuple(_data(document))),
        Section("settings", "Settings, versions, how to reproduce", tuple(_settings(document))),
    )
    return Page(title(document), subtitle(document), tuple(lead(document)), sections)


def title(document: dict[str, Any]) -> str:
    return f"{document['title']} ({document['experiment']})"


def subtitle(document: dict[str, Any]) -> str:
    """What was run, in a line."""
    m, s = document["metrics"], document["settings"]
    data = m.get("dataset", {})
    groups = m.get("n_groups")
    of = f" from {text.plural(groups, 'volume')}" if groups and groups != m["n_samples"] else ""
    parts = [
        f"{document['network']} on {data.get('name', 'unnamed data')}",
        f"{text.plural(m['n_samples'], 'test slice' if of else 'test image')}{of}",
        f"{m['n_steps']} steps of {text.si(m['dt_s'], 's')}, the last {m.get('readout_steps', m['n_steps'])} read out",
        f"{s['neurons']['kind']} neurons",
    ]
    if m.get("steps_note"):
        parts[2] = m["steps_note"]
    if m.get("cores"):
        parts.append(f"{text.plural(m['cores'], 'core')} on {text.plural(m['chips'], 'chip')} of {m['board']}")
    parts.append(f"seed {s['seed']}")
    return "; ".join(parts) + "."


def lead(document: dict[str, Any]) -> list:
    """The first screen: the verdict, the comparison, the chart."""
    blocks = [Text(sentence, "verdict") for sentence in document["verdict"][:1]]
    blocks.append(tables.comparison(document))
    blocks += costs.lead(document)
    blocks += [Text(sentence) for sentence in document["verdict"][1:]]
    if document["paper"]:
        where = "the same data set" if document["paper"]["same_data"] else "another data set, so not comparable as such"
        blocks.append(
            Text(f"Paper: {document['paper']['title']}; its data: {document['paper']['data']} ({where}).", "note")
        )
    chart = figures.scores(document)
    blocks += _board(document)
    beside = ((chart,) if chart else ()) + (tables.steps(document),)
    return [*blocks, Row(beside), *tables.protocols(document), *tables.seeds(document), *explored.blocks(document)]


def _board(document):
    """What came back from the lab, where it did."""
    row = next((r for r in document["metrics"]["rows"] if r["model"] == BOARD and not r.get("skipped")), None)
    if row is None:
        return
    same, name = row["comparison"], metric_name(document["metrics"]["metric"])
    agrees = "spike for spike as expected" if same["equal"] else f"{same['samples_different']} of them not as expected"
    measured = sentence(row.get("energy") or {"skipped": "not asked for"})
    yield Text(
        f"On the board {text.plural(row['n_samples'], 'sample')} of the bundle ran, {agrees}: {name} "
        f"{text.score(row['value'])}, the emulator on the same samples {text.score(row['emulator_value'])}. " + measured
    )


def _pictures(document, inputs):
    chosen, data = document["cases"], inputs.predictions
    if not chosen["cases"]:
        yield Text("No predictions were written, so there are no pictures.", "note")
        return
    name = metric_name(document["metrics"]["metric"])
    one, outlined = unit(document["metrics"]), task_of(document["metrics"]["task"]).outlined
    of_group = f"Of a {one}, the sample with the largest target is drawn; the score is the {one}'s. "
    yield Text(
        f"Best, median and worst {one} by {name} of {chosen['chosen_by']}, under every model. "
        + (of_group if one != "image" else "")
        + ("Dashed yellow: ground truth. Solid blue: prediction." if outlined else "Beside the model what it predicts.")
    )
    legend = (("truth-key", "ground truth (dashed)"), ("guess-key", "prediction (solid)")) if outlined else ()
    for i, case in enumerate(chosen["cases"]):
        caption = f"**{case['case'].capitalize()}**: {case['sample']}"
        yield _case(caption, [(m, case) for m in case["values"]], data, document["metrics"], () if i else legend)
    yield Heading("Each model's own best, median and worst")
    for case_name in CASES:
        own = [(m, e) for m, entries in chosen["own"].items() for e in entries if e["case"] == case_name]
        yield _case(f"**{case_name.capitalize()}** of each model.", own, data, document["metrics"], (), samples=True)


def _case(caption, entries, data, metrics, legend, samples=False):
    task, names = task_of(metrics["task"]), metrics["class_names"]
    name, drawings, said = metric_name(metrics["metric"]), [], []
    for model, entry in entries:
        i, value = entry["index"], entry["values"][model]
        target, prediction = data["targets"][i], data.get(f"{model}/prediction")
        guess = None if prediction is None else prediction[i]
        if task.outlined:
            told = text.score(value)
            alt = f"{model} on {entry['sample']}: {name} {told}"
        else:
            told = "not kept" if guess is None else task.label(guess, names)
            alt = f"{model} on {entry['sample']}: {told}, it is {task.label(target, names)}"
            target = guess = None
        shown = told + (f", {entry['sample']}" if samples else "")
        drawings.append(pictures.panel(data["images"][i], target, guess, model, shown, alt))
        said.append(alt)
    return Figure(caption, "; ".join(said) + ".", tuple(drawings), "picture", legend)


def _training(document):
    found = figures.training(document)
    yield from found
    for stage in ("train", "finetune"):
        history = document["histories"].get(stage)
        if not history:
            pretrained = document["metrics"].get("parameters") == "pretrained"
            reason = "the parameters that come with the package were used" if pretrained else "none was written"
            yield Text(f"No history of the {stage} stage: {reason}.", "note")
    yield from tables.histories(document)


def _layers(document, inputs):
    bars = figures.spikes_per_layer(document)
    if bars:
        yield bars
    yield tables.layers(document)
    scatter = figures.rate_scatter(document, inputs.rates)
    if not scatter:
        yield Text("Rates were not compared: NengoDL and Loihi rows of the same network are needed.", "note")
    yield from scatter
    yield from tables.agreement(document)
    yield from tables.activity(document)
    yield from tables.saturation(document)


def _time(document):
    found = figures.over_steps(document)
    yield found or Text("No spiking row was run, so nothing happened over time.", "note")
    yield from tables.trajectory(document)


def _raster(document, inputs):
    names = [layer.name for layer in inputs.spec.layers if f"{layer.name}/n_neurons" in inputs.raster]
    if not names:
        yield Text("No raster was written (loihi-hybrid was not run).", "note")
        return
    drawing, alt = pictures.raster(inputs.raster, names, document["metrics"]["n_steps"])
    sample = str(inputs.raster.get("sample", ""))
    yield Figure(
        f"loihi-hybrid on {sample}: a row is a neuron, a mark a spike; drawn of those that spiked.",
        alt,
        (drawing,),
        "wide",
    )


def _placement(document):
    if not document["placement"]:
        yield Text("No placement was written.", "note")
        return
    yield from placement.blocks(document["placement"])


def _quantization(document):
    found = tables.quantization(document)
    if not found:
        yield Text("No quantisation errors were written.", "note")
    bars = figures.quantization(document)
    if bars:
        yield bars
    yield from found


def _energy(document):
    yield from costs.blocks(document)
    yield tables.neurobench(document)
    yield Text(
        "NeuroBench's names and meaning: Footprint in bytes; sparsities are fractions of zeros; operations per sample, "
        "all steps together. Effective_MACs are the host's first layer and readout, zeros in the image counted.",
        "note",
    )
    yield costs.constants(document)


def _data(document):
    yield from tables.data(document)


def _settings(document):
    yield Text("To make this report again:")
    yield Code("\n".join(document["reproduce"]))
    yield tables.settings(document)
    yield tables.stages(document)
    yield tables.versions(document)
    yield Text("Models: " + "; ".join(f"{m}: {ROWS[m].meaning}" for m in MODELS) + ".", "note")
