"""Hue, saturation and value: the conversion both ways, and the turn of hues."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn._typing import AnyArray, Array, Float, UInt8
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._images import (
    amount,
    check_channels,
    check_pixels,
    from_planes,
    kept_where,
    limited,
    to_planes,
    with_amounts,
)

__all__ = ["adjust_hue", "hsv_to_rgb", "rgb_to_hsv"]

_TINY = 1e-12  # less colour than this is none: its hue would mean nothing, and its gradient overflow


def rgb_to_hsv(
    image: Float[AnyArray, "*b h w c=3"] | UInt8[AnyArray, "*b h w c=3"],
) -> Float[Array, "*b h w c=3"] | UInt8[Array, "*b h w c=3"]:
    """Converts red, green and blue to hue, saturation and value.

    Convention:
        Hue is in [0, 1): red is 0, green 1/3, blue 2/3; that of grey is 0. Saturation is (max - min) / max, and 0
        of black; value is the maximum.

    Args:
        image: Floating in [0, 1], or uint8, where 255 stands for 1; computed in float32 or wider.

    Returns:
        The three channels in the dtype of the image. Gradients are finite, of grey and black, too.

    Raises:
        ValueError: If the image is not of three channels, or of another form or dtype.

    Example:
        >>> ops.rgb_to_hsv(jnp.array([[[0.25, 0.5, 0.25]]])).round(3).tolist()
        [[[0.3330000042915344, 0.5, 0.5]]]

    Parity:
        ``matplotlib.colors.rgb_to_hsv``, float32, and the conversion inside of torchvision 0.28's ``adjust_hue``:
        within 1e-6 (hue on the circle).
    """
    image = check_pixels("rgb_to_hsv", image)
    check_channels("rgb_to_hsv", image, 3)
    chroma, arc, value = _circle(to_planes(image))
    colourful = chroma > _TINY
    hue = jnp.where(colourful, arc / jnp.where(colourful, chroma, 1.0), 0.0)
    hue = jnp.where(hue < 0, hue + 6, hue)
    hue = jnp.where(hue >= 6, hue - 6, hue)
    saturation = chroma / jnp.where(value > _TINY, value, 1.0)
    return from_planes(jnp.concatenate([hue * (1 / 6), saturation, value], -3), image.dtype)


def hsv_to_rgb(
    image: Float[AnyArray, "*b h w c=3"] | UInt8[AnyArray, "*b h w c=3"],
) -> Float[Array, "*b h w c=3"] | UInt8[Array, "*b h w c=3"]:
    """Converts hue, saturation and value to red, green and blue.

    Convention:
        As of ``rgb_to_hsv``; a hue outside of [0, 1) is taken modulo 1.

    Args:
        image: Hue, saturation and value, floating in [0, 1], or uint8; computed in float32 or wider.

    Returns:
        The image in its dtype.

    Raises:
        ValueError: If the image is not of three channels, or of another form or dtype.

    Example:
        >>> ops.hsv_to_rgb(jnp.array([[[0.5, 0.5, 1.0]]])).tolist()
        [[[0.5, 1.0, 1.0]]]

    Parity:
        ``matplotlib.colors.hsv_to_rgb``, float32: within 1e-6.
    """
    image = check_pixels("hsv_to_rgb", image)
    check_channels("hsv_to_rgb", image, 3)
    x = to_planes(image)
    hue, saturation, value = (x[..., i : i + 1, :, :] for i in range(3))
    return from_planes(value - saturation * value * _share(6 * hue), image.dtype)


def adjust_hue(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"], delta: float | Float[AnyArray, "*#b"]
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Turns all hues by a part of the circle, and keeps the largest and the smallest value of every pixel.

    Args:
        image: Floating in [0, 1], or uint8, of three channels; computed in float32 or wider. One of one
            channel has no hue and is not changed.
        delta: In [-0.5, 0.5]: 1/3 turns red to green, 0.5 to its complement, 0 gives the image back exactly; one
            number, or one per example.

    Returns:
        The image in its dtype; uint8 is rounded to the nearest level. Differentiable in image and delta, with
        finite gradients of grey and black, too.

    Raises:
        ValueError: If the image has neither one channel nor three, a form or dtype is wrong, leading axes do not
            broadcast, or ``delta`` is a number outside of [-0.5, 0.5].

    Example:
        >>> ops.adjust_hue(jnp.array([[[1.0, 0.5, 0.5]]]), 0.5).tolist()
        [[[0.5, 1.0, 1.0]]]

    Parity:
        torchvision 0.28 ``v2.functional.adjust_hue``, on photographs: float32 within 1e-6; uint8 within 1 level, as
        torchvision cuts fractions off.
    """
    name = "adjust_hue"
    image = check_pixels(name, image)
    check_channels(name, image, 1, 3)
    turn = amount(name, "delta", delta, working_dtype(image), -0.5, 0.5)
    image, turn = with_amounts(name, "delta", image, turn)
    x = to_planes(image)
    if image.shape[-1] == 1:
        return from_planes(x + 0 * turn, image.dtype)
    chroma, arc, value = _circle(x)
    # Grey has no hue; with that of red it has a derivative like that of red.
    turned = jnp.where(chroma > _TINY, _colours(6 * turn, arc, chroma, value), value - chroma * _share(6 * turn))
    return from_planes(limited(kept_where(turn == 0, x, turned)), image.dtype)


def _circle(planes: Any) -> tuple[Any, Any, Any]:
    """Gives chroma (the largest value less the smallest), hue in (-1, 5) times chroma, and the largest value."""
    r, g, b = (planes[..., i : i + 1, :, :] for i in range(3))
    value = jnp.maximum(jnp.maximum(r, g), b)
    chroma = value - jnp.minimum(jnp.minimum(r, g), b)
    red, green = r == value, g == value
    arc = jnp.where(red, g - b, jnp.where(green, b - r + 2 * chroma, r - g + 4 * chroma))
    return chroma, arc, value


def _colours(turn: Any, arc: Any, chroma: Any, value: Any) -> Any:
    """Gives red, green and blue planes of hue ``turn + arc / chroma``, of which 6 are a circle; arc as of ``_circle``.

    All in multiples of chroma, which spares a division by it, and the three planes by one expression rather than put
    together of three: XLA's CPU backend computes it in one pass, with vectors.
    """
    k = arc + _within_circle(turn) * chroma
    k = jnp.where(k < 0, k + 6 * chroma, jnp.where(k >= 6 * chroma, k - 6 * chroma, k))
    return value - _lacking(k, chroma)


def _share(hue: Any) -> Any:
    """Gives how much of the chroma red, green and blue lack of the value, at a hue of which 6 are a circle."""
    return _lacking(_within_circle(hue), 1.0)


def _lacking(k: Any, chroma: Any) -> Any:
    """Gives what a colour lacks of the value; k, in multiples of chroma, is seen from where it lacks nothing."""
    k = jnp.where(k > 2 * chroma, 4 * chroma - k, k)
    return jnp.where(k < 0, 0.0, jnp.where(k > chroma, chroma, k))


def _within_circle(hue: Any) -> Any:
    """Gives the hue seen from where red, green and blue lack nothing, in [0, 6), as three planes."""
    places = np.array([5, 3, 1], hue.dtype).reshape(3, 1, 1)
    hue = hue + jnp.expand_dims(places, range(hue.ndim - 3))
    return hue - 6 * jnp.floor(hue * (1 / 6))
