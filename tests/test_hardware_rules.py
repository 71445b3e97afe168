"""Each rule by the smallest network that breaks it and one that just does not; nengo_loihi judges where it can."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.chip.limits import LOIHI1, NAHUKU32, Board
from cotrain.hardware.placement.cores import place
from cotrain.hardware.preflight.rules import RULES, Case
from partition_networks import built, chain, conv, neurons

SMALLEST = {}  # rule: (network that breaks it, one that just does not, arguments of check)


def smallest(rule, **arguments):
    def keep(make):
        SMALLEST[rule] = (make, arguments)
        return make

    return keep


def pair(n_pre, n_post, weights=None, pre_on_chip=True, **kwargs):
    """Two populations joined by weights; each in one block unless it has a shape."""
    nengo_loihi = import_nengo_loihi()
    with nengo.Network(seed=0) as net:
        nengo_loihi.add_params(net)
        net.pre, net.post = neurons(n_pre, "pre"), neurons(n_post, "post", **kwargs)
        net.config[net.pre].on_chip = None if pre_on_chip else False
        weights = np.ones((n_post, n_pre)) if weights is None else weights
        net.conn = nengo.Connection(net.pre.neurons, net.post.neurons, transform=weights, synapse=0.005)
    return net


def in_blocks(net, **shapes):
    """Cut populations by hand."""
    BlockShape = import_nengo_loihi("config").BlockShape
    for name, size in shapes.items():
        ensemble = getattr(net, name)
        net.config[ensemble].block_shape = BlockShape((size,), (ensemble.n_neurons,))
    return net


@smallest("on_chip")
def _(breaks):
    net = pair(1, 1, pre_on_chip=False)
    net.config[net.post].on_chip = not breaks
    return net


@smallest("compartments")
def _(breaks):
    n = 1025 if breaks else 1024
    return in_blocks(pair(1, n), post=n)


@smallest("input_axons")
def _(breaks):
    return in_blocks(pair(4097 if breaks else 4096, 1, pre_on_chip=False), post=1)


@smallest("output_axons")
def _(breaks):
    """1024 neurons to four or five blocks."""
    return in_blocks(pair(1024, 5 if breaks else 4), pre=1024, post=1)


@smallest("synapse_memory")
def _(breaks):
    """An axon with 251 weights of 8 bits takes 3 x 576 + 512 bits, and 468 of them fit."""
    return in_blocks(pair(469 if breaks else 468, 251, pre_on_chip=False), post=251)


def image(channels, kernel, size, filters=4, pop_type=16):
    """An image from the host, a copy of it on the chip, and a convolution of that."""
    layers = [conv(channels, 1), conv(channels, 1), conv(filters, kernel)]
    net = chain((*size, 1), layers)
    net.config[net.conns[2]].pop_type = pop_type
    return net


@smallest("pop16_base")
def _(breaks):
    return image(1, 1, size=(1, 2), filters=3 if breaks else 4)


@smallest("integer_range")
def _(breaks):
    """Where the weight becomes 255 / 2, its smallest exponent, the threshold must still be below 2**23."""
    return pair(1, 1, weights=[[0.8e-6 if breaks else 1e-6]], pre_on_chip=False)


@smallest("synapse_configs")
def _(breaks):
    """Each connection has a largest weight half as large as the one before, which takes another weight exponent."""
    nengo_loihi = import_nengo_loihi()
    with nengo.Network(seed=0) as net:
        nengo_loihi.add_params(net)
        post = neurons(65, "post")
        for k in range(8 if breaks else 7):
            pre = neurons(1, f"pre{k}")
            net.config[pre].on_chip = False
            # an exponent below -6 does not exist; another width of indices makes the eighth
            weights = np.ones((65, 1)) if k < 7 else nengo.Sparse((65, 1), indices=[(0, 0)], init=[1.0])
            scaled = weights * 2.0**-k if k < 7 else weights
            nengo.Connection(pre.neurons, post.neurons, transform=scaled, synapse=0.005)
    return net


class PerNeuron(nengo.SpikingRectifiedLinear):
    """A neuron type whose refractory periods or thresholds differ, as a user's own builder can make them."""

    def __init__(self, n_refractory=1, n_thresholds=1):
        super().__init__()
        self.n_refractory, self.n_thresholds = n_refractory, n_thresholds


def _register():
    Builder = import_nengo_loihi("builder.builder").Builder
    if PerNeuron in Builder.builders:
        return

    @Builder.register(PerNeuron)
    def build(model, neuron_type, neurons, block):
        block.compartment.configure_relu(vth=1 / model.dt, dt=model.dt)
        numbers = np.arange(block.n_neurons)
        block.compartment.refract_delay[:] = 1 + numbers % neuron_type.n_refractory
        block.compartment.vth[:] *= 1 + numbers % neuron_type.n_thresholds


@smallest("compartment_configs")
def _(breaks):
    _register()
    n = 32 if breaks else 31
    return pair(1, n, neuron_type=PerNeuron(n_refractory=n))


