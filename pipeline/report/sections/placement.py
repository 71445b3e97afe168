"""hardware.check's report in pictures and tables."""

from __future__ import annotations

from html import escape
from typing import Any

from cotrain.hardware.chip.limits import LOIHI1
from cotrain.pipeline.report import text
from cotrain.pipeline.report.blocks import Block, Figure, Items, Table, Text
from cotrain.pipeline.report.charts import WIDTH
from cotrain.pipeline.report.charts import document as svg
from cotrain.pipeline.report.load import Inputs

RESOURCES = {  # as `hardware.check` names them, and as people do
    "compartments": "compartments", "input_axons": "input axons", "output_axons": "output axons",
    "synapse_bits": "synapse memory",
}  # fmt: skip


def facts(inputs: Inputs, document: dict[str, Any]) -> dict[str, Any]:
    """`hardware.check`'s report, as the quantize stage wrote it."""
    return {"placement": inputs.placement}


def binding(layer: dict[str, Any]) -> tuple[str, float]:
    """The resource that binds a layer's cores, as people name it, and its share in the layer's fullest core.

    Parameters
    ----------
    layer : dict
        One of ``placement["utilisation"]["layers"]``.
    """
    fullest = max(RESOURCES, key=lambda r: layer["most"][r])
    return RESOURCES[fullest], layer["most"][fullest]


def synapse_bits(placement: dict[str, Any]) -> int | None:
    """Synapse memory in use on all cores, in bits."""
    cores = placement.get("utilisation", {}).get("cores", [])
    return sum(core["synapse_bits"] for core in cores) if cores else None


def blocks(document: dict[str, Any], inputs: Inputs | None = None) -> list[Block]:
    """The hybrid network on its cores, what the board would refuse, and what to know of the rest."""
    placement = document["placement"]
    if not placement:
        return [Text("No placement was written.", "note")]
    layers = placement["utilisation"]["layers"]
    found: list[Block] = [
        Text(
            f"{text.plural(placement['cores'], 'core')} on {text.plural(placement['chips'], 'chip')} of "
            f"{placement['board']}; no placement of these layers can need fewer than "
            f"{text.plural(placement['lower_bound_cores'], 'core')}."
        ),
        _chips(placement),
        _layers(layers),
    ]
    violations = placement.get("violations") or []
    if violations:
        rows = tuple(
            (
                v["rule"],
                v["layer"] or "network",
                _core(v["core"]),
                v["resource"],
                text.count(v["used"]),
                text.count(v["allowed"]),
                v["change"],
            )
            for v in violations
        )
        columns = ("Rule", "Layer", "Core", "Resource", "Used", "Allowed", "What to change")
        found.append(
            Table(f"{text.plural(len(rows), 'violation')}: the board would refuse this.", columns, rows, "llrlrrl")
        )
    else:
        found.append(Text("No limit of the chip or the board is broken."))
    findings = placement.get("findings") or []
    if findings:
        found.append(Text("Findings of the preflight:"))
        found.append(Items(tuple(f"{f['layer'] + ': ' if f['layer'] else ''}{f['message']}" for f in findings)))
    options = placement.get("hardware_options") or {}
    if options:
        told = ", ".join(f"`{key}={value}`" for key, value in options.items())
        found.append(Text(f"On the board, pass to NengoLoihi as `hardware_options`: {told}."))
    return found


def _core(core: int | None) -> str:
    return text.NOTHING if core is None else str(core)


def _layers(layers: list[dict[str, Any]]) -> Table:
    rows = []
    for layer in layers:
        shape = " × ".join(map(str, layer["block_shape"]))
        use = [f"{text.percent(layer['mean'][r])} / {text.percent(layer['most'][r])}" for r in RESOURCES]
        rows.append(
            (
                layer["name"],
                text.count(layer["neurons"]),
                shape,
                str(layer["cores"]),
                str(layer["lower_bound_cores"]),
                *use,
            )
        )
    columns = ("Layer", "Neurons", "Block shape", "Cores", "Lower bound", *RESOURCES.values())
    return Table(
        "Use of the cores of each layer, mean / fullest, in per cent of what a core has.", columns, tuple(rows),
        sortable=True,
    )  # fmt: skip


def _chips(placement: dict[str, Any]) -> Figure:
    """One grid a chip, one cell a core: colour and number tell the layer, the filled part its fullest resource."""
    cores = placement["utilisation"]["cores"]
    names = [layer["name"] for layer in placement["utilisation"]["layers"]]
    limits = {r: getattr(LOIHI1, r) for r in RESOURCES}
    columns, side = 16, (WIDTH - 8) / 16
    height = LOIHI1.cores_per_chip / columns * side + 24
    drawings, said = [], []
    for chip in sorted({core["chip"] for core in cores}):
        here = [core for core in cores if core["chip"] == chip]
        parts = [f'<text class="name" x="4" y="14">chip {chip}: {len(here)} of {LOIHI1.cores_per_chip} cores</text>']
        for i in range(LOIHI1.cores_per_chip):
            x, y = 4 + i % columns * side, 22 + i // columns * side
            if i >= len(here):
                parts.append(
                    f'<rect class="empty" x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}"/>'
                )
                continue
            core = here[i]
            fullest = max(RESOURCES, key=lambda r: core[r] / limits[r])
            share = min(1.0, core[fullest] / limits[fullest])
            index = names.index(core["layer"])
            told = f"core {core['core']}, {core['layer']}: {text.percent(share)} of {RESOURCES[fullest]}"
            edge, full = side - 1, share * (side - 1)
            parts.append(
                f'<g class="k{index % 12}"><title>{escape(told)}</title>'
                f'<rect class="cell" opacity="0.45" x="{x:.1f}" y="{y:.1f}" width="{edge:.1f}" height="{edge:.1f}"/>'
                f'<rect class="cell" x="{x:.1f}" y="{y + edge - full:.1f}" width="{edge:.1f}" height="{full:.1f}"/></g>'
                f'<text class="on" x="{x + side / 2 - 0.5:.1f}" y="{y + side / 2 + 3:.1f}">{index + 1}</text>'
            )
        counts = {name: sum(core["layer"] == name for core in here) for name in names}
        alt = (
            f"Chip {chip} holds {len(here)} cores: " + ", ".join(f"{name} {n}" for name, n in counts.items() if n) + "."
        )
        drawings.append(svg(WIDTH, height, parts, alt))
        said.append(alt)
    legend = tuple((f"k{i % 12}", f"{i + 1} {name}") for i, name in enumerate(names))
    caption = (
        "One cell a core, in order of allocation; the number is the layer's, the filled part its fullest resource."
    )
    return Figure(caption, " ".join(said), tuple(drawings), legend=legend)
