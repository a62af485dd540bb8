"""Depthwise convolution and its adjoints as sums of shifted products, for CPU.

XLA's CPU backend runs a grouped convolution as a scalar loop. A sum of shifted, scaled slices it fuses into
one vectorised pass instead. The kernel's gradient needs care: XLA's reductions over shifted slices copy every slice
first, so products are added explicitly, ``_terms`` slices at a time, which fuses, and only what is left is
summed, as a product with ones, which does not pull the additions into a reduction again.

A depth multiplier m is the same thing on channels repeated m times.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._depthwise_geometry import Geometry

__all__ = ["forward", "to_input", "to_kernel"]

# More taps than this are not unrolled into one program: the first spatial axis of the kernel becomes a loop.
_MOST_TAPS = 64
# How many products are added before the rest is left to a reduction: fewer write more partial sums, more
# are no longer fused.
_TERMS = (8, 7, 9, 10, 6, 5)


def forward(x: Any, kernel: Any, geometry: Geometry) -> Any:
    """Convolves x (*batch, *size, c) by a kernel (*kernel, c, m)."""
    c, m = kernel.shape[-2:]
    lead = x.ndim - 1 - geometry.rank
    kernel = kernel.reshape(*geometry.kernel, c * m)
    padded = _pad(_repeat(x, m), lead, geometry.padding)
    return _correlate(padded, kernel, lead, geometry.outputs, geometry.strides, geometry.dilation)


def to_input(g: Any, kernel: Any, geometry: Geometry) -> Any:
    """Applies the adjoint in x to g: the flipped kernel over g, with strides as gaps of zeros."""
    c, m = kernel.shape[-2:]
    rank = geometry.rank
    lead = g.ndim - 1 - rank
    kernel = jnp.flip(kernel.reshape(*geometry.kernel, c * m), tuple(range(rank)))
    padding = [(*pair, s - 1) for pair, s in zip(geometry.adjoint_padding, geometry.strides, strict=True)]
    padded = _pad(g, lead, padding)
    x = _correlate(padded, kernel, lead, geometry.size, (1,) * rank, geometry.dilation)
    return x if m == 1 else jnp.sum(x.reshape(*x.shape[:-1], c, m), -1)


def to_kernel(x: Any, g: Any, geometry: Geometry) -> Any:
    """Applies the adjoint in the kernel to g."""
    c, rank = x.shape[-1], geometry.rank
    m = g.shape[-1] // c
    lead = x.ndim - 1 - rank
    terms, piece = _terms(geometry.outputs[0])
    more = terms * piece - geometry.outputs[0]
    low, high = geometry.padding[0]
    padded = _pad(_repeat(x, m), lead, ((low, high + more * geometry.strides[0]), *geometry.padding[1:]))
    g = _pad(g, lead, ((0, more), *((0, 0),) * (rank - 1)))
    wide = working_dtype(x)

    def tap(padded: Any, offset: tuple[Any, ...]) -> Any:
        """Gives the gradient of one weight per channel."""
        total: Any = 0
        for number in range(terms):
            start = number * piece
            here = (offset[0] + start * geometry.strides[0], *offset[1:])
            part = _slice(padded, lead, here, (piece, *geometry.outputs[1:]), geometry.strides)
            other = lax.slice_in_dim(g, start, start + piece, axis=lead)
            total = total + part.astype(wide) * other.astype(wide)
        every = tuple(range(total.ndim - 1))
        ones = jnp.ones(total.shape[:-1], wide)
        return lax.dot_general(ones, total, ((every, every), ((), ())), precision=lax.Precision.HIGHEST)

    steps, inner = _loop(geometry.kernel)
    offsets = list(_offsets(inner, geometry.dilation))
    if steps == 1:
        taps = jnp.stack([tap(padded, offset) for offset in offsets])
    else:
        span = padded.shape[lead] - (steps - 1) * geometry.dilation[0]

        def row(i: Any) -> Any:
            rows = lax.dynamic_slice_in_dim(padded, i * geometry.dilation[0], span, lead)
            return jnp.stack([tap(rows, offset) for offset in offsets])

        taps = lax.map(row, jnp.arange(steps))
    return taps.reshape(*geometry.kernel, c, m).astype(x.dtype)


def _correlate(
    padded: Any, kernel: Any, lead: int, outputs: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> Any:
    """Sums the shifted slices of a padded array, each times its tap (*kernel, c)."""
    wide = working_dtype(padded)
    taps = kernel.shape[:-1]

    def total(padded: Any, kernel: Any, inner: tuple[int, ...]) -> Any:
        result: Any = 0
        for index, offset in zip(itertools.product(*map(range, inner)), _offsets(inner, dilation), strict=True):
            part = _slice(padded, lead, offset, outputs, strides)
            result = result + part.astype(wide) * kernel[index].astype(wide).reshape((1,) * (part.ndim - 1) + (-1,))
        return result

    steps, inner = _loop(taps)
    if steps == 1:
        return total(padded, kernel, inner).astype(padded.dtype)
    span = padded.shape[lead] - (steps - 1) * dilation[0]

    def row(i: Any, result: Any) -> Any:
        rows = lax.dynamic_slice_in_dim(padded, i * dilation[0], span, lead)
        return result + total(rows, lax.dynamic_slice_in_dim(kernel, i, 1, 0), inner)

    first = row(0, 0)
    return lax.fori_loop(1, steps, row, first).astype(padded.dtype)


def _loop(taps: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Gives how many steps a loop over the first axis of the kernel takes, and the taps unrolled in each."""
    return (1, taps) if math.prod(taps) <= _MOST_TAPS else (taps[0], (1, *taps[1:]))


def _offsets(taps: tuple[int, ...], dilation: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(0, n * d, d) for n, d in zip(taps, dilation, strict=True)))


def _slice(padded: Any, lead: int, offset: tuple[Any, ...], outputs: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    start, limit, step = [0] * padded.ndim, list(padded.shape), [1] * padded.ndim
    for i, (o, n, s) in enumerate(zip(offset, outputs, strides, strict=True)):
        start[lead + i], limit[lead + i], step[lead + i] = o, o + (n - 1) * s + 1, s
    return lax.slice(padded, start, limit, step)


def _pad(x: Any, lead: int, padding: Any) -> Any:
    widths = [(low, high, sum(between)) for low, high, *between in padding]
    if all(width == (0, 0, 0) for width in widths):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * lead + widths + [(0, 0, 0)])


def _repeat(x: Any, m: int) -> Any:
    """Repeats every channel m times: channel i becomes i * m to i * m + m - 1."""
    if m == 1:
        return x
    every = jnp.broadcast_to(x[..., None], (*x.shape, m))
    return every.reshape(*x.shape[:-1], x.shape[-1] * m)


def _terms(outputs: int) -> tuple[int, int]:
    """Gives into how many pieces the first spatial axis is cut, and how long each is: little is left over."""
    if outputs <= max(_TERMS):
        return outputs, 1
    terms = min(_TERMS, key=lambda terms: -(-outputs // terms) * terms)
    return terms, -(-outputs // terms)
