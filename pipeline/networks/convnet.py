"""A plain convolutional network that names what an image shows.

Convolutions only, some of stride 2 in the place of pooling, then dense layers if any, then one score a class. Each
convolution is exactly what the chip has, and weights of a convolution are stored once a block of neurons.
"""

from __future__ import annotations

from typing import Any, Tuple

from cotrain.hardware.errors import InputError
from cotrain.pipeline.networks.spec import NetworkSpec
from cotrain.pipeline.networks.stack import Stack


def spec(settings: Any, input_shape: Tuple[int, int, int], n_outputs: int) -> NetworkSpec:
    """The network for images of `input_shape` (height, width, channels).

    Parameters
    ----------
    settings : pipeline.experiment.NetworkSettings
        `filters` and `strides` (1 or 2), one entry a convolution; `kernel`, `pool_kernel` (of those of stride 2);
        `dense`.
    n_outputs : int
        Values of the readout.

    Raises
    ------
    InputError
        `strides` and `filters` differ in length, or height or width cannot be halved.
    """
    if len(settings.strides) != len(settings.filters):
        raise InputError(
            f"network.strides has {len(settings.strides)} entries and network.filters {len(settings.filters)}; "
            "expected one of each a convolution"
        )
    stack = Stack(input_shape)
    for i, (filters, stride) in enumerate(zip(settings.filters, settings.strides), start=1):
        if stride == 1:
            stack.conv(f"conv{i}", filters, settings.kernel)
        else:
            stack.pool(f"conv{i}", filters, settings.pool_kernel)
    for i, units in enumerate(settings.dense, start=1):
        stack.dense(f"dense{i}", units)
    stack.dense("readout", n_outputs)
    return stack.spec("convnet")
