"""Windows that slide over spatial axes: their positions, and their maximum or sum.

Everything is built from slices, reshapes and selects instead of ``reduce_window``, whose gradient in XLA
(select-and-scatter) takes 3 to 20 times as long on CPU (``benchmarks/speed/pooling.py``).
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn._check import (
    check,
    check_floating,
    check_known_sizes,
    check_min_rank,
    check_positive_shape,
    repeat_per_axis,
    shape_text,
)
from jaxcnn._typing import Padding, PerAxis
from jaxcnn.ops._batching import exceeds
from jaxcnn.ops._padding import AXES, padding_pairs, same_padding

__all__ = ["AxisWindows", "count_elements", "max_of_windows", "pad_axes", "resolve_windows", "sum_of_windows"]

# Windows of up to this many elements are split into one slice per element: the gradient is then one pass over x.
_MAX_SPLIT_ELEMENTS = 16
# For overlapping windows that is faster only above this size; below it, in the cache, the maximum along one axis after
# the other is, although its gradient takes several passes.
_CACHE_BYTES = 4 * 2**20
# Up to this many elements along an axis the maximum uses one slice per element; beyond that, the gradient of the slices
# (one padded array each) costs more than the other implementations: measured on CPU with 2, 3, 7, 13 and 42 elements.
_MAX_SLICES = 4


class AxisWindows(NamedTuple):
    """The windows along one axis: window ``i`` of ``outputs`` has ``size`` elements from i * stride - low on."""

    axis: int
    size: int
    stride: int
    low: int
    high: int
    length: int
    outputs: int


def resolve_windows(
    function: str, x: jax.Array, window: PerAxis, strides: PerAxis | None, padding: Padding, ceil_mode: bool
) -> list[AxisWindows]:
    """Checks the arguments of a pooling function and returns its windows, one item per spatial axis."""
    rank = len(window) if isinstance(window, Sequence) else 2 if isinstance(window, int | np.integer) else 0
    check(rank in AXES, function, "window", "an integer or 1 to 3 of them", repr(window))
    names = AXES[rank]
    check_min_rank(function, "x", x, f"{names} c")
    check_floating(function, "x", x)
    spatial = x.shape[-1 - rank : -1]
    check_known_sizes(function, "x", x, names, spatial)
    check(0 not in spatial, function, "x", "at least one pixel along each spatial axis", shape_text(x))
    sizes = check_positive_shape(function, "window", repeat_per_axis(window, rank), names)
    steps = (
        sizes if strides is None else check_positive_shape(function, "strides", repeat_per_axis(strides, rank), names)
    )
    pads = _resolve_padding(function, padding, spatial, sizes, steps)
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


def _resolve_padding(
    function: str, padding: Padding, spatial: Sequence[int], sizes: Sequence[int], steps: Sequence[int]
) -> list[tuple[int, int]]:
    expected = f'"SAME", "VALID", an integer or {len(sizes)} pairs of integers, at least 0 and below the window {sizes}'
    if isinstance(padding, str):
        check(padding in ("SAME", "VALID"), function, "padding", expected, repr(padding))
        if padding == "VALID":
            return [(0, 0)] * len(sizes)
        return same_padding(spatial, sizes, steps)
    return padding_pairs(function, padding, len(sizes), expected=expected, below=sizes)


def pad_axes(x: jax.Array, windows: Sequence[AxisWindows], value: float) -> jax.Array:
    """Pads ``x`` by ``value`` so that every window lies inside."""
    widths = [(0, 0, 0)] * x.ndim
    for w in windows:
        end = (w.outputs - 1) * w.stride + w.size  # with ceil_mode possibly beyond the padding
        widths[w.axis] = (w.low, max(end - w.low - w.length, 0), 0)
    if all(width == (0, 0, 0) for width in widths):
        return x
    return lax.pad(x, jnp.asarray(value, x.dtype), widths)


def count_elements(windows: Sequence[AxisWindows], *, include_pad: bool) -> np.ndarray:
    """Counts the elements that each window averages over; the result broadcasts to (*spatial, 1)."""
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


def max_of_windows(x: jax.Array, windows: Sequence[AxisWindows]) -> jax.Array:
    """Computes the maximum of every window of a padded array.

    The first maximum, or the last NaN, in row-major order receives the gradient: every axis follows that rule by
    itself, the last axis first.
    """
    is_partition = all(w.stride == w.size for w in windows)
    if _is_small(windows) and (is_partition or exceeds(x.size * x.dtype.itemsize, _CACHE_BYTES)):
        return _max_by_elements(x, tuple(windows))
    return _max_by_axes(x, windows)


def _max_by_axes(x: jax.Array, windows: Sequence[AxisWindows]) -> jax.Array:
    for w in reversed(windows):
        if w.size > _MAX_SLICES and (w.stride == w.size or w.outputs == 1):
            x = _max_along_axis(_split_axis(x, w), w.axis + 1)
        else:
            x = _reduce_windows(x, w, _maximum_or_nan)
    return x


def sum_of_windows(x: jax.Array, windows: Sequence[AxisWindows]) -> jax.Array:
    """Computes the sum of every window of a padded array."""
    if _is_small(windows):
        return functools.reduce(jnp.add, _slice_elements(x, windows))
    if all(w.stride == w.size or w.outputs == 1 for w in windows):
        for w in reversed(windows):
            x = _split_axis(x, w)
        return jnp.sum(x, tuple(w.axis + 1 + i for i, w in enumerate(windows)))
    for w in reversed(windows):
        x = _reduce_windows(x, w, jnp.add)
    return x


def _is_small(windows: Sequence[AxisWindows]) -> bool:
    return math.prod(w.size for w in windows) <= _MAX_SPLIT_ELEMENTS


def _slice_elements(x: jax.Array, windows: Sequence[AxisWindows]) -> list[jax.Array]:
    """Returns the first element of every window, the second, and so on, in row-major order."""
    found = []
    for position in itertools.product(*(range(w.size) for w in windows)):
        start, limit, step = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for i, w in zip(position, windows, strict=True):
            start[w.axis], limit[w.axis], step[w.axis] = i, i + (w.outputs - 1) * w.stride + 1, w.stride
        found.append(lax.slice(x, start, limit, step))
    return found


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_by_elements(x: jax.Array, windows: tuple[AxisWindows, ...]) -> jax.Array:
    """Computes the maximum of small windows; its gradient compares with the index of the maximum, in one pass."""
    return _max_by_axes(x, windows)


@_max_by_elements.defjvp
def _max_by_elements_jvp(
    windows: tuple[AxisWindows, ...], primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    top, *others = _slice_elements(x, windows)
    winner = jnp.zeros_like(top, jnp.int8)
    for number, element in enumerate(others, 1):
        wins = (element > top) | jnp.isnan(element)
        top, winner = jnp.where(wins, element, top), jnp.where(wins, jnp.int8(number), winner)
    if all(w.stride == w.size for w in windows):
        return top, _select_winners(tangent, winner, windows)
    parts = [
        jnp.where(winner == i, part, jnp.zeros_like(part)) for i, part in enumerate(_slice_elements(tangent, windows))
    ]
    return top, functools.reduce(jnp.add, parts)


def _select_winners(tangent: jax.Array, winner: jax.Array, windows: Sequence[AxisWindows]) -> jax.Array:
    """Selects the tangent of every maximum; windows do not overlap, so its gradient is one comparison per element."""
    number = np.arange(math.prod(w.size for w in windows), dtype=np.int8).reshape([w.size for w in windows])
    for w in reversed(windows):
        tangent = _split_axis(tangent, w)
    inside = [w.axis + 1 + i for i, w in enumerate(windows)]
    shape = [1] * tangent.ndim
    for axis, w in zip(inside, windows, strict=True):
        shape[axis] = w.size
    is_winner = jnp.expand_dims(winner, inside) == number.reshape(shape)
    return jnp.sum(jnp.where(is_winner, tangent, jnp.zeros_like(tangent)), inside)


def _maximum_or_nan(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def _split_axis(x: jax.Array, w: AxisWindows) -> jax.Array:
    """Splits an axis into windows that do not overlap and the elements of each."""
    x = lax.slice_in_dim(x, 0, w.outputs * w.size, axis=w.axis)
    return x.reshape(*x.shape[: w.axis], w.outputs, w.size, *x.shape[w.axis + 1 :])


def _reduce_windows(x: jax.Array, w: AxisWindows, function: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    """Combines the elements of every window along one axis, in order, by an associative function."""

    def slice_from(array: jax.Array, offset: int) -> jax.Array:
        return lax.slice_in_dim(array, offset, offset + (w.outputs - 1) * w.stride + 1, w.stride, w.axis)

    if w.size <= _MAX_SLICES:
        return functools.reduce(function, [slice_from(x, i) for i in range(w.size)])
    # Runs of 1, 2, 4, ... elements: a window consists of one run per bit that is set in its size.
    parts, offset, run = [], 0, 1
    while run <= w.size:
        if w.size & run:
            parts.append(slice_from(x, offset))
            offset += run
        if 2 * run <= w.size:
            n = x.shape[w.axis] - run
            x = function(lax.slice_in_dim(x, 0, n, axis=w.axis), lax.slice_in_dim(x, run, n + run, axis=w.axis))
        run *= 2
    return functools.reduce(function, parts)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_along_axis(x: jax.Array, axis: int) -> jax.Array:
    """Computes the maximum along one axis; its gradient is one comparison with the position of the maximum."""
    return jnp.max(x, axis)


@_max_along_axis.defjvp
def _max_along_axis_jvp(
    axis: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    top = jnp.max(x, axis, keepdims=True)
    shape = [1] * x.ndim
    shape[axis] = -1
    position = jnp.zeros_like(x, jnp.int32) + jnp.arange(x.shape[axis], dtype=jnp.int32).reshape(shape)  # sharded as x
    # NaNs are below zero, the last one lowest.
    order = jnp.where(jnp.isnan(x), -1 - position, jnp.where(x == top, position, x.shape[axis]))
    winner = jnp.min(order, axis, keepdims=True)
    winner = jnp.where(winner < 0, -1 - winner, winner)
    return jnp.squeeze(top, axis), jnp.sum(jnp.where(position == winner, tangent, jnp.zeros_like(tangent)), axis)
