"""The page of one experiment: first screen, then one section per question."""

from __future__ import annotations

from typing import Any

from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Page, Section
from cotrain.pipeline.report.load import Inputs
from cotrain.pipeline.report.sections import FIRST_SCREEN, SECTIONS


def build(document: dict[str, Any], inputs: Inputs) -> Page:
    """Every block of the report; both renderings take it from here."""
    sections = (
        Section(row.key, row.title, tuple(row.blocks(document, inputs)), row.open, row.name) for row in SECTIONS
    )
    lead = tuple(FIRST_SCREEN.blocks(document, inputs))
    return Page(title(document), subtitle(document), lead, tuple(s for s in sections if s.blocks))


def title(document: dict[str, Any]) -> str:
    """Of an experiment, with the name that commands take."""
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
    if s.get("finetune", {}).get("initial_voltage") == "spread":
        parts[-1] += ", their voltages spread in the first step"
    if m.get("steps_note"):
        parts[2] = m["steps_note"]
    if m.get("cores"):
        parts.append(f"{text.plural(m['cores'], 'core')} on {text.plural(m['chips'], 'chip')} of {m['board']}")
    parts.append(f"seed {s['seed']}")
    return "; ".join(parts) + "."
