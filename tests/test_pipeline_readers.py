"""Models of Keras and ONNX: the framework's own outputs, NengoDL's and nengo-loihi's integers; files that lie."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import onnx_models
import pytest
from cotrain import hardware
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.errors import CorruptError, CotrainError, InputError, MissingError, UnsupportedError
from cotrain.pipeline import experiment as experiments
from cotrain.pipeline.evaluation.models import placed_network
from cotrain.pipeline.experiment import NeuronSettings
from cotrain.pipeline.networks import build, neurons_for
from cotrain.pipeline.networks.forward import layer_outputs
from cotrain.pipeline.networks.readers import read_model
from test_pipeline_networks import run_nengo

KERAS = [
    "vgg", "residual", "preactivated", "unet", "separable", "convolutional", "dense", "one_hidden", "padded", "decoder",
    "shapes", "nested",
]  # fmt: skip
SHAPES = {"one_hidden": (5, 6, 1)}  # models that take vectors


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder of models with their inputs and outputs; Keras 3 and TensorFlow run in a process of their own."""
    folder = tmp_path_factory.mktemp("models")
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    script = Path(__file__).with_name("foreign_models.py")
    done = subprocess.run([sys.executable, script, folder], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, make in onnx_models.MODELS.items():
        model = make()
        onnx.save(model, folder / f"{name}.onnx")
        shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        images = np.random.default_rng(7).random((3, *shape)).astype(np.float32)
        outputs = onnx_models.outputs(model, images)
        images = images if name == "channels_last" else images.transpose(0, 2, 3, 1)
        np.savez(folder / f"{name}.onnx.npz", images=images, outputs=outputs)
    return folder


def read(files, name):
    """(model, images, the framework's outputs)."""
    file = name if "." in name else f"{name}.keras"
    stem = file if file.endswith(".onnx") else file.rpartition(".")[0]
    with np.load(files / f"{stem}.npz") as known:
        images, outputs = known["images"], known["outputs"]
    shape = SHAPES.get(stem)
    return read_model(files / file, shape), images.reshape(len(images), *(shape or images.shape[1:])), outputs


ALL = [*KERAS, "residual.h5", "nested.h5", *(f"{name}.onnx" for name in onnx_models.MODELS)]


@pytest.mark.parametrize("name", ALL)
def test_outputs_are_the_frameworks(files, name):
    model, images, expected = read(files, name)
    found = model.predict(images)
    assert found.dtype == np.float32 and found.shape == (3, expected[0].size)
    # each output is a path of sums: of n products each rounds by at most n 2^-24 of the sum of their sizes, which is no
    # larger than a few times the largest activation for the random weights here
    terms = sum(edge.fan_in for edge in model.spec.edges())
    largest = max(np.abs(x).max() for x in layer_outputs(model.spec, model.params, images).values())
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(found, expected.reshape(3, -1), rtol=0, atol=terms * 2**-24 * max(largest, 1))


@pytest.mark.parametrize("name", ALL)
def test_nengo_builds_the_same_network(files, name):
    model, images, _ = read(files, name)
    neurons = neurons_for(NeuronSettings(kind="rectified", rate_curve="ideal"), "ann")
    _, readout = run_nengo(build(model.spec, neurons, model.params), images[0], 1)
    ours = layer_outputs(model.spec, model.params, images[:1])["readout"].ravel()
    np.testing.assert_allclose(readout[-1], ours, rtol=0, atol=2e-5 * max(1, np.abs(ours).max()))


@pytest.mark.parametrize("name", ["residual", "preactivated", "unet", "padded", "decoder", "shapes", "depthwise.onnx"])
def test_on_the_emulator_it_has_nengo_loihis_integers(files, name):
    model, images, _ = read(files, name)
    experiment = experiments.load("demo-locnet")
    built, lowered = placed_network(experiment, model.spec, model.params, probes=True)
    image = images[0].ravel()
    with hardware.Simulator(lowered, target="emulator", seed=0) as sim:
        ours = sim.predict({built.image: image.reshape(1, 1, -1)}, n_steps=50)
    built.image.output = image
    with import_nengo_loihi().Simulator(built.net, target="sim", seed=0, progress_bar=False) as sim:
        sim.run_steps(50)
        for probe in built.net.all_probes:
            np.testing.assert_array_equal(ours[probe][0], sim.data[probe], err_msg=probe.label)
        assert np.any(sim.data[built.output])


# --- what is not read ---------------------------------------------------------------------------------------------


def changed(files, tmp_path, change, name="dense", weights=None):
    """A copy of a model whose configuration `change` has edited, and whose weights `weights` has."""
    with zipfile.ZipFile(files / f"{name}.keras") as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    if weights:
        held = io.BytesIO(members["model.weights.h5"])
        with h5py.File(held, "r+") as file:
            weights(file)
        members["model.weights.h5"] = held.getvalue()
    path = tmp_path / "changed.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return path


def layer(config, kind):
    return next(entry for entry in config["config"]["layers"] if entry["class_name"] == kind)


def refused(path, kind, said, **more):
    before = sorted(path.parent.iterdir())
    with pytest.raises(kind) as caught:
        read_model(path, **more)
    assert said in str(caught.value) and "\n" not in str(caught.value), str(caught.value)
    assert sorted(path.parent.iterdir()) == before


def as_lambda(config):
    entry = layer(config, "Dense")
    entry["class_name"], entry["config"] = "Lambda", {"name": "odd", "function": ["gASV", None, None]}


def as_own(config):
    entry = layer(config, "Dense")
    entry["module"], entry["class_name"], entry["registered_name"] = "mine.layers", "Cube", "mine>Cube"


def as_lstm(config):
    layer(config, "Dense")["class_name"] = "LSTM"


def wider(config):
    layer(config, "Dense")["config"]["units"] = 21


def endless_image(config):
    layer(config, "InputLayer")["config"]["batch_shape"] = [None, 10**6, 10**6, 1]


def tanh(config):
    layer(config, "Dense")["config"]["activation"] = "tanh"


def sigmoid_in_the_middle(config):
    layer(config, "Dense")["config"]["activation"] = "sigmoid"


def nothing(config):
    pass


def nan(file):
    file["layers/dense/vars/0"][0, 0] = np.nan


def no_weights(file):
    del file["layers/dense/vars/1"]


def link_out(file):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars/1"] = h5py.ExternalLink("/etc/passwd", "x")


def stored_elsewhere(file):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", (20,), "f4", external=[("/etc/passwd", 0, 80)])


def bomb(file):
    del file["layers/dense/vars/1"]
    file["layers/dense/vars"].create_dataset("1", (2**40,), "f4", chunks=(2**20,))


@pytest.mark.parametrize(
    ("change", "weights", "kind", "said"),
    [
        (as_lambda, None, UnsupportedError, "Lambda, whose code would have to run"),
        (as_own, None, UnsupportedError, "a layer of your own (Cube)"),
        (as_lstm, None, UnsupportedError, "LSTM; recurrent layers"),
        (endless_image, None, CorruptError, "its input is (1000000, 1000000, 1)"),
        (wider, None, CorruptError, "weight kernel has shape (30, 20); its configuration says (30, 21)"),
        (tanh, None, UnsupportedError, "activation tanh has no neuron"),
        (sigmoid_in_the_middle, None, UnsupportedError, "sigmoid in the middle of a model"),
        (nothing, nan, CorruptError, "holds NaN or infinity"),
        (nothing, no_weights, CorruptError, "is missing"),
        (nothing, link_out, CorruptError, "is a link and not followed"),
        (nothing, stored_elsewhere, CorruptError, "lies in another file"),
        (nothing, bomb, CorruptError, "bytes of weights"),
    ],
)
def test_what_keras_files_may_not_hold(files, tmp_path, change, weights, kind, said):
    refused(changed(files, tmp_path, change, weights=weights), kind, said)


def test_damaged_files_are_one_line(files, tmp_path):
    whole = (files / "dense.keras").read_bytes()
    path = tmp_path / "model.keras"
    for size in (0, 3, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        refused(path, CorruptError, "model.keras")
    path.write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94")
    refused(path, CorruptError, "neither a Keras archive (zip) nor HDF5")
    legacy, path = (files / "residual.h5").read_bytes(), tmp_path / "model.h5"
    for size in (8, 600, len(legacy) // 2):
        path.write_bytes(legacy[:size])
        refused(path, CorruptError, "model.h5")
    exported, path = (files / "residual.onnx").read_bytes(), tmp_path / "model.onnx"
    for size in (0, 50, len(exported) // 2):
        path.write_bytes(exported[:size])
        refused(path, CorruptError, "model.onnx")
    refused(tmp_path / "none.keras", MissingError, "does not exist")


def test_bytes_turned_over_end_in_a_line_or_in_numbers(files, tmp_path):
    rng = np.random.default_rng(0)
    for suffix, name in ((".keras", "vgg.keras"), (".h5", "residual.h5"), (".onnx", "vgg.onnx")):
        whole = bytearray((files / name).read_bytes())
        for i in range(12):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), 4):
                data[at] ^= 1 << rng.integers(8)
            path = tmp_path / f"{i}{suffix}"
            path.write_bytes(data)
            try:
                read_model(path)
            except CotrainError as error:
                assert "\n" not in str(error)


def test_external_data_stays_in_its_folder(files, tmp_path):
    model = onnx.load(files / "residual.onnx")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4096))
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "out.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    images = np.random.default_rng(0).random((2, 9, 8, 1))
    np.testing.assert_array_equal(read_model(path).predict(images), read_model(files / "residual.onnx").predict(images))
    outside = onnx.load(path, load_external_data=False)
    for location in ("../secret", str(secret)):
        for tensor in outside.graph.initializer:
            tensor.external_data[0].value = location
        path.write_bytes(outside.SerializeToString())
        refused(path, CorruptError, "outside of the model's folder")
    (folder / "linked").symlink_to(secret)
    for tensor in outside.graph.initializer:
        tensor.external_data[0].value = "linked"
    path.write_bytes(outside.SerializeToString())
    refused(path, CorruptError, "outside of the model's folder")


