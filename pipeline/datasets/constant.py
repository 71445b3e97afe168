"""The best predictor that does not look at its input: what every network is read against."""

from __future__ import annotations

import numpy as np
from cotrain.hardware.errors import InputError
from cotrain.pipeline.metrics import box_iou

from .base import Dataset


def constant_predictor(train: Dataset) -> np.ndarray:
    """The one box, or the one volume of masks, that scores best on the training samples.

    The volume has a mask for each slice: which slice it is, is known without looking at it. That is a much stronger
    predictor than one mask for all slices (mean Dice 0.69 against 0.28 on the hippocampus test split).

    Parameters
    ----------
    train : Dataset
        What it is fitted to; never the samples it is scored on.

    Returns
    -------
    (4,) or (n_slices, height, width) float32
        A box [y0, x0, y1, x1] in fractions of the image, or masks of 0 and 1.
    """
    if train.task == "boxes":
        return constant_box(train.targets)
    slices = train.slices
    groups, member = np.unique(train.groups, return_inverse=True)
    volumes = np.zeros((len(groups), slices.max() + 1, *train.image_shape), dtype=bool)
    volumes[member, slices] = train.targets > 0.5
    return constant_mask(volumes)


def predict_constant(constant: np.ndarray, dataset: Dataset) -> np.ndarray:
    """What `constant_predictor` found, once per sample.

    Parameters
    ----------
    constant : (4,) or (n_slices, height, width)
    dataset : Dataset
        What to predict; only its task and the numbers of its slices are used.

    Returns
    -------
    (n, 4) or (n, height, width) float32

    Raises
    ------
    InputError
        The constant was fitted to images of another shape or to fewer slices.
    """
    if dataset.task == "boxes":
        return np.tile(constant, (len(dataset), 1))
    slices = dataset.slices
    if constant.shape[1:] != dataset.image_shape or slices.max() >= len(constant):
        raise InputError(
            f"{dataset.name}: the constant predictor has shape {constant.shape}, the data "
            f"{slices.max() + 1} slices of {dataset.image_shape}: fit it to the same image_shape and n_slices"
        )
    return constant[slices]


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
    dice = np.zeros(flat.shape[1])
    for volume in flat:  # one at a time: all at once would take n times the memory
        dice += 2 * np.cumsum(volume[order]) / (n_voxels + volume.sum())
    best = np.zeros(flat.shape[1], dtype=np.float32)
    best[order[: dice.argmax() + 1]] = 1
    return best.reshape(volumes.shape[1:])
