"""Interpolation along one axis: which pixels a position touches, and with what weights.

A position is in pixels, the first pixel's centre being 0. What the padding mode does beyond the image is already in
the result: all pixels named are inside, taps that fall outside are folded back into the image or left out.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["WIDTHS", "Axis", "along", "coordinate", "fold", "pixel_numbers"]

WIDTHS = {"nearest": 1, "bilinear": 2, "bicubic": 4}
"""How many pixels in line a mode reads."""

_CUBIC = -0.75
_MANTISSA = 23  # bits, of float32


class Axis(NamedTuple):
    """Pixels that positions touch along an axis, consecutive ones."""

    first: Any  # whole numbers, floating still; of a position that is NaN any pixel
    weights: list[Any]  # of every pixel from the first on
    outside: Any  # weight of what is outside


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def coordinate(points: Any, i: int) -> Any:
    """Takes one coordinate of points (..., d).

    That of a slice is padding as a gradient, which XLA's CPU backend computes in a branch per number; a third of the
    gradient to a grid of volumes went there.
    """
    return points[..., i]


@coordinate.defjvp
def _coordinate_tangent(i: int, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (points,), (change,) = primals, tangents
    here = lax.broadcasted_iota(jnp.int32, change.shape, change.ndim - 1, out_sharding=jax.typeof(change).sharding) == i
    return points[..., i], jnp.sum(jnp.where(here, change, jnp.zeros((), change.dtype)), -1)


def along(position: Any, size: int, mode: str, padding_mode: str, align_corners: bool) -> Axis:
    """Interpolates along an axis of ``size`` pixels."""
    position = fold(position, size, mode, padding_mode, align_corners)
    whole = lax.stop_gradient(position)
    left = lax.round(whole, lax.RoundingMethod.TO_NEAREST_EVEN) if mode == "nearest" else jnp.floor(whole)
    left -= (WIDTHS[mode] - 1) // 2
    count = min(WIDTHS[mode], size)
    # By comparisons, which are one instruction each, where a clamp has to let NaN through.
    first = jnp.where(left < size - count, left, _scalar(size - count, left))
    first = jnp.where(first > 0, first, _scalar(0.0, left))
    if mode == "bicubic":
        weights, outside = _cubics(position, left, first, count, size, padding_mode, align_corners)
    else:
        if mode == "nearest":
            weights = [jnp.where(whole == whole, jnp.where(left == first, 1, 0).astype(whole.dtype), whole)]
            inside = left == first
        else:
            weights = [_hat(position, first + k) for k in range(count)]
            inside = (position >= 0) & (position <= size - 1)
        # Exactly zero inside: one minus the sum of the weights need not be.
        outside = jnp.where(inside, 0, 1 - functools.reduce(operator.add, weights))
    return Axis(first, weights, outside)


def pixel_numbers(firsts: Sequence[Any], strides: Sequence[int], pixels: int) -> Any:
    """Counts pixels of an image, int32, from whole numbers along every axis, which are at most as many as ``pixels``.

    Up to 2^23 pixels the sum is exact in float32 and its lowest bits, once 2^23 is added, are the number: two cheap
    instructions, where a conversion has to look for NaN and for what an integer cannot hold, which makes XLA's CPU loop
    longer.
    """
    by_bits = firsts[0].dtype == jnp.float32 and pixels <= 2**_MANTISSA
    parts = firsts if by_bits else [first.astype(jnp.int32) for first in firsts]
    number = functools.reduce(operator.add, (part * n for part, n in zip(parts, strides, strict=True)))
    if not by_bits:
        return number
    return lax.bitcast_convert_type(number + 2.0**_MANTISSA, jnp.int32) & (2**_MANTISSA - 1)


@jax.custom_jvp
def _hat(position: Any, pixel: Any) -> Any:
    """Weighs a pixel by its distance; the slope is the right-hand one, which that of a maximum would not be."""
    weight = 1 - jnp.abs(position - pixel)
    return jnp.where(weight < 0, _scalar(0.0, weight), weight)  # one instruction; NaN stays NaN


@_hat.defjvp
def _hat_slope(primals: Any, tangents: Any) -> tuple[Any, Any]:
    position, pixel = primals
    left = jnp.floor(lax.stop_gradient(position))
    slope = jnp.where(left == pixel, -1, 0) + jnp.where(left == pixel - 1, 1, 0)
    slope = jnp.where(left == left, slope.astype(position.dtype), position)  # NaN stays NaN
    return _hat(position, pixel), slope * tangents[0]


def _cubics(
    position: Any, left: Any, first: Any, count: int, size: int, padding_mode: str, align_corners: bool
) -> tuple[list[Any], Any]:
    """Gives the weights of ``count`` pixels and of what is outside."""
    weights, outside = [jnp.zeros_like(position) for _ in range(count)], jnp.zeros_like(position)
    for i, part in enumerate(_cubic(position - (left + 1))):
        tap = left + i
        if padding_mode in ("zeros", "fill"):
            outside += jnp.where((tap < 0) | (tap >= size), part, 0)
        else:
            tap = _fold_index(tap, size, padding_mode, align_corners)
        for k in range(count):
            weights[k] += jnp.where(tap == first + k, part, 0)
    lost = jnp.isnan(left)
    return [jnp.where(lost, jnp.nan, weight) for weight in weights], jnp.where(lost, jnp.nan, outside)


def _cubic(t: Any) -> list[Any]:
    """The cubic convolution kernel at distances 1 + t, t, 1 - t, 2 - t (Keys 1981)."""
    return [_far(1 + t), _near(t), _near(1 - t), _far(2 - t)]


def _near(x: Any) -> Any:
    return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1


def _far(x: Any) -> Any:
    return _CUBIC * (((x - 5) * x + 8) * x - 4)


def fold(position: Any, size: int, mode: str, padding_mode: str, align_corners: bool) -> Any:
    """Brings positions of border and reflection into the image, others not beyond what their weights can stand."""
    if padding_mode in ("zeros", "fill") and mode != "bicubic":
        return position
    if padding_mode in ("zeros", "fill") or (padding_mode == "border" and mode == "bicubic"):
        # Beyond the last pixel that a tap can reach nothing changes, and powers cannot overflow.
        reach = WIDTHS[mode] // 2 + 1.0
        return lax.clamp(_scalar(-reach, position), position, _scalar(size - 1 + reach, position))
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
    return lax.clamp(_scalar(0.0, position), position, _scalar(size - 1.0, position))


def _fold_index(index: Any, size: int, padding_mode: str, align_corners: bool) -> Any:
    """Brings the number of a pixel, at most two images away, into the image."""
    if padding_mode == "reflection" and size > 1:
        edge = 0.0 if align_corners else 0.5  # of the mirror, beyond the outer pixels' centres
        for _ in range(2 if size > 2 else 4):
            index = jnp.where(index < 0, -2 * edge - index, index)
            index = jnp.where(index > size - 1, 2 * (size - 1 + edge) - index, index)
    return lax.clamp(_scalar(0.0, index), index, _scalar(size - 1.0, index))


def _scalar(value: int | float, like: Any) -> jax.Array:
    return jnp.asarray(value, like.dtype)
