"""Networks: shapes, parameters, and every phase of one description against simulators that we did not write."""

import json
import subprocess
import sys

import nengo
import numpy as np
import pytest
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.errors import InputError
from cotrain.pipeline.experiment import NetworkSettings, NeuronSettings
from cotrain.pipeline.networks import IMAGE, NetworkSpec, build, decode, neurons_for, spec_for

LOCNET = NetworkSettings(name="locnet", filters=(3, 4), dense=(12, 6))
CAE = NetworkSettings(name="cae", filters=(3, 4, 5), bottleneck_layers=1)
SPECS = {"locnet": spec_for(LOCNET, (8, 16)), "cae": spec_for(CAE, (8, 12))}


def random_params(spec, seed=0):
    params = spec.init_params(seed)
    rng = np.random.RandomState(seed)
    for name in params:
        if name.endswith("bias"):
            params[name] += rng.uniform(0, 0.4, params[name].shape).astype(np.float32)
    return params


def random_image(spec, seed=0):
    return np.random.RandomState(seed).uniform(0, 1, spec.input_shape)


def run_nengo(built, image, n_steps):
    """Outputs of each layer and of the readout in Nengo's own simulator, (n_steps, size)."""
    built.image.output = image.ravel()
    with built.net:
        probes = {name: nengo.Probe(e.neurons) for name, e in built.layers.items()}
    with nengo.Simulator(built.net, progress_bar=False) as sim:
        sim.run_steps(n_steps)
        return {name: sim.data[p] for name, p in probes.items()}, sim.data[built.output]


def reference_rates(spec, params, image):
    """The rectified linear network by loops over pixels, without any convolution library."""
    outputs = {IMAGE: np.asarray(image, dtype=np.float64)}
    for layer in (*spec.layers, spec.readout):
        x = np.zeros(layer.output_shape) + params[f"{layer.name}.bias"]
        for edge in layer.edges():
            x += reference_linear(edge, outputs[edge.source], params[edge.param].astype(np.float64))
        outputs[layer.name] = x if layer is spec.readout else np.maximum(x, 0)
    return x


def reference_linear(edge, x, kernel):
    if edge.kind == "dense":
        return (x.ravel() @ kernel).reshape(edge.output_shape)
    above, below, left, right = edge.input.pad
    x, out = np.pad(x, ((above, below), (left, right), (0, 0))), np.zeros(edge.output_shape)
    (k, _), (stride, _) = edge.input.kernel, edge.input.stride
    n_large = max(x.shape[0], out.shape[0])
    total = (n_large - 1) // stride * stride + k - n_large
    before = max(total, 0) // 2 if edge.input.padding == "same" else 0
    for i, j in np.ndindex(*x.shape[:2]):
        for a, b in np.ndindex(k, k):
            if edge.kind == "conv_transpose":
                p, q = i * stride + a - before, j * stride + b - before
                if 0 <= p < out.shape[0] and 0 <= q < out.shape[1]:
                    out[p, q] += x[i, j] @ kernel[a, b]
                continue
            (p, rest_p), (q, rest_q) = divmod(i - a + before, stride), divmod(j - b + before, stride)
            inside = 0 <= p < out.shape[0] and 0 <= q < out.shape[1]
            if inside and not rest_p and not rest_q:
                out[p, q] += x[i, j] @ kernel[a, b]
    return out


def test_the_papers_networks_have_their_layers():
    locnet = spec_for(NetworkSettings(name="locnet", filters=(8, 16, 32), dense=(256, 128, 64)), (64, 128))
    assert [layer.name for layer in locnet.layers] == (
        ["conv1", "pool1", "conv2", "pool2", "conv3", "pool3", "dense1", "dense2", "dense3"]
    )
    assert [layer.output_shape for layer in locnet.layers if layer.name.startswith("pool")] == (
        [(32, 64, 8), (16, 32, 16), (8, 16, 32)]
    )
    assert locnet.output_shape == (4,)
    cae = spec_for(NetworkSettings(name="cae", filters=(16, 32, 64)), (40, 56))
    assert len(cae.layers) == 10 and cae.layers[0].n_neurons == 40 * 56 * 16
    shapes = {layer.name: layer.output_shape for layer in cae.layers}
    assert shapes["pool2"] == (10, 14, 32) and shapes["conv4"] == (10, 14, 64)
    assert shapes["up1"] == (20, 28, 32) and shapes["up2"] == (40, 56, 16)
    assert cae.output_shape == (40, 56, 1)


