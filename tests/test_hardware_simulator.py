"""hardware.Simulator: each sample of `predict` is what a fresh nengo_loihi.Simulator gives for it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.errors import InputError, MissingError, UnsupportedError
from cotrain.hardware.host import exact
from cotrain.hardware.simulator import predict as batch
from emulator_networks import ensemble, fresh_reference, nengo_loihi, random_network
from nengo.dists import Choice, Uniform

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def vision(neurons=None, readout="dense", seed=0, channels_last=True, amplitude=0.01):
    """Image → convolution on the host → two on the chip → dense or convolutional readout on the host."""
    rng = np.random.RandomState(seed)
    neurons = neurons or nengo_loihi.LoihiSpikingRectifiedLinear(amplitude=amplitude)
    shape = (8, 10, 2) if channels_last else (2, 8, 10)
    with nengo.Network(seed=seed) as net:
        nengo_loihi.add_params(net)
        net.image = nengo.Node(np.zeros(160), label="image")
        source, net.layers = net.image, {}
        for i, (filters, stride) in enumerate([(4, 1), (8, 2), (6, 1)]):
            transform = nengo.Convolution(
                filters,
                shape,
                strides=(stride, stride),
                padding="same",
                channels_last=channels_last,
                init=Uniform(-0.4, 0.9),
            )
            shape = transform.output_shape.shape
            layer = ensemble(rng, net, int(np.prod(shape)), neurons, label=f"conv{i}", on_chip=i > 0)
            nengo.Connection(source, layer.neurons, transform=transform, synapse=0.003 if i else None)
            net.layers[layer.label], source = layer, layer.neurons
        if readout == "dense":
            net.out = nengo.Node(size_in=5)
            nengo.Connection(source, net.out, transform=rng.uniform(-1, 1, (5, source.size_out)), synapse=0.01)
        else:
            relay = nengo.Node(size_in=source.size_out)
            nengo.Connection(source, relay, synapse=None)
            kernel = rng.uniform(-1, 1, (3, 3, 6, 2)).astype(np.float32)
            options = {"channels_last": channels_last, "init": kernel}
            if readout == "transposed":  # 4 x 5 pixels become 9 x 11, which overlap
                transform = nengo.transforms.ConvolutionTranspose(2, shape, strides=(2, 2), **options)
            else:
                transform = nengo.Convolution(2, shape, padding="same", **options)
            net.out = nengo.Node(size_in=transform.output_shape.size)
            nengo.Connection(relay, net.out, transform=transform, synapse=None)
        net.probe = nengo.Probe(net.out)
        net.filtered = nengo.Probe(net.out, synapse=0.005)
        net.spikes = nengo.Probe(layer.neurons)
        net.host_spikes = nengo.Probe(net.layers["conv0"].neurons[:7])
        net.voltage = nengo.Probe(layer.neurons[::3], "voltage")
    return net


def images(n, steps=1, size=160, seed=0):
    return np.random.RandomState(seed).uniform(0, 1, (n, steps, size))


def assert_predicts_fresh(net, node, x, n_steps, **kwargs):
    with hardware.Simulator(net, target="emulator", **kwargs) as sim:
        found = sim.predict({node: x}, n_steps=n_steps)
    for i, values in enumerate(x):
        for probe, expected in fresh_reference(net, node, values, n_steps).items():
            assert found[probe].dtype == expected.dtype, probe
            assert np.array_equal(found[probe][i], expected), (i, probe)
    return found


START = {"initial_state": {"voltage": Choice([0])}}
HOST_NEURONS = {
    "loihi-rectified": nengo_loihi.LoihiSpikingRectifiedLinear(amplitude=0.01),
    "loihi-lif": nengo_loihi.LoihiLIF(amplitude=0.02),
    "rectified": nengo.SpikingRectifiedLinear(amplitude=0.01, **START),
    "rectified from random voltages": nengo.SpikingRectifiedLinear(amplitude=0.01),
    "lif": nengo.LIF(amplitude=0.01, tau_ref=0.0013, min_voltage=-0.5, **START),
}


@pytest.mark.parametrize("neurons", list(HOST_NEURONS))
def test_constant_images(neurons):
    net = vision(HOST_NEURONS[neurons])
    found = assert_predicts_fresh(net, net.image, images(3), 30)
    assert found[net.spikes].any() and found[net.probe].any()


@pytest.mark.parametrize("readout", ["dense", "convolution", "transposed"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_images_that_change_and_all_readouts(readout, channels_last):
    net = vision(readout=readout, channels_last=channels_last, seed=2)
    assert_predicts_fresh(net, net.image, images(2, 25), 25)


@pytest.mark.parametrize("readout", ["convolution", "transposed"])
@pytest.mark.parametrize("amplitude", [0.005, 1 / 3])
def test_readout_convolution_with_and_without_rounding(amplitude, readout, monkeypatch):
    """1000 Hz · 0.005 = 5 makes every sum exact; 1000 · (1/3) does not, and nengo's own product is used."""
    net = vision(readout=readout, amplitude=amplitude)
    used = []
    for name in ("add", "add_listed"):
        original = getattr(exact.ExactConvolution, name)
        monkeypatch.setattr(
            exact.ExactConvolution, name, lambda *a, original=original: used.append(original(*a)) or used[-1]
        )
    found = assert_predicts_fresh(net, net.image, images(2), 20)
    assert found[net.probe].any()
    assert any(used) if amplitude == 0.005 else not all(used)


