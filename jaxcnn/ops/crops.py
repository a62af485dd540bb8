"""Cutting boxes out of images, all to one size."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, check_floating, check_min_rank, check_positive_shape, shape_text
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.ops._batching import batch_size, over_batch, working_dtype
from jaxcnn.ops.sampling import Mode, PaddingMode, check_image, check_options, sample_pixels

__all__ = ["crop_and_resize"]


def crop_and_resize(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    boxes: Float[AnyArray, "*#batch k corners=4"],
    shape: tuple[int, int],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*batch k h w c"]:
    """Cuts boxes out of an image and resizes each to one shape.

    Convention:
        A box is (x_min, y_min, x_max, y_max) in pixels of its outer edges: (0, 0, w_in, h_in) is the whole
        image, (j, i, j + 1, i + 1) the pixel in row i and column j. Under ``align_corners`` it is given by the
        centres of its corner pixels: (0, 0, w_in - 1, h_in - 1) is the whole image. Boxes may be
        fractional, leave the image, and be turned over (x_max < x_min mirrors).

    Args:
        image: The image.
        boxes: k boxes; float32 is used for narrower ones and for integers.
        shape: Height and width of every crop.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside, as in ``grid_sample``.
        fill_value: With ``"fill"``: what lies outside.
        align_corners: What a box's numbers stand for; along an axis of one pixel the crop takes the middle.
        antialias: Whether pixels that cover several input pixels are means over them, as in ``grid_sample``.

    Returns:
        The crops in the dtype of the image, differentiable in image and boxes. Of the whole image, to its own
        shape, it is the image exactly.

    Raises:
        ValueError: If an option is unknown, or a form or dtype is wrong.

    Example:
        >>> image = jnp.arange(16.0).reshape(4, 4, 1)
        >>> ops.crop_and_resize(image, jnp.array([[1.0, 1.0, 3.0, 3.0]]), (2, 2))[0, :, :, 0].tolist()
        [[5.0, 6.0], [9.0, 10.0]]
    """
    name = "crop_and_resize"
    image, boxes = check_image(name, image), as_array(name, "boxes", boxes)
    boxes = boxes.astype(jnp.float32) if jnp.issubdtype(boxes.dtype, jnp.integer) else boxes
    check_floating(name, "boxes", boxes)
    check_min_rank(name, "boxes", boxes, "k 4")
    check(boxes.shape[-1] == 4, name, "boxes", "of shape (..., k, 4)", shape_text(boxes))
    h, w = check_positive_shape(name, "shape", shape, "h w")
    how = check_options(name, image, mode, padding_mode, fill_value, align_corners, antialias)
    arrays, dtype = (image, boxes), working_dtype(image, boxes)
    batch = batch_size(arrays, (3, 2)) * max(boxes.shape[-2], 1)

    def one(image: Any, boxes: Any) -> Any:
        def crop(box: Any) -> Any:
            x_min, y_min, x_max, y_max = box.astype(dtype)
            (x, wide), (y, high) = _along(x_min, x_max, w, align_corners), _along(y_min, y_max, h, align_corners)
            places = [jax.lax.broadcast_in_dim(v, (h, w), (axis,)) for v, axis in ((x, 1), (y, 0))]
            return sample_pixels(image, places, how, batch, steps=((0.0, high), (wide, 0.0)))

        return jax.vmap(crop)(boxes)

    return over_batch(one, arrays, (3, 2), name=name, arguments="image and boxes")


def _along(low: Any, high: Any, size: int, align_corners: bool) -> tuple[Any, Any]:
    """Gives the positions that the pixels of a crop are read at along an axis, and their distance."""
    if align_corners:
        step = (high - low) / max(size - 1, 1)
        return low + step * jnp.asarray(np.arange(size) if size > 1 else np.full(1, 0.5), low.dtype), step
    step = (high - low) / size
    return low + step * jnp.asarray(np.arange(size) + 0.5, low.dtype) - 0.5, step
