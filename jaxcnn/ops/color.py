"""Color: brightness, contrast, saturation, conversion to gray, and the order of channels."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, check_known_sizes, shape_text
from jaxcnn._typing import AnyArray, Array, Float, Int, UInt8
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._images import (
    align_amounts,
    align_leading,
    as_amount,
    check_channels,
    check_pixels,
    clip_to_unit,
    from_planes,
    to_planes,
)

__all__ = [
    "adjust_brightness",
    "adjust_contrast",
    "adjust_saturation",
    "permute_channels",
    "rgb_to_grayscale",
    "to_grayscale",
]

GRAY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in gray."""


def rgb_to_grayscale(
    image: Float[AnyArray, "*b h w c=3"] | UInt8[AnyArray, "*b h w c=3"],
) -> Float[Array, "*b h w 1"] | UInt8[Array, "*b h w 1"]:
    """Converts red, green and blue to gray: 0.2989 r + 0.587 g + 0.114 b.

    Args:
        image: Floating in [0, 1], or uint8; computed in float32 or wider.

    Returns:
        The gray image with one channel, in the dtype of the image; uint8 is rounded to the nearest level.

    Raises:
        ValueError: If the image does not have three channels, or its shape or dtype is wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.rgb_to_grayscale(jnp.array([[[0.0, 1.0, 0.0]]])).round(3).tolist()
        [[[0.5870000123977661]]]

    Parity:
        torchvision 0.28 ``v2.functional.rgb_to_grayscale``, on photographs: float32 within 2e-7; uint8 within 1
        level, as torchvision truncates.
    """
    image = check_pixels("rgb_to_grayscale", image)
    check_channels("rgb_to_grayscale", image, 3)
    return from_planes(to_gray_plane(to_planes(image)), image.dtype)


