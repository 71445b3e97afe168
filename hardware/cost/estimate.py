"""`hardware.estimate`: energy and time of one inference from counts, with ranges, and what is not known."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from cotrain.hardware.chip.events import CORE, MESH, listed
from cotrain.hardware.cost import energy, time
from cotrain.hardware.cost.constants import DENSE, LEAKAGE, PACE, X86_CORES
from cotrain.hardware.cost.counts import Counts, read
from cotrain.hardware.cost.occupancy import Occupancy, occupy
from cotrain.hardware.cost.ranges import Range, exactly, total

WIDE = 3.0  # a total that spans more than this factor names the terms that make it so

ASSUMPTIONS = (
    "Layers are a chain; every neuron is updated at every step; a layer's work is spread evenly over its cores.",
    "total is core dynamic, x86 and leakage; leakage is that of the cores and x86 in use; other powered cores and the "
    "board stand in board_idle, which is a property of the board and not of the network.",
    "x86 is computed as NxSDK does: 18 mW a chip with an x86 in use, and 6 mW x active ratio each.",
    "A spike becomes one message for each core of a dense layer, and one into any other, unless messages are given.",
)


class Estimate(dict):
    """What `estimate` returns: plain JSON values, with the keys as attributes too.

    Attributes
    ----------
    energy_j : dict
        core_dynamic, x86, leakage, total, board_idle: each {"value", "low", "high"} in joules of one inference.
    time_s : dict
        steps, input, fixed, total: each {"value", "low", "high"} in seconds of one inference.
    limiter : str
        What sets the time.
    layers : list of dict
        Dynamic energy of each layer by part.
    assumptions, unknown : list of str
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"an Estimate has no {name!r}; it has {', '.join(self)}") from None

    def as_dict(self) -> Dict[str, Any]:
        """Plain JSON values."""
        return dict(self)


def estimate(counts: Mapping[str, Any], where: str = "counts") -> Estimate:
    """Energy and time of one inference of a network on Loihi 1.

    Parameters
    ----------
    counts : mapping
        What is known, as `cotrain estimate` reads it from JSON (`hardware.cost.counts.Counts`); any key but ``n_steps``
        and ``layers[].neurons`` may be missing or None.
    where : str
        What messages start with.

    Returns
    -------
    Estimate
        ``low`` and ``high`` are always numbers. ``value`` is None where activity or the way of the input is not
        known: bounds, never a point.

    Raises
    ------
    InputError
        A key that does not exist, a number that cannot be, counts that contradict each other.
    """
    return from_counts(read(counts, where))


def from_counts(counts: Counts) -> Estimate:
    """`estimate` of counts that were read already."""
    occupancy = occupy(counts)
    layers = energy.core_energy(counts, occupancy)
    found = time.times(counts, occupancy)
    seconds = found.total if counts.seconds_per_inference is None else exactly(counts.seconds_per_inference)
    core = total(layer.total for layer in layers)
    x86 = energy.x86_power(counts, occupancy.chips) * seconds
    leakage = energy.static_power(counts, occupancy) * seconds
    whole = total((core, x86, leakage))
    joules = {
        "core_dynamic": core, "x86": x86, "leakage": leakage, "total": whole,
        "board_idle": energy.board_power(occupancy) * seconds,
    }  # fmt: skip
    spans = {"steps": found.steps, "input": found.input, "fixed": found.fixed, "total": seconds}
    return Estimate(
        name=counts.name,
        energy_j={key: part.to_dict() for key, part in joules.items()},
        time_s={key: part.to_dict() for key, part in spans.items()},
        limiter=found.limiter,
        layers=[layer.to_dict() for layer in layers],
        assumptions=_assumptions(counts, occupancy),
        unknown=[
            *_unknown(counts, occupancy),
            *_wide(counts, found, whole, seconds, dict(core_dynamic=core, x86=x86, leakage=leakage)),
        ],
    )