def test_threads_stay_from_one_call_to_the_next_and_go_with_the_simulator():
    net, x = vision(), images(6)
    before = set(threading.enumerate())
    with hardware.Simulator(net, target="emulator", threads=2) as sim:
        first = sim.predict({net.image: x}, n_steps=12)[net.probe]
        started = set(threading.enumerate()) - before
        sim.predict({net.image: x[::-1]}, n_steps=9)
        again = sim.predict({net.image: x[::-1]}, n_steps=12)[net.probe]
        assert 1 <= len(started) <= 2 and len(set(threading.enumerate()) - before) <= 2
        assert np.array_equal(first, again[::-1]) and first.any()
    del sim
    gc.collect()
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "n_samples, threads, size", [(1, 2, 4), (32, 2, 7), (64, 2, 7), (5, 8, 3), (100, 3, 32), (7, 1, 3)]
)
def test_batches_end_together(n_samples, threads, size):
    batches = batch.evenly(n_samples, threads, size)
    sizes = [end - first for first, end in batches]
    assert [first for first, _ in batches] == [0, *(end for _, end in batches[:-1])] and batches[-1][1] == n_samples
    assert 1 <= min(sizes) and max(sizes) <= min(size, min(sizes) + 1)
    assert len(batches) % threads == 0 or len(batches) == n_samples


def test_sums_that_round_are_told_from_sums_that_do_not():
    rng = np.random.RandomState(0)
    single = rng.uniform(-1, 1, (50, 3)).astype(np.float32).astype(np.float64)
    assert exact.sums_are_exact(single, 5.0)
    order = rng.permutation(50)
    assert np.array_equal((5.0 * single).sum(axis=0), sum(5.0 * single[i] for i in order))
    assert not exact.sums_are_exact(rng.uniform(-1, 1, (50, 3)), 5.0)
    assert not exact.sums_are_exact(single, 1 / 3)
    assert not exact.sums_are_exact(np.array([[2.0**40], [2.0**-40]]), 1.0)
    assert exact.sums_are_exact(np.zeros((4, 2)), 1 / 3)
    assert list(exact.lowest_bit([1.0, 3.0, 0.5, 6.0, -40.0])) == [0, 0, -1, 1, 3]


@pytest.mark.parametrize("seed", [s for s in range(24) if s % 4 != 2])
def test_random_networks_with_their_own_inputs(seed):
    net = random_network(seed)
    with nengo_loihi.Simulator(net, target="sim", seed=4) as sim:
        sim.run_steps(14)
        expected = {p: np.array(sim.data[p]) for p in net.all_probes}
    with hardware.Simulator(net, target="emulator", seed=4) as sim:
        found = sim.predict({}, n_steps=14)
    for probe in net.all_probes:
        assert np.array_equal(found[probe][0], expected[probe]), probe


@pytest.mark.parametrize("seed", [s for s in range(24) if s % 4 == 2])
def test_random_networks_that_build_differently_each_time(seed):
    """nengo-loihi gives connections that replace a passthrough node no seed: compare within one build."""
    net = random_network(seed)
    with hardware.Simulator(net, target="emulator", seed=4) as sim:
        sim.run_steps(14)
        found = sim.predict({}, n_steps=14)
        for probe in net.all_probes:
            assert np.array_equal(found[probe][0], sim.data[probe]), probe


def test_the_host_in_the_loop_with_given_inputs():
    with nengo.Network(seed=1) as net:
        stimulus = nengo.Node(np.zeros(1))
        ens = nengo.Ensemble(50, 1, max_rates=Uniform(100, 150))
        half = nengo.Node(lambda t, x: 0.5 * x, size_in=1)
        nengo.Connection(stimulus, ens)
        nengo.Connection(ens, half, synapse=0.01)
        nengo.Connection(half, ens, synapse=0.01)
        nengo.Probe(ens, synapse=0.01)
        nengo.Probe(half)
    x = np.random.RandomState(0).uniform(-1, 1, (3, 20, 1))
    assert_predicts_fresh(net, stimulus, x, 20)


