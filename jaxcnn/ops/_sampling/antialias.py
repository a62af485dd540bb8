"""Bilinear reading that averages over what an output pixel covers, for warps that make an image smaller.

The footprint of an output pixel is the parallelogram that it covers in the input, by the derivative of the grid. Its
mean is approximated by four bilinear samples of one level of a pyramid of means over 2^level x 2^level pixels: two
along each side or, where one side is more than twice as long as the other, four along it. The level is the finest one
that leaves no gaps between the samples, and the samples lie so far apart that together with the level they have the
variance of the footprint; changes of level hardly show. A footprint that is more than about eight times as long as
wide needs a coarser level than its width, and is blurred across.

Means are taken of pixels of the image alone. What lies outside, if that is not the border or a mirror image, counts by
the share of the footprint there: along each axis a box of the footprint's variance, which for a footprint of one pixel
is how plain reading blends with the outside.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn._typing import AnyArray
from jaxcnn.ops._primitives import match_varying_axes
from jaxcnn.ops._sampling.gather import weighted_gather
from jaxcnn.ops._sampling.interpolation import PaddingMode, apply_padding_mode, flat_index

__all__ = ["Steps", "sample_antialiased"]

Steps = Sequence[Sequence[float | jax.Array]]
"""Differences (of x, of y) to the next row and to the next column."""

_MARGIN = 1
_ELONGATED = 4  # times the variance of the other side: four samples in line
_IN_LINE = 5 / 26  # the threshold of a level for four samples in line, over that of two along each side
_SOFTENING = 1 / 120  # pixels^2: below it the spread of the samples grows with the variance, above with its root


class Level(NamedTuple):
    """One level of the pyramid: height and width of its pixels in the image, and the row where it begins."""

    scale_y: int
    scale_x: int
    top: int


# One program, which is found again: outside of ``jax.jit`` loops over new functions would be compiled in every call.
@functools.partial(jax.jit, static_argnames=("padding_mode", "align_corners", "pieces"))
def sample_antialiased(
    image: jax.Array,
    x: jax.Array,
    y: jax.Array,
    padding_mode: PaddingMode,
    fill: AnyArray | None,
    align_corners: bool,
    pieces: int,
    steps: Steps | None,
) -> jax.Array:
    """Reads one image (h, w, c) at points (h_out, w_out) in pixels, each averaged over its footprint.

    Several pieces, of whole rows, are read one after the other, and again for the gradient. ``steps`` are used along
    axes of the output that have a single point; None stands for zero.
    """
    count = max(1, int(math.log2(max(image.shape[:2]))))
    atlas, levels = _build_pyramid(image.astype(x.dtype), count)
    rows = -(-x.shape[0] // pieces)
    steps = steps or ((0.0, 0.0), (0.0, 0.0))
    extended = [_extrapolate(position, rows * pieces, [step[i] for step in steps]) for i, position in enumerate((x, y))]

    def read_piece(top: jax.Array) -> jax.Array:
        part_x, part_y = (lax.dynamic_slice_in_dim(position, top, rows + 2) for position in extended)
        values = _read_footprints(atlas, levels, image.shape[:2], part_x, part_y, padding_mode, fill, align_corners)
        return values.astype(image.dtype)

    if pieces == 1:
        return read_piece(jnp.int32(0))
    values = lax.map(jax.checkpoint(read_piece), rows * jnp.arange(pieces, dtype=jnp.int32))
    return values.reshape(pieces * rows, *values.shape[2:])[: x.shape[0]]


def _read_footprints(
    atlas: jax.Array,
    levels: list[Level],
    size: tuple[int, ...],
    x: jax.Array,
    y: jax.Array,
    padding_mode: PaddingMode,
    fill: AnyArray | None,
    align_corners: bool,
) -> jax.Array:
    """Reads at all points (h_out + 2, w_out + 2) except the outermost."""
    # Barriers: otherwise XLA would compute what belongs to a pixel anew for every sample, weight and channel.
    x, y = lax.optimization_barrier((x, y))
    columns = [(_difference(x, axis), _difference(y, axis)) for axis in (1, 0)]
    x, y = x[1:-1, 1:-1], y[1:-1, 1:-1]
    squares = [dx * dx + dy * dy for dx, dy in columns]
    # A pixel already has the variance of a unit square.
    variances = [jnp.maximum(square - 1, 0) / 12 for square in squares]
    fixed = [lax.stop_gradient(variance) for variance in variances]
    # Four samples in line, at 1 and 3 steps from the middle, have 5 times the variance of a step.
    in_line = [fixed[i] > _ELONGATED * (fixed[1 - i] + 1 / 12) for i in (0, 1)]
    mean = (fixed[0] + fixed[1]) / 2
    for variance, elongated in zip(fixed, in_line, strict=True):
        mean = jnp.where(elongated, (4 * variance + 1) * _IN_LINE / 4 - 0.25, mean)
    scale, scale_y, scale_x, top = lax.optimization_barrier(_choose_level(lax.optimization_barrier(mean), levels))
    reaches = []
    for square, variance in zip(squares, variances, strict=True):
        rest = jnp.maximum(variance - (scale * scale - 1) / 4, 0)
        reaches.append(rest / jnp.sqrt(rest + _SOFTENING) / jnp.sqrt(jnp.maximum(square, 1)))
    first, second = ([reach * d for d in column] for reach, column in zip(reaches, columns, strict=True))
    step = 5**-0.5
    ax, ay = (_select(in_line, 2 * step * p, 2 * step * q, p) for p, q in zip(first, second, strict=True))
    bx, by = (_select(in_line, step * p, step * q, q) for p, q in zip(first, second, strict=True))
    ax, ay, bx, by = lax.optimization_barrier((ax, ay, bx, by))

    def locate_sample(corner: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        a, b = corner
        column = _map_to_level(x + a * ax + b * bx, size[1], scale_x, padding_mode, align_corners)
        row = _map_to_level(y + a * ay + b * by, size[0], scale_y, padding_mode, align_corners)
        return column, row + top

    def add_sample(total: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + _read_atlas(atlas, *at), None

    # Two loops: the operands of a loop are stored, so that samples are located once, and in vectors.
    corners = tuple(jnp.asarray(v, x.dtype) for v in ([-1, 1, -1, 1], [-1, -1, 1, 1]))
    start, *_ = match_varying_axes(jnp.zeros((*x.shape, atlas.shape[-1]), x.dtype), x, atlas)
    total, _ = lax.scan(add_sample, start, lax.map(locate_sample, corners))
    values = total * 0.25
    if padding_mode in ("border", "reflection"):
        return values
    widths = [_box_width([column[i] for column in columns], squares) for i in (0, 1)]
    shares = [
        _share_outside(v, width, n, align_corners) for v, width, n in zip((x, y), widths, size[::-1], strict=True)
    ]
    inside = lax.optimization_barrier((1 - shares[0]) * (1 - shares[1]))[..., None]
    values = jnp.where(inside == 0, 0, inside * values)
    if fill is None:
        return values
    return values + jnp.where(inside == 1, 0, (1 - inside) * jnp.broadcast_to(jnp.asarray(fill, x.dtype), values.shape))


def _box_width(steps: Sequence[jax.Array], squares: Sequence[jax.Array]) -> jax.Array:
    """Computes the width along an axis of a box with the variance of the footprint, at least one pixel.

    ``steps`` are the footprint's two sides along that axis, ``squares`` the squares of their lengths.
    """
    added = [step * step * (1 - 1 / jnp.maximum(square, 1)) for step, square in zip(steps, squares, strict=True)]
    return jnp.sqrt(1 + added[0] + added[1])


def _share_outside(position: jax.Array, width: jax.Array, n: int, align_corners: bool) -> jax.Array:
    """Computes the share of a box around a position that lies outside of an axis of n pixels; its slope is right-hand.

    With ``align_corners`` the image ends where boxes around its outer pixels do, at most half the image beyond them.
    """
    rounding = jnp.minimum(width - 1, 4 * float(jnp.finfo(width.dtype).eps) * n)  # of positions and their differences
    reach = width / 2 - 0.5 - rounding
    if align_corners:
        reach -= jnp.minimum(width - 1, n - 1.0) / 2
    before, after = reach - position, position + reach - (n - 1)
    before = jnp.where(before > 0, jnp.where(before > width, width, before), 0)
    after = jnp.where(after < 0, 0, jnp.where(after >= width, width, after))
    return (before + after) / width


def _select(conditions: list[jax.Array], first: jax.Array, second: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.where(conditions[0], first, jnp.where(conditions[1], second, other))


def _extrapolate(position: jax.Array, rows: int, steps: Sequence[float | jax.Array]) -> jax.Array:
    """Adds a point on every side, in line with the last two, and repeats the last row up to ``rows`` of them.

    Along an axis of one point, its step says how far away the next one would be.
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


