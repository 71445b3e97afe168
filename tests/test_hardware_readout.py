"""What is read from the chip: vectors of weights, and neurons named in any order, over any number of blocks."""

from __future__ import annotations

import warnings

import nengo
import numpy as np
import pytest
from cotrain import hardware
from emulator_networks import ensemble, nengo_loihi

N = 60
INDICES = {
    "in order": [2, 50],
    "not in order": [50, 2, 31],
    "twice": [2, 2, 50],
    "one": [7],
    "backwards": slice(50, 3, -3),
    "array": np.array([50, 2, 31, 59]),
    "negative": np.array([-1, 0, -60]),
    "mask": np.isin(np.arange(N), [3, 11, 40]),
    "step": slice(1, 58, 7),
}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def driven(block=None, n=N, seed=1):
    """A network with neurons that fire at different rates, cut into blocks."""
    rng = np.random.RandomState(seed)
    net = nengo.Network(seed=seed)
    with net:
        nengo_loihi.add_params(net)
        net.u = nengo.Node(np.zeros(3))
        net.neurons = ensemble(rng, net, n, nengo.SpikingRectifiedLinear(amplitude=0.37))
        nengo.Connection(net.u, net.neurons.neurons, transform=rng.uniform(0, 1, (n, 3)), synapse=0.002)
        if block:
            net.config[net.neurons].block_shape = nengo_loihi.BlockShape((block,), (n,))
    return net


def outputs(net, n_samples=2, n_steps=25):
    """What `predict` gives, which run_steps and nengo-loihi's emulator have to give, too."""
    x = np.random.RandomState(0).uniform(0, 1, (n_samples, 1, 3))
    net.u.output = x[0, 0]
    found = {}
    for target in ("emulator", "reference"):
        with hardware.Simulator(net, target) as sim:
            sim.run_steps(n_steps)
            data = {probe: np.array(sim.data[probe]) for probe in net.all_probes}
            found[target] = sim.predict({net.u: x}, n_steps)
        for probe in net.all_probes:
            assert np.array_equal(data[probe], found[target][probe][0]), (target, probe)
    for probe in net.all_probes:
        assert np.array_equal(found["emulator"][probe], found["reference"][probe]), probe
    return found["emulator"]


@pytest.mark.parametrize("name", list(INDICES))
@pytest.mark.parametrize("block", [None, 7])
def test_neurons_in_any_order(name, block):
    """Each reading holds the values that the whole ensemble's has at these indices."""
    index, net = INDICES[name], driven(block)
    rng = np.random.RandomState(3)
    picked = np.arange(N)[index]
    matrix = rng.uniform(-1, 1, (4, picked.size))
    with net:
        whole = {key: nengo.Probe(net.neurons.neurons, key, synapse=None) for key in ("output", "voltage", "input")}
        parts = {key: nengo.Probe(net.neurons.neurons[index], key, synapse=None) for key in whole}
        filtered = [nengo.Probe(net.neurons.neurons[i], synapse=0.005) for i in (slice(None), index)]
        if name in ("twice", "mask"):  # Nengo refuses transforms of neurons named twice, and of masks
            index = picked = np.unique(picked)
            matrix = matrix[:, : picked.size]
        relay, sums = nengo.Node(size_in=picked.size), nengo.Node(size_in=4)
        nengo.Connection(net.neurons.neurons[index], relay, synapse=None)
        nengo.Connection(net.neurons.neurons[index], sums, transform=matrix, synapse=None)
        relay, sums = nengo.Probe(relay), nengo.Probe(sums)
    out = outputs(net)
    probed = np.arange(N)[INDICES[name]]
    assert out[whole["output"]][..., probed].any()
    for key, part in parts.items():
        assert np.array_equal(out[part], out[whole[key]][..., probed])
    # filtered in single precision, which Nengo rounds otherwise where a probe has one value
    some, all_ = out[filtered[1]], out[filtered[0]][..., probed]
    assert np.allclose(some, all_, rtol=1e-6, atol=0) if name == "one" else np.array_equal(some, all_)
    # the host gets the value of a step in the next one
    assert np.array_equal(out[relay][:, 1:], out[whole["output"]][:, :-1, picked])
    # sums of N products, each to within half an ulp
    sums_close = np.abs(out[sums][:, 1:] - out[whole["output"]][:, :-1, picked] @ matrix.T)
    assert sums_close.max() <= N * np.finfo(float).eps * 1e3 * np.abs(matrix).sum(axis=1).max()
    assert hardware.check(net).violations == ()


