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
    rows, n_terms = products.portion(op), int(np.prod(op.conv.kernel_shape[:-1]))
    assert rows is None or rows * np.prod(op.conv.kernel_shape) <= products.ONE_THREAD
    # With threads of its own BLAS may sum a product otherwise; then portions are not taken, and differ by no more than
    # two orders of a sum of n terms can (Higham 2002, eq. 3.5): 2 n eps times the sum of the terms' sizes.
    eps = np.finfo(float).eps
    largest = n_terms * np.abs(signals[op.X]).max() * np.abs(signals[op.W]).max() + np.abs(signals[op.Y]).max()
    tolerance = 0 if rows else 2 * (n_terms + 1) * eps * largest
    start = signals[op.Y].copy()
    op.make_step(signals, 0.001, None)()
    expected = signals[op.Y].copy()
    signals[op.Y][...] = start
    products.convolution_step(op, signals, 0.001, rows or products.TILE)()
    np.testing.assert_allclose(signals[op.Y], expected, rtol=0, atol=tolerance)
    assert not np.array_equal(expected, start)


def test_what_is_small_or_would_round_otherwise_is_nengos(monkeypatch):
    op, _ = convolution((8, 8, 3), 4)
    assert products.portion(op) is None
    op, _ = convolution((32, 32, 3), 16)
    monkeypatch.setattr(products, "in_portions", lambda a, b, rows: a.dot(b))
    assert products.portion(op)
    monkeypatch.setattr(products, "in_portions", lambda a, b, rows: np.nextafter(a.dot(b), np.inf))
    assert products.portion(op) is None