@smallest("threshold_configs")
def _(breaks):
    _register()
    n = 8 if breaks else 7
    return pair(1, n, neuron_type=PerNeuron(n_thresholds=n))


@smallest("refractory_period")
def _(breaks):
    """nengo_loihi counts one step more than tau_ref."""
    return pair(1, 1, neuron_type=nengo.LIF(tau_ref=0.063 if breaks else 0.062), gain=np.full(1, 1e-3))


@smallest("pop16_populations")
def _(breaks):
    return image(33 if breaks else 32, 1, size=(1, 1))


@smallest("pop16_input_axons")
def _(breaks):
    size = (25, 41) if breaks else (32, 32)
    return image(1, size, size=size, filters=1)


@smallest("chips", board=Board("one core", 1, replace(LOIHI1, cores_per_chip=2)))
def _(breaks):
    return in_blocks(pair(2, 1), pre=1 if breaks else 2)


def read_out(n):
    """``n`` neurons whose spikes the host reads."""
    net = pair(1, n, pre_on_chip=False)
    with net:
        nengo.Probe(net.post.neurons)
    return net


@smallest("spike_counters", precompute=True)
def _(breaks):
    return read_out(4501 if breaks else 4500)


@smallest("probes_on_population_axons", precompute=True)
def _(breaks):
    net = image(1, 1, size=(1, 1), pop_type=32)
    with net:
        nengo.Probe(net.layers[1 if breaks else 2].neurons)
    return net


@smallest("input_spikes", precompute=False, stats=SimpleNamespace(input_spikes_max=26))
def _(breaks):
    """26 spikes in a step, each to one core or to two."""
    net = in_blocks(pair(26, 2, pre_on_chip=False), post=1 if breaks else 2)
    with net:
        nengo.Probe(nengo.Node(size_in=1))
    return net


@pytest.mark.parametrize("rule", [rule.__name__ for rule in RULES])
def test_smallest_network_that_breaks_it_and_one_that_just_does_not(rule):
    make, arguments = SMALLEST[rule]
    broken, fine = (hardware.check(make(breaks), **arguments) for breaks in (True, False))
    assert {v.rule for v in broken.violations} == {rule}
    assert fine.violations == ()
    violation = broken.violations[0]
    assert violation.used > violation.allowed
    assert violation.change and violation.resource
    assert str(violation) in broken.table()


def test_every_rule_has_a_case_and_a_docstring():
    names = [rule.__name__ for rule in RULES]
    assert set(SMALLEST) == set(names) and len(names) == len(set(names))
    assert all(rule.__doc__ for rule in RULES)


# what nengo_loihi itself says while it builds: the same networks, accepted or refused
IN_THE_BUILD = [
    "on_chip",
    "compartments",
    "input_axons",
    "output_axons",
    "synapse_memory",
    "pop16_base",
    "integer_range",
]


@pytest.mark.parametrize("rule", IN_THE_BUILD)
def test_nengo_loihi_refuses_and_accepts_the_same(rule):
    make, _ = SMALLEST[rule]
    # its message about pop16 bases has a slip of the pen and raises AttributeError
    with pytest.raises((nengo.exceptions.BuildError, AssertionError, AttributeError)):
        built(make(True))
    built(make(False))


@pytest.mark.parametrize("rule", ["compartment_configs", "threshold_configs", "refractory_period"])
def test_board_validation_refuses_what_the_emulator_takes(rule):
    """nengo_loihi checks these once blocks are on a board; its limits on numbers of configurations are wider."""
    allocators = import_nengo_loihi("hardware.allocators")
    validate = import_nengo_loihi("hardware.validate")
    make, _ = SMALLEST[rule]
    board = allocators.Greedy()(built(make(True)), n_chips=1)
    cores = [core for chip in board.chips for core in chip.cores]
    if rule == "refractory_period":
        with pytest.raises(AssertionError):
            validate.validate_board(board)
    elif rule == "compartment_configs":
        assert max(len(core.compartment_cfgs) for core in cores) == LOIHI1.compartment_configs + 1
    else:
        assert max(len(core.vth_cfgs) for core in cores) == LOIHI1.threshold_configs + 1


def test_synapse_configurations_are_counted_as_nengo_loihi_counts_them():
    allocators = import_nengo_loihi("hardware.allocators")
    make, _ = SMALLEST["synapse_configs"]
    for breaks, n in ((True, 8), (False, 7)):
        board = allocators.Greedy()(built(make(breaks)), n_chips=1)
        # entry 0 stays unused
        assert max(len(core.synapse_cfgs) - 1 for chip in board.chips for core in chip.cores) == n


def test_all_violations_at_once():
    """Too many neurons, too much memory and too long a refractory period: one report."""
    net = in_blocks(
        pair(3000, 1100, pre_on_chip=False, neuron_type=nengo.LIF(tau_ref=0.1), gain=np.full(1100, 1e-3)), post=1100
    )
    found = {(v.rule, v.layer, v.core) for v in hardware.check(net).violations}
    assert found == {(rule, "post", 0) for rule in ("compartments", "synapse_memory", "refractory_period")}


