"""Erasing: boxes and grids of squares that are overwritten."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxcnn._check import as_array, check, shape_text
from jaxcnn._typing import AnyArray, Array, Dtype, Float, Int, Num, UInt8
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._images import align_leading, as_amount, check_pixels

__all__ = ["erase", "grid_mask"]


def erase(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"],
    box: Sequence[int | float] | Float[AnyArray, "*#b corners=4"] | Int[AnyArray, "*#b corners=4"],
    *,
    value: float | Num[AnyArray, "*channels"] | Num[AnyArray, "*#b #h #w #c"] = 0.0,
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Overwrites a box of an image.

    Convention:
        A box is (x0, y0, x1, y1) in pixels, the last ones excluded: the pixel in row i and column j is in it if
        x0 <= j < x1 and y0 <= i < y1. It may extend beyond the image, and may be empty.

    Args:
        image: Floating, or uint8, with any number of channels.
        box: One box, or one per example, integers or floating; it may be traced.
        value: The replacement, in the units of the image: a number, one per channel, or an image of shape
            (..., h, w, c) such as noise. Fractions are rounded for uint8.

    Returns:
        The image in its dtype. Differentiable in image and value; a box has no gradient.

    Raises:
        ValueError: If a shape or dtype is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.erase(jnp.ones((2, 3, 1)), (1, 0, 3, 1))[..., 0].tolist()
        [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]

    Parity:
        torchvision 0.28 ``v2.functional.erase(image, i=y0, j=x0, h=y1 - y0, w=x1 - x0, v=value)``: equal.

    References:
        DeVries and Taylor 2017, arXiv:1708.04552; Zhong et al. 2017, arXiv:1708.04896.
    """
    name = "erase"
    image = check_pixels(name, image)
    box = as_array(name, "box", box)
    number = jnp.issubdtype(box.dtype, jnp.floating) or jnp.issubdtype(box.dtype, jnp.integer)
    check(number and box.shape[-1:] == (4,), name, "box", "numbers of shape (..., 4)", shape_text(box))
    fill = _as_fill(name, value, image)
    image, box, fill = align_leading(name, "image, box and value", (image, box, fill), (3, 1, 3))
    dtype = box.dtype if jnp.issubdtype(box.dtype, jnp.integer) else working_dtype(box)
    box = box.astype(jnp.promote_types(dtype, jnp.int32) if jnp.issubdtype(dtype, jnp.integer) else dtype)
    rows, columns = _row_and_column(image, box.dtype)
    x0, y0, x1, y1 = (jnp.expand_dims(box[..., i], (-3, -2, -1)) for i in range(4))
    inside = (rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)
    return jnp.where(inside, fill, image)


def grid_mask(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"],
    *,
    period: float | Float[AnyArray, "*#b"],
    ratio: float | Float[AnyArray, "*#b"] = 0.5,
    offset: tuple[int | float | Float[AnyArray, ""], int | float | Float[AnyArray, ""]]
    | Float[AnyArray, "*#b xy=2"] = (0.0, 0.0),
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Sets the squares of a regular grid to 0.

    Convention:
        In every cell of period x period pixels, the first of which starts at ``offset``, the first
        floor(ratio period + 0.5) rows and columns are kept; the remaining square is dropped.

    Args:
        image: Floating, or uint8, with any number of channels.
        period: Side of a cell in pixels, at least 1; one number, or one per example.
        ratio: Fraction of a side that is kept, 0 (nothing) to 1 (everything), r in the paper; one, or one per example.
        offset: Where a cell starts, (x, y) in pixels; one pair, or one per example.

    Returns:
        The image in its dtype. Differentiable in the image.

    Raises:
        ValueError: If a shape or dtype is wrong, leading axes do not broadcast, or a number is outside of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.grid_mask(jnp.ones((4, 4, 1)), period=2.0)[..., 0].tolist()
        [[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0]]

    References:
        Chen et al. 2020, "GridMask data augmentation", arXiv:2001.04086.
    """
    name = "grid_mask"
    image = check_pixels(name, image)
    dtype = jnp.float32
    edge = as_amount(name, "period", period, dtype, low=1.0)
    part = as_amount(name, "ratio", ratio, dtype, 0.0, 1.0)
    start = as_array(name, "offset", offset)
    check(start.shape[-1:] == (2,), name, "offset", "numbers of shape (..., 2)", shape_text(start))
    start = start.astype(dtype)
    arrays = align_leading(name, "image, period, ratio and offset", (image, edge, part, start), (3, 0, 0, 1))
    image, edge, part, start = arrays
    edge, part, x, y = (jnp.expand_dims(a, (-3, -2, -1)) for a in (edge, part, start[..., 0], start[..., 1]))
    kept = jnp.floor(part * edge + 0.5)
    rows, columns = _row_and_column(image, dtype)

    def is_dropped(place: jax.Array, start: jax.Array) -> jax.Array:
        offset = place - start
        return offset - edge * jnp.floor(offset / edge) >= kept

    return jnp.where(is_dropped(rows, y) & is_dropped(columns, x), np.zeros((), image.dtype), image)


def _row_and_column(image: jax.Array, dtype: Dtype) -> tuple[jax.Array, jax.Array]:
    """Returns the indices of rows and of columns, in the rank of the image."""
    h, w = image.shape[-3:-1]
    lead = (1,) * (image.ndim - 3)
    rows = lax.broadcasted_iota(dtype, (*lead, h, 1, 1), image.ndim - 3)
    return rows, lax.broadcasted_iota(dtype, (*lead, 1, w, 1), image.ndim - 2)


def _as_fill(function: str, value: ArrayLike, image: jax.Array) -> jax.Array:
    """Returns the replacement as an image in the dtype of the image, with axes of length 1 where it is constant."""
    fill = as_array(function, "value", value)
    c = image.shape[-1]
    expected = f"a number, of shape ({c},) or of one that broadcasts to the image's {image.shape}"
    sizes = zip(fill.shape[-3:], image.shape[-fill.ndim :][-3:], strict=True) if fill.ndim in (1, *range(3, 99)) else ()
    fits = fill.ndim != 2 and all(size in (1, full) for size, full in sizes)
    check(fits, function, "value", expected, shape_text(fill))
    if image.dtype == jnp.uint8 and jnp.issubdtype(fill.dtype, jnp.floating):
        fill = jnp.clip(jnp.floor(fill + 0.5), 0, 255)
    fill = fill.astype(image.dtype)
    return fill if fill.ndim >= 3 else jnp.expand_dims(fill, range(3 - fill.ndim))
