"""From a description and parameters to a nengo.Network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional

import nengo
import numpy as np
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.pipeline.networks.spec import Layer, NetworkSpec, Params
from cotrain.pipeline.neurons.phases import LayerNeurons


@dataclass(frozen=True)
class BuiltNetwork:
    """A network and the handles to its parts."""

    spec: NetworkSpec
    net: nengo.Network
    image: nengo.Node  # input, (height * width * channels,) in [0, 1]
    layers: Dict[str, nengo.Ensemble]  # in order of depth; label = name of the layer
    output: nengo.Probe  # the readout at each step
    connections: Dict[str, nengo.Connection]  # by the name of the parameter that they hold


def build(
    spec: NetworkSpec,
    neurons: LayerNeurons,
    params: Optional[Params] = None,
    synapse_s: Optional[float] = None,
    *,
    bias_nodes: bool = False,
    loihi: bool = False,
    seed: int = 0,
) -> BuiltNetwork:
    """Build `spec` with the neurons of a phase.

    Parameters
    ----------
    spec : NetworkSpec
    neurons : LayerNeurons
        From `pipeline.networks.neurons_for`.
    params : dict of ndarray, optional
        Parameters in units of activation; He initialisation with `seed` if None.
    synapse_s : float, optional
        Time constant of the Lowpass between layers. None or 0: no filter, and no delay (rates only). The image
        reaches the first layer, and the last layer the readout, without a filter in any case.
    bias_nodes : bool
        Hold the biases in connections from constant nodes, where NengoDL trains them in units of activation and with
        one value per filter. Otherwise they are the ensembles' own (what runs on the chip). Same currents either way.
    loihi : bool
        Add nengo-loihi's settings and keep the first layer on the host, which turns pixels into spikes.
    seed : int
        Of the network and of initial parameters.

    Returns
    -------
    BuiltNetwork

    Raises
    ------
    InputError
        `params` belong to another network.
    """
    params = spec.init_params(seed) if params is None else params
    spec.check_params(params)
    synapse = nengo.Lowpass(synapse_s) if synapse_s else None
    layers, connections = {}, {}
    with nengo.Network(seed=seed, label=spec.name) as net:
        if loihi:
            import_nengo_loihi().add_params(net)
        ones = _Ones()
        image = nengo.Node(np.zeros(int(np.prod(spec.input_shape))), label="image")
        source = image
        for layer in spec.layers:
            kernel, bias = params[f"{layer.name}.kernel"], params[f"{layer.name}.bias"]
            own_bias = 0.0 if bias_nodes else np.tile(bias.astype(np.float64), layer.n_neurons // layer.units)
            ensemble = nengo.Ensemble(
                layer.n_neurons,
                1,
                neuron_type=neurons.neuron_type,
                encoders=np.ones((layer.n_neurons, 1)),
                gain=np.full(layer.n_neurons, neurons.gain),
                bias=np.full(layer.n_neurons, neurons.rest) + neurons.gain * own_bias,
                label=layer.name,
            )
            connections[f"{layer.name}.kernel"] = nengo.Connection(
                source,
                ensemble.neurons,
                transform=layer.transform(kernel),
                synapse=None if source is image else synapse,
                label=f"{layer.name}.kernel",
            )
            if bias_nodes:
                connections[f"{layer.name}.bias"] = ones.connect(layer, bias, ensemble.neurons)
            layers[layer.name] = ensemble
            source = ensemble.neurons
        if loihi:
            net.config[layers[spec.layers[0].name]].on_chip = False
        output = _readout(spec, params, source, ones, connections)
    return BuiltNetwork(spec, net, image, layers, output, connections)


def decode(spec: NetworkSpec, readout: np.ndarray, readout_steps: int = 1) -> np.ndarray:
    """The prediction: the mean of the readout over the last steps, in the shape of a target.

    Parameters
    ----------
    readout : ndarray
        (n_samples, n_steps, size), what the output probe recorded.
    readout_steps : int
        Steps to average over.

    Returns
    -------
    ndarray
        Boxes (n_samples, 4), fractions of the image; or logits (n_samples, height, width), mask where above 0.
    """
    mean = np.asarray(readout, dtype=np.float64)[:, -readout_steps:].mean(axis=1)
    return mean.reshape((len(mean),) + (spec.output_shape[:2] if len(spec.output_shape) == 3 else spec.output_shape))


def _readout(spec, params, source, ones, connections) -> nengo.Probe:
    layer = spec.readout
    node = nengo.Node(size_in=layer.n_neurons, label=layer.name)
    if layer.kind == "conv":  # nengo-loihi sends spikes to the host through dense connections only
        relay = nengo.Node(size_in=layer.n_inputs, label="spikes")
        nengo.Connection(source, relay, synapse=None)
        source = relay
    connections[f"{layer.name}.kernel"] = nengo.Connection(
        source,
        node,
        transform=layer.transform(params[f"{layer.name}.kernel"]),
        synapse=None,
        label=f"{layer.name}.kernel",
    )
    connections[f"{layer.name}.bias"] = ones.connect(layer, params[f"{layer.name}.bias"], node)
    return nengo.Probe(node, synapse=None, label="output")


class _Ones:
    """Constant nodes, one per height and width, from which biases come."""

    def __init__(self):
        self.nodes = {}

    def connect(self, layer: Layer, bias: np.ndarray, target) -> nengo.Connection:
        space = layer.output_shape[:2] if len(layer.output_shape) == 3 else (1, 1)
        if space not in self.nodes:
            self.nodes[space] = nengo.Node(np.ones(int(np.prod(space))), label=f"ones {space[0]}x{space[1]}")
        if len(layer.output_shape) == 3:
            transform = nengo.Convolution(
                layer.units,
                space + (1,),
                kernel_size=(1, 1),
                strides=(1, 1),
                init=bias.reshape(1, 1, 1, layer.units),
            )
        else:
            transform = nengo.Dense((layer.units, 1), init=bias.reshape(layer.units, 1))
        return nengo.Connection(
            self.nodes[space], target, transform=transform, synapse=None, label=f"{layer.name}.bias"
        )
