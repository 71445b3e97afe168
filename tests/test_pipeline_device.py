"""The path for a GPU, taken on the CPU: TensorFlow's operations alone give what the compiled loops give."""

import functools

import numpy as np
import pytest
from cotrain.hardware.errors import MissingError
from cotrain.pipeline import __main__ as command
from cotrain.pipeline.neurons.nengo_types import tf
from cotrain.pipeline.training.backend import make_backend
from cotrain.pipeline.training.unrolled import device, layerwise, operations, trainer
from small_training import TINY
from test_pipeline_unrolled import NEURONS, data_for, job_of, model_and_constants

WEIGHTS = np.float32([[0.1] * 10, [0] * 6 + [0.25] * 4])


@pytest.fixture
def as_gpu(monkeypatch):
    for module in (device, trainer):
        monkeypatch.setattr(module, "device_for", lambda job: "gpu")


def with_gradients(function, *arrays):
    """Two outputs of `function`, and the gradients of a sum over them; all as arrays."""
    inputs = [tf.constant(a) for a in arrays]
    with tf.GradientTape() as tape:
        for tensor in inputs:
            tape.watch(tensor)
        first, second = function(*inputs)
        loss = tf.reduce_sum(first * first * 0.5) + tf.reduce_sum(second * tf.cos(second))
    return [x.numpy() for x in (first, second, *tape.gradient(loss, inputs))]


def assert_nearly_all_close(ours, theirs, share=0.002):
    """Rounding moves a value over a threshold now and then."""
    far = np.abs(ours - theirs) > 2e-4 * (1 + np.abs(theirs))
    assert far.mean() <= share


def both(run, *arrays):
    """What `run(module, *arrays)` gives with operations and with compiled loops."""
    return (with_gradients(functools.partial(run, on), *arrays) for on in (operations, layerwise))


@pytest.mark.parametrize("kind, curve", NEURONS)
def test_rates_equal_the_compiled_loops(kind, curve):
    x = np.random.default_rng(0).normal(0.3, 0.6, (10, 300)).astype(np.float32)
    model, _, c = model_and_constants(kind, curve, "ann")
    for ours, theirs in zip(*both(lambda on, x: on.rates(model, c, x, 0.1, 0.9), x), strict=True):
        assert_nearly_all_close(ours, theirs)


@pytest.mark.parametrize("n_currents, synapse_s", [(1, 0.0), (10, 0.0), (10, 0.003)])
def test_what_comes_in_once_equals_the_compiled_loops(n_currents, synapse_s):
    x = np.random.default_rng(0).normal(0.1, 0.6, (n_currents, 3, 4, 25)).astype(np.float32)
    bias, lift = np.linspace(-0.4, 0.4, 25, dtype=np.float32), 4 * np.random.default_rng(1).random(100)
    model, _, c = model_and_constants("rectified", "loihi", "hybrid", synapse_s)
    ours, theirs = both(lambda on, x, bias: on.spikes(model, c, x, bias, 10, WEIGHTS, lift=lift), x, bias)
    for a, b in zip(ours, theirs, strict=True):
        assert_nearly_all_close(a, b)
    without = layerwise.spikes(model, c, tf.constant(x), tf.constant(bias), 10, WEIGHTS)[0].numpy()
    assert np.mean(theirs[0] != without) > 0.03


def test_slopes_of_a_drift_equal_the_compiled_loops():
    x = np.random.default_rng(0).normal(0.1, 0.6, (10, 3, 4, 25)).astype(np.float32)
    x[:, 1] = x[:1, 1]  # no fluctuations
    bias = np.linspace(-0.4, 0.4, 25, dtype=np.float32)
    model, _, c = model_and_constants("rectified", "loihi", "hybrid", 0.0)
    ours, theirs = both(lambda on, x, bias: on.spikes(model, c, x, bias, 10, WEIGHTS, "drift"), x, bias)
    assert np.abs(theirs[2]).max() > 0.1
    for got, wanted in zip(ours, theirs, strict=True):
        assert_nearly_all_close(got, wanted)


@pytest.mark.parametrize("synapse_s, n_given", [(0.002, 10), (0.0, 10), (0.0, 1)])
@pytest.mark.parametrize("kind, curve", NEURONS)
def test_spikes_equal_the_compiled_loops(kind, curve, synapse_s, n_given):
    x = np.random.default_rng(0).normal(0.3, 0.6, (n_given, 3, 4, 25)).astype(np.float32)
    bias = np.linspace(0, 0.4, 25, dtype=np.float32)
    model, _, c = model_and_constants(kind, curve, "hybrid", synapse_s)
    ours, theirs = both(lambda on, x, bias: on.spikes(model, c, x, bias, 10, WEIGHTS), x, bias)
    assert (theirs[0] > 0).mean() > 0.01
    assert_nearly_all_close(ours[0], theirs[0])
    assert_nearly_all_close(ours[1], theirs[1], 0.02)  # a spike is in a mean over all steps
    assert_nearly_all_close(ours[2], theirs[2], 0.02)
    np.testing.assert_allclose(ours[3], theirs[3], rtol=0.02)


@pytest.mark.parametrize("phase", ["ann", "hybrid"])
def test_a_training_step_equals_the_cpus(phase, as_gpu, monkeypatch):
    job = job_of("cae", phase)
    params, images, targets = data_for(job.spec)

    def stepped():
        backend = make_backend("tensorflow", job, params)
        return backend.train_step(images, targets, 1e-2), backend.predict(images), backend.params()

    ours = stepped()
    monkeypatch.undo()
    theirs = stepped()
    np.testing.assert_allclose(ours[0].loss, theirs[0].loss, rtol=1e-3)
    np.testing.assert_allclose(ours[0].rates_hz, theirs[0].rates_hz, rtol=1e-2)
    assert_nearly_all_close(ours[1], theirs[1], 0.02)
    for name, value in theirs[2].items():
        moved = value - params[name]
        # Adam's first step is the sign of the gradient
        assert (np.sign(ours[2][name] - params[name]) == np.sign(moved)).mean() > 0.97, name


def test_dynamics_compile(monkeypatch):
    model, _, _ = model_and_constants("rectified", "loihi", "hybrid")
    currents = tf.constant(np.random.default_rng(0).normal(300, 300, (12, 40)).astype(np.float32))
    plain = operations._dynamics(model, currents, 12).numpy()
    monkeypatch.setattr(operations, "compiled", lambda run: tf.function(run, jit_compile=True, autograph=False))
    np.testing.assert_array_equal(operations._dynamics(model, currents, 12).numpy(), plain)
    assert plain.sum() > 50


def test_a_gpu_that_is_not_there_is_one_line(tmp_path, capsys):
    for backend in ("tensorflow", "nengo-dl"):
        with pytest.raises(MissingError, match="finetune.device is gpu, and TensorFlow sees none"):
            job = job_of("locnet").with_settings(device="gpu")
            make_backend(backend, job, job.spec.init_params(0))
    options = [*TINY, "--set", "train.device=gpu", "--runs", str(tmp_path / "runs")]
    assert command.main(["train", "demo-locnet", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.rglob("params.npz"))


@pytest.mark.parametrize("flags, precision", [("fpu amx_bf16 amx_tile", "bfloat16"), ("fpu avx512_bf16", "float32")])
def test_auto_precision_asks_for_amx(flags, precision, monkeypatch):
    monkeypatch.setattr(device.Path, "read_text", lambda *a, **k: f"flags : {flags}\n")
    assert device.precision_for(job_of().with_settings(precision="auto")) == precision
