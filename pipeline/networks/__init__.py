"""The networks, each one description for every phase.

``spec_for(settings, image_shape, n_outputs)`` says what a network is made of, ``neurons_for(settings, phase)`` which
neurons a phase uses, and ``build(spec, neurons, params)`` makes the nengo.Network. Python 3.8, Nengo and NumPy suffice;
only the phases that train import more.
"""

from __future__ import annotations

from typing import Any, Tuple

from cotrain.hardware.errors import InputError
from cotrain.pipeline.networks import cae, convnet, locnet, unet
from cotrain.pipeline.networks.builder import BuiltNetwork, build, decode
from cotrain.pipeline.networks.foreign import OWN_MODEL, model_for
from cotrain.pipeline.networks.spec import IMAGE, Edge, Input, Layer, NetworkSpec, Params
from cotrain.pipeline.networks.stack import Stack
from cotrain.pipeline.neurons.phases import PHASES, LayerNeurons, neurons_for

__all__ = [
    "IMAGE", "NETWORKS", "PHASES", "BuiltNetwork", "Edge", "Input", "Layer", "LayerNeurons", "NetworkSpec", "Params",
    "Stack", "build", "decode", "neurons_for", "spec_for",
]  # fmt: skip

NETWORKS = {"locnet": locnet.spec, "cae": cae.spec, "unet": unet.spec, "convnet": convnet.spec}
OUTPUTS = {"locnet": 4, "cae": 1, "unet": 1, "convnet": 10}  # values of a readout (a pixel's), where data do not say


def spec_for(settings: Any, image_shape: Tuple[int, ...], n_outputs: int = 0) -> NetworkSpec:
    """The network that `settings` (pipeline.experiment.NetworkSettings) names.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width), or (height, width, channels).
    n_outputs : int
        Values of the readout, of a network for masks those of each pixel; 0: the network's own number.

    Raises
    ------
    InputError
        Unknown network, or an image size that its layers cannot halve.
    """
    if settings.name == OWN_MODEL:
        return model_for(settings, image_shape).spec
    if settings.name not in NETWORKS:
        raise InputError(f"network.name is {settings.name!r}; there are {', '.join(NETWORKS)}")
    height, width, channels = image_shape if len(image_shape) == 3 else (*image_shape, 1)
    return NETWORKS[settings.name](settings, (height, width, channels), n_outputs or OUTPUTS[settings.name])
