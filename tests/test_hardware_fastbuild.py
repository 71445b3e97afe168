"""The fast build against nengo-loihi's own: the same integers in the same order, whatever the network."""

from __future__ import annotations

import re
import sys
import time
import warnings
from pathlib import Path

import nengo
import numpy as np
import pytest
from cotrain.hardware.builder import fastbuild
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.builder.fastbuild import fast_model
from cotrain.hardware.compiler.compile import compile_network, program_from_model
from cotrain.hardware.errors import MisfitError
from cotrain.hardware.placement.cores import LoweredNetwork
from emulator_networks import ensemble, nengo_loihi, random_network
from nengo.dists import Choice, Uniform
from nengo.exceptions import BuildError

sys.path.append(str(Path(__file__).parent / "benchmarks"))
from architectures import CASES  # noqa: E402

builder = import_nengo_loihi("builder")
block_module = import_nengo_loihi("block")


def _plain(value, places):
    """Values without identities: objects of nengo-loihi as what they hold, arrays as their bytes."""
    if isinstance(value, block_module.Synapse):
        return places[value]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.generic):
        return value.dtype.str, value.tobytes()
    if isinstance(value, (list, tuple)):
        return [_plain(v, places) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v, places) for k, v in value.items()}
    if isinstance(value, str):
        return re.sub(" at 0x[0-9a-f]+", "", value)
    if isinstance(value, (block_module.SynapseConfig, block_module.Compartment, block_module.Axon)):
        return {k: _plain(v, places) for k, v in vars(value).items()}
    assert value is None or isinstance(value, (bool, int, float, slice, type)), type(value)
    return type(value), value


def _facts(model):
    """Everything that the chip would be given, in order."""
    places = {s: (b, k) for b, block in enumerate(model.blocks) for k, s in enumerate(block.synapses)}
    facts = {"n_blocks": len(model.blocks)}
    for b, block in enumerate(model.blocks):
        facts[b, "label"], facts[b, "n"] = _plain(block.label, {}), block.n_neurons
        facts[b, "compartment"] = _plain(block.compartment, {})
        facts[b, "axons"] = _plain(block.axons, places)
        facts[b, "members"] = list(model.block_comp_map[block])
        for k, synapse in enumerate(block.synapses):
            facts.update({(b, "synapse", k, name): _plain(v, {}) for name, v in vars(synapse).items()})
    for i, spike_input in enumerate(model.inputs):
        facts["input", i] = _plain(spike_input.axons, places)
    blocks = list(model.blocks)
    for i, probe in enumerate(model.probes):
        facts["probe", i] = probe.key, [blocks.index(b) for b in probe.target], _plain(probe.slice, {})
        facts["probe weights", i] = _plain([probe.weights, probe.reindexing], {})
    for i, built in enumerate(v for k, v in model.params.items() if isinstance(k, nengo.Ensemble)):
        facts["ensemble", i] = _plain(tuple(built), {})
    hosts = [v for host in (model.host_pre, model.host) for v in host.params.values()]
    for i, built in enumerate(v for v in hosts if hasattr(v, "encoders")):
        facts["host ensemble", i] = _plain(tuple(built), {})
    facts["next draw"] = np.random.randint(2**31 - 1)
    return facts


def _built(model, net, **kwargs):
    np.random.seed(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.process_time()
        model.build(net, **kwargs)
        seconds = time.process_time() - start
    return _facts(model), {_plain(str(w.message), {}) for w in caught}, seconds


def assert_same_build(net, **kwargs):
    """Returns the model of the fast build, and its share of nengo-loihi's processor time."""
    expected, expected_warnings, slow_s = _built(builder.Model(dt=0.001), net, **kwargs)
    model = fast_model(0.001)
    found, found_warnings, fast_s = _built(model, net, **kwargs)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name] == value, name
    assert found_warnings == expected_warnings
    for look in (False, True):
        assert_same_passes(net, look, expected, expected_warnings, **kwargs)
    return model, fast_s / slow_s


