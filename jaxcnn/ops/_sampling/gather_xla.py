"""How the sums of ``_taps`` are computed: by gather and scatter, or point by point in a loop.

On CPU XLA runs a scatter serially, an update of one pixel at a time, and does not vectorise a sum over channels. A
loop over points that updates or sums rows of taps took, with more than one channel, half to a quarter of that
(``benchmarks/speed/grid_sample_forms.py``).
"""

import functools
import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxcnn.ops import _native
from jaxcnn.ops._primitives import vary_alike
from jaxcnn.ops._sampling import gather_native

__all__ = ["Taps", "choose", "read", "to_pixels", "to_weights"]

_LANES = 8
_UNROLLED = 64  # cuts of so many lanes beyond which they get wider, as compilation takes as long as they are many
_FEW = 32  # numbers that a point adds to pixels up to which it does so tap by tap
_GATHERED = 4  # taps of one channel up to which their gradients are gathered: XLA fuses these with what uses them


class Taps(NamedTuple):
    """What is fixed when a program is traced."""

    rows: tuple[int, ...]  # where rows begin, from the first pixel of a point
    width: int  # pixels of a row
    pixels: int  # pixels of an image
    own: tuple[bool, ...]  # of every mapped axis, which come first: whether images have it, or share one
    finite: bool = False  # whether all pixels are known to be finite

    @property
    def number(self) -> int:
        """Taps of a point."""
        return len(self.rows) * self.width

    @property
    def offsets(self) -> list[int]:
        """Distance of every tap from the first."""
        return [row + i for row in self.rows for i in range(self.width)]

    def images(self, first: Any) -> list[int]:
        """Mapped axes of the images that these points read."""
        return [n for n, own in zip(first.shape, self.own, strict=False) if own]


def choose(name: str, a: Any, first: Any, *rest: Any, taps: Taps, looped: bool, exported: bool) -> Any:
    """Gives the function that computes a primitive from arrays of these shapes.

    ``looped`` says that the program is for one CPU. One that is exported gets no native kernels.
    """
    small = math.prod(taps.images(first)) * taps.pixels < 2**31 and 0 not in first.shape and a.shape[-1] > 0
    if looped and small:
        if name == "to_weights" and a.shape[-1] == 1 and taps.number <= _GATHERED:
            return functools.partial(_to_weights_through, taps=taps)
        if name != "read" and not exported and _native.wanted() and gather_native.takes(a, *rest):
            return gather_native.choose(name, taps=taps)
        return functools.partial(_ON_ONE_CPU[name], taps=taps)
    function = functools.partial(_FORMS[name], taps=taps)
    for own in reversed(taps.own):
        if name == "to_pixels" and not own:
            function = functools.partial(_summed, function)
        else:
            function = jax.vmap(function, (0 if own or name == "to_pixels" else None, 0, *[0] * len(rest)))
    return function


def _summed(function: Any, *arrays: Any) -> Any:
    return jnp.sum(jax.vmap(function)(*arrays), 0)


def read(pixels: Any, first: Any, *weights: Any, taps: Taps) -> Any:
    """Sums pixels (n, c) times weights, each (*points)."""
    total = jnp.zeros((), pixels.dtype)
    for weight, offset in zip(weights, taps.offsets, strict=True):
        values = _pixels_at(pixels, first + offset)
        total += weight[..., None] * values if taps.finite else _times(weight[..., None], values)
    return total


def to_pixels(g: Any, first: Any, *weights: Any, taps: Taps) -> Any:
    """Adds g (*points, c) times weights, each (*points), to the pixels (n, c) that they touch."""
    pixels = jnp.zeros((taps.pixels, g.shape[-1]), g.dtype)
    for weight, offset in zip(weights, taps.offsets, strict=True):
        pixels = pixels.at[first + offset].add(_times(weight[..., None], g), mode="promise_in_bounds")
    return pixels


def to_weights(pixels: Any, first: Any, g: Any, *, taps: Taps) -> Any:
    """Sums pixels (n, c) times g (*points, c) over channels, for every tap."""
    return jnp.stack([jnp.sum(_pixels_at(pixels, first + k) * g, -1) for k in taps.offsets], -1)


def _pixels_at(pixels: Any, index: Any) -> Any:
    """Takes pixels (n, c) at (*points): indexing would make a choice per tap, as an index might be negative."""
    place = jax.typeof(index).sharding
    if place.mesh.explicit_axes:
        channels = jax.typeof(pixels).sharding.spec[1]
        place = place.update(spec=P(*place.spec, channels))
        return pixels.at[index].get(mode="promise_in_bounds", out_sharding=place)
    numbers = lax.GatherDimensionNumbers((index.ndim,), collapsed_slice_dims=(0,), start_index_map=(0,))
    return lax.gather(pixels, index[..., None], numbers, (1, pixels.shape[1]), mode="promise_in_bounds")


def _read_through(pixels: Any, first: Any, *weights: Any, taps: Taps) -> Any:
    return read(pixels.reshape(-1, pixels.shape[-1]), _counted_through(first, taps), *weights, taps=taps)