def test_the_reference_target_predicts_the_same():
    net = vision()
    x = images(2, 12)
    with hardware.Simulator(net, target="emulator") as sim:
        found = sim.predict({net.image: x}, n_steps=12)
    with hardware.Simulator(net, target="reference") as sim:
        expected = sim.predict({net.image: x}, n_steps=12)
        again = sim.predict({net.image: x[::-1]}, n_steps=12)
    for probe in net.all_probes:
        assert np.array_equal(found[probe], expected[probe])
        assert np.array_equal(again[probe][::-1], expected[probe])


def test_run_steps_is_nengo_loihis():
    net = vision()
    net.image.output = images(1)[0, 0]
    with nengo_loihi.Simulator(net, target="sim", seed=0) as theirs:
        theirs.run_steps(10)
        theirs.run(0.015)
    with hardware.Simulator(net, target="emulator") as ours:
        ours.run_steps(10)
        ours.run(0.015)
        assert ours.n_steps == 25 and ours.time == theirs.time
    for probe in net.all_probes:
        assert np.array_equal(ours.data[probe], theirs.data[probe])
    assert np.array_equal(ours.trange(), theirs.trange())


def test_reset_and_predict_do_not_disturb_each_other():
    net = vision()
    x = images(2)
    net.image.output = x[0, 0]
    with hardware.Simulator(net, target="emulator") as sim:
        sim.run_steps(12)
        first = np.array(sim.data[net.probe])
        out = sim.predict({net.image: x}, n_steps=12)[net.probe]
        sim.run_steps(3)
        assert len(sim.data[net.probe]) == 15
        sim.reset()
        assert sim.n_steps == 0
        sim.run_steps(12)
        assert np.array_equal(sim.data[net.probe], first)
    assert np.array_equal(out[0], first)


def test_batches_and_threads_change_nothing(monkeypatch):
    net = vision()
    x = images(7)
    with hardware.Simulator(net, target="emulator", threads=2) as sim:
        expected = sim.predict({net.image: x}, n_steps=20)
        spikes = sim.stats.spikes["conv2"]
    monkeypatch.setattr(batch, "_MAX_BATCH", 1)
    with hardware.Simulator(net, target="emulator", threads=1) as sim:
        found = sim.predict({net.image: x}, n_steps=20)
        assert np.array_equal(sim.stats.spikes["conv2"], spikes)
    for probe in net.all_probes:
        assert np.array_equal(found[probe], expected[probe])


def test_last_steps():
    net = vision()
    with hardware.Simulator(net, target="emulator") as sim:
        whole = sim.predict({net.image: images(3)}, n_steps=20)
        part = sim.predict({net.image: images(3)}, n_steps=20, last_steps=6)
    for probe in net.all_probes:
        assert np.array_equal(part[probe], whole[probe][:, -6:])


@pytest.mark.parametrize("channels_last", [True, False])
def test_stats(channels_last):
    """Spikes against probes; synaptic operations against the geometry of the last layer."""
    net = vision(channels_last=channels_last)
    with net:
        nengo.Probe(net.layers["conv0"].neurons, label="all0")
        nengo.Probe(net.layers["conv1"].neurons, label="all1")
    everyone = {p.label: p for p in net.probes}
    with hardware.Simulator(net, target="emulator") as sim:
        out = sim.predict({net.image: images(4)}, n_steps=25)
        stats = sim.stats
    for label, probe in (("conv0", everyone["all0"]), ("conv1", everyone["all1"]), ("conv2", net.spikes)):
        fired = out[probe] > 0
        assert np.array_equal(stats.spikes[label], fired.sum(axis=(1, 2)))
        assert np.array_equal(stats.neuron_spikes[label], fired.sum(axis=(0, 1)))
    assert stats.input_spikes_max == (out[everyone["all0"]] > 0).sum(axis=2).max()
    # 3×3 "same": a spike of conv1 at (4, 5) pixels reaches its neighbourhood in 6 filters
    shape = (4, 5, 8) if channels_last else (8, 4, 5)
    per_pixel = (out[everyone["all1"]] > 0)[:, :-1].sum(axis=1).reshape((4,) + shape)
    per_pixel = per_pixel.sum(axis=3 if channels_last else 1)
    rows, cols = np.array([2, 3, 3, 2]), np.array([2, 3, 3, 3, 2])
    assert np.array_equal(stats.synops["conv2"], (per_pixel * np.outer(rows, cols) * 6).sum(axis=(1, 2)))
    assert stats.overflows == {"conv1": 0, "conv2": 0}


def test_stats_of_run_steps():
    net = vision()
    net.image.output = images(1)[0, 0]
    with hardware.Simulator(net, target="emulator") as sim:
        sim.run_steps(10)
        sim.run_steps(15)
        assert sim.stats.spikes["conv2"][0] == (sim.data[net.spikes] > 0).sum()
        assert sim.stats.input_spikes_max > 0
    with hardware.Simulator(net, target="reference") as sim:
        with pytest.raises(UnsupportedError, match="target='emulator'"):
            sim.stats  # noqa: B018


