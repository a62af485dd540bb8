"""Color matrices: linear maps of (red, green, blue, 1), which compose by ``@``."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcnn._check import as_array, check, check_floating, shape_text
from jaxcnn._typing import AnyArray, Array, Float, UInt8
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._images import (
    align_leading,
    as_amount,
    check_channels,
    check_pixels,
    clip_to_unit,
    from_planes,
    to_planes,
)
from jaxcnn.ops.color import GRAY_WEIGHTS

__all__ = ["apply_color_matrix", "brightness_matrix", "contrast_matrix", "saturation_matrix"]

_ONE = np.diag([0.0, 0.0, 0.0, 1.0])
_COLORS = np.diag([1.0, 1.0, 1.0, 0.0])
_GRAY = np.array([[*GRAY_WEIGHTS, 0.0]] * 3 + [[0.0] * 4])
_CONSTANT = np.array([[0.0, 0.0, 0.0, 1.0]] * 3 + [[0.0] * 4])


def apply_color_matrix(
    image: Float[AnyArray, "*#b h w c=3"] | UInt8[AnyArray, "*#b h w c=3"],
    matrix: Float[AnyArray, "*#b rows columns=4"],
    *,
    clip: bool = True,
) -> Float[Array, "*b h w c=3"] | UInt8[Array, "*b h w c=3"]:
    """Maps every pixel's (red, green, blue, 1) by a matrix.

    Several linear changes of color take one pass: multiply their matrices, the last one first.

    Convention:
        The constant column is in [0, 1], also for uint8 images. Nothing is clipped between changes that are multiplied.

    Args:
        image: Floating in [0, 1], or uint8, with three channels; computed in float32 or wider.
        matrix: 3x4, or 4x4 with (0, 0, 0, 1) below, which is ignored: one, or one per example.
        clip: Whether values are limited to [0, 1]; uint8 always is.

    Returns:
        The image in its dtype; uint8 is rounded to the nearest level. Differentiable in both arguments.
        The identity matrix returns the image unchanged.

    Raises:
        ValueError: If the image does not have three channels, a shape or dtype is wrong, or leading axes do not
            broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> swap = jnp.array([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.25]])
        >>> ops.apply_color_matrix(jnp.array([[[0.25, 0.5, 0.5]]]), swap).tolist()
        [[[0.5, 0.25, 0.75]]]

    Parity:
        With the matrices of this module: the corresponding operations of torchvision 0.28, within 1e-6 where they
        do not clip, see ``adjust_brightness``, ``adjust_saturation`` and ``adjust_contrast``.
    """
    name = "apply_color_matrix"
    image = check_pixels(name, image)
    check_channels(name, image, 3)
    matrix = as_array(name, "matrix", matrix)
    check_floating(name, "matrix", matrix)
    form = matrix.shape[-2:] in ((3, 4), (4, 4))
    check(form, name, "matrix", "of shape (..., 3, 4) or (..., 4, 4)", shape_text(matrix))
    image, matrix = align_leading(name, "image and matrix", (image, matrix.astype(working_dtype(image))), (3, 2))
    x = to_planes(image)

    def compute_plane(row: int) -> jax.Array:
        r, g, b, constant = (matrix[..., row : row + 1, i : i + 1, None] for i in range(4))
        return r * x[..., :1, :, :] + g * x[..., 1:2, :, :] + b * x[..., 2:, :, :] + constant

    return from_planes(clip_to_unit(jnp.concatenate([compute_plane(i) for i in range(3)], -3), clip), image.dtype)


def brightness_matrix(factor: float | Float[AnyArray, "*b"]) -> Float[Array, "*b 4 4"]:
    """Builds the matrix of ``adjust_brightness`` without clipping.

    Args:
        factor: 0 is black, 1 changes nothing; a number or an array, computed in float32 or wider.

    Returns:
        One matrix per factor.

    Raises:
        ValueError: If ``factor`` is a negative number, or has a wrong dtype.

    Example:
        >>> from jaxcnn import ops
        >>> ops.brightness_matrix(0.5).diagonal().tolist()
        [0.5, 0.5, 0.5, 1.0]
    """
    (strength,) = _as_matrices("brightness_matrix", factor=factor)
    return strength * _like(_COLORS, strength) + _like(_ONE, strength)


def saturation_matrix(factor: float | Float[AnyArray, "*b"]) -> Float[Array, "*b 4 4"]:
    """Builds the matrix of ``adjust_saturation`` without clipping.

    Args:
        factor: 0 is gray, 1 changes nothing; a number or an array, computed in float32 or wider.

    Returns:
        One matrix per factor.

    Raises:
        ValueError: If ``factor`` is a negative number, or has a wrong dtype.

    Example:
        >>> from jaxcnn import ops
        >>> [round(v, 4) for v in ops.saturation_matrix(0.0)[0].tolist()]
        [0.2989, 0.587, 0.114, 0.0]
    """
    (strength,) = _as_matrices("saturation_matrix", factor=factor)
    return strength * _like(_COLORS, strength) + (1 - strength) * _like(_GRAY, strength) + _like(_ONE, strength)


def contrast_matrix(
    factor: float | Float[AnyArray, "*#b"], mean: float | Float[AnyArray, "*#b"]
) -> Float[Array, "*b 4 4"]:
    """Builds the matrix of ``adjust_contrast`` without clipping.

    Args:
        factor: 0 is uniform gray, 1 changes nothing; a number or an array, computed in float32 or wider.
        mean: The mean of the gray image that it is applied to, in [0, 1]; a number or an array.

    Returns:
        One matrix per pair.

    Raises:
        ValueError: If ``factor`` is a negative number, a dtype is wrong, or the two do not broadcast.

    Example:
        >>> from jaxcnn import ops
        >>> ops.contrast_matrix(0.5, 0.25)[0].tolist()
        [0.5, 0.0, 0.0, 0.125]
    """
    strength, middle = _as_matrices("contrast_matrix", factor=factor, mean=mean)
    colors, one = _like(_COLORS, strength), _like(_ONE, strength)
    return strength * colors + (1 - strength) * middle * _like(_CONSTANT, strength) + one


def _as_matrices(function: str, **values: ArrayLike) -> list[jax.Array]:
    """Returns amounts in float32 or wider, of one rank, with two axes appended."""
    given = [np.asarray(v) if isinstance(v, np.generic) else v for v in values.values()]
    wide = working_dtype(*[v for v in given if isinstance(v, jax.Array | np.ndarray)])
    low = {"factor": 0.0}
    arrays = [as_amount(function, name, v, wide, low=low.get(name, -np.inf)) for name, v in values.items()]
    return [
        jnp.expand_dims(a, (-2, -1))
        for a in align_leading(function, " and ".join(values), tuple(arrays), (0,) * len(arrays))
    ]


def _like(constant: np.ndarray, x: jax.Array) -> np.ndarray:
    """Returns a constant matrix in the dtype and rank of x."""
    return np.asarray(constant, x.dtype).reshape((1,) * (x.ndim - 2) + (4, 4))
