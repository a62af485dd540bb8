"""Bilinear reading that averages over what an output pixel covers, for images that a warp makes smaller.

The footprint of an output pixel is the parallelogram that it covers in the input, by the derivative of the grid. Its
mean is approximated by four bilinear samples, two along each of its axes, of one level of a pyramid of means over
2^level x 2^level pixels. The level is the finest one that leaves no gaps between the samples, and the samples lie so
far apart that they and the level have, together, the variance of the footprint; changes of level hardly show.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._interpolation import fold
from jaxcnn.ops._taps import read

__all__ = ["antialiased"]

_MARGIN = 1
_SOFT = 1 / 120  # pixels^2: below it the spread of the samples grows with the variance, above with its root


def antialiased(image: Any, x: Any, y: Any, padding_mode: str, fill: Any, align_corners: bool) -> jax.Array:
    """Reads one image (h, w, c) at points (h_out, w_out) in pixels, each averaged over its footprint."""
    h, w = image.shape[:2]
    dtype = x.dtype
    levels = max(1, int(math.log2(max(min(h, w), 1))))
    atlas, tops = _pyramid(image.astype(dtype), levels, padding_mode, fill)
    # Barriers: XLA would compute what belongs to a pixel anew for every sample, weight and channel.
    x, y = lax.optimization_barrier((x, y))
    columns = [(_slope(x, axis), _slope(y, axis)) for axis in (1, 0)]
    squares = [dx * dx + dy * dy for dx, dy in columns]
    # A pixel already has the variance of a unit square.
    variances = [jnp.maximum(square - 1, 0) / 12 for square in squares]
    mean = lax.optimization_barrier(lax.stop_gradient((variances[0] + variances[1]) / 2))
    size, top = lax.optimization_barrier(_of_level(mean, tops))
    reaches = []
    for square, variance in zip(squares, variances, strict=True):
        rest = jnp.maximum(variance - (size * size - 1) / 4, 0)
        reaches.append(rest / jnp.sqrt(rest + _SOFT) / jnp.sqrt(jnp.maximum(square, 1)))
    ((ax, ay), (bx, by)) = [(reach * dx, reach * dy) for reach, (dx, dy) in zip(reaches, columns, strict=True)]
    ax, ay, bx, by = lax.optimization_barrier((ax, ay, bx, by))
    total = jnp.zeros((), dtype)
    for a, b in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        column = _place(x + a * ax + b * bx, w, size, padding_mode, align_corners)
        row = _place(y + a * ay + b * by, h, size, padding_mode, align_corners)
        total += _bilinear(atlas, column, row + top)
    return (total * 0.25).astype(image.dtype)


def _of_level(variance: Any, tops: list[int]) -> tuple[Any, Any]:
    """Gives the size of a pixel of the level to read and the row of its top.

    It is the finest level whose samples, two along an axis, leave no gap: 4^level >= (4 variance + 1) / 5.
    """
    size, top = jnp.ones_like(variance), jnp.zeros_like(variance)
    for i, row in enumerate(tops[1:]):
        beyond = variance > (5 * 4.0**i - 1) / 4
        size, top = jnp.where(beyond, 2.0 ** (i + 1), size), jnp.where(beyond, float(row), top)
    return size, top


def _pyramid(image: Any, levels: int, padding_mode: str, fill: Any) -> tuple[Any, list[int]]:
    """Stacks the image and its means, with what lies outside as a margin, and gives each one's row of its top."""
    width = image.shape[1] + 2 * _MARGIN
    stacked, tops, top = [], [], 0
    for i in range(levels):
        if i > 0:
            h, w = image.shape[:2]
            image = _padded(image, ((0, h % 2), (0, w % 2)), padding_mode, fill)
            image = ((image[::2, ::2] + image[1::2, ::2]) + (image[::2, 1::2] + image[1::2, 1::2])) * 0.25
        level = _padded(image, ((_MARGIN, _MARGIN),) * 2, padding_mode, fill)
        rest = width - level.shape[1]
        stacked.append(lax.pad(level, jnp.zeros((), level.dtype), ((0, 0, 0), (0, rest, 0), (0, 0, 0))))
        tops.append(top)
        top += level.shape[0]
    return jnp.concatenate(stacked), tops


def _padded(image: Any, widths: Any, padding_mode: str, fill: Any) -> Any:
    if all(width == (0, 0) for width in widths):
        return image
    if padding_mode in ("border", "reflection"):  # reflected positions are inside
        return jnp.pad(image, (*widths, (0, 0)), mode="edge")
    outside = jnp.zeros((), image.dtype) if fill is None else jnp.asarray(fill, image.dtype)
    ones = jnp.pad(jnp.ones(image.shape[:2], bool), widths)
    image = jnp.pad(image, (*widths, (0, 0)))
    return jnp.where(ones[..., None], image, jnp.broadcast_to(outside, image.shape))


def _slope(position: Any, axis: int) -> Any:
    """Differences to the next output pixel or the one before: the smaller, as beyond a horizon there is no slope."""
    n = position.shape[axis]
    if n == 1:
        return jnp.zeros_like(position)
    step = lax.slice_in_dim(position, 1, n, axis=axis) - lax.slice_in_dim(position, 0, n - 1, axis=axis)
    after = jnp.concatenate([step, lax.slice_in_dim(step, n - 2, n - 1, axis=axis)], axis)
    before = jnp.concatenate([lax.slice_in_dim(step, 0, 1, axis=axis), step], axis)
    return jnp.where(jnp.abs(after) <= jnp.abs(before), after, before)


def _place(position: Any, n: int, size: Any, padding_mode: str, align_corners: bool) -> Any:
    """Brings a position to a level, in pixels of the level from its margin on."""
    position = fold(position, n, "bilinear", padding_mode, align_corners)
    last = jnp.ceil(n / size) - 1
    return jnp.clip((position + 0.5) / size - 0.5, -_MARGIN, last + _MARGIN) + _MARGIN


def _bilinear(atlas: Any, x: Any, y: Any) -> Any:
    h, w, c = atlas.shape
    lost = jnp.isnan(x) | jnp.isnan(y)
    left, top = (jnp.clip(jnp.floor(lax.stop_gradient(v)), 0, n - 2) for v, n in ((x, w), (y, h)))
    a, b = x - left, y - top
    weights = jnp.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b], -1)
    first = jnp.where(lost, 0, top * w + left).astype(jnp.int32)
    return read(atlas.reshape(h * w, c), weights, first, rows=(0, w), width=2)
