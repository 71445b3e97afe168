"""Seconds of a training step: ours, NengoDL's loop, and a loop over time written by hand in TensorFlow.

    python tests/benchmarks/bench_training.py [--json FILE]

All in one process, same network, same batch, float32; the best of several steps each, taken in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
from cotrain.pipeline.experiment import FinetuneSettings, NetworkSettings, NeuronSettings, TrainSettings
from cotrain.pipeline.networks import IMAGE, build, neurons_for, spec_for
from cotrain.pipeline.neurons.nengo_types import NeuronModel, hybrid_output, nengo_dl, tf
from cotrain.pipeline.tasks import TASKS
from cotrain.pipeline.tasks.scaling import TargetScaler
from cotrain.pipeline.training.backend import Job, make_backend
from cotrain.pipeline.training.unrolled.trainer import DTYPES, incoming

REPORT = Path(__file__).resolve().parents[2] / "reports" / "benchmarks-training.json"
NETWORKS = {  # settings, image shape, loss, batch size, time steps
    "locnet": (NetworkSettings(name="locnet", filters=(8, 16, 32), dense=(128, 64, 32)), (48, 96), "mse", 16, 20),
    "cae": (NetworkSettings(name="cae", filters=(16, 32, 64), pool_kernel=3), (40, 56), "bce-dice", 8, 20),
}
SYNAPSE_S = 0.002
N_TURNS = 5


class NengoDLFit:
    """NengoDL as its documentation has it: `Simulator.fit` on the network, with its default settings."""

    def __init__(self, job: Job, params: dict):
        built = build(job.spec, neurons_for(job.neurons, job.phase), params, job.synapse_s, bias_nodes=True)
        self.job, self.built = job, built
        self.sim = nengo_dl.Simulator(built.net, minibatch_size=job.settings.batch_size, progress_bar=False)
        last = job.readout_steps
        self.sim.compile(
            optimizer=tf.keras.optimizers.legacy.Adam(),
            loss={built.output: lambda y, p: job.task.loss(job, tf.reduce_mean(p[:, -last:], 1), y[:, 0])},
        )

    def train_step(self, images, targets, learning_rate: float) -> None:
        flat = np.repeat(images.reshape(len(images), 1, -1), self.job.n_steps, axis=1)
        self.sim.fit({self.built.image: flat}, {self.built.output: targets[:, np.newaxis]}, verbose=0)

    def close(self) -> None:
        self.sim.close()


class HandWritten:
    """What one would write without this project: an unrolled loop over time of plain TensorFlow operations."""

    def __init__(self, job: Job, params: dict):
        self.job = job
        self.variables = {name: tf.Variable(value) for name, value in params.items()}
        self.optimizer = tf.keras.optimizers.legacy.Adam()
        self.run = tf.function(self._step)

    def train_step(self, images, targets, learning_rate: float) -> None:
        self.optimizer.learning_rate = learning_rate
        self.run(tf.constant(images), tf.constant(targets)).numpy()

    def close(self) -> None:
        """Nothing is held."""

    def _step(self, images, targets):
        with tf.GradientTape() as tape:
            loss = self.job.task.loss(self.job, self._forward(images), targets)
        variables = list(self.variables.values())
        gradients = tape.gradient(loss, variables)
        if self.job.settings.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.job.settings.clip_norm)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def _forward(self, images):
        job, params = self.job, self.variables
        neurons, model = neurons_for(job.neurons, "hybrid"), NeuronModel("rectified", True)
        keep, layers = np.float32(np.exp(-job.dt_s / job.synapse_s)), job.spec.layers
        shapes = [(len(images), *layer.output_shape) for layer in layers]
        filtered = [tf.zeros(shape) for shape in shapes]
        states = [model.initial_state(shape) for shape in shapes]
        outputs = [tf.zeros(shape) for shape in shapes]  # of the step before: what a Lowpass knows
        filtered[0], total = linear(layers[0], images, params), 0.0
        for t in range(job.n_steps):
            before = list(outputs)
            for i, layer in enumerate(layers):
                if i and t:
                    filtered[i] = keep * filtered[i] + (1 - keep) * linear(layer, before[i - 1], params)
                current = neurons.gain * (filtered[i] + params[f"{layer.name}.bias"])
                outputs[i], states[i] = hybrid_output(model, current, states[i], neurons.neuron_type.amplitude)
            if t >= job.n_steps - job.readout_steps:
                total += outputs[-1]
        readout = linear(job.spec.readout, total / job.readout_steps, params) + params["readout.bias"]
        return tf.reshape(readout, (len(images), -1))


def linear(layer, x, params):
    (edge,) = layer.edges()  # the networks here are chains
    kernel = params[edge.param]
    if edge.kind == "dense":
        return tf.reshape(x, (len(x), -1)) @ kernel
    if edge.kind == "conv":
        return tf.nn.conv2d(x, kernel, edge.input.stride, edge.input.padding.upper())
    return tf.nn.conv2d_transpose(
        x, tf.transpose(kernel, (0, 1, 3, 2)), (len(x), *layer.output_shape), edge.input.stride, "VALID"
    )


def job_for(name: str, phase: str, precision: str = "float32") -> Job:
    settings, shape, loss, batch_size, n_steps = NETWORKS[name]
    identity = TargetScaler(np.zeros(1, np.float32), np.ones(1, np.float32))
    shared = {"clip_norm": 1.0, "precision": precision}
    phase_settings = (
        FinetuneSettings(
            batch_size=batch_size, n_steps=n_steps, readout_steps=n_steps // 2, synapse_s=SYNAPSE_S, **shared
        )
        if phase == "hybrid"
        else TrainSettings(batch_size=32, **shared)
    )
    task = next(task for task in TASKS.values() if loss in task.losses)
    return Job(spec_for(settings, shape), NeuronSettings(), task, identity, loss, phase_settings)


def keras_model(job: Job):
    """The ANN with ordinary rectified neurons, as the yardstick of an ANN step."""
    keras = tf.keras
    stack = [keras.Input(job.spec.input_shape)]
    for layer in (*job.spec.layers, job.spec.readout):
        activation = "relu" if layer is not job.spec.readout else None
        entry = layer.inputs[0]
        if entry.kind == "dense":
            if len(entry.shape) > 1:
                stack.append(keras.layers.Flatten())
            stack.append(keras.layers.Dense(layer.units, activation))
        else:
            kind = {"conv": keras.layers.Conv2D, "conv_transpose": keras.layers.Conv2DTranspose}[entry.kind]
            stack.append(kind(layer.units, entry.kernel, entry.stride, entry.padding, activation=activation))
    stack.append(keras.layers.Flatten())
    model = keras.Sequential(stack)
    model.compile(keras.optimizers.legacy.Adam(), lambda y, p: job.task.loss(job, p, y))
    return model


class Keras:
    def __init__(self, job: Job, params: dict):
        self.model = keras_model(job)

    def train_step(self, images, targets, learning_rate: float) -> None:
        self.model.train_on_batch(images, targets)

    def close(self) -> None:
        """Nothing is held."""


class Convolutions:
    """All linear maps of the ANN and their gradients, without neurons, loss and optimizer: what nobody can save."""

    def __init__(self, job: Job, params: dict):
        self.job, self.dtype = job, DTYPES[job.settings.precision]
        self.variables = {name: tf.Variable(value) for name, value in params.items() if ".kernel" in name}
        self.run = tf.function(self._step, autograph=False)

    def train_step(self, images, targets, learning_rate: float) -> None:
        self.run(tf.constant(images))

    def close(self) -> None:
        """Nothing is held."""

    def _step(self, images):
        with tf.GradientTape() as tape:
            outputs = {IMAGE: images}
            for layer in (*self.job.spec.layers, self.job.spec.readout):
                outputs[layer.name] = incoming(layer, outputs, self.variables, self.dtype)
            loss = tf.reduce_sum(tf.cast(outputs[self.job.spec.readout.name], tf.float32))
        return [tf.reduce_sum(g) for g in tape.gradient(loss, list(self.variables.values()))]


def trainers(name: str, phase: str) -> dict:
    job = job_for(name, phase)
    params = job.spec.init_params(0)
    for key in params:
        if key.endswith(".bias"):
            params[key] += 0.1  # all layers spike
    made = {
        "ours": make_backend("tensorflow", job, params),
        "ours, bfloat16": make_backend("tensorflow", job_for(name, phase, "bfloat16"), params),
        "nengo-dl": NengoDLFit(job, params),
        "nengo-dl, our loop around it": make_backend("nengo-dl", job, params),
    }
    if phase == "hybrid":
        made["hand-written"] = HandWritten(job, params)
    else:
        made["keras"] = Keras(job, params)
        made["convolutions alone"] = Convolutions(job, params)
        made["convolutions alone, bfloat16"] = Convolutions(job_for(name, phase, "bfloat16"), params)
    return made


def measure(name: str, phase: str) -> dict:
    """Best seconds of a step of each trainer, and the ratios to ours."""
    job, made = job_for(name, phase), trainers(name, phase)
    rng = np.random.default_rng(0)
    images = rng.random((job.settings.batch_size, *job.spec.input_shape)).astype(np.float32)
    targets = (rng.random((job.settings.batch_size, job.spec.readout.n_neurons)) < 0.3).astype(np.float32)
    seconds, cpu_seconds = ({key: [] for key in made} for _ in range(2))
    for trainer in made.values():
        trainer.train_step(images, targets, 1e-4)  # builds and compiles
    for _ in range(N_TURNS):
        for key, trainer in made.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            trainer.train_step(images, targets, 1e-4)
            seconds[key].append(time.perf_counter() - started)
            cpu_seconds[key].append(time.process_time() - cpu_started)
    for trainer in made.values():
        trainer.close()
    best, cpu = ({key: min(v) for key, v in table.items()} for table in (seconds, cpu_seconds))
    result = {
        "network": name, "phase": phase, "batch_size": job.settings.batch_size, "n_steps": job.n_steps,
        "n_neurons": job.spec.n_neurons, "step_seconds": best, "step_cpu_seconds": cpu,
        "ours_times_faster": {key: value / best["ours"] for key, value in best.items()},
        "ours_times_less_cpu": {key: value / cpu["ours"] for key, value in cpu.items()},
    }  # fmt: skip
    print(f"{name} {phase}: " + ", ".join(f"{key} {value:.3f} s" for key, value in best.items()), flush=True)
    print(
        "  less CPU: " + ", ".join(f"{key} {value:.2f}" for key, value in result["ours_times_less_cpu"].items()),
        flush=True,
    )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=REPORT)
    arguments = parser.parse_args()
    rows = [measure(name, phase) for phase in ("hybrid", "ann") for name in NETWORKS]
    report = {
        "schema": 1,
        "what": "seconds of one training step, best of several, all trainers in one process",
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "versions": {"tensorflow": tf.__version__, "nengo-dl": nengo_dl.__version__, "numpy": np.__version__},
        "rows": rows,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.json.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, arguments.json)


if __name__ == "__main__":
    main()
