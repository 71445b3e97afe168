"""ONNX models (what PyTorch and others export): the file, its tensors, and the walk over its nodes.

ONNX has channels first. A `Tensor` holds its value with channels last and knows how the model itself sees it; what a
model flattens, reshapes or transposes is put in the order that it would have had.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from cotrain.hardware.errors import CorruptError, MissingError, UnsupportedError
from cotrain.pipeline.networks.readers.final import Final, plain
from cotrain.pipeline.networks.readers.graph import Lowering
from cotrain.pipeline.networks.readers.linear import Value

AGAIN = "export the model again"
FILE_BYTES = 2**31 - 1  # what protobuf holds
EXTERNAL_BYTES = 2**31
NODES = 20_000
# what may be computed from constants alone: shapes that exporters spell out, and factors
FOLDED = (
    "Add", "Cast", "Concat", "Constant", "Div", "Floor", "Gather", "Identity", "Mul", "Neg", "ReduceProd", "Reshape",
    "Slice", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze",
)  # fmt: skip
FOLDED_VALUES = 50_000_000


@dataclass(frozen=True)
class Tensor:
    """A tensor on its way through a model.

    Attributes
    ----------
    value : Value or Final
        (height, width, channels), or a vector.
    first : bool
        The model sees (channels, height, width).
    """

    value: Any
    first: bool = False

    @property
    def shape(self) -> Tuple[int, ...]:
        """As the model sees it, without the batch."""
        inner = self.value.value if isinstance(self.value, Final) else self.value
        height_width_channels = inner.shape
        if len(height_width_channels) == 3 and self.first:
            return (height_width_channels[2], *height_width_channels[:2])
        return height_width_channels

    def numbers(self) -> np.ndarray:
        """The number that each entry has in the value, in the model's shape."""
        inner = self.value.value if isinstance(self.value, Final) else self.value
        numbers = np.arange(int(np.prod(inner.shape))).reshape(inner.shape)
        return numbers.transpose(2, 0, 1) if self.first else numbers

    def of_channels(self, array: np.ndarray, batched: bool = True) -> Optional[np.ndarray]:
        """A constant that is broadcast to this tensor: (1,), (channels,) or, for each value, in the value's shape."""
        rank = len(self.shape)
        array = np.asarray(array, np.float64)
        if array.size == 1:
            return array.reshape(1)
        if array.ndim > rank:
            if array.ndim != rank + 1 or array.shape[0] != 1:
                return None
            array = array[0]
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        if any(n not in (1, m) for n, m in zip(array.shape, self.shape)):
            return None
        array = array.transpose(1, 2, 0) if self.first else array
        if array.size == array.shape[-1]:
            return np.broadcast_to(array.ravel(), (self.value.shape[-1],))
        return np.broadcast_to(array, self.value.shape)