def to_grayscale(
    image: Float[AnyArray, "*b h w c"] | UInt8[AnyArray, "*b h w c"],
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Converts an image to gray, keeping its three channels.

    Args:
        image: Floating in [0, 1], or uint8, with three channels; an image with one channel is returned unchanged.

    Returns:
        The gray image, all channels equal, in the shape and dtype of the image.

    Raises:
        ValueError: If the image has neither one channel nor three, or its shape or dtype is wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.to_grayscale(jnp.array([[[0.0, 1.0, 0.0]]])).round(3).tolist()
        [[[0.5870000123977661, 0.5870000123977661, 0.5870000123977661]]]

    Parity:
        As ``rgb_to_grayscale``, with ``num_output_channels=3``.
    """
    image = check_pixels("to_grayscale", image)
    check_channels("to_grayscale", image, 1, 3)
    if image.shape[-1] == 1:
        return image
    return from_planes(jnp.concatenate([to_gray_plane(to_planes(image))] * 3, -3), image.dtype)


def adjust_brightness(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"],
    factor: float | Float[AnyArray, "*#b"],
    *,
    clip: bool = True,
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Multiplies all values by a factor.

    Args:
        image: Floating in [0, 1], or uint8, with any number of channels; computed in float32 or wider.
        factor: 0 is black, 1 returns the image unchanged, 2 is twice as bright; one number, or one per example.
        clip: Whether values are limited to [0, 1]; uint8 always is.

    Returns:
        The image in its dtype; uint8 is rounded to the nearest level. Differentiable in image and factor.

    Raises:
        ValueError: If a shape or dtype is wrong, leading axes do not broadcast, or ``factor`` is a negative number.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.adjust_brightness(jnp.array([[[0.25, 0.5, 0.75]]]), 2.0).tolist()
        [[[0.5, 1.0, 1.0]]]

    Parity:
        torchvision 0.28 ``v2.functional.adjust_brightness``, on photographs: float32 equal; uint8 within 1 level, as
        torchvision cuts fractions off.
    """
    name = "adjust_brightness"
    image = check_pixels(name, image)
    strength = as_amount(name, "factor", factor, working_dtype(image), low=0.0)
    image, strength = align_amounts(name, "factor", image, strength)
    return from_planes(clip_to_unit(to_planes(image) * strength, clip), image.dtype)


def adjust_contrast(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"],
    factor: float | Float[AnyArray, "*#b"],
    *,
    clip: bool = True,
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Moves all values away from the mean of the gray image, or toward it.

    Args:
        image: Floating in [0, 1], or uint8; computed in float32 or wider. If the number of channels is not
            three, the plain mean of all of them is used.
        factor: 0 is uniform gray, 1 returns the image unchanged, 2 is twice the contrast; one number, or one per
            example.
        clip: Whether values are limited to [0, 1]; uint8 always is.

    Returns:
        The image in its dtype; uint8 is rounded to the nearest level. Differentiable in image and factor.

    Raises:
        ValueError: If a shape or dtype is wrong, leading axes do not broadcast, or ``factor`` is a negative number.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.adjust_contrast(jnp.array([[[0.25], [0.75]]]), 0.5).tolist()
        [[[0.375], [0.625]]]

    Parity:
        torchvision 0.28 ``v2.functional.adjust_contrast`` (of one or three channels), on photographs: float32 within
        1e-7; uint8 within 1 level, as torchvision truncates, also in the gray image.
    """
    name = "adjust_contrast"
    image = check_pixels(name, image)
    strength = as_amount(name, "factor", factor, working_dtype(image), low=0.0)
    image, strength = align_amounts(name, "factor", image, strength)
    x = to_planes(image)
    means = jnp.mean(x, (-2, -1), keepdims=True)
    middle = to_gray_plane(means) if image.shape[-1] == 3 else jnp.mean(means, -3, keepdims=True)
    return from_planes(clip_to_unit(_blend(x, middle, strength), clip), image.dtype)


def adjust_saturation(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"],
    factor: float | Float[AnyArray, "*#b"],
    *,
    clip: bool = True,
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Moves every pixel away from its gray value, or toward it.

    Args:
        image: Floating in [0, 1], or uint8, with three channels; computed in float32 or wider. An image with
            one channel has no color and is not changed.
        factor: 0 is gray, 1 returns the image unchanged, 2 is twice as colorful; one number, or one per example.
        clip: Whether values are limited to [0, 1]; uint8 always is.

    Returns:
        The image in its dtype; uint8 is rounded to the nearest level. Differentiable in image and factor.

    Raises:
        ValueError: If the image has neither one channel nor three, a shape or dtype is wrong, leading axes do not
            broadcast, or ``factor`` is a negative number.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.adjust_saturation(jnp.array([[[0.0, 1.0, 0.0]]]), 0.5).round(4).tolist()
        [[[0.2935..., 0.7935..., 0.2935...]]]

    Parity:
        torchvision 0.28 ``v2.functional.adjust_saturation``, on photographs: float32 within 2e-7; uint8 within 1
        level, as torchvision truncates.
    """
    name = "adjust_saturation"
    image = check_pixels(name, image)
    check_channels(name, image, 1, 3)
    strength = as_amount(name, "factor", factor, working_dtype(image), low=0.0)
    image, strength = align_amounts(name, "factor", image, strength)
    x = to_planes(image)
    colored = _blend(x, to_gray_plane(x), strength) if image.shape[-1] == 3 else x + 0 * strength
    return from_planes(clip_to_unit(colored, clip), image.dtype)


def permute_channels(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"],
    permutation: Sequence[int] | Int[AnyArray, "*#b c"],
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Reorders channels.

    Args:
        image: Floating, or uint8.
        permutation: For every channel of the result the index of its source channel, for all examples or for each.
            A traced one is not checked: channels may repeat, and a channel that does not exist is 0.

    Returns:
        The image with its channels reordered.

    Raises:
        ValueError: If a shape or dtype is wrong, leading axes do not broadcast, or a sequence is not a permutation.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.permute_channels(jnp.array([[[0.25, 0.5, 0.75]]]), (2, 0, 1)).tolist()
        [[[0.75, 0.25, 0.5]]]

    Parity:
        torchvision 0.28 ``v2.functional.permute_channels``: equal.
    """
    name = "permute_channels"
    image = check_pixels(name, image)
    c = image.shape[-1]
    check_known_sizes(name, "image", image, "c", (c,))
    if isinstance(permutation, list | tuple):
        expected = f"the numbers 0 to {c - 1} in some order"
        check(sorted(permutation) == list(range(c)), name, "permutation", expected, repr(permutation))
    order = as_array(name, "permutation", permutation)
    whole = jnp.issubdtype(order.dtype, jnp.integer) and order.ndim > 0 and order.shape[-1] == c
    check(whole, name, "permutation", f"integers of shape (..., {c})", shape_text(order))
    image, order = align_leading(name, "image and permutation", (image, order), (3, 1))
    x = jnp.moveaxis(image, -1, -3)

    def select_channel(number: jax.Array) -> jax.Array:
        """Selects one channel without a gather, which is slow on CPU and refused of a sharded array."""
        channel: jax.Array | np.ndarray = np.zeros((), x.dtype)
        for i in range(c):
            channel = jnp.where(number == i, x[..., i : i + 1, :, :], channel)
        return jnp.asarray(channel)

    planes = [select_channel(jnp.expand_dims(order[..., i], (-3, -2, -1))) for i in range(c)]
    return jnp.moveaxis(jnp.concatenate(planes, -3), -3, -1)


def to_gray_plane(planes: jax.Array) -> jax.Array:
    """Returns the gray plane (*b, 1, h, w) of three."""
    r, g, b = (planes[..., i : i + 1, :, :] for i in range(3))
    return GRAY_WEIGHTS[0] * r + GRAY_WEIGHTS[1] * g + GRAY_WEIGHTS[2] * b


def _blend(x: jax.Array, y: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends linearly: exactly x where the factor is 1, and exactly y where it is 0."""
    return factor * x + (1 - factor) * y