# --- refusals


@pytest.fixture(scope="module")
def open_sim():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = vision()
        with hardware.Simulator(net, target="emulator") as sim:
            yield net, sim


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda x: x[:, 0], r"expected shape \(n_samples, 1 or 9, 160\), got \(2, 160\)"),
        (lambda x: x[:, :, :5], r"expected shape .*160\), got \(2, 1, 5\)"),
        (lambda x: np.repeat(x, 4, axis=1), "expected shape"),
        (lambda x: x[:0], "no samples"),
        (lambda x: x.astype(str), "expected numbers, got dtype"),
        (lambda x: x.astype(complex), "expected numbers, got dtype"),
        (lambda x: np.where(x == x[1, 0, 3], np.nan, x), "value nan in sample 1, step 0, element 3"),
        (lambda x: np.where(x == x[0, 0, 7], np.inf, x), "value inf in sample 0"),
    ],
)
def test_bad_inputs(open_sim, edit, message):
    net, sim = open_sim
    with pytest.raises(InputError, match=message):
        sim.predict({net.image: edit(images(2))}, n_steps=9)


def test_bad_calls(open_sim):
    net, sim = open_sim
    with pytest.raises(InputError, match="not a node of this network"):
        sim.predict({nengo.Node(np.zeros(160), add_to_container=False): images(1)}, n_steps=3)
    for n_steps in (0, -1, 2.5):
        with pytest.raises(InputError, match="n_steps"):
            sim.predict({net.image: images(1)}, n_steps=n_steps)
    with pytest.raises(InputError, match="last_steps"):
        sim.predict({net.image: images(1)}, n_steps=3, last_steps=4)
    with pytest.raises(InputError, match="without incoming connections"):
        sim.predict({net.out: np.zeros((1, 1, net.out.size_out))}, n_steps=3)


def test_results_that_do_not_fit_memory_are_refused(open_sim, monkeypatch):
    net, sim = open_sim
    monkeypatch.setattr(batch, "RESULT_BYTES", 1000)
    with pytest.raises(InputError, match="last_steps"):
        sim.predict({net.image: images(2)}, n_steps=20)


def test_targets():
    net = vision()
    with pytest.raises(InputError, match="emulator, reference, loihi"):
        hardware.Simulator(net, target="sim")
    with pytest.raises(MissingError, match="NxSDK"):
        hardware.Simulator(net, target="loihi")
    with pytest.raises(InputError, match="nengo.Network"):
        hardware.Simulator("net", target="emulator")
    with pytest.raises(TypeError):
        hardware.Simulator(net)  # always explicit


def test_learning_needs_the_reference():
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node(np.zeros(1))
        pre, post = nengo.Ensemble(40, 1), nengo.Node(size_in=1)
        error = nengo.Node(size_in=1)
        nengo.Connection(stimulus, pre)
        conn = nengo.Connection(pre, post, function=lambda x: 0, learning_rule_type=nengo.PES(1e-2))
        nengo.Connection(post, error)
        nengo.Connection(stimulus, error, transform=-1)
        nengo.Connection(error, conn.learning_rule)
        probe = nengo.Probe(post)
    with pytest.raises(UnsupportedError, match="target='reference'"):
        hardware.Simulator(net, target="emulator")
    x = np.full((2, 1, 1), 0.5)
    with hardware.Simulator(net, target="reference") as sim:
        out = sim.predict({stimulus: x}, n_steps=60)[probe]
    assert out[0].any() and np.array_equal(out[0], out[1])  # what was learned is forgotten between samples
    with pytest.raises(nengo.exceptions.SimulatorClosed):
        sim.predict({stimulus: x}, n_steps=2)


def test_progress_is_shown_on_stderr(capsys):
    net = vision()
    with hardware.Simulator(net, target="emulator", progress=True) as sim:
        sim.predict({net.image: images(2)}, n_steps=4)
    captured = capsys.readouterr()
    assert "samples on the emulator: 2/2" in captured.err and captured.out == ""


def test_no_tensorflow_is_imported():
    code = (
        "import sys, numpy as np, nengo, hardware\n"
        "with nengo.Network(seed=0) as net:\n"
        "    ens = nengo.Ensemble(10, 1)\n"
        "    nengo.Probe(ens)\n"
        "with hardware.Simulator(net, target='emulator') as sim:\n"
        "    sim.predict({}, n_steps=3)\n"
        "assert not {'tensorflow', 'nengo_dl', 'keras'} & set(sys.modules)\n"
        "import pipeline  # and nothing was left hidden\n"
        "assert sys.modules.get('tensorflow', 0) is not None\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT)
