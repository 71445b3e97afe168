"""Joules and seconds per inference, estimated from spikes, synaptic operations and neuron updates.

Two published models, each a frozen dataclass whose fields carry their source: the constants of
keras-spiking's `ModelEnergy` (a synaptic operation, a neuron update) and the events of SANA-FE's
description of Loihi (soma, synapse, message, hop; also latencies). Both are estimates of dynamic
energy: neither counts static power, the x86 host, or the management cores, which can dominate on a
real board. Only a measurement there says what an inference costs.

Dimensional analysis: [J / event] * [events / inference] = [J / inference].
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Dict, List, Optional, Sequence, Tuple

from cotrain.hardware.errors import InputError

_DAVIES = "Davies et al., Loihi: a neuromorphic manycore processor, IEEE Micro 38(1), 2018"
_DEGNAN = "Degnan, Marr, Hasler, Performance per watt, IEEE Trans. VLSI Systems 24(1), 2016"
_SANA_FE = "SANA-FE arch/loihi.yaml, commit c55bfa8"


def _constant(value: float, source: str) -> Any:
    """A field that knows where its number comes from."""
    return field(default=value, metadata={"source": source})


@dataclass(frozen=True)
class KerasSpikingModel:
    """Energy per operation as in keras-spiking 0.3.0, `ModelEnergy.devices`."""

    synop_j: float = _constant(27.1e-12, f"keras-spiking 'loihi': 23.6 + 3.5 pJ; {_DAVIES}")
    neuron_update_j: float = _constant(81e-12, f"keras-spiking 'loihi': active neuron update; {_DAVIES}")


@dataclass(frozen=True)
class SanaFeModel:
    """Energy and latency per event as in SANA-FE's Loihi, from SPICE (Davies et al. 2018)."""

    soma_access_j: float = _constant(51.2e-12, f"{_SANA_FE}: loihi_lif energy_access_neuron")
    soma_update_j: float = _constant(21.6e-12, f"{_SANA_FE}: loihi_lif energy_update_neuron")
    spike_out_j: float = _constant(69.3e-12, f"{_SANA_FE}: loihi_lif energy_spike_out")
    synapse_convolution_j: float = _constant(24.0e-12, f"{_SANA_FE}: loihi_conv_synapse energy_spike")
    synapse_dense_j: float = _constant(35.5e-12, f"{_SANA_FE}: loihi_dense_synapse energy_spike")
    axon_out_j: float = _constant(111.0e-12, f"{_SANA_FE}: loihi_out energy")
    hop_x_j: float = _constant(3.0e-12, f"{_SANA_FE}: energy_east, energy_west")
    hop_y_j: float = _constant(4.2e-12, f"{_SANA_FE}: energy_north, energy_south")
    soma_access_s: float = _constant(6.0e-9, f"{_SANA_FE}: loihi_lif latency_access_neuron")
    soma_update_s: float = _constant(3.7e-9, f"{_SANA_FE}: loihi_lif latency_update_neuron")
    spike_out_s: float = _constant(30.0e-9, f"{_SANA_FE}: loihi_lif latency_spike_out")
    synapse_convolution_s: float = _constant(3.1e-9, f"{_SANA_FE}: loihi_conv_synapse latency_spike")
    synapse_dense_s: float = _constant(4.0e-9, f"{_SANA_FE}: loihi_dense_synapse latency_spike")
    axon_in_s: float = _constant(20.0e-9, f"{_SANA_FE}: loihi_in latency_message")
    axon_out_s: float = _constant(5.1e-9, f"{_SANA_FE}: loihi_out latency")
    barrier_s: float = _constant(299.0e-9, "SANA-FE arch/loihi.yaml, commit 18e55a5: latency_global_barrier")
    mesh_width: int = _constant(8, f"{_SANA_FE}: tiles in x")
    mesh_height: int = _constant(4, f"{_SANA_FE}: tiles in y")
    cores_per_tile: int = _constant(4, f"{_SANA_FE}: loihi_core[0..3]")


@dataclass(frozen=True)
class BoardThroughput:
    """Steps per second that boards reach however little their cores have to do."""

    one_chip_steps_per_s: float = _constant(125_000.0, "assumed; reported by users of Intel's research cloud")
    many_chips_steps_per_s: float = _constant(65_000.0, "assumed; reported by users of Intel's research cloud")


