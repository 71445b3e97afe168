"""An experiment with a model that was made elsewhere: its weights through every stage; the preflight of its file."""

import json
import subprocess
import sys

import h5py
import numpy as np
import onnx
import onnx_models
import pytest
from cotrain.hardware.errors import InputError
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.__main__ import main
from cotrain.pipeline.evaluation import framework
from cotrain.pipeline.networks import activity
from cotrain.pipeline.networks.forward import layer_outputs
from cotrain.pipeline.networks.readers import read_model
from cotrain.pipeline.tasks import TASKS


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    """A small network for masks, with a skip, as an .onnx file for images of 16 by 24 pixels."""
    path = tmp_path_factory.mktemp("model") / "mine.onnx"
    g = onnx_models.Graph((1, 16, 24), seed=2)
    skip = g.node("Relu", g.conv("input", 1, 3, (3, 3), pads=[1, 1, 1, 1]))
    x = g.node("Relu", g.conv(skip, 3, 4, (2, 2), strides=[2, 2]))
    x = g.node("Relu", g.node("ConvTranspose", x, g.random(4, 3, 2, 2), g.random(3, size=0.1), strides=[2, 2]))
    x = g.conv(g.node("Concat", x, skip, axis=1), 6, 1, (1, 1))
    onnx.save(g.model(g.node("Sigmoid", x), [1, 16, 24]), path)
    return path


