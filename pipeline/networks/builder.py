"""From a description and parameters to a nengo.Network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional

import nengo
import numpy as np
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.pipeline.networks.spec import IMAGE, Edge, Layer, NetworkSpec, Params
from cotrain.pipeline.neurons.phases import LayerNeurons, spread


@dataclass(frozen=True)
class BuiltNetwork:
    """A network and the handles to its parts."""

    spec: NetworkSpec
    net: nengo.Network
    image: nengo.Node  # input, (height * width * channels,) in [0, 1]
    layers: Dict[str, nengo.Ensemble]  # in order of depth; label = name of the layer
    output: nengo.Probe  # the readout at each step
    connections: Dict[str, nengo.Connection]  # by the name of the parameter that they hold
    start: Optional[nengo.Ensemble] = None  # the neuron whose one spike spreads the voltages


def build(
    spec: NetworkSpec,
    neurons: LayerNeurons,
    params: Optional[Params] = None,
    synapse_s: Optional[float] = None,
    *,
    bias_nodes: bool = False,
    loihi: bool = False,
    lift: float = 0.0,
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
    lift : float
        Above 0, voltages start spread between 0 and the threshold (`pipeline.neurons.phases.spread`): a neuron of the
        host spikes once, in the first step, into every neuron. This weight would lift it to the threshold
        (`pipeline.neurons.phases.lift_of`).
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
    layers: Dict[str, Any] = {}
    connections: Dict[str, Any] = {}
    with nengo.Network(seed=seed, label=spec.name) as net:
        if loihi:
            import_nengo_loihi().add_params(net)
        image = nengo.Node(np.zeros(int(np.prod(spec.input_shape))), label=IMAGE)
        host = _Host({IMAGE: image})
        for layer in spec.layers:
            bias = params[f"{layer.name}.bias"]
            own_bias = 0.0 if bias_nodes else _of_neurons(layer, bias.astype(np.float64))
            ensemble = nengo.Ensemble(
                layer.n_neurons,
                1,
                neuron_type=neurons.neuron_type,
                encoders=np.ones((layer.n_neurons, 1)),
                gain=np.full(layer.n_neurons, neurons.gain),
                bias=np.full(layer.n_neurons, neurons.rest) + neurons.gain * own_bias,
                label=layer.name,
            )
            for edge in layer.edges():
                connections[edge.param] = nengo.Connection(
                    host.padded(edge) if edge.source == IMAGE else layers[edge.source].neurons,
                    ensemble.neurons,
                    transform=edge.transform(params[edge.param]),
                    synapse=None if edge.source == IMAGE else synapse,
                    label=edge.param,
                )
            if bias_nodes:
                connections[f"{layer.name}.bias"] = host.bias(layer, bias, ensemble.neurons)
            layers[layer.name] = ensemble
        start = _start(spec, neurons, layers, lift, synapse) if lift else None
        if loihi:
            if start is not None:
                net.config[start].on_chip = False
            for name in spec.on_host:
                net.config[layers[name]].on_chip = False
        output = _readout(spec, params, layers, host, connections)
    return BuiltNetwork(spec, net, image, layers, output, connections, start)


def decode(spec: NetworkSpec, readout: np.ndarray, readout_steps: int = 1) -> np.ndarray:
    """The mean of the readout over the last steps.

    Parameters
    ----------
    readout : ndarray
        (n_samples, n_steps, size), what the output probe recorded.
    readout_steps : int
        Steps to average over.

    Returns
    -------
    ndarray
        (n_samples, size); `pipeline.tasks` says what it stands for.
    """
    mean = np.asarray(readout, dtype=np.float64)[:, -readout_steps:].mean(axis=1)
    return mean.reshape(len(mean), -1)


def _readout(spec, params, layers, host, connections) -> nengo.Probe:
    layer = spec.readout
    node = nengo.Node(size_in=layer.n_neurons, label=layer.name)
    for edge in layer.edges():
        source = host.nodes.get(edge.source)
        if source is None:
            source = layers[edge.source].neurons
            if edge.kind != "dense":  # nengo-loihi sends spikes to the host through dense connections only
                source = host.relay(edge.source, source)
        connections[edge.param] = nengo.Connection(
            source if edge.kind == "dense" else host.padded(edge),
            node,
            transform=edge.transform(params[edge.param]),
            synapse=None,
            label=edge.param,
        )
    connections[f"{layer.name}.bias"] = host.bias(layer, params[f"{layer.name}.bias"], node)
    return nengo.Probe(node, synapse=None, label="output")


def _start(spec, neurons, layers, lift, synapse) -> nengo.Ensemble:
    """The neuron of the first spike, and what it sends to the layers.

    Loihi's voltages start at 0, and nobody can write another number there from Nengo; a spike can.
    """
    start = first_spike(neurons.neuron_type.amplitude)
    for layer in spec.layers:
        nengo.Connection(
            start.neurons,
            layers[layer.name].neurons,
            transform=nengo.Dense((layer.n_neurons, 1), init=lift * spread(layer.n_neurons)[:, np.newaxis]),
            synapse=None if layer.name in spec.on_host else synapse,
            label=f"start of {layer.name}",
        )
    return start


def first_spike(amplitude: float = 1.0) -> nengo.Ensemble:
    """A neuron that spikes in the first step and never again; for the host."""
    once = {"voltage": nengo.dists.Choice([1.5])}  # which passes the threshold without any current
    return nengo.Ensemble(
        1,
        1,
        neuron_type=nengo.SpikingRectifiedLinear(amplitude=amplitude, initial_state=once),
        encoders=np.ones((1, 1)),
        gain=np.ones(1),
        bias=np.zeros(1),
        label="spike at the start",  # no name that a layer may have
    )


def _of_neurons(layer: Layer, bias: np.ndarray) -> np.ndarray:
    """A bias for each neuron of a layer, (n_neurons,)."""
    return bias.ravel() if layer.bias_per_neuron else np.tile(bias, layer.n_neurons // layer.units)


class _Host:
    """What the host holds besides neurons: relays of spikes, borders of zeros, constants from which biases come."""

    def __init__(self, nodes: Dict[str, nengo.Node]):
        self.nodes = nodes  # by the source that they hold
        self.borders: Dict[tuple, nengo.Node] = {}
        self.ones: Dict[tuple, nengo.Node] = {}

    def relay(self, name: str, neurons) -> nengo.Node:
        """A node that holds what `neurons` of the layer `name` send."""
        node = nengo.Node(size_in=neurons.size_out, label="spikes")
        nengo.Connection(neurons, node, synapse=None)
        self.nodes[name] = node
        return node

    def padded(self, edge: Edge) -> nengo.Node:
        """A node that holds the edge's source with its border of zeros."""
        node = self.nodes[edge.source]
        if not any(edge.input.pad):
            return node
        key = (edge.source, edge.input.pad)
        if key not in self.borders:
            numbers = np.arange(node.size_out).reshape(edge.input.shape)
            above, below, left, right = edge.input.pad
            inside = np.pad(numbers, ((above, below), (left, right), (0, 0)), constant_values=-1).ravel() >= 0
            border = nengo.Node(size_in=edge.n_inputs, label=f"{edge.source} with a border")
            nengo.Connection(node, border[np.flatnonzero(inside).tolist()], synapse=None)
            self.borders[key] = border
        return self.borders[key]

    def bias(self, layer: Layer, bias: np.ndarray, target) -> nengo.Connection:
        """The layer's biases from a node of ones: one node per height and width."""
        shared = len(layer.output_shape) == 3 and not layer.bias_per_neuron
        space = layer.output_shape[:2] if shared else (1, 1)
        if space not in self.ones:
            self.ones[space] = nengo.Node(np.ones(int(np.prod(space))), label=f"ones {space[0]}x{space[1]}")
        if shared:
            transform = nengo.Convolution(
                layer.units,
                space + (1,),
                kernel_size=(1, 1),
                strides=(1, 1),
                init=bias.reshape(1, 1, 1, layer.units),
            )
        else:
            transform = nengo.Dense((bias.size, 1), init=bias.reshape(bias.size, 1))
        return nengo.Connection(self.ones[space], target, transform=transform, synapse=None, label=f"{layer.name}.bias")