@dataclass(frozen=True)
class DenseDevices:
    """Energy of a multiply-accumulate; a neuron update counts as one."""

    cpu_mac_j: float = _constant(8.6e-9, f"keras-spiking 'cpu', Intel i7-4960X; {_DEGNAN}")
    gpu_mac_j: float = _constant(0.3e-9, f"keras-spiking 'gpu', Nvidia GTX Titan Black, large batches; {_DEGNAN}")


KERAS_SPIKING = KerasSpikingModel()
SANA_FE = SanaFeModel()
BOARD = BoardThroughput()
DENSE = DenseDevices()

ASSUMPTIONS = (
    "Dynamic energy of the neuron cores only: no static power, management cores or host.",
    "Every neuron is updated at every step (biases keep them active).",
    "A layer's work is spread evenly over its cores; a step lasts as long as the slowest layer.",
    "A message goes between two tiles drawn at random among those in use, filled by column.",
)


@dataclass(frozen=True)
class LayerActivity:
    """What one layer does in one inference; means over samples, so fractions are allowed.

    Attributes
    ----------
    name : str
    neurons : int
    spikes : float
        Spikes that the layer emits.
    synops : float
        Synaptic operations that arrive at it (a weight added to an accumulator).
    kind : {"convolution", "dense"}
        What its synapses are.
    on_chip : bool
        A layer on the host (pixels to spikes) costs the chip nothing but its messages' arrival.
    cores : int
        Cores that the layer occupies.
    messages : float, optional
        Messages that its spikes become, one for each core a spike goes to. Default: one a spike.
    """

    name: str
    neurons: int
    spikes: float
    synops: float
    kind: str = "convolution"
    on_chip: bool = True
    cores: int = 1
    messages: Optional[float] = None

    def __post_init__(self):
        if self.kind not in ("convolution", "dense"):
            raise InputError(f"layer {self.name!r}: kind is {self.kind!r}; expected convolution or dense")
        if self.cores < 1:
            raise InputError(f"layer {self.name!r}: cores is {self.cores}; expected at least 1")
        for key in ("neurons", "spikes", "synops", "messages"):
            value = getattr(self, key)
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise InputError(f"layer {self.name!r}: {key} is {value}; expected a finite number, 0 or more")

    @property
    def messages_out(self) -> float:
        return self.spikes if self.messages is None else self.messages


@dataclass(frozen=True)
class LayerEnergy:
    """Joules of one layer in one inference."""

    name: str
    synapses_j: float
    neurons_j: float
    messages_j: float

    @property
    def total_j(self) -> float:
        return self.synapses_j + self.neurons_j + self.messages_j


@dataclass(frozen=True)
class Estimate:
    """An estimate of one inference: joules per layer, and seconds where the model has latencies."""

    model: str
    layers: Tuple[LayerEnergy, ...]
    latency_s: Optional[float] = None
    step_s: Optional[float] = None
    slowest_layer: Optional[str] = None
    limited_by: Optional[str] = None

    def sum_j(self, part: str) -> float:
        """Sum over layers of ``synapses_j``, ``neurons_j``, ``messages_j`` or ``total_j``."""
        return math.fsum(getattr(layer, part) for layer in self.layers)

    @property
    def total_j(self) -> float:
        return self.sum_j("total_j")

    def as_dict(self) -> Dict[str, Any]:
        """Plain JSON values; "estimate": true stands with the numbers wherever they go."""
        parts = ("synapses_j", "neurons_j", "messages_j", "total_j")
        return {
            "estimate": True,
            "model": self.model,
            **{part: self.sum_j(part) for part in parts},
            "latency_s": self.latency_s,
            "step_s": self.step_s,
            "slowest_layer": self.slowest_layer,
            "limited_by": self.limited_by,
            "layers": [dict(asdict(layer), total_j=layer.total_j) for layer in self.layers],
        }


def keras_spiking(layers: Sequence[LayerActivity], n_steps: int, model: KerasSpikingModel = KERAS_SPIKING) -> Estimate:
    """Energy of one inference with the two constants of keras-spiking.

    E = synop_j * synops + neuron_update_j * neurons * n_steps, for the layers on the chip
    (keras-spiking, `ModelEnergy.layer_energy`; it has no term for messages and no latency).

    Raises
    ------
    InputError
        ``n_steps`` below 1.
    """
    _check_steps(n_steps)
    found = [
        LayerEnergy(a.name, model.synop_j * a.synops, model.neuron_update_j * a.neurons * n_steps, 0.0)
        for a in layers
        if a.on_chip
    ]
    return Estimate("keras-spiking", tuple(found))


