"""Every limit of Loihi 1 and of the boards it is mounted on, each with its source.

Where sources disagree the strictest value stands, and the comment above it names the others. "NengoLoihi" is version
1.1.0, the last one; its files are named below its package folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from cotrain.hardware.errors import InputError


@dataclass(frozen=True)
class ChipLimits:
    """What one Loihi 1 chip holds. All counts are of one neuro core unless the name says otherwise."""

    # Davies et al. 2018, "Loihi: a neuromorphic manycore processor", IEEE Micro 38(1); NengoLoihi block.py.
    compartments: int = 1024
    # NengoLoihi block.py (MAX_IN_AXONS); one entry of the core's synapse map per input axon.
    input_axons: int = 4096
    # NengoLoihi block.py (MAX_OUT_AXONS). A pop32 axon takes two entries, pop16 and discrete axons one
    # (block.py, Axon.slots_per_axon).
    output_axons: int = 4096
    # NengoLoihi block.py: 16,384 words of 64 bits. Davies et al. 2018 give 128 KB of synapse memory, the same number.
    synapse_bits: int = 16384 * 64
    # Davies et al. 2018; NengoLoihi hardware/allocators.py.
    cores_per_chip: int = 128

    # NengoLoihi hardware/builder.py asserts fewer than 32; hardware/validate.py allows 32.
    compartment_configs: int = 31
    # NengoLoihi hardware/builder.py asserts fewer than 8; hardware/validate.py allows 16.
    threshold_configs: int = 7
    # NengoLoihi hardware/nxsdk_objects.py says 8, and entry 0 stays unused; hardware/validate.py allows 16.
    synapse_configs: int = 7
    # NengoLoihi hardware/nxsdk_objects.py (CompartmentConfig): 6 bits.
    refractory_steps: int = 63

    # NxSDK has no pop16 spikes with extra atom bits (NengoLoihi hardware/builder.py raises NotImplementedError), so a
    # pop16 axon carries 5 bits of population index. NengoLoihi's emulator takes 9 bits (block.py, atom_bits_extra).
    pop16_populations: int = 32
    # 10 bits of axon number in a pop16 spike (block.py, Synapse.axon_bits). hardware/builder.py compares with "<=",
    # which lets one axon too many pass; its numbers start at 0.
    pop16_input_axons: int = 1024
    # NengoLoihi builder/validate.py: a pop16 axon stores the compartment base divided by 4.
    pop16_base_multiple: int = 4

    # assumed. NxSDK's spike probes each take a counter of the chip's x86 core, and fail with "All the Spike Counters
    # are being Used". The number is not published: 4,500 are read in a published SNIP, and the 7,812 of nengo-loihi
    # pull request 281 are too many. The most that is known to work stands here.
    spike_counters_per_chip: int = 4500
    # NengoLoihi hardware/interface.py: the default of `snip_max_spikes_per_step`; what exceeds it is dropped.
    default_snip_spikes_per_step: int = 50

    # NengoLoihi builder/discretize.py.
    weight_max: int = 255
    bias_max: int = (2**12 - 1) * 2**7
    threshold_max: int = (2**17 - 1) * 2**6
    decay_max: int = 2**12 - 1


@dataclass(frozen=True)
class Board:
    """A board: its name on the command line and how many chips it carries."""

    name: str
    n_chips: int
    chip: ChipLimits

    @property
    def cores(self) -> int:
        """Neuro cores on the whole board."""
        return self.n_chips * self.chip.cores_per_chip


LOIHI1 = ChipLimits()

# Intel's product brief gives 262,144 neurons, which is two chips; the Nengo forum (thread 1732) knows sticks with one
# chip too: for those, pass Board("kapoho_bay", 1, LOIHI1).
KAPOHO_BAY = Board("kapoho_bay", 2, LOIHI1)
# Intel's research cloud names the Nahuku boards by their number of chips.
NAHUKU8 = Board("nahuku8", 8, LOIHI1)
NAHUKU32 = Board("nahuku32", 32, LOIHI1)
# Pohoiki Springs: 24 Nahuku-32 boards, 768 chips, 100 million neurons (Intel, March 2020).
POHOIKI = Board("pohoiki", 768, LOIHI1)

BOARDS = (KAPOHO_BAY, NAHUKU8, NAHUKU32, POHOIKI)


def find_board(board: Union[Board, str]) -> Board:
    """Return the board that ``board`` names, or ``board`` itself where it is a `Board`.

    Raises
    ------
    InputError
        No board has this name.
    """
    if isinstance(board, Board):
        return board
    for known in BOARDS:
        if known.name == board:
            return known
    raise InputError(f"board {board!r} is not known: choose one of {', '.join(b.name for b in BOARDS)}")
