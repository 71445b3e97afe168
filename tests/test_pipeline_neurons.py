"""Hybrid neurons: spikes equal to other simulators', gradients equal to hand computation, state that is carried."""

import nengo
import numpy as np
import pytest
from cotrain.pipeline.neurons import lif, rectified
from cotrain.pipeline.neurons.nengo_types import AT_REST as REST
from cotrain.pipeline.neurons.nengo_types import NeuronModel, hybrid_output, nengo_dl, rate_output, tf

SimNeuronsBuilder = nengo_dl.neuron_builders.SimNeuronsBuilder
AMPLITUDE = 0.005
LIF = {"tau_rc": 0.02, "tau_ref": 0.002, "amplitude": AMPLITUDE}
RECTIFIED = {"amplitude": AMPLITUDE}
AT_REST = {"initial_state": REST}

# name -> (ours, the neuron whose spikes it must give)
SPIKING = {
    "lif": (lif.HybridLIF(smoothing=0.005, **LIF, **AT_REST), nengo.LIF(**LIF, **AT_REST)),
    "rectified": (
        rectified.HybridRectified(**RECTIFIED, **AT_REST),
        nengo.SpikingRectifiedLinear(**RECTIFIED, **AT_REST),
    ),
    "loihi-lif": (
        lif.HybridLoihiLIF(smoothing=0.005, **LIF),
        lif.loihi.LoihiLIF(**LIF),
    ),
    "loihi-rectified": (
        rectified.HybridLoihiRectified(**RECTIFIED),
        lif.loihi.LoihiSpikingRectifiedLinear(**RECTIFIED),
    ),
}
MODELS = {
    "lif": NeuronModel("lif", False, smoothing=0.005),
    "rectified": NeuronModel("rectified", False),
    "loihi-lif": NeuronModel("lif", True, smoothing=0.005),
    "loihi-rectified": NeuronModel("rectified", True),
}


def currents(name, shape, seed=0):
    """Currents from below threshold to the highest rates, changing at every step."""
    highest = 12 if "lif" in name else 1600
    return np.random.RandomState(seed).uniform(-0.2 * highest, highest, shape).astype(np.float32)


def network(neuron_type, n):
    """Currents from a node straight into n neurons."""
    with nengo.Network(seed=0) as net:
        node = nengo.Node(np.zeros(n))
        ensemble = nengo.Ensemble(
            n, 1, neuron_type=neuron_type, gain=np.ones(n), bias=np.zeros(n), encoders=np.ones((n, 1))
        )
        nengo.Connection(node, ensemble.neurons, synapse=None)
        probe = nengo.Probe(ensemble.neurons)
    return net, node, probe


def predict(neuron_type, current):
    """NengoDL's inference; current (n_samples, n_steps, n)."""
    net, node, probe = network(neuron_type, current.shape[-1])
    with nengo_dl.Simulator(net, minibatch_size=len(current), progress_bar=False) as sim:
        return sim.predict_on_batch({node: current})[probe]


@pytest.fixture
def without_our_builders(monkeypatch):
    """NengoDL as without this project: it runs nengo-loihi's own code for the chip's neurons."""
    for name in ("loihi-lif", "loihi-rectified"):
        monkeypatch.delitem(SimNeuronsBuilder.TF_NEURON_IMPL, type(SPIKING[name][1]))


