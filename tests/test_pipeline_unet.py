"""The U-Net at half resolution and LocNet's stem: shapes, depth, and Nengo's own arithmetic against the trainer's."""

from __future__ import annotations

import dataclasses

import nengo
import numpy as np
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import experiment, training
from cotrain.pipeline.networks import activity, build, neurons_for, spec_for
from cotrain.pipeline.networks.forward import in_batches
from cotrain.pipeline.training.backend import make_backend
from small_training import experiment_for, masks_data

SHAPE = (16, 24, 3)


def settings(**changes):
    base = experiment.load("demo-cae").network
    return dataclasses.replace(base, name="unet", filters=(4, 6, 8), stem_kernel=5, pool_kernel=3, **changes)


def test_nothing_is_at_full_resolution_and_few_layers_follow_each_other():
    spec = spec_for(settings(bottleneck_layers=1), SHAPE)
    assert [(layer.name, layer.output_shape) for layer in spec.layers] == [
        ("conv1", (8, 12, 4)), ("conv2", (8, 12, 6)), ("pool1", (4, 6, 8)), ("conv3", (4, 6, 8)), ("up1", (8, 12, 6)),
        ("conv4", (8, 12, 6)),
    ]  # fmt: skip
    assert spec.output_shape == (16, 24, 1)
    assert spec.depths()["conv4"] == (2, 5) and spec.on_host == ("conv1",)
    plain = spec_for(settings(bottleneck_layers=1, skips=False), SHAPE)
    assert plain.depths()["conv4"] == (5, 5)


def test_more_resolutions_pair_up_from_the_inside_out():
    deep = dataclasses.replace(settings(bottleneck_layers=1), filters=(4, 5, 6, 7))
    spec = spec_for(deep, (16, 24, 1))
    skips = {layer.name: layer.sources for layer in spec.layers if len(layer.sources) > 1}
    assert skips == {"conv5": ("up1", "conv3"), "conv6": ("up2", "conv2")}
    with pytest.raises(InputError, match="cannot halve"):
        spec_for(deep, (20, 24, 1))


def test_a_decoder_may_be_narrower_than_the_encoder():
    deep = dataclasses.replace(settings(bottleneck_layers=1, decoder_filters=(2, 3)), filters=(4, 5, 6, 7))
    widths = {layer.name: layer.units for layer in spec_for(deep, (16, 24, 1)).layers}
    assert widths == {
        "conv1": 4, "conv2": 5, "pool1": 6, "conv3": 6, "pool2": 7, "conv4": 7, "up1": 3, "conv5": 3, "up2": 2,
        "conv6": 2,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"network.decoder_filters has 1 entries.* so expected 2"):
        spec_for(dataclasses.replace(deep, decoder_filters=(2,)), (16, 24, 1))


def test_raised_rates_are_those_of_the_same_function():
    spec = spec_for(settings(bottleneck_layers=1), SHAPE)
    rng = np.random.default_rng(0)
    params = {k: v + rng.normal(0, 0.05, v.shape).astype(np.float32) for k, v in spec.init_params(3).items()}
    image = rng.random((2, *SHAPE)).astype(np.float32)
    (before,) = in_batches(spec, params, image)
    (after,) = in_batches(spec, activity.raised(spec, params, 2.5, 0.5), image)
    for layer in spec.layers:
        gain = 0.5 if layer.name == "conv4" else 2.5
        assert before[layer.name].max() > 0
        np.testing.assert_allclose(after[layer.name], gain * before[layer.name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["readout"], before["readout"], rtol=1e-4, atol=1e-5)


def test_nengo_computes_what_the_trainer_computes():
    base = experiment_for("masks")
    network = settings(bottleneck_layers=1)
    base = dataclasses.replace(base, network=network, data=dataclasses.replace(base.data, neighbours=1))
    spec = spec_for(network, SHAPE)
    params = spec.init_params(3)
    rng = np.random.default_rng(0)
    params = {k: v + rng.normal(0, 0.1, v.shape).astype(np.float32) if k.endswith("bias") else v
              for k, v in params.items()}  # fmt: skip
    image = rng.random(SHAPE).astype(np.float32)
    built = build(spec, neurons_for(base.neurons, "ann"), params)
    with built.net:
        built.image.output = image.ravel()
    with nengo.Simulator(built.net, progress_bar=False) as sim:
        sim.run_steps(1)
    data = masks_data(12)
    data = data.with_channels(np.repeat(np.pad(data.images, ((0, 0), (0, 8), (0, 16), (0, 0))), 3, axis=3), "slices")

    job = dataclasses.replace(
        training.job_for(base, data.moved(data.images, np.zeros((12, 16, 24), np.float32)), "ann")
    )
    ours = make_backend("tensorflow", job, params).predict(image[np.newaxis])
    # float32 sums of 200 products; a rate of the chip may fall on the other side of a step
    close = np.abs(ours[0] - sim.data[built.output][0]) < 1e-4
    assert close.mean() > 0.98 and np.abs(ours[0]).max() > 0.1


def test_locnet_may_begin_with_a_strided_convolution():
    network = dataclasses.replace(experiment.load("demo-locnet").network, filters=(4, 6), dense=(8,), stem_kernel=5)
    spec = spec_for(network, (16, 32, 1))
    assert [layer.name for layer in spec.layers] == ["conv1", "conv2", "pool2", "dense1"]
    assert spec.layers[0].output_shape == (8, 16, 4) and spec.layers[2].output_shape == (4, 8, 6)
