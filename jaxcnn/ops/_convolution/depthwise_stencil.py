"""Depthwise convolution and its adjoints as sums of shifted products, for CPU.

XLA's CPU backend runs a grouped convolution as a scalar loop, but fuses a sum of shifted, scaled slices into one
vectorized pass. The kernel's gradient needs care: XLA copies every shifted slice before it reduces it. So products are
added explicitly, up to ``_TERMS`` at a time, which is fused, and only their sum is reduced, by a product with ones,
which prevents XLA from moving the additions into a reduction again.

A depth multiplier m is the same computation with every channel repeated m times, or m computations on every m-th
channel.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._batching import exceeds, working_dtype
from jaxcnn.ops._convolution.shape import ConvShape

__all__ = ["forward", "to_input", "to_kernel"]

# Kernels of more taps are not unrolled into one program: the first spatial axis of the kernel becomes a loop.
_MAX_TAPS = 64
# How many products are added before the rest is left to a reduction, best first: with fewer, more partial sums are
# written; with more, XLA no longer fuses them.
_TERMS = (8, 7, 9, 10, 6, 12, 14)
# If x and its gradient together are larger than the first size, they are processed in blocks of the second.
_CACHE_BYTES, _BLOCK_BYTES = 16 * 2**20, 8 * 2**20
# The partial sums of all taps together take at most this, or half the size of the output's gradient.
_SUM_BYTES = 2**20

Index = int | jax.Array
"""A position that is static or counted by a loop."""


def forward(x: jax.Array, kernel: jax.Array, conv: ConvShape) -> jax.Array:
    """Convolves x (*batch, *input_size, c) by a kernel (*kernel_size, c, m)."""
    c, m = kernel.shape[-2:]
    lead = x.ndim - 1 - conv.rank
    kernel = kernel.reshape(*conv.kernel_size, c * m)
    padded = _pad(_repeat_channels(x, m), lead, [(*pair, 0) for pair in conv.padding])
    return _correlate([padded], [kernel], lead, conv.output_size, conv.strides, conv.dilation)


def to_input(g: jax.Array, kernel: jax.Array, conv: ConvShape) -> jax.Array:
    """Applies the adjoint in x to g: correlates g, dilated by the strides, with the flipped kernel."""
    m, rank = kernel.shape[-1], conv.rank
    lead = g.ndim - 1 - rank
    kernel = jnp.flip(kernel, tuple(range(rank)))
    padding = [(*pair, s - 1) for pair, s in zip(conv.to_input_padding, conv.strides, strict=True)]
    parts = [_pad(_take_channels(g, m, j), lead, padding) for j in range(m)]
    kernels = [kernel[..., j] for j in range(m)]
    return _correlate(parts, kernels, lead, conv.input_size, (1,) * rank, conv.dilation)


def to_kernel(x: jax.Array, g: jax.Array, conv: ConvShape) -> jax.Array:
    """Applies the adjoint in the kernel to g; unlike the others it handles the mapped axes itself."""
    c, mapped = x.shape[-1], len(conv.x_is_mapped)
    x = jnp.expand_dims(x, [i for i, x_is_mapped in enumerate(conv.x_is_mapped) if not x_is_mapped])
    m = g.shape[-1] // c
    lead = x.ndim - 1 - conv.rank
    padded = _pad(x, lead, [(*pair, 0) for pair in conv.padding])
    parts = [_take_channels(g, m, j) for j in range(m)]
    steps, unrolled = _split_loop(conv.kernel_size)
    plan = _plan_bands(conv.output_size[0], g.size * g.dtype.itemsize, math.prod(unrolled) if m == 1 else 0)
    offsets = list(_tap_offsets(unrolled, conv.dilation))
    wide = working_dtype(x)

    def tap_gradient(
        x: jax.Array, offset: tuple[int, ...], g: jax.Array, starts: Sequence[Index], rows: int
    ) -> jax.Array:
        """Sums, for one tap, g times the shifted x over bands of ``rows`` rows."""
        total: jax.Array | int = 0
        for start in starts:
            band = _slice_rows(x, lead, offset[0] + start * conv.strides[0], (rows - 1) * conv.strides[0] + 1)
            band = _slice_shifted(band, lead, (0, *offset[1:]), (rows, *conv.output_size[1:]), conv.strides)
            total = total + band.astype(wide) * _slice_rows(g, lead, start, rows).astype(wide)
        total = jnp.asarray(total)
        kept, summed = tuple(range(mapped)), tuple(range(mapped, total.ndim - 1))
        ones = jnp.ones(total.shape[:-1], wide)
        dimensions = ((summed, summed), (kept, kept))
        return lax.dot_general(ones, total, dimensions, precision=lax.Precision.HIGHEST)

    def unrolled_gradient(x: jax.Array, starts: Sequence[Index], rows: int) -> jax.Array:
        """Computes (*mapped, unrolled taps, c, m)."""
        taps = [jnp.stack([tap_gradient(x, offset, g, starts, rows) for g in parts], -1) for offset in offsets]
        return jnp.stack(taps, mapped)

    def step_gradient(x: jax.Array) -> jax.Array:
        """Computes the gradient of the unrolled taps from all rows."""

        def block_gradient(q: Index) -> jax.Array:
            starts = [t * plan.band_rows + q * plan.block_rows for t in range(plan.bands)]
            return unrolled_gradient(x, starts, plan.block_rows)

        blocks = plan.blocks
        result = block_gradient(0) if blocks == 1 else jnp.sum(lax.map(block_gradient, jnp.arange(blocks)), 0)
        rest = list(range(plan.bands * plan.band_rows, conv.output_size[0]))
        return result + unrolled_gradient(x, rest, 1) if rest else result

    if steps == 1:
        result = step_gradient(padded)
    else:
        d = conv.dilation[0]
        span = padded.shape[lead] - (steps - 1) * d
        result = lax.map(lambda i: step_gradient(_slice_rows(padded, lead, i * d, span)), jnp.arange(steps))
        result = jnp.moveaxis(result, 0, mapped)
    return result.reshape(*g.shape[:mapped], *conv.kernel_size, c, m).astype(x.dtype)


class _BandPlan(NamedTuple):
    """How the rows of the output's gradient are summed: products of ``bands`` bands are added, then reduced.

    A band has ``band_rows`` rows. It is processed in ``blocks`` steps of ``block_rows`` rows each, so that whatever is
    read again for every tap stays in the cache. Rows behind the last band are left over.
    """

    bands: int
    band_rows: int
    block_rows: int
    blocks: int


def _plan_bands(rows: int, size: int, taps: int) -> _BandPlan:
    """Plans for that many rows of g, of ``size`` bytes in all, and that many taps whose sums are limited in size.

    If the size is symbolic, as in an exported program for batches of any size, it may exceed anything.
    """
    bands = rows
    if rows > max(_TERMS):
        bands = min(_TERMS, key=lambda terms: rows % terms)
    band_rows = rows // bands
    limit: float = band_rows
    if exceeds(size, 2**62):
        limit = 1
    elif 2 * size > _CACHE_BYTES:
        limit = min(limit, band_rows * _BLOCK_BYTES // (2 * size))
    if limit > 1 and taps * size:
        limit = min(limit, max(size / 2, _SUM_BYTES) * rows // (taps * size))
    block_rows = max((r for r in range(1, band_rows + 1) if band_rows % r == 0 and r <= limit), default=1)
    return _BandPlan(bands, band_rows, block_rows, band_rows // block_rows)


def _correlate(
    parts: list[jax.Array],
    kernels: list[jax.Array],
    lead: int,
    output_size: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> jax.Array:
    """Sums shifted slices times taps over pairs of a padded array and a kernel (*kernel_size, c)."""
    wide = working_dtype(parts[0])
    steps, unrolled = _split_loop(kernels[0].shape[:-1])
    span = parts[0].shape[lead] - (steps - 1) * dilation[0]

    def sum_taps(i: Index) -> jax.Array:
        result: jax.Array | int = 0
        for padded, kernel in zip(parts, kernels, strict=True):
            if steps > 1:
                padded = _slice_rows(padded, lead, i * dilation[0], span)
                kernel = lax.dynamic_slice_in_dim(kernel, i, 1, 0)
            taps = itertools.product(*map(range, unrolled))
            for tap, offset in zip(taps, _tap_offsets(unrolled, dilation), strict=True):
                part = _slice_shifted(padded, lead, offset, output_size, strides)
                weight = kernel[tap].astype(wide).reshape((1,) * (part.ndim - 1) + (-1,))
                result = result + part.astype(wide) * weight
        return jnp.asarray(result)

    result = sum_taps(0)
    if steps > 1:
        result = lax.fori_loop(1, steps, lambda i, result: result + sum_taps(i), result)
    return result.astype(parts[0].dtype)


def _split_loop(kernel_size: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Returns the steps of a loop over the first axis of the kernel, and the taps that are unrolled in each step."""
    return (1, kernel_size) if math.prod(kernel_size) <= _MAX_TAPS else (kernel_size[0], (1, *kernel_size[1:]))