class OnnxModel:
    """A model's file, read; `walk` turns it into a network."""

    def __init__(self, path: Path, max_pool: str):
        self.path, self.max_pool, self.name = path, max_pool, path.stem
        self.graph, self.opset = _load(path)
        self.constants: Dict[str, np.ndarray] = {}
        for tensor in self.graph.initializer:
            self.constants[tensor.name] = _array(tensor, path)
        inputs = [entry for entry in self.graph.input if entry.name not in self.constants]
        if len(inputs) != 1 or len(self.graph.output) != 1:
            raise UnsupportedError(
                f"{path.name} has {len(inputs)} inputs and {len(self.graph.output)} outputs; one of each is expected"
            )
        if len(self.graph.node) > NODES:
            raise UnsupportedError(f"{path.name} has more than {NODES:,} nodes, which are not read")
        self.input = inputs[0]
        self._last: Optional[Tensor] = None

    def _own_input(self) -> Tuple[Tuple[Optional[int], ...], bool]:
        """The input's shape as the model has it, without the batch, and whether its channels come last."""
        kind = self.input.type.tensor_type
        dims = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)
        users = [node for node in self.graph.node if self.input.name in node.input]
        last = any(node.op_type == "Transpose" and _attributes(node).get("perm") == [0, 3, 1, 2] for node in users)
        return dims[1:], last

    def input_shape(self) -> Tuple[Optional[int], ...]:
        """(height, width, channels), or (size,)."""
        own, last = self._own_input()
        return own if len(own) != 3 or last else (own[1], own[2], own[0])

    def channels_first(self) -> bool:
        """Whether the model takes an image as (channels, height, width)."""
        own, last = self._own_input()
        return len(own) == 3 and not last

    def walk(self, lowering: Lowering, value: Value, rectifiers: int = -1) -> Tuple[Value, int]:
        """Call `lowering` for each node; returns the output and the number of rectifiers that were met."""
        from cotrain.pipeline.networks.readers.onnx_call import Call

        own, last = self._own_input()
        tensors = {self.input.name: Tensor(value, first=len(value.shape) == 3 and not last)}
        constants, rectified = dict(self.constants), 0
        for node in self.graph.node:
            known = [name for name in node.input if name]
            if node.domain not in ("", "ai.onnx"):
                raise UnsupportedError(
                    f"node {_label(node)} is of type {node.domain}.{node.op_type}, which is not ONNX's own; "
                    "export the model with standard operators"
                )
            for name in known:
                if name not in tensors and name not in constants:
                    raise CorruptError(
                        f"{self.path.name}: node {_label(node)} takes {name}, which nothing gives; {AGAIN}"
                    )
            if node.op_type == "Shape":
                constants[node.output[0]] = self._shape_of(node, tensors, constants)
                continue
            if all(name in constants for name in known):
                constants.update(self._folded(node, constants))
                continue
            lowering.tail = 0 <= rectifiers <= rectified
            call = Call(lowering, node, _label(node), _attributes(node), constants, self.opset, self.max_pool)
            made = self._made(call, [tensors.get(name) for name in node.input])
            rectified += call.rectified
            tensors[node.output[0]] = made
        out = tensors.get(self.graph.output[0].name)
        if out is None:
            raise CorruptError(f"{self.path.name}: nothing gives its output; {AGAIN}")
        self._last = out
        return out.value, rectified

    def output_order(self, _: Any) -> Optional[np.ndarray]:
        """For each value of the model's flattened output, which of the network's it is."""
        return self._last.numbers().ravel() if self._last.first else None

    def _made(self, call, inputs: List[Optional[Tensor]]) -> Tensor:
        from cotrain.pipeline.networks.readers import onnx_ops

        kind = call.node.op_type
        if kind not in onnx_ops.OPS:
            raise UnsupportedError(f"node {call.label} is of type {kind}; {onnx_ops.advice(kind)}")
        if kind not in onnx_ops.AT_END:
            for tensor in inputs:
                if tensor is not None:
                    plain(tensor.value, call.label)
        try:
            return onnx_ops.OPS[kind](call, inputs)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise CorruptError(
                f"{self.path.name}: node {call.label} ({kind}) is not as ONNX describes it "
                f"({type(error).__name__}: {error}); {AGAIN}"
            ) from None

    def _shape_of(self, node, tensors, constants) -> np.ndarray:
        name = node.input[0]
        shape = (1, *tensors[name].shape) if name in tensors else constants[name].shape
        cut = _attributes(node)
        return np.array(shape, np.int64)[cut.get("start", 0) : cut.get("end", len(shape))]

    def _folded(self, node, constants) -> Dict[str, np.ndarray]:
        """What a node makes of constants."""
        if node.op_type not in FOLDED:
            raise UnsupportedError(
                f"node {_label(node)} computes {node.op_type} of constants, which is not read; "
                "simplify the model first, for example with onnxsim"
            )
        import onnx
        from onnx.reference import ReferenceEvaluator

        inputs = {name: constants[name] for name in node.input if name}
        if sum(array.size for array in inputs.values()) > FOLDED_VALUES:
            raise UnsupportedError(f"node {_label(node)}: {node.op_type} of more than {FOLDED_VALUES:,} constants")
        if any(attribute.t.data_location == onnx.TensorProto.EXTERNAL for attribute in node.attribute):
            raise CorruptError(f"{self.path.name}: node {_label(node)} keeps a constant in another file; {AGAIN}")
        header = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UNDEFINED, None) for n in inputs]
        results = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UNDEFINED, None) for n in node.output]
        alone = onnx.helper.make_model(
            onnx.helper.make_graph([node], "constant", header, results),
            opset_imports=[onnx.helper.make_opsetid("", self.opset)],
        )
        try:
            return dict(zip(node.output, ReferenceEvaluator(alone).run(None, inputs)))
        except Exception as error:  # whatever NumPy or the evaluator say of a malformed node
            raise CorruptError(f"{self.path.name}: node {_label(node)}: {_line(error)}; {AGAIN}") from None


