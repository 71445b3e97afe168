"""The first screen: what decides, in five answers, the comparison, and energy beside what else there is."""

from __future__ import annotations

from typing import Any

from cotrain.hardware.chip.limits import BOARDS
from cotrain.pipeline.evaluation.rows import run_rows
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Fact, Facts, Text
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import advice, costs, scores, verdict
from cotrain.pipeline.report.sections.energy import WAYS
from cotrain.pipeline.report.sections.placement import binding
from cotrain.pipeline.tasks import metric_name


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """Key "decision": what the cards say; "verdict": its sentences, the most important first."""
    beats = verdict.beats_constant(inputs.metrics, inputs.predictions)
    decision = {
        "beats_constant": beats,
        "fits": fits(document),
        "next": advice.following(inputs, document, beats),
    }
    return {"decision": decision, "verdict": verdict.sentences({**document, "decision": decision})}


def fits(document: dict[str, Any]) -> dict[str, Any]:
    """Whether board and chip take the network, what binds, and how many spikes enter in one step at most.

    Returns
    -------
    dict
        "answer": "yes", "no" or None (nothing was placed).
    """
    placement, rows = document["placement"], run_rows(document["metrics"])
    if not placement:
        return {"answer": None}
    binds: dict[str, int] = {}
    for layer in placement["utilisation"]["layers"]:
        what, _ = binding(layer)
        binds[what] = binds.get(what, 0) + layer["cores"]
    entered = [row["input_spikes_max"] for row in rows.values() if row.get("input_spikes_max") is not None]
    board = next((b for b in BOARDS if b.name == placement["board"]), None)
    return {
        "answer": "no" if placement["violations"] else "yes",
        "violations": len(placement["violations"]),
        "cores": placement["cores"], "chips": placement["chips"], "board": placement["board"],
        "board_chips": board.n_chips if board else None, "lower_bound_cores": placement["lower_bound_cores"],
        "binds": dict(sorted(binds.items(), key=lambda item: -item[1])),
        "input_spikes_max": max(entered, default=None),
        "snip_max_spikes_per_step": (placement.get("hardware_options") or {}).get("snip_max_spikes_per_step"),
        "default_snip_spikes_per_step": board.chip.default_snip_spikes_per_step if board else None,
    }  # fmt: skip


def blocks(document: dict[str, Any], inputs: Inputs | None = None) -> list[Block]:
    """The verdict's first sentence, the cards, two tables, and the verdict's other sentences."""
    first, *others = document["verdict"]
    return [
        Text(first, "verdict"),
        Facts((_beats(document), _fits(document), _lost(document), _cost(document), _next(document))),
        scores.comparison(document),
        *costs.lead(document),
        *(Text(sentence) for sentence in others),
    ]


