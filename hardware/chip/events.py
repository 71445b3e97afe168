"""What one event costs a Loihi 1 core or its mesh: joules and seconds, each with a range and its source.

A `Constant` is a value between a low and a high end. The ends are what the sources disagree about; where there is one
source only, they are the error that its authors publish.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Dict, List, Tuple


@dataclass(frozen=True)
class Constant:
    """A number with its range.

    Attributes
    ----------
    value, low, high : float
        In SI units.
    unit : str
    source : str
    fitted : str
        The measured rows that the number was fitted to; empty where it was taken as published or assumed.
    """

    value: float
    low: float
    high: float
    unit: str
    source: str
    fitted: str = ""

    def __post_init__(self):
        assert 0 <= self.low <= self.value <= self.high, self


def listed(group: Any) -> List[Dict[str, Any]]:
    """Every constant of a frozen dataclass as a row: name, value, low, high, unit, source, fitted."""
    numbers = {f.name: getattr(group, f.name) for f in fields(group)}
    return [{"name": name, **asdict(number)} for name, number in numbers.items() if isinstance(number, Constant)]


_DAVIES = "Davies et al., Loihi: a neuromorphic manycore processor, IEEE Micro 38(1), 2018"
_SANA_FE = "SANA-FE arch/loihi.yaml, commit 8951ab0 (2026-05-28)"
# Boyle et al., doi 10.1109/TCAD.2025.3537971, abstract: 12 % error of energy and 25 % of latency against a chip.
# Energies of one source get twice that error, because ours are other networks; latencies the error itself.
_ENERGY, _LATENCY = 1.25, 1.25


def _joules(value: float, name: str) -> Constant:
    return Constant(
        value, value / _ENERGY, value * _ENERGY, "J", f"{_SANA_FE}: {name}; range assumed, a factor of 1.25"
    )


def _seconds(value: float, name: str) -> Constant:
    return Constant(value, value / _LATENCY, value * _LATENCY, "s", f"{_SANA_FE}: {name}; range: 25 % by its authors")


@dataclass(frozen=True)
class CoreEvents:
    """Energy and latency of what a core does."""

    # 51.2 pJ access + 21.6 pJ update. Low: an inactive update after Davies. High: what the five Quartz rows leave for
    # an update when synapses, spikes and messages take their least.
    update_j: Constant = Constant(
        72.8e-12, 52e-12, 100e-12, "J",
        f"{_SANA_FE}: loihi_lif energy_access_neuron + energy_update_neuron; low: inactive update, {_DAVIES}",
        "high end: quartz-mnist-t008 to -t128",
    )  # fmt: skip
    spike_j: Constant = _joules(69.3e-12, "loihi_lif energy_spike_out")
    # Low ends: 23.6 pJ, quoted from Davies. Of a convolution the high end is a dense one.
    convolution_j: Constant = Constant(
        24.0e-12, 23.6e-12, 35.5e-12, "J", f"{_SANA_FE}: loihi_conv_synapse energy_spike; low: {_DAVIES}; high: dense"
    )
    sparse_j: Constant = Constant(
        33.6e-12, 23.6e-12, 42.0e-12, "J", f"{_SANA_FE}: loihi_sparse_synapse energy_spike; low: {_DAVIES}; high: 1.25"
    )
    dense_j: Constant = Constant(
        35.5e-12, 23.6e-12, 44.4e-12, "J", f"{_SANA_FE}: loihi_dense_synapse energy_spike; low: {_DAVIES}; high: 1.25"
    )
    update_s: Constant = _seconds(9.7e-9, "loihi_lif latency_access_neuron 6.0 + latency_update_neuron 3.7 ns")
    spike_s: Constant = _seconds(30.0e-9, "loihi_lif latency_spike_out")
    convolution_s: Constant = _seconds(3.1e-9, "loihi_conv_synapse latency_spike")
    sparse_s: Constant = _seconds(4.7e-9, "loihi_sparse_synapse latency_spike")
    dense_s: Constant = _seconds(3.8e-9, "loihi_dense_synapse latency_spike")


@dataclass(frozen=True)
class MeshEvents:
    """Energy and latency of messages between cores. A message into a core costs no energy of its own there."""

    message_out_j: Constant = _joules(111.0e-12, "loihi_out energy_message")
    hop_x_j: Constant = _joules(3.0e-12, "energy_east, energy_west")
    hop_y_j: Constant = _joules(4.2e-12, "energy_north, energy_south")
    message_out_s: Constant = _seconds(5.1e-9, "loihi_out latency_message")
    message_in_s: Constant = _seconds(16.0e-9, "loihi_in latency_message")
    hop_x_s: Constant = _seconds(4.1e-9, "latency_east, latency_west")
    hop_y_s: Constant = _seconds(6.5e-9, "latency_north, latency_south")


# Barrier that ends a step, by tiles in use: SANA-FE arch/loihi.yaml, latency_sync table of June 2025 (commit 934b593).
BARRIER_S: Tuple[Tuple[int, float], ...] = ((1, 600e-9), (2, 1000e-9), (4, 1400e-9), (29, 1800e-9))
BARRIER_SOURCE = "SANA-FE arch/loihi.yaml, latency_sync by tiles, commits 934b593 and 8951ab0"

# SANA-FE arch/loihi.yaml, topology; Davies et al. 2018.
MESH_WIDTH, MESH_HEIGHT, CORES_PER_TILE = 8, 4, 4

CORE = CoreEvents()
MESH = MeshEvents()