def _label(node) -> str:
    name = node.name or (node.output[0] if node.output else "") or node.op_type
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name  # bytes where it is no UTF-8
    return text.strip("/").replace("/", "_")


def _attributes(node) -> Dict[str, Any]:
    import onnx

    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if attribute.type == onnx.AttributeProto.INTS:
            found[attribute.name] = [int(n) for n in value]
    return found


def _load(path: Path):
    """(graph, opset) of a file; external data is not touched."""
    try:
        import onnx
    except ImportError:
        raise MissingError(f"{path.name}: ONNX files need the package onnx; pip install onnx") from None
    try:
        if path.stat().st_size > FILE_BYTES:
            raise CorruptError(f"{path.name} has more than {FILE_BYTES:,} bytes, which are not read; {AGAIN}")
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise MissingError(f"{path} cannot be read ({error.strerror}); give the path of a .onnx file") from None
    except CorruptError:
        raise
    except Exception as error:  # protobuf's DecodeError, which is a class of the C++ library
        raise CorruptError(f"{path.name} is no ONNX model ({_line(error)}); {AGAIN}") from None
    if not model.graph.node or not model.opset_import:
        raise CorruptError(f"{path.name} is no ONNX model (it has no nodes); {AGAIN}")
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if model.functions:
        raise UnsupportedError(f"{path.name} defines operators of its own; export the model with standard ones")
    return model.graph, versions[0] if versions else 13


def _array(tensor, path: Path) -> np.ndarray:
    """An initializer's values, those of a file beside the model included."""
    import onnx
    from onnx import numpy_helper

    where = f"{path.name}: weight {tensor.name}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.raw_data = _external(tensor, path, where)
        copy.data_location = onnx.TensorProto.DEFAULT
        del copy.external_data[:]
        tensor = copy
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # whatever NumPy says of bytes that are not the shape's
        raise CorruptError(f"{where} is not what its shape says ({_line(error)}); {AGAIN}") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CorruptError(f"{where} holds NaN or infinity; train the model again, with a lower learning rate")
    return array


def _external(tensor, path: Path, where: str) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location, folder = entries.get("location", ""), path.parent.resolve()
    file = (folder / location).resolve()
    if not location or Path(location).is_absolute() or folder not in file.parents:
        raise CorruptError(
            f"{where} lies in {location!r}, outside of the model's folder, and is not read; put it beside the model "
            "and export again"
        )
    try:
        first, size = int(entries.get("offset", 0)), file.stat().st_size
        length = int(entries.get("length", size - first))
    except (OSError, ValueError):
        raise MissingError(f"{where} lies in {location}, which cannot be read; copy it beside the model") from None
    if first < 0 or length < 0 or first + length > size or length > EXTERNAL_BYTES:
        raise CorruptError(f"{where}: {location} ends before its {length:,} bytes at {first:,}; {AGAIN}")
    with open(file, "rb") as source:
        source.seek(first)
        return source.read(length)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
