"""Placing networks: the cost of a cut against nengo_loihi's own blocks, and the published architectures."""

from __future__ import annotations

import itertools
from dataclasses import replace

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.builder.passes import build_uncut, cut
from cotrain.hardware.chip.limits import LOIHI1, NAHUKU32, Board
from cotrain.hardware.errors import InputError, MisfitError, UnsupportedError
from cotrain.hardware.preflight.quantization import quantization_error
from partition_networks import built, cae, chain, cifar10, conv, locnet, mnist, neurons, up, use_by_label

COST_CASES = {
    "strided": ([conv(2, 1), conv(6, 3, 2), conv(5, 3, 2)], (11, 13, 2)),
    "padded": ([conv(2, 1), conv(4, 3, 1, "same"), conv(6, 3, 2, "same")], (9, 12, 1)),
    "transposed": ([conv(3, 1), up(4), conv(4, 3, 1, "same"), up(6)], (5, 6, 1)),
    "transposed same": ([conv(3, 1), up(4, 3, 2, "same"), up(3, 3, 2, "same")], (5, 4, 1)),
    "wide kernel": ([conv(2, 1), conv(8, 5, 3), conv(8, 2, 1)], (17, 14, 1)),
    "many channels": ([conv(2, 1), conv(40, 3), conv(72, 3, 2), conv(16, 1)], (11, 11, 1)),
    "dense": ([conv(2, 1), conv(6, 3, 2), ("dense", 70), ("dense", 30)], (12, 9, 1)),
}
BOUNDLESS = replace(LOIHI1, compartments=10**5, output_axons=10**5, synapse_bits=10**8)


def uncritical(net):
    """nengo_loihi's blocks without its validation."""
    model = build_uncut(net)
    cut(model)
    return model


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("case", COST_CASES)
def test_cost_of_a_cut_is_what_nengo_loihi_builds(case, channels_last):
    """Axons and synapse bits of the worst block, predicted and built, for cuts drawn at random."""
    BlockShape = import_nengo_loihi("config").BlockShape
    layers, image = COST_CASES[case]
    rng = np.random.RandomState(1)
    for _ in range(4):
        net = chain(image, layers, channels_last)
        for ensemble, conn in zip(net.layers[1:], net.conns[1:], strict=False):
            dense = isinstance(conn.transform, nengo.Dense)
            shape = (ensemble.n_neurons,) if dense else conn.transform.output_shape.shape
            block = tuple(int(rng.randint(1, n + 1)) for n in shape)
            net.config[ensemble].block_shape = BlockShape(block, shape)
        placed = hardware.partition(net, Board("boundless", 99, BOUNDLESS), layout="keep")
        expected = use_by_label(uncritical(net))
        for at in placed.layers:
            predicted = [at.compartments, at.input_axons, at.output_axons, at.synapse_bits]
            assert (predicted, at.cores) == expected[at.name], (at.name, at.block_shape)


