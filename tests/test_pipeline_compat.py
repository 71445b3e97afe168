"""TensorFlow and NengoDL start quietly, with Keras 2, and say so where they cannot."""

import os
import subprocess
import sys

import pytest
from cotrain.hardware.errors import MissingError
from cotrain.pipeline import compat

TRAINING = """
import random, subprocess, sys, tempfile
import numpy as np

class Popen(subprocess.Popen):
    def __init__(self, command, *args, **kwargs):
        assert command[0] != sys.executable, "a second Python was started"
        super().__init__(command, *args, **kwargs)

subprocess.Popen = Popen
from cotrain.pipeline.compat import import_nengo_dl, import_tensorflow, make_deterministic
tf, nengo_dl = import_tensorflow(), import_nengo_dl()
import nengo

drawn = []
for _ in range(2):
    make_deterministic(3)
    drawn.append((random.random(), np.random.random(), float(tf.random.normal(()))))
assert drawn[0] == drawn[1]

with nengo.Network(seed=0) as net:
    image = nengo.Node(np.zeros(16))
    layer = nengo.Ensemble(8, 1, neuron_type=nengo_dl.SoftLIFRate())
    nengo.Connection(image, layer.neurons, transform=nengo_dl.dists.Glorot())
    probe = nengo.Probe(layer.neurons)
images, target = np.ones((8, 3, 16)), np.zeros((8, 3, 8))
with tempfile.TemporaryDirectory() as logs, nengo_dl.Simulator(net, minibatch_size=4, progress_bar=False) as sim:
    sim.compile(tf.optimizers.Adam(1e-3), loss={probe: "mse"})
    sim.fit(images, target, epochs=1, verbose=0, callbacks=[tf.keras.callbacks.TensorBoard(logs)])
    sim.predict(images)
    sim.freeze_params(net)

import keras
print("keras", keras.__version__.split(".")[0], "in NengoDL", tf.keras.Model.__module__.split(".")[0])
"""


def python(source, *options, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL")}
    return subprocess.run(
        [sys.executable, *options, "-c", source], capture_output=True, text=True, env={**environment, **variables}
    )


def test_training_prints_nothing_and_leaves_keras_3_to_others():
    result = python(TRAINING, "-W", "default")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "keras 3 in NengoDL tf_keras"
    assert result.stderr == ""


def test_tensorflow_with_keras_3_is_refused():
    result = python(
        "import tensorflow; tensorflow.keras.layers\n"
        "from cotrain.pipeline.compat import import_nengo_dl\n"
        "try: import_nengo_dl()\n"
        "except NotImplementedError as error: print(type(error).__name__, error)"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("UnsupportedError tensorflow was imported before")
    assert "TF_USE_LEGACY_KERAS=1" in result.stdout


@pytest.mark.parametrize("name", ["tensorflow", "tf_keras"])
def test_what_is_not_installed_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)  # ``import name`` raises ModuleNotFoundError
    with pytest.raises(MissingError, match=rf"{name} is not installed.*make setup"):
        compat.import_tensorflow.__wrapped__()


def test_only_known_lines_are_held_back(capfd):
    with compat._filtered_stderr():
        os.write(2, b"I0000 port.cc:153] oneDNN custom operations are on. You may see\n")
        os.write(2, b"E0000 cuda_platform.cc:52] failed call to cuInit: INTERNAL\n")
        os.write(2, b"E0000 something.cc:1] out of memory\n")
    assert capfd.readouterr().err == "E0000 something.cc:1] out of memory\n"


def test_lines_before_a_failure_are_shown(capfd):
    with pytest.raises(ImportError), compat._filtered_stderr():
        os.write(2, b"libfoo.so: cannot open shared object file\n")
        raise ImportError
    assert capfd.readouterr().err == "libfoo.so: cannot open shared object file\n"
