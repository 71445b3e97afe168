"""Channels first where nobody can tell: the same numbers out of nengo_loihi, and hands off where somebody could."""

from __future__ import annotations

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.builder.passes import build_uncut
from cotrain.hardware.placement.channels import reorder
from partition_networks import chain, conv, neurons, up


def results(net, n_steps=60):
    with import_nengo_loihi().Simulator(net, target="sim", seed=0) as sim:
        sim.run_steps(n_steps)
        return np.array(sim.data[net.output])


NETWORKS = {
    "convolutions": ([conv(4, 1), conv(8, 3, 2), conv(6, 1), ("dense", 9)], (6, 6, 3)),
    "up and down": ([conv(3, 1), conv(4, 3, 2, "same"), up(5), conv(2, 3, 1, "same"), ("dense", 5)], (6, 8, 1)),
    "dense at the end": ([conv(4, 1), conv(5, 3), ("dense", 12), ("dense", 7)], (7, 5, 2)),
    "dense into an image": ([("dense", 6), ("dense", 4 * 5 * 3), ("dense", 9)], (2, 2, 1)),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_results_are_the_same_bit_for_bit(case):
    """Unplaced, so that blocks and their weight scales are the same too."""
    layers, image = NETWORKS[case]
    net = chain(image, layers, biases=True, seed=2)
    if case == "dense into an image":
        with net:
            transform = nengo.Convolution(3, (4, 5, 3), init=np.random.RandomState(0).uniform(-1, 1, (3, 3, 3, 3)))
            extra = neurons(transform.output_shape.size, "extra")
            nengo.Connection(net.layers[1].neurons, extra.neurons, transform=transform, synapse=0.005)
            nengo.Connection(extra.neurons, net.layers[2].neurons, transform=nengo.dists.Gaussian(0, 1), synapse=0.005)
    before = results(net)
    orders, restore = reorder(net, build_uncut(net))
    assert orders and all(np.array_equal(np.sort(order), np.arange(len(order))) for order in orders.values())
    assert np.array_equal(results(net), before) and np.abs(before).sum() > 0
    restore()
    assert all(conn.transform.channels_last for conn in net.conns if hasattr(conn.transform, "kernel_size"))
    assert np.array_equal(results(net), before)


def test_emulator_gives_the_same_after_placement():
    net = chain((12, 12, 3), [conv(4, 1), conv(40, 3), conv(40, 3), ("dense", 10)], biases=True)
    placed = hardware.partition(net)
    assert set(placed.reordered) == {"conv1", "conv2"}
    expected = results(net)
    with hardware.Simulator(net, target="emulator", seed=0) as sim:
        out = sim.predict({net.image: net.image.output[None, None]}, n_steps=60)
    assert np.array_equal(out[net.output][0], expected)


def _probe(net):
    nengo.Probe(net.layers[1].neurons)


def _decoded(net):
    nengo.Connection(net.layers[1], nengo.Node(size_in=1))


def _slice(net):
    nengo.Connection(net.layers[1].neurons[:7], nengo.Node(size_in=7))


def _read_on_the_host(net):
    nengo.Connection(net.layers[1].neurons, nengo.Node(size_in=3), transform=np.ones((3, net.layers[1].n_neurons)))


def _one_to_one(net):
    nengo.Connection(net.layers[1].neurons, neurons(net.layers[1].n_neurons, "copy").neurons)


def _block_shape(net):
    shape = net.conns[1].transform.output_shape.shape
    net.config[net.layers[1]].block_shape = import_nengo_loihi("config").BlockShape(shape, shape)


def _drawn(net):
    net.layers[1].bias = nengo.dists.Uniform(0, 1)


def _another_shape(net):
    transform = nengo.Convolution(2, (8, 4, 8), init=np.ones((3, 3, 8, 2)))  # the same neurons, seen as 8 x 4
    nengo.Connection(net.layers[2].neurons, neurons(transform.output_shape.size, "other").neurons, transform=transform)


def _channels_first_reader(net):
    transform = nengo.Convolution(2, (8, 4, 8), channels_last=False, init=np.ones((3, 3, 8, 2)))
    nengo.Connection(net.layers[1].neurons, neurons(24, "other").neurons, transform=transform)


SEEN = [
    _probe,
    _decoded,
    _slice,
    _read_on_the_host,
    _one_to_one,
    _block_shape,
    _drawn,
    _another_shape,
    _channels_first_reader,
]


@pytest.mark.parametrize("see", SEEN, ids=lambda see: see.__name__.strip("_").replace("_", " "))
def test_an_order_that_somebody_sees_stays(see):
    unseen, net = (chain((6, 10, 1), [conv(2, 1), conv(8, 3), conv(8, 1), ("dense", 4)]) for _ in range(2))
    assert set(reorder(unseen, build_uncut(unseen))[0]) == set(unseen.layers[1:3])
    with net:
        see(net)
    before = [conn.transform for conn in net.all_connections]
    orders, _ = reorder(net, build_uncut(net))
    assert orders == {}
    assert [conn.transform for conn in net.all_connections] == before


def test_the_user_can_keep_the_order():
    net = chain((12, 12, 3), [conv(4, 1), conv(40, 3), conv(40, 3), ("dense", 10)])
    assert hardware.partition(net, layout="keep").reordered == {}
    assert all(conn.transform.channels_last for conn in net.conns[:3])
