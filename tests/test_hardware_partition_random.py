"""Fifty random networks: each builds in nengo_loihi with the shapes found, or is called impossible with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.errors import MisfitError
from partition_networks import built, chain, conv, up

N_NETWORKS = 50


def random_network(seed):
    """A convolutional or dense network; now and then with far too many channels, pixels or neurons for the chip."""
    rng = np.random.RandomState(seed)
    channels_last = bool(rng.randint(2))
    pixels = int(rng.choice([4, 6, 9, 13]))
    size = (pixels, int(rng.randint(4, pixels + 4)))
    layers = [conv(int(rng.randint(1, 4)), 1)]
    rows, cols = size
    for _ in range(rng.randint(1, 4)):
        kernel, stride = int(rng.randint(1, 4)), int(rng.randint(1, 3))
        padding = rng.choice(["valid", "same"])
        filters = int(rng.choice([1, 3, 4, 8, 17, 32, 40]))
        if rng.rand() < 0.25 and rows * cols < 80:
            layers.append(up(filters))
            rows, cols = 2 * rows, 2 * cols
        elif min(rows, cols) >= kernel:
            layers.append(conv(filters, kernel, stride, padding))
            lost = 0 if padding == "same" else kernel - 1
            rows, cols = -(-(rows - lost) // stride), -(-(cols - lost) // stride)
    for _ in range(rng.randint(0, 3)):
        layers.append(("dense", int(rng.choice([5, 60, 200]))))
    return chain((*size, 1), layers, channels_last, seed=seed, biases=True)


@pytest.mark.parametrize("seed", range(N_NETWORKS))
def test_builds_or_is_impossible_with_a_reason(seed):
    net = random_network(seed)
    try:
        placed = hardware.partition(net)
    except MisfitError as error:
        assert "layer" in str(error) and "4096" in str(error) and "\n" not in str(error)
        return
    model = built(net)  # raises BuildError where a limit is broken
    assert len(model.blocks) == placed.cores >= placed.lower_bound_cores
    assert {at.name: at.cores for at in placed.layers} == {
        e.label: net.config[e].block_shape.n_splits for e in net.layers[1:]
    }


def test_the_generator_makes_both_kinds():
    """Most fit; some are impossible; channels come first and last."""
    kinds = []
    for seed in range(N_NETWORKS):
        net = random_network(seed)
        inputs = [c.size_in for c in net.conns[1:] if not hasattr(c.transform, "kernel_size")]
        kinds.append(any(n > 4096 for n in inputs))
    assert 0 < sum(kinds) < N_NETWORKS / 2
