"""CAE: a convolutional autoencoder that segments, without skip connections.

Source: "Joint ANN-SNN co-training for object localization and image segmentation", ICASSP 2023. Its average pooling
followed by a convolution is a strided convolution here (they are the same linear map with a larger kernel), and what
doubles the resolution is a transposed convolution: both map to the chip as they are.
"""

from __future__ import annotations

from typing import Any, Tuple

from cotrain.pipeline.networks.spec import NetworkSpec
from cotrain.pipeline.networks.stack import Stack


def spec(settings: Any, input_shape: Tuple[int, int, int], n_outputs: int) -> NetworkSpec:
    """The CAE for images of `input_shape` (height, width, channels).

    Parameters
    ----------
    settings : pipeline.experiment.NetworkSettings
        `filters` (one entry a resolution, the last one is the bottleneck), `kernel`, `pool_kernel` and
        `bottleneck_layers`. With three resolutions and two bottleneck layers: ten layers and the readout.
    """
    *widths, bottleneck = settings.filters
    stack = Stack(input_shape)
    for i, filters in enumerate(widths, start=1):
        stack.conv(f"conv{i}", filters, settings.kernel)
        stack.pool(f"pool{i}", filters, settings.pool_kernel)
    n_convs = len(widths)
    for _ in range(settings.bottleneck_layers):
        n_convs += 1
        stack.conv(f"conv{n_convs}", bottleneck, settings.kernel)
    for i, filters in enumerate(reversed(widths), start=1):
        n_convs += 1
        stack.up(f"up{i}", filters)
        stack.conv(f"conv{n_convs}", filters, settings.kernel)
    stack.conv("readout", n_outputs, 1)
    return stack.spec("cae")