def _assumptions(counts: Counts, occupancy: Occupancy) -> List[str]:
    said = list(ASSUMPTIONS)
    if counts.input == "once":
        said.append("The fixed time of a sample was fitted on the rows quartz-mnist-t008 to -t128 (784 inputs).")
    if counts.input == "streamed":
        said.append("The host's time of a step is that of the rows abr-*: at most 390 input spikes a step.")
    if counts.seconds_per_inference is not None:
        said.append("The time was given: time_s.total repeats it, its parts are estimates and need not sum to it.")
    return said


def _unknown(counts: Counts, occupancy: Occupancy) -> List[str]:
    """What was not given, and what was done about it."""
    said = []
    for layer, at in zip(counts.layers, occupancy.layers):
        for key, bounds in (("spikes_per_inference", at.spikes), ("synops_per_inference", at.synops)):
            if getattr(layer, key) is None:
                said.append(f"{layer.name}: {key} not given; between {bounds.low:.4g} and {bounds.high:.4g}")
        if layer.synapse is None:
            said.append(f"{layer.name}: synapse not given; any kind, the value that of a sparse one")
        if layer.cores is None and at.cores.low != at.cores.high:
            said.append(f"{layer.name}: cores not given; {at.cores.low:.4g} to {at.cores.high:.4g}")
    if counts.cores is None and occupancy.cores.low != occupancy.cores.high:
        said.append(f"cores: not given; {occupancy.cores.low:.4g} to {occupancy.cores.high:.4g}, the value the fewest")
    if counts.chips is None and occupancy.chips.low != occupancy.chips.high:
        said.append(f"chips: not given; {occupancy.chips.low:.0f} to {occupancy.chips.high:.0f}, the value the fewest")
    if counts.x86_in_use is None:
        said.append(
            "x86_in_use: not given; from none (x86.low is 0: copies of a network on one chip share its x86) to three "
            f"awake at {X86_CORES.awake_w.high * 1e3:.0f} mW a chip, the value one a chip"
        )
    if counts.x86_active_ratio is None:
        said.append("x86_active_ratio: not given; between 0 and 1, the value at 0.5")
    if counts.input is None:
        said.append("input: not given; between on-chip and streamed at each step")
    if counts.input_spikes_per_inference is None and counts.input != "on-chip":
        said.append(
            "input_spikes_per_inference: not given; the work of the first layer is bounded without it, and the host is "
            f"taken to send at most {PACE.host_step_spikes:.0f} a step"
        )
    return said


def _wide(counts: Counts, found: time.Times, whole: Range, seconds: Range, energies: Dict[str, Range]) -> List[str]:
    """The terms that make a total wide, where it is."""
    if counts.seconds_per_inference is not None or max(whole.high / whole.low, seconds.high / seconds.low) <= WIDE:
        return []
    n, spread = counts.n_steps, seconds.high - seconds.low
    terms = (
        ((found.between.high - found.between.low) * n, "time between two steps: from SANA-FE's barrier to the rule of "
         "thumb of nengo-loihi's authors (8 us on a chip); no row tells them apart"),
        (found.input.high - found.input.low, "time of the host's input: the rows leave "
         f"{found.input.low * 1e3:.3g} to {found.input.high * 1e3:.3g} ms for an inference"),
    )  # fmt: skip
    said = [line for wide, line in terms if wide > spread / 3]
    if not said:
        name, part = max(energies.items(), key=lambda item: item[1].high - item[1].low)
        said.append(f"{name}: its constants leave {part.low * 1e6:.3g} to {part.high * 1e6:.3g} uJ for an inference")
    return said


def constants() -> List[Dict[str, Any]]:
    """Every constant that has a range: name, value, low, high, unit, source, fitted."""
    groups = (CORE, MESH, X86_CORES, LEAKAGE, PACE, DENSE)
    return [row for group in groups for row in listed(group)]
