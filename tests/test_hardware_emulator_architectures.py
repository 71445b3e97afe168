"""The architectures that matter, whole: every compartment at every step equal to nengo-loihi's emulator.

Few steps, since nengo-loihi takes a third of a second for each; biases let every layer fire within them.
"""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np
import pytest
from emulator_networks import compare_runs

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "benchmarks"))

from architectures import CASES, cifar10, mnist, own
from cotrain import hardware
from cotrain.hardware.compiler.compile import compile_network
from cotrain.hardware.emulator.emulator import Emulator


@pytest.mark.parametrize(
    "case",
    [
        lambda: cifar10(bias=1.05),
        lambda: mnist(bias=1.05),
        lambda: own("locnet-60", bias=1.05),
        lambda: own("cae", bias=1.05),
    ],
    ids=["cifar10", "mnist", "locnet", "cae"],
)
def test_every_compartment(case):
    case = case()
    case.image.output = np.random.RandomState(0).uniform(0.2, 1, case.image.size_out)
    spikes, program = compare_runs(case.net, steps=(7,))
    layer = np.repeat(program.block_layer, np.diff(program.block_start))
    fired = np.bincount(layer, weights=spikes.sum(axis=0), minlength=len(program.layers))
    assert (fired > 0).all(), fired


def test_the_cifar10_network_is_the_one_of_the_example():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = compile_network(CASES["cifar10"]().net)
    assert program.n_compartments == 47404 and len(program.blocks) == 90
    layout = Emulator(program).layout
    assert layout.pool.nbytes < 4e6  # 3 million weights of 16 bits, less what blocks share, plus padding
    assert layout.run_blocks.min() * 16 >= 64


def test_a_whole_sample_of_the_mnist_network():
    """predict, over enough steps for the readout to move, against nengo-loihi."""
    case = mnist(gain=2)
    x = np.random.RandomState(1).uniform(0, 1, (2, 1, case.image.size_out))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with hardware.Simulator(case.net, target="emulator") as sim:
            found = sim.predict({case.image: x}, n_steps=35)[case.output]
        with hardware.Simulator(case.net, target="reference") as sim:
            expected = sim.predict({case.image: x}, n_steps=35)[case.output]
    assert np.array_equal(found, expected)
    assert found[:, -1].any()
