"""ONNX's operators that move values: they keep the order that the model would have had."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
from cotrain.pipeline.networks.readers.onnx import Tensor
from cotrain.pipeline.networks.readers.onnx_call import Call


def in_order(call: Call, tensor: Tensor, shape: Tuple[int, ...]) -> Tensor:
    """The tensor's values, in the model's order, as `shape` (a vector, or channels first)."""
    numbers = tensor.numbers().ravel()
    if len(shape) == 1:
        return Tensor(call.lowering.reorder(tensor.value, shape, numbers, call.label))
    channels, height, width = shape
    order = numbers.reshape(shape).transpose(1, 2, 0)
    return Tensor(call.lowering.reorder(tensor.value, (height, width, channels), order.ravel(), call.label), True)


def flatten(call: Call, inputs: List[Tensor]) -> Tensor:
    """ONNX's Flatten."""
    (tensor,) = inputs
    if call.attributes.get("axis", 1) not in (1, -len(tensor.shape)):
        raise call.refuse(f"from axis {call.attributes['axis']} on", "flatten everything behind the batch (axis 1)")
    return in_order(call, tensor, (int(np.prod(tensor.shape)),))


def reshape(call: Call, inputs: List[Tensor]) -> Tensor:
    """ONNX's Reshape."""
    tensor, wanted = inputs[0], call.constant(1)
    wanted = call.attributes.get("shape") if wanted is None else wanted
    wanted, size = [int(n) for n in np.asarray(wanted).ravel()], int(np.prod(tensor.shape))
    own = (1, *tensor.shape)
    shape = [
        own[i] if n == 0 and i < len(own) and not call.attributes.get("allowzero") else n for i, n in enumerate(wanted)
    ]
    inner = shape[1:]
    if inner.count(-1) == 1:
        inner[inner.index(-1)] = size // max(-int(np.prod(inner)), 1)
    if len(inner) not in (1, 3) or int(np.prod(inner)) != size or min(inner) < 1 or shape[0] not in (1, -1):
        raise call.refuse(
            f"from {tensor.shape} to {tuple(wanted)}", "a vector or an image for each of the batch is expected"
        )
    return in_order(call, tensor, tuple(inner))


def squeeze(call: Call, inputs: List[Tensor]) -> Tensor:
    """ONNX's Squeeze."""
    tensor = inputs[0]
    axes = call.constant(1, call.attributes.get("axes"))
    rank, shape = len(tensor.shape) + 1, tensor.shape
    gone = [i for i, n in enumerate(shape) if n == 1] if axes is None else [int(a) % rank - 1 for a in np.ravel(axes)]
    left = tuple(n for i, n in enumerate(shape) if i not in gone)
    if len(left) != 1 or any(i < 0 or shape[i] != 1 for i in gone):
        raise call.refuse(f"from {shape} to {left}", "a vector for each of the batch is expected")
    return in_order(call, tensor, left)


def unsqueeze(call: Call, inputs: List[Tensor]) -> Tensor:
    """ONNX's Unsqueeze."""
    tensor = inputs[0]
    axes = sorted(int(a) for a in np.ravel(call.constant(1, call.attributes.get("axes"))))
    if len(tensor.shape) != 1 or axes != [2, 3]:
        raise call.refuse(f"at axes {axes}", "a vector as channels of one pixel (axes 2 and 3) is expected")
    return in_order(call, tensor, (*tensor.shape, 1, 1))


def transpose(call: Call, inputs: List[Tensor]) -> Tensor:
    """ONNX's Transpose."""
    (tensor,) = inputs
    axes = call.attributes.get("perm", list(range(len(tensor.shape) + 1))[::-1])
    if axes[0] != 0 or sorted(axes) != list(range(len(tensor.shape) + 1)):
        raise call.refuse(f"axes {axes}", "the batch stays in front")
    if list(axes) == sorted(axes):
        return tensor
    if tensor.first and axes == [0, 2, 3, 1]:
        return Tensor(tensor.value, False)
    if not tensor.first and axes == [0, 3, 1, 2]:
        return Tensor(tensor.value, True)
    numbers = tensor.numbers().transpose([a - 1 for a in axes])
    order = numbers.transpose(1, 2, 0) if tensor.first else numbers
    return Tensor(call.lowering.reorder(tensor.value, order.shape, order.ravel(), call.label), tensor.first)


def pad(call: Call, inputs: List[Tensor]) -> Tensor:
    """ONNX's Pad."""
    tensor = inputs[0]
    pads = call.constant(1, call.attributes.get("pads"))
    value, mode = call.constant(2, call.attributes.get("value")), call.attributes.get("mode", "constant")
    pads, rank = [int(n) for n in np.ravel(pads)], len(tensor.shape) + 1
    rows = 2 if tensor.first else 1
    (before, behind) = (pads[:rank], pads[rank:])
    others = [n for side in (before, behind) for i, n in enumerate(side) if i not in (rows, rows + 1)]
    fill = 0.0 if value is None else float(np.ravel(value)[0])
    if mode != "constant" or fill or rank != 4 or len(pads) != 8 or any(others):
        raise call.refuse(f"mode {mode}, value {fill:g}, pads {pads}", "zeros around height and width are expected")
    border = (before[rows], behind[rows], before[rows + 1], behind[rows + 1])
    return Tensor(call.lowering.pad(tensor.value, border, call.label), tensor.first)


def resize(call: Call, inputs: List[Tensor]) -> Tensor:
    """ONNX's Resize."""
    tensor, old = inputs[0], call.node.op_type == "Upsample" or call.opset < 11
    scales, sizes = call.constant(1 if old else 2), None if old else call.constant(3)
    scales = call.attributes.get("scales") if scales is None and old else scales
    shape = (1, *tensor.shape)
    if sizes is not None and np.size(sizes):
        scales = [n / m for n, m in zip(np.ravel(sizes), shape)]
    scales = [float(s) for s in np.ravel(scales)]
    rows = 2 if tensor.first else 1
    factors = tuple(scales[rows : rows + 2])
    mode, place = (
        call.attributes.get("mode", "nearest"),
        call.attributes.get("coordinate_transformation_mode", "half_pixel"),
    )
    rounding = call.attributes.get("nearest_mode", "round_prefer_floor")
    even = place in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric") or old
    even = even or place == "asymmetric" and (rounding == "floor" or set(factors) <= {1.0, 2.0} and "floor" in rounding)
    others = [s for i, s in enumerate(scales) if i not in (rows, rows + 1)]
    if mode != "nearest" or not even or any(f != int(f) or f < 1 for f in factors) or any(s != 1 for s in others):
        raise call.refuse(
            f"mode {mode}, {place}, factors {scales}", "enlarging by whole numbers, to the nearest pixel, is expected"
        )
    value = call.lowering.upsample(tensor.value, tuple(int(f) for f in factors), call.label)
    return Tensor(value, tensor.first)
