"""Depthwise convolution and its adjoints as sums of shifted products, for CPU.

XLA's CPU backend runs a grouped convolution as a scalar loop. A sum of shifted, scaled slices it fuses into
one vectorised pass instead. The kernel's gradient needs care: XLA's reductions over shifted slices copy every slice
first, so products are added explicitly, up to ``_TERMS`` at a time, which fuses, and only what is left is
summed, as a product with ones, which does not pull the additions into a reduction again.

A depth multiplier m is the same thing on channels repeated m times, or m times the same thing on every m-th.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._conv_shape import Geometry

__all__ = ["forward", "to_input", "to_kernel"]

# More taps than this are not unrolled into one program: the first spatial axis of the kernel becomes a loop.
_MOST_TAPS = 64
# How many products are added before the rest is left to a reduction, best first: fewer write more partial
# sums, more are no longer fused.
_TERMS = (8, 7, 9, 10, 6, 12, 14)
# Above the first size, x and its gradient together are worked through in blocks of the second.
_CACHE_BYTES, _BLOCK_BYTES = 16 * 2**20, 8 * 2**20
# The partial sums of all taps together take no more than this, or half of the output's gradient.
_SUM_BYTES = 2**20


def forward(x: Any, kernel: Any, geometry: Geometry) -> Any:
    """Convolves x (*batch, *size, c) by a kernel (*kernel, c, m)."""
    c, m = kernel.shape[-2:]
    lead = x.ndim - 1 - geometry.rank
    kernel = kernel.reshape(*geometry.kernel, c * m)
    padded = _pad(_repeat(x, m), lead, geometry.padding)
    return _correlate([padded], [kernel], lead, geometry.outputs, geometry.strides, geometry.dilation)


def to_input(g: Any, kernel: Any, geometry: Geometry) -> Any:
    """Applies the adjoint in x to g: the flipped kernel over g, with strides as gaps of zeros."""
    m, rank = kernel.shape[-1], geometry.rank
    lead = g.ndim - 1 - rank
    kernel = jnp.flip(kernel, tuple(range(rank)))
    padding = [(*pair, s - 1) for pair, s in zip(geometry.adjoint_padding, geometry.strides, strict=True)]
    parts = [_pad(_every(g, m, j), lead, padding) for j in range(m)]
    kernels = [kernel[..., j] for j in range(m)]
    return _correlate(parts, kernels, lead, geometry.size, (1,) * rank, geometry.dilation)


def to_kernel(x: Any, g: Any, geometry: Geometry) -> Any:
    """Applies the adjoint in the kernel to g; unlike the others it takes the shared axes itself."""
    c, shared = x.shape[-1], len(geometry.shared)
    x = jnp.expand_dims(x, [i for i, own in enumerate(geometry.shared) if not own])
    m = g.shape[-1] // c
    lead = x.ndim - 1 - geometry.rank
    padded = _pad(x, lead, geometry.padding)
    parts = [_every(g, m, j) for j in range(m)]
    steps, inner = _loop(geometry.kernel)
    plan = _plan(geometry.outputs[0], g.size * g.dtype.itemsize, math.prod(inner) if m == 1 else 0)
    offsets = list(_offsets(inner, geometry.dilation))
    wide = working_dtype(x)

    def products(x: Any, offset: tuple[int, ...], g: Any, starts: list[Any], rows: int) -> Any:
        """Gives, for one tap, the sum over bands of ``rows`` rows of g times the rows of x that they meet."""
        total: Any = 0
        for start in starts:
            band = _rows(x, lead, offset[0] + start * geometry.strides[0], (rows - 1) * geometry.strides[0] + 1)
            band = _slice(band, lead, (0, *offset[1:]), (rows, *geometry.outputs[1:]), geometry.strides)
            total = total + band.astype(wide) * _rows(g, lead, start, rows).astype(wide)
        same, summed = tuple(range(shared)), tuple(range(shared, total.ndim - 1))
        ones = jnp.ones(total.shape[:-1], wide)
        dimensions = ((summed, summed), (same, same))
        return lax.dot_general(ones, total, dimensions, precision=lax.Precision.HIGHEST)

    def taps(x: Any, starts: list[Any], rows: int) -> Any:
        """Gives (*shared, taps, c, m)."""
        each = [jnp.stack([products(x, o, g, starts, rows) for g in parts], -1) for o in offsets]
        return jnp.stack(each, shared)

    def kernel(x: Any) -> Any:
        def block(q: Any) -> Any:
            return taps(x, [t * plan.band + q * plan.rows for t in range(plan.bands)], plan.rows)

        result = block(0) if plan.blocks == 1 else jnp.sum(lax.map(block, jnp.arange(plan.blocks)), 0)
        rest = list(range(plan.bands * plan.band, geometry.outputs[0]))
        return result + taps(x, rest, 1) if rest else result

    if steps == 1:
        result = kernel(padded)
    else:
        d = geometry.dilation[0]
        span = padded.shape[lead] - (steps - 1) * d
        result = lax.map(lambda i: kernel(_rows(padded, lead, i * d, span)), jnp.arange(steps))
        result = jnp.moveaxis(result, 0, shared)
    return result.reshape(*g.shape[:shared], *geometry.kernel, c, m).astype(x.dtype)


class _Plan(NamedTuple):
    """How the rows of the output's gradient are summed: ``bands`` products are added before the rest is reduced.

    A band has ``band`` rows, ``rows`` of which are taken at a time, in ``blocks`` steps, so that what is read
    again for every tap stays in the cache. Rows behind the last band are left over.
    """

    bands: int
    band: int
    rows: int
    blocks: int


def _plan(outputs: int, size: int, taps: int) -> _Plan:
    """Plans for so many rows of g, of ``size`` bytes, and so many taps whose sums are limited in size."""
    bands = outputs
    if outputs > max(_TERMS):
        bands = min(_TERMS, key=lambda terms: outputs % terms)
    band = outputs // bands
    rows: float = band
    if 2 * size > _CACHE_BYTES:
        rows = min(rows, band * _BLOCK_BYTES // (2 * size))
    if taps * size:
        rows = min(rows, max(size / 2, _SUM_BYTES) * outputs // (taps * size))
    rows = max((r for r in range(1, band + 1) if band % r == 0 and r <= rows), default=1)
    return _Plan(bands, band, rows, band // rows)


def _correlate(
    parts: list[Any],
    kernels: list[Any],
    lead: int,
    outputs: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Any:
    """Sums the shifted slices of padded arrays, each times its tap, over pairs of array and kernel (*kernel, c)."""
    wide = working_dtype(parts[0])
    taps = kernels[0].shape[:-1]
    steps, inner = _loop(taps)
    span = parts[0].shape[lead] - (steps - 1) * dilation[0]

    def row(i: Any) -> Any:
        result: Any = 0
        for padded, kernel in zip(parts, kernels, strict=True):
            if steps > 1:
                padded = _rows(padded, lead, i * dilation[0], span)
                kernel = lax.dynamic_slice_in_dim(kernel, i, 1, 0)
            for index, offset in zip(itertools.product(*map(range, inner)), _offsets(inner, dilation), strict=True):
                part = _slice(padded, lead, offset, outputs, strides)
                weight = kernel[index].astype(wide).reshape((1,) * (part.ndim - 1) + (-1,))
                result = result + part.astype(wide) * weight
        return result

    result = row(0)
    if steps > 1:
        result = lax.fori_loop(1, steps, lambda i, result: result + row(i), result)
    return result.astype(parts[0].dtype)


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


def _rows(x: Any, lead: int, start: Any, rows: int) -> Any:
    """Takes rows along the first spatial axis."""
    if isinstance(start, int):
        return lax.slice_in_dim(x, start, start + rows, axis=lead)
    return lax.dynamic_slice_in_dim(x, start, rows, lead)


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


def _every(g: Any, m: int, j: int) -> Any:
    """Takes channels j, m + j, 2 m + j, ..."""
    return g if m == 1 else lax.slice_in_dim(g, j, None, m, g.ndim - 1)
