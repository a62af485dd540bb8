"""Interpolation along one axis: which pixels a position reads, and with what weights.

Positions are in pixels; the center of the first pixel is 0. The padding mode is already applied in the result: all
pixels that are named lie inside, and weights that fall outside are folded back into the image or left out.

The weights are ordinary JAX functions of the position, so JAX differentiates them: ``_cubic_weights`` for
``"bicubic"``, ``_hat_weight`` for ``"bilinear"``.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

__all__ = [
    "KERNEL_WIDTHS",
    "AxisWeights",
    "Mode",
    "PaddingMode",
    "apply_padding_mode",
    "flat_index",
    "interpolate_axis",
    "take_coordinate",
]

Mode = Literal["bilinear", "nearest", "bicubic"]
PaddingMode = Literal["zeros", "border", "reflection", "fill"]

KERNEL_WIDTHS: dict[Mode, int] = {"nearest": 1, "bilinear": 2, "bicubic": 4}
"""How many pixels along an axis a mode reads."""

_CUBIC = -0.75
_MANTISSA = 23  # bits, of float32


class AxisWeights(NamedTuple):
    """The consecutive pixels that positions read along an axis, and their weights."""

    base_index: jax.Array  # the first of them: integers, still of a floating dtype; any pixel where a position is NaN
    weights: list[jax.Array]  # of every pixel, from the first on
    outside: jax.Array  # total weight of what lies outside


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def take_coordinate(points: jax.Array, i: int) -> jax.Array:
    """Takes one coordinate of points (..., d).

    The gradient of a slice is padding, which XLA's CPU backend computes with one branch per number; a third of the
    gradient to a grid of volumes was spent there.
    """
    return points[..., i]


@take_coordinate.defjvp
def _take_coordinate_jvp(i: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (points,), (change,) = primals, tangents
    here = lax.broadcasted_iota(jnp.int32, change.shape, change.ndim - 1, out_sharding=jax.typeof(change).sharding) == i
    return points[..., i], jnp.sum(jnp.where(here, change, jnp.zeros((), change.dtype)), -1)


def interpolate_axis(
    position: jax.Array, size: int, mode: Mode, padding_mode: PaddingMode, align_corners: bool
) -> AxisWeights:
    """Computes the pixels and weights of positions along an axis of ``size`` pixels."""
    position = apply_padding_mode(position, size, mode, padding_mode, align_corners)
    fixed = lax.stop_gradient(position)
    left = lax.round(fixed, lax.RoundingMethod.TO_NEAREST_EVEN) if mode == "nearest" else jnp.floor(fixed)
    left -= (KERNEL_WIDTHS[mode] - 1) // 2
    count = min(KERNEL_WIDTHS[mode], size)
    # By comparisons, which are one instruction each, where a clamp has to let NaN through.
    base_index = jnp.where(left < size - count, left, _scalar_like(size - count, left))
    base_index = jnp.where(base_index > 0, base_index, _scalar_like(0.0, left))
    if mode == "bicubic":
        weights, outside = _cubic_weights(position, left, base_index, count, size, padding_mode, align_corners)
    else:
        if mode == "nearest":
            weights = [jnp.where(fixed == fixed, jnp.where(left == base_index, 1, 0).astype(fixed.dtype), fixed)]
            inside = left == base_index
        else:
            weights = [_hat_weight(position, base_index + k) for k in range(count)]
            inside = (position >= 0) & (position <= size - 1)
        # Exactly zero inside: one minus the sum of the weights need not be.
        outside = jnp.where(inside, 0, 1 - functools.reduce(operator.add, weights))
    return AxisWeights(base_index, weights, outside)


def flat_index(indices: Sequence[jax.Array], strides: Sequence[int], pixels: int) -> jax.Array:
    """Computes the int32 index of pixels in the flattened image from their indices along every axis.

    Up to 2^23 pixels the sum is exact in float32 and its lowest bits, once 2^23 is added, are the index: two cheap
    instructions, where a conversion has to look for NaN and for what an integer cannot hold, which makes XLA's CPU loop
    longer.

    Args:
        indices: Integers along every axis, of a floating dtype.
        strides: How far apart neighbors of every axis lie in the flattened image.
        pixels: How many pixels the image has.
    """
    by_bits = indices[0].dtype == jnp.float32 and pixels <= 2**_MANTISSA
    parts = indices if by_bits else [index.astype(jnp.int32) for index in indices]
    number = functools.reduce(operator.add, (part * n for part, n in zip(parts, strides, strict=True)))
    if not by_bits:
        return number
    return lax.bitcast_convert_type(number + 2.0**_MANTISSA, jnp.int32) & (2**_MANTISSA - 1)


@jax.custom_jvp
def _hat_weight(position: jax.Array, pixel: jax.Array) -> jax.Array:
    """Weights a pixel by its distance; the slope is the right-hand one, which that of a maximum would not be."""
    weight = 1 - jnp.abs(position - pixel)
    return jnp.where(weight < 0, _scalar_like(0.0, weight), weight)  # one instruction; NaN stays NaN


@_hat_weight.defjvp
def _hat_weight_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    position, pixel = primals
    left = jnp.floor(lax.stop_gradient(position))
    slope = jnp.where(left == pixel, -1, 0) + jnp.where(left == pixel - 1, 1, 0)
    slope = jnp.where(left == left, slope.astype(position.dtype), position)  # NaN stays NaN
    return _hat_weight(position, pixel), slope * tangents[0]


def _cubic_weights(
    position: jax.Array,
    left: jax.Array,
    base_index: jax.Array,
    count: int,
    size: int,
    padding_mode: PaddingMode,
    align_corners: bool,
) -> tuple[list[jax.Array], jax.Array]:
    """Computes the weights of ``count`` pixels and of what lies outside."""
    weights, outside = [jnp.zeros_like(position) for _ in range(count)], jnp.zeros_like(position)
    for i, part in enumerate(_cubic_kernel(position - (left + 1))):
        tap = left + i
        if padding_mode in ("zeros", "fill"):
            outside += jnp.where((tap < 0) | (tap >= size), part, 0)
        else:
            tap = _fold_index(tap, size, padding_mode, align_corners)
        for k in range(count):
            weights[k] += jnp.where(tap == base_index + k, part, 0)
    lost = jnp.isnan(left)
    return [jnp.where(lost, jnp.nan, weight) for weight in weights], jnp.where(lost, jnp.nan, outside)


def _cubic_kernel(t: jax.Array) -> list[jax.Array]:
    """Evaluates the cubic convolution kernel at distances 1 + t, t, 1 - t, 2 - t (Keys 1981)."""
    return [_cubic_far(1 + t), _cubic_near(t), _cubic_near(1 - t), _cubic_far(2 - t)]


def _cubic_near(x: jax.Array) -> jax.Array:
    return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1


def _cubic_far(x: jax.Array) -> jax.Array:
    return _CUBIC * (((x - 5) * x + 8) * x - 4)


def apply_padding_mode(
    position: jax.Array, size: int, mode: Mode, padding_mode: PaddingMode, align_corners: bool
) -> jax.Array:
    """Moves positions of border and reflection into the image; limits others to where their weights stay finite."""
    if padding_mode in ("zeros", "fill") and mode != "bicubic":
        return position
    if padding_mode in ("zeros", "fill") or (padding_mode == "border" and mode == "bicubic"):
        # Beyond the last pixel that a tap can reach nothing changes, and powers cannot overflow.
        reach = KERNEL_WIDTHS[mode] // 2 + 1.0
        return lax.clamp(_scalar_like(-reach, position), position, _scalar_like(size - 1 + reach, position))
    if padding_mode == "reflection":
        low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
        if span == 0:
            return position * 0
        # A triangle wave about the nearest multiple of the period. Where division takes another multiple for the
        # nearest (XLA divides by multiplying), the point lies on an edge, which is as far from both.
        offset = position - low
        nearest = lax.round(lax.stop_gradient(offset) / (2 * span), lax.RoundingMethod.TO_NEAREST_EVEN)
        position = jnp.abs(offset - nearest * (2 * span)) + low
        if mode == "bicubic":  # its taps are mirrored one by one
            return position
    # Not jnp.clip: at the border itself the slope is zero, as in PyTorch.
    return lax.clamp(_scalar_like(0.0, position), position, _scalar_like(size - 1.0, position))


def _fold_index(index: jax.Array, size: int, padding_mode: PaddingMode, align_corners: bool) -> jax.Array:
    """Moves the index of a pixel, at most two images away, into the image."""
    if padding_mode == "reflection" and size > 1:
        edge = 0.0 if align_corners else 0.5  # of the mirror, beyond the centers of the outer pixels
        for _ in range(2 if size > 2 else 4):
            index = jnp.where(index < 0, -2 * edge - index, index)
            index = jnp.where(index > size - 1, 2 * (size - 1 + edge) - index, index)
    return lax.clamp(_scalar_like(0.0, index), index, _scalar_like(size - 1.0, index))


def _scalar_like(value: int | float, array: jax.Array) -> jax.Array:
    return jnp.asarray(value, array.dtype)
