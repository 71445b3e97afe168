"""What each of ONNX's operators is: one function an operator, in a table."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
from cotrain.hardware.errors import CorruptError
from cotrain.pipeline.networks.arithmetic import same_border
from cotrain.pipeline.networks.readers.final import WHAT_TO_DO, Final
from cotrain.pipeline.networks.readers.kernels import dilated, grouped, max_pool_refused, spelled_out
from cotrain.pipeline.networks.readers.onnx import AGAIN, Tensor
from cotrain.pipeline.networks.readers.onnx_call import Call
from cotrain.pipeline.networks.readers.onnx_shapes import (
    flatten,
    in_order,
    pad,
    reshape,
    resize,
    squeeze,
    transpose,
    unsqueeze,
)


def advice(kind: str) -> str:
    """What to do about an operator that is not read."""
    if kind in ("LSTM", "GRU", "RNN", "Loop", "Scan", "If"):
        return "loops and branches have no place in a feed-forward network; take a convolutional model"
    if kind in ("LayerNormalization", "InstanceNormalization", "GroupNormalization"):
        return "its factor depends on each image, which no weight can do; use batch normalisation"
    if kind in ("Tanh", "Elu", "Selu", "Gelu", "HardSwish", "HardSigmoid", "Softplus", "Mish", "Erf", "Exp", "Pow"):
        return f"the chip's neurons are rectified, so {WHAT_TO_DO}"
    return f"those that are read: {', '.join(sorted(OPS))}"


def _geometry(call: Call, size, shape) -> Tuple[Tuple[int, int], Tuple[int, int], Tuple[int, int, int, int]]:
    """(stride, dilation, border) of a convolution or pooling over (height, width)."""
    stride = tuple(call.attributes.get("strides", [1, 1]))
    dilation = tuple(call.attributes.get("dilations", [1, 1]))
    if len(size) != 2 or len(stride) != 2 or len(dilation) != 2 or min(*size, *stride, *dilation) < 1:
        raise call.refuse("it is not 2-D", "2-D images are expected")
    reach = [(size[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    auto = call.attributes.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        above, left, below, right = call.attributes.get("pads", [0, 0, 0, 0])
        return stride, dilation, (above, below, left, right)
    if auto == "VALID":
        return stride, dilation, (0, 0, 0, 0)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.refuse(f"auto_pad is {auto}", "export the model with explicit pads")
    border = []
    for i in (0, 1):
        out = -(-shape[i] // stride[i])
        total = max((out - 1) * stride[i] + reach[i] - shape[i], 0)
        before = same_border(shape[i], out, reach[i], stride[i])
        border += [before, total - before] if auto == "SAME_UPPER" else [total - before, before]
    return stride, dilation, tuple(border)


def _conv(call: Call, inputs):
    tensor = call.image(inputs[0])
    weights, groups = call.constant(1), int(call.attributes.get("group", 1))
    if weights is None or weights.ndim != 4:
        raise call.refuse("it is not 2-D", "2-D images are expected")
    filters, n_in, *size = weights.shape
    if groups < 1 or n_in * groups != tensor.shape[0] or filters % groups:
        raise CorruptError(
            f"node {call.label} (Conv): weights of shape {tuple(weights.shape)} in {groups} groups for "
            f"{tensor.shape[0]} channels; {AGAIN}"
        )
    kernel = weights.transpose(2, 3, 1, 0).astype(np.float64)
    stride, dilation, border = _geometry(call, size, tensor.shape[1:])
    kernel = dilated(grouped(kernel, groups, call.lowering, call.label), dilation, call.lowering, call.label)
    bias = call.shaped(2, (filters,))
    return Tensor(call.lowering.conv(tensor.value, kernel, bias, stride, border, call.label), True)


def _conv_transpose(call: Call, inputs):
    tensor = call.image(inputs[0])
    weights, groups = call.constant(1), int(call.attributes.get("group", 1))
    if weights is None or weights.ndim != 4 or weights.shape[0] != tensor.shape[0] or tensor.shape[0] % groups:
        raise CorruptError(
            f"node {call.label} (ConvTranspose): its weights are not {tensor.shape[0]} channels'; {AGAIN}"
        )
    n_in, each, *size = weights.shape
    kernel = weights.transpose(2, 3, 0, 1).astype(np.float64)  # rows, columns, in, out of a group
    if groups > 1:  # each channel in reaches the filters of its group alone
        full = np.zeros((*size, n_in, each * groups))
        for channel in range(n_in):
            group = channel // (n_in // groups)
            full[:, :, channel, group * each : (group + 1) * each] = kernel[:, :, channel]
        call.lowering.notes.append(spelled_out(call.label, "groups", full.size, kernel.size))
        kernel = full
    shape = tensor.shape[1:]
    stride = tuple(call.attributes.get("strides", [1, 1]))
    kernel = dilated(kernel, call.attributes.get("dilations", [1, 1]), call.lowering, call.label)
    reach, extra = kernel.shape[:2], call.attributes.get("output_padding", [0, 0])
    auto = call.attributes.get("auto_pad", "NOTSET")
    wanted = call.attributes.get("output_shape")
    above, left, below, right = call.attributes.get("pads", [0, 0, 0, 0])
    before, behind = (above, left), (below, right)
    full = [stride[i] * (shape[i] - 1) + extra[i] + reach[i] for i in (0, 1)]
    out = [full[i] - before[i] - behind[i] for i in (0, 1)]
    if wanted is not None or auto in ("SAME_UPPER", "SAME_LOWER"):
        out = list(wanted[-2:]) if wanted is not None else [shape[i] * stride[i] for i in (0, 1)]
        total = [full[i] - out[i] for i in (0, 1)]
        before = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
    if min(before) < 0 or min(out) < 1:
        raise call.refuse(f"it makes {tuple(out)} pixels of {shape}", "export the model with explicit pads")
    bias = call.shaped(2, (kernel.shape[-1],))
    value = call.lowering.transposed(tensor.value, kernel, bias, stride, tuple(before), tuple(out), call.label)
    return Tensor(value, True)


def _gemm(call: Call, inputs):
    (tensor, *_), weights = inputs, call.constant(1)
    if call.attributes.get("transA") or tensor is None or len(tensor.shape) != 1:
        raise call.refuse("its input is no vector for each image", "flatten in front of it")
    weights = weights.T if call.attributes.get("transB") else weights
    weights = weights.astype(np.float64) * call.attributes.get("alpha", 1.0)
    _matching(call, weights, tensor)
    bias = call.constant(2)
    if bias is not None:
        bias = np.broadcast_to(np.asarray(bias, np.float64).reshape(-1), (weights.shape[1],))
        bias = bias * call.attributes.get("beta", 1.0)
    return Tensor(call.lowering.dense(tensor.value, weights, bias, call.label))


def _matching(call: Call, weights, tensor: Tensor) -> None:
    if weights.ndim != 2 or weights.shape[0] != tensor.shape[-1]:
        raise CorruptError(
            f"node {call.label} ({call.node.op_type}): weights of shape {tuple(weights.shape)} for "
            f"{tensor.shape[-1]} values; {AGAIN}"
        )


def _matmul(call: Call, inputs):
    tensor, weights = inputs[0], call.constant(1)
    if tensor is None or weights is None:
        raise call.refuse("it multiplies two activations", "products of activations have no neuron")
    _matching(call, weights, tensor)
    if len(tensor.shape) == 1:
        return Tensor(call.lowering.dense(tensor.value, weights, None, call.label))
    if tensor.first:
        raise call.refuse("it mixes columns of pixels", "a dense layer of channels, or of a vector, is expected")
    kernel = weights[None, None]
    return Tensor(call.lowering.conv(tensor.value, kernel, None, (1, 1), (0, 0, 0, 0), call.label))


def _batch_norm(call: Call, inputs):
    (tensor, *_) = inputs
    n = tensor.value.shape[-1]
    if call.attributes.get("training_mode"):
        raise call.refuse("it is in training mode", "export the model in evaluation mode")
    if len(tensor.shape) == 3 and not tensor.first:
        raise call.refuse("it normalises rows", "(batch, channels, height, width) is expected")
    gamma, beta, mean, variance = (call.shaped(i, (n,)).astype(np.float64) for i in (1, 2, 3, 4))
    if np.any(variance < 0):
        raise CorruptError(f"node {call.label} (BatchNormalization): a variance is below 0; {AGAIN}")
    factor = gamma / np.sqrt(variance + call.attributes.get("epsilon", 1e-5))
    return Tensor(call.lowering.scale(tensor.value, factor, beta - mean * factor, call.label), tensor.first)


def _two(call: Call, inputs):
    """(tensor, the other operand as channels or values, whether it comes first), for an operand that is constant."""
    i = 0 if inputs[0] is not None else 1
    tensor = inputs[i]
    array = tensor.of_channels(call.constant(1 - i))
    if array is None:
        raise call.refuse(
            f"a constant of shape {tuple(call.constant(1 - i).shape)} with activations of {tensor.shape}",
            "one value, one for each channel, or one for each neuron is expected",
        )
    return tensor, array, i == 1


def _add(call: Call, inputs):
    if all(tensor is not None for tensor in inputs):
        return Tensor(call.lowering.add(_values(call, inputs), call.label), inputs[0].first)
    tensor, array, _ = _two(call, inputs)
    return Tensor(call.lowering.shift(tensor.value, array, call.label), tensor.first)


def _sub(call: Call, inputs):
    if all(tensor is not None for tensor in inputs):
        return Tensor(call.lowering.subtract(*_values(call, inputs), call.label), inputs[0].first)
    tensor, array, constant_first = _two(call, inputs)
    if constant_first:
        value = call.lowering.scale(tensor.value, -1.0, 0.0, call.label)
        return Tensor(call.lowering.shift(value, array, call.label), tensor.first)
    return Tensor(call.lowering.shift(tensor.value, -array, call.label), tensor.first)


def _mul(call: Call, inputs):
    if all(tensor is not None for tensor in inputs):
        raise call.refuse("it multiplies two activations", "products of activations have no neuron")
    tensor, array, constant_first = _two(call, inputs)
    divides = call.node.op_type == "Div"
    if array.ndim > 1 or divides and constant_first or divides and not np.all(array):
        raise call.refuse("it is no factor for each channel", "one value, or one for each channel, is expected")
    return Tensor(call.lowering.scale(tensor.value, 1 / array if divides else array, 0.0, call.label), tensor.first)


def _neg(call: Call, inputs):
    return Tensor(call.lowering.scale(inputs[0].value, -1.0, 0.0, call.label), inputs[0].first)


def _values(call: Call, inputs):
    if any(tensor is None for tensor in inputs) or len({(t.shape, t.first) for t in inputs}) > 1:
        shapes = " and ".join("a constant" if t is None else str(t.shape) for t in inputs)
        raise call.refuse(f"of {shapes}", "activations of one shape are expected")
    return [tensor.value for tensor in inputs]


def _concat(call: Call, inputs):
    if any(tensor is None for tensor in inputs) or len({(len(t.shape), t.first) for t in inputs}) > 1:
        raise call.refuse("it joins what is not alike", "activations with channels in the same place are expected")
    rank, axis = len(inputs[0].shape) + 1, call.attributes["axis"]
    axis += rank if axis < 0 else 0
    if axis != (1 if inputs[0].first else rank - 1):
        raise call.refuse(f"along axis {axis}", "join channels")
    return Tensor(call.lowering.concatenate([tensor.value for tensor in inputs], call.label), inputs[0].first)


def _relu(call: Call, inputs):
    call.rectified = 1
    slope = call.attributes.get("alpha", 0.01) if call.node.op_type == "LeakyRelu" else 0.0
    return Tensor(call.lowering.relu(inputs[0].value, call.label, slope), inputs[0].first)


def _clip(call: Call, inputs):
    low, high = (call.constant(1, call.attributes.get("min")), call.constant(2, call.attributes.get("max")))
    if low is None or float(np.asarray(low).ravel()[0]) != 0:
        raise call.refuse("its lower limit is not 0", WHAT_TO_DO)
    most = float("inf") if high is None else float(np.asarray(high).ravel()[0])
    call.rectified = 1
    return Tensor(
        call.lowering.relu(inputs[0].value, call.label, most=most if most < 1e30 else float("inf")), inputs[0].first
    )


def _sigmoid(call: Call, inputs):
    return Tensor(Final(inputs[0].value, "sigmoid", call.label), inputs[0].first)


def _softmax(call: Call, inputs):
    (tensor,) = inputs
    rank = len(tensor.shape) + 1
    axis = call.attributes.get("axis", -1 if call.opset >= 13 else 1)
    axis += rank if axis < 0 else 0
    if axis != (1 if tensor.first or rank == 2 else rank - 1):
        raise call.refuse(f"along axis {axis}", "use the channels' axis")
    return Tensor(Final(tensor.value, "softmax", call.label), tensor.first)


def _average_pool(call: Call, inputs):
    tensor = call.image(inputs[0])
    size = tuple(call.attributes["kernel_shape"])
    stride, dilation, border = _geometry(call, size, tensor.shape[1:])
    if dilation != (1, 1):
        raise call.refuse(f"dilation {dilation}", "use a dilation of 1")
    left = [(tensor.shape[1 + i] + border[2 * i] + border[2 * i + 1] - size[i]) % stride[i] for i in (0, 1)]
    if call.attributes.get("ceil_mode") and any(left):
        raise call.refuse("it rounds sizes up (ceil_mode)", "take an input whose sides the pooling divides")
    counts = bool(call.attributes.get("count_include_pad"))
    value = call.lowering.pool(tensor.value, size, stride, border, call.label, count_border=counts)
    return Tensor(value, True)


def _max_pool(call: Call, inputs):
    if call.max_pool != "average":
        raise max_pool_refused(call.label, call.node.op_type)
    call.lowering.note(
        inputs[0].value, call.label, "max-pooling taken as average-pooling: fine-tune to repair what it costs"
    )
    return (_global_pool if call.node.op_type == "GlobalMaxPool" else _average_pool)(call, inputs)


def _global_pool(call: Call, inputs):
    tensor = call.image(inputs[0])
    value = call.lowering.pool(tensor.value, tensor.shape[1:], (1, 1), (0, 0, 0, 0), call.label)
    return Tensor(value, True)


def _reduce_mean(call: Call, inputs):
    tensor = inputs[0]
    axes = call.constant(1, call.attributes.get("axes"))
    rank = len(tensor.shape) + 1
    axes = sorted(int(a) % rank for a in np.asarray(axes).ravel()) if axes is not None else []
    if len(tensor.shape) != 3 or axes != ([2, 3] if tensor.first else [1, 2]):
        raise call.refuse(f"along axes {axes}", "the mean over height and width is expected")
    value = call.lowering.pool(tensor.value, tensor.value.shape[:2], (1, 1), (0, 0, 0, 0), call.label)
    if call.attributes.get("keepdims", 1):
        return Tensor(value, tensor.first)
    return in_order(call, Tensor(value, tensor.first), (value.shape[-1],))


def _as_it_is(call: Call, inputs):
    return inputs[0]


def _dropout(call: Call, inputs):
    if np.any(call.constant(2, np.array(False))):
        raise call.refuse("it is in training mode", "export the model in evaluation mode")
    return inputs[0]


OPS: Dict[str, Callable[[Call, List[Optional[Tensor]]], Tensor]] = {
    "Add": _add, "AveragePool": _average_pool, "BatchNormalization": _batch_norm, "Cast": _as_it_is, "Clip": _clip,
    "Concat": _concat, "Conv": _conv, "ConvTranspose": _conv_transpose, "Div": _mul, "Dropout": _dropout,
    "Flatten": flatten, "Gemm": _gemm, "GlobalAveragePool": _global_pool, "GlobalMaxPool": _max_pool,
    "Identity": _as_it_is, "LeakyRelu": _relu, "MatMul": _matmul, "MaxPool": _max_pool, "Mul": _mul, "Neg": _neg,
    "Pad": pad, "ReduceMean": _reduce_mean, "Relu": _relu, "Reshape": reshape, "Resize": resize,
    "Sigmoid": _sigmoid, "Softmax": _softmax, "Squeeze": squeeze, "Sub": _sub, "Sum": _add, "Transpose": transpose,
    "Unsqueeze": unsqueeze, "Upsample": resize,
}  # fmt: skip
AT_END = ("Cast", "Dropout", "Identity")  # what may follow the last activation