@pytest.mark.parametrize("block", [None, 7])
@pytest.mark.parametrize("post", ["node", "part of a node", "neurons on the host", "ensemble on the host"])
@pytest.mark.parametrize("pre", ["all", "array", "not in order", "backwards"])
def test_a_vector_is_its_diagonal_matrix(block, post, pre):
    index = slice(None) if pre == "all" else INDICES[pre]
    n = np.arange(N)[index].size
    weights = np.random.RandomState(5).uniform(-2, 2, n)
    weights[0] = 0

    def make(transform):
        net = driven(block)
        with net:
            if post == "part of a node":
                end = nengo.Node(lambda t, x: x + t, size_in=n + 2)[np.arange(n)[::-1] + 1]
            elif post == "ensemble on the host":
                end = nengo.Ensemble(30, n, neuron_type=nengo.LIFRate())
                net.config[end].on_chip = False
            else:
                host = nengo.Ensemble(n, 1, neuron_type=nengo.LIFRate())
                net.config[host].on_chip = False
                end = nengo.Node(size_in=n) if post == "node" else host.neurons
            nengo.Connection(net.neurons.neurons[index], end, transform=transform, synapse=0.005)
            obj = end.obj if isinstance(end, nengo.base.ObjView) else end
            net.p = nengo.Probe(obj) if isinstance(obj, nengo.Node) else nengo.Probe(obj, "input")
        return net

    vector, matrix = make(weights), make(np.diag(weights))
    found = outputs(vector)[vector.p]
    assert found.any() and np.array_equal(found, outputs(matrix)[matrix.p])


def test_a_vector_on_decoded_values_is_its_diagonal_matrix():
    found = []
    for transform in (np.array([0.5, -2.0]), np.diag([0.5, -2.0])):
        net = driven()
        with net:
            ens, node = nengo.Ensemble(50, 2, seed=1), nengo.Node(size_in=2)
            nengo.Connection(net.u[:2], ens)
            nengo.Connection(ens, node, transform=transform, seed=2)
            net.p = nengo.Probe(node)
        found.append(outputs(net)[net.p])
    assert found[0].any() and np.array_equal(*found)


def test_compiled_vectors_survive_a_file(tmp_path):
    net = driven(7)
    with net:
        node = nengo.Node(size_in=N)
        nengo.Connection(net.neurons.neurons, node, transform=np.linspace(0, 1, N))
    program = hardware.compile_network(net)
    program.save(tmp_path / "p.npz")
    assert hardware.Program.load(tmp_path / "p.npz").digest == program.digest


@pytest.mark.parametrize("end", ["from the chip", "into the chip", "probe", "to a convolution"])
@pytest.mark.parametrize(
    "index",
    [[0, 1, 5], np.array([5, 1, 0]), np.isin(np.arange(144), [0, 1, 5]), slice(9, 0, -4), -1, np.arange(143, 79, -1)],
)
def test_parts_of_images_by_any_index(index, end):
    """Placed anew, a network with parts of images gives the same numbers, or is refused as a part."""

    def make():
        with nengo.Network(seed=0) as net:
            nengo_loihi.add_params(net)
            net.u = nengo.Node(np.linspace(0, 1, 64))
            kinds = {"gain": nengo.dists.Choice([100]), "bias": nengo.dists.Choice([5])}
            a, b, c = (nengo.Ensemble(n, 1, neuron_type=nengo.SpikingRectifiedLinear(), **kinds) for n in (64, 144, 36))
            net.config[a].on_chip = False
            nengo.Connection(net.u, a.neurons, synapse=None)
            image = nengo.Convolution(4, (8, 8, 1), kernel_size=(3, 3), init=nengo.dists.Uniform(0, 0.4))
            nengo.Connection(a.neurons, b.neurons, transform=image)
            n = np.arange(144)[index].size
            if end == "from the chip":
                out = nengo.Node(size_in=n)
                nengo.Connection(b.neurons[index], out)
                nengo.Probe(out)
            elif end == "into the chip":
                part = np.unique(np.arange(144)[index])  # Nengo takes no masks with transforms
                nengo.Connection(b.neurons[part], c.neurons, transform=nengo.dists.Uniform(0, 0.1))
            elif end == "probe":
                nengo.Probe(b.neurons[index])
            elif n == 64:
                image = nengo.Convolution(1, (8, 8, 1), kernel_size=(3, 3), init=nengo.dists.Uniform(0, 0.4))
                nengo.Connection(b.neurons[index], c.neurons, transform=image)
            nengo.Probe(c.neurons)
        return net

    found = []
    for place in (False, True):
        net = make()
        if place:
            hardware.partition(net)
            hardware.check(net)
        with hardware.Simulator(net, "emulator") as sim:
            sim.run_steps(25)
            found.append([np.array(sim.data[p]) for p in net.probes])
    for before, after in zip(*found, strict=True):
        assert before.any() or before.size == 0 or end in ("from the chip", "probe", "to a convolution")
        assert np.array_equal(before, after)


def test_a_vector_on_the_chip_and_into_it_is_its_diagonal_matrix():
    weights = np.random.RandomState(0).uniform(0, 0.5, N)
    for pre in ("chip", "host", "node"):
        found = []
        for transform in (weights, np.diag(weights)):
            net = driven()
            with net:
                rng = np.random.RandomState(2)
                source = net.neurons.neurons
                if pre == "host":
                    host = ensemble(rng, net, N, nengo.SpikingRectifiedLinear(), on_chip=False)
                    nengo.Connection(net.u, host.neurons, transform=rng.uniform(0, 1, (N, 3)))
                    source = host.neurons
                elif pre == "node":
                    source = nengo.Node(np.linspace(-1, 1, N))
                post = ensemble(rng, net, N, nengo.SpikingRectifiedLinear())
                nengo.Connection(source, post.neurons, transform=transform, synapse=0.005, seed=5)
                net.p = nengo.Probe(post.neurons)
            found.append(outputs(net)[net.p])
        assert found[0].any() and np.array_equal(*found), pre
