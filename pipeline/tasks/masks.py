"""Masks: which pixels belong to what, one class or several. Scored by Dice per volume and class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.pipeline.datasets.base import IGNORE, Dataset
from cotrain.pipeline.metrics import dice
from cotrain.pipeline.tasks.base import Task
from cotrain.pipeline.tasks.scaling import TargetScaler

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor
    from cotrain.pipeline.training.backend import Job


class Masks(Task):
    """A label for each pixel, (height, width): of one class True or False, of several 0 for the background and k.

    A network gives one logit a pixel for one class, set above 0; of several classes one score each, the background's
    first, and the highest counts. Pixels that nobody labelled (`IGNORE`) are neither learnt nor scored.
    """

    name = "masks"
    metric, metric_name = "dice", "Dice"
    unit = "volume"
    losses = ("bce-dice", "ce-dice")

    def target_shape(self, n: int, height: int, width: int) -> tuple[int, ...]:
        return (n, height, width)

    def check_targets(self, dataset: Dataset, refuse: Callable[[str], None]) -> None:
        n = len(dataset.class_names)
        allowed = np.zeros(IGNORE + 1, dtype=bool)
        allowed[[*range(n + 1), IGNORE]] = True
        for k, mask in enumerate(dataset.targets):
            whole = (
                np.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= IGNORE and (mask == np.rint(mask)).all()
            )
            if not (whole and allowed[mask.astype(np.intp)].all()):
                values = [v for v in np.unique(mask).tolist() if not (v == IGNORE or (0 <= v <= n and v == int(v)))]
                more = ", ..." if len(values) > 3 else ""
                refuse(
                    f"{dataset.names[k]}: the mask holds {', '.join(f'{v:g}' for v in values[:3])}{more}: expected 0 "
                    f"for the background, 1 to {n} for {', '.join(dataset.class_names[:5])}, "
                    f"{IGNORE} for what is not labelled"
                )

    def class_names_of(self, targets: np.ndarray) -> tuple[str, ...]:
        labels = targets[targets != IGNORE]
        n = int(labels.max()) if labels.size and np.isfinite(labels.max()) else 1
        return ("foreground",) if n <= 1 else tuple(str(k) for k in range(1, min(n, IGNORE) + 1))

    def output_shape(self, dataset: Dataset) -> tuple[int, ...]:
        return (*dataset.image_shape, 1 if dataset.n_classes == 1 else dataset.n_classes + 1)

    def predict(self, readout: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(n, height, width), bool or uint8."""
        scores = readout.reshape(-1, *shape)
        return scores[..., 0] > 0 if shape[-1] == 1 else scores.argmax(axis=-1).astype(np.uint8)

    def as_prediction(self, targets: np.ndarray) -> np.ndarray:
        """Booleans where nothing but 0 and 1 occurs, else uint8."""
        return targets.astype(bool if targets.max(initial=0) <= 1 else np.uint8)

    def scaler(self, targets: np.ndarray, view_shift: float = 0.0, final: str = "linear") -> TargetScaler:
        """Labels stay as they are."""
        return TargetScaler.identity()

    def check_loss(self, loss: str, dataset: Dataset) -> None:
        super().check_loss(loss, dataset)
        if loss == "bce-dice" and dataset.n_classes > 1:
            raise InputError(
                f"train.loss is bce-dice, which knows one class; {dataset.name} has {dataset.n_classes}; "
                "set it to ce-dice"
            )

    def loss(self, job: Job, prediction: Tensor, target: Tensor) -> Tensor:
        """Half cross-entropy, half Dice; sigmoid of one class, soft-max of several."""
        from cotrain.pipeline.training import losses

        n_scores = prediction.shape[-1] // target.shape[-1]
        known = losses.differs(target, IGNORE)
        if n_scores == 1:
            return 0.5 * losses.binary_cross_entropy(prediction, target, known) + 0.5 * losses.dice_loss(
                losses.sigmoid(prediction), target, known
            )
        scores = losses.split(prediction, n_scores)
        wanted = losses.one_hot(target, n_scores)
        entropy = losses.cross_entropy(scores, wanted, known)
        probability = losses.softmax(scores)
        of_classes = [losses.dice_loss(probability[..., k], wanted[..., k], known) for k in range(1, n_scores)]
        return 0.5 * entropy + 0.5 * sum(of_classes) / len(of_classes)

    def first_bias(self, train: Dataset) -> np.ndarray:
        """Logarithms of how often each label occurs; of one class the logit (Lin et al. 2017, "Focal loss", 4.1).

        Without it the last layers learn in their first steps to say "background" everywhere: neurons that fire at
        100 Hz wherever there is nothing to see, for the rest of the training.
        """
        known = train.targets[train.targets != IGNORE]
        n = np.array([np.count_nonzero(known == k) for k in range(train.n_classes + 1)]) + 1.0
        logarithms = np.log(n / n.sum()).astype(np.float32)
        return logarithms[1:] - logarithms[0] if train.n_classes == 1 else logarithms

    def distance(self, job: Job, prediction: Tensor, teacher: Tensor) -> Tensor:
        """Mean over the pixels of the cross-entropy of the two sigmoids or soft-maxes."""
        from cotrain.pipeline.training import losses

        n_scores = job.spec.output_shape[-1]
        if n_scores == 1:
            return losses.binary_cross_entropy(prediction, losses.sigmoid(teacher), losses.ones_like(prediction))
        scores, wanted = losses.split(prediction, n_scores), losses.split(teacher, n_scores)
        return losses.cross_entropy(scores, losses.softmax(wanted))

    def view(
        self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator, **settings: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        from cotrain.pipeline.datasets.augment import augment_masks

        return augment_masks(images, targets, rng, **settings)

    def moved(self, targets: np.ndarray, matrix: np.ndarray, offset: np.ndarray, size: np.ndarray) -> np.ndarray:
        from cotrain.pipeline.datasets.warp import warp_masks

        return warp_masks(targets, matrix, offset)

    def scores(
        self, predicted: np.ndarray, true: np.ndarray, groups: np.ndarray, class_names: Sequence[str] = ()
    ) -> np.ndarray:
        """Mean Dice of the classes in each volume."""
        return np.mean([dice(*_of_class(predicted, true, k), groups) for k in _labels(class_names)], axis=0)

    def per_class(
        self, predicted: np.ndarray, true: np.ndarray, groups: np.ndarray, class_names: Sequence[str]
    ) -> dict[str, float]:
        if len(class_names) < 2:
            return {}
        return {
            name: float(dice(*_of_class(predicted, true, k), groups).mean())
            for k, name in enumerate(class_names, start=1)
        }

    def constant(self, train: Dataset) -> np.ndarray:
        """One volume of masks, (n_slices, height, width) float32; of pictures, which have one slice, one mask.

        Which slice it is, is known without looking at it. That is a much stronger predictor than one mask for all
        slices (mean Dice 0.69 against 0.28 on the hippocampus test split). Of several classes each has its own mask,
        and a pixel that two want is given to the one that is there more often.
        """
        groups, member = np.unique(train.groups, return_inverse=True)
        shape = (len(groups), int(train.slices.max()) + 1, *train.image_shape)
        best, often = np.zeros(shape[1:], np.float32), np.zeros(shape[1:])
        for k in _labels(train.class_names):
            volumes = np.zeros(shape, dtype=bool)
            volumes[member, train.slices] = train.targets == k
            mask, share = constant_mask(volumes) > 0, volumes.mean(axis=0)
            take = mask & (share > often)
            best[take], often[take] = k, share[take]
        return best

    def predict_constant(self, constant: np.ndarray, dataset: Dataset) -> np.ndarray:
        if constant.shape[1:] != dataset.image_shape or dataset.slices.max() >= len(constant):
            raise InputError(
                f"{dataset.name}: the constant predictor has shape {constant.shape}, the data "
                f"{dataset.slices.max() + 1} slices of {dataset.image_shape}: fit it to the same image_shape and "
                "n_slices"
            )
        labels = constant[dataset.slices]
        return labels > 0 if dataset.n_classes == 1 else labels.astype(np.uint8)

    def size_of_target(self, targets: np.ndarray) -> np.ndarray:
        return ((targets > 0) & (targets != IGNORE)).sum(axis=(1, 2))

    def outline(self, target: np.ndarray, shape: tuple[int, int], zoom: int) -> np.ndarray:
        """The outline of a mask, inside it; (height, width) bool."""
        large = np.kron(target > 0.5, np.ones((zoom, zoom), dtype=bool))
        padded = np.pad(large, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return large & ~inner


def _labels(class_names: Sequence[str]) -> range:
    return range(1, max(len(class_names), 1) + 1)


def _of_class(predicted: np.ndarray, true: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks of one class among labels, without the pixels that nobody labelled."""
    known = true != IGNORE
    return (predicted == k) & known, (true == k) & known


def constant_mask(volumes: np.ndarray) -> np.ndarray:
    """The mask with the best mean Dice per volume among all that a threshold on the mean volume gives.

    Parameters
    ----------
    volumes : (n, ...) bool

    Returns
    -------
    (...) float32
        0 or 1.
    """
    flat = volumes.reshape(len(volumes), -1)
    # Adding voxels in the order of their frequency runs through all masks that a threshold can give.
    order = np.argsort(-flat.sum(axis=0), kind="stable")
    n_voxels = np.arange(1, flat.shape[1] + 1)
    score = np.zeros(flat.shape[1])
    for volume in flat:  # one at a time: all at once would take n times the memory
        score += 2 * np.cumsum(volume[order]) / (n_voxels + volume.sum())
    best = np.zeros(flat.shape[1], dtype=np.float32)
    best[order[: score.argmax() + 1]] = 1
    return best.reshape(volumes.shape[1:])