def test_the_default_cut_of_the_cifar10_example_exceeds_synapse_memory():
    """The message that users meet: 'Total synapse bits (1958400) exceeded max (1048576)'."""
    layers = [conv(4, 1), conv(64, 3, 2), conv(72, 3)]
    report = hardware.check(chain((32, 32, 3), layers))
    worst = max(report.violations, key=lambda v: v.used)
    assert (worst.rule, worst.layer, worst.used, worst.allowed) == ("synapse_memory", "conv2", 1958400, 1048576)


def test_spikes_into_the_chip_are_counted_per_core_that_listens():
    """A neuron of the host that two cores listen to is sent twice, and the value to pass says so."""
    net = in_blocks(pair(40, 4, pre_on_chip=False), post=2)
    with net:
        nengo.Probe(nengo.Node(size_in=1))
    report = hardware.check(net, input_spikes_max=40, precompute=False)
    assert report.hardware_options == {"n_chips": 1, "snip_max_spikes_per_step": 80}
    assert "'snip_max_spikes_per_step': 80" in report.violations[0].change
    assert hardware.check(net, input_spikes_max=40, snip_max_spikes_per_step=80, precompute=False).fits
    # sent in advance, spikes do not pass through the channel
    assert hardware.check(net, input_spikes_max=40, precompute=True).fits


def test_input_spikes_against_nengo_loihis_own_list_of_messages():
    """The bound equals what nengo_loihi would send if all neurons spiked: one message per axon of each."""
    net = chain((6, 6, 1), [conv(2, 1), conv(8, 3)])
    hardware.partition(net)
    placed = place(net, LOIHI1)
    case = Case(placed, NAHUKU32, input_spikes_max=72)
    (spikes,) = placed.model.inputs
    sent = 0
    for axon in spikes.axons:
        mapped = axon.map_spikes(np.arange(spikes.n_neurons))
        sent += sum(s is not None and axon.target.axon_compartment_base(s.axon_idx) is not None for s in mapped)
    assert case.snip_spikes_needed == sent


def test_unbuildable_network_is_a_violation():
    with nengo.Network() as net:
        nengo.Ensemble(5, 1, neuron_type=nengo.Izhikevich())
    report = hardware.check(net)
    assert [v.rule for v in report.violations] == ["buildable"]
    assert (report.cores, report.chips, report.fits) == (0, 0, False)


def _findings(net, **arguments):
    return {f.rule: f for f in hardware.check(net, **arguments).findings}


def test_findings_name_the_layer():
    # one weight in a hundred is large, the others round to zero
    found = _findings(pair(100, 1, weights=np.r_[1.0, np.full(99, 1e-3)][None], pre_on_chip=False))
    assert found["weights_rounded_to_zero"].layer == "post"
    assert found["weights_rounded_to_zero"].value == 0.99
    # the bias alone takes a neuron over its threshold of 1000 in every step
    found = _findings(pair(1, 3, pre_on_chip=False, bias=np.array([0.0, 900.0, 1100.0])))
    assert found["biases_saturate"].value == 1
    assert "lost_weight_bits" in _findings(pair(1, 1, weights=[[1e-5]], pre_on_chip=False))


def test_what_an_emulated_run_showed_becomes_findings():
    net = pair(2, 4, pre_on_chip=False)
    stats = SimpleNamespace(
        overflows={"post": 7, "pre": 0},
        spikes={"post": np.array([40, 45])},
        neuron_spikes={"post": np.array([20, 19, 20, 3])},
    )
    found = _findings(net, stats=stats, n_steps=10)
    assert (found["registers_overflow"].layer, found["registers_overflow"].value) == ("post", 7)
    assert found["neurons_saturate"].value == 0.5


def test_convolution_and_dense_from_one_layer_is_a_finding():
    net = image(1, 1, size=(2, 2), pop_type=32)
    with net:
        nengo.Connection(net.layers[1].neurons, neurons(3, "dense").neurons, transform=np.ones((3, 4)))
    assert _findings(net)["mixed_axons"].layer == "conv1"


def test_more_than_two_chips_need_an_option():
    chip = replace(LOIHI1, cores_per_chip=1)
    report = hardware.check(in_blocks(pair(2, 1), pre=1), Board("three", 3, chip))
    assert report.chips == 3 and report.hardware_options["n_chips"] == 3
    assert [f.rule for f in report.findings if f.rule == "more_chips_than_default"]


def test_utilisation_is_what_nengo_loihi_measures():
    net = chain((10, 10, 1), [conv(2, 1), conv(40, 3), conv(8, 3, 2), ("dense", 20)])
    hardware.partition(net)
    report = hardware.check(net)
    expected = [[used for used, _ in block.utilization().values()] for block in built(net).blocks]
    cores = report.utilisation.cores
    assert [[c.compartments, c.input_axons, c.output_axons, c.synapse_bits] for c in cores] == expected
    assert [layer.cores for layer in report.utilisation.layers] == [3, 1, 1]
    assert report.lower_bound_cores <= report.cores == len(cores)
