"""Windows that slide over spatial axes: where they lie, and their maximum or sum.

Everything is made of slices, reshapes and selects, never of ``reduce_window``: on CPU XLA's gradient
of that (select-and-scatter) takes 3 to 20 times as long (``benchmarks/speed/pooling.py``).
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn._check import check, check_floating, check_min_rank, check_positive_shape, repeat_per_axis, shape_text
from jaxcnn.ops._padding import AXES, padding_pairs, same_padding

__all__ = ["AxisWindows", "axis_windows", "counts", "pad_axes", "window_max", "window_sum"]

# Up to this many elements a window is taken apart into one slice per element: the gradient is then one pass over x.
_SMALL = 16
# For windows that overlap that pays for more bytes than this; the maximum along one axis after the other, whose
# gradient is several passes, is faster in the cache.
_CACHE_BYTES = 4 * 2**20
# Up to this many taps along one axis the maximum takes one slice per tap; above, the slices' gradient (one padded
# array each) costs more than the other forms: measured on CPU with windows of 2, 3, 7, 13 and 42.
_FEW_TAPS = 4


class AxisWindows(NamedTuple):
    """The windows along one axis: start ``i * stride - low`` for ``i < outputs``, ``size`` wide."""

    axis: int
    size: int
    stride: int
    low: int
    high: int
    length: int
    outputs: int


def axis_windows(
    function: str, x: jax.Array, window: Any, strides: Any, padding: Any, ceil_mode: bool
) -> list[AxisWindows]:
    """Places the windows, or refuses what cannot be placed: one item per spatial axis."""
    rank = 2 if isinstance(window, int | np.integer) else len(window) if isinstance(window, Sequence) else 0
    check(rank in AXES, function, "window", "an integer or 1 to 3 of them", repr(window))
    names = AXES[rank]
    check_min_rank(function, "x", x, f"{names} c")
    check_floating(function, "x", x)
    spatial = x.shape[-1 - rank : -1]
    check(0 not in spatial, function, "x", "at least one pixel along each spatial axis", shape_text(x))
    sizes = check_positive_shape(function, "window", repeat_per_axis(window, rank), names)
    steps = (
        sizes if strides is None else check_positive_shape(function, "strides", repeat_per_axis(strides, rank), names)
    )
    pads = _padding(function, padding, spatial, sizes, steps)
    found = []
    for i, (n, size, step, (low, high)) in enumerate(zip(spatial, sizes, steps, pads, strict=True)):
        free = n + low + high - size
        count = (-(-free // step) if ceil_mode else free // step) + 1
        if ceil_mode and (count - 1) * step >= n + low:
            count -= 1
        got = f"window {sizes} on the padded size {tuple(m + sum(p) for m, p in zip(spatial, pads, strict=True))}"
        check(count > 0, function, "window", "no larger than the padded x", got)
        found.append(AxisWindows(x.ndim - 1 - rank + i, size, step, low, high, n, count))
    return found


def _padding(
    function: str, padding: Any, spatial: Sequence[int], sizes: Sequence[int], steps: Sequence[int]
) -> list[tuple[int, int]]:
    expected = f'"SAME", "VALID", an integer or {len(sizes)} pairs of integers, at least 0 and below the window {sizes}'
    if isinstance(padding, str):
        check(padding in ("SAME", "VALID"), function, "padding", expected, repr(padding))
        if padding == "VALID":
            return [(0, 0)] * len(sizes)
        return same_padding(spatial, sizes, steps)
    return padding_pairs(function, padding, len(sizes), expected=expected, below=sizes)


def pad_axes(x: jax.Array, windows: Sequence[AxisWindows], value: float) -> jax.Array:
    """Pads ``x`` by ``value`` so far that every window lies inside."""
    widths = [(0, 0, 0)] * x.ndim
    for w in windows:
        end = (w.outputs - 1) * w.stride + w.size  # rounding up may reach further than the padding
        widths[w.axis] = (w.low, max(end - w.low - w.length, 0), 0)
    if all(width == (0, 0, 0) for width in widths):
        return x
    return lax.pad(x, jnp.asarray(value, x.dtype), widths)


def counts(windows: Sequence[AxisWindows], *, include_pad: bool) -> np.ndarray:
    """Gives how many elements each window averages over, broadcastable to (*spatial, 1)."""
    product = np.ones((1,) * (len(windows) + 1))
    for i, w in enumerate(windows):
        start = np.arange(w.outputs) * w.stride
        end = np.minimum(start + w.size, w.low + w.length + w.high)
        if not include_pad:
            start, end = np.maximum(start, w.low), np.minimum(end, w.low + w.length)
        number = end - start
        shape = [1] * (len(windows) + 1)
        shape[i] = -1
        product = product * (number[:1] if (number == number[0]).all() else number).reshape(shape)
    return product


def window_max(x: jax.Array, windows: Sequence[AxisWindows]) -> jax.Array:
    """Takes the maximum of every window of a padded array.

    The first maximum, or the last NaN, in row-major order takes the gradient: each axis for itself
    follows that rule, and the last axis goes first.
    """
    apart = all(w.stride == w.size for w in windows)
    if _is_small(windows) and (apart or x.size * x.dtype.itemsize > _CACHE_BYTES):
        return _small_max(x, tuple(windows))
    return _max_by_axes(x, windows)


def _max_by_axes(x: jax.Array, windows: Sequence[AxisWindows]) -> jax.Array:
    for w in reversed(windows):
        if w.size > _FEW_TAPS and (w.stride == w.size or w.outputs == 1):
            x = _first_max(_apart(x, w), w.axis + 1)
        else:
            x = _combine(x, w, _larger)
    return x


def window_sum(x: jax.Array, windows: Sequence[AxisWindows]) -> jax.Array:
    """Takes the sum of every window of a padded array."""
    if _is_small(windows):
        return functools.reduce(jnp.add, _elements(x, windows))
    if all(w.stride == w.size or w.outputs == 1 for w in windows):
        for w in reversed(windows):
            x = _apart(x, w)
        return jnp.sum(x, tuple(w.axis + 1 + i for i, w in enumerate(windows)))
    for w in reversed(windows):
        x = _combine(x, w, jnp.add)
    return x


def _is_small(windows: Sequence[AxisWindows]) -> bool:
    return math.prod(w.size for w in windows) <= _SMALL


def _elements(x: jax.Array, windows: Sequence[AxisWindows]) -> list[jax.Array]:
    """Gives the first element of every window, the second, and so on, in row-major order."""
    found = []
    for place in itertools.product(*(range(w.size) for w in windows)):
        start, limit, step = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for i, w in zip(place, windows, strict=True):
            start[w.axis], limit[w.axis], step[w.axis] = i, i + (w.outputs - 1) * w.stride + 1, w.stride
        found.append(lax.slice(x, start, limit, step))
    return found


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _small_max(x: jax.Array, windows: tuple[AxisWindows, ...]) -> jax.Array:
    """Takes the maximum of windows of a few elements; its gradient selects by the winner's number, in one pass."""
    return _max_by_axes(x, windows)


