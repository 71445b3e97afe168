"""What losses are made of, as functions of tensors; `pipeline.tasks` says which task takes which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cotrain.pipeline.compat import import_tensorflow

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor
    from cotrain.pipeline.training.backend import Job

tf = import_tensorflow()

sigmoid, softmax, ones_like = tf.sigmoid, tf.nn.softmax, tf.ones_like


def mean_square(prediction: Tensor, target: Tensor) -> Tensor:
    return tf.reduce_mean((prediction - target) ** 2)


def mean_absolute(prediction: Tensor, target: Tensor) -> Tensor:
    return tf.reduce_mean(tf.abs(prediction - target))


def huber(prediction: Tensor, target: Tensor) -> Tensor:
    """Quadratic up to one standard deviation."""
    size = tf.abs(prediction - target)
    return tf.reduce_mean(tf.where(size < 1, 0.5 * size**2, size - 0.5))


def one_hot(labels: Tensor, n_classes: int) -> Tensor:
    """(..., n_classes) float32; 0 throughout where a label is none of them."""
    return tf.one_hot(tf.cast(labels, tf.int32), n_classes)


def split(prediction: Tensor, n_scores: int) -> Tensor:
    """Predictions (n_samples, n_pixels * n_scores) as (n_samples, n_pixels, n_scores)."""
    return tf.reshape(prediction, (prediction.shape[0], -1, n_scores))


def differs(target: Tensor, label: float) -> Tensor:
    """1 where a target is not `label`, else 0; float32."""
    return tf.cast(tf.not_equal(target, label), tf.float32)


def binary_cross_entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean over the pixels where `known` is 1."""
    each = tf.nn.sigmoid_cross_entropy_with_logits(labels=target * known, logits=logits)
    return tf.reduce_sum(each * known) / tf.maximum(tf.reduce_sum(known), 1)


def cross_entropy(scores: Tensor, wanted: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean of the soft-max's cross-entropy; `wanted` (..., n_classes) are probabilities, `known` (...) is 1 or 0."""
    each = tf.nn.softmax_cross_entropy_with_logits(labels=wanted, logits=scores)
    if known is None:
        return tf.reduce_mean(each)
    return tf.reduce_sum(each * known) / tf.maximum(tf.reduce_sum(known), 1)


def dice_loss(probability: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """1 - 2 sum(p t) / (sum(p) + sum(t)), summed over the whole batch where `known` is 1.

    Slices without the object have no Dice of their own; within a batch they count through sum(p).
    """
    probability, target = probability * known, target * known
    overlap = 2 * tf.reduce_sum(probability * target)
    return 1 - (overlap + 1) / (tf.reduce_sum(probability) + tf.reduce_sum(target) + 1)


def giou_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - generalised IoU of boxes [y0, x0, y1, x1] (Rezatofighi et al. 2019, algorithm 1), mean over the batch."""

    def area(low, high):
        return tf.reduce_prod(tf.maximum(high - low, 0), axis=-1)

    low, high = prediction[:, :2], prediction[:, 2:]
    low, high = tf.minimum(low, high), tf.maximum(low, high)
    target_low, target_high = target[:, :2], target[:, 2:]
    overlap = area(tf.maximum(low, target_low), tf.minimum(high, target_high))
    union = area(low, high) + area(target_low, target_high) - overlap
    hull = area(tf.minimum(low, target_low), tf.maximum(high, target_high))
    return tf.reduce_mean(1 - overlap / (union + 1e-9) + (hull - union) / (hull + 1e-9))


def rate_penalty(rates: Tensor, minimum: float, maximum: float) -> Tensor:
    """Mean squared distance of neurons' rates from the range [minimum, maximum]; a target is a range of no width.

    Parameters
    ----------
    rates : tf.Tensor
        (n_samples, n_neurons), each the mean over a presentation; in the unit of `minimum` and `maximum`.
    """
    outside = tf.maximum(rates - maximum, 0) + tf.maximum(minimum - rates, 0)
    return tf.reduce_mean(outside**2)


def activity_penalty(activity: Sequence[Tensor], job: Job) -> Tensor:
    """The penalties of a job on rates: outside a range, layer by layer, and on the mean of all neurons.

    Parameters
    ----------
    activity : list of tf.Tensor
        (n_samples, n_neurons) of each layer; 1 is a rate of `rate_scale_hz`.
    job : pipeline.training.backend.Job
    """
    penalty, scale = 0.0, job.neurons.rate_scale_hz
    if job.settings.rate_weight:
        low, high = job.settings.rate_min_hz / scale, job.settings.rate_max_hz / scale
        penalty += job.settings.rate_weight * tf.add_n([rate_penalty(a, low, high) for a in activity])
    if job.settings.rate_mean_weight:
        n_values = sum(a.shape.num_elements() for a in activity)
        penalty += job.settings.rate_mean_weight * tf.add_n([tf.reduce_sum(a) for a in activity]) / n_values
    return penalty


def penalty_of_sums(sums: Tensor, sizes: list[int], job: Job) -> Tensor:
    """The same from sums over a layer's activity.

    Parameters
    ----------
    sums : tf.Tensor
        (n_layers, 2): of all activations, and of their squared distances from the job's range.
    sizes : list of int
        Activations that each layer's sums are of.
    """
    penalty = 0.0
    if job.settings.rate_weight:
        penalty += job.settings.rate_weight * tf.reduce_sum(sums[:, 1] / tf.constant(sizes, tf.float32))
    if job.settings.rate_mean_weight:
        penalty += job.settings.rate_mean_weight * tf.reduce_sum(sums[:, 0]) / sum(sizes)
    return penalty
