"""Classes: what an image shows. Scored by accuracy, each class counting alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.datasets.checks import first_bad
from cotrain.pipeline.tasks.base import Task
from cotrain.pipeline.tasks.scaling import TargetScaler

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor
    from cotrain.pipeline.training.backend import Job


class Classes(Task):
    """A place in `Dataset.class_names`, () int64; a network gives one score a class, and the highest counts."""

    name = "classes"
    metric, metric_name = "accuracy", "accuracy"
    target_dtype = "int64"
    losses = ("cross-entropy",)
    outlined = False
    view_settings = (*Task.view_settings, "flip", "cutout")

    def target_shape(self, n: int, height: int, width: int) -> tuple[int, ...]:
        return (n,)

    def check_targets(self, dataset: Dataset, refuse: Callable[[str], None]) -> None:
        n = len(dataset.class_names)
        bad = (dataset.targets < 0) | (dataset.targets >= n)
        if bad.any():
            name, k = first_bad(dataset, bad)
            refuse(f"{name}: the class is {dataset.targets[k]}: expected 0 to {n - 1}, a place among {n} class names")
        if n < 2:
            refuse(f"there is one class only ({', '.join(dataset.class_names)}): expected at least two to tell apart")

    def class_names_of(self, targets: np.ndarray) -> tuple[str, ...]:
        n = int(targets.max()) + 1 if targets.size else 0
        return tuple(str(k) for k in range(n))

    def output_shape(self, dataset: Dataset) -> tuple[int, ...]:
        return (dataset.n_classes,)

    def predict(self, readout: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(n,) int64."""
        return readout.reshape(-1, *shape).argmax(axis=-1)

    def as_prediction(self, targets: np.ndarray) -> np.ndarray:
        return targets.astype(np.int64)

    def scaler(self, targets: np.ndarray, view_shift: float = 0.0, final: str = "linear") -> TargetScaler:
        """Places stay as they are."""
        return TargetScaler.identity()

    def loss(self, job: Job, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the soft-max, against targets smoothed by ``label_smoothing``."""
        from cotrain.pipeline.training import losses

        n_classes = prediction.shape[-1]
        smoothing = job.settings.label_smoothing
        wanted = losses.one_hot(target[:, 0], n_classes) * (1 - smoothing) + smoothing / n_classes
        return losses.cross_entropy(prediction, wanted)

    def distance(self, job: Job, prediction: Tensor, teacher: Tensor) -> Tensor:
        """Cross-entropy of the two soft-maxes."""
        from cotrain.pipeline.training import losses

        return losses.cross_entropy(prediction, losses.softmax(teacher))

    def view(
        self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator, **settings: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        from cotrain.pipeline.datasets.augment import augment_classes

        return augment_classes(images, targets, rng, **settings)

    def scores(
        self, predicted: np.ndarray, true: np.ndarray, groups: np.ndarray, class_names: Sequence[str] = ()
    ) -> np.ndarray:
        """Share of each image (or group of images) in the accuracy, so that their mean is the mean over the classes.

        An image that is right counts n / (n_classes n_k), with n samples of which n_k are of its class: 1 where all
        classes are as frequent. Classes that do not occur do not count.
        """
        counts = np.bincount(true)
        weight = len(true) / ((counts > 0).sum() * counts[true])
        names, member = np.unique(groups, return_inverse=True)
        return np.bincount(member, (predicted == true) * weight) * len(names) / len(true)

    def per_class(
        self, predicted: np.ndarray, true: np.ndarray, groups: np.ndarray, class_names: Sequence[str]
    ) -> dict[str, float]:
        """The part of each class's images that is right; without classes that do not occur."""
        return {
            name: float((predicted[true == k] == k).mean()) for k, name in enumerate(class_names) if (true == k).any()
        }

    def details(self, predicted: np.ndarray, true: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
        """`fraction_right` of all images, and `confusion`: rows are true classes, columns predicted ones."""
        n = len(class_names)
        confusion = np.bincount(true * n + predicted, minlength=n * n).reshape(n, n)
        return {"fraction_right": float((predicted == true).mean()), "confusion": confusion.tolist()}

    def constant(self, train: Dataset) -> np.ndarray:
        """The most frequent class, (1,) float32."""
        return np.array([np.bincount(train.targets).argmax()], np.float32)

    def predict_constant(self, constant: np.ndarray, dataset: Dataset) -> np.ndarray:
        if constant.shape != (1,) or not 0 <= constant[0] < dataset.n_classes:
            raise InputError(
                f"{dataset.name}: the constant predictor is {constant.tolist()}, expected one of "
                f"{dataset.n_classes} classes: fit it to the same classes"
            )
        return np.full(len(dataset), int(constant[0]))

    def label(self, prediction: np.ndarray, class_names: Sequence[str]) -> str:
        return class_names[int(prediction)] if int(prediction) < len(class_names) else str(int(prediction))
