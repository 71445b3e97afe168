"""A layer of neurons over a whole presentation as one TensorFlow operation, with the gradient of its rate curve.

Layers of a feed-forward network need not take turns at every time step: each can run through all steps before the
next one starts. Then the convolutions of all steps are one convolution over a batch of n_steps * n_samples images, and
what is left of a neuron is a loop over its own current (`kernels`). Outputs and gradients are those of the loop over
time.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import numpy as np
from cotrain.pipeline.compat import import_tensorflow
from cotrain.pipeline.neurons.nengo_types import NeuronModel
from cotrain.pipeline.neurons.phases import LayerNeurons
from cotrain.pipeline.training.unrolled import rates as rate_kernels
from cotrain.pipeline.training.unrolled import spikes as kernels

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor

tf = import_tensorflow()

UNUSED = 3  # references to memory from its list, the loop over it and the question
ALIGNMENT = 64  # bytes, what TensorFlow asks of a tensor's memory

_memory: dict[int, list[np.ndarray]] = {}  # by size in bytes


def constants(model: NeuronModel, neurons: LayerNeurons, synapse_s: float) -> kernels.Constants:
    """The numbers of one layer, as the kernels take them."""
    tau_rc_s, tau_ref_s = (float(value) for value in model.constants())
    keep = np.exp(-model.dt_s / synapse_s) if synapse_s else 0.0
    unit = neurons.neuron_type.amplitude / model.dt_s
    values = (
        neurons.gain, neurons.rest, unit, keep, model.dt_s, tau_rc_s, tau_ref_s, model.smoothing, model.min_voltage,
    )  # fmt: skip
    return kernels.Constants(*(np.float32(v) for v in values))


def rates(
    model: NeuronModel, c: kernels.Constants, x: Tensor, low: float = 0.0, high: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Activations of neurons with constant input.

    Parameters
    ----------
    x : tf.Tensor
        Inputs in units of activation, float32 or bfloat16.
    low, high : float
        A range of activations.

    Returns
    -------
    outputs : tf.Tensor
        As `x`. Value: the rate. Gradient: of the smooth rate.
    sums : tf.Tensor
        (2,) float32: the sum of all outputs, and of their squared distances from the range; with gradients.
    """
    key = model.kind, model.on_chip, bool(model.smoothing > 0)
    forward, backward = rate_kernels.forward(*key), rate_kernels.backward(*key)
    bounds = np.float32(low), np.float32(high)

    @tf.custom_gradient
    def run(x):
        def numpy_forward(x):
            outputs = _empty(x.shape, x.dtype)
            return outputs, forward(x.reshape(-1), c, *bounds, outputs.reshape(-1))

        def numpy_backward(d_outputs, d_sums, x, outputs):
            d_x = _empty(x.shape, x.dtype)
            backward(d_outputs.reshape(-1), d_sums, x.reshape(-1), outputs.reshape(-1), c, *bounds, d_x.reshape(-1))
            return d_x

        def gradient(d_outputs, d_sums):
            inputs = [_raw(d_outputs), d_sums, raw, raw_outputs]
            return _typed(tf.numpy_function(numpy_backward, inputs, raw.dtype, stateful=False), x.dtype, x.shape)

        raw = _raw(x)
        raw_outputs, sums = tf.numpy_function(numpy_forward, [raw], [raw.dtype, tf.float32], stateful=False)
        sums.set_shape([2])
        return (_typed(raw_outputs, x.dtype, x.shape), sums), gradient

    return run(x)


