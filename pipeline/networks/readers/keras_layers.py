"""What each of Keras's layers is: one function a layer, in a table."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import numpy as np
from cotrain.hardware.errors import CorruptError
from cotrain.pipeline.networks.arithmetic import same_border
from cotrain.pipeline.networks.readers.archive import AGAIN
from cotrain.pipeline.networks.readers.final import WHAT_TO_DO, Final, plain
from cotrain.pipeline.networks.readers.keras_call import Call
from cotrain.pipeline.networks.readers.kernels import MAX_POOL_TAKEN, dilated, grouped, max_pool_refused

EPSILON = 1e-7  # keras.config.epsilon(), below which Normalization does not divide


def advice(kind: str) -> str:
    """What to do about a type of layer that is not read."""
    if kind in ("LSTM", "GRU", "SimpleRNN", "ConvLSTM2D", "Bidirectional", "TimeDistributed"):
        return "recurrent layers have no place in a feed-forward network; take a convolutional model"
    if kind in ("LayerNormalization", "GroupNormalization", "UnitNormalization"):
        return "its factor depends on each image, which no weight can do; use BatchNormalization"
    if kind in ("Multiply", "Dot", "Attention", "MultiHeadAttention", "Maximum", "Minimum"):
        return "products and maxima of activations have no neuron; use Add or Concatenate"
    return f"those that are read: {', '.join(sorted(LAYERS))}"


def _pair(value) -> Tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(n, int) and 0 < n < 10**5 for n in pair):
        raise ValueError(f"{value} is no size of two sides")
    return pair


def _border(call: Call, value, kernel, stride) -> Tuple[int, int, int, int]:
    padding = call.config.get("padding", "valid")
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding != "same":
        raise call.refuse(f"padding is {padding!r}", "use 'valid' or 'same'")
    around = []
    for i in (0, 1):
        n, out = value.shape[i], -(-value.shape[i] // stride[i])
        before = same_border(n, out, kernel[i], stride[i])
        around += [before, max((out - 1) * stride[i] + kernel[i] - n, 0) - before]
    return tuple(around)


def _activated(call: Call, value, spec=None):
    """`value` behind the layer's own activation."""
    spec = call.config.get("activation") if spec is None else spec
    if isinstance(spec, dict):
        spec, inner = spec.get("config"), spec
        if isinstance(spec, dict):  # an activation layer
            name = inner.get("class_name")
            if name in LAYERS:
                other = Call(call.lowering, spec, call.name, name, call.weights, call.max_pool)
                made = LAYERS[name](other, [value])
                call.rectified += other.rectified
                return made
            spec = name
        if inner.get("registered_name") not in (None, spec) and ">" in str(inner.get("registered_name")):
            spec = inner["registered_name"]
    if spec in (None, "linear"):
        return value
    if spec in ("softmax", "sigmoid"):
        return Final(value, spec, call.name)
    if spec not in ("relu", "relu6", "leaky_relu"):
        raise call.refuse(f"activation {spec} has no neuron on the chip", WHAT_TO_DO)
    call.rectified = 1
    if spec == "relu6":
        return call.lowering.relu(value, call.name, most=6.0)
    return call.lowering.relu(value, call.name, slope=0.2 if spec == "leaky_relu" else 0.0)


