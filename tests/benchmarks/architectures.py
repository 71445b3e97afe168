"""nengo-loihi's two example networks with random weights, and this project's two, for benchmarks and equality tests.

CIFAR-10: 32×32×3; on the host 1×1×4; on the chip 3×3×64 stride 2, 3×3×72, 3×3×256 stride 2, 1×1×256, 1×1×64,
dense 100; 47,404 neurons on 90 cores (nengo-loihi, docs/examples/cifar10-convnet). MNIST: 28×28×1; 1×1×3; 3×3×32
stride 2, 3×3×64 stride 2, dense 100 (docs/examples/keras-to-loihi).
"""

from __future__ import annotations

from dataclasses import dataclass

import nengo
import numpy as np
from cotrain.hardware.builder.door import import_nengo_loihi
from nengo.dists import Choice

nengo_loihi = import_nengo_loihi()

RATE_HZ = 200.0  # spikes per second of a unit of activation


@dataclass(frozen=True)
class Case:
    """A network with its input node and output probe; `spikes` are probes of every layer on the chip."""

    name: str
    net: nengo.Network
    image: nengo.Node
    output: nengo.Probe
    spikes: tuple = ()


# (filters or units, kernel, stride, block shape); the first layer is on the host, an int is a dense layer
CIFAR10 = (
    (4, 1, 1, None),
    (64, 3, 2, (8, 8, 16)),
    (72, 3, 1, (7, 7, 8)),
    (256, 3, 2, (6, 6, 12)),
    (256, 1, 1, (6, 6, 24)),
    (64, 1, 1, (6, 6, 24)),
    100,
)
MNIST = ((3, 1, 1, None), (32, 3, 2, (13, 13, 4)), (64, 3, 2, (6, 6, 16)), 100)


def random_network(name, input_shape, layers, gain=1.0, seed=0, bias=0.0, n_probed=0) -> Case:
    """A network of rectified neurons with random weights that keep some activity in every layer.

    Parameters
    ----------
    gain : float
        Multiplies the weights of the first layer, and so the firing rates.
    bias : float
        Activation that every neuron has by itself.
    n_probed : int
        How many layers on the chip have a probe of all their spikes.
    """
    spikes = []
    rng = np.random.RandomState(seed)
    neurons = nengo_loihi.LoihiSpikingRectifiedLinear(amplitude=1 / RATE_HZ)
    with nengo.Network(seed=seed, label=name) as net:
        nengo_loihi.add_params(net)
        image = nengo.Node(np.zeros(int(np.prod(input_shape))), label="image")
        source, shape = image, input_shape
        for i, layer in enumerate(layers):
            scale = 1.6 * (gain if i == 0 else 1.0)
            if isinstance(layer, int):
                n_in, shape = int(np.prod(shape)), (layer,)
                weights = rng.standard_normal((layer, n_in)) * scale / np.sqrt(n_in)
                transform, block = nengo.Dense(weights.shape, init=weights), None
            else:
                filters, kernel, stride, block = layer
                size = (kernel, kernel, shape[-1], filters)
                weights = rng.standard_normal(size) * scale / np.sqrt(np.prod(size[:3]))
                weights = np.abs(weights) if i == 0 else weights
                transform = nengo.Convolution(
                    filters, shape, kernel_size=size[:2], strides=(stride, stride), init=weights
                )
                shape = transform.output_shape.shape
            ens = nengo.Ensemble(
                int(np.prod(shape)),
                1,
                neuron_type=neurons,
                gain=Choice([RATE_HZ]),
                bias=Choice([RATE_HZ * bias]),
                label=f"layer{i}",
            )
            if i == 0:
                net.config[ens].on_chip = False
            elif block is not None:
                net.config[ens].block_shape = nengo_loihi.BlockShape(block, shape)
            nengo.Connection(source, ens.neurons, transform=transform, synapse=0.005 if i else None)
            if 0 < i <= n_probed:
                spikes.append(nengo.Probe(ens.neurons))
            source = ens.neurons
        out = nengo.Node(size_in=10)
        weights = rng.standard_normal((10, source.size_out)) / np.sqrt(source.size_out)
        nengo.Connection(source, out, transform=weights, synapse=0.005)
        probe = nengo.Probe(out)
    return Case(name, net, image, probe, tuple(spikes))


def cifar10(gain=1.0, seed=0, bias=0.0, n_probed=0) -> Case:
    return random_network("cifar10", (32, 32, 3), CIFAR10, gain, seed, bias, n_probed)


def mnist(gain=1.0, seed=0, bias=0.0) -> Case:
    return random_network("mnist", (28, 28, 1), MNIST, gain, seed, bias)


def own(name, seed=0, bias=0.0) -> Case:
    """LocNet or the CAE as the experiments of that name build them, with random weights."""
    from cotrain import hardware
    from cotrain.pipeline import experiment
    from cotrain.pipeline.networks import build, neurons_for, spec_for

    settings = experiment.load(name)
    spec = spec_for(settings.network, settings.data.input_shape)
    params = spec.init_params(seed)
    params.update({k: v + np.float32(bias) for k, v in params.items() if k.endswith(".bias")})
    built = build(
        spec,
        neurons_for(settings.neurons, "loihi"),
        params,
        synapse_s=settings.finetune.synapse_s,
        loihi=True,
        seed=seed,
    )
    hardware.partition(built.net)
    return Case(name, built.net, built.image, built.output)


CASES = {
    "cifar10": cifar10,
    "cifar10, every layer probed": lambda: cifar10(n_probed=len(CIFAR10) - 1),
    "mnist": mnist,
    "locnet": lambda: own("locnet-60"),
    "cae": lambda: own("cae-60"),
}