def _tap_offsets(kernel_size: tuple[int, ...], dilation: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(0, n * d, d) for n, d in zip(kernel_size, dilation, strict=True)))


def _slice_shifted(
    padded: jax.Array, lead: int, offset: tuple[int, ...], output_size: tuple[int, ...], strides: tuple[int, ...]
) -> jax.Array:
    """Slices what one tap multiplies for every output."""
    start, limit, step = [0] * padded.ndim, list(padded.shape), [1] * padded.ndim
    for i, (o, n, s) in enumerate(zip(offset, output_size, strides, strict=True)):
        start[lead + i], limit[lead + i], step[lead + i] = o, o + (n - 1) * s + 1, s
    return lax.slice(padded, start, limit, step)


def _slice_rows(x: jax.Array, lead: int, start: Index, rows: int) -> jax.Array:
    """Slices rows along the first spatial axis."""
    if isinstance(start, int):
        return lax.slice_in_dim(x, start, start + rows, axis=lead)
    return lax.dynamic_slice_in_dim(x, start, rows, lead)


def _pad(x: jax.Array, lead: int, padding: Sequence[tuple[int, int, int]]) -> jax.Array:
    """Pads the spatial axes by zeros: before, after and between the pixels."""
    if all(widths == (0, 0, 0) for widths in padding):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * lead + [*padding, (0, 0, 0)])


def _repeat_channels(x: jax.Array, m: int) -> jax.Array:
    """Repeats every channel m times: channel i becomes i * m to i * m + m - 1."""
    if m == 1:
        return x
    repeated = jnp.broadcast_to(x[..., None], (*x.shape, m))
    return repeated.reshape(*x.shape[:-1], x.shape[-1] * m)


def _take_channels(g: jax.Array, m: int, j: int) -> jax.Array:
    """Takes channels j, m + j, 2 m + j, ..."""
    return g if m == 1 else lax.slice_in_dim(g, j, None, m, g.ndim - 1)
