"""Errors of the integers against errors computed by hand, and rates against nengo_loihi's emulator."""

from __future__ import annotations

from types import SimpleNamespace

import nengo
import numpy as np
import pytest
from cotrain import hardware
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.chip.limits import LOIHI1
from cotrain.hardware.errors import InputError
from cotrain.hardware.placement.cores import place
from cotrain.hardware.preflight.quantization import quantization_error, steady_rate
from partition_networks import chain, conv, neurons


def biased(neuron_type, bias, weights=None):
    """Neurons driven by their bias alone, or by a silent input with the given weights besides."""
    n = len(bias)
    with nengo.Network(seed=0) as net:
        post = nengo.Ensemble(n, 1, neuron_type=neuron_type, gain=np.ones(n), bias=bias, label="post")
        if weights is not None:
            pre = neurons(weights.shape[1], "pre")
            import_nengo_loihi().add_params(net)
            net.config[pre].on_chip = False
            nengo.Connection(pre.neurons, post.neurons, transform=weights, synapse=0.005)
        net.probe = nengo.Probe(post.neurons)
    return net


NEURONS = {
    "rectified": (nengo.SpikingRectifiedLinear(), np.linspace(-20, 400, 60)),
    "lif": (nengo.LIF(tau_rc=0.02, tau_ref=0.002), np.linspace(0.5, 12, 60)),
    "lif, short": (nengo.LIF(tau_rc=0.005, tau_ref=0.004), np.linspace(0.9, 5, 60)),
}


@pytest.mark.parametrize("case", NEURONS)
def test_steady_rate_is_what_the_emulator_fires(case):
    """Spikes in 2000 steps; a spike more or less is where the last interval is cut off."""
    neuron_type, bias = NEURONS[case]
    net = biased(neuron_type, bias)
    with import_nengo_loihi().Simulator(net, target="sim", seed=0, progress_bar=False) as sim:
        sim.run_steps(2000)
        spikes = (sim.data[net.probe] > 0).sum(axis=0)
    at = place(net, LOIHI1).cores[0].block.compartment
    rates = steady_rate(at.bias, at.vth, 1 - at.decay_v / 4096, at.refract_delay, 0.001)
    if np.all(at.decay_v == 0):
        assert np.all(np.abs(rates * 2 - spikes) <= 1)
    else:  # each step of a leaky voltage rounds towards zero, which can put off a spike by a step
        assert np.all(np.abs(rates * 2 - spikes) <= 1 + spikes**2 / 2000)
    assert spikes.max() > 200 and spikes.min() == 0


def test_weight_error_by_hand():
    """One row of weights: the largest becomes 254 (steps of 2 up to 255), the others round to even numbers."""
    weights = np.array([[1.0, -0.5, 0.1, 0.003, 0.0]])
    net = biased(nengo.SpikingRectifiedLinear(), np.zeros(1), weights)
    expected = 2 * np.clip(np.round(weights * 255 / 2), -127, 127) / 255
    (layer,) = quantization_error(net)["layers"]
    assert layer["weight_error"] == pytest.approx(
        np.sqrt(np.sum((expected - weights) ** 2) / np.sum(weights**2)), rel=1e-4
    )
    assert layer["weights_zeroed"] == 1 / 4
    assert layer["weight_bits_lost"] == 0


def test_weights_small_against_the_threshold_lose_bits():
    """nengo_loihi warns of as many."""
    weights = np.array([[2e-5 * 100, 1e-5 * 100]]) / 100
    net = biased(nengo.SpikingRectifiedLinear(), np.zeros(1), weights * 100)
    (layer,) = quantization_error(net)["layers"]
    with pytest.warns(UserWarning, match=f"Lost {layer['weight_bits_lost']} extra bits"):
        with import_nengo_loihi().Simulator(net, target="sim", seed=0):
            pass
    assert layer["weight_bits_lost"] > 0


