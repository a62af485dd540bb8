"""Flips and quarter turns."""

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
        ValueError: If the image has fewer than three axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.flip_left_right(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]))[..., 0].tolist()
        [[2.0, 1.0], [4.0, 3.0]]

    Parity:
        torchvision 0.28 ``v2.functional.horizontal_flip``: equal.
    """
    return jnp.flip(_check_image("flip_left_right", image), -2)


def flip_up_down(image: Num[AnyArray, "*b h w c"]) -> Num[Array, "*b h w c"]:
    """Flips an image upside down: its upper side becomes its lower side.

    Args:
        image: The image, of any dtype.

    Returns:
        The flipped image.

    Raises:
        ValueError: If the image has fewer than three axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.flip_up_down(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]))[..., 0].tolist()
        [[3.0, 4.0], [1.0, 2.0]]

    Parity:
        torchvision 0.28 ``v2.functional.vertical_flip``: equal.
    """
    return jnp.flip(_check_image("flip_up_down", image), -3)


def rotate_90(image: Num[AnyArray, "*b h w c"], turns: int) -> Num[Array, "*b h_out w_out c"]:
    """Rotates an image by quarter turns, exactly.

    Args:
        image: The image, of any dtype.
        turns: Number of quarter turns, to the left (counter-clockwise) if positive; it is static,
            as an odd number exchanges height and width.

    Returns:
        The rotated image.

    Raises:
        ValueError: If the image has fewer than three axes, or ``turns`` is not an integer.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.rotate_90(jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]]), 1)[..., 0].tolist()
        [[2.0, 4.0], [1.0, 3.0]]

    Parity:
        ``numpy.rot90`` on height and width, and torchvision 0.28 ``v2.functional.rotate`` by 90 degrees: equal.
    """
    image = _check_image("rotate_90", image)
    static = isinstance(turns, int) and not isinstance(turns, bool)
    check(static, "rotate_90", "turns", "an integer", repr(turns))
    return jnp.rot90(image, turns, (-3, -2))


def _check_image(function: str, image: AnyArray) -> jax.Array:
    image = as_array(function, "image", image)
    check_min_rank(function, "image", image, "h w c")
    return image
