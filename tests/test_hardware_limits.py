"""Limits against the places in nengo_loihi that state them."""

from __future__ import annotations

import pytest
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.chip.limits import BOARDS, KAPOHO_BAY, LOIHI1, NAHUKU8, NAHUKU32, POHOIKI, find_board
from cotrain.hardware.errors import InputError


def test_core_resources_are_nengo_loihis():
    block = import_nengo_loihi("block")
    ours = (LOIHI1.compartments, LOIHI1.input_axons, LOIHI1.output_axons, LOIHI1.synapse_bits)
    assert ours == (block.MAX_COMPARTMENTS, block.MAX_IN_AXONS, block.MAX_OUT_AXONS, block.MAX_SYNAPSE_BITS)


def test_integer_ranges_are_nengo_loihis():
    discretize = import_nengo_loihi("builder.discretize")
    assert (LOIHI1.bias_max, LOIHI1.threshold_max) == (discretize.BIAS_MAX, discretize.VTH_MAX)


def test_configurations_are_the_strictest_of_three_files():
    objects = import_nengo_loihi("hardware.nxsdk_objects")
    # builder.py asserts that the numbers are below these; synapse configuration 0 stays unused
    assert LOIHI1.compartment_configs == objects.MAX_COMPARTMENT_CFGS - 1
    assert LOIHI1.threshold_configs == objects.MAX_VTH_CFGS - 1
    assert LOIHI1.synapse_configs == objects.MAX_SYNAPSE_CFGS - 1
    assert LOIHI1.refractory_steps == objects.CompartmentConfig.REFRACT_DELAY_MAX
    assert LOIHI1.decay_max == objects.CompartmentConfig.DECAY_U_MAX


def test_default_snip_spikes_are_nengo_loihis():
    import inspect

    interface = import_nengo_loihi("hardware.interface")
    default = inspect.signature(interface.HardwareInterface.__init__).parameters["snip_max_spikes_per_step"].default
    assert LOIHI1.default_snip_spikes_per_step == default


def test_boards_by_name():
    assert [find_board(board.name) for board in BOARDS] == [KAPOHO_BAY, NAHUKU8, NAHUKU32, POHOIKI]
    assert find_board(NAHUKU8) is NAHUKU8
    assert NAHUKU32.cores == 32 * 128


def test_unknown_board_lists_the_known():
    with pytest.raises(InputError, match="kapoho_bay, nahuku8, nahuku32, pohoiki"):
        find_board("nahuku16")