def _choose_level(variance: jax.Array, levels: list[Level]) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns the size of a pixel of the level to read, its height and width in the image, and the level's first row.

    It is the finest level whose samples, two along an axis, leave no gap: 4^level >= (4 variance + 1) / 5.
    """
    found = [jnp.full_like(variance, value) for value in (1, *levels[0])]
    for i, level in enumerate(levels[1:]):
        beyond = variance > (5 * 4.0**i - 1) / 4
        values = (2.0 ** (i + 1), *level)
        found = [jnp.where(beyond, float(value), old) for value, old in zip(values, found, strict=True)]
    scale, height, width, top = found
    return scale, height, width, top


def _build_pyramid(image: jax.Array, count: int) -> tuple[jax.Array, list[Level]]:
    """Stacks the image and its means, ``count`` levels, each with a margin that repeats its border.

    An axis of one pixel is not halved.
    """
    atlas_width = image.shape[1] + 2 * _MARGIN
    stacked, levels, top, scales = [], [], 0, [1, 1]
    for i in range(count):
        if i > 0:
            for axis in (0, 1):
                n = image.shape[axis]
                if n > 1:
                    widths = [(0, 0), (0, 0)]
                    widths[axis] = (0, n % 2)
                    image = jnp.pad(image, (*widths, (0, 0)), mode="edge")
                    even, odd = (lax.slice_in_dim(image, k, None, 2, axis) for k in (0, 1))
                    image = (even + odd) * 0.5
                    scales[axis] *= 2
        level = jnp.pad(image, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="edge")
        rest = atlas_width - level.shape[1]
        stacked.append(lax.pad(level, jnp.zeros((), level.dtype), ((0, 0, 0), (0, rest, 0), (0, 0, 0))))
        levels.append(Level(scales[0], scales[1], top))
        top += level.shape[0]
    return jnp.concatenate(stacked), levels


def _difference(position: jax.Array, axis: int) -> jax.Array:
    """Computes differences to the next point or the one before: the smaller, as beyond a horizon there is no slope."""
    n = position.shape[axis]
    position = lax.slice_in_dim(position, 1, position.shape[1 - axis] - 1, axis=1 - axis)
    step = lax.slice_in_dim(position, 1, n, axis=axis) - lax.slice_in_dim(position, 0, n - 1, axis=axis)
    before, after = (lax.slice_in_dim(step, i, n - 2 + i, axis=axis) for i in (0, 1))
    smaller = jnp.where((jnp.abs(after) <= jnp.abs(before)) | ~jnp.isfinite(before), after, before)
    return jnp.where(jnp.isfinite(smaller), smaller, 0)  # a NaN or infinite point does not spread to its neighbors


def _map_to_level(
    position: jax.Array, n: int, scale: jax.Array, padding_mode: PaddingMode, align_corners: bool
) -> jax.Array:
    """Maps a position to a level, in pixels of the level from its margin on."""
    if padding_mode == "reflection":
        position = apply_padding_mode(position, n, "bilinear", padding_mode, align_corners)
    last = jnp.ceil(n / scale) - 1
    return jnp.clip((position + 0.5) / scale - 0.5, -_MARGIN, last + _MARGIN) + _MARGIN


def _read_atlas(atlas: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Reads all levels of the pyramid as one image, bilinearly."""
    h, w, c = atlas.shape
    floors = [jnp.floor(lax.stop_gradient(v)) for v in (x, y)]
    left, top = (jnp.where(v < n - 2, v, float(n - 2)) for v, n in zip(floors, (w, h), strict=True))  # NaN: n - 2
    a, b = x - left, y - top
    weights = [(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b]
    base_index = flat_index([top, left], (w, 1), h * w)
    return weighted_gather(atlas.reshape(h * w, c), weights, base_index, row_offsets=(0, w), row_width=2)
