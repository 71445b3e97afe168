"""exp, expm1 and log1p of float32 against the same functions in double precision."""

import numpy as np
import pytest
from cotrain.pipeline.neurons import vectormath
from numba import njit


def over(function):
    @njit(fastmath=True, error_model="numpy")  # as they are used: the caller's fastmath must not reach into them
    def run(x, out):
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    return run


SIZES = 10.0 ** np.random.default_rng(0).uniform(-9, 1.9, 200_000)  # up to 79: exp stays within float32


@pytest.mark.parametrize(
    "name, x",
    [
        ("exp", np.concatenate([SIZES, -SIZES, [0.0]])),
        ("expm1", np.concatenate([SIZES, -SIZES, [0.0]])),
        ("log1p", np.concatenate([SIZES, 10.0 ** np.linspace(1, 30, 10_000), [0.0, np.sqrt(2) - 1]])),
    ],
)
def test_to_a_few_units_in_the_last_place(name, x):
    x = x.astype(np.float32)
    out = np.empty_like(x)
    over(getattr(vectormath, name))(x, out)
    expected = getattr(np, name)(x.astype(np.float64))
    error = np.abs(out - expected) / np.spacing(np.abs(expected).astype(np.float32))
    assert error.max() < 5


def test_exp_stays_finite_and_normal():
    out = np.empty(2, np.float32)
    over(vectormath.exp)(np.array([-1e9, 1e9], np.float32), out)
    assert 0 < out[0] < 1e-37 and 1e38 < out[1] < np.inf