@pytest.mark.filterwarnings("ignore:.*falling back to Python implementation")
@pytest.mark.parametrize("name", SPIKING)
def test_spikes_equal_nengo_dls_inference(name, without_our_builders):
    ours, theirs = SPIKING[name]
    current = currents(name, (3, 80, 60))
    spikes = predict(ours, current)
    assert np.count_nonzero(spikes) > 1000
    expected = predict(theirs, current)
    np.testing.assert_array_equal(spikes == 0, expected == 0)
    # NumPy takes amplitude / dt in double precision before it rounds: the last bit of a spike's size
    np.testing.assert_allclose(spikes, expected, rtol=np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", SPIKING)
def test_the_forward_pass_of_training_equals_inference(name):
    ours, _ = SPIKING[name]
    current = currents(name, (2, 50, 40))
    net, node, probe = network(ours, 40)
    with nengo_dl.Simulator(net, minibatch_size=2, progress_bar=False) as sim:
        expected = sim.predict_on_batch({node: current})[probe]
        inputs = [current, np.full((2, 1), 50, np.int32)]
        np.testing.assert_array_equal(sim.keras_model(inputs, training=True)[0], expected)


@pytest.mark.parametrize("name", SPIKING)
def test_spikes_equal_nengos(name):
    ours, theirs = SPIKING[name]
    current = currents(name, (1, 80, 60))
    net, node, probe = network(theirs, 60)
    node.output = nengo.processes.PresentInput(current[0], 0.001)
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(80)
        expected = sim.data[probe] > 0
    # Nengo computes in float64. No voltage comes so near to the threshold here that float32 decides otherwise.
    np.testing.assert_array_equal(predict(ours, current)[0] > 0, expected)


@pytest.mark.parametrize("name", SPIKING)
def test_state_is_carried_over_steps_and_not_over_samples(name):
    ours, _ = SPIKING[name]
    current = currents(name, (4, 30, 20))
    together = predict(ours, current)
    np.testing.assert_array_equal(predict(ours, current[::-1])[::-1], together)
    net, node, probe = network(ours, 20)
    with net:
        nengo_dl.configure_settings(stateful=False)
    with nengo_dl.Simulator(net, minibatch_size=1, progress_bar=False) as sim:
        for sample, expected in zip(current, together, strict=True):
            np.testing.assert_array_equal(sim.predict_on_batch({node: sample[None]})[probe][0], expected)
    halves = np.concatenate([predict(ours, current[:, :15]), predict(ours, current[:, 15:])], axis=1)
    assert not np.array_equal(halves, together), "a run that starts anew in the middle must differ"


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def slope_by_hand(name, j):
    """d rate / d J in float64, differentiated on paper from the equations of the paper and of the chip."""
    half_step = 0.0005 if name.startswith("loihi") else 0.0
    if "rectified" in name:
        return np.where(j > 0, 1 / (1 + half_step * np.maximum(j, 0)) ** 2, 0)
    tau_rc, tau_ref, gamma = 0.02, 0.002 + half_step, 0.005
    if name == "loihi-lif":  # a decay of 12 bits
        decay = np.round(-np.expm1(-0.001 / tau_rc) * 4095) / 4095
        tau_rc = -0.001 / np.log1p(-decay)
    rho = gamma * softplus((j - 1) / gamma)
    rate = 1 / (tau_ref + tau_rc * np.log1p(1 / rho))
    d_rho = 1 / (1 + np.exp(-(j - 1) / gamma))
    return rate**2 * tau_rc / (rho * (rho + 1)) * d_rho


@pytest.mark.parametrize("output", ["rate", "hybrid"])
@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_that_of_the_rate_curve(name, output):
    highest = 12 if "lif" in name else 1600
    j = np.concatenate([np.linspace(0.97, 1.03, 25), np.linspace(-0.2 * highest, highest, 101)])
    current = tf.constant(j[None], tf.float64)
    model = MODELS[name]
    with tf.GradientTape() as tape:
        tape.watch(current)
        if output == "rate":
            value = rate_output(model, current, AMPLITUDE)
        else:
            state = tuple(0.7 * tf.ones_like(current) * (k == "voltage") for k in model.state_names)
            value, _ = hybrid_output(model, current, state, AMPLITUDE)
    gradient = tape.gradient(value, current).numpy()[0] / AMPLITUDE
    expected = slope_by_hand(name, j)
    # double precision; near the threshold log(1 + 1 / rho) loses up to six of its sixteen digits
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12 * expected.max())
    assert np.all(np.isfinite(gradient)) and gradient.max() > 0


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_does_not_go_through_the_state(name):
    model = MODELS[name]
    state = tuple(tf.constant([[0.4]]) * (k == "voltage") for k in model.state_names)
    with tf.GradientTape() as tape:
        tape.watch(state[0])
        first, state_1 = hybrid_output(model, tf.constant([[3.0]]), state)
        second, _ = hybrid_output(model, tf.constant([[3.0]]), state_1)
    assert tape.gradient(first + second, state[0]) is None


