"""The page of ``cotrain inspect``: samples with what is marked on them, counts, rejected samples, limits, minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from cotrain.hardware.terminal import plural
from cotrain.pipeline.datasets import SPLITS, Dataset
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.report import html
from cotrain.pipeline.report.blocks import Code, Figure, Heading, Items, Page, Section, Table, Text
from cotrain.pipeline.report.pictures import panel
from cotrain.pipeline.runs.request import Request
from cotrain.pipeline.tasks import task_of

if TYPE_CHECKING:
    from cotrain.pipeline.tasks.base import Task

PER_SPLIT = 12  # samples that are shown


def write_page(experiment: Experiment, dataset: Dataset, facts: dict[str, Any], asked: Request) -> bytes:
    """The page as one HTML file that fetches nothing.

    Parameters
    ----------
    facts : dict
        Of `inspect.run`.
    """
    about, network = facts["data"], facts["network"]
    shape = " x ".join(map(str, about["input_shape"]))
    verdict = (
        f"{_placed(network)}: it fits."
        if network["fits"]
        else f"It does not fit {network['board']}: limits are broken: {len(network['violations'])}."
    )
    lead = (
        Text(f"**{plural(about['n_samples'], 'sample')}, {len(about['rejected'])} not used. {verdict}**", "verdict"),
        Text(f"Look at the pictures: is what is marked where it should be? Then run `{asked.command('train')}`."),
    )
    page = Page(
        f"{experiment.title or experiment.name}: before training",
        f"{', '.join(dict.fromkeys((about['name'], about['task'])))}, input of {shape}",
        lead,
        (
            Section("samples", "Samples", tuple(_samples(dataset))),
            Section("data", "Data", tuple(_data(about))),
            Section("network", "Network", tuple(_network(network))),
            *([Section("minutes", "How long it will take", tuple(_minutes(facts)))] if facts["minutes"] else []),
        ),
    )
    return html.render(page)


def _samples(dataset: Dataset):
    task = task_of(dataset.task)
    for split in SPLITS:
        chosen = pick(dataset, split, task)
        if not len(chosen):
            continue
        panels, words = [], []
        for index in chosen:
            label = task.label(task.as_prediction(dataset.targets[index : index + 1])[0], dataset.class_names)
            picture = np.rint(dataset.view(index) * 255).astype(np.uint8)
            target = dataset.targets[index] if task.outlined else None
            name = str(dataset.names[index])
            panels.append(panel(picture, target, None, name, label, f"{name} {label}".strip()))
            words.append(f"{name} {label}".strip())
        yield Figure(
            f"{len(chosen)} of {int((dataset.split == split).sum())} samples of the {split} split, spread over it"
            + ("; dashed: what is marked." if task.outlined else ", and what they show."),
            f"Samples of the {split} split: " + ", ".join(words),
            tuple(panels),
            "picture",
        )


def pick(dataset: Dataset, split: str, task: Task) -> np.ndarray:
    """Samples of a split, spread evenly over its groups; of each group the one with most to see."""
    members = np.flatnonzero(dataset.split == split)
    if not len(members):
        return members
    groups = dataset.groups[members]
    unique = np.unique(groups)
    some = unique[np.unique(np.linspace(0, len(unique) - 1, min(PER_SPLIT, len(unique))).round().astype(int))]
    out = []
    for group in some:
        of_group = members[groups == group]
        out.append(of_group[int(np.argmax(task.size_of_target(dataset.targets[of_group])))])
    return np.array(out)


def _data(about: dict[str, Any]):
    rows = tuple((split, f"{n:,}") for split, n in about["splits"].items())
    yield Table("Samples of each split", ("split", "samples"), rows)
    counts = about["classes"]
    if all(isinstance(n, int) for n in counts.values()):
        rows = tuple((name, f"{n:,}") for name, n in counts.items())
        yield Table("Samples of each class", ("class", "samples"), rows, tall=len(rows) > 12)
    else:
        rows = tuple((name, f"{100 * n:.3g} %") for name, n in counts.items())
        yield Table("Pixels of each class, of those that are labelled", ("class", "pixels"), rows)
    if about["notes"]:
        yield Items(tuple(about["notes"]))
    yield Heading("Not used")
    if not about["rejected"]:
        yield Text("Every sample that was found is used.")
        return
    refused = tuple((one["name"], one["reason"], one["path"]) for one in about["rejected"])
    yield Table(
        "Samples that were found and are not used", ("sample", "reason", "file"), refused, "lll",
        tall=len(refused) > 12,
    )  # fmt: skip


def _placed(network: dict[str, Any]) -> str:
    return f"{plural(network['cores'], 'core')} on {plural(network['chips'], 'chip')} of {network['board']}"


def _network(network: dict[str, Any]):
    rows = tuple((layer["name"], f"{layer['neurons']:,}") for layer in network["layers"])
    yield Table(f"{network['name']}: {network['n_parameters']:,} parameters", ("layer", "neurons"), rows)
    if network["violations"]:
        yield Text(f"Limits of {network['board']} that are broken:")
        yield Code("\n".join(network["violations"]))
    if "cores" in network:
        yield Text(
            f"{_placed(network)}; no way of cutting these layers can need fewer than {network['lower_bound_cores']}."
        )
    if "input_spikes_max" in network:
        yield Text(
            f"With untrained weights at most {network['input_spikes_max']:,} spikes enter the chip in a step, of "
            f"{network['input_neurons']:,} neurons on the host. Training moves this; the report has the trained figure."
        )


def _minutes(facts: dict[str, Any]):
    rows = tuple((one["stage"], f"{one['minutes']:.1f}", one["why"]) for one in facts["minutes"])
    yield Table("Minutes, from a few steps on this machine as busy as it was", ("stage", "minutes", "how"), rows, "lrl")
    yield Text(
        f"Reading the data takes {facts['data']['load_s']:.1f} s each time. Quantising and the report take seconds to "
        "minutes more.",
        "note",
    )
