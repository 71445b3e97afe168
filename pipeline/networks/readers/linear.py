"""Linear maps of a foreign model, put together: what can be one map of the chip becomes one.

A `Value` is a tensor of the model as a sum of linear maps (`Conv`, `TransposedConv`, `Matrix`) of layers of neurons,
and a bias. Applying a convolution to a value composes the kernels wherever the result is a convolution again, border
included; where it is not, `then_conv` returns None and the value needs neurons of its own (`readers.graph`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np
from cotrain.pipeline.networks.arithmetic import Border, convolve, convolve_transposed

KERNEL_MOST = 8_000_000  # values of a composed kernel


@dataclass(frozen=True)
class Conv:
    """A convolution of a source; `border` counts zeros, below 0 what is cut off."""

    source: str
    shape: Tuple[int, int, int]  # of the source
    kernel: np.ndarray  # (rows, columns, channels in, channels out) float64
    stride: Tuple[int, int] = (1, 1)
    border: Border = (0, 0, 0, 0)

    @property
    def plain(self) -> bool:
        """Each pixel by itself, all of them."""
        return self.kernel.shape[:2] == (1, 1) and self.stride == (1, 1) and not any(self.border)

    @property
    def is_identity(self) -> bool:
        """It changes nothing."""
        n_in, n_out = self.kernel.shape[2:]
        return self.plain and n_in == n_out and np.array_equal(self.kernel[0, 0], np.eye(n_in))

    def out_shape(self) -> Tuple[int, int, int]:
        sizes = (
            (self.shape[i] + self.border[2 * i] + self.border[2 * i + 1] - self.kernel.shape[i]) // self.stride[i] + 1
            for i in (0, 1)
        )
        return (*sizes, self.kernel.shape[-1])


@dataclass(frozen=True)
class TransposedConv:
    """A transposed convolution of a source: out[i stride + a - crop] += x[i] @ kernel[a]."""

    source: str
    shape: Tuple[int, int, int]
    kernel: np.ndarray
    stride: Tuple[int, int]
    crop: Tuple[int, int]  # above and left
    size: Tuple[int, int]  # height and width of what it makes

    def out_shape(self) -> Tuple[int, int, int]:
        return (*self.size, self.kernel.shape[-1])


@dataclass(frozen=True)
class Matrix:
    """Any map of a source's values in C order; `matrix` (n_in, n_out) is a scipy.sparse matrix or an array."""

    source: str
    shape: Tuple[int, ...]
    matrix: Any
    eye: bool = False  # it is the identity


@dataclass(frozen=True)
class Value:
    """A tensor: the sum of its terms and a bias of shape (shape[-1],) or `shape`, float64."""

    shape: Tuple[int, ...]
    terms: Tuple[Any, ...]
    bias: np.ndarray
    label: str = ""  # the model's layer that made it
    nonnegative: bool = field(default=False, compare=False)

    def with_label(self, label: str) -> Value:
        return dataclasses.replace(self, label=label)


def identity(source: str, shape: Tuple[int, ...], nonnegative: bool = False) -> Value:
    """The values of a source as they are."""
    if len(shape) == 3:
        term = Conv(source, shape, np.eye(shape[-1])[None, None])
    else:
        term = Matrix(source, shape, _sparse().identity(shape[0], format="csr"), eye=True)
    return Value(shape, (term,), np.zeros(shape[-1]), source, nonnegative)


def then_conv(term: Any, kernel: np.ndarray, stride: Tuple[int, int], border: Border, size: Tuple[int, int]) -> Any:
    """The map `term`, then a convolution to height and width `size`; None where that is no single map."""
    if isinstance(term, Matrix):
        single = kernel.shape[:2] == (1, 1) and size == (1, 1) and stride == (1, 1) and not any(border)
        return dataclasses.replace(term, matrix=_product(term.matrix, kernel[0, 0]), eye=False) if single else None
    if isinstance(term, TransposedConv):
        return _transposed_then_conv(term, kernel, stride, border, size)
    height, width, _ = term.out_shape()
    for i, n_out in ((0, height), (1, width)):
        k, s, before, n_in = term.kernel.shape[i], term.stride[i], term.border[2 * i], term.shape[i]
        # what the second one takes for zeros has to be zero: no window of the first one reaches from there inside
        if border[2 * i] > 0 and k - s - before > 0:
            return None
        if border[2 * i + 1] > 0 and n_out * s - before < n_in:
            return None
    if term.is_identity:
        return Conv(term.source, term.shape, kernel, stride, border)
    composed = [(kernel.shape[i] - 1) * term.stride[i] + term.kernel.shape[i] for i in (0, 1)]
    if np.prod(composed) * term.kernel.shape[2] * kernel.shape[3] > KERNEL_MOST:
        return None
    new = np.zeros((*composed, term.kernel.shape[2], kernel.shape[3]))
    for a in range(kernel.shape[0]):
        for b in range(kernel.shape[1]):
            rows = slice(a * term.stride[0], a * term.stride[0] + term.kernel.shape[0])
            cols = slice(b * term.stride[1], b * term.stride[1] + term.kernel.shape[1])
            new[rows, cols] += term.kernel @ kernel[a, b]
    strides = (term.stride[0] * stride[0], term.stride[1] * stride[1])
    around = []
    for i in (0, 1):
        before = term.border[2 * i] + border[2 * i] * term.stride[i]
        around += [before, (size[i] - 1) * strides[i] + composed[i] - term.shape[i] - before]
    return Conv(term.source, term.shape, new, strides, tuple(around))


