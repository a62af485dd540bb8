"""Cropping boxes out of images and resizing them to one shape."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, check_floating, check_min_rank, check_positive_shape, shape_text
from jaxcnn._typing import AnyArray, Array, FillValue, Float, Int
from jaxcnn.ops._batching import batch_size, over_batch, working_dtype
from jaxcnn.ops.sampling import Mode, PaddingMode, check_image, check_options, sample_pixels

__all__ = ["crop_and_resize"]


def crop_and_resize(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    boxes: Float[AnyArray, "*#batch k corners=4"] | Int[AnyArray, "*#batch k corners=4"],
    shape: tuple[int, int],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*batch k h w c"]:
    """Crops boxes out of an image and resizes each to one shape.

    Convention:
        A box is (x_min, y_min, x_max, y_max), its outer edges in pixels: (0, 0, w_in, h_in) is the whole
        image, (j, i, j + 1, i + 1) the pixel in row i and column j. With ``align_corners`` it is defined by the
        centers of its corner pixels: (0, 0, w_in - 1, h_in - 1) is the whole image. Boxes may be fractional,
        extend beyond the image, and be reversed (x_max < x_min mirrors).

    Args:
        image: The image.
        boxes: k boxes; float32 is used for narrower ones and for integers.
        shape: Height and width of every crop.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside, as in ``grid_sample``.
        fill_value: With ``"fill"``: the value outside.
        align_corners: What the numbers of a box stand for; an axis of one pixel reads the middle of the box.
        antialias: Whether to average over all input pixels that an output pixel covers, as in ``grid_sample``.

    Returns:
        The crops in the dtype of the image, differentiable in image and boxes. A crop of the whole image to its
        own shape is exactly the image.

    Raises:
        ValueError: If an option is unknown, or a shape or dtype is wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
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
    options = check_options(name, image, mode, padding_mode, fill_value, align_corners, antialias)
    arrays, dtype = (image, boxes), working_dtype(image, boxes)
    batch = batch_size(arrays, (3, 2)) * max(boxes.shape[-2], 1)

    def crop_boxes(image: jax.Array, boxes: jax.Array) -> jax.Array:
        def crop_box(box: jax.Array) -> jax.Array:
            x_min, y_min, x_max, y_max = box.astype(dtype)
            x, step_x = _read_positions(x_min, x_max, w, align_corners)
            y, step_y = _read_positions(y_min, y_max, h, align_corners)
            positions = [jax.lax.broadcast_in_dim(v, (h, w), (axis,)) for v, axis in ((x, 1), (y, 0))]
            return sample_pixels(image, positions, options, batch, steps=((0.0, step_y), (step_x, 0.0)))

        return jax.vmap(crop_box)(boxes)

    return over_batch(crop_boxes, arrays, (3, 2), name=name, arguments="image and boxes")


def _read_positions(low: jax.Array, high: jax.Array, size: int, align_corners: bool) -> tuple[jax.Array, jax.Array]:
    """Computes the positions where the pixels of a crop are read along an axis, and their distance."""
    if align_corners:
        step = (high - low) / max(size - 1, 1)
        return low + step * jnp.asarray(np.arange(size) if size > 1 else np.full(1, 0.5), low.dtype), step
    step = (high - low) / size
    return low + step * jnp.asarray(np.arange(size) + 0.5, low.dtype) - 0.5, step
