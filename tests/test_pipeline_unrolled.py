"""The layer-by-layer trainer against the neuron equations, NengoDL and nengo-loihi."""

from dataclasses import replace

import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline.experiment import FinetuneSettings, NetworkSettings, NeuronSettings, TrainSettings
from cotrain.pipeline.networks import neurons_for, spec_for
from cotrain.pipeline.neurons import rectified
from cotrain.pipeline.neurons.nengo_types import NeuronModel, tf
from cotrain.pipeline.tasks import TASKS
from cotrain.pipeline.tasks.scaling import TargetScaler
from cotrain.pipeline.training.backend import Job, make_backend
from cotrain.pipeline.training.unrolled import layerwise
from cotrain.pipeline.training.unrolled.trainer import TensorFlowBackend, forward, round_to_chip
from graph_networks import GRAPHS

IDENTITY = TargetScaler(np.zeros(1, np.float32), np.ones(1, np.float32))
NEURONS = [(kind, curve) for kind in ("rectified", "lif") for curve in ("loihi", "ideal")]
NETWORKS = {
    "cae": (NetworkSettings(name="cae", filters=(3, 4), pool_kernel=3, bottleneck_layers=1), (8, 12)),
    "locnet": (NetworkSettings(name="locnet", filters=(3, 4), dense=(7, 5), pool_kernel=2), (8, 12)),
}
PHASES = {
    "ann": TrainSettings(),
    "hybrid": FinetuneSettings(n_steps=12, readout_steps=5, synapse_s=0.002, clip_norm=0.0),
    "hybrid without synapse": FinetuneSettings(n_steps=12, readout_steps=5, synapse_s=0.0, clip_norm=0.0),
}
N_SAMPLES = 4


def job_of(network="cae", phase="hybrid", kind="rectified", curve="loihi", **changes):
    spec = GRAPHS[network] if network in GRAPHS else spec_for(*NETWORKS[network])
    neurons = NeuronSettings(kind=kind, rate_curve=curve, rate_scale_hz=250.0, smoothing=0.02)
    job = Job(spec, neurons, TASKS["boxes"], IDENTITY, "mse", PHASES[phase])
    return job.with_settings(batch_size=N_SAMPLES, **changes)


def data_for(spec, seed=0):
    """Parameters that make all layers spike, images and targets."""
    rng = np.random.default_rng(seed)
    params = spec.init_params(seed)
    for name in params:
        if name.endswith(".bias"):
            params[name] += rng.uniform(0, 0.4, params[name].shape).astype(np.float32)
    images = rng.random((N_SAMPLES, *spec.input_shape)).astype(np.float32)
    targets = rng.random((N_SAMPLES, spec.readout.n_neurons)).astype(np.float32)
    return params, images, targets


# --- the kernels against the equations ----------------------------------------------------------------------------


def model_and_constants(kind, curve, phase, synapse_s=0.0):
    settings = NeuronSettings(kind=kind, rate_curve=curve, rate_scale_hz=250.0, smoothing=0.02)
    model = NeuronModel(kind, curve == "loihi", 0.001, 0.02, 0.002, 0.02 if kind == "lif" else 0.0)
    neurons = neurons_for(settings, phase)
    return model, neurons, layerwise.constants(model, neurons, synapse_s)