def _transposed_then_conv(term, kernel, stride, border, size):
    if kernel.shape[:2] == (1, 1) and stride == (1, 1) and not any(border):
        return dataclasses.replace(term, kernel=term.kernel @ kernel[0, 0])
    if stride != (1, 1):
        return None
    for i in (0, 1):
        made = (term.shape[i] - 1) * term.stride[i] + term.kernel.shape[i]
        if border[2 * i] > 0 and term.crop[i] > 0:
            return None
        if border[2 * i + 1] > 0 and made - term.crop[i] > term.size[i]:
            return None
    k_rows, k_cols = kernel.shape[:2]
    composed = (term.kernel.shape[0] + k_rows - 1, term.kernel.shape[1] + k_cols - 1)
    if np.prod(composed) * term.kernel.shape[2] * kernel.shape[3] > KERNEL_MOST:
        return None
    new = np.zeros((*composed, term.kernel.shape[2], kernel.shape[3]))
    for a in range(k_rows):
        for b in range(k_cols):
            row, col = k_rows - 1 - a, k_cols - 1 - b
            new[row : row + term.kernel.shape[0], col : col + term.kernel.shape[1]] += term.kernel @ kernel[a, b]
    crop = (k_rows - 1 - border[0] + term.crop[0], k_cols - 1 - border[2] + term.crop[1])
    return TransposedConv(term.source, term.shape, new, term.stride, crop, size)


def then_transposed(
    term: Any, kernel: np.ndarray, stride: Tuple[int, int], crop: Tuple[int, int], size: Tuple[int, int]
) -> Any:
    """The map `term`, then a transposed convolution; None where that is no single map."""
    if isinstance(term, Conv) and term.plain:
        return TransposedConv(term.source, term.shape, term.kernel[0, 0] @ kernel, stride, crop, size)
    return None


def then_scale(term: Any, factor: np.ndarray, shape: Tuple[int, ...]) -> Any:
    """The map `term`, then a factor for each channel."""
    if isinstance(term, Matrix):
        every = np.tile(factor, int(np.prod(shape)) // len(factor))
        return dataclasses.replace(term, matrix=_columns(term.matrix, every), eye=False)
    return dataclasses.replace(term, kernel=term.kernel * factor)


def then_pooled(
    term: Any,
    shape: Tuple[int, int, int],
    size: Tuple[int, int],
    stride: Tuple[int, int],
    border: Border,
    out: Tuple[int, int],
) -> Any:
    """The map `term`, then the mean over the pixels of each window that lie inside; None where that is too large."""
    matrix = as_matrix(term)
    if matrix is None:
        return None
    n = shape[-1]
    rows, cols = (_window(shape[i], size[i], stride[i], border[2 * i], out[i]) for i in (0, 1))
    pixels = _sparse().kron(rows, cols, format="csr")
    pooled = _sparse().kron(pixels, _sparse().identity(n), format="csr")
    return dataclasses.replace(matrix, matrix=_product(matrix.matrix, pooled), eye=False)


def _window(n_in: int, size: int, stride: int, before: int, n_out: int):
    """(n_in, n_out): the mean along one axis."""
    weights = np.zeros((n_in, n_out))
    for i in range(n_out):
        first = i * stride - before
        inside = slice(max(first, 0), min(first + size, n_in))
        weights[inside, i] = 1 / max(inside.stop - inside.start, 1)
    return _sparse().csr_matrix(weights)


def then_channels(term: Any, first: int, n_all: int, shape: Tuple[int, ...]) -> Any:
    """The map `term` as channels `first`, ... of `n_all`; the others stay 0."""
    n = shape[-1]
    into = np.zeros((n, n_all))
    into[np.arange(n), first + np.arange(n)] = 1
    if isinstance(term, Matrix):
        columns = np.arange(int(np.prod(shape))).reshape(-1, n)
        pixels = len(columns)
        target = (np.arange(pixels)[:, None] * n_all + first + np.arange(n)).ravel()
        place = _sparse().csr_matrix((np.ones(pixels * n), (columns.ravel(), target)), (pixels * n, pixels * n_all))
        return dataclasses.replace(term, matrix=_product(term.matrix, place), eye=False)
    return dataclasses.replace(term, kernel=term.kernel @ into)


def then_order(term: Any, order: np.ndarray) -> Any:
    """The map `term` to a vector, of which value i was `order[i]`; None where its matrix would be too large."""
    matrix = as_matrix(term)
    if matrix is None:
        return None
    if (order == np.arange(len(order))).all():
        return matrix
    return dataclasses.replace(matrix, matrix=matrix.matrix[:, order], eye=False)


def then_dense(term: Matrix, weights: np.ndarray) -> Matrix:
    """The map `term`, then a dense layer's weights (n_in, n_out)."""
    if term.eye:
        return dataclasses.replace(term, matrix=weights, eye=False)
    return dataclasses.replace(term, matrix=_product(term.matrix, weights), eye=False)


def as_matrix(term: Any, most: int = 4_000_000) -> Optional[Matrix]:
    """The map as a sparse matrix; None where it would have more than `most` entries."""
    if isinstance(term, Matrix):
        return term
    sparse, out = _sparse(), term.out_shape()
    channels = np.argwhere(np.any(term.kernel != 0, axis=(0, 1)))
    if len(channels) * np.prod(term.kernel.shape[:2]) * np.prod(out[:2]) > most:
        return None
    if isinstance(term, Conv) and term.is_identity:
        return Matrix(term.source, term.shape, sparse.identity(int(np.prod(out)), format="csr"), eye=True)
    rows, cols, values = [], [], []
    numbers_in = np.arange(np.prod(term.shape[:2])).reshape(term.shape[:2])
    numbers_out = np.arange(np.prod(out[:2])).reshape(out[:2])
    for a, b in np.ndindex(term.kernel.shape[:2]):
        pixels_in, pixels_out = _pairs(term, a, b, numbers_in, numbers_out)
        for c, d in channels:
            if term.kernel[a, b, c, d] != 0:
                rows.append(pixels_in * term.shape[2] + c)
                cols.append(pixels_out * out[2] + d)
                values.append(np.full(len(pixels_in), term.kernel[a, b, c, d]))
    size = (int(np.prod(term.shape)), int(np.prod(out)))
    if not rows:
        return Matrix(term.source, term.shape, sparse.csr_matrix(size))
    triplets = (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols)))
    return Matrix(term.source, term.shape, sparse.csr_matrix(triplets, size))