def test_the_error_goes_through_synaptic_filters():
    """Two neurons in a chain, by hand: the output's mean over time depends on the first input through Lowpass."""
    tau_s, n_steps, dt, weight = 0.002, 12, 0.001, 300.0
    neuron = rectified.HybridLoihiRectified(amplitude=1 / 200)
    with nengo.Network(seed=0) as net:
        nengo_dl.configure_settings(trainable=False, stateful=False)
        node = nengo.Node([0.0])
        layers = [nengo.Ensemble(1, 1, neuron_type=neuron, gain=[1.0], bias=[0.0], encoders=[[1.0]]) for _ in range(2)]
        first = nengo.Connection(node, layers[0].neurons, transform=[[1.0]], synapse=None)
        second = nengo.Connection(layers[0].neurons, layers[1].neurons, transform=[[weight]], synapse=tau_s)
        probe = nengo.Probe(layers[1].neurons)
        spikes = nengo.Probe(layers[0].neurons)
    net.config[first].trainable = True
    with nengo_dl.Simulator(net, progress_bar=False) as sim:
        inputs = [np.full((1, n_steps, 1), 330.0, np.float32), np.full((1, 1), n_steps, np.int32)]
        with tf.GradientTape() as tape:
            outputs = sim.keras_model(inputs, training=True)
            loss = tf.reduce_mean(outputs[sim.model.probes.index(probe)])
        gradient = tape.gradient(loss, sim.keras_model.trainable_variables)
        emitted = outputs[sim.model.probes.index(spikes)].numpy().ravel()
    assert net.config[second].trainable is False and len(gradient) == 1

    decay = np.exp(-dt / tau_s)  # Lowpass, held for a step: s(t + 1) = decay s(t) + (1 - decay) weight a(t)
    filtered, d_filtered, total = 0.0, 0.0, 0.0
    for a in emitted:
        slope = 1 / (1 + 0.5 * dt * filtered) ** 2 if filtered > 0 else 0.0
        total += slope / 200 * d_filtered / n_steps
        d_first = 330.0 / (1 + 0.5 * dt * 330.0) ** 2 / 200  # d a / d (its weight): the input is 330
        filtered = decay * filtered + (1 - decay) * weight * a
        d_filtered = decay * d_filtered + (1 - decay) * weight * d_first
    assert total > 0
    np.testing.assert_allclose(gradient[0].numpy().item(), total, rtol=1e-5)  # float32 against float64


@pytest.mark.parametrize("name", ["loihi-lif", "loihi-rectified"])
def test_the_chips_rates_are_what_its_neurons_settle_at(name):
    n_steps = 600
    highest = 12 if "lif" in name else 1600
    j = np.linspace(0.05 * highest, highest, 60, dtype=np.float32)
    if "lif" in name:
        j += 1
    model, state = MODELS[name], tuple(tf.zeros((1, 60)) for _ in MODELS[name].state_names)
    n_spikes = 0.0
    for _ in range(n_steps):
        spikes, *state = model.step(tf.constant(j[None]), *state)
        n_spikes = n_spikes + spikes.numpy()[0]
    # a period is at most 40 steps here; the count over 600 steps is whole
    np.testing.assert_allclose(n_spikes, n_steps * 0.001 * model.rate(tf.constant(j)).numpy(), atol=1)
    theirs = SPIKING[name][1].rates(j, 1.0, 0.0).ravel() / AMPLITUDE
    np.testing.assert_allclose(model.rate(tf.constant(j)).numpy(), theirs, rtol=1e-6)


@pytest.mark.parametrize("name", ["loihi-lif", "loihi-rectified"])
def test_half_a_step_makes_the_smooth_curve_the_mean_of_the_chips(name):
    j = np.linspace(1.2, 12, 4000) if "lif" in name else np.linspace(20, 400, 4000)
    current = tf.constant(j)
    difference = (MODELS[name].smooth_rate(current) - MODELS[name].rate(current)).numpy()
    assert abs(difference.mean()) < 0.02 * MODELS[name].rate(current).numpy().mean()


@pytest.mark.parametrize("ours", [lif.LoihiLIFRate(smoothing=0.005, **LIF), rectified.LoihiRectifiedRate(**RECTIFIED)])
def test_rate_neurons_give_the_same_in_nengo_and_in_nengo_dl(ours):
    current = currents("lif" if isinstance(ours, nengo.LIFRate) else "rectified", (1, 1, 500))
    net, node, probe = network(ours, 500)
    node.output = current[0, 0]
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(1)
        expected = sim.data[probe][-1]
    values = predict(ours, current)[0, 0]
    # a current within float32's precision of a step of the curve may fall on the other side: none here does
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_neurons_of_different_constants_in_one_group_keep_their_own():
    types = [lif.HybridLoihiLIF(smoothing=0.005, tau_rc=t, amplitude=a) for t, a in ((0.02, 1.0), (0.05, 0.1))]
    current = currents("lif", (1, 60, 30))
    with nengo.Network(seed=0) as net:
        node, probes = nengo.Node(np.zeros(30)), []
        for neuron_type in types:
            ensemble = nengo.Ensemble(
                30, 1, neuron_type=neuron_type, gain=np.ones(30), bias=np.zeros(30), encoders=np.ones((30, 1))
            )
            nengo.Connection(node, ensemble.neurons, synapse=None)
            probes.append(nengo.Probe(ensemble.neurons))
    with nengo_dl.Simulator(net, progress_bar=False) as sim:
        merged = sim.predict_on_batch({node: current})
    for neuron_type, probe in zip(types, probes, strict=True):
        np.testing.assert_array_equal(merged[probe], predict(neuron_type, current))