@pytest.mark.parametrize("pool_kernel", [1, 2, 3, 4])
def test_pooling_halves_exactly_in_nengo_too(pool_kernel):
    settings = NetworkSettings(name="cae", filters=(2, 3), pool_kernel=pool_kernel, bottleneck_layers=1)
    spec = spec_for(settings, (6, 10))
    params = spec.init_params(0)
    for edge in spec.edges():
        assert edge.transform(params[edge.param]).output_shape.shape == edge.output_shape


@pytest.mark.parametrize("shape", [(10, 16), (8, 18)])
def test_an_odd_resolution_is_refused(shape):
    with pytest.raises(InputError, match="multiples of 4"):
        spec_for(CAE, shape)


def test_an_unknown_network_is_refused():
    with pytest.raises(InputError, match="locnet, cae"):
        spec_for(NetworkSettings(name="lenet"), (8, 8))


@pytest.mark.parametrize("pool_kernel", [2, 3])
@pytest.mark.parametrize("name", ["locnet", "cae"])
def test_rates_equal_loops_over_pixels(name, pool_kernel):
    settings = {"locnet": LOCNET, "cae": CAE}[name]
    spec = spec_for(NetworkSettings(**{**vars(settings), "pool_kernel": pool_kernel}), (8, 12))
    params, image = random_params(spec), random_image(spec)
    neurons = neurons_for(NeuronSettings(kind="rectified", rate_curve="ideal"), "ann")
    _, readout = run_nengo(build(spec, neurons, params), image, 1)
    # Nengo computes in float64: only the order of sums differs, of at most 100 terms of size 1 per layer
    expected = reference_rates(spec, params, image)
    np.testing.assert_allclose(readout[-1].reshape(expected.shape), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["locnet", "cae"])
@pytest.mark.parametrize("kind", ["lif", "rectified"])
@pytest.mark.parametrize("rate_curve", ["ideal", "loihi"])
def test_biases_of_nodes_and_of_ensembles_give_the_same_spikes(name, kind, rate_curve):
    spec = SPECS[name]
    params, image = random_params(spec), random_image(spec)
    neurons = neurons_for(NeuronSettings(kind=kind, rate_curve=rate_curve), "spiking")
    runs = [run_nengo(build(spec, neurons, params, 0.002, bias_nodes=nodes), image, 40) for nodes in (False, True)]
    for layer in spec.layers:
        assert runs[0][0][layer.name].any(), "a silent layer would prove nothing"
        np.testing.assert_array_equal(runs[0][0][layer.name], runs[1][0][layer.name])


def test_the_filter_lies_between_layers_only():
    spec = spec_for(NetworkSettings(name="locnet", filters=(1,), dense=(1,), kernel=1, pool_kernel=1), (2, 2))
    params = {name: np.ones_like(value) for name, value in spec.init_params(0).items()}
    for layer in ("conv1", "pool1", "dense1"):
        params[f"{layer}.bias"][:] = 0
    neurons = neurons_for(NeuronSettings(rate_curve="ideal"), "ann")  # rates, so that the filter's course can be seen
    outputs, readout = run_nengo(build(spec, neurons, params, synapse_s=0.01), np.full((2, 2, 1), 0.5), 30)
    np.testing.assert_allclose(outputs["conv1"], 0.5)  # at once, from the first step
    decay = np.exp(-0.001 / 0.01)
    np.testing.assert_allclose(outputs["pool1"][:, 0], 0.5 * (1 - decay ** np.arange(30)), atol=1e-12)
    # the second filter, step by step: y(t + 1) = decay y(t) + (1 - decay) x(t)
    expected, y = [], 0.0
    for x in outputs["pool1"][:, 0]:
        expected.append(y)
        y = decay * y + (1 - decay) * x
    np.testing.assert_allclose(outputs["dense1"][:, 0], expected, atol=1e-12)
    np.testing.assert_allclose(readout[:, 0], outputs["dense1"][:, 0] + 1, atol=1e-12)  # the readout is not filtered


@pytest.mark.parametrize("kind", ["lif", "rectified"])
@pytest.mark.parametrize("rate_curve", ["ideal", "loihi"])
def test_an_activation_of_one_is_the_rate_scale(kind, rate_curve):
    settings = NeuronSettings(kind=kind, rate_curve=rate_curve, rate_scale_hz=130.0)
    spec = spec_for(NetworkSettings(name="locnet", filters=(1,), dense=(3,), kernel=1, pool_kernel=1), (2, 2))
    params = spec.init_params(0)
    params["conv1.kernel"][:] = 1  # passes the pixels on
    built = build(spec, neurons_for(settings, "spiking"), params)
    outputs, _ = run_nengo(built, np.ones((2, 2, 1)), 1000)
    rate_hz = outputs["conv1"].mean() * 130
    # 7.7 steps between spikes, and 8 on the chip; one spike more or less in a second
    assert abs(rate_hz - (125 if rate_curve == "loihi" else 130)) <= 1


