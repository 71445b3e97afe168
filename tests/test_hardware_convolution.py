"""The arithmetic of convolutions against Nengo's own, one input and one position of the kernel at a time."""

from __future__ import annotations

import itertools

import nengo
import numpy as np
import pytest
from cotrain.hardware.builder.convolution import Axis, axes_of
from cotrain.hardware.builder.convweights import conv2d_loihi_weights
from nengo.transforms import ConvolutionTranspose

try:
    from nengo._vendor.npconv2d import conv2d as of_nengo  # Nengo 3.2
except ImportError:
    from nengo.builder import transforms as of_nengo  # Nengo 4

SHAPES = list(itertools.product((1, 2, 5, 8), (1, 2, 3, 5), (1, 2, 3), ("same", "valid")))


def response(transform, i, k):
    """Outputs along the rows where input i meets position k of the kernel."""
    image = np.zeros(transform.input_shape.shape)
    image[i] = 1
    kernel = np.zeros((*transform.kernel_size, 1, 1))
    kernel[k] = 1
    if isinstance(transform, ConvolutionTranspose):
        out = of_nengo.conv2d_gradx(
            kernel, image[None], transform.output_shape.spatial_shape, pad=transform.padding.upper(),
            stride=transform.strides,
        )  # fmt: skip
    else:
        out = of_nengo.conv2d(image[None], kernel, pad=transform.padding.upper(), stride=transform.strides)
    return np.flatnonzero(out[0, :, 0, 0])


@pytest.mark.parametrize("kind", [nengo.Convolution, ConvolutionTranspose])
def test_every_input_and_position_of_the_kernel(kind):
    seen = 0
    for n, kernel, stride, padding in SHAPES:
        if padding == "valid" and kind is nengo.Convolution and kernel > n:
            continue
        geometry = {"kernel_size": (kernel, 1), "strides": (stride, 1), "padding": padding}
        for transform in transforms(kind, n, geometry):
            check(transform)
            seen += n * kernel
    assert seen > 200


def transforms(kind, n, geometry):
    """The convolution of this geometry; a transposed one also with every output shape that leads back to its input."""
    yield kind(1, (n, 1, 1), **geometry)
    stride = geometry["strides"][0]
    if kind is ConvolutionTranspose:
        smallest = (n - 1) * stride + 1 + (geometry["kernel_size"][0] - 1 if geometry["padding"] == "valid" else 0)
        for n_out in range(smallest + 1, smallest + stride):
            yield kind(1, (n, 1, 1), (n_out, 1, 1), **geometry)


def check(transform):
    n, kernel = transform.input_shape.spatial_shape[0], transform.kernel_size[0]
    rows, columns = axes_of(transform)
    assert (rows.n_out, columns.n_out) == transform.output_shape.spatial_shape
    for i, k in itertools.product(range(n), range(kernel)):
        expected = response(transform, i, k)
        found = rows.outputs[i, k]
        assert expected.tolist() == ([found] if found >= 0 else []), (transform, i, k)
    for i in range(n):
        reached = np.flatnonzero(rows.outputs[i] >= 0)
        assert rows.count[i] == len(reached)
        if len(reached):
            assert rows.first[i] == rows.outputs[i][reached].min()
            along = rows.ascending[i][rows.ascending[i] >= 0]
            assert (np.diff(along) == 1).all()
            assert along[0] == rows.ascending[i, rows.first_position[i]] == rows.first[i]
            places = np.flatnonzero(rows.ascending[i] >= 0)
            assert (np.diff(places) == rows.step).all()


def test_padding_by_name_is_tensorflows():
    """Odd padding goes behind (tf.nn.convolution, "SAME")."""
    assert Axis.padded(8, 4, 3, 2, "same").before == 0
    assert Axis.padded(9, 5, 3, 2, "same").before == 1
    assert Axis.padded(5, 9, 3, 2, "same", transposed=True).before == 1
    assert Axis.padded(8, 3, 3, 2, "valid").before == 0


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("output", [(9, 7), (10, 8)], ids=["Nengo's shape", "twice the input"])
def test_weights_of_a_transposed_convolution_with_an_output_of_its_own(output, channels_last):
    """nengo_loihi gets the padding of the second one wrong; ours is the matrix that Nengo multiplies with."""
    first = nengo.transforms.ChannelShape.from_space_and_channels
    kernel = np.random.RandomState(0).uniform(0.5, 1, (3, 3, 2, 4)).astype(np.float32)
    transform = ConvolutionTranspose(
        4, first((5, 4), 2, channels_last), first(output, 4, channels_last), kernel_size=(3, 3), strides=(2, 2),
        padding="same", channels_last=channels_last, init=kernel,
    )  # fmt: skip
    expected = np.zeros((transform.size_out, transform.size_in))
    with nengo.Network(seed=0) as net:
        image, out = (
            nengo.Node(lambda t: np.eye(transform.size_in)[int(t * 1000) - 1]),
            nengo.Node(size_in=len(expected)),
        )
        nengo.Connection(image, out, transform=transform, synapse=None)
        probe = nengo.Probe(out)
    with nengo.Simulator(net, progress_bar=False) as sim:
        sim.run_steps(transform.size_in)
        expected[:] = sim.data[probe].T
    found = np.zeros_like(expected)
    weights, indices, entry, base = conv2d_loihi_weights(transform)
    pixels, channels = np.meshgrid(np.arange(20), np.arange(2), indexing="ij")
    for pixel, channel in zip(pixels.ravel(), channels.ravel(), strict=True):
        source = pixel * 2 + channel if channels_last else channel * 20 + pixel
        e = entry[pixel]
        found[indices[e][channel] + base[pixel], source] = weights[e][channel]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
