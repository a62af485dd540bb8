"""Hue, saturation and value: conversion in both directions, and rotation of the hue."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._typing import AnyArray, Array, Float, UInt8
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._images import (
    align_amounts,
    as_amount,
    check_channels,
    check_pixels,
    clip_to_unit,
    from_planes,
    substitute_exact,
    to_planes,
)

__all__ = ["adjust_hue", "hsv_to_rgb", "rgb_to_hsv"]

_TINY = 1e-12  # chroma below which a pixel counts as gray: its hue would be noise, and its gradient overflow


def rgb_to_hsv(
    image: Float[AnyArray, "*b h w c=3"] | UInt8[AnyArray, "*b h w c=3"],
) -> Float[Array, "*b h w c=3"] | UInt8[Array, "*b h w c=3"]:
    """Converts red, green and blue to hue, saturation and value.

    Convention:
        Hue is in [0, 1): red is 0, green 1/3, blue 2/3; the hue of gray is 0. Saturation is (max - min) / max, 0
        for black; value is the maximum.

    Args:
        image: Floating in [0, 1], or uint8, where 255 represents 1; computed in float32 or wider.

    Returns:
        The three channels in the dtype of the image. Gradients are finite, also for gray and black.

    Raises:
        ValueError: If the image does not have three channels, or its shape or dtype is wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.rgb_to_hsv(jnp.array([[[0.25, 0.5, 0.25]]])).round(3).tolist()
        [[[0.3330000042915344, 0.5, 0.5]]]

    Parity:
        ``matplotlib.colors.rgb_to_hsv``, float32, and the conversion inside of torchvision 0.28's ``adjust_hue``:
        within 1e-6 (hue on the circle).
    """
    image = check_pixels("rgb_to_hsv", image)
    check_channels("rgb_to_hsv", image, 3)
    chroma, arc, value = _hue_terms(to_planes(image))
    has_color = chroma > _TINY
    hue = jnp.where(has_color, arc / jnp.where(has_color, chroma, 1.0), 0.0)
    hue = jnp.where(hue < 0, hue + 6, hue)
    hue = jnp.where(hue >= 6, hue - 6, hue)
    saturation = chroma / jnp.where(value > _TINY, value, 1.0)
    return from_planes(jnp.concatenate([hue * (1 / 6), saturation, value], -3), image.dtype)


def hsv_to_rgb(
    image: Float[AnyArray, "*b h w c=3"] | UInt8[AnyArray, "*b h w c=3"],
) -> Float[Array, "*b h w c=3"] | UInt8[Array, "*b h w c=3"]:
    """Converts hue, saturation and value to red, green and blue.

    Convention:
        As for ``rgb_to_hsv``; a hue outside of [0, 1) is taken modulo 1.

    Args:
        image: Hue, saturation and value, floating in [0, 1], or uint8; computed in float32 or wider.

    Returns:
        The image in its dtype.

    Raises:
        ValueError: If the image does not have three channels, or its shape or dtype is wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.hsv_to_rgb(jnp.array([[[0.5, 0.5, 1.0]]])).tolist()
        [[[0.5, 1.0, 1.0]]]

    Parity:
        ``matplotlib.colors.hsv_to_rgb``, float32: within 1e-6.
    """
    image = check_pixels("hsv_to_rgb", image)
    check_channels("hsv_to_rgb", image, 3)
    x = to_planes(image)
    hue, saturation, value = (x[..., i : i + 1, :, :] for i in range(3))
    return from_planes(value - saturation * value * _chroma_deficit(6 * hue), image.dtype)


def adjust_hue(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"], delta: float | Float[AnyArray, "*#b"]
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Rotates all hues by a fraction of the circle, keeping the largest and the smallest value of every pixel.

    Args:
        image: Floating in [0, 1], or uint8, with three channels; computed in float32 or wider. An image with
            one channel has no hue and is not changed.
        delta: In [-0.5, 0.5]: 1/3 turns red to green, 0.5 to its complement, 0 returns the image unchanged; one
            number, or one per example.

    Returns:
        The image in its dtype; uint8 is rounded to the nearest level. Differentiable in image and delta, with
        finite gradients also for gray and black.

    Raises:
        ValueError: If the image has neither one channel nor three, a shape or dtype is wrong, leading axes do not
            broadcast, or ``delta`` is a number outside of [-0.5, 0.5].

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.adjust_hue(jnp.array([[[1.0, 0.5, 0.5]]]), 0.5).tolist()
        [[[0.5, 1.0, 1.0]]]

    Parity:
        torchvision 0.28 ``v2.functional.adjust_hue``, on photographs: float32 within 1e-6; uint8 within 1 level, as
        torchvision cuts fractions off.
    """
    name = "adjust_hue"
    image = check_pixels(name, image)
    check_channels(name, image, 1, 3)
    turn = as_amount(name, "delta", delta, working_dtype(image), -0.5, 0.5)
    image, turn = align_amounts(name, "delta", image, turn)
    x = to_planes(image)
    if image.shape[-1] == 1:
        return from_planes(x + 0 * turn, image.dtype)
    chroma, arc, value = _hue_terms(x)
    has_color, rotated = chroma > _TINY, _rotate_hue(6 * turn, arc, chroma, value)
    # Gray has no hue; taking it as red gives it the derivative of red.
    rotated = jnp.where(has_color, rotated, value - chroma * _chroma_deficit(6 * turn))
    return from_planes(clip_to_unit(substitute_exact(turn == 0, x, rotated)), image.dtype)


def _hue_terms(planes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns chroma (the largest value minus the smallest), hue in (-1, 5) times chroma, and the largest value."""
    r, g, b = (planes[..., i : i + 1, :, :] for i in range(3))
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    red, green = r == value, g == value
    arc = jnp.where(red, g - b, jnp.where(green, b - r + 2 * chroma, r - g + 4 * chroma))
    return chroma, arc, value


def _rotate_hue(turn: jax.Array, arc: jax.Array, chroma: jax.Array, value: jax.Array) -> jax.Array:
    """Returns red, green and blue planes of hue ``turn + arc / chroma`` in [0, 6); arc as in ``_hue_terms``.

    All in multiples of chroma, which avoids a division by it, and the three planes by one expression rather than put
    together of three: XLA's CPU backend computes it in one pass, with vectors.
    """
    k = arc + _hue_of_channels(turn) * chroma
    k = jnp.where(k < 0, k + 6 * chroma, jnp.where(k >= 6 * chroma, k - 6 * chroma, k))
    return value - _deficit(k, chroma)


def _chroma_deficit(hue: jax.Array) -> jax.Array:
    """Returns by how much of the chroma red, green and blue are below the value, at a hue in [0, 6)."""
    return _deficit(_hue_of_channels(hue), 1.0)


def _deficit(k: jax.Array, chroma: jax.Array | float) -> jax.Array:
    """Returns by how much a color is below the value; k, in multiples of chroma, is the hue from where it is 0."""
    k = jnp.where(k > 2 * chroma, 4 * chroma - k, k)
    return jnp.where(k < 0, 0.0, jnp.where(k > chroma, chroma, k))


def _hue_of_channels(hue: jax.Array) -> jax.Array:
    """Returns the hue relative to where red, green and blue equal the value, in [0, 6), as three planes."""
    places = np.array([5, 3, 1], hue.dtype).reshape(3, 1, 1)
    hue = hue + jnp.expand_dims(places, range(hue.ndim - 3))
    return hue - 6 * jnp.floor(hue * (1 / 6))
