"""Convolutions with any border as those that Nengo has: "same" or "valid", with kernels that zeros enlarge.

TensorFlow's "same" splits its zeros evenly and puts the odd one behind; a convolution that wants them elsewhere is one
with a larger kernel whose further values are 0.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np
from cotrain.pipeline.networks.arithmetic import same_border
from cotrain.pipeline.networks.readers.linear import Conv, TransposedConv
from cotrain.pipeline.networks.spec import Input

Extra = Tuple[int, int]  # zeros in front of and behind a kernel


def as_input(term: Any, on_host: bool) -> Optional[Tuple[Input, np.ndarray]]:
    """A layer's input and its kernel; None where no map of Nengo is the same.

    Parameters
    ----------
    term : Conv or TransposedConv
    on_host : bool
        The host can put any border around what it holds.
    """
    kernel, out = term.kernel, term.out_shape()
    if isinstance(term, TransposedConv):
        found = _same_or_valid(out[:2], term.shape[:2], kernel.shape, term.stride, term.crop)
        if found is not None and found[0] == "same" and not on_host and not smallest_size(term):
            return None
        kind = "conv_transpose"
    else:
        found = _same_or_valid(term.shape[:2], out[:2], kernel.shape, term.stride, (term.border[0], term.border[2]))
        kind = "conv"
        if found is None and term.stride == (1, 1):
            full = _full(term, out)
            if full is not None:
                return Input(term.source, "conv_transpose", term.shape, full.shape[:2], (1, 1), "valid"), full
    if found is not None:
        padding, extras = found
        enlarged = np.pad(kernel, (*extras, (0, 0), (0, 0)))
        return Input(term.source, kind, term.shape, enlarged.shape[:2], tuple(term.stride), padding), enlarged
    if on_host and isinstance(term, Conv):
        pad = tuple(max(n, 0) for n in term.border)
        size = (term.shape[0] + pad[0] + pad[1], term.shape[1] + pad[2] + pad[3])
        first = min(term.border[0], 0), min(term.border[2], 0)
        found = _same_or_valid(size, out[:2], kernel.shape, term.stride, first)
        if found is not None:
            padding, extras = found
            enlarged = np.pad(kernel, (*extras, (0, 0), (0, 0)))
            return Input(term.source, kind, term.shape, enlarged.shape[:2], tuple(term.stride), padding, pad), enlarged
    return None


def smallest_size(term: TransposedConv) -> bool:
    """Whether it makes the size that Nengo chooses by itself for "same".

    With any other size nengo_loihi puts what padding "same" cuts off one pixel off, so that only "valid" is left
    (nengo_loihi.conv.conv2d_loihi_weights against nengo's npconv2d).
    """
    return all(term.size[i] == (term.shape[i] - 1) * term.stride[i] + 1 for i in (0, 1))


def _same_or_valid(large, small, kernel, stride, first):
    """("same" or "valid", zeros in front of and behind the kernel on both axes) of a convolution large -> small."""
    for padding, solve in (("valid", _valid), ("same", _same)):
        extras = tuple(solve(large[i], small[i], kernel[i], stride[i], first[i]) for i in (0, 1))
        if None not in extras:
            return padding, extras
    return None


def _valid(n_large: int, n_small: int, kernel: int, stride: int, first: int) -> Optional[Extra]:
    if first > 0:
        return None
    before = -first
    size = max(kernel + before, n_large - n_small * stride + 1)
    if size > n_large - (n_small - 1) * stride:
        return None
    return before, size - kernel - before


def _same(n_large: int, n_small: int, kernel: int, stride: int, first: int) -> Optional[Extra]:
    if n_small != -(-n_large // stride):
        return None
    best = None
    for before in range(max(0, -first), kernel + n_large + 1):
        for behind in range(kernel + n_large + 1):
            split = same_border(n_large, n_small, kernel + before + behind, stride)
            if split == first + before:
                if best is None or before + behind < sum(best):
                    best = before, behind
                break
            if split > first + before:
                break
        if best is not None and before >= sum(best):
            break
    return best


def _full(term: Conv, out) -> Optional[np.ndarray]:
    """The kernel of a transposed convolution of stride 1 that makes more pixels than it gets."""
    sizes, firsts = [], []
    for i in (0, 1):
        size, first = out[i] - term.shape[i] + 1, term.border[2 * i]
        if size < 1 or not term.kernel.shape[i] - 1 <= first <= size - 1:
            return None
        sizes.append(size)
        firsts.append(first)
    turned = np.zeros((*sizes, *term.kernel.shape[2:]))
    for a, b in np.ndindex(term.kernel.shape[:2]):
        turned[firsts[0] - a, firsts[1] - b] = term.kernel[a, b]
    return turned