def _pairs(term, a: int, b: int, numbers_in, numbers_out):
    """Pixels of source and result that the tap (a, b) joins."""
    if isinstance(term, Conv):
        small, large = numbers_out, numbers_in
        first = term.border[0], term.border[2]
    else:
        small, large = numbers_in, numbers_out
        first = term.crop
    rows = np.arange(small.shape[0]) * term.stride[0] + a - first[0]
    cols = np.arange(small.shape[1]) * term.stride[1] + b - first[1]
    good_rows, good_cols = (rows >= 0) & (rows < large.shape[0]), (cols >= 0) & (cols < large.shape[1])
    of_small = small[good_rows][:, good_cols].ravel()
    of_large = large[rows[good_rows]][:, cols[good_cols]].ravel()
    return (of_large, of_small) if isinstance(term, Conv) else (of_small, of_large)


def merged(terms: Sequence[Any]) -> List[Any]:
    """Terms of one source and one geometry as a single one."""
    found = {}
    for term in terms:
        if isinstance(term, Matrix):
            key = (term.source, "matrix")
        elif isinstance(term, Conv):
            key = (term.source, "conv", term.kernel.shape, term.stride, term.border)
        else:
            key = (term.source, "transposed", term.kernel.shape, term.stride, term.crop)
        if key not in found:
            found[key] = term
        elif isinstance(term, Matrix):
            found[key] = dataclasses.replace(found[key], matrix=found[key].matrix + term.matrix, eye=False)
        else:
            found[key] = dataclasses.replace(found[key], kernel=found[key].kernel + term.kernel)
    return list(found.values())


def bias_after(
    bias: np.ndarray, shape: Tuple[int, ...], n_out: int, run: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """A value's bias after a linear map `run` of (1, *shape): one per channel where all pixels agree."""
    if not np.any(bias):
        return np.zeros(n_out)
    return compact(run(np.broadcast_to(bias, shape)[None].astype(np.float64))[0])


def compact(bias: np.ndarray) -> np.ndarray:
    """A bias per neuron as one per channel, where they agree up to rounding."""
    if bias.ndim < 2:
        return bias
    first = bias.reshape(-1, bias.shape[-1])[0]
    return first.copy() if np.allclose(bias, first, rtol=1e-12, atol=1e-15) else bias


def run_conv(kernel: np.ndarray, stride: Tuple[int, int], border: Border) -> Callable[[np.ndarray], np.ndarray]:
    """The convolution as a function of an array."""
    return lambda x: convolve(x, kernel, stride, border)


def run_transposed(
    kernel: np.ndarray, stride: Tuple[int, int], crop: Tuple[int, int], size: Tuple[int, int]
) -> Callable[[np.ndarray], np.ndarray]:
    """The transposed convolution as a function of an array."""
    return lambda x: convolve_transposed(x, kernel, stride, crop, size)


def _product(a, b):
    made = a @ b
    return np.asarray(made) if not hasattr(made, "tocsr") else made.tocsr()


def _columns(matrix, factor: np.ndarray):
    if hasattr(matrix, "tocsr"):
        return (matrix @ _sparse().diags(factor)).tocsr()
    return matrix * factor


def _sparse():
    import scipy.sparse

    return scipy.sparse
