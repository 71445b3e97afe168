"""What a chip and a board take around their events: x86 cores, leakage, host; and a multiply-accumulate elsewhere.

`chip/events.py` has the events. Rows are those of public measurements on Loihi 1 silicon (`reports/silicon.md` names
each with its source). Constants are frozen: they were fixed before the model was tried on any row but those.
"""

from __future__ import annotations

from dataclasses import dataclass

from cotrain.hardware.chip.events import Constant

_QUARTZ = "rows quartz-mnist-t008 to -t128 (Quartz on Loihi, NxSDK 0.9.8)"
_ABR = "rows abr-* (Applied Brain Research's power benchmarks, NxSDK 0.7.5)"
_RULE = "nengo-loihi branch power-basics, 6742ae2: a rule of thumb that its script calls empirical"
_DEGNAN = "Degnan, Marr, Hasler, Performance per watt, IEEE Trans. VLSI Systems 24(1), 2016"


@dataclass(frozen=True)
class X86:
    """The three x86 cores of a chip, which pass messages and phases of a step. NxSDK computes their power so."""

    clock_w: Constant = Constant(
        18e-3, 18e-3, 18e-3, "W",
        f"NxSDK: 18 mW a chip, exact in {_QUARTZ}; row relnet-babi-qa17: 22 chips; for each chip with an x86 in use",
    )  # fmt: skip
    active_w: Constant = Constant(
        6e-3, 6e-3, 6e-3, "W", f"NxSDK: 6 mW x active ratio an x86 in use; exact in {_QUARTZ}"
    )
    static_w: Constant = Constant(
        0.125e-3, 0.11e-3, 0.23e-3, "W",
        f"static power, an x86 in use: mean and least of {_QUARTZ}; most: relnet-babi-qa17",
        "quartz-mnist-*, relnet-babi-qa17",
    )  # fmt: skip
    # Where nobody says how many run: ABR's chip took 66.7 mW more after its x86 had woken up than before.
    awake_w: Constant = Constant(66.7e-3, 18e-3, 72e-3, "W", f"{_ABR}: three x86 awake; high: 3 x (18 + 6) mW")


@dataclass(frozen=True)
class Leakage:
    """Static power. It moves with temperature, voltage and the chip: a range, and a property of the board."""

    core_w: Constant = Constant(
        0.42e-3, 0.30e-3, 0.55e-3, "W",
        f"a core in use: mean of {_QUARTZ}, 0.38 to 0.46 mW; range assumed, a factor of 1.3 for other boards",
        "quartz-mnist-*",
    )  # fmt: skip
    board_w: Constant = Constant(
        0.924, 0.0294, 0.95, "W", f"an idle board: mean of {_QUARTZ}; low: the rails of one idle chip of {_ABR}",
        "quartz-mnist-*",
    )  # fmt: skip
    chips_per_board: int = 32  # Nahuku


@dataclass(frozen=True)
class Pace:
    """What a step or a sample takes beside the cores' own work."""

    # The barrier of one chip stands in chip/events.py by tiles; the most that a step of an idle network takes.
    one_chip_most_s: float = 8e-6  # _RULE: 125,000 steps/s
    chips_s: Constant = Constant(
        15.4e-6, 9.6e-6, 24.6e-6, "s", f"{_RULE}: 65,000 steps/s on two chips; range assumed, a factor of 1.6"
    )
    # Host input at each step; the published range, whatever the number of spikes up to 390 a step.
    host_step_s: Constant = Constant(
        542e-6, 330e-6, 890e-6, "s", f"{_ABR}: 337 to 878 us; value: the ends' geometric mean", "abr-*"
    )
    # Of a dense first layer each input spike becomes one message a core: fitted to abr-kws (2 cores) and abr-scaled-n00
    # (8 cores), a line through both; the other rows of 8 cores lie 10 % above it. Range assumed, a factor of 1.3.
    host_step_first_s: float = 184.9e-6
    host_step_core_s: float = 76.2e-6
    host_step_factor: float = 1.3
    host_step_cores: int = 8  # no row has more
    host_step_spikes: float = 390.0  # inputs of the abr-* rows; one spike each a step is the most that they sent
    # Once a sample: hand over the input and reset the network.
    fixed_s: Constant = Constant(
        3.5e-3, 3.0e-3, 4.6e-3, "s",
        f"{_QUARTZ}: least largest error of the time, conv1 on 4 cores or on 5; range: what their times leave",
        "quartz-mnist-*",
    )  # fmt: skip
    fixed_spikes: float = 784.0  # inputs of the quartz-mnist rows, handed over within fixed_s
    hand_over_s: float = 7.2e-6  # row nxtf-cifar-tutorial: 22.0 ms for 3,072 values that the host writes one by one
    hand_over_most_s: float = 22.0e-3  # the same row; nothing published takes longer


@dataclass(frozen=True)
class DenseDevices:
    """Energy of a multiply-accumulate elsewhere; a neuron update counts as one."""

    cpu_mac_j: Constant = Constant(8.6e-9, 8.6e-9, 8.6e-9, "J", f"keras-spiking 'cpu', Intel i7-4960X; {_DEGNAN}")
    gpu_mac_j: Constant = Constant(
        0.3e-9, 0.3e-9, 0.3e-9, "J", f"keras-spiking 'gpu', Nvidia GTX Titan Black, large batches; {_DEGNAN}"
    )


X86_CORES = X86()
LEAKAGE = Leakage()
PACE = Pace()
DENSE = DenseDevices()
