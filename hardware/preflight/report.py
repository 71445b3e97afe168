"""What `hardware.check` found out about a network, as values, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Optional

from cotrain.hardware.terminal import plural

RESOURCES = ("compartments", "input_axons", "output_axons", "synapse_bits")


@dataclass(frozen=True)
class Violation:
    """Something that the chip or the board would refuse.

    Attributes
    ----------
    rule : str
        Name of the rule (a function of `hardware.preflight.rules`).
    layer : str
        Label of the ensemble, or "" where the whole network is meant.
    core : int or None
        Core in the order of placement, or None where no single core is meant.
    resource, used, allowed
        What is exceeded, by how much; numbers.
    change : str
        The change that would help.
    """

    rule: str
    layer: str
    core: Optional[int]
    resource: str
    used: float
    allowed: float
    change: str

    def __str__(self) -> str:
        where = f"layer {self.layer!r}" if self.layer else "network"
        where += f", core {self.core}" if self.core is not None else ""
        return f"{where}: {self.resource} {self.used:,} of {self.allowed:,} [{self.rule}]: {self.change}"


@dataclass(frozen=True)
class Finding:
    """Something that runs, but that the user will want to know."""

    rule: str
    layer: str
    value: float
    message: str

    def __str__(self) -> str:
        where = f"layer {self.layer!r}: " if self.layer else ""
        return f"{where}{self.message} [{self.rule}]"


@dataclass(frozen=True)
class CoreUse:
    """What one core holds."""

    core: int
    chip: int
    layer: str
    compartments: int
    input_axons: int
    output_axons: int
    synapse_bits: int


@dataclass(frozen=True)
class LayerUse:
    """What the cores of one layer hold together; ``mean`` and ``most`` are fractions of a core's resources."""

    name: str
    neurons: int
    cores: int
    lower_bound_cores: int
    block_shape: tuple
    ensemble_shape: tuple
    mean: dict
    most: dict


@dataclass(frozen=True)
class Utilisation:
    """Use of the resources of each layer and of each core."""

    layers: tuple = ()
    cores: tuple = ()


@dataclass(frozen=True)
class Report:
    """Preflight of a network for a board.

    Attributes
    ----------
    board : str
    cores, chips : int
        Neuro cores and chips in use (nengo_loihi puts one block on a core).
    lower_bound_cores : int
        No way of cutting these layers can need fewer cores.
    utilisation : Utilisation
    violations : tuple of Violation
        All that the chip or the board would refuse; empty where the network fits.
    findings : tuple of Finding
    hardware_options : dict
        What to pass to ``nengo_loihi.Simulator(hardware_options=...)`` on the board.
    """

    board: str
    cores: int
    chips: int
    lower_bound_cores: int
    utilisation: Utilisation
    violations: tuple = ()
    findings: tuple = ()
    hardware_options: dict = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether nothing is violated."""
        return not self.violations

    def to_json(self) -> dict:
        """The report as what `json.dumps` takes: dicts, lists, strings and numbers."""
        return json.loads(json.dumps(asdict(self)))

    def table(self) -> str:
        """The report as text: a line a layer, then every violation and finding."""
        widths = (18, 8, 10, 5, 5, 5, 5, 5, 5)
        rows: list = [("layer", "neurons", "blocks of", "cores", "bound", "comp.", "in", "out", "syn.")]
        for at in self.utilisation.layers:
            binds = max(RESOURCES, key=lambda r: at.most[r])
            used = [f"{at.most[r]:.0%}{'*' if r == binds else ''}" for r in RESOURCES]
            shape = "x".join(str(n) for n in at.block_shape)
            rows.append((at.name[:18], f"{at.neurons:,}", shape, at.cores, at.lower_bound_cores, *used))
        lines = [
            " ".join(f"{c:<{w}}" if i == 0 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(r, widths))) for r in rows
        ]
        lines.append(
            f"{plural(self.cores, 'core')} on {plural(self.chips, 'chip')} of {self.board}; "
            f"lower bound {plural(self.lower_bound_cores, 'core')}"
        )
        lines.append("use of a layer's fullest core: compartments, axons in and out, synapses; * binds")
        lines.append(f"violations: {len(self.violations) or 'none'}")
        lines += [f"  {line}" for line in self._by_layer()]
        lines.append(f"findings: {len(self.findings) or 'none'}")
        lines += [f"  {finding}" for finding in self.findings]
        return "\n".join(lines)

    def _by_layer(self):
        """The worst violation of each rule and layer, and how many cores share it."""
        groups = {}
        for violation in self.violations:
            groups.setdefault((violation.rule, violation.layer, violation.change), []).append(violation)
        for same in groups.values():
            worst = max(same, key=lambda v: v.used)
            more = f" (and {len(same) - 1} more cores)" if len(same) > 1 else ""
            yield f"{worst}{more}"
