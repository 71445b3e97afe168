"""Layers of neurons over a whole presentation as TensorFlow operations alone, for a GPU.

The functions are those of `layerwise`, which does the same in compiled loops on the CPU and so would send every layer
of every step to the CPU and back. Here the equations of tensors (`pipeline.neurons`) are used as they stand:

- the Lowpass of all steps is one product with a triangular matrix, F[t, s] = (1 - k) k^(t - 1 - s) for s < t;
- the dynamics, which carry no gradient, are a loop over time that XLA compiles into one kernel a step;
- the gradient is that of the smooth rate, or of what stands for it, whose value is taken away again.

Outputs and gradients are those of `layerwise` within float32's rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cotrain.pipeline.compat import import_tensorflow
from cotrain.pipeline.neurons.nengo_types import NeuronModel, hybrid_gradient, rate_output, with_gradient_of
from cotrain.pipeline.training.unrolled.spikes import Constants

tf = import_tensorflow()


def rates(model: NeuronModel, c: Constants, x: Any, low: float = 0.0, high: float = 0.0) -> Any:
    """Activations of neurons with constant input; see `layerwise.rates`."""
    current = c.gain * tf.cast(x, tf.float32) + c.rest
    outputs = rate_output(model, current, c.unit * c.dt)
    outside = tf.nn.relu(outputs - np.float32(high)) - tf.nn.relu(np.float32(low) - outputs)
    sums = tf.stack([tf.reduce_sum(outputs), tf.reduce_sum(outside * outside)])
    return tf.cast(outputs, x.dtype), sums


def spikes(
    model: NeuronModel,
    c: Constants,
    currents: Any,
    bias: Any,
    n_steps: int,
    weights: np.ndarray,
    slope: str = "step",
    lift: np.ndarray | None = None,
) -> Any:
    """A layer's spikes from rest; see `layerwise.spikes`."""
    layer = currents.shape[1:]
    flat = tf.reshape(tf.cast(currents, tf.float32), (currents.shape[0], -1))
    if currents.shape[0] == 1:  # constant, and not filtered
        flat = _lifted(tf.broadcast_to(flat, (n_steps, flat.shape[1])), lift)
    elif c.keep:
        flat = tf.matmul(_lowpass(float(c.keep), n_steps), _lifted(flat, lift))
    else:
        flat = _lifted(flat, lift)
    x = flat + tf.reshape(tf.broadcast_to(bias, layer), (1, -1))
    current = c.gain * x + c.rest
    outputs = _dynamics(model, current, n_steps) * c.unit
    if slope == "drift":
        mean, square = (tf.linalg.matvec(tf.transpose(v), weights[1]) for v in (current, current**2))
        slopes = model.equations.drift_slope(model, mean, tf.nn.relu(square - mean**2))
        outputs = with_gradient_of(outputs, c.unit * c.dt * tf.stop_gradient(slopes) * current)
    else:
        outputs = hybrid_gradient(model, outputs, current, c.unit * c.dt)
    means = tf.matmul(tf.constant(weights), outputs)
    return tf.cast(tf.reshape(outputs, (n_steps, *layer)), currents.dtype), tf.reshape(means, (2, *layer))


def _lifted(flat: Any, lift: np.ndarray | None):
    """Currents (n_steps, n) with what comes in once, in every sample."""
    if lift is None:
        return flat
    once = np.tile(np.asarray(lift, np.float32), flat.shape[1] // lift.size)
    return tf.concat([flat[:1] + once, flat[1:]], axis=0)


def _lowpass(keep: float, n_steps: int):
    """(n_steps, n_steps): what a Lowpass that is one step late gives, from what came in."""
    age = np.arange(n_steps)[:, None] - 1 - np.arange(n_steps)
    return tf.constant(np.where(age < 0, 0, (1 - keep) * keep ** np.maximum(age, 0)), tf.float32)


def _dynamics(model: NeuronModel, currents, n_steps: int):
    """Numbers of spikes (n_steps, n), without gradient."""

    def run(currents):
        def step(t, found, *state):
            n_spikes, *state = model.step(currents[t], *state)
            return t + 1, found.write(t, n_spikes), *state

        found = tf.TensorArray(tf.float32, n_steps, element_shape=currents.shape[1:])
        start = (0, found, *model.initial_state(currents.shape[1:]))
        _, found, *_ = tf.while_loop(lambda t, *_: t < n_steps, step, start, maximum_iterations=n_steps)
        return tf.ensure_shape(found.stack(), (n_steps, *currents.shape[1:]))

    return tf.stop_gradient(compiled(run)(tf.stop_gradient(currents)))


def compiled(run: Callable) -> Callable:
    """`run` as one compiled piece where there is a GPU, for which a kernel an operation would be too many."""
    return tf.function(run, jit_compile=True, autograph=False) if tf.config.list_physical_devices("GPU") else run
