"""U-Net at half resolution: a segmenter of few layers, for few time steps.

Source: Ronneberger et al., "U-Net", MICCAI 2015, with what a spiking chip asks for. A signal needs a step for each
layer between neurons, and spikes are paid per neuron: so nothing is at full resolution. The first layer is a
convolution of stride 2, on the host, and the readout is a transposed convolution of kernel 2 and stride 2, also on the
host, which gives each place of the last layer the logits of its four pixels. Pooling is a strided convolution.
"""

from __future__ import annotations

from typing import Any, Tuple

from cotrain.hardware.errors import InputError
from cotrain.pipeline.networks.spec import NetworkSpec
from cotrain.pipeline.networks.stack import Stack


def spec(settings: Any, input_shape: Tuple[int, int, int], n_outputs: int) -> NetworkSpec:
    """The U-Net for images of `input_shape` (height, width, channels).

    Parameters
    ----------
    settings : pipeline.experiment.NetworkSettings
        `filters`: of the first layer, then one entry a resolution from half the image's on; `kernel`, `pool_kernel`;
        `stem_kernel`, of the first layer (0: `pool_kernel`); `bottleneck_layers`, at the lowest resolution besides its
        pooling layer; `decoder_filters`: of the decoder's layers, one entry a resolution from half the image's on
        (none: those of `filters`), whose last layer spends most of the spikes; `skips`: whether a decoder layer also
        listens to the encoder's of its resolution.

    Raises
    ------
    InputError
        `decoder_filters` are not as many as the encoder's resolutions.
    """
    stem, *widths, bottleneck = settings.filters
    stack = Stack(input_shape)
    stack.pool("conv1", stem, settings.stem_kernel or settings.pool_kernel)
    n_convs, encoders = 1, []
    for i, filters in enumerate(widths, start=1):
        n_convs += 1
        encoders.append(f"conv{n_convs}")
        stack.conv(f"conv{n_convs}", filters, settings.kernel)
        stack.pool(f"pool{i}", (*widths, bottleneck)[i], settings.pool_kernel)
    for _ in range(settings.bottleneck_layers):
        n_convs += 1
        stack.conv(f"conv{n_convs}", bottleneck, settings.kernel)
    decoder = settings.decoder_filters or widths
    if len(decoder) != len(widths):
        raise InputError(
            f"network.decoder_filters has {len(decoder)} entries; network.filters {tuple(settings.filters)} has "
            f"{len(widths)} resolutions above the lowest, so expected {len(widths)}"
        )
    for i, (encoder, filters) in enumerate(zip(reversed(encoders), reversed(decoder)), start=1):
        n_convs += 1
        stack.up(f"up{i}", filters)
        sources = (f"up{i}", encoder) if settings.skips else None
        stack.conv(f"conv{n_convs}", filters, settings.kernel, sources)
    stack.up("readout", n_outputs)
    return stack.spec("unet")