@_small_max.defjvp
def _(windows: tuple[AxisWindows, ...], primals: Any, tangents: Any) -> Any:
    (x,), (tangent,) = primals, tangents
    top, *others = _elements(x, windows)
    winner = jnp.zeros_like(top, jnp.int8)
    for number, element in enumerate(others, 1):
        wins = (element > top) | jnp.isnan(element)
        top, winner = jnp.where(wins, element, top), jnp.where(wins, jnp.int8(number), winner)
    if all(w.stride == w.size for w in windows):
        return top, _won_in_blocks(tangent, winner, windows)
    parts = [jnp.where(winner == i, part, jnp.zeros_like(part)) for i, part in enumerate(_elements(tangent, windows))]
    return top, functools.reduce(jnp.add, parts)


def _won_in_blocks(tangent: jax.Array, winner: jax.Array, windows: Sequence[AxisWindows]) -> jax.Array:
    """Takes the winners' tangents of windows that do not overlap; the gradient of that is a comparison per element."""
    number = np.arange(math.prod(w.size for w in windows), dtype=np.int8).reshape([w.size for w in windows])
    for w in reversed(windows):
        tangent = _apart(tangent, w)
    inside = [w.axis + 1 + i for i, w in enumerate(windows)]
    shape = [1] * tangent.ndim
    for axis, w in zip(inside, windows, strict=True):
        shape[axis] = w.size
    mine = jnp.expand_dims(winner, inside) == number.reshape(shape)
    return jnp.sum(jnp.where(mine, tangent, jnp.zeros_like(tangent)), inside)


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def _apart(x: jax.Array, w: AxisWindows) -> jax.Array:
    """Gives windows that do not overlap an axis of their own, behind the axis they lie along."""
    x = lax.slice_in_dim(x, 0, w.outputs * w.size, axis=w.axis)
    return x.reshape(*x.shape[: w.axis], w.outputs, w.size, *x.shape[w.axis + 1 :])


def _combine(x: jax.Array, w: AxisWindows, function: Callable[[Any, Any], jax.Array]) -> jax.Array:
    """Combines the elements of every window, in their order, by an associative function."""

    def starts(array: jax.Array, offset: int) -> jax.Array:
        return lax.slice_in_dim(array, offset, offset + (w.outputs - 1) * w.stride + 1, w.stride, w.axis)

    if w.size <= _FEW_TAPS:
        return functools.reduce(function, [starts(x, i) for i in range(w.size)])
    # Runs of 1, 2, 4, ... elements; a window is made of those that the bits of its size name.
    parts, offset, run = [], 0, 1
    while run <= w.size:
        if w.size & run:
            parts.append(starts(x, offset))
            offset += run
        if 2 * run <= w.size:
            n = x.shape[w.axis] - run
            x = function(lax.slice_in_dim(x, 0, n, axis=w.axis), lax.slice_in_dim(x, run, n + run, axis=w.axis))
        run *= 2
    return functools.reduce(function, parts)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _first_max(x: jax.Array, axis: int) -> jax.Array:
    """Takes the maximum along one axis; its gradient is one select against the winner's position."""
    return jnp.max(x, axis)


@_first_max.defjvp
def _(axis: int, primals: Any, tangents: Any) -> Any:
    (x,), (tangent,) = primals, tangents
    top = jnp.max(x, axis, keepdims=True)
    shape = [1] * x.ndim
    shape[axis] = -1
    position = jnp.zeros_like(x, jnp.int32) + jnp.arange(x.shape[axis], dtype=jnp.int32).reshape(shape)  # sharded as x
    # Below zero: a NaN, the last one being the lowest.
    order = jnp.where(jnp.isnan(x), -1 - position, jnp.where(x == top, position, x.shape[axis]))
    winner = jnp.min(order, axis, keepdims=True)
    winner = jnp.where(winner < 0, -1 - winner, winner)
    return jnp.squeeze(top, axis), jnp.sum(jnp.where(position == winner, tangent, jnp.zeros_like(tangent)), axis)
