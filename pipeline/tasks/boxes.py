"""Boxes: where the one object is. Scored by intersection over union."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.datasets.checks import first_bad
from cotrain.pipeline.metrics import box_iou, group_means
from cotrain.pipeline.tasks.base import JudgedShifted, Task
from cotrain.pipeline.tasks.scaling import LogitScaler, TargetScaler

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor
    from cotrain.pipeline.training.backend import Job

MAE_WEIGHT = 0.3  # in "giou-mae": it pulls where the boxes do not meet yet
EDGE = 1e-5  # how far a box may leave the picture, as a fraction of it: float32's rounding
LEAST_DEVIATION = 1e-3  # a coordinate that never changes is not blown up


class Boxes(JudgedShifted, Task):
    """A box (4,) float32, [y0, x0, y1, x1] as fractions of the image."""

    name = "boxes"
    metric, metric_name = "iou", "IoU"
    view_settings = ("shift", "scale", "stretch", "gain", "tone")  # a turned box is none
    finishes = True
    losses = ("mse", "mae", "huber", "giou", "giou-mae")

    def target_shape(self, n: int, height: int, width: int) -> tuple[int, ...]:
        return (n, 4)

    def check_targets(self, dataset: Dataset, refuse: Callable[[str], None]) -> None:
        boxes = dataset.targets
        outside = ~((boxes >= -EDGE) & (boxes <= 1 + EDGE)).all(axis=1)
        empty = ~(boxes[:, :2] < boxes[:, 2:]).all(axis=1)
        for bad, text in ((outside, "is not inside the picture"), (empty, "has no area")):
            if bad.any():
                name, k = first_bad(dataset, bad)
                values = ", ".join(f"{v:g}" for v in boxes[k])
                refuse(f"{name}: the box [y0, x0, y1, x1] = [{values}] {text}; expected fractions of it, 0 to 1")
        if len(dataset.class_names) != 1:
            refuse(f"boxes have {len(dataset.class_names)} class names: expected one")

    def class_names_of(self, targets: np.ndarray) -> tuple[str, ...]:
        return ("object",)

    def output_shape(self, dataset: Dataset) -> tuple[int, ...]:
        return (4,)

    def predict(self, readout: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(n, 4) float32."""
        return readout.reshape(-1, 4).astype(np.float32)

    def as_prediction(self, targets: np.ndarray) -> np.ndarray:
        return targets.astype(np.float32)

    def check_network(self, spec: Any, dataset: Dataset) -> None:
        super().check_network(spec, dataset)
        if spec.final == "softmax":
            raise InputError(
                f"network.name {spec.name} ends in a soft-max, whose values add up to 1; the four edges of a box do "
                "not: expected a model that ends in a linear layer or a sigmoid"
            )

    def scaler(self, targets: np.ndarray, view_shift: float = 0.0, final: str = "linear") -> TargetScaler:
        """Each coordinate to mean 0 and deviation 1, so that a network learns more than their mean."""
        if final == "sigmoid":
            logits = LogitScaler.logits(targets)
            return LogitScaler(logits.mean(axis=0), np.maximum(logits.std(axis=0), LEAST_DEVIATION))
        deviation = np.maximum(np.sqrt(targets.var(axis=0) + view_shift**2 / 3), LEAST_DEVIATION)
        return TargetScaler(targets.mean(axis=0).astype(np.float32), deviation.astype(np.float32))

    def loss(self, job: Job, prediction: Tensor, target: Tensor) -> Tensor:
        """Of standardised coordinates; "giou" of fractions of the image."""
        from cotrain.pipeline.training import losses

        if job.loss in ("giou", "giou-mae"):
            loss = losses.giou_loss(job.scaler.restore(prediction), job.scaler.restore(target))
            return loss if job.loss == "giou" else loss + MAE_WEIGHT * losses.mean_absolute(prediction, target)
        of = {"mse": losses.mean_square, "mae": losses.mean_absolute, "huber": losses.huber}
        return of[job.loss](prediction, target)

    def view(
        self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator, **settings: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        from cotrain.pipeline.datasets.augment import augment_boxes

        return augment_boxes(images, targets, rng, **settings)

    def moved(self, targets: np.ndarray, matrix: np.ndarray, offset: np.ndarray, size: np.ndarray) -> np.ndarray:
        from cotrain.pipeline.datasets.warp import move_boxes

        return move_boxes(targets, matrix, offset, size)

    def scores(
        self, predicted: np.ndarray, true: np.ndarray, groups: np.ndarray, class_names: Sequence[str] = ()
    ) -> np.ndarray:
        """Mean IoU of each image."""
        return group_means(box_iou(predicted, true), groups)

    def constant(self, train: Dataset) -> np.ndarray:
        """One box (4,) float32."""
        return constant_box(train.targets)

    def predict_constant(self, constant: np.ndarray, dataset: Dataset) -> np.ndarray:
        return np.tile(constant.astype(np.float32), (len(dataset), 1))

    def size_of_target(self, targets: np.ndarray) -> np.ndarray:
        return (targets[:, 2] - targets[:, 0]) * (targets[:, 3] - targets[:, 1])

    def outline(self, target: np.ndarray, shape: tuple[int, int], zoom: int) -> np.ndarray:
        """Where the lines of a box run; (height, width) bool."""
        size = np.array([*shape, *shape])
        y0, x0, y1, x1 = np.clip(np.round(target * size).astype(int), 0, size - 1)
        out = np.zeros(shape, dtype=bool)
        thick = max(zoom // 2, 1)
        out[y0 : y1 + 1, x0 : x1 + 1] = True
        out[y0 + thick : y1 + 1 - thick, x0 + thick : x1 + 1 - thick] = False
        return out


def constant_box(boxes: np.ndarray) -> np.ndarray:
    """The box with the best mean IoU: the median of each coordinate, then moved edge by edge while that helps.

    Parameters
    ----------
    boxes : (n, 4)

    Returns
    -------
    (4,) float32
    """
    best = np.median(boxes, axis=0).astype(np.float64)
    value = box_iou(best, boxes).mean()
    step = 0.05
    while step > 1e-4:
        moves = best + step * np.concatenate([np.eye(4), -np.eye(4)])
        values = box_iou(moves[:, np.newaxis], boxes[np.newaxis]).mean(axis=1)
        if values.max() > value:
            best, value = moves[values.argmax()], values.max()
        else:
            step /= 2
    return best.astype(np.float32)
