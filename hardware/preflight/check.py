"""`hardware.check`: every violation and finding of a network at once, and how full its cores are."""

from __future__ import annotations

from typing import Optional, Union

import nengo
import numpy as np
from cotrain.hardware.builder import arguments
from cotrain.hardware.chip.limits import NAHUKU32, Board, find_board
from cotrain.hardware.errors import InputError, MisfitError, UnsupportedError
from cotrain.hardware.placement.cores import DT_S, LoweredNetwork, Network, as_lowered, place
from cotrain.hardware.placement.partition import lower_bound
from cotrain.hardware.preflight.findings import FINDINGS
from cotrain.hardware.preflight.report import RESOURCES, CoreUse, LayerUse, Report, Utilisation, Violation
from cotrain.hardware.preflight.rules import RULES, Case


def check(
    net: Network,
    board: Union[Board, str] = NAHUKU32,
    *,
    stats: Optional[object] = None,
    n_steps: Optional[int] = None,
    input_spikes_max: Optional[int] = None,
    snip_max_spikes_per_step: Optional[int] = None,
    precompute: Optional[bool] = None,
    dt_s: float = DT_S,
    remove_passthrough: bool = True,
) -> Report:
    """Check ``net`` as it stands against every limit of the chip and the board.

    Nothing is placed or changed: call `hardware.partition` before. A misfit is a violation in the report, never an
    exception.

    Parameters
    ----------
    net : nengo.Network or LoweredNetwork
    board : Board or str
    stats : object, optional
        ``sim.stats`` of an emulated run: overflows and saturated neurons become findings.
    n_steps : int, optional
        Steps of each sample of that run; without it, saturated neurons cannot be told.
    input_spikes_max : int, optional
        The most spikes that entered the chip in one step of an emulated run; default ``stats.input_spikes_max``.
    snip_max_spikes_per_step : int, optional
        What will be passed to the board; default 50, as nengo_loihi's.
    precompute : bool, optional
        As in nengo_loihi.Simulator: spikes sent in advance (True), step by step through SNIPs (False), or as the
        network allows (None).
    dt_s : float
        Simulation step, in seconds.
    remove_passthrough : bool
        As in `nengo_loihi.Simulator`; of a lowered network, what it was lowered with.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        ``net`` is not a nengo.Network, or the board is not known.
    """
    board = find_board(board)
    if not isinstance(net, (nengo.Network, LoweredNetwork)):
        raise InputError(f"expected a nengo.Network, got {type(net).__name__}")
    given = as_lowered(net, dt_s) if isinstance(net, LoweredNetwork) else None
    dt_s = dt_s if given else arguments.step_length(dt_s)
    try:
        found = given or as_lowered(net, dt_s, remove_passthrough)
        if precompute and not found.precomputable:
            raise UnsupportedError("what enters the chip depends on what leaves it: use precompute=False")
        placed = place(found, board.chip, dt_s)
    except (UnsupportedError, InputError, MisfitError) as error:
        return Report(board.name, 0, 0, 0, Utilisation(), violations=_not_built(error))
    if input_spikes_max is None:
        input_spikes_max = getattr(stats, "input_spikes_max", None)
    limit = board.chip.default_snip_spikes_per_step if snip_max_spikes_per_step is None else snip_max_spikes_per_step
    case = Case(placed, board, stats, n_steps, input_spikes_max, limit, precompute)
    options = {"n_chips": placed.n_chips}
    if input_spikes_max is not None:
        options["snip_max_spikes_per_step"] = max(case.snip_spikes_needed, limit)
    return Report(
        board=board.name,
        cores=len(placed.cores),
        chips=placed.n_chips,
        lower_bound_cores=sum(lower_bound(layer, board.chip) for layer in placed.graph.layers),
        utilisation=_utilisation(case),
        violations=tuple(v for rule in RULES for v in rule(case)),
        findings=tuple(f for finding in FINDINGS for f in finding(case)),
        hardware_options=options,
    )


def _not_built(error):
    """Why there is nothing to place: all refusals, or what nengo_loihi says."""
    refused = getattr(error, "refusals", ())
    if not refused:
        return (Violation("buildable", "", None, "parts that nengo_loihi cannot build", 1, 0, str(error)),)
    return tuple(
        Violation(r.rule, r.part, None, "parts that are refused", 1, 0, f"{r.reason}; {r.change}") for r in refused
    )


def _utilisation(case):
    cores, layers = [], []
    limits = dict(
        zip(
            RESOURCES,
            (
                case.chip.compartments,
                case.chip.input_axons,
                case.chip.output_axons,
                case.chip.synapse_bits,
            ),
        )
    )
    for layer in case.placed.graph.layers:
        used = []
        for core in case.placed.of(layer):
            counts = [n for n, _ in core.block.utilization().values()]
            cores.append(CoreUse(core.index, core.chip, layer.name, *(int(n) for n in counts)))
            used.append(counts)
        fractions = np.array(used) / list(limits.values())
        shape, whole = case.placed.cut_of[layer.name]
        layers.append(
            LayerUse(
                name=layer.name,
                neurons=layer.n,
                cores=len(used),
                lower_bound_cores=lower_bound(layer, case.chip),
                block_shape=shape,
                ensemble_shape=whole,
                mean={r: float(x) for r, x in zip(RESOURCES, fractions.mean(axis=0))},
                most={r: float(x) for r, x in zip(RESOURCES, fractions.max(axis=0))},
            )
        )
    return Utilisation(tuple(layers), tuple(cores))
