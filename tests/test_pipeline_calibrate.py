"""A converted network is fitted to spikes without labels: its outputs come closer to the model's."""

import numpy as np
import onnx
import onnx_models
import pytest
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.networks import activity
from cotrain.pipeline.networks.forward import layer_outputs
from cotrain.pipeline.networks.readers import read_model
from cotrain.pipeline.neurons.nengo_types import tf
from cotrain.pipeline.training.backend import Job
from cotrain.pipeline.training.unrolled import calibrate
from cotrain.pipeline.training.unrolled.trainer import forward
from small_training import IDENTITY

SETTINGS = ["neurons.rate_scale_hz=500", "finetune.n_steps=60", "finetune.readout_steps=30", "finetune.synapse_s=0.005"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """(job, parameters at the chip's rates, images) of two convolutions and a dense layer."""
    path, g = tmp_path_factory.mktemp("model") / "mine.onnx", onnx_models.Graph((1, 10, 10), seed=5)
    x = g.node("Relu", g.conv("input", 1, 6, (3, 3), pads=[1, 1, 1, 1]))
    x = g.node("Flatten", g.node("Relu", g.conv(x, 6, 6, (3, 3), strides=[2, 2])), axis=1)
    onnx.save(g.model(g.node("Gemm", x, g.random(96, 4), g.random(4)), [4]), path)
    model, images = read_model(path), np.random.default_rng(1).random((24, 10, 10, 1)).astype(np.float32)
    params, _ = activity.scaled(model.spec, model.params, images)
    experiment = experiments.load("demo-locnet", SETTINGS)
    return Job(model.spec, experiment.neurons, None, IDENTITY, "mse", experiment.finetune), params, images


def test_outputs_come_closer_to_the_models(converted):
    job, params, images = converted
    fitted, told = calibrate.calibrated(job, params, images[:16])
    wanted = layer_outputs(job.spec, params, images[16:])["readout"]  # of images that it has not seen

    def error(of):
        tensors = {name: tf.constant(value) for name, value in of.items()}
        return float(((forward(job, tensors, tf.constant(images[16:]))[0].numpy() - wanted) ** 2).mean())

    assert error(fitted) < 0.5 * error(params)
    assert [entry["name"] for entry in told] == [layer.name for layer in job.spec.layers] + ["readout"]
    assert all(0.8 < entry["correlation"] <= 1 for entry in told)


def test_how_many_images_are_run_at_once_changes_nothing(converted, monkeypatch):
    job, params, images = converted
    at_once, told = calibrate.calibrated(job, params, images)
    monkeypatch.setattr(calibrate, "VALUES", 5 * job.n_steps * job.spec.layers[0].n_neurons)
    monkeypatch.setattr(calibrate, "IMAGES_LEAST", len(images))
    in_parts, told_again = calibrate.calibrated(job, params, images)
    for name, value in at_once.items():
        np.testing.assert_allclose(in_parts[name], value, rtol=1e-5, atol=1e-6)
    for one, other in zip(told, told_again, strict=True):
        assert one["correlation"] == pytest.approx(other["correlation"], abs=1e-6)
