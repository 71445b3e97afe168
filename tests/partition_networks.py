"""Networks for the tests of placing and checking: chains of layers, and the published architectures."""

from __future__ import annotations

import nengo
import numpy as np
from cotrain.hardware.builder.door import import_nengo_loihi
from nengo.transforms import ChannelShape, ConvolutionTranspose


def neurons(n, label, rng=None, **kwargs):
    """An ensemble whose neurons all have gain 100, as convolutions ask for."""
    bias = np.zeros(n) if rng is None else rng.uniform(0, 20, n)
    kwargs = {"gain": np.full(n, 100.0), "bias": bias, "neuron_type": nengo.SpikingRectifiedLinear(), **kwargs}
    return nengo.Ensemble(n, 1, label=label, **kwargs)


def chain(image_shape, layers, channels_last=True, seed=0, n_outputs=2, biases=False):
    """A network: image node, first layer on the host, the others on the chip, a readout on the host.

    Parameters
    ----------
    image_shape : (rows, columns, channels)
    layers : list of tuple
        ("conv", filters, kernel, stride, padding), ("up", filters, kernel, stride, padding) or ("dense", n).

    Returns
    -------
    nengo.Network
        With the attributes ``image``, ``layers``, ``conns`` and ``output`` (a probe).
    """
    nengo_loihi = import_nengo_loihi()
    rng = np.random.RandomState(seed)
    spatial, channels = tuple(image_shape[:2]), image_shape[2]
    shape = ChannelShape.from_space_and_channels(spatial, channels, channels_last=channels_last)
    with nengo.Network(seed=seed) as net:
        nengo_loihi.add_params(net)
        net.image = nengo.Node(rng.uniform(0, 1, shape.size), label="image")
        net.layers, net.conns, source = [], [], net.image
        for k, (kind, size, *rest) in enumerate(layers):
            if kind == "dense":
                transform = nengo.Dense((size, shape.size), init=rng.uniform(-1, 1, (size, shape.size)))
                n, shape = size, ChannelShape((size,))
            else:
                kernel, stride, padding = rest
                kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
                cls = nengo.Convolution if kind == "conv" else ConvolutionTranspose
                transform = cls(
                    size,
                    shape,
                    kernel_size=kernel,
                    strides=(stride, stride),
                    padding=padding,
                    channels_last=channels_last,
                    init=rng.uniform(-1, 1, (*kernel, shape.n_channels, size)),
                )
                shape = transform.output_shape
                n = shape.size
            ensemble = neurons(n, f"{kind}{k}", rng if biases else None)
            synapse = None if k == 0 else 0.005
            net.conns.append(nengo.Connection(source, ensemble.neurons, transform=transform, synapse=synapse))
            net.layers.append(ensemble)
            source = ensemble.neurons
        net.config[net.layers[0]].on_chip = False
        output = nengo.Node(size_in=n_outputs, label="output")
        nengo.Connection(source, output, transform=rng.uniform(-1, 1, (n_outputs, source.size_out)), synapse=None)
        net.output = nengo.Probe(output)
    return net


def conv(filters, kernel, stride=1, padding="valid"):
    return "conv", filters, kernel, stride, padding


def up(filters, kernel=2, stride=2, padding="valid"):
    return "up", filters, kernel, stride, padding


def cifar10(channels_last=True):
    """nengo-loihi's CIFAR-10 example (docs/examples/cifar10-convnet.ipynb): 47,404 neurons on the chip."""
    layers = [conv(4, 1), conv(64, 3, 2), conv(72, 3), conv(256, 3, 2), conv(256, 1), conv(64, 1), ("dense", 100)]
    return chain((32, 32, 3), layers, channels_last, n_outputs=10)


def mnist():
    """nengo-loihi's Keras-to-Loihi example (docs/examples/keras-to-loihi.ipynb)."""
    layers = [conv(3, 1), conv(32, 3, 2), conv(64, 3, 2), ("dense", 100)]
    return chain((28, 28, 1), layers, n_outputs=10)


def locnet():
    """The paper's LocNet at 64 x 128: convolution and stride-2 pooling three times, three dense layers on the chip."""
    layers = []
    for filters in (8, 16, 32):
        layers += [conv(filters, 3, 1, "same"), conv(filters, 2, 2)]
    return chain((64, 128, 1), layers + [("dense", 128), ("dense", 64), ("dense", 32)], n_outputs=4)


def cae():
    """The paper's convolutional autoencoder at 40 x 56: ten layers, the first of them on the host."""
    layers = [conv(8, 3, 1, "same"), conv(8, 2, 2), conv(16, 3, 1, "same"), conv(16, 2, 2), conv(32, 3, 1, "same")]
    layers += [conv(32, 3, 1, "same"), up(16), conv(16, 3, 1, "same"), up(8), conv(8, 3, 1, "same")]
    return chain((40, 56, 1), layers, n_outputs=10)


def built(net, **kwargs):
    """nengo_loihi's own build of ``net``, validated by nengo_loihi: the model with its blocks."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with import_nengo_loihi().Simulator(net, target="sim", seed=0, **kwargs) as sim:
            return sim.model


def use_by_label(model):
    """{ensemble label: [compartments, input axons, output axons, synapse bits] of the worst block, blocks}."""
    worst = {}
    for block in model.blocks:
        label = str(block.label).split("[")[0].replace("<Ensemble '", "").replace("'>", "")
        used = [used for used, _ in block.utilization().values()]
        most, blocks = worst.get(label, ([0, 0, 0, 0], 0))
        worst[label] = ([max(a, b) for a, b in zip(most, used, strict=False)], blocks + 1)
    return worst
