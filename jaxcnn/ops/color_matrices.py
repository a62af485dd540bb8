"""Colour matrices: linear maps of (red, green, blue, 1), which compose by ``@``."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, check_floating, shape_text
from jaxcnn._typing import AnyArray, Array, Float, UInt8
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._images import aligned, amount, check_channels, check_pixels, from_planes, limited, to_planes
from jaxcnn.ops.color import GREY

__all__ = ["apply_color_matrix", "brightness_matrix", "contrast_matrix", "saturation_matrix"]

_ONE = np.diag([0.0, 0.0, 0.0, 1.0])
_COLOURS = np.diag([1.0, 1.0, 1.0, 0.0])
_GREY = np.array([[*GREY, 0.0]] * 3 + [[0.0] * 4])
_CONSTANT = np.array([[0.0, 0.0, 0.0, 1.0]] * 3 + [[0.0] * 4])


def apply_color_matrix(
    image: Float[AnyArray, "*#b h w c=3"] | UInt8[AnyArray, "*#b h w c=3"],
    matrix: Float[AnyArray, "*#b rows columns=4"],
    *,
    clip: bool = True,
) -> Float[Array, "*b h w c=3"] | UInt8[Array, "*b h w c=3"]:
    """Maps every pixel's (red, green, blue, 1) by a matrix.

    Several linear changes of colour cost one pass: their matrices are multiplied, the last one first.

    Convention:
        The constant column is in [0, 1], of uint8 images, too. Between changes that are multiplied nothing is clipped.

    Args:
        image: Floating in [0, 1], or uint8, of three channels; computed in float32 or wider.
        matrix: 3x4, or 4x4 with (0, 0, 0, 1) below, which is not looked at: one, or one per example.
        clip: Whether values are limited to [0, 1]; uint8 always is.

    Returns:
        The image in its dtype; uint8 is rounded to the nearest level. Differentiable in both. The unit matrix gives
        the image back exactly.

    Raises:
        ValueError: If the image is not of three channels, a form or dtype is wrong, or leading axes do not broadcast.

    Example:
        >>> swap = jnp.array([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.25]])
        >>> ops.apply_color_matrix(jnp.array([[[0.25, 0.5, 0.5]]]), swap).tolist()
        [[[0.5, 0.25, 0.75]]]

    Parity:
        With the matrices of this module: the operations of torchvision 0.28 that they stand for, within 1e-6 where
        these do not clip, see ``adjust_brightness``, ``adjust_saturation`` and ``adjust_contrast``.
    """
    name = "apply_color_matrix"
    image = check_pixels(name, image)
    check_channels(name, image, 3)
    matrix = as_array(name, "matrix", matrix)
    check_floating(name, "matrix", matrix)
    form = matrix.shape[-2:] in ((3, 4), (4, 4))
    check(form, name, "matrix", "of shape (..., 3, 4) or (..., 4, 4)", shape_text(matrix))
    image, matrix = aligned(name, "image and matrix", (image, matrix.astype(working_dtype(image))), (3, 2))
    x = to_planes(image)

    def one(row: int) -> Any:
        r, g, b, constant = (matrix[..., row : row + 1, i : i + 1, None] for i in range(4))
        return r * x[..., :1, :, :] + g * x[..., 1:2, :, :] + b * x[..., 2:, :, :] + constant

    return from_planes(limited(jnp.concatenate([one(i) for i in range(3)], -3), clip), image.dtype)


def brightness_matrix(factor: float | Float[AnyArray, "*b"]) -> Float[Array, "*b 4 4"]:
    """Makes the matrix of ``adjust_brightness`` without clipping.

    Args:
        factor: 0 is black, 1 changes nothing; a number or an array, computed in float32 or wider.

    Returns:
        One matrix per factor.

    Raises:
        ValueError: If ``factor`` is a negative number, or of another dtype.

    Example:
        >>> ops.brightness_matrix(0.5).diagonal().tolist()
        [0.5, 0.5, 0.5, 1.0]
    """
    (strength,) = _amounts("brightness_matrix", factor=factor)
    return strength * _like(_COLOURS, strength) + _like(_ONE, strength)


def saturation_matrix(factor: float | Float[AnyArray, "*b"]) -> Float[Array, "*b 4 4"]:
    """Makes the matrix of ``adjust_saturation`` without clipping.

    Args:
        factor: 0 is grey, 1 changes nothing; a number or an array, computed in float32 or wider.

    Returns:
        One matrix per factor.

    Raises:
        ValueError: If ``factor`` is a negative number, or of another dtype.

    Example:
        >>> [round(v, 4) for v in ops.saturation_matrix(0.0)[0].tolist()]
        [0.2989, 0.587, 0.114, 0.0]
    """
    (strength,) = _amounts("saturation_matrix", factor=factor)
    return strength * _like(_COLOURS, strength) + (1 - strength) * _like(_GREY, strength) + _like(_ONE, strength)


def contrast_matrix(
    factor: float | Float[AnyArray, "*#b"], mean: float | Float[AnyArray, "*#b"]
) -> Float[Array, "*b 4 4"]:
    """Makes the matrix of ``adjust_contrast`` without clipping.

    Args:
        factor: 0 is even grey, 1 changes nothing; a number or an array, computed in float32 or wider.
        mean: The mean of the grey image that it is applied to, in [0, 1]; a number or an array.

    Returns:
        One matrix per pair.

    Raises:
        ValueError: If ``factor`` is a negative number, a dtype is wrong, or the two do not broadcast.

    Example:
        >>> ops.contrast_matrix(0.5, 0.25)[0].tolist()
        [0.5, 0.0, 0.0, 0.125]
    """
    strength, middle = _amounts("contrast_matrix", factor=factor, mean=mean)
    colours, one = _like(_COLOURS, strength), _like(_ONE, strength)
    return strength * colours + (1 - strength) * middle * _like(_CONSTANT, strength) + one


def _amounts(function: str, **values: Any) -> list[Any]:
    """Gives amounts in float32 or wider, of one rank, with two axes behind."""
    wide = working_dtype(*[v for v in values.values() if hasattr(v, "dtype")])
    low = {"factor": 0.0}
    arrays = [amount(function, name, v, wide, low=low.get(name, -np.inf)) for name, v in values.items()]
    return [
        jnp.expand_dims(a, (-2, -1)) for a in aligned(function, " and ".join(values), tuple(arrays), (0,) * len(arrays))
    ]


def _like(constant: np.ndarray, x: Any) -> Any:
    """Gives a constant matrix in dtype and rank of x."""
    return np.asarray(constant, x.dtype).reshape((1,) * (x.ndim - 2) + (4, 4))
