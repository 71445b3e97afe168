"""How far the chip's networks are from what the data allow: plain Keras networks on the same split.

    python tools/ceiling.py cae-2d|cae-2.5d|locnet [--data DIR] [--seeds 0 1 2] [--set section.key=value] [--out FILE]

The networks are ordinary Keras layers in float32: convolution, batch normalisation, ReLU, max-pooling, skips. Nothing
of the chip is in them. Data, split, views, losses, test protocols and scores are those of the experiment; the epoch is
chosen on the validation split, and the test split is scored once. OUT (by default the file that the report reads) is
written after every seed; a seed that is already there, of the same data and recipe, is not run again, and one that was
stopped goes on after its last epoch.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.hardware import terminal
from cotrain.hardware.errors import CotrainError
from cotrain.hardware.progress import duration
from cotrain.pipeline import datasets, experiment
from cotrain.pipeline.compat import import_tensorflow, make_deterministic
from cotrain.pipeline.datasets import Dataset
from cotrain.pipeline.evaluation import ceilings
from cotrain.pipeline.experiment import Experiment
from cotrain.pipeline.networks import Params
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.training import job_for
from cotrain.pipeline.training.backend import Job, StepResult, in_full_batches
from cotrain.pipeline.training.loop import Schedule, fit

tf = import_tensorflow()
layers = tf.keras.layers
READOUT = "readout"


def convolution(x: Any, filters: int, kernel: int = 3, stride: int = 1) -> Any:
    """Convolution, batch normalisation, ReLU."""
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def unet(settings: Experiment, dataset: Dataset, n_outputs: int, filters: tuple[int, ...]) -> Any:
    """U-Net (Ronneberger et al., MICCAI 2015) with batch normalisation: two convolutions a resolution, max-pooling."""
    x = image = tf.keras.Input(dataset.input_shape)
    skips = []
    for n in filters[:-1]:
        x = convolution(convolution(x, n), n)
        skips.append(x)
        x = layers.MaxPool2D()(x)
    x = convolution(convolution(x, filters[-1]), filters[-1])
    for n, skip in zip(reversed(filters[:-1]), reversed(skips), strict=True):
        x = layers.Concatenate()([layers.Conv2DTranspose(n, 2, 2)(x), skip])
        x = convolution(convolution(x, n), n)
    return tf.keras.Model(image, layers.Conv2D(n_outputs, 1, name=READOUT)(x))


def convnet(
    settings: Experiment,
    dataset: Dataset,
    n_outputs: int,
    filters: tuple[int, ...],
    strides: tuple[int, ...],
    dense: tuple[int, ...],
    dropout: float,
) -> Any:
    """Convolutions, some of stride 2 in the place of pooling, then dense layers, as in `networks.convnet`."""
    x = image = tf.keras.Input(dataset.input_shape)
    network = settings.network
    for n, stride in zip(filters, strides, strict=True):
        x = convolution(x, n, network.pool_kernel if stride > 1 else network.kernel, stride)
    x = layers.Dropout(dropout)(layers.Flatten()(x))
    for n in dense:
        x = layers.Dense(n, use_bias=False, kernel_initializer="he_normal")(x)
        x = layers.Dropout(dropout)(layers.ReLU()(layers.BatchNormalization()(x)))
    return tf.keras.Model(image, layers.Dense(n_outputs, name=READOUT)(x))


@dataclass(frozen=True)
class Ceiling:
    """A network, the experiment whose data it sees, and what is trained otherwise than there."""

    experiment: str
    what: str  # as the report names it
    build: Callable[..., Any]
    options: dict[str, Any]  # of `build`
    changes: tuple[str, ...]


_UNET = (
    "train.precision=float32", "train.epochs=14", "train.epoch_samples=0", "train.warmup_epochs=1",
    "train.learning_rate=3e-3", "train.weight_decay=0.02",
)  # fmt: skip
CEILINGS = {
    "cae-2d": Ceiling(
        "cae",
        "plain Keras U-Net, one slice",
        unet,
        {"filters": (24, 48, 96)},
        (*_UNET, "train.epochs=10", "data.neighbours=0"),
    ),
    "cae-2.5d": Ceiling(
        "cae", "plain Keras U-Net, five slices", unet, {"filters": (24, 48, 96)}, (*_UNET, "data.neighbours=2")
    ),
    "locnet": Ceiling(
        "locnet",
        "plain Keras localiser",
        convnet,
        {"filters": (16, 32, 32, 64, 64, 64), "strides": (2, 2, 1, 2, 1, 2), "dense": (128,), "dropout": 0.2},
        ("train.precision=float32", "train.epochs=300"),
    ),
}


class KerasBackend:
    """A Keras model as a `training.backend.Backend`, trained with AdamW; what is kept is a running average."""

    def __init__(self, job: Job, model: Any):
        self.job, self.model = job, model
        settings = job.settings
        self.optimizer = tf.keras.optimizers.AdamW(
            settings.learning_rate, weight_decay=settings.weight_decay, global_clipnorm=settings.clip_norm or None
        )
        self.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.optimizer.build(model.trainable_variables)
        readout = model.get_layer(READOUT)
        own = {id(readout.kernel): f"{READOUT}.kernel", id(readout.bias): f"{READOUT}.bias"}
        self.variables = {own.get(id(v), f"{i:03d}"): v for i, v in enumerate(model.weights)}
        self.averages = {name: tf.Variable(v) for name, v in self.variables.items()} if settings.average else {}
        self._step, self._predict = tf.function(self._train), tf.function(lambda x: self._flat(x, False))

    def _flat(self, images: Any, training: bool) -> Any:
        return tf.reshape(self.model(images, training=training), (images.shape[0], -1))

    def _train(self, images: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = self.job.task.loss(self.job, self._flat(images, True), targets)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        n = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(self.job.settings.average, n / (n + 9))  # the initial parameters are soon forgotten
        for name, average in self.averages.items():
            average.assign_add((1 - decay) * (self.variables[name] - average))
        return loss

    def train_step(self, images: np.ndarray, targets: np.ndarray, learning_rate: float) -> StepResult:
        self.optimizer.learning_rate.assign(learning_rate)
        return StepResult(float(self._step(images, targets)), np.zeros(len(self.job.spec.layers)))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """With what is kept."""
        now = self._values(self.variables)
        self._assign(self.variables, self.params())
        found = in_full_batches(lambda x: self._predict(x).numpy(), images, 64)
        self._assign(self.variables, now)
        return found

    def params(self) -> Params:
        return self._values(self.averages or self.variables)

    def load(self, params: Params) -> None:
        """Have `params` return these."""
        for variables in (self.variables, self.averages):
            self._assign(variables, params)

    @staticmethod
    def _values(variables: dict[str, Any]) -> Params:
        return {name: variable.numpy() for name, variable in variables.items()}

    @staticmethod
    def _assign(variables: dict[str, Any], values: Params) -> None:
        for name, variable in variables.items():
            variable.assign(values[name])

    def _groups(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        moments = {str(i): variable for i, variable in enumerate(self.optimizer.variables)}
        return ("now", self.variables), ("average", self.averages), ("optimizer", moments)

    def state(self) -> dict[str, np.ndarray]:
        return {f"{key}/{name}": v.numpy() for key, variables in self._groups() for name, v in variables.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        for key, variables in self._groups():
            self._assign(variables, {name: state[f"{key}/{name}"] for name in variables})

    def close(self) -> None:
        tf.keras.backend.clear_session()


def recipe_of(ceiling: Ceiling, settings: Experiment, backend: KerasBackend) -> dict[str, Any]:
    """All that a result is a function of besides data and seed."""
    train = settings.resolved("train")["train"]
    used = (
        "epochs", "epoch_samples", "batch_size", "learning_rate", "schedule", "warmup_epochs", "clip_norm", "loss",
        "weight_decay", "average", "augment",
    )  # fmt: skip
    views = {key: value for key, value in train.items() if key.startswith("view_")}
    return {
        "network": ceiling.build.__name__, **ceiling.options,
        "input": list(backend.model.input_shape[1:]),
        "parameters": int(sum(np.prod(v.shape) for v in backend.model.trainable_variables)),
        **{key: train[key] for key in used}, **views, "tensorflow": tf.__version__,
    }  # fmt: skip


def scored(backend: KerasBackend, dataset: Dataset) -> dict[str, Any]:
    """Mean of the metric, and that of each image or volume."""
    task = backend.job.task
    predicted = task.predict(backend.predict(dataset.images), backend.job.spec.output_shape)
    values = task.scores(predicted, dataset.targets, dataset.groups, dataset.class_names)
    return {"value": float(values.mean()), "group_values": [round(float(v), 6) for v in values]}


class Trial:
    """One network with one seed: made, then trained.

    Attributes
    ----------
    entry : dict
        What its row belongs to: network, data, protocols, recipe.
    """

    def __init__(self, name: str, settings: Experiment, dataset: Dataset):
        ceiling = CEILINGS[name]
        make_deterministic(settings.seed)
        self.settings, self.dataset, self.job = settings, dataset, job_for(settings, dataset, "ann")
        task = self.job.task
        model = ceiling.build(settings, dataset, task.output_shape(dataset)[-1], **ceiling.options)
        bias = model.get_layer(READOUT).bias
        bias.assign_add(np.broadcast_to(task.first_bias(dataset.subset("train")), bias.shape))
        self.backend = KerasBackend(self.job, model)
        self.test = dataset.subset("test")
        self.protocols = task.protocols(self.test, settings.data)
        counts = datasets.describe(dataset, len(self.test))
        there = ceilings.digest(task.as_prediction(self.test.targets), self.test.names, self.test.groups)
        entry = {
            "ceiling": name, "what": ceiling.what, "task": dataset.task, "metric": task.metric,
            "data": ceilings.data_of(settings.resolved("data")["data"], counts, there),
            "protocols": {key: task.describe_protocol(key, settings.data) for key in self.protocols},
            "recipe": recipe_of(ceiling, settings, self.backend),
        }  # fmt: skip
        self.entry = json.loads(json.dumps(entry))  # as it will be read

    def row(self, work: Path, say: Callable[[str], None]) -> dict[str, Any]:
        """Train, choose the epoch on the validation split, score the test split.

        Parameters
        ----------
        work : Path
            Folder of the checkpoint, from which a training that was stopped goes on.
        """
        started, backend = time.perf_counter(), self.backend
        key = artifacts.json_digest([self.entry, self.settings.seed])
        schedule = Schedule(self.job.settings, self.settings.data, self.settings.seed)
        found = fit(
            backend, self.job, schedule, self.dataset, work, key,
            lambda line: say(line.replace("    0 Hz", "")),  # a Keras network has no rates
        )  # fmt: skip
        backend.load(found.params)
        best = found.history["best_epoch"]
        return {
            "seed": self.settings.seed, "best_epoch": best, "validation": found.history["epochs"][best]["metric"],
            **scored(backend, self.test), "protocols": {k: scored(backend, v) for k, v in self.protocols.items()},
            "seconds": round(time.perf_counter() - started),
        }  # fmt: skip


def rows_in(path: Path, entry: dict[str, Any]) -> list[dict[str, Any]]:
    """What has been measured of `entry`."""
    there = ceilings.read(path)["ceilings"] if path.is_file() else []
    return next((one["rows"] for one in there if {**one, "rows": None} == {**entry, "rows": None}), [])


def add(path: Path, entry: dict[str, Any], row: dict[str, Any]) -> None:
    """Write a row into `path`; rows of other data or another recipe under the same name are replaced."""
    there = ceilings.read(path)["ceilings"] if path.is_file() else []
    rows = [*(one for one in rows_in(path, entry) if one["seed"] != row["seed"]), row]
    own = {**entry, "rows": sorted(rows, key=lambda one: one["seed"])}
    others = [one for one in there if one["ceiling"] != entry["ceiling"]]
    found = sorted([*others, own], key=lambda one: one["ceiling"])
    artifacts.write_json(path, {"schema": ceilings.SCHEMA, "ceilings": found})


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ceiling", choices=list(CEILINGS))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value", help="of the experiment")
    parser.add_argument("--out", type=Path, default=ceilings.FILE)
    parser.add_argument("--work", type=Path, default=Path("runs/.ceiling"), help="folder of checkpoints")
    arguments = parser.parse_args(argv)
    name, out = arguments.ceiling, arguments.out
    ceiling, seconds = CEILINGS[name], []
    loaded = experiment.load(ceiling.experiment, [*ceiling.changes, *arguments.set])
    dataset = datasets.load_for(loaded.data, arguments.data, arguments.work / artifacts.SCRATCH)
    for i, seed in enumerate(arguments.seeds):
        trial = Trial(name, replace(loaded, seed=seed), dataset)
        try:
            if any(row["seed"] == seed for row in rows_in(out, trial.entry)):
                terminal.say(f"{name}, seed {seed}: in {out} already")
                continue
            terminal.say(f"{name}, seed {seed}: {trial.entry['recipe']['parameters']:,} parameters")
            work = arguments.work / f"{name}-{seed}"
            row = trial.row(work, terminal.say)
        finally:
            trial.backend.close()
        add(out, trial.entry, row)
        shutil.rmtree(work, ignore_errors=True)
        seconds.append(row["seconds"])
        protocols = "".join(f", {key} {found['value']:.4f}" for key, found in row["protocols"].items())
        left = duration(np.mean(seconds) * (len(arguments.seeds) - i - 1))
        terminal.say(
            f"{name}, seed {seed}: validation {row['validation']:.4f}, test {row['value']:.4f}{protocols}; {left} left"
        )
    terminal.say(f"wrote {out}")


if __name__ == "__main__":
    try:
        main()
    except CotrainError as error:
        sys.exit(f"ceiling: {error}")
