"""What a built `nengo_loihi.Simulator` joins: the chip, and Nengo's simulators on the host."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, Callable, List

import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.errors import InputError
from cotrain.hardware.placement.cores import LoweredNetwork
from cotrain.hardware.simulator.recording import forget_sent, recording_simulator


class _Finished:
    """In the place of a model's builder: there is nothing left to build."""

    def __init__(self) -> None:
        self.simulator: Callable[[], Any] = lambda: None

    def build(self, *_: Any, **__: Any) -> None:
        return None


def built_simulator(lowered: LoweredNetwork, seed: int, target: str) -> Any:
    """A `nengo_loihi.Simulator` of a network that has been lowered.

    Raises
    ------
    InputError
        Another simulator of it is open: both would keep spikes on their way in the same model.
    MisfitError
        As `LoweredNetwork.integers`.
    """
    model = lowered.integers()
    if isinstance(model.builder, _Finished):
        other = model.builder.simulator()
        if other is not None and not other.closed:
            raise InputError(
                "this lowered network serves another simulator: close that first, or give the nengo.Network itself"
            )
        for spike_input in model.inputs:
            forget_sent(spike_input)
    model.builder = _Finished()
    # its emulator starts by filling integer arrays with NaN
    with door.translated(model), np.errstate(invalid="ignore"):
        simulator = recording_simulator()(
            lowered.net, dt=lowered.dt_s, model=model, seed=seed, target="loihi" if target == "loihi" else "sim"
        )
    model.builder.simulator = weakref.ref(simulator)
    return simulator


@dataclass(frozen=True)
class HostLinks:
    """How a built nengo_loihi.Simulator joins the chip to Nengo's simulators on the host.

    Attributes
    ----------
    host_pre, host : nengo.Simulator or None
        What feeds the chip, and what the chip feeds; all in `host` when the host waits for the chip in every step.
    senders : dict of {int: int}
        Id of the process of a node on the host that sends spikes (processes of one kind compare equal) → index of the
        input.
    receivers : list of (int, nengo.Node)
        Index of the probe → node on the host that gets its values.
    probes : dict of {nengo.Probe: (int, callable or None)}
        The user's probes on the chip → index of the probe, and what filters its (n_steps, size) data, if anything.
    scheduled : bool
        Whether the host part runs for all steps before and after the chip ("precompute").
    """

    host_pre: Any
    host: Any
    senders: dict
    receivers: list
    probes: dict
    scheduled: bool


def host_links(sim: Any) -> HostLinks:
    """Read a `nengo_loihi.Simulator`."""
    model = sim.model
    inputs = list(model.inputs)
    loihi_probes = {p: i for i, p in enumerate(model.probes)}
    probe_filter = door.ProbeFilter

    def filtered(loihi_probe):
        return None if loihi_probe.synapse is None else lambda data: probe_filter(dt=model.dt)(loihi_probe, data)

    chip_probes = [p for p in model.nengo_probes if p not in model.chip2host_params]
    targets = {p: model.objs[p]["out"] for p in chip_probes}
    return HostLinks(
        host_pre=sim.sims.get("host_pre"),
        host=sim.sims.get("host"),
        senders={
            id(send.output): inputs.index(model.spike_targets[receive])
            for send, receive in model.host2chip_senders.items()
        },
        receivers=[(loihi_probes[model.objs[probe]["out"]], node) for probe, node in model.chip2host_receivers.items()],
        probes={p: (loihi_probes[t], filtered(t)) for p, t in targets.items()},
        scheduled=bool(sim.precompute),
    )


def reference_interface(sim: Any, seed: int) -> Any:
    """A new emulator of nengo-loihi's own for a built simulator."""
    return door.EmulatorInterface(sim.model, seed=seed)


def learned_weights(model: Any) -> List[np.ndarray]:
    """The arrays that on-chip learning changes."""
    return [w for block in model.blocks for s in block.synapses if s.learning for w in s.weights]
