"""LocNet: the box around one object.

Source: "Joint ANN-SNN co-training for object localization and image segmentation", ICASSP 2023: a 3×3 convolution
and a convolution of stride 2 as pooling, three times; then four dense layers, of which the last one gives the box.
"""

from __future__ import annotations

from typing import Any, Tuple

from cotrain.pipeline.networks.spec import NetworkSpec
from cotrain.pipeline.networks.stack import Stack


def spec(settings: Any, input_shape: Tuple[int, int, int], n_outputs: int) -> NetworkSpec:
    """LocNet for images of `input_shape` (height, width, channels).

    Parameters
    ----------
    settings : pipeline.experiment.NetworkSettings
        `filters` (one entry a resolution), `dense` (hidden dense layers), `kernel`, `pool_kernel`; with `stem_kernel`
        one convolution of that size and stride 2 stands for the first two layers, and nothing is at full resolution.
    """
    stack = Stack(input_shape)
    for i, filters in enumerate(settings.filters, start=1):
        if i == 1 and settings.stem_kernel:
            stack.pool("conv1", filters, settings.stem_kernel)
            continue
        stack.conv(f"conv{i}", filters, settings.kernel)
        stack.pool(f"pool{i}", filters, settings.pool_kernel)
    for i, units in enumerate(settings.dense, start=1):
        stack.dense(f"dense{i}", units)
    stack.dense("readout", n_outputs)
    return stack.spec("locnet")