# cores found (all of them the fewest over grid cuts), and the lower bound
ARCHITECTURES = {
    "cifar10": (cifar10, 52, 50),
    "mnist": (mnist, 11, 11),
    "locnet": (locnet, 85, 83),
    "cae": (cae, 86, 81),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_published_architectures(name):
    """As few cores as recorded, and nengo_loihi's validation accepts what it builds from the shapes."""
    make, cores, bound = ARCHITECTURES[name]
    net = make()
    placed = hardware.partition(net)
    assert (placed.cores, placed.lower_bound_cores) == (cores, bound)
    assert len(built(net).blocks) == cores


def test_cifar10_beats_the_examples_own_cut():
    """The example's hand-made shapes take 90 cores; with its order of neurons kept the search takes 68."""
    BlockShape = import_nengo_loihi("config").BlockShape
    by_hand = cifar10()
    shapes = [(8, 8, 16), (7, 7, 8), (6, 6, 12), (6, 6, 24), (6, 6, 24), (50,)]
    for ensemble, conn, shape in zip(by_hand.layers[1:], by_hand.connections[1:], shapes, strict=False):
        whole = (100,) if len(shape) == 1 else conn.transform
        by_hand.config[ensemble].block_shape = BlockShape(shape, whole)
    assert hardware.partition(by_hand).cores == 90
    assert hardware.partition(cifar10(), layout="keep").cores == 68
    assert hardware.partition(cifar10(channels_last=False), layout="keep").cores == 52


SMALL_CHIP = replace(LOIHI1, compartments=24, input_axons=40, output_axons=36, synapse_bits=4600)


def test_search_finds_the_fewest_cores():
    """Against every pair of cuts of a small network, each built by nengo_loihi and measured there."""
    BlockShape = import_nengo_loihi("config").BlockShape
    layers, image = [conv(2, 1), conv(4, 3), conv(4, 3)], (8, 7, 1)
    limits = [SMALL_CHIP.compartments, SMALL_CHIP.input_axons, SMALL_CHIP.output_axons, SMALL_CHIP.synapse_bits]

    def sizes(n):
        return sorted({-(-n // k) for k in range(1, n + 1)})

    def cuts(ensemble, transform):
        shape = transform.output_shape.shape
        blocks = (block for block in itertools.product(*map(sizes, shape)) if 8 <= np.prod(block) <= 24)
        return [(ensemble, BlockShape(block, shape)) for block in blocks]

    fewest = None
    net = chain(image, layers)
    options = [cuts(e, c.transform) for e, c in zip(net.layers[1:], net.conns[1:], strict=False)]
    for pair in sorted(itertools.product(*options), key=lambda p: sum(shape.n_splits for _, shape in p)):
        for ensemble, shape in pair:
            net.config[ensemble].block_shape = shape
        model = built(net)
        used = np.array([[n for n, _ in block.utilization().values()] for block in model.blocks])
        if np.all(used <= limits):
            fewest = len(model.blocks)
            break
    placed = hardware.partition(chain(image, layers), Board("small", 1, SMALL_CHIP), layout="keep")
    assert placed.cores == fewest


def test_what_the_user_has_set_stays():
    BlockShape = import_nengo_loihi("config").BlockShape
    net = chain((12, 12, 1), [conv(2, 1), conv(8, 3), conv(8, 3), conv(8, 3)])
    mine = BlockShape((5, 10, 8), (10, 10, 8))
    net.config[net.layers[1]].block_shape = mine
    net.config[net.conns[2]].pop_type = 16
    placed = hardware.partition(net)
    assert net.config[net.layers[1]].block_shape is mine
    assert net.config[net.conns[2]].pop_type == 16
    assert [at.chosen_by for at in placed.layers] == ["user", "search", "search"]
    assert placed.reordered == {}  # its shape speaks of channels last
    built(net)


def test_partition_is_deterministic_and_leaves_random_state_alone():
    def shapes(net):
        return [net.config[e].block_shape.shape for e in net.layers[1:]]

    first, second = (chain((20, 20, 1), [conv(2, 1), conv(16, 3), conv(16, 3, 2)]) for _ in range(2))
    np.random.seed(5)
    expected = np.random.RandomState(5).uniform()
    hardware.partition(first)
    assert np.random.uniform() == expected
    hardware.partition(second)
    assert shapes(first) == shapes(second)


def test_pop16_where_output_axons_are_short():
    """A wide layer, whole in one block, into channels that take many blocks: pop32 axons would not fit."""
    chip = replace(LOIHI1, output_axons=600)
    net = chain((18, 18, 1), [conv(2, 1), conv(4, 3), conv(32, 3)])
    placed = hardware.partition(net, Board("short of axons", 1, chip), layout="keep")
    assert net.config[net.conns[2]].pop_type == 16
    model = built(net)
    assert max(u["out-axons"][0] for u in (b.utilization() for b in model.blocks)) <= 600
    net = chain((18, 18, 1), [conv(2, 1), conv(4, 3), conv(32, 3)])
    net.config[net.conns[2]].pop_type = 32
    wide = hardware.partition(net, Board("short of axons", 1, chip), layout="keep")
    assert wide.cores > placed.cores


def test_branches_loops_and_decoded_connections():
    nengo_loihi = import_nengo_loihi()
    rng = np.random.RandomState(0)
    with nengo.Network(seed=0) as net:
        nengo_loihi.add_params(net)
        source = neurons(1100, "source")
        left, right, joined = neurons(300, "left"), neurons(200, "right"), neurons(900, "joined")
        for pre, post in (
            (source, left),
            (source, right),
            (left, joined),
            (right, joined),
            (joined, joined),
            (right, left),
        ):
            weights = rng.uniform(-1, 1, (post.n_neurons, pre.n_neurons))
            nengo.Connection(pre.neurons, post.neurons, transform=weights, synapse=0.005)
        values, more = nengo.Ensemble(100, 3, label="values"), nengo.Ensemble(1100, 3, label="more")
        nengo.Connection(nengo.Node([0.1, 0.2, 0.3]), values)
        nengo.Connection(values, more)
        nengo.Probe(more)
    placed = hardware.partition(net)
    model = built(net)
    assert len(model.blocks) == placed.cores
    made = use_by_label(model)
    for at in placed.layers:
        if at.chosen_by == "search":
            assert ([at.compartments, at.input_axons, at.output_axons, at.synapse_bits], at.cores) == made[at.name]


def test_subnetworks_are_placed_through_their_own_config():
    with nengo.Network(seed=0) as net:
        with nengo.Network() as inner:
            big = neurons(1500, "big")
        other = neurons(10, "other")
        nengo.Connection(big.neurons, other.neurons, transform=np.ones((10, 1500)))
    hardware.partition(net)
    assert inner.config[big].block_shape.n_splits == 2
    built(net)


IMPOSSIBLE = {
    "dense1.*4097 input axons of 4096": ([("dense", 4097), ("dense", 3)], {}),
    "conv1.*2048 synapse memory bits of 1000 a core: use fewer inputs": (
        [conv(8, 1), conv(4, 4)],
        {"synapse_bits": 1000},
    ),
    "needs 3 cores and tiny has 2: use a larger board": ([conv(2, 1), ("dense", 2500)], {"cores_per_chip": 2}),
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_misfits_name_layer_and_resource_and_change_nothing(message):
    layers, limits = IMPOSSIBLE[message]
    net = chain((4, 4, 1), layers)
    with pytest.raises(MisfitError, match=message):
        hardware.partition(net, Board("tiny", 1, replace(LOIHI1, **limits)))
    assert all(net.config[e].block_shape is None for e in net.layers)
    assert all(getattr(c.transform, "channels_last", True) for c in net.conns)


def test_output_axons_that_no_cut_can_save():
    """One neuron into more blocks than a core has output axons for."""
    chip = replace(LOIHI1, compartments=1, output_axons=3)
    net = chain((2, 2, 1), [("dense", 2), ("dense", 1), ("dense", 4)])
    with pytest.raises(MisfitError, match="'dense1': output axons exceed 3 a core.*dense2"):
        hardware.partition(net, Board("narrow", 1, chip))


def test_bad_arguments():
    net = chain((4, 4, 1), [conv(2, 1), conv(2, 3)])
    with pytest.raises(InputError, match="cores, precision"):
        hardware.partition(net, prefer="speed")
    with pytest.raises(InputError, match="free, keep"):
        hardware.partition(net, layout="channels_first")
    with pytest.raises(InputError, match="extra_cores=-1 must be 0 or more"):
        hardware.partition(net, prefer="precision", extra_cores=-1)
    with pytest.raises(InputError, match="expected a nengo.Network, got int"):
        hardware.partition(3)


def test_what_nengo_loihi_lacks_is_one_line():
    with nengo.Network() as net:
        nengo.Ensemble(10, 1, neuron_type=nengo.Izhikevich(), label="izhikevich")
    with pytest.raises(UnsupportedError, match="Izhikevich.*on_chip = False") as raised:
        hardware.partition(net)
    assert "\n" not in str(raised.value)
    with nengo.Network() as empty:
        nengo.Node([1.0])
    with pytest.raises(MisfitError, match="no ensemble is on the chip"):
        hardware.partition(empty)


def _uneven(net):
    """Channels of very different weight, as pruned or badly normalised networks have."""
    conn = net.conns[2]
    kernel = conn.transform.init * np.geomspace(0.01, 1, conn.transform.n_filters)
    conn.transform = type(conn.transform)(
        conn.transform.n_filters,
        conn.transform.input_shape,
        kernel_size=conn.transform.kernel_size,
        strides=conn.transform.strides,
        padding=conn.transform.padding,
        channels_last=conn.transform.channels_last,
        init=kernel,
    )
    return net


def test_precision_spends_cores_on_smaller_errors():
    """Measured on the integers that nengo_loihi makes, and nearly as predicted."""
    layers, image = [conv(2, 1), conv(8, 3), conv(32, 3, 2), ("dense", 10)], (22, 22, 1)
    error, placed = {}, {}
    for prefer in ("cores", "precision"):
        net = _uneven(chain(image, layers))
        placed[prefer] = hardware.partition(net, prefer=prefer, layout="keep")
        error[prefer] = quantization_error(net)["layers"][1]["weight_error"]
        assert error[prefer] ** 2 == pytest.approx(placed[prefer].layers[1].weight_noise, rel=0.25)
    assert placed["cores"].cores < placed["precision"].cores <= 1.25 * placed["cores"].cores
    assert error["precision"] < 0.9 * error["cores"]


def test_table_shows_found_next_to_bound():
    placed = hardware.partition(chain((12, 12, 1), [conv(2, 1), conv(8, 3)]), NAHUKU32)
    last = placed.table().splitlines()[-1].split()
    assert last == ["total", str(placed.cores), str(placed.lower_bound_cores)]
