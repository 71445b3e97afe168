"""The row "model": a model that was made elsewhere, computed by the framework that it was made with.

The framework runs in a process of its own (`framework_child`), because NengoDL needs Keras 2 under the name of Keras 3,
and because that process may be given the file only after the readers, which run nothing of it, have been through it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cotrain.pipeline.evaluation import framework_child
from cotrain.pipeline.evaluation.models import Batch
from cotrain.pipeline.networks.foreign import model_for
from cotrain.pipeline.networks.forward import unfinished

SAMPLES = 256  # that are sent at once
KERAS = ("keras", "tf_keras", "tensorflow")  # modules that a file may name; anything else would have to run


class NotRun(Exception):
    """Why the framework cannot compute the model here; the row says so."""


class OwnModel:
    """A model in its own framework, as a row of the comparison runs it."""

    def __init__(self, experiment: Any, spec: Any):
        self.model = model_for(experiment.network, spec.input_shape)
        self.spec = spec
        path = Path(experiment.network.path)
        _trust(path)
        name = _framework(path)
        environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
        self.told = tempfile.TemporaryFile()  # a pipe that nobody reads would fill up
        self.child = subprocess.Popen(
            [sys.executable, "-P", framework_child.__file__, name, str(path), self.model.input_layout],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.told,
            env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
        )  # fmt: skip
        self.extra: dict[str, Any] = {"framework": str(self._receive())}

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.child.kill()
        self.child.communicate()
        self.told.close()

    def run(self, images: np.ndarray) -> Iterator[Batch]:
        """Run on images (n, height, width, channels)."""
        for first in range(0, len(images), SAMPLES):
            part = np.ascontiguousarray(images[first : first + SAMPLES], np.float32)
            try:
                framework_child.send(self.child.stdin, part)
            except BrokenPipeError:
                pass  # what it had to say is read below
            outputs = self._receive().reshape(len(part), -1)
            if outputs.shape[1] != self.model.size:
                raise NotRun(f"it gives {outputs.shape[1]} values, and the reader {self.model.size}")
            if self.model.order is not None:
                ordered = np.empty_like(outputs)
                ordered[:, self.model.order] = outputs
                outputs = ordered
            yield Batch(unfinished(self.spec, outputs)[:, np.newaxis])

    def _receive(self) -> np.ndarray:
        try:
            return framework_child.receive(self.child.stdout)
        except EOFError:
            self.child.communicate()
            self.told.seek(0)
            told = self.told.read().decode("utf-8", "replace").strip().splitlines()
            raise NotRun(told[-1][:200] if told else "its process ended") from None


def _framework(path: Path) -> str:
    """ "keras" (3), "tf_keras" (Keras 2) or "onnx"."""
    if path.suffix.lower() == ".onnx":
        return "onnx"
    from cotrain.pipeline.networks.readers.archive import keras_version

    return "keras" if keras_version(path) >= 3 else "tf_keras"


def _trust(path: Path) -> None:
    """NotRun if a Keras file names code that is not Keras's own, in any corner that the readers need not look at."""
    if path.suffix.lower() == ".onnx":
        return
    from cotrain.pipeline.networks.readers.archive import open_keras

    todo: list[Any] = [open_keras(path)[0]]
    while todo:
        tree = todo.pop()
        if isinstance(tree, list):
            todo += tree
        elif isinstance(tree, dict):
            module = tree.get("module")
            if module not in (None, "builtins") and str(module).split(".")[0] not in KERAS:
                raise NotRun(f"the file names code of {module!r}, which is not run")
            if tree.get("class_name") in ("__lambda__", "Lambda", "function"):
                raise NotRun(f"the file holds a {tree['class_name'].strip('_')}, which is not run")
            todo += tree.values()