def _to_weights_through(pixels: Any, first: Any, g: Any, *, taps: Taps) -> Any:
    return to_weights(pixels.reshape(-1, pixels.shape[-1]), _counted_through(first, taps), g, taps=taps)


def _to_pixels_in_loop(g: Any, first: Any, *weights: Any, taps: Taps) -> Any:
    own, c = taps.images(first), g.shape[-1]
    first = _counted_through(first, taps).reshape(-1)
    g, weights = g.reshape(-1, c), tuple(weight.reshape(-1) for weight in weights)
    width = 1 if c * taps.number <= _FEW else taps.width
    starts = [row + i for row in taps.rows for i in range(0, taps.width, width)]

    def add(q: Any, pixels: Any) -> Any:
        at, value = _cut(first, (q, 1))[0], _cut(g, (q, 1))
        for i, start in enumerate(starts):
            weight = _column([_cut(w, (q, 1))[0] for w in weights[i * width : (i + 1) * width]])
            total = _cut(pixels, (at + start, width)) + _times(weight, value)
            pixels = lax.dynamic_update_slice_in_dim(pixels, total, at + start, 0, allow_negative_indices=False)
        return pixels

    pixels, _ = vary_alike(jnp.zeros((math.prod(own) * taps.pixels, c), g.dtype), g)
    return lax.fori_loop(jnp.int32(0), jnp.int32(first.size), add, pixels).reshape(*own, taps.pixels, c)


def _column(numbers: list[Any]) -> Any:
    """Stacks numbers to (n, 1) by choices, which the compiler computes where they are used."""
    place = lax.broadcasted_iota(jnp.int32, (len(numbers), 1), 0)
    column = jnp.full((len(numbers), 1), numbers[0])
    for k, number in enumerate(numbers[1:], 1):
        column = jnp.where(place == k, number, column)
    return column


def _to_weights_in_loop(pixels: Any, first: Any, g: Any, *, taps: Taps) -> Any:
    shape, c = first.shape, g.shape[-1]
    first = _counted_through(first, taps).reshape(-1)
    g, pixels = g.reshape(-1, c), pixels.reshape(-1, c)

    def dot(q: Any, weights: Any) -> Any:
        at = _cut(first, (q, 1))[0]
        sums = jnp.concatenate([_over_channels(pixels, at + row, taps.width, g, q) for row in taps.rows])
        return lax.dynamic_update_slice_in_dim(weights, sums[None], q, 0, allow_negative_indices=False)

    weights, _ = vary_alike(jnp.zeros((first.size, taps.number), g.dtype), g)
    return lax.fori_loop(jnp.int32(0), jnp.int32(first.size), dot, weights).reshape(*shape, taps.number)


def _cut(array: Any, *parts: tuple[Any, int]) -> Any:
    """Cuts out (start, length) of the first axes."""
    rest = [(jnp.int32(0), n) for n in array.shape[len(parts) :]]
    starts, lengths = zip(*parts, *rest, strict=True)
    return lax.dynamic_slice(array, starts, lengths, allow_negative_indices=False)


def _counted_through(first: Any, taps: Taps) -> Any:
    """Counts first pixels (*mapped, *points) through all images, which lie one behind the other."""
    image = jnp.zeros((), jnp.int32)
    for axis, own in enumerate(taps.own):
        if own:
            image = image * first.shape[axis] + lax.broadcasted_iota(jnp.int32, first.shape, axis)
    return first + image * taps.pixels


def _over_channels(pixels: Any, at: Any, width: int, g: Any, q: Any) -> Any:
    """Sums ``width`` pixels, from ``at`` on, times point q of g over channels, eight or more lanes at a time.

    What is read is cut out where it is used, once: of anything else the compiler makes loops of their own.
    """
    c, lanes = g.shape[1], _LANES
    while c // lanes > _UNROLLED and c % (2 * lanes) == 0:
        lanes *= 2
    whole = c - c % lanes

    def products(channel: int, count: int) -> Any:
        channels = (jnp.int32(channel), count)
        return _cut(pixels, (at, width), channels) * _cut(g, (q, 1), channels)

    rest = [products(channel, 1)[:, 0] for channel in range(whole, c)]
    if whole:
        rest.append(jnp.sum(_added([products(channel, lanes) for channel in range(0, whole, lanes)]), -1))
    return _added(rest)


def _added(terms: list[Any]) -> Any:
    while len(terms) > 1:
        pairs = [operator.add(*terms[i : i + 2]) for i in range(0, len(terms) - 1, 2)]
        terms = pairs + ([terms[-1]] if len(terms) % 2 else [])
    return terms[0]


def _times(weight: Any, value: Any) -> Any:
    """Multiplies, where zero times what is not finite is zero: it lies outside."""
    return jnp.where(weight == 0, jnp.zeros((), value.dtype), weight * value)


_FORMS = {"read": read, "to_pixels": to_pixels, "to_weights": to_weights}
_ON_ONE_CPU = {"read": _read_through, "to_pixels": _to_pixels_in_loop, "to_weights": _to_weights_in_loop}