def assert_same_passes(net, look, expected, expected_warnings, **kwargs):
    """The passes one at a time; where they only look, nobody notices."""
    np.random.seed(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _facts(LoweredNetwork(net, 0.001, look=look, **kwargs).integers())
    unseen = {"next draw": np.random.RandomState(1).randint(2**31 - 1)} if look else {}
    assert found == {**expected, **unseen}
    assert {_plain(str(w.message), {}) for w in caught} == (set() if look else expected_warnings)


@pytest.mark.parametrize("seed", range(28))
def test_random_networks(seed):
    # nengo-loihi gives what it makes of passthrough nodes no seed: decoders there differ from build to build
    assert_same_build(random_network(seed), remove_passthrough=seed % 4 != 2)


def _convolution(kind, shape, filters, kernel, stride, padding, channels_last, pop_type, block=None, init=None):
    """A host layer, and one convolution on the chip."""
    rng = np.random.RandomState(0)
    transform = kind(
        filters,
        shape if channels_last else (shape[-1], *shape[:-1]),
        kernel_size=kernel,
        strides=stride,
        padding=padding,
        channels_last=channels_last,
        init=Uniform(-0.3, 0.6) if init is None else init,
    )
    with nengo.Network(seed=3) as net:
        nengo_loihi.add_params(net)
        source = ensemble(rng, net, int(np.prod(shape)), on_chip=False)
        out = transform.output_shape.shape
        layer = ensemble(rng, net, int(np.prod(out)), block=block, shape=out)
        conn = nengo.Connection(source.neurons, layer.neurons, transform=transform, synapse=0.005)
        net.config[conn].pop_type = pop_type
        nengo.Probe(layer.neurons)
    return net


CONVOLUTIONS = {
    "same": (nengo.Convolution, (9, 7, 3), 8, (3, 3), (1, 1), "same", True, 32),
    "stride 2": (nengo.Convolution, (9, 8, 3), 8, (3, 3), (2, 2), "same", True, 32),
    "stride 2, valid": (nengo.Convolution, (9, 8, 3), 8, (3, 2), (2, 2), "valid", True, 32),
    "pixels that nothing uses": (nengo.Convolution, (9, 8, 2), 4, (1, 2), (3, 3), "valid", True, 16),
    "kernel of two shapes": (nengo.Convolution, (7, 9, 2), 4, (2, 5), (1, 2), "same", True, 16),
    "channels first": (nengo.Convolution, (9, 7, 3), 5, (3, 3), (1, 1), "same", False, 32),
    "channels first, stride 2": (nengo.Convolution, (12, 9, 2), 6, (3, 3), (2, 2), "valid", False, 32),
    "offsets beyond 256": (nengo.Convolution, (12, 10, 2), 12, (3, 3), (1, 1), "same", True, 16),
    "many atoms": (nengo.Convolution, (4, 4, 40), 4, (3, 3), (1, 1), "same", True, 16),
    "transposed": (nengo.ConvolutionTranspose, (5, 4, 3), 4, (2, 2), (2, 2), "valid", True, 32),
    "transposed, overlapping": (nengo.ConvolutionTranspose, (5, 4, 3), 4, (3, 3), (2, 2), "valid", True, 16),
    "transposed, same": (nengo.ConvolutionTranspose, (6, 5, 2), 4, (3, 3), (1, 1), "same", True, 32),
    "transposed, channels first": (nengo.ConvolutionTranspose, (5, 4, 3), 5, (3, 2), (2, 1), "valid", False, 32),
}


@pytest.mark.parametrize("cut", ["rows and columns", "channels", "automatic"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, cut):
    arguments = CONVOLUTIONS[name]
    channels_last = arguments[6]
    out = arguments[0](
        arguments[2],
        arguments[1] if channels_last else (arguments[1][-1], *arguments[1][:-1]),
        kernel_size=arguments[3],
        strides=arguments[4],
        padding=arguments[5],
        channels_last=channels_last,
    ).output_shape
    rows, columns = (max(1, -(-n // 2)) for n in out.spatial_shape)
    block = {
        "rows and columns": (rows, columns, out.n_channels),
        "channels": (*out.spatial_shape, 4 if out.n_channels > 4 else out.n_channels),
        "automatic": None,
    }[cut]
    if block is not None and not channels_last:
        block = (block[-1], *block[:-1])
    assert_same_build(_convolution(*arguments, block))


@pytest.mark.parametrize("values", [[0.5], [0.5, -0.5]])
@pytest.mark.parametrize("channels_last", [True, False])
def test_kernels_of_few_values(values, channels_last):
    """Parts of a kernel that hold the same numbers are stored once only where they have the same targets."""
    block = (3, 4, 2) if channels_last else (2, 3, 4)
    shape = (nengo.Convolution, (8, 7, 2), 4, (3, 3), (1, 1), "same", channels_last, 32)
    kernel = np.random.RandomState(0).choice(values, (3, 3, 2, 4))
    assert_same_build(_convolution(*shape, block, init=kernel))


def _dense(weights, block, gain=None):
    rng = np.random.RandomState(0)
    with nengo.Network(seed=3) as net:
        nengo_loihi.add_params(net)
        source = ensemble(rng, net, weights.shape[1])
        layer = ensemble(rng, net, weights.shape[0], block=block, shape=(weights.shape[0],))
        if gain is not None:
            layer.gain = gain
        nengo.Connection(source.neurons, layer.neurons, transform=weights, synapse=0.005)
        nengo.Probe(layer.neurons[::3])
    return net


@pytest.mark.parametrize("block", [None, (7,), (20,)])
def test_dense_weights_that_repeat(block):
    """Equal weights are stored once; zeros of both signs are not equal."""
    weights = np.random.RandomState(0).choice([0.0, -0.0, 0.5], (20, 30))
    weights[:, 10:20] = weights[:, :10]
    weights[:7, 20:] = weights[:7, :1]
    assert_same_build(_dense(weights, block))


@pytest.mark.parametrize("block", [None, (7,)])
def test_gains_of_their_own_and_tiny_weights(block):
    weights = np.random.RandomState(0).uniform(-1, 1, (20, 30)) * np.logspace(-9, -2, 30)
    assert_same_build(_dense(weights, block, gain=Uniform(50, 200)))
    assert_same_build(_dense(weights * 0, block))


@pytest.mark.parametrize("block", [None, (7,)])
def test_sparse_weights(block):
    weights = np.random.RandomState(0).uniform(-1, 1, (20, 30)) * (np.random.RandomState(1).rand(20, 30) < 0.2)
    weights[:, 4] = 0  # an axon without targets
    assert_same_build(_dense(nengo.Sparse(weights.shape, init=_coo(weights)), block))
    alone = np.zeros((20, 30))
    alone[2, 4] = 0.1  # blocks without synapses
    assert_same_build(_dense(nengo.Sparse(alone.shape, init=_coo(alone)), block))


def _coo(weights):
    import scipy.sparse

    return scipy.sparse.coo_matrix(weights)


def test_on_chip_learning():
    with nengo.Network(seed=0) as net:
        pre, post = nengo.Ensemble(40, 1), nengo.Node(size_in=1)
        error = nengo.Node(size_in=1)
        conn = nengo.Connection(pre, post, learning_rule_type=nengo.PES())
        nengo.Connection(post, error)
        nengo.Connection(error, conn.learning_rule)
    assert_same_build(net)


def test_a_whole_architecture():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = CASES["locnet"]().net
        model, share = assert_same_build(net)
        assert program_from_model(model).digest == compile_network(net).digest
    assert share < 1 / 3  # measured: 1 / 10


def test_errors_are_nengo_loihis():
    net = _convolution(nengo.Convolution, (16, 16, 2), 8, (1, 1), (1, 1), "same", True, 32, block=(16, 16, 8))
    with pytest.raises(BuildError, match="exceeded max") as expected:
        builder.Model(dt=0.001).build(net)
    with pytest.raises(MisfitError, match=re.escape(_plain(str(expected.value), {})[:20])):
        compile_network(net)


@pytest.mark.parametrize("atoms", [[0, 2], [0, 3], [-1, 2]])
def test_atoms_are_checked(atoms):
    synapse, axon = block_module.Synapse(1), block_module.Axon(2)
    synapse.set_population_weights([np.ones((3, 2))], [np.zeros((3, 2), int)], np.zeros(1, int), np.zeros(1, int))
    axon.target = synapse
    axon.set_compartment_axon_map(np.zeros(2, int), atoms=np.array(atoms))
    outcomes = []
    for validate in (import_nengo_loihi("builder.validate").validate_axon, fastbuild._validate_axon):
        try:
            outcomes.append(validate(axon))
        except AssertionError:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1] == (None if atoms == [0, 2] else "refused")


def test_nengo_loihi_stays_as_it_is():
    modules = [m for name, m in sys.modules.items() if name.startswith(("nengo_loihi", "nengo.builder"))]
    before = [dict(vars(m)) for m in modules]
    tables = dict(builder.Builder.builders), dict(nengo.builder.Builder.builders)
    fast_model(0.001).build(_convolution(*CONVOLUTIONS["same"], block=(3, 7, 8)))
    for module, names in zip(modules, before, strict=True):
        assert {k: id(v) for k, v in names.items()} == {k: id(v) for k, v in vars(module).items()}, module.__name__
    assert tables == (builder.Builder.builders, nengo.builder.Builder.builders)


def test_build_functions_of_others_are_used(monkeypatch):
    seen, original = [], builder.Builder.builders[nengo.Ensemble]
    monkeypatch.setitem(
        builder.Builder.builders, nengo.Ensemble, lambda model, ens: (seen.append(ens), original(model, ens))
    )
    fast_model(0.001).build(_dense(np.full((4, 3), 0.1), None))
    assert len(seen) == 2


def test_another_version_builds_by_itself(monkeypatch):
    monkeypatch.setattr(import_nengo_loihi("version"), "version_info", (1, 2, 0))
    model = fast_model(0.001)
    assert type(model.builder) is builder.Builder
    assert type(model.host.builder) is nengo.builder.Builder


@pytest.mark.parametrize("shape", [(1,), (7,), (1, 3), (50, 1), (33, 4), (5, 2, 3), (0, 2), (4, 0)])
def test_shuffle_draws_as_numpy(shape):
    ours, numpys = fastbuild._QuickShuffle(5), np.random.RandomState(5)
    a, b = (np.arange(np.prod(shape, dtype=int)).reshape(shape) for _ in range(2))
    ours.shuffle(a)
    numpys.shuffle(b)
    assert np.array_equal(a, b)
    assert ours.randint(10**9) == numpys.randint(10**9)


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_evaluation_points_leave_the_generator_where_nengo_does(dimensions):
    """Also what the generator keeps for the next normal draw."""
    with nengo.Network():
        ens = nengo.Ensemble(31, dimensions, eval_points=nengo.dists.UniformHypersphere(), encoders=Choice([[1.0]]))
    a, b = np.random.RandomState(2), np.random.RandomState(2)
    a.randn(1), b.randn(1)
    found = fastbuild.Draws(None).eval_points(ens, ens.eval_points, rng=a)
    assert np.array_equal(found, nengo.builder.ensemble.gen_eval_points(ens, ens.eval_points, rng=b))
    assert a.randn() == b.randn() and a.randint(10**9) == b.randint(10**9)


def _wide(d, **arguments):
    """An ensemble of d dimensions of which the neurons alone are used, and a node of d dimensions into neurons."""
    with nengo.Network(seed=3) as net:
        node = nengo.Node(np.linspace(0, 1, d))
        wide = nengo.Ensemble(12, d, label="wide", **arguments)
        nengo.Connection(node, wide.neurons, transform=np.full((12, d), 0.05))
        nengo.Probe(wide.neurons)
    return net


def test_what_nobody_reads_is_not_drawn_and_all_else_is(monkeypatch):
    """Gains and biases come from the same random state as nengo-loihi's, which draws points and encoders first."""
    monkeypatch.setattr(fastbuild, "WIDE", 3)
    net = _wide(9, max_rates=nengo.dists.Uniform(50, 90))
    expected, found = builder.Model(dt=0.001), LoweredNetwork(net, 0.001).integers()
    expected.build(net)
    for ours, theirs in zip(found.blocks, expected.blocks, strict=True):
        np.testing.assert_array_equal(ours.compartment.bias, theirs.compartment.bias)
        np.testing.assert_array_equal(ours.compartment.vth, theirs.compartment.vth)
    assert np.isnan(found.params[net.all_ensembles[0]].eval_points).all()  # nobody has drawn any


def test_thousands_of_dimensions_need_no_svd(monkeypatch):
    """An SVD of a matrix of 2000 by 2000 takes many seconds, and Nengo does one for points and one for encoders."""

    def svd(matrix):
        raise AssertionError(f"an SVD of {matrix.shape}")

    monkeypatch.setattr(np.linalg, "svd", svd)
    start = time.process_time()
    assert LoweredNetwork(_wide(2000), 0.001).integers().blocks
    assert time.process_time() - start < 10
