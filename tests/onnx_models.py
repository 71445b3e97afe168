"""Small ONNX graphs, written with onnx.helper as exporters write them; `onnx.reference` says what they give."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """A graph as it is written, node after node."""

    def __init__(self, shape, seed=0, opset=15):
        self.nodes, self.weights, self.opset = [], [], opset
        self.rng, self.shape = np.random.default_rng(seed), shape

    def weight(self, array, integer=False) -> str:
        name = f"w{len(self.weights)}"
        array = np.asarray(array, np.int64 if integer else np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind, *inputs, **attributes) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"/{name}", **attributes))
        return name

    def random(self, *shape, size=None) -> str:
        size = np.sqrt(2 / np.prod(shape[1:])) if size is None else size
        return self.weight(self.rng.normal(0, size, shape))

    def conv(self, x, n_in, filters, kernel, bias=True, **attributes) -> str:
        each = n_in // attributes.get("group", 1)
        inputs = [x, self.random(filters, each, *kernel)] + ([self.random(filters, size=0.2)] if bias else [])
        return self.node("Conv", *inputs, **attributes)

    def norm(self, x, n) -> str:
        positive = [self.weight(self.rng.uniform(0.5, 1.5, n)) for _ in range(2)]
        return self.node(
            "BatchNormalization", x, positive[0], self.random(n, size=0.2), self.random(n, size=0.2), positive[1]
        )

    def model(self, output, n_out) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "graph",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *self.shape])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", *n_out])],
            self.weights,
        )  # fmt: skip
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(made)
        return made


def vgg():
    """As PyTorch exports it: view(x.size(0), -1) computes the shape; Clip is ReLU6."""
    g = Graph((2, 8, 12))
    x = g.node("Relu", g.norm(g.conv("input", 2, 4, (3, 3), bias=False, pads=[1, 1, 1, 1]), 4))
    x = g.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.node(
        "Clip", g.norm(g.conv(x, 4, 6, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2]), 6), g.weight(0.0), g.weight(1.0)
    )
    size = g.node("Gather", g.node("Shape", x), g.weight(0, integer=True), axis=0)
    zero = g.weight([0], integer=True)
    shape = g.node("Concat", g.node("Unsqueeze", size, zero), g.weight([-1], integer=True), axis=0)
    x = g.node("Reshape", x, shape)
    x = g.node("Relu", g.node("Gemm", x, g.random(10, 36), g.random(10, size=0.2), transB=1))
    return g.model(g.node("Softmax", g.node("Gemm", x, g.random(5, 10), g.random(5), transB=1)), [5])


def residual():
    g = Graph((1, 9, 8), seed=1)
    x = g.node("Relu", g.conv("input", 1, 4, (3, 3), pads=[1, 1, 1, 1]))
    for stride, n in ((1, 4), (2, 6)):
        y = g.node("Relu", g.norm(g.conv(x, 4, n, (3, 3), pads=[1, 1, 1, 1], strides=[stride] * 2), n))
        y = g.norm(g.conv(y, n, n, (3, 3), pads=[1, 1, 1, 1]), n)
        short = x if stride == 1 else g.conv(x, 4, n, (1, 1), strides=[2, 2])
        x = g.node("Relu", g.node("Add", y, short))
    x = g.node("Flatten", g.node("GlobalAveragePool", x))
    x = g.node("Add", g.node("MatMul", x, g.random(6, 3)), g.random(3))
    return g.model(x, [3])


def unet():
    g = Graph((1, 8, 12), seed=2)
    skip = g.node("Relu", g.conv("input", 1, 4, (3, 3), pads=[1, 1, 1, 1]))
    x = g.node("Relu", g.conv(skip, 4, 6, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2]))
    up = {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}
    x = g.node("ConvTranspose", x, g.random(6, 4, 3, 3), g.random(4, size=0.2), **up)
    x = g.node("Relu", g.conv(g.node("Concat", x, skip, axis=1), 8, 4, (3, 3), pads=[1, 1, 1, 1]))
    x = g.node("Resize", x, "", g.weight([1, 1, 2, 2]), mode="nearest", nearest_mode="floor",
               coordinate_transformation_mode="asymmetric")  # fmt: skip
    x = g.conv(x, 4, 2, (3, 3), pads=[1, 1, 1, 1])
    return g.model(g.node("Sigmoid", x), [2, 16, 24])


def depthwise():
    """Odd borders, groups, a leaky rectifier, factors and offsets as nodes of their own."""
    g = Graph((2, 9, 10), seed=3)
    x = g.node("Div", g.node("Sub", "input", g.weight([[[0.3]], [[0.5]]])), g.weight(0.4))
    x = g.node("Pad", x, g.weight([0, 0, 2, 0, 0, 0, 1, 3], integer=True))
    x = g.node("LeakyRelu", g.conv(x, 2, 4, (3, 2), strides=[2, 1]), alpha=0.2)
    x = g.node("Relu", g.conv(x, 4, 8, (3, 3), group=4, pads=[2, 0, 1, 1]))
    x = g.node("Relu", g.conv(x, 8, 4, (1, 1), auto_pad="SAME_UPPER"))
    x = g.node("Relu", g.conv(x, 4, 4, (4, 4), auto_pad="SAME_LOWER", strides=[3, 2]))
    x = g.node("ConvTranspose", x, g.random(4, 4, 3, 2), strides=[2, 2], pads=[1, 0, 0, 1])
    x = g.node("Relu", x)
    x = g.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    return g.model(g.node("Mul", x, g.weight([1.0, -2.0, 0.5, 3.0])), [4])


def channels_last():
    """As tf2onnx exports it: the image with channels last, turned round in front of each block."""
    g = Graph((6, 8, 3), seed=4)
    x = g.node("Transpose", "input", perm=[0, 3, 1, 2])
    x = g.node("Relu", g.conv(x, 3, 4, (3, 3), pads=[1, 1, 1, 1]))
    x = g.node("Transpose", x, perm=[0, 2, 3, 1])
    x = g.node("Add", g.node("MatMul", x, g.random(4, 5)), g.random(5, size=0.2))
    x = g.node("Relu", x)
    x = g.node("Reshape", x, g.weight([-1, 240], integer=True))
    x = g.node("Relu", g.node("Gemm", x, g.random(240, 6), g.random(6)))
    return g.model(g.node("Gemm", x, g.random(6, 4)), [4])


MODELS = {f.__name__: f for f in (vgg, residual, unet, depthwise, channels_last)}


def outputs(model, images) -> np.ndarray:
    """What ONNX's reference evaluator gives for inputs as the model has them, a vector for each."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    return np.stack([evaluator.run(None, {"input": image[None]})[0].ravel() for image in images])
