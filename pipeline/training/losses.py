"""Losses as functions of tensors; every trainer uses these.

Predictions of boxes and their targets are standardised (see `scaling`); predictions of masks are logits.
"""

from __future__ import annotations

from cotrain.pipeline.compat import import_tensorflow
from cotrain.pipeline.training.scaling import TargetScaler

tf = import_tensorflow()

BOX_LOSSES = ("mse", "mae", "huber", "giou", "giou-mae")
MAE_WEIGHT = 0.3  # in "giou-mae": it pulls where the boxes do not meet yet
MASK_LOSSES = ("bce-dice",)
LOSSES = {"boxes": BOX_LOSSES, "masks": MASK_LOSSES}  # by task


def task_loss(name: str, prediction, target, scaler: TargetScaler):
    """The loss of one batch.

    Parameters
    ----------
    name : str
        "mse", "mae", "huber", "giou" or "giou-mae" (their weighted sum) of boxes; "bce-dice" of masks.
    prediction, target : tf.Tensor
        (n_samples, size).
    scaler : TargetScaler
        Takes standardised boxes back to fractions of the image, which "giou" needs.

    Returns
    -------
    tf.Tensor
        Scalar.
    """
    if name == "bce-dice":
        return 0.5 * binary_cross_entropy(prediction, target) + 0.5 * dice_loss(prediction, target)
    error = prediction - target
    if name == "mse":
        return tf.reduce_mean(error**2)
    if name == "mae":
        return tf.reduce_mean(tf.abs(error))
    if name == "huber":  # quadratic up to one standard deviation
        size = tf.abs(error)
        return tf.reduce_mean(tf.where(size < 1, 0.5 * error**2, size - 0.5))
    loss = giou_loss(scaler.restore(prediction), scaler.restore(target))
    return loss if name == "giou" else loss + MAE_WEIGHT * tf.reduce_mean(tf.abs(error))


def binary_cross_entropy(logits, target):
    """Mean over all pixels."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits))


def dice_loss(logits, target):
    """1 - 2 sum(p t) / (sum(p) + sum(t)), summed over the whole batch.

    Slices without the object have no Dice of their own; within a batch they count through sum(p).
    """
    probability = tf.sigmoid(logits)
    overlap = 2 * tf.reduce_sum(probability * target)
    return 1 - (overlap + 1) / (tf.reduce_sum(probability) + tf.reduce_sum(target) + 1)


def giou_loss(prediction, target):
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


def rate_penalty(rates, minimum, maximum):
    """Mean squared distance of neurons' rates from the range [minimum, maximum]; a target is a range of no width.

    Parameters
    ----------
    rates : tf.Tensor
        (n_samples, n_neurons), each the mean over a presentation; in the unit of `minimum` and `maximum`.
    """
    outside = tf.maximum(rates - maximum, 0) + tf.maximum(minimum - rates, 0)
    return tf.reduce_mean(outside**2)


def activity_penalty(activity, job):
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


def penalty_of_sums(sums, sizes: list[int], job):
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