@pytest.mark.parametrize(("kind", "curve"), NEURONS)
def test_rates_and_slopes_are_those_of_the_neuron_model(kind, curve):
    model, neurons, c = model_and_constants(kind, curve, "ann")
    # off the inputs whose period is a whole number of steps, where a rounding error decides which rate it is
    x = tf.constant(np.linspace(-1.003, 3.001, 3001), tf.float32)
    current = neurons.gain * x + neurons.rest
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours, _ = layerwise.rates(model, c, x)
        smooth = model.smooth_rate(neurons.gain * x + neurons.rest) / 250
    theirs = model.rate(current) / 250
    differ = np.abs(ours - theirs) > 1e-5 * np.abs(theirs) + 1e-6
    assert differ.mean() < 2e-3
    np.testing.assert_allclose(tape.gradient(ours, x), tape.gradient(smooth, x), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize(("kind", "curve"), NEURONS)
def test_sums_of_rates_and_their_gradients(kind, curve):
    model, _, c = model_and_constants(kind, curve, "ann")
    x = tf.constant(np.random.default_rng(0).normal(0.3, 1, (5, 1001)), tf.float32)  # no multiple of a chunk
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs, sums = layerwise.rates(model, c, x, 0.2, 0.9)
        total = 0.3 * sums[0] + 0.7 * sums[1]
        distance = tf.nn.relu(outputs - 0.9) + tf.nn.relu(0.2 - outputs)
        expected = tf.stack([tf.reduce_sum(outputs), tf.reduce_sum(distance**2)])
        expected_total = 0.3 * expected[0] + 0.7 * expected[1]
    np.testing.assert_allclose(sums, expected, rtol=1e-5)  # float32 sums of 2048 values of order 1, in other orders
    gradient = tape.gradient(expected_total, x)
    assert np.abs(gradient).max() > 0.1
    np.testing.assert_allclose(tape.gradient(total, x), gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("kind", "curve"), NEURONS)
def test_a_rate_does_not_depend_on_where_its_neuron_lies(kind, curve):
    model, _, c = model_and_constants(kind, curve, "ann")
    x = np.random.default_rng(0).normal(0.3, 1, 5003).astype(np.float32)
    x[7] = np.nan  # and a number that is none stays none
    outputs = layerwise.rates(model, c, tf.constant(x))[0].numpy()
    assert np.isnan(outputs[7]) and np.isnan(outputs).sum() == 1
    for first, last in ((1, 5003), (3, 2050), (4990, 5003)):
        part = layerwise.rates(model, c, tf.constant(x[first:last]))[0].numpy()
        np.testing.assert_array_equal(part, outputs[first:last])


def test_memory_is_used_again_only_when_nobody_holds_it():
    model, _, c = model_and_constants("rectified", "ideal", "ann")
    shape, size = (4, 1237), 4 * 1237 * 4
    run = tf.function(lambda start: [layerwise.rates(model, c, tf.fill(shape, start + i))[0] for i in range(5)])
    held = [run(tf.constant(start)) for start in (0.0, 5.0)]
    for i, outputs in enumerate(held[0] + held[1]):
        np.testing.assert_allclose(outputs, i, rtol=1e-6)
    assert len(layerwise._memory[size]) >= 10  # TensorFlow has taken the arrays over
    del held, outputs
    run(tf.constant(0.0))
    before = len(layerwise._memory[size])
    for _ in range(20):
        run(tf.constant(0.0))
    assert len(layerwise._memory[size]) == before


@pytest.mark.parametrize(("kind", "curve"), NEURONS)
def test_spikes_over_time_are_those_of_the_neuron_model(kind, curve):
    model, neurons, c = model_and_constants(kind, curve, "hybrid", synapse_s=0.003)
    n_steps, rng = 40, np.random.default_rng(1)
    currents = rng.normal(0.4, 1.0, (n_steps, 5, 300)).astype(np.float32)
    bias = rng.normal(0.1, 0.1, 300).astype(np.float32)
    weights = rng.random((2, n_steps)).astype(np.float32)
    ours, means = layerwise.spikes(model, c, tf.constant(currents), tf.constant(bias), n_steps, weights)

    keep = np.float32(np.exp(-1 / 3))
    filtered, state, theirs = tf.zeros((5, 300)), model.initial_state((5, 300)), []
    for t in range(n_steps):
        if t:
            filtered = keep * filtered + (1 - keep) * currents[t - 1]
        n_spikes, *state = model.step(neurons.gain * (filtered + bias) + neurons.rest, *state)
        theirs.append(n_spikes * 4)  # 1 / (250 Hz * 1 ms)
    same = np.mean(np.abs(ours - np.array(theirs)) < 1e-5)
    assert np.mean(np.array(theirs) > 0) > 0.05
    assert same > 0.999  # a voltage within rounding of the threshold may fall to either side
    np.testing.assert_allclose(means, np.einsum("kt,tbn->kbn", weights, ours), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spread", [50, 150, 400])
@pytest.mark.parametrize("mean", [-30, 0, 30, 100])
def test_slope_of_a_drift_is_that_of_a_neuron_whose_current_fluctuates(mean, spread):
    """Against the rates of simulated neurons: what is counted is close, where the current's mean is below 0, too."""
    fluctuations = np.random.default_rng(0).standard_normal((2000, 400))

    def rate_hz(mean):
        voltage, n_spikes = np.zeros(400), 0
        for noise in fluctuations:
            voltage = np.maximum(voltage + (mean + spread * noise) * 1e-3, 0)
            n_spikes += np.count_nonzero(voltage > 1)
            voltage[voltage > 1] = 0
        return n_spikes / fluctuations.size * 1000

    counted = (rate_hz(mean + 15) - rate_hz(mean - 15)) / 30
    model, _, _ = model_and_constants("rectified", "loihi", "hybrid")
    told = float(rectified.drift_slope(model, tf.constant(float(mean)), tf.constant(float(spread**2))))
    assert told == pytest.approx(counted, abs=0.2)


# --- networks against NengoDL -------------------------------------------------------------------------------------


KINDS = [("rectified", "loihi"), ("lif", "ideal")]
# every network in every phase, and each of them with both kinds of neurons: NengoDL takes seconds for a case
PAIRS = [
    (network, phase, *KINDS[(i + k) % 2])
    for i, network in enumerate([*NETWORKS, *GRAPHS])
    for k, phase in enumerate(PHASES)
]


SPREAD = [
    (network, "hybrid", *kind, {"initial_voltage": "spread"})
    for network, kind in zip(("cae", "locnet"), KINDS, strict=True)
]


@pytest.mark.parametrize(("network", "phase", "kind", "curve", "changes"), [*((*pair, {}) for pair in PAIRS), *SPREAD])
def test_outputs_and_gradients_equal_those_of_nengo_dl(network, phase, kind, curve, changes):
    job = job_of(network, phase, kind, curve, rate_weight=0.1, rate_max_hz=20.0, rate_mean_weight=0.05, **changes)
    params, images, targets = data_for(job.spec)
    outputs, gradients = [], []
    for name in ("tensorflow", "nengo-dl"):
        backend = make_backend(name, job, params)
        outputs.append(backend.predict(images))
        backend.optimizer = tf.keras.optimizers.legacy.SGD()
        backend.train_step(images, targets, 1.0)  # a step of gradient descent of size 1: the change is the gradient
        after = backend.params()
        gradients.append({name: params[name] - after[name] for name in params})
        backend.close()
    assert np.abs(outputs[1]).max() > 0.1
    # sums of at most a few hundred float32 products of order 1: 300 * 2^-24 = 2e-5
    np.testing.assert_allclose(outputs[0], outputs[1], atol=2e-5)
    for name in params:
        # the parameters that the gradient is read from are below 4 in size: their last bit is 2.4e-7
        scale = np.abs(gradients[1][name]).max()
        np.testing.assert_allclose(gradients[0][name], gradients[1][name], atol=2e-3 * scale + 5e-7, err_msg=name)
    assert sum(np.abs(g).max() > 1e-4 for g in gradients[1].values()) > len(params) / 2


def test_every_sample_starts_at_rest():
    job = job_of()
    params, images, _ = data_for(job.spec)
    backend = TensorFlowBackend(job, params)
    first = backend.predict(images)
    np.testing.assert_array_equal(backend.predict(images), first)
    np.testing.assert_array_equal(backend.predict(images[::-1]), first[::-1])
    np.testing.assert_array_equal(backend.predict(images[:1]), first[:1])


# --- precision and rounding ---------------------------------------------------------------------------------------


def test_bfloat16_is_float32_up_to_its_rounding():
    job = job_of(phase="ann")
    params, images, _ = data_for(job.spec)
    images, params = tf.constant(images), {name: tf.constant(value) for name, value in params.items()}
    exact, _ = forward(job, params, images)
    rounded, _ = forward(job.with_settings(precision="bfloat16"), params, images)
    # the relative spacing of bfloat16 is 2^-8; the rate curve has steps, so that a few outputs are a step away
    error = np.abs(exact - rounded) / np.abs(exact).max()
    assert np.median(error) < 2**-7
    assert 0 < error.max() < 0.2


def test_weights_are_rounded_as_nengo_loihi_rounds_a_block():
    import nengo
    import nengo_loihi

    kernel = np.random.default_rng(0).normal(0, 0.2, (6, 9)).astype(np.float32)
    with nengo.Network(seed=0) as net:
        nengo_loihi.add_params(net)
        pre, post = (
            nengo.Ensemble(n, 1, neuron_type=nengo.SpikingRectifiedLinear(), gain=np.ones(n), bias=np.zeros(n))
            for n in (6, 9)
        )
        nengo.Connection(pre.neurons, post.neurons, transform=kernel.T)
    with nengo_loihi.Simulator(net, target="sim", progress_bar=False) as sim:
        (synapse,) = [s for block in sim.model.blocks for s in block.synapses]
        integers = np.array([w[0] for w in synapse.weights], dtype=np.float64)  # (6, 9), a row per axon
    rounded = round_to_chip(tf.constant(kernel)).numpy()
    np.testing.assert_allclose(rounded / np.abs(rounded).max(), integers / np.abs(integers).max(), atol=1e-6)
    assert np.abs(rounded - kernel).max() <= np.abs(kernel).max() / 255 * 1.0001


def test_rounding_lets_the_gradient_pass():
    kernel = tf.constant([[0.3, -0.7], [0.111, 0.2]])
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        value = tf.reduce_sum(round_to_chip(kernel) * tf.constant([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(tape.gradient(value, kernel), [[1, 2], [3, 4]])


def test_the_host_layer_and_the_readout_are_not_rounded():
    job = job_of("locnet", "ann", curve="ideal", round_weights=True)  # whose output follows every change of a weight
    params, images, _ = data_for(job.spec)
    hosts = ("conv1.kernel", "readout.kernel")
    chip = {
        name: round_to_chip(tf.constant(value)).numpy() for name, value in params.items() if name.endswith("kernel")
    }
    rounded = {**params, **{name: value for name, value in chip.items() if name not in hosts}}
    plain = job.with_settings(round_weights=False)
    expected = TensorFlowBackend(plain, rounded).predict(images)
    assert np.abs(TensorFlowBackend(plain, params).predict(images) - expected).max() > 1e-4
    np.testing.assert_allclose(TensorFlowBackend(job, params).predict(images), expected, atol=1e-6)


# --- distillation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ("boxes", "classes", "masks"))
def test_a_hybrid_that_copies_the_ann_does_not_look_at_labels(task):
    job = replace(job_of(distill_weight=1.0), task=TASKS[task])
    params, images, targets = data_for(job.spec)
    backends = [TensorFlowBackend(job, params) for _ in range(2)]
    teacher = TensorFlowBackend(job.as_ann().with_settings(batch_size=N_SAMPLES), params).predict(images)
    spikes = backends[0].predict(images)
    expected = {
        "boxes": lambda p, q: np.abs(p - q).mean(),
        "masks": lambda p, q: (np.log1p(np.exp(p)) - p / (1 + np.exp(-q))).mean(),
        "classes": lambda p, q: (np.log(np.exp(p).sum(1)) - (p * np.exp(q)).sum(1) / np.exp(q).sum(1)).mean(),
    }[task](spikes.astype(np.float64), teacher.astype(np.float64))
    losses = [b.train_step(images, y, 0.01).loss for b, y in zip(backends, (targets.round(), 0 * targets), strict=True)]
    assert losses[0] == losses[1] == pytest.approx(expected, rel=1e-4)
    for name, value in backends[0].params().items():
        np.testing.assert_array_equal(backends[1].params()[name], value)
    assert np.abs(spikes - teacher).max() > 1e-3


# --- averages and state -------------------------------------------------------------------------------------------


def test_a_readout_keeps_its_weights_from_falling_below_0():
    job = job_of(phase="ann", readout_positive=True, average=0.5)
    params, images, _ = data_for(job.spec)
    backend = make_backend("tensorflow", job, params)
    first = backend.params()["readout.kernel"]
    np.testing.assert_array_equal(first, np.abs(params["readout.kernel"]))
    wanted = backend.predict(images) - 1  # all weights have to become smaller
    for _ in range(10):
        backend.train_step(images, wanted, 0.1)
    kernel = backend.params()["readout.kernel"]
    assert kernel.min() >= 0 and backend.variables["readout.kernel"].numpy().min() == 0
    assert np.any(kernel != first)
    with pytest.raises(InputError, match="finetune.readout_positive is true, .*train.readout_positive"):
        make_backend("tensorflow", job_of(readout_positive=True), params)


def test_the_running_average_follows_its_recursion():
    job = job_of(phase="ann", average=0.5)
    params, images, targets = data_for(job.spec)
    backend = TensorFlowBackend(job, params)
    average = params
    for step in range(1, 4):
        backend.train_step(images, targets, 0.01)
        decay = min(0.5, step / (step + 9))
        now = {name: variable.numpy() for name, variable in backend.variables.items()}
        average = {name: decay * average[name] + (1 - decay) * now[name] for name in now}
    for name, value in backend.params().items():
        np.testing.assert_allclose(value, average[name], atol=1e-6)
        assert not np.array_equal(value, now[name]) or not np.any(now[name])


def test_training_goes_on_from_a_state_as_if_it_had_not_stopped():
    job = job_of(average=0.9)
    params, images, targets = data_for(job.spec)
    whole, first, second = (TensorFlowBackend(job, params) for _ in range(3))
    for _ in range(4):
        whole.train_step(images, targets, 0.01)
    for _ in range(2):
        first.train_step(images, targets, 0.01)
    second.restore(first.state())
    for _ in range(2):
        second.train_step(images, targets, 0.01)
    for name, value in whole.params().items():
        np.testing.assert_array_equal(second.params()[name], value)


def test_nengo_dl_refuses_what_it_does_not_know():
    for changes in (
        {"precision": "bfloat16"},
        {"round_weights": True},
        {"average": 0.9},
        {"distill_weight": 0.5},
        {"readout_positive": True},
    ):
        job = job_of(**changes)
        with pytest.raises(InputError, match="set backend to tensorflow"):
            make_backend("nengo-dl", job, job.spec.init_params(0))


def test_only_the_chips_rectified_neurons_have_slopes_of_a_drift():
    for name, job in (
        ("nengo-dl", job_of(slope="drift")),
        ("tensorflow", job_of(slope="drift", kind="lif")),
        ("tensorflow", job_of(slope="drift", curve="ideal")),
    ):
        with pytest.raises(InputError, match="finetune.slope is drift.*set slope to step"):
            make_backend(name, job, job.spec.init_params(0))


def test_slopes_of_a_drift_change_gradients_and_not_what_is_predicted():
    found = {}
    for slope in ("step", "drift"):
        job = job_of(slope=slope)
        params, images, targets = data_for(job.spec)
        backend = make_backend("tensorflow", job, params)
        found[slope] = backend.predict(images), backend.train_step(images, targets, 1.0), backend.params()
    np.testing.assert_array_equal(found["step"][0], found["drift"][0])
    assert found["step"][1].loss == found["drift"][1].loss
    assert np.abs(found["step"][2]["conv1.kernel"] - found["drift"][2]["conv1.kernel"]).max() > 1e-4
