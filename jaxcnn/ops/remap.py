"""Sampling images at points in pixels, and transforms whose parameters are in pixels and degrees."""

import jax
import jax.numpy as jnp

from jaxcnn._check import as_array, check, shape_text
from jaxcnn._typing import AnyArray, Array, Dtype, FillValue, Float
from jaxcnn.ops._batching import batch_size, over_batch, working_dtype
from jaxcnn.ops._sampling import pixel_matrices as matrices
from jaxcnn.ops._sampling.interpolation import take_coordinate
from jaxcnn.ops.grids import check_vectors
from jaxcnn.ops.matrices import fit_homography
from jaxcnn.ops.sampling import Mode, PaddingMode, check_image, check_options, sample_pixels

__all__ = ["affine", "perspective", "remap"]


def remap(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    points: Float[AnyArray, "*#batch h w xy=2"],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*batch h w c"]:
    """Samples an image at points in pixels.

    Convention:
        (x, y); the center of the first pixel is (0, 0). ``grid_sample`` takes the same points in [-1, 1].
        Integer coordinates return pixels exactly. Leading axes broadcast.

    Args:
        image: The image.
        points: Where every output pixel is read; float32 or wider.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside.
        align_corners: Whether ``"reflection"`` mirrors at the centers or at the edges of the border pixels, and what is
            outside with ``antialias``, as in ``grid_sample``; matters for nothing else.
        antialias: Whether to average over all input pixels that an output pixel covers, as in ``grid_sample``.

    Returns:
        The values in the dtype of the image.

    Raises:
        ValueError: If a shape, dtype or option is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.arange(6.0).reshape(2, 3, 1)
        >>> ops.remap(image, jnp.array([[[2.0, 1.0], [0.5, 0.0]]]))[0, :, 0].tolist()
        [5.0, 0.5]

    Parity:
        OpenCV's ``remap`` and kornia's ``remap(..., normalized_coordinates=False, align_corners=True)``.
    """
    points, d = check_vectors("remap", "points", points)
    check(d == 2, "remap", "points", "of shape (..., h, w, 2)", shape_text(points))
    image = check_image("remap", image)
    options = check_options("remap", image, mode, padding_mode, fill_value, align_corners, antialias)
    arrays, dtype = (image, points), working_dtype(image, points)
    batch = batch_size(arrays, (3, 3))

    def sample_one(image: jax.Array, points: jax.Array) -> jax.Array:
        return sample_pixels(image, [take_coordinate(points, i).astype(dtype) for i in range(2)], options, batch)

    return over_batch(sample_one, arrays, (3, 3), name="remap", arguments="image and points")


def affine(
    image: Float[AnyArray, "*batch h w c"],
    *,
    degrees: float | Float[AnyArray, "*#batch"] = 0.0,
    translate: tuple[float | Float[AnyArray, "*#batch"], float | Float[AnyArray, "*#batch"]] = (0.0, 0.0),
    scale: float | Float[AnyArray, "*#batch"] = 1.0,
    shear: tuple[float | Float[AnyArray, "*#batch"], float | Float[AnyArray, "*#batch"]] = (0.0, 0.0),
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
) -> Float[Array, "*batch h w c"]:
    """Rotates, shears and scales an image about its center, then translates it.

    Convention:
        Positive degrees rotate clockwise as displayed; a positive shear in x moves what lies above the center to
        the right. Every number may be an array over the leading axes.

    Args:
        image: The image.
        degrees: Rotation.
        translate: (x, y) in pixels, to the right and down.
        scale: Scale factor, above 0.
        shear: (x, y) in degrees, below 90.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside, as in ``grid_sample``.
        fill_value: With ``"fill"``: the value outside.

    Returns:
        The image in its dtype. With the defaults it is exactly the input.

    Raises:
        ValueError: If a shape, dtype or option is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> ops.affine(image, translate=(1.0, 0.0))[0, :, 0].tolist()
        [0.0, 0.0, 1.0]

    Parity:
        torchvision 0.28 ``transforms.v2.functional.affine`` and, with ``-angle``, ``rotate``: bilinear with
        ``fill=0`` within 1e-5 where it reads inside; at the border torchvision blends with zeros as here.
    """
    image = check_image("affine", image)
    check(len(translate) == 2, "affine", "translate", "(x, y)", repr(translate))
    check(len(shear) == 2, "affine", "shear", "(x, y)", repr(shear))
    options = check_options("affine", image, mode, padding_mode, fill_value, False, False)
    pairs = [("translate", v) for v in translate] + [("shear", v) for v in shear]
    dtype = working_dtype(image)
    numbers = [
        jnp.asarray(as_array("affine", n, v), dtype) for n, v in [("degrees", degrees), ("scale", scale), *pairs]
    ]
    arrays, ranks = (image, *numbers), (3, *[0] * len(numbers))
    batch = batch_size(arrays, ranks)

    def transform_one(image: jax.Array, *numbers: jax.Array) -> jax.Array:
        degrees, scale, x, y, shear_x, shear_y = numbers
        h, w, _ = image.shape
        matrix = matrices.matrix_from_affine(degrees, (x, y), scale, (shear_x, shear_y), (h, w))
        return sample_pixels(image, matrices.map_points(matrix, *pixel_positions((h, w), dtype)), options, batch)

    return over_batch(transform_one, arrays, ranks, name="affine", arguments="image and numbers")


def perspective(
    image: Float[AnyArray, "*#batch h w c"],
    start: Float[AnyArray, "*#batch k=4 xy=2"],
    end: Float[AnyArray, "*#batch k=4 xy=2"],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
) -> Float[Array, "*batch h w c"]:
    """Warps an image by the homography that moves four of its points, no three on one line, to four others.

    Convention:
        (x, y) in pixels; the center of the first pixel is (0, 0). Leading axes broadcast.

    Args:
        image: The image.
        start: Points of the image.
        end: Where they lie in the result.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside, as in ``grid_sample``.
        fill_value: With ``"fill"``: the value outside.

    Returns:
        The image in its dtype.

    Raises:
        ValueError: If a shape, dtype or option is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.arange(4.0).reshape(2, 2, 1)
        >>> corners = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> jnp.round(ops.perspective(image, corners, corners[jnp.array([1, 0, 3, 2])])[..., 0], 4).tolist()
        [[1.0, 0.0], [3.0, 2.0]]

    Parity:
        torchvision 0.28 ``transforms.v2.functional.perspective``: within 1e-4 inside; torchvision places its corner
        (w, h) half a pixel farther out.
    """
    image = check_image("perspective", image)
    start, end = as_array("perspective", "start", start), as_array("perspective", "end", end)
    for name, points in (("start", start), ("end", end)):
        check(points.shape[-2:] == (4, 2), "perspective", name, "of shape (..., 4, 2)", shape_text(points))
    options = check_options("perspective", image, mode, padding_mode, fill_value, False, False)
    arrays, dtype = (image, start, end), working_dtype(image, start, end)
    batch = batch_size(arrays, (3, 2, 2))

    def transform_one(image: jax.Array, start: jax.Array, end: jax.Array) -> jax.Array:
        h, w, _ = image.shape
        matrix = matrices.from_array(fit_homography(end.astype(dtype), start.astype(dtype)))
        return sample_pixels(image, matrices.map_points(matrix, *pixel_positions((h, w), dtype)), options, batch)

    return over_batch(transform_one, arrays, (3, 2, 2), name="perspective", arguments="image, start and end")


def pixel_positions(shape: tuple[int, int], dtype: Dtype = jnp.float32) -> tuple[jax.Array, jax.Array]:
    """Returns x and y of all pixels of an image (h, w)."""
    x, y = (jax.lax.broadcasted_iota(dtype, shape, axis) for axis in (1, 0))
    return x, y