def _conv(call: Call, inputs):
    (value,) = inputs
    call.channels_last()
    call.spatial(value)
    config, n_in = call.config, value.shape[-1]
    filters, groups = int(config["filters"]), int(config.get("groups", 1))
    size, stride, dilation = (_pair(config[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    if groups < 1 or n_in % groups or filters % groups:
        raise ValueError(f"{groups} groups of {n_in} channels and {filters} filters")
    kernel, *bias = call.weight("kernel", *_biased(call), shapes=((*size, n_in // groups, filters), (filters,)))
    kernel = grouped(kernel, groups, call.lowering, call.name)
    kernel = dilated(kernel, dilation, call.lowering, call.name)
    border = _border(call, value, kernel.shape, stride)
    made = call.lowering.conv(value, kernel, bias[0] if bias else None, stride, border, call.name)
    return _activated(call, made)


def _depthwise(call: Call, inputs):
    (value,) = inputs
    call.channels_last()
    call.spatial(value)
    size, stride, dilation = (_pair(call.config[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    n_in, times = value.shape[-1], int(call.config["depth_multiplier"])
    kernel, *bias = call.weight(
        ("depthwise_kernel", "kernel"), *_biased(call), shapes=((*size, n_in, times), (n_in * times,))
    )
    kernel = _each_channel(call, kernel, dilation)
    border = _border(call, value, kernel.shape, stride)
    made = call.lowering.conv(value, kernel, bias[0] if bias else None, stride, border, call.name)
    return _activated(call, made)


def _separable(call: Call, inputs):
    (value,) = inputs
    call.channels_last()
    call.spatial(value)
    size, stride, dilation = (_pair(call.config[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    n_in, times, filters = value.shape[-1], int(call.config["depth_multiplier"]), int(call.config["filters"])
    first, second, *bias = call.weight(
        "depthwise_kernel", "pointwise_kernel", *_biased(call),
        shapes=((*size, n_in, times), (1, 1, n_in * times, filters), (filters,)),
    )  # fmt: skip
    kernel = _each_channel(call, first, dilation) @ second[0, 0]  # both linear: one convolution
    border = _border(call, value, kernel.shape, stride)
    made = call.lowering.conv(value, kernel, bias[0] if bias else None, stride, border, call.name)
    return _activated(call, made)


def _each_channel(call: Call, kernel, dilation):
    """(rows, columns, channels, times) as a kernel of one group for each channel."""
    rows, cols, n_in, times = kernel.shape
    kernel = grouped(kernel.reshape(rows, cols, 1, n_in * times), n_in, call.lowering, call.name)
    return dilated(kernel, dilation, call.lowering, call.name)


def _conv_transpose(call: Call, inputs):
    (value,) = inputs
    call.channels_last()
    call.spatial(value)
    config, n_in, filters = call.config, value.shape[-1], int(call.config["filters"])
    size, stride, dilation = (_pair(config[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    if dilation != (1, 1):
        raise call.refuse(f"dilation {dilation}", "use a dilation of 1")
    extra = config.get("output_padding")
    extra = (None, None) if extra is None else _pair_or_zero(extra)
    padding = config.get("padding", "valid")
    if padding not in ("valid", "same"):
        raise call.refuse(f"padding is {padding!r}", "use 'valid' or 'same'")
    kernel, *bias = call.weight("kernel", *_biased(call), shapes=((*size, filters, n_in), (filters,)))
    kernel = np.swapaxes(kernel, 2, 3)
    out, crop = [], []
    for i in (0, 1):  # keras.src.backend.common.backend_utils.compute_conv_transpose_output_shape
        n, k, s = value.shape[i], size[i], stride[i]
        if extra[i] is None:
            out.append(n * s if padding == "same" else n * s + max(k - s, 0))
        else:
            out.append((n - 1) * s + k + extra[i] - (2 * (k // 2) if padding == "same" else 0))
        crop.append(same_border(out[i], n, k, s) if padding == "same" else 0)
    made = call.lowering.transposed(
        value, kernel, bias[0] if bias else None, stride, tuple(crop), tuple(out), call.name
    )
    return _activated(call, made)


def _pair_or_zero(value) -> Tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _biased(call: Call) -> Tuple[str, ...]:
    return ("bias",) if call.config.get("use_bias", True) else ()


def _dense(call: Call, inputs):
    (value,) = inputs
    units, n_in = int(call.config["units"]), value.shape[-1]
    kernel, *bias = call.weight("kernel", *_biased(call), shapes=((n_in, units), (units,)))
    own = bias[0] if bias else None
    if len(value.shape) == 3:  # of each pixel
        made = call.lowering.conv(value, kernel[None, None], own, (1, 1), (0, 0, 0, 0), call.name)
    else:
        made = call.lowering.dense(value, kernel, own, call.name)
    return _activated(call, made)


def _batch_norm(call: Call, inputs):
    (value,) = inputs
    config, n = call.config, value.shape[-1]
    axis = config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, len(value.shape)):
        raise call.refuse(f"it normalises along axis {axis}", "normalise channels, the last axis")
    kinds = (["gamma"] if config.get("scale", True) else []) + (["beta"] if config.get("center", True) else [])
    arrays = call.weight(*kinds, "moving_mean", "moving_variance", shapes=[(n,)] * (len(kinds) + 2))
    named = dict(zip([*kinds, "mean", "variance"], arrays))
    if np.any(named["variance"] < 0):
        raise CorruptError(f"layer {call.name} ({call.kind}): a variance is below 0; {AGAIN}")
    factor = named.get("gamma", 1.0) / np.sqrt(named["variance"] + float(config.get("epsilon", 1e-3)))
    return call.lowering.scale(value, factor, named.get("beta", 0.0) - named["mean"] * factor, call.name)


def _rescaling(call: Call, inputs):
    scale, offset = (np.asarray(call.config[key], np.float64).ravel() for key in ("scale", "offset"))
    return call.lowering.scale(inputs[0], scale, offset, call.name)


def _normalization(call: Call, inputs):
    (value,) = inputs
    mean, variance = call.config.get("mean"), call.config.get("variance")
    if mean is None or variance is None:
        mean, variance = call.weights(("mean",), ("variance",))
    mean, variance = (np.asarray(v, np.float64).ravel() for v in (mean, variance))
    if len(mean) not in (1, value.shape[-1]) or len(variance) not in (1, value.shape[-1]):
        raise call.refuse("it normalises every pixel by itself", "normalise channels (axis=-1)")
    deviation = np.maximum(np.sqrt(variance), EPSILON)
    if call.config.get("invert"):
        return call.lowering.scale(value, deviation, mean, call.name)
    return call.lowering.scale(value, 1 / deviation, -mean / deviation, call.name)


def _relu(call: Call, inputs):
    config = call.config
    most, slope = config.get("max_value"), config.get("negative_slope") or 0.0
    if config.get("threshold"):
        raise call.refuse(f"threshold {config['threshold']}", "use a threshold of 0")
    call.rectified = 1
    return call.lowering.relu(inputs[0], call.name, float(slope), float("inf") if most is None else float(most))


def _leaky(call: Call, inputs):
    slope = call.config.get("negative_slope", call.config.get("alpha", 0.3))
    call.rectified = 1
    return call.lowering.relu(inputs[0], call.name, float(slope))


def _activation(call: Call, inputs):
    return _activated(call, plain(inputs[0], call.name))


def _softmax(call: Call, inputs):
    if call.config.get("axis", -1) not in (-1, len(inputs[0].shape)):
        raise call.refuse(f"along axis {call.config['axis']}", "use the last axis")
    return Final(inputs[0], "softmax", call.name)


def _average_pool(call: Call, inputs):
    (value,) = inputs
    call.channels_last()
    call.spatial(value)
    size = _pair(call.config["pool_size"])
    stride = _pair(call.config.get("strides") or size)
    border = _border(call, value, size, stride)
    return call.lowering.pool(value, size, stride, border, call.name, count_border=False)


def _max_pool(call: Call, inputs):
    if call.max_pool != "average":
        raise max_pool_refused(call.name, call.kind)
    call.lowering.note(inputs[0], call.name, MAX_POOL_TAKEN)
    return _average_pool(call, inputs)


def _global_average(call: Call, inputs):
    (value,) = inputs
    call.channels_last()
    call.spatial(value)
    made = call.lowering.pool(value, value.shape[:2], (1, 1), (0, 0, 0, 0), call.name)
    if call.config.get("keepdims"):
        return made
    return call.lowering.reorder(made, (value.shape[-1],), np.arange(value.shape[-1]), call.name)


def _global_max(call: Call, inputs):
    if call.max_pool != "average":
        raise max_pool_refused(call.name, call.kind)
    call.lowering.note(inputs[0], call.name, MAX_POOL_TAKEN)
    return _global_average(call, inputs)


def _upsampling(call: Call, inputs):
    call.channels_last()
    call.spatial(inputs[0])
    if call.config.get("interpolation", "nearest") != "nearest":
        raise call.refuse(f"interpolation {call.config['interpolation']}", "use interpolation 'nearest'")
    return call.lowering.upsample(inputs[0], _pair(call.config["size"]), call.name)


def _sides(value) -> Tuple[int, int, int, int]:
    value = [value, value] if isinstance(value, int) else list(value)
    return tuple(int(n) for side in value for n in ((side, side) if isinstance(side, int) else side))


def _zero_padding(call: Call, inputs):
    call.channels_last()
    call.spatial(inputs[0])
    return call.lowering.pad(inputs[0], _sides(call.config["padding"]), call.name)


def _cropping(call: Call, inputs):
    call.channels_last()
    call.spatial(inputs[0])
    return call.lowering.pad(inputs[0], tuple(-n for n in _sides(call.config["cropping"])), call.name)


def _flatten(call: Call, inputs):
    (value,) = inputs
    if len(value.shape) == 3:
        call.channels_last()
    size = int(np.prod(value.shape))
    return call.lowering.reorder(value, (size,), np.arange(size), call.name)


def _reshape(call: Call, inputs):
    (value,) = inputs
    size, shape = int(np.prod(value.shape)), [int(n) for n in call.config["target_shape"]]
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = size // max(-int(np.prod(shape)), 1)
    if len(shape) not in (1, 3) or int(np.prod(shape)) != size or min(shape) < 1:
        raise call.refuse(
            f"from {value.shape} to {tuple(call.config['target_shape'])}",
            "a vector, or height, width and channels are expected",
        )
    return call.lowering.reorder(value, tuple(shape), np.arange(size), call.name)


def _permute(call: Call, inputs):
    (value,) = inputs
    axes = tuple(int(n) - 1 for n in call.config["dims"])
    if sorted(axes) != list(range(len(value.shape))):
        raise ValueError(f"dims {call.config['dims']}")
    numbers = np.transpose(np.arange(int(np.prod(value.shape))).reshape(value.shape), axes)
    return call.lowering.reorder(value, numbers.shape, numbers.ravel(), call.name)


def _add(call: Call, inputs):
    return call.lowering.add(inputs, call.name)


def _average(call: Call, inputs):
    return call.lowering.scale(call.lowering.add(inputs, call.name), 1 / len(inputs), 0.0, call.name)


def _subtract(call: Call, inputs):
    first, second = inputs
    return call.lowering.subtract(first, second, call.name)


def _concatenate(call: Call, inputs):
    if call.config.get("axis", -1) not in (-1, len(inputs[0].shape)):
        raise call.refuse(f"along axis {call.config['axis']}", "join channels, the last axis")
    return call.lowering.concatenate(inputs, call.name)


def _as_it_is(call: Call, inputs):
    return inputs[0]


LAYERS: Dict[str, Callable[[Call, List[Any]], Any]] = {
    "Activation": _activation, "ActivityRegularization": _as_it_is, "Add": _add, "AlphaDropout": _as_it_is,
    "Average": _average, "AveragePooling2D": _average_pool, "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate, "Conv2D": _conv, "Conv2DTranspose": _conv_transpose, "Cropping2D": _cropping,
    "Dense": _dense, "DepthwiseConv2D": _depthwise, "Dropout": _as_it_is, "Flatten": _flatten,
    "GaussianDropout": _as_it_is, "GaussianNoise": _as_it_is, "GlobalAveragePooling2D": _global_average,
    "GlobalMaxPooling2D": _global_max, "Identity": _as_it_is, "LeakyReLU": _leaky, "MaxPooling2D": _max_pool,
    "Normalization": _normalization, "Permute": _permute, "ReLU": _relu, "Rescaling": _rescaling, "Reshape": _reshape,
    "SeparableConv2D": _separable, "Softmax": _softmax, "SpatialDropout2D": _as_it_is, "Subtract": _subtract,
    "UpSampling2D": _upsampling, "ZeroPadding2D": _zero_padding,
}  # fmt: skip
AT_END = ("Dropout", "Identity")  # what may follow the last activation
