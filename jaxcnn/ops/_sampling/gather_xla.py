"""The weighted gather and its gradients in XLA: by gather and scatter, or point by point in a loop.

On CPU XLA runs a scatter serially, an update of one pixel at a time, and does not vectorize a sum over channels. With
more than one channel, a loop over points that updates or sums rows of pixels took a half to a quarter of that time
(``benchmarks/speed/grid_sample_forms.py``).
"""

import math
import operator

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxcnn.ops._primitives import match_varying_axes
from jaxcnn.ops._sampling.gather_spec import GatherSpec

__all__ = [
    "gather",
    "gather_flat",
    "image_gradient",
    "image_gradient_loop",
    "weight_gradient",
    "weight_gradient_flat",
    "weight_gradient_loop",
]

_LANES = 8
_MAX_SLICES = 64  # slices of so many lanes, beyond which they get wider: compilation takes time for each
_MAX_SINGLE_UPDATES = 32  # numbers that a point adds to pixels, up to which it does so tap by tap


def gather(pixels: jax.Array, base_index: jax.Array, *weights: jax.Array, spec: GatherSpec) -> jax.Array:
    """Sums pixels (n, c) times weights, each (*points)."""
    total = jnp.zeros((), pixels.dtype)
    for weight, offset in zip(weights, spec.tap_offsets, strict=True):
        values = _take_pixels(pixels, base_index + offset)
        total += weight[..., None] * values if spec.finite else _multiply(weight[..., None], values)
    return total


def image_gradient(g: jax.Array, base_index: jax.Array, *weights: jax.Array, spec: GatherSpec) -> jax.Array:
    """Adds g (*points, c) times weights, each (*points), to the pixels (n, c) that they read."""
    pixels = jnp.zeros((spec.num_pixels, g.shape[-1]), g.dtype)
    for weight, offset in zip(weights, spec.tap_offsets, strict=True):
        pixels = pixels.at[base_index + offset].add(_multiply(weight[..., None], g), mode="promise_in_bounds")
    return pixels


def weight_gradient(pixels: jax.Array, base_index: jax.Array, g: jax.Array, *, spec: GatherSpec) -> jax.Array:
    """Sums pixels (n, c) times g (*points, c) over channels, for every tap."""
    return jnp.stack([jnp.sum(_take_pixels(pixels, base_index + k) * g, -1) for k in spec.tap_offsets], -1)


def _take_pixels(pixels: jax.Array, index: jax.Array) -> jax.Array:
    """Takes pixels (n, c) at (*points); indexing would check every index for being negative."""
    sharding = jax.typeof(index).sharding
    if sharding.mesh.explicit_axes:
        channels = jax.typeof(pixels).sharding.spec[1]
        sharding = sharding.update(spec=P(*sharding.spec, channels))
        return pixels.at[index].get(mode="promise_in_bounds", out_sharding=sharding)
    numbers = lax.GatherDimensionNumbers((index.ndim,), collapsed_slice_dims=(0,), start_index_map=(0,))
    return lax.gather(pixels, index[..., None], numbers, (1, pixels.shape[1]), mode="promise_in_bounds")


def gather_flat(pixels: jax.Array, base_index: jax.Array, *weights: jax.Array, spec: GatherSpec) -> jax.Array:
    """Gathers from all images of a batch as from one."""
    return gather(_flatten_images(pixels), _index_in_batch(base_index, spec), *weights, spec=spec)


def weight_gradient_flat(pixels: jax.Array, base_index: jax.Array, g: jax.Array, *, spec: GatherSpec) -> jax.Array:
    """Computes ``weight_gradient`` for all images of a batch as for one."""
    return weight_gradient(_flatten_images(pixels), _index_in_batch(base_index, spec), g, spec=spec)


def image_gradient_loop(g: jax.Array, base_index: jax.Array, *weights: jax.Array, spec: GatherSpec) -> jax.Array:
    """Computes ``image_gradient`` for a batch in a loop over points."""
    batch_shape, c = spec.batch_shape(base_index), g.shape[-1]
    base_index = _index_in_batch(base_index, spec).reshape(-1)
    g, weights = g.reshape(-1, c), tuple(weight.reshape(-1) for weight in weights)
    width = 1 if c * spec.num_taps <= _MAX_SINGLE_UPDATES else spec.row_width
    starts = [row + i for row in spec.row_offsets for i in range(0, spec.row_width, width)]

    def add_point(q: jax.Array, pixels: jax.Array) -> jax.Array:
        at, value = _slice(base_index, (q, 1))[0], _slice(g, (q, 1))
        for i, start in enumerate(starts):
            weight = _stack_column([_slice(w, (q, 1))[0] for w in weights[i * width : (i + 1) * width]])
            total = _slice(pixels, (at + start, width)) + _multiply(weight, value)
            pixels = lax.dynamic_update_slice_in_dim(pixels, total, at + start, 0, allow_negative_indices=False)
        return pixels

    pixels, _ = match_varying_axes(jnp.zeros((math.prod(batch_shape) * spec.num_pixels, c), g.dtype), g)
    pixels = lax.fori_loop(jnp.int32(0), jnp.int32(base_index.size), add_point, pixels)
    return pixels.reshape(*batch_shape, spec.num_pixels, c)


