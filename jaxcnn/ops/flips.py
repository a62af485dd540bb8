"""Flips and quarter turns."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn._check import as_array, check, check_min_rank
from jaxcnn._typing import AnyArray, Array, Num

__all__ = ["flip_left_right", "flip_up_down", "rotate_90"]


def flip_left_right(image: Num[AnyArray, "*b h w c"]) -> Num[Array, "*b h w c"]:
    """Mirrors an image: its left side becomes its right side.

    Args:
        image: The image, of any dtype.

    Returns:
        The mirrored image.

    Raises:
        ValueError: If the image has less than three axes.

    Example:
        >>> ops.flip_left_right(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]))[..., 0].tolist()
        [[2.0, 1.0], [4.0, 3.0]]

    Parity:
        torchvision 0.28 ``v2.functional.horizontal_flip``: equal.
    """
    return jnp.flip(_image("flip_left_right", image), -2)


def flip_up_down(image: Num[AnyArray, "*b h w c"]) -> Num[Array, "*b h w c"]:
    """Turns an image over: its upper side becomes its lower side.

    Args:
        image: The image, of any dtype.

    Returns:
        The image turned over.

    Raises:
        ValueError: If the image has less than three axes.

    Example:
        >>> ops.flip_up_down(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]))[..., 0].tolist()
        [[3.0, 4.0], [1.0, 2.0]]

    Parity:
        torchvision 0.28 ``v2.functional.vertical_flip``: equal.
    """
    return jnp.flip(_image("flip_up_down", image), -3)


def rotate_90(image: Num[AnyArray, "*b h w c"], turns: int) -> Num[Array, "*b h_out w_out c"]:
    """Rotates an image by quarter turns, exactly.

    Args:
        image: The image, of any dtype.
        turns: Number of quarter turns, to the left (counter-clockwise) above 0, to the right below; it is static,
            as height and width change places where it is odd.

    Returns:
        The rotated image.

    Raises:
        ValueError: If the image has less than three axes, or ``turns`` is not an integer.

    Example:
        >>> ops.rotate_90(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]), 1)[..., 0].tolist()
        [[2.0, 4.0], [1.0, 3.0]]

    Parity:
        ``numpy.rot90`` on height and width, and torchvision 0.28 ``v2.functional.rotate`` by 90 degrees: equal.
    """
    image = _image("rotate_90", image)
    static = isinstance(turns, int) and not isinstance(turns, bool)
    check(static, "rotate_90", "turns", "an integer", repr(turns))
    return jnp.rot90(image, turns, (-3, -2))


def _image(function: str, image: Any) -> jax.Array:
    image = as_array(function, "image", image)
    check_min_rank(function, "image", image, "h w c")
    return image