def test_time_constants():
    """12 bits, rounded towards zero: asked for and got agree within one part in 4096 of the decay."""
    net = biased(nengo.LIF(tau_rc=0.02), np.ones(3), np.ones((3, 2)))
    (layer,) = quantization_error(net)["layers"]
    assert layer["tau_current_s"] == pytest.approx(0.005, rel=1e-5)
    assert layer["tau_voltage_s"] == pytest.approx(0.02, rel=1e-5)
    for name, tau in (("current", 0.005), ("voltage", 0.02)):
        decay, got = -np.expm1(-0.001 / tau), -np.expm1(-0.001 / layer[f"tau_{name}_chip_s"])
        assert abs(decay - got) <= 2 / 4096
        assert got != decay
    net = biased(nengo.SpikingRectifiedLinear(), np.ones(1), np.ones((1, 1)))
    (layer,) = quantization_error(net)["layers"]
    assert layer["tau_voltage_s"] is None and layer["tau_voltage_chip_s"] is None


def test_biases_and_thresholds_by_hand():
    """Thresholds are multiples of 64, biases have 12 bits, both on the scale that the weights set."""
    bias = np.array([0.0, 0.123, 31.7, 700.0])
    net = biased(nengo.SpikingRectifiedLinear(), bias, np.full((4, 1), 1.0))
    (layer,) = quantization_error(net)["layers"]
    placed = place(net, LOIHI1)
    at = placed.cores[0].block.compartment
    scale = at.discretize_info["v_scale"]
    threshold = 64 * np.round(1000 * scale / 64)
    assert layer["threshold_error"] == pytest.approx(abs(threshold / scale / 1000 - 1), rel=1e-3)
    assert layer["threshold_error"] <= 32 / (1000 * scale)
    exponent = np.ceil(np.log2(np.maximum(np.round(bias * scale) / 4095, 1)))
    integer = np.round(np.round(bias * scale) / 2**exponent) * 2**exponent
    assert layer["bias_error"] == pytest.approx(np.sqrt(np.mean((integer / scale - bias) ** 2)) / 1000, rel=1e-2)


def test_rates_follow_what_a_run_measured():
    """Mean-field rates from measured presynaptic ones are close to the rates of the same run."""
    net = chain((8, 8, 1), [conv(2, 1), conv(4, 3), conv(4, 3)], biases=True)
    hardware.partition(net, layout="keep")
    n_steps = 400
    with hardware.Simulator(net, target="emulator", seed=0) as sim:
        sim.predict({net.image: net.image.output[None, None]}, n_steps=n_steps)
        stats = sim.stats
    found = quantization_error(net, stats=stats, n_steps=n_steps)
    assert found["rates_from"] == "stats"
    for layer in found["layers"]:
        measured = stats.neuron_spikes[layer["name"]].mean() / (n_steps * 0.001)
        assert layer["rate_chip_hz"] == pytest.approx(measured, rel=0.15)
        assert layer["rate_error_hz"] < 0.05 * layer["rate_hz"]


def test_rates_without_a_run_start_from_the_given_rate():
    """100 Hz times 2.1 is a current of 210 for a threshold of 1000: exceeded in the fifth step, so 200 Hz."""
    net = biased(nengo.SpikingRectifiedLinear(), np.zeros(1), np.array([[2.1]]))
    (layer,) = quantization_error(net, input_rate_hz=100)["layers"]
    assert layer["rate_hz"] == pytest.approx(200)
    (layer,) = quantization_error(net, input_rate_hz=0)["layers"]
    assert (layer["rate_hz"], layer["rate_error_hz"]) == (0, 0)


def test_a_layer_cut_by_channel_is_rounded_less():
    """Each block has a scale of its own."""
    BlockShape = import_nengo_loihi("config").BlockShape
    error = {}
    for channels in (4, 1):
        net = chain((8, 8, 1), [conv(2, 1), conv(4, 3)], seed=3)
        transform = net.conns[1].transform
        kernel = transform.init * np.array([1.0, 0.1, 0.01, 0.001])
        net.conns[1].transform = nengo.Convolution(4, transform.input_shape, kernel_size=(3, 3), init=kernel)
        net.config[net.layers[1]].block_shape = BlockShape((6, 6, channels), (6, 6, 4))
        (layer,) = quantization_error(net)["layers"]
        error[channels] = layer
    assert error[1]["weights_zeroed"] < 0.1 < error[4]["weights_zeroed"]
    assert error[1]["rate_error_hz"] < error[4]["rate_error_hz"]


def test_stats_need_the_number_of_steps():
    net = biased(nengo.SpikingRectifiedLinear(), np.ones(1))
    with pytest.raises(InputError, match="pass n_steps"):
        quantization_error(net, stats=SimpleNamespace(neuron_spikes={}, spikes={}))
