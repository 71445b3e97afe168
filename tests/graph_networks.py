"""Networks that are no chains."""

from cotrain.pipeline.networks import Input, Layer, NetworkSpec, Stack


def skips(shape=(6, 8, 2)) -> NetworkSpec:
    """A small U-Net: a concatenated skip into conv3, an added one past conv4, two sources of the readout."""
    stack = Stack(shape)
    stack.conv("conv1", 3, 3)
    stack.pool("pool1", 4, 3)
    stack.conv("conv2", 4, 3)
    stack.up("up1", 3)
    stack.conv("conv3", 3, 3, sources=("up1", "conv1"))
    height, width, _ = shape
    added = (
        Input("conv3", "conv", (height, width, 3), (3, 3), (1, 1), "same"),
        Input("conv1", "conv", (height, width, 3)),
    )
    stack.layers.append(Layer("conv4", 5, (height, width, 5), added, bias_per_neuron=True))
    stack.shapes["conv4"] = (height, width, 5)
    stack.conv("readout", 1, 1, sources=("conv4", "conv3"))
    return stack.spec("skips")


def dense_skips(shape=(4, 6, 1)) -> NetworkSpec:
    """Dense layers: one that listens to a convolution and to a dense layer, and a readout of both dense ones."""
    stack = Stack(shape)
    stack.conv("conv1", 2, 3)
    stack.dense("dense1", 9)
    stack.dense("dense2", 7, sources=("dense1", "conv1"))
    stack.dense("readout", 3, sources=("dense2", "dense1"))
    return stack.spec("dense_skips")


GRAPHS = {"skips": skips(), "dense_skips": dense_skips()}
