"""Runs one model in its framework: images come in on standard input, outputs go out on standard output.

Started as a file of its own, with nothing of this package: ``framework_child.py keras|tf_keras|onnx FILE LAYOUT``. What
it says first is the framework's name and version; if it cannot, the last line of standard error says why.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import numpy as np

AT_ONCE = 64  # images of a call


def send(stream: Any, array: Any) -> None:
    """One array: its length in bytes, then NumPy's own format."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    stream.write(buffer.tell().to_bytes(8, "little") + buffer.getvalue())
    stream.flush()


def receive(stream: Any) -> np.ndarray:
    """One array; EOFError where the stream ends."""
    size = stream.read(8)
    data = stream.read(int.from_bytes(size, "little")) if len(size) == 8 else b""
    return np.load(io.BytesIO(data), allow_pickle=False)  # EOFError of no bytes


def of_keras(module: str, path: str, layout: str) -> Any:
    """(predict, name) of a Keras model."""
    keras = importlib.import_module(module)
    model = keras.models.load_model(path, compile=False, safe_mode=True)

    def predict(images):
        return np.asarray(model.predict_on_batch(images.reshape(len(images), -1) if layout == "vector" else images))

    return predict, f"Keras {keras.__version__}"


def of_onnx(path: str, layout: str) -> Any:
    """(predict, name) of an ONNX model, in onnxruntime or else in ONNX's reference implementation."""
    try:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        entry, name = session.get_inputs()[0].name, f"onnxruntime {onnxruntime.__version__}"
        size = session.get_inputs()[0].shape[:1]
    except ImportError:
        import onnx
        from onnx.reference import ReferenceEvaluator

        session = ReferenceEvaluator(path)
        weights = {tensor.name for tensor in session.proto_.graph.initializer}
        (given,) = (one for one in session.proto_.graph.input if one.name not in weights)
        entry, name = given.name, f"onnx {onnx.__version__}, its reference implementation"
        size = [dim.dim_value for dim in given.type.tensor_type.shape.dim][:1]
    fixed = size[0] if size and isinstance(size[0], int) and size[0] > 0 else 0  # images that the model takes at once

    def predict(images):
        images = {
            "vector": images.reshape(len(images), -1), "first": images.transpose(0, 3, 1, 2), "last": images,
        }[layout]  # fmt: skip
        n, made = fixed or len(images), []
        for first in range(0, len(images), n):
            part = images[first : first + n]
            black = np.zeros((n - len(part), *part.shape[1:]), part.dtype)
            made.append(session.run(None, {entry: np.ascontiguousarray(np.concatenate([part, black]))})[0][: len(part)])
        return np.concatenate(made)

    return predict, name


def main() -> int:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what frameworks print is not to lie among the arrays
    kind, path, layout = sys.argv[1:]
    try:
        predict, name = of_onnx(path, layout) if kind == "onnx" else of_keras(kind, path, layout)
        send(out, name)
        while True:
            try:
                images = receive(sys.stdin.buffer)
            except EOFError:
                return 0
            parts = [images[first : first + AT_ONCE] for first in range(0, len(images), AT_ONCE)]
            send(out, np.concatenate([predict(part) for part in parts]).astype(np.float32))
    except ImportError as error:
        print(f"{error.name or error} is not installed", file=sys.stderr)
    except Exception as error:  # whatever a framework makes of a file
        print(f"{kind}: {type(error).__name__}: {' '.join(str(error).split())[:150]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