def weight_gradient_loop(pixels: jax.Array, base_index: jax.Array, g: jax.Array, *, spec: GatherSpec) -> jax.Array:
    """Computes ``weight_gradient`` for a batch in a loop over points."""
    shape, c = base_index.shape, g.shape[-1]
    base_index = _index_in_batch(base_index, spec).reshape(-1)
    g, pixels = g.reshape(-1, c), pixels.reshape(-1, c)

    def dot_point(q: jax.Array, weights: jax.Array) -> jax.Array:
        at = _slice(base_index, (q, 1))[0]
        sums = jnp.concatenate([_dot_channels(pixels, at + row, spec.row_width, g, q) for row in spec.row_offsets])
        return lax.dynamic_update_slice_in_dim(weights, sums[None], q, 0, allow_negative_indices=False)

    weights, _ = match_varying_axes(jnp.zeros((base_index.size, spec.num_taps), g.dtype), g)
    weights = lax.fori_loop(jnp.int32(0), jnp.int32(base_index.size), dot_point, weights)
    return weights.reshape(*shape, spec.num_taps)


def _flatten_images(pixels: jax.Array) -> jax.Array:
    return pixels.reshape(-1, pixels.shape[-1])


def _index_in_batch(base_index: jax.Array, spec: GatherSpec) -> jax.Array:
    """Turns indices (*mapped, *points) in an image into indices in all images, one behind the other."""
    image = jnp.zeros((), jnp.int32)
    for axis, batched in enumerate(spec.is_batched):
        if batched:
            image = image * base_index.shape[axis] + lax.broadcasted_iota(jnp.int32, base_index.shape, axis)
    return base_index + image * spec.num_pixels


def _slice(array: jax.Array, *parts: tuple[jax.Array, int]) -> jax.Array:
    """Slices (start, length) of the first axes."""
    rest = [(jnp.int32(0), n) for n in array.shape[len(parts) :]]
    starts, lengths = zip(*parts, *rest, strict=True)
    return lax.dynamic_slice(array, starts, lengths, allow_negative_indices=False)


def _stack_column(numbers: list[jax.Array]) -> jax.Array:
    """Stacks numbers to (n, 1) by selecting, which the compiler computes where they are used."""
    row = lax.broadcasted_iota(jnp.int32, (len(numbers), 1), 0)
    column = jnp.full((len(numbers), 1), numbers[0])
    for k, number in enumerate(numbers[1:], 1):
        column = jnp.where(row == k, number, column)
    return column


def _dot_channels(pixels: jax.Array, at: jax.Array, width: int, g: jax.Array, q: jax.Array) -> jax.Array:
    """Sums ``width`` pixels from ``at`` on, times point q of g, over channels, eight or more lanes at a time.

    Every slice is taken once, where it is used: the compiler would put anything else into a loop of its own.
    """
    c, lanes = g.shape[1], _LANES
    while c // lanes > _MAX_SLICES and c % (2 * lanes) == 0:
        lanes *= 2
    vectorized = c - c % lanes

    def multiply_slices(channel: int, count: int) -> jax.Array:
        channels = (jnp.int32(channel), count)
        return _slice(pixels, (at, width), channels) * _slice(g, (q, 1), channels)

    rest = [multiply_slices(channel, 1)[:, 0] for channel in range(vectorized, c)]
    if vectorized:
        products = [multiply_slices(channel, lanes) for channel in range(0, vectorized, lanes)]
        rest.append(jnp.sum(_sum_pairwise(products), -1))
    return _sum_pairwise(rest)


def _sum_pairwise(terms: list[jax.Array]) -> jax.Array:
    while len(terms) > 1:
        pairs = [operator.add(*terms[i : i + 2]) for i in range(0, len(terms) - 1, 2)]
        terms = pairs + ([terms[-1]] if len(terms) % 2 else [])
    return terms[0]


def _multiply(weight: jax.Array, value: jax.Array) -> jax.Array:
    """Multiplies, where zero times infinity or NaN is zero: such a pixel is not read."""
    return jnp.where(weight == 0, jnp.zeros((), value.dtype), weight * value)