def sana_fe(
    layers: Sequence[LayerActivity],
    n_steps: int,
    chips: int = 1,
    model: SanaFeModel = SANA_FE,
    board: BoardThroughput = BOARD,
) -> Estimate:
    """Energy and latency of one inference with the events of SANA-FE's Loihi.

    Per layer on the chip, with N neurons, S spikes, O synaptic operations and M messages out:

        synapses = synapse_j(kind) * O
        neurons  = (soma_access_j + soma_update_j) * N * n_steps + spike_out_j * S
        messages = (axon_out_j + hops_x * hop_x_j + hops_y * hop_y_j) * M

    A step takes max over layers of

        (N (access + update) + (M_in axon_in + O synapse + S spike_out + M axon_out) / n_steps)
        / cores

    plus the barrier, and never less than the board's own rate allows.

    Parameters
    ----------
    layers : sequence of LayerActivity
        In order of depth: the messages out of one arrive at the next.
    n_steps : int
        Steps of one presentation.
    chips : int
        Chips in use; choose between the two throughputs of `board`.

    Raises
    ------
    InputError
        ``n_steps`` or ``chips`` below 1.
    """
    _check_steps(n_steps)
    if chips < 1:
        raise InputError(f"chips is {chips}; expected at least 1")
    hops_x, hops_y = mean_hops(sum(a.cores for a in layers if a.on_chip), model)
    message_j = model.axon_out_j + hops_x * model.hop_x_j + hops_y * model.hop_y_j
    found: List[LayerEnergy] = []
    slowest, slowest_s, arriving = None, 0.0, 0.0
    for a in layers:
        if a.on_chip:
            dense = a.kind == "dense"
            found.append(
                LayerEnergy(
                    a.name,
                    (model.synapse_dense_j if dense else model.synapse_convolution_j) * a.synops,
                    (model.soma_access_j + model.soma_update_j) * a.neurons * n_steps + model.spike_out_j * a.spikes,
                    message_j * a.messages_out,
                )
            )
            events_s = (
                arriving * model.axon_in_s
                + a.synops * (model.synapse_dense_s if dense else model.synapse_convolution_s)
                + a.spikes * model.spike_out_s
                + a.messages_out * model.axon_out_s
            ) / n_steps
            busy_s = (a.neurons * (model.soma_access_s + model.soma_update_s) + events_s) / a.cores
            if busy_s > slowest_s:
                slowest, slowest_s = a.name, busy_s
        arriving = a.messages_out
    floor_s = 1.0 / (board.one_chip_steps_per_s if chips == 1 else board.many_chips_steps_per_s)
    cores_s = slowest_s + model.barrier_s
    step_s = max(cores_s, floor_s)
    limited_by = "cores" if cores_s > floor_s else "board"
    return Estimate("SANA-FE", tuple(found), n_steps * step_s, step_s, slowest, limited_by)


def mean_hops(cores: int, model: SanaFeModel = SANA_FE) -> Tuple[float, float]:
    """Mean hops in x and y between two tiles drawn independently from those that `cores` fill.

    For two uniform draws from 0..n-1, E|i - j| = (n^2 - 1) / (3 n).
    """
    tiles = min(max(1, math.ceil(cores / model.cores_per_tile)), model.mesh_width * model.mesh_height)
    height = min(tiles, model.mesh_height)
    width = math.ceil(tiles / model.mesh_height)
    return (width**2 - 1) / (3 * width), (height**2 - 1) / (3 * height)


def dense_energy_j(macs: float, neurons: int, n_steps: int = 1, devices: DenseDevices = DENSE) -> Dict[str, float]:
    """Joules of one pass that computes every multiply-accumulate, on "cpu" and "gpu".

    E = mac_j * (macs + neurons * n_steps): keras-spiking counts the update of a neuron as one MAC.
    `n_steps` is for a host layer that integrates a constant input over a presentation.
    """
    work = macs + neurons * n_steps
    return {"cpu": devices.cpu_mac_j * work, "gpu": devices.gpu_mac_j * work}


def sources() -> List[Dict[str, Any]]:
    """Every constant of this module with its value, in SI units, and its source."""
    return [
        {
            "model": type(model).__name__,
            "name": f.name,
            "value": getattr(model, f.name),
            "source": f.metadata["source"],
        }
        for model in (KERAS_SPIKING, SANA_FE, BOARD, DENSE)
        for f in fields(model)
    ]


def _check_steps(n_steps: int) -> None:
    if n_steps < 1:
        raise InputError(f"n_steps is {n_steps}; expected at least 1")