def test_shapes_have_to_agree(files):
    refused(files / "dense.keras", InputError, "(28, 28, 1) was given", input_shape=(28, 28, 1))
    refused(files / "one_hidden.keras", InputError, "--input", input_shape=None)
    with pytest.raises(InputError, match=r"expected numbers of shape \(n_samples, 5, 6, 1\)"):
        read_model(files / "dense.keras").predict(np.zeros((2, 6, 5, 1)))


def test_max_pooling_needs_the_users_word(tmp_path):
    g = onnx_models.Graph((2, 8, 8))
    x = g.node("Relu", g.conv("input", 2, 4, (3, 3), pads=[1, 1, 1, 1]))
    x = g.node("Relu", g.conv(g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), 4, 3, (3, 3)))
    path = tmp_path / "pool.onnx"
    onnx.save(g.model(g.node("Flatten", x), [12]), path)
    refused(path, UnsupportedError, "--set network.max_pool=average")
    model = read_model(path, max_pool="average")
    assert any("max-pooling taken as average-pooling" in note for note in model.notes)


def test_neither_a_framework_nor_code_of_the_file_is_run(files):
    code = (
        "import sys; from cotrain.pipeline.networks.readers import read_model\n"
        "read_model(sys.argv[1]).predict(__import__('numpy').zeros((1, 8, 12, 1)))\n"
        "print([m for m in ('tensorflow', 'keras', 'tf_keras', 'torch', 'nengo_dl') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(files / "vgg.keras")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_library_that_never_returns_or_dies_is_one_line(files, monkeypatch):
    """HDF5's loops for ever on some damaged indices, where no signal of Python's reaches it."""
    from cotrain.pipeline.networks.readers import archive

    path = next(files.glob("*.keras"))
    read_model(path)
    monkeypatch.setattr(archive, "SECONDS", 1)
    for trial in (archive._TRIAL + "while True: pass", archive._TRIAL + "import os; os.abort()"):
        monkeypatch.setattr(archive, "_TRIAL", trial)
        with pytest.raises(CorruptError, match="does not end; it is damaged; save the model again"):
            read_model(path)