def answers(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Question and answer of each card, for a terminal."""
    cards = (_beats, _fits, _lost, _cost, _next)
    return [(card.question, card.answer) for card in (make(document) for make in cards)]


def _beats(document: dict[str, Any]) -> Fact:
    found, name = document["decision"]["beats_constant"], metric_name(document["metrics"]["metric"])
    question = "Better than a constant?"
    if found["answer"] is None:
        return Fact(question, "Not known", ("The constant predictor, or every network, was not run.",), "unsure")
    answer = {"yes": "Yes", "no": "No", "unsure": "Not surely"}[found["answer"]]
    ci = f" (95 % CI {' to '.join(map(text.points, found['ci95']))})" if found["ci95"] else ""
    details = [
        f"{name} {text.score(found['value'])} ({found['model']}) against {text.score(found['constant'])}: "
        f"{text.points(found['difference'])} points{ci}."
    ]
    for protocol, one in found["protocols"].items():
        if one["answer"]:
            told = {"yes": "yes", "no": "no", "unsure": "not surely"}[one["answer"]]
            details.append(
                f"On {protocol} samples: {told}, {text.score(one['value'])} against {text.score(one['constant'])}."
            )
    state = {"yes": "good", "no": "bad", "unsure": "unsure"}[found["answer"]]
    return Fact(question, answer, tuple(details), state)


def _fits(document: dict[str, Any]) -> Fact:
    found, question = document["decision"]["fits"], "Does it fit?"
    if found["answer"] is None:
        return Fact(question, "Not known", ("No network was placed.",), "unsure")
    size = f"{text.plural(found['cores'], 'core')}, {text.plural(found['chips'], 'chip')}"
    if found["answer"] == "no":
        answer = f"No: {text.plural(found['violations'], 'limit')} broken"
    else:
        answer = f"Yes: {size}"
    of = f" of {found['board_chips']}" if found["board_chips"] else ""
    details = [] if found["answer"] == "yes" else [f"{size}."]
    details.append(
        f"{text.plural(found['chips'], 'chip')}{of} on {found['board']}; no placement takes fewer than "
        f"{text.plural(found['lower_bound_cores'], 'core')}."
    )
    (what, n), *_ = found["binds"].items()
    details.append(f"What binds: {what}, on {n:,} of {text.plural(found['cores'], 'core')}.")
    state = "good" if found["answer"] == "yes" else "bad"
    entered, configured = found["input_spikes_max"], found["snip_max_spikes_per_step"]
    if entered is not None:
        default = found["default_snip_spikes_per_step"]
        told = f"Up to {text.plural(entered, 'input spike')} in one step"
        if entered > max(configured or 0, default or 0):
            told += f": pass `snip_max_spikes_per_step={entered}`, else the board drops those above "
            told += f"{configured or default:,}"
            state = "bad"
        elif configured:
            told += f"; `snip_max_spikes_per_step={configured}` takes them"
        details.append(f"{told}.")
    return Fact(question, answer, tuple(details), state)


def _lost(document: dict[str, Any]) -> Fact:
    by_step = {s["step"]: s for s in document["steps"]}
    total, question = by_step["total"], "Points lost, ANN to chip?"
    known = verdict.known_chain(by_step, document["settings"])
    details = []
    if known:
        told = ", ".join(f"{label.split(' (')[0]} {text.points(step['difference'])}" for step, label in known)
        worst = verdict.largest_loss(known)
        details = [f"In points: {told}.", f"Most in: {worst}." if worst else "No step loses more than its interval."]
    if total.get("skipped"):
        return Fact(question, "Not known", (f"{total['skipped'].capitalize()}.", *details), "unsure")
    lost = -total["difference"]
    answer = f"{text.points(total['difference'])} points"
    if total["ci95"]:
        answer += f" ({' to '.join(map(text.points, total['ci95']))})"
    return Fact(question, answer, tuple(details), "good" if lost < 0.01 else "unsure" if lost < 0.03 else "bad")


def _cost(document: dict[str, Any]) -> Fact:
    found, question = document["energy"], "Energy and time of an inference?"
    model = costs.chip_model(found)
    ann = found["ann"]
    elsewhere = f"The ANN: {text.si(ann['gpu_j'], 'J')} on a GPU, {text.si(ann['cpu_j'], 'J')} on a CPU."
    if model is None:
        return Fact(question, "Not known", ("No row of the chip was run.", elsewhere), "unsure")
    ways = found["models"][model]
    first = next(iter(ways.values()))

    def short(part: dict[str, float | None], unit: str) -> str:
        if part["value"] is None:
            return f"{text.si(part['low'], unit)} to {text.si(part['high'], unit)}"
        return text.si(part["value"], unit)

    details = [
        f"{WAYS[way].capitalize()}: {costs.spread(e['energy_j']['total'], 'J')}, "
        f"{costs.spread(e['time_s']['total'], 's')}."
        for way, e in ways.items()
    ]
    host = f"Its host: {text.si(found['host']['cpu_j'], 'J')} on a CPU."
    answer = f"{short(first['energy_j']['total'], 'J')}, {short(first['time_s']['total'], 's')} (estimate)"
    return Fact(question, answer, (*details, f"{host} {elsewhere}"))


def _next(document: dict[str, Any]) -> Fact:
    found = document["decision"]["next"]
    details = []
    for one in found:
        details.append(one["what"] + (f" `{one['command']}`" if one["command"] else ""))
    first = {"explore": "Steps and rates", "deploy": "Present it otherwise", "train": "Training", "inspect": "The data"}
    verb = next((one["command"].split()[1] for one in found if one["command"]), "")
    return Fact("What to try next?", first.get(verb, "Nothing comes to mind") if found else "Nothing", tuple(details))