def test_a_rate_scale_beyond_the_refractory_time_is_refused():
    with pytest.raises(InputError, match="below 500 Hz"):
        neurons_for(NeuronSettings(kind="lif", rate_scale_hz=500.0), "spiking")
    with pytest.raises(InputError, match="ann, hybrid, spiking, loihi"):
        neurons_for(NeuronSettings(), "deploy")


@pytest.mark.parametrize("name", ["locnet", "cae"])
@pytest.mark.parametrize("kind", ["lif", "rectified"])
def test_the_chip_fires_as_the_spiking_network(name, kind):
    nengo_loihi = import_nengo_loihi()
    spec = SPECS[name]
    params, image = random_params(spec), random_image(spec)
    settings = NeuronSettings(kind=kind)
    expected, _ = run_nengo(build(spec, neurons_for(settings, "spiking"), params, 0.002), image, 100)
    built = build(spec, neurons_for(settings, "loihi"), params, 0.002, loihi=True)
    built.image.output = image.ravel()
    with built.net:
        probes = {name: nengo.Probe(e.neurons) for name, e in built.layers.items()}
    with nengo_loihi.Simulator(built.net, target="sim", progress_bar=False) as sim:
        sim.run_steps(100)
        counts = {name: np.sum(sim.data[p] > 0) for name, p in probes.items()}
    for layer in spec.layers:
        n_spikes = np.sum(expected[layer.name] > 0)
        # the first layer is Nengo's own; behind it weights of 8 bits move each rate by some per cent, and
        # each hop delays by a step: what is asserted is that gains, biases and amplitudes mean the same there
        tolerance = 0 if layer is spec.layers[0] else 12 + 0.15 * n_spikes
        assert abs(counts[layer.name] - n_spikes) <= tolerance, layer.name


def test_parameters_of_another_network_are_refused():
    params = random_params(SPECS["cae"])
    neurons = neurons_for(NeuronSettings(), "loihi")
    with pytest.raises(InputError, match=r"not parameters of locnet: \['dense1"):
        build(SPECS["locnet"], neurons, params)
    with pytest.raises(InputError, match=r"conv1.bias has shape \(2,\); cae expects \(3,\)"):
        build(SPECS["cae"], neurons, {**params, "conv1.bias": np.zeros(2, np.float32)})
    params["up1.kernel"][0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="up1.kernel holds NaN"):
        build(SPECS["cae"], neurons, params)


@pytest.mark.parametrize("name", ["locnet", "cae"])
def test_a_description_survives_json(name):
    assert NetworkSpec.from_dict(json.loads(json.dumps(SPECS[name].to_dict()))) == SPECS[name]


def test_predictions_are_the_mean_of_the_last_steps():
    readout = np.arange(2 * 5 * 96, dtype=np.float32).reshape(2, 5, 96)
    logits = decode(SPECS["cae"], readout, readout_steps=2)
    assert logits.shape == (2, 96)
    np.testing.assert_array_equal(logits[1], (readout[1, 3] + readout[1, 4]) / 2.0)
    assert decode(SPECS["locnet"], readout[..., :4]).shape == (2, 4)


def test_initial_parameters_depend_on_the_seed_alone_and_keep_activity_of_size_one():
    spec = spec_for(NetworkSettings(name="cae", filters=(16, 32, 64)), (40, 56))
    first, again, other = spec.init_params(3), spec.init_params(3), spec.init_params(4)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["conv1.kernel"], other["conv1.kernel"])
    for layer in spec.layers[1:]:  # enough values that their deviation is within 10 %
        expected = np.sqrt(2 / layer.edges()[0].fan_in)
        assert abs(first[f"{layer.name}.kernel"].std() / expected - 1) < 0.1


def test_the_lab_host_needs_no_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['nengo_dl'] = None\n"
        "from cotrain.pipeline.experiment import NetworkSettings, NeuronSettings\n"
        "from cotrain.pipeline.networks import build, neurons_for, spec_for\n"
        "spec = spec_for(NetworkSettings(filters=(2,), dense=(3,)), (4, 4))\n"
        "print(len(build(spec, neurons_for(NeuronSettings(), 'loihi'), loihi=True).layers))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