def run(*arguments, folder):
    command = [sys.executable, "-m", "cotrain.pipeline", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_layers_reach_one_and_the_function_stays(segmenter):
    model = read_model(segmenter)
    images = np.random.default_rng(0).random((8, 16, 24, 1)).astype(np.float32)
    params, layers = activity.scaled(model.spec, model.params, images, percentile=99.0)
    before, after = (layer_outputs(model.spec, p, images) for p in (model.params, params))
    np.testing.assert_allclose(after["readout"], before["readout"], rtol=0, atol=1e-5)  # float32, sums of 6
    for entry in layers:
        values = after[entry["name"]]
        for channel in np.moveaxis(values, -1, 0):
            assert np.percentile(channel[channel > 0], 99.0) == pytest.approx(1, rel=0.02)
        assert entry["above"] == pytest.approx(0.01, abs=0.005)
        assert entry["largest"] == pytest.approx(values.max(), rel=1e-5)
        assert 0.1 * entry["scale"] <= entry["scale_least"] <= entry["scale"]


def test_every_stage_takes_it(segmenter, tmp_path, monkeypatch, capsys):
    (tmp_path / "own.toml").write_text(
        'base = "demo-cae"\n[data]\nheight = 0\nwidth = 0\nn_groups = 10\n'
        f'[network]\nname = "model"\npath = "{segmenter}"\n'
        "[train]\nepochs = 0\n[finetune]\nepochs = 1\nn_steps = 16\nreadout_steps = 6\nepoch_samples = 16\n"
        "[deploy]\nlimit = 4\nn_bootstrap = 50\n"
    )
    monkeypatch.chdir(tmp_path)
    for verb in ("train", "finetune", "quantize", "deploy", "report", "submission"):
        assert main([verb, "own.toml"]) == 0, (verb, capsys.readouterr().err[-1500:])
    history = json.loads((tmp_path / "runs/own/train/history.json").read_text())
    assert [entry["name"] for entry in history["scales"]] == ["conv_0", "conv_2", "convtranspose_4"]
    assert history["calibrated"]
    assert [entry["name"] for entry in history["agreement"]] == ["conv_0", "conv_2", "convtranspose_4", "readout"]
    assert all(0.5 < entry["correlation"] <= 1 for entry in history["agreement"])
    metrics = json.loads((tmp_path / "runs/own/deploy/metrics.json").read_text())
    assert all(row["value"] is not None for row in metrics["rows"] if row["model"].startswith("loihi"))
    own = metrics["rows"][1]
    assert own["model"] == "model" and own["value"] is not None and own["framework"].startswith("onnx")
    placement = json.loads((tmp_path / "runs/own/quantize/placement.json").read_text())
    assert placement["hardware_options"]["snip_max_spikes_per_step"] >= 50


def experiment_of(path, **data):
    lines = [f"{key} = {json.dumps(value)}" for key, value in data.items()]
    folder = path.parent / "own.toml"
    folder.write_text(
        "\n".join(["[data]", 'name = "synthetic-planes"', *lines, f'[network]\nname = "model"\npath = "{path}"'])
        + "\n[train]\nepochs = 0\n"
    )
    return experiments.load(str(folder))


def test_the_framework_computes_what_the_reader_does(segmenter):
    """ONNX's own implementation, in a process of its own; channels first comes back in the network's order."""
    model, images = read_model(segmenter), np.random.default_rng(1).random((5, 16, 24, 1)).astype(np.float32)
    with framework.OwnModel(experiment_of(segmenter), model.spec) as own:
        (batch,) = own.run(images)
    assert own.extra["framework"].startswith("onnx")
    mine = layer_outputs(model.spec, model.params, images)["readout"].reshape(5, -1)
    np.testing.assert_allclose(batch.readout[:, 0], mine, rtol=0, atol=1e-4)  # logits of float32 probabilities


def test_what_a_framework_cannot_compute_is_said(segmenter, monkeypatch):
    monkeypatch.setattr(framework, "_framework", lambda path: "keras_of_tomorrow")
    with pytest.raises(framework.NotRun, match="keras_of_tomorrow is not installed"):
        framework.OwnModel(experiment_of(segmenter), read_model(segmenter).spec)


def test_no_framework_is_given_a_file_that_names_other_code(tmp_path):
    hidden = {"module": "os", "class_name": "system", "config": {"command": f"touch {tmp_path}/done"}}
    layers = [{"class_name": "Dense", "module": "keras.layers", "config": {"units": 1, "kernel_initializer": hidden}}]
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
    with pytest.raises(framework.NotRun, match="code of 'os', which is not run"):
        framework._trust(tmp_path / "mine.h5")


def test_a_localiser_may_end_in_a_sigmoid(tmp_path):
    path, g = tmp_path / "box.onnx", onnx_models.Graph((1, 6, 6), seed=3)
    x = g.node("Flatten", g.node("Relu", g.conv("input", 1, 2, (3, 3))), axis=1)
    onnx.save(g.model(g.node("Sigmoid", g.node("Gemm", x, g.random(32, 4), g.random(4))), [4]), path)
    model, images = read_model(path), np.random.default_rng(0).random((7, 6, 6, 1)).astype(np.float32)
    boxes, readout = TASKS["boxes"], layer_outputs(model.spec, model.params, images)["readout"]
    said = model.predict(images)
    np.testing.assert_allclose(boxes.predictions(readout, model.spec), said, rtol=0, atol=1e-6)
    scaler = boxes.scaler(said, final="sigmoid")  # fine-tuning learns logits, standardised
    np.testing.assert_allclose(scaler.restore(scaler.standardise(said)), said, rtol=0, atol=1e-5)
    standardised = layer_outputs(model.spec, scaler.unfold(model.params), images)["readout"]
    np.testing.assert_allclose(standardised, scaler.standardise(said), rtol=0, atol=1e-3)


def test_a_model_takes_over_no_neurons_of_another_network(segmenter, tmp_path):
    (tmp_path / "mine.toml").write_text(f'base = "mnist"\n[network]\nname = "model"\npath = "{segmenter}"\n')
    (tmp_path / "more.toml").write_text('base = "mine.toml"\n[neurons]\nrate_scale_hz = 300.0\n')
    base, mine, more = (experiments.load(name) for name in ("mnist", f"{tmp_path}/mine.toml", f"{tmp_path}/more.toml"))
    assert (mine.neurons.rate_scale_hz, mine.finetune.synapse_s) == (500, 0.005)
    assert (more.neurons.rate_scale_hz, more.finetune.synapse_s) == (300, 0.005)
    assert mine.finetune.n_steps == base.finetune.n_steps and mine.train.loss == base.train.loss


def test_check_reads_models(segmenter, tmp_path):
    done = run("check", segmenter, "--json", tmp_path / "report.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["cores"] >= 2 and not report["violations"]
    wrong = run("check", segmenter, "--input", "8,8,1", folder=tmp_path)
    assert wrong.returncode == 2 and "(8, 8, 1) was given" in wrong.stderr and wrong.stderr.count("\n") == 1


def test_check_takes_a_function_that_returns_a_keras_model(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import keras\n"
        "def make():\n"
        "    layers = keras.layers\n"
        "    return keras.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(2, 3, activation='relu'),\n"
        "                             layers.Conv2D(3, 3, activation='relu'), layers.Flatten(), layers.Dense(2)])\n"
    )
    done = run("check", "mine.py:make", folder=tmp_path)
    assert done.returncode == 0 and "conv2d_1" in done.stdout, done.stderr[-800:]


def test_another_image_size_is_refused(segmenter):
    with pytest.raises(InputError, match=r"takes images of \(16, 24, 1\)"):
        read_model(segmenter, (16, 16, 1))
