"""Convolutions on the host in portions: the same bits as Nengo's own step, or Nengo's own step."""

from __future__ import annotations

import nengo
import numpy as np
import pytest
from cotrain.hardware.host import products
from nengo.builder.transforms import GeneralConvInc


def convolution(shape, filters, **options):
    """(operator, signals) of a built convolution with random values everywhere."""
    rng = np.random.RandomState(0)
    with nengo.Network() as net:
        image = nengo.Node(np.zeros(int(np.prod(shape))))
        transform = nengo.Convolution(filters, shape, init=nengo.dists.Uniform(-1, 1), **options)
        target = nengo.Node(size_in=transform.output_shape.size)
        nengo.Connection(image, target, transform=transform, synapse=None, seed=1)
    with nengo.Simulator(net, progress_bar=False) as sim:
        (op,) = (op for op in sim.step_order if isinstance(op, GeneralConvInc))
        signals = {op.W: sim.signals[op.W]}
    for signal in (op.X, op.Y):
        signals[signal] = rng.standard_normal(signal.shape)
    return op, signals


CASES = {
    "same": ((32, 32, 3), 16, {"padding": "same"}),
    "valid, stride 2": ((64, 50, 5), 32, {"kernel_size": (5, 5), "strides": (2, 2)}),
    "channels first": ((3, 40, 30), 12, {"padding": "same", "channels_last": False}),
}


@pytest.mark.parametrize("case", list(CASES))
def test_portions_give_the_bits_of_nengos_step(case):
    shape, filters, options = CASES[case]
    op, signals = convolution(shape, filters, **options)
    rows = products.portion(op)
    if rows is None:
        pytest.skip("with its threads on this machine, BLAS sums this product otherwise than in portions")
    assert rows * np.prod(op.conv.kernel_shape) <= products.ONE_THREAD
    start = signals[op.Y].copy()
    op.make_step(signals, 0.001, None)()
    expected = signals[op.Y].copy()
    signals[op.Y][...] = start
    products.convolution_step(op, signals, 0.001, rows)()
    assert np.array_equal(signals[op.Y], expected) and not np.array_equal(expected, start)


def test_what_is_small_or_would_round_otherwise_is_nengos(monkeypatch):
    op, _ = convolution((8, 8, 3), 4)
    assert products.portion(op) is None
    op, _ = convolution((32, 32, 3), 16)
    monkeypatch.setattr(products, "in_portions", lambda a, b, rows: a.dot(b))
    assert products.portion(op)
    monkeypatch.setattr(products, "in_portions", lambda a, b, rows: np.nextafter(a.dot(b), np.inf))
    assert products.portion(op) is None