def spikes(
    model: NeuronModel,
    c: kernels.Constants,
    currents: Tensor,
    bias: Tensor,
    n_steps: int,
    weights: np.ndarray,
    slope: str = "step",
    lift: np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """A layer's spikes from rest.

    Parameters
    ----------
    currents : tf.Tensor
        What comes in at each step, before the synapse's filter, (n_steps, n_samples, ...) in units of activation,
        float32 or bfloat16. (1, n_samples, ...): constant and not filtered.
    bias : tf.Tensor
        float32: one value per entry of the last axis, or one per neuron.
    weights : ndarray
        (2, n_steps) float32, for two weighted means over time.
    slope : {"step", "drift"}
        Of the rate curve, for gradients: at each step's current, or of its mean and variance, weighted by weights[1].
    lift : ndarray, optional
        What comes in once, with the first of the currents, (n_neurons,) in units of activation.

    Returns
    -------
    outputs : tf.Tensor
        (n_steps, n_samples, ...) as `currents`: 1 / (rate_scale dt) per spike.
    means : tf.Tensor
        (2, n_samples, ...) float32.
    """
    drift = slope == "drift"
    kernel = kernels.spike_kernel(model.kind, model.on_chip, bool(model.smoothing > 0), drift)
    constant = currents.shape[0] == 1
    lifted = np.zeros(0, np.float32) if lift is None else np.asarray(lift, np.float32)

    @tf.custom_gradient
    def run(currents, bias):
        layer = currents.shape[1:]
        every = tf.broadcast_to(bias, layer)

        def numpy_run(currents, bias):
            outputs = _empty((n_steps, bias.size), currents.dtype)
            slopes = _empty((1 if drift else n_steps, bias.size), np.float32 if drift else currents.dtype)
            means = _empty((2, bias.size), np.float32)
            flat = currents.reshape(len(currents), -1)
            kernel(flat, bias.reshape(-1), lifted, weights, c, outputs, slopes, means)
            return outputs.reshape(n_steps, *bias.shape), slopes, means.reshape(2, *bias.shape)

        raw = _raw(currents)
        outputs, slopes, means = tf.numpy_function(
            numpy_run, [raw, every], [raw.dtype, tf.float32 if drift else raw.dtype, tf.float32], stateful=False
        )
        means.set_shape([2, *layer])

        def numpy_gradient(d_outputs, d_means, slopes):
            d_bias = _empty((slopes.shape[1],), np.float32)
            d_currents = _empty((0 if constant else n_steps, slopes.shape[1]), d_outputs.dtype)
            kernels.spike_gradient(
                d_outputs.reshape(n_steps, -1), d_means.reshape(2, -1), weights, slopes, c.keep, d_currents, d_bias
            )
            return d_currents, d_bias

        def gradient(d_outputs, d_means):
            d_currents, d_bias = tf.numpy_function(
                numpy_gradient, [_raw(d_outputs), d_means, slopes], [raw.dtype, tf.float32], stateful=False
            )
            d_bias = tf.reshape(d_bias, layer)
            if constant:
                d_currents = tf.cast(d_bias, currents.dtype)[tf.newaxis]
            else:
                d_currents = tf.reshape(_typed(d_currents, currents.dtype), currents.shape)
            return d_currents, tf.reduce_sum(d_bias, axis=range(len(layer) - len(bias.shape)))

        return (_typed(outputs, currents.dtype, [n_steps, *layer]), means), gradient

    return run(currents, bias)


def _empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Memory on a boundary where TensorFlow takes an array over without copying it.

    It is used again when nobody holds it any more: pages fresh from the operating system cost more than the kernels.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    known = _memory.setdefault(n_bytes, [])
    for memory in known:
        if sys.getrefcount(memory) == UNUSED:
            break
    else:
        memory = np.empty(n_bytes + ALIGNMENT, np.uint8)
        known.append(memory)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + n_bytes].view(dtype).reshape(shape)  # whose base is `memory`


def _raw(tensor):
    """NumPy has no bfloat16: its bits travel as uint16."""
    return tf.bitcast(tensor, tf.uint16) if tensor.dtype == tf.bfloat16 else tensor


def _typed(array, dtype, shape=None):
    tensor = tf.bitcast(array, tf.bfloat16) if dtype == tf.bfloat16 else array
    if shape is not None:
        tensor.set_shape(shape)
    return tensor
