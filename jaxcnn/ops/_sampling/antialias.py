"""Bilinear reading that averages over what an output pixel covers, for images that a warp makes smaller.

The footprint of an output pixel is the parallelogram that it covers in the input, by the derivative of the grid. Its
mean is approximated by four bilinear samples of one level of a pyramid of means over 2^level x 2^level pixels: two
along each side or, where one side is more than twice as long as the other, four along it. The level is the finest one
that leaves no gaps between the samples, and the samples lie so far apart that they and the level have, together, the
variance of the footprint; changes of level hardly show. A footprint that is more than about eight times as long as
wide needs a coarser level than its width, and is blurred across.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._primitives import vary_alike
from jaxcnn.ops._sampling.gather import read
from jaxcnn.ops._sampling.interpolation import fold, pixel_numbers

__all__ = ["antialiased"]

_MARGIN = 1
_LONG = 4  # times the variance of the other side: four samples in line
_IN_LINE = 5 / 26  # the threshold of a level for these, over that of two samples along each side
_SOFT = 1 / 120  # pixels^2: below it the spread of the samples grows with the variance, above with its root


def antialiased(
    image: Any, x: Any, y: Any, padding_mode: str, fill: Any, align_corners: bool, pieces: int, steps: Any
) -> jax.Array:
    """Reads one image (h, w, c) at points (h_out, w_out) in pixels, each averaged over its footprint.

    With several pieces, of whole rows, one is read after the other, and read again for its gradient. ``steps`` are the
    differences (of x, of y) to the next row and to the next column, for an output of one row or column; None: zero.
    """
    levels = max(1, int(math.log2(max(image.shape[:2]))))
    atlas, places = _pyramid(image.astype(x.dtype), levels, padding_mode, fill)
    rows = -(-x.shape[0] // pieces)
    steps = steps or ((0.0, 0.0), (0.0, 0.0))
    extended = [_extended(position, rows * pieces, [step[i] for step in steps]) for i, position in enumerate((x, y))]

    def piece(top: Any) -> Any:
        part_x, part_y = (lax.dynamic_slice_in_dim(position, top, rows + 2) for position in extended)
        values = _read_footprints(atlas, places, image.shape[:2], part_x, part_y, padding_mode, align_corners)
        return values.astype(image.dtype)

    if pieces == 1:
        return piece(jnp.int32(0))
    values = lax.map(jax.checkpoint(piece), rows * jnp.arange(pieces, dtype=jnp.int32))
    return values.reshape(pieces * rows, *values.shape[2:])[: x.shape[0]]


def _read_footprints(
    atlas: Any, places: list[Any], size: tuple[int, int], x: Any, y: Any, padding_mode: str, align_corners: bool
) -> Any:
    """Reads at all points (h_out + 2, w_out + 2) but the outer ones."""
    # Barriers: XLA would compute what belongs to a pixel anew for every sample, weight and channel.
    x, y = lax.optimization_barrier((x, y))
    columns = [(_slope(x, axis), _slope(y, axis)) for axis in (1, 0)]
    x, y = x[1:-1, 1:-1], y[1:-1, 1:-1]
    squares = [dx * dx + dy * dy for dx, dy in columns]
    # A pixel already has the variance of a unit square.
    variances = [jnp.maximum(square - 1, 0) / 12 for square in squares]
    still = [lax.stop_gradient(variance) for variance in variances]
    # Four samples in line, at 1 and 3 steps from the middle, have 5 times the variance of a step.
    in_line = [still[i] > _LONG * (still[1 - i] + 1 / 12) for i in (0, 1)]
    mean = (still[0] + still[1]) / 2
    for variance, long in zip(still, in_line, strict=True):
        mean = jnp.where(long, (4 * variance + 1) * _IN_LINE / 4 - 0.25, mean)
    scale, scale_y, scale_x, top = lax.optimization_barrier(_of_level(lax.optimization_barrier(mean), places))
    reaches = []
    for square, variance in zip(squares, variances, strict=True):
        rest = jnp.maximum(variance - (scale * scale - 1) / 4, 0)
        reaches.append(rest / jnp.sqrt(rest + _SOFT) / jnp.sqrt(jnp.maximum(square, 1)))
    first, second = ([reach * d for d in column] for reach, column in zip(reaches, columns, strict=True))
    step = 5**-0.5
    ax, ay = (_chosen(in_line, 2 * step * p, 2 * step * q, p) for p, q in zip(first, second, strict=True))
    bx, by = (_chosen(in_line, step * p, step * q, q) for p, q in zip(first, second, strict=True))
    ax, ay, bx, by = lax.optimization_barrier((ax, ay, bx, by))

    def place(corner: Any) -> tuple[Any, Any]:
        a, b = corner
        column = _place(x + a * ax + b * bx, size[1], scale_x, padding_mode, align_corners)
        row = _place(y + a * ay + b * by, size[0], scale_y, padding_mode, align_corners)
        return column, row + top

    def sample(total: Any, at: Any) -> tuple[Any, None]:
        return total + _bilinear(atlas, *at), None

    # Two loops: what one is given is stored, so that places are computed once, and in vectors.
    corners = tuple(jnp.asarray(v, x.dtype) for v in ([-1, 1, -1, 1], [-1, -1, 1, 1]))
    start, *_ = vary_alike(jnp.zeros((*x.shape, atlas.shape[-1]), x.dtype), x, atlas)
    total, _ = lax.scan(sample, start, lax.map(place, corners))
    return total * 0.25


def _chosen(conditions: list[Any], first: Any, second: Any, other: Any) -> Any:
    return jnp.where(conditions[0], first, jnp.where(conditions[1], second, other))


def _extended(position: Any, rows: int, steps: list[Any]) -> Any:
    """Adds a point on every side, in line with the last two, and repeats the last row up to ``rows`` of them.

    Along an axis of one point its step says where the next one would be.
    """
    for axis in (0, 1):
        n = position.shape[axis]
        if n == 1:
            step = jnp.broadcast_to(jnp.asarray(steps[axis], position.dtype), (1, 1))
            position = jnp.concatenate([position - step, position, position + step], axis)
            continue
        ends = []
        for end, inner in ((0, 1), (n - 1, n - 2)):
            a, b = (lax.slice_in_dim(position, i, i + 1, axis=axis) for i in (end, inner))
            ends.append(2 * a - b)
        position = jnp.concatenate([ends[0], position, ends[1]], axis)
    return jnp.pad(position, ((0, rows + 2 - position.shape[0]), (0, 0)), mode="edge")


def _of_level(variance: Any, places: list[Any]) -> tuple[Any, Any, Any, Any]:
    """Gives the size of a pixel of the level to read, its height and width in the image, and the row of its top.

    It is the finest level whose samples, two along an axis, leave no gap: 4^level >= (4 variance + 1) / 5.
    """
    found = [jnp.full_like(variance, value) for value in (1, *places[0])]
    for i, place in enumerate(places[1:]):
        beyond = variance > (5 * 4.0**i - 1) / 4
        values = (2.0 ** (i + 1), *place)
        found = [jnp.where(beyond, float(value), old) for value, old in zip(values, found, strict=True)]
    scale, height, width, top = found
    return scale, height, width, top


def _pyramid(image: Any, levels: int, padding_mode: str, fill: Any) -> tuple[Any, list[Any]]:
    """Stacks the image and its means, with what lies outside as a margin.

    Returns:
        The stack, and of each level the height and width of its pixels in the image and the row of its top. An axis
        of one pixel is not halved.
    """
    atlas_width = image.shape[1] + 2 * _MARGIN
    stacked, places, top, scales = [], [], 0, [1, 1]
    for i in range(levels):
        if i > 0:
            for axis in (0, 1):
                n = image.shape[axis]
                if n > 1:
                    widths = [(0, 0), (0, 0)]
                    widths[axis] = (0, n % 2)
                    image = _padded(image, tuple(widths), padding_mode, fill)
                    even, odd = (lax.slice_in_dim(image, k, None, 2, axis) for k in (0, 1))
                    image = (even + odd) * 0.5
                    scales[axis] *= 2
        level = _padded(image, ((_MARGIN, _MARGIN),) * 2, padding_mode, fill)
        rest = atlas_width - level.shape[1]
        stacked.append(lax.pad(level, jnp.zeros((), level.dtype), ((0, 0, 0), (0, rest, 0), (0, 0, 0))))
        places.append((*scales, top))
        top += level.shape[0]
    return jnp.concatenate(stacked), places


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
    """Differences to the next point or the one before: the smaller, as beyond a horizon there is no slope."""
    n = position.shape[axis]
    position = lax.slice_in_dim(position, 1, position.shape[1 - axis] - 1, axis=1 - axis)
    step = lax.slice_in_dim(position, 1, n, axis=axis) - lax.slice_in_dim(position, 0, n - 1, axis=axis)
    before, after = (lax.slice_in_dim(step, i, n - 2 + i, axis=axis) for i in (0, 1))
    slope = jnp.where((jnp.abs(after) <= jnp.abs(before)) | ~jnp.isfinite(before), after, before)
    return jnp.where(jnp.isfinite(slope), slope, 0)  # a point that is lost takes no neighbours with it


def _place(position: Any, n: int, scale: Any, padding_mode: str, align_corners: bool) -> Any:
    """Brings a position to a level, in pixels of the level from its margin on."""
    if padding_mode == "reflection":
        position = fold(position, n, "bilinear", padding_mode, align_corners)
    last = jnp.ceil(n / scale) - 1
    return jnp.clip((position + 0.5) / scale - 0.5, -_MARGIN, last + _MARGIN) + _MARGIN


def _bilinear(atlas: Any, x: Any, y: Any) -> Any:
    h, w, c = atlas.shape
    whole = [jnp.floor(lax.stop_gradient(v)) for v in (x, y)]
    left, top = (jnp.where(v < n - 2, v, float(n - 2)) for v, n in zip(whole, (w, h), strict=True))  # NaN: n - 2
    a, b = x - left, y - top
    weights = [(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b]
    first = pixel_numbers([top, left], (w, 1), h * w)
    return read(atlas.reshape(h * w, c), weights, first, rows=(0, w), width=2)
