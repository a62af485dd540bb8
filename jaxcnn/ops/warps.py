"""Image and transform in one call, composed in pixel units: identity warps return the image bit for bit.

Normalized float32 coordinates cannot hit the pixel centers exactly (off by about 3e-5 of the range
at 224 pixels). A warp therefore starts from exact pixel positions and adds the transform's
displacement, which is exactly zero for the identity.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, check_positive_shape, shape_text
from jaxcnn._typing import AnyArray, Array, FillValue, Float
from jaxcnn.ops._batching import batch_size, over_batch, working_dtype
from jaxcnn.ops._sampling.interpolation import take_coordinate
from jaxcnn.ops._sampling.transforms import OUTSIDE, affine_points, projective_points, tps_coefficients, tps_points
from jaxcnn.ops.grids import AFFINE_SHAPES, SPATIAL_AXES, check_matrix, check_points, check_vectors, pixel_grid
from jaxcnn.ops.sampling import (
    Mode,
    PaddingMode,
    SamplingOptions,
    check_image,
    check_options,
    sample_pixels,
)

__all__ = ["warp_affine", "warp_flow", "warp_perspective", "warp_tps"]


def warp_affine(
    image: Float[AnyArray, "*batch_and_size c"],
    theta: Float[AnyArray, "*#batch d d1"],
    *,
    shape: tuple[int, ...] | None = None,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*batch_and_out c"]:
    """Warps images by an affine transform, or volumes (*batch, d, h, w, c) by a matrix of 3x4.

    Convention:
        As ``affine_grid`` and ``grid_sample``: ``theta`` maps output points to input points, (x, y) or
        (x, y, z) in [-1, 1]. Leading axes broadcast: one matrix may serve a whole batch.

    Args:
        image: The image.
        theta: The matrix, 2x3 or 3x4.
        shape: Height and width of the output (of a volume: depth, height, width); None keeps the image's.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside.
        align_corners: What -1 and 1 stand for.
        antialias: Whether to average over all input pixels that an output pixel covers, as in ``grid_sample``.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: As ``affine_grid`` and ``grid_sample``.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> mirror = jnp.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> ops.warp_affine(image, mirror)[0, :, 0].tolist()
        [2.0, 1.0, 0.0]

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.2.
    """
    theta = check_matrix("warp_affine", "theta", theta, *AFFINE_SHAPES)
    displace = functools.partial(affine_points, relative=True)
    d = theta.shape[-2]
    image = check_image("warp_affine", image, d)
    options = check_options("warp_affine", image, mode, padding_mode, fill_value, align_corners, antialias, d)
    return _warp("warp_affine", image, theta, "theta", displace, shape, options, dimensions=d)


def warp_perspective(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    matrix: Float[AnyArray, "*#batch 3 3"],
    *,
    shape: tuple[int, int] | None = None,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*#batch h w c"]:
    """Warps an image by a projective transform (homography).

    Convention:
        As ``projective_grid`` and ``grid_sample``: ``matrix`` maps output points to input points, (x, y)
        in [-1, 1]; points with w <= 0 lie outside. Leading axes broadcast.

    Args:
        image: The image.
        matrix: The matrix; scaling it by a positive factor changes nothing.
        shape: Height and width of the output; None keeps the image's.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside.
        align_corners: What -1 and 1 stand for.
        antialias: Whether to average over all input pixels that an output pixel covers, as in ``grid_sample``.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: As ``projective_grid`` and ``grid_sample``.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> ops.warp_perspective(image, jnp.diag(jnp.array([-1.0, 1.0, 1.0])))[0, :, 0].tolist()
        [2.0, 1.0, 0.0]

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.2.
    """
    matrix = check_matrix("warp_perspective", "matrix", matrix, (3, 3))
    displace = functools.partial(projective_points, outside=OUTSIDE, relative=True)
    image = check_image("warp_perspective", image)
    options = check_options("warp_perspective", image, mode, padding_mode, fill_value, align_corners, antialias)
    return _warp("warp_perspective", image, matrix, "matrix", displace, shape, options)


def warp_tps(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    points: Float[AnyArray, "*#batch k xy=2"],
    *,
    shape: tuple[int, int] | None = None,
    control_points: Float[AnyArray, "k xy=2"] | None = None,
    regularization: float | Float[AnyArray, ""] = 0.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*#batch h w c"]:
    """Warps an image by a thin-plate spline.

    Convention:
        As ``tps_grid`` and ``grid_sample``: the spline sends control points of the output to ``points``
        of the input, (x, y) in [-1, 1]. Leading axes broadcast.

    Args:
        image: The image.
        points: Where in the input the control points lie.
        shape: Height and width of the output; None keeps the image's.
        control_points: Where they lie in the output; None stands for a regular square grid.
        regularization: 0 interpolates the points; more bends less.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside.
        align_corners: What -1 and 1 stand for.
        antialias: Whether to average over all input pixels that an output pixel covers, as in ``grid_sample``.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: As ``tps_grid`` and ``grid_sample``.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.arange(4.0).reshape(2, 2, 1)
        >>> corners = jnp.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
        >>> bool(jnp.all(ops.warp_tps(image, corners) == image))
        True

    References:
        Bookstein 1989, "Principal warps: thin-plate splines and the decomposition of deformations".
    """
    points, control, strength = check_points("warp_tps", points, control_points, regularization)
    image = check_image("warp_tps", image)
    dtype = working_dtype(image, points)
    coefficients = tps_coefficients(control, strength, name="warp_tps", dtype=dtype)

    def displace(points: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        return tps_points(points - jnp.asarray(control, dtype), control, coefficients, x, y)

    options = check_options("warp_tps", image, mode, padding_mode, fill_value, align_corners, antialias)
    return _warp("warp_tps", image, points, "points", displace, shape, options)


def warp_flow(
    image: Float[AnyArray, "*batch_and_size c"],
    flow: Float[AnyArray, "*batch_and_shape d"],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*batch_and_out c"]:
    """Warps images by displacements (*batch, h, w, 2), or volumes (*batch, d, h, w, c) by (*batch, d, h, w, 3).

    Convention:
        ``flow`` is in pixels, (x, y): output pixel (i, j) is read at row i + y, column j + x; for volumes
        (x, y, z). Leading axes broadcast.

    Args:
        image: The image or volume.
        flow: The displacement of every pixel.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside.
        align_corners: Whether ``"reflection"`` mirrors at the centers or at the edges of the border pixels, and what is
            outside with ``antialias``, as in ``grid_sample``; matters for nothing else.
        antialias: Whether to average over all input pixels that an output pixel covers, as in ``grid_sample``.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: If a shape, dtype or option is wrong, or if the two differ in their spatial axes.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> one_right = jnp.broadcast_to(jnp.array([1.0, 0.0]), (1, 3, 2))
        >>> ops.warp_flow(image, one_right, padding_mode="border")[0, :, 0].tolist()
        [1.0, 2.0, 2.0]
    """
    flow, d = check_vectors("warp_flow", "flow", flow)
    image = check_image("warp_flow", image, d)
    expected = (*image.shape[-1 - d : -1], d)
    check(flow.shape[-1 - d :] == expected, "warp_flow", "flow", f"of shape (..., {expected})", shape_text(flow))
    options = check_options("warp_flow", image, mode, padding_mode, fill_value, align_corners, antialias, d)
    arrays, dtype = (image, flow), working_dtype(image, flow)
    batch = batch_size(arrays, (d + 1, d + 1))
    positions = [jnp.asarray(v, dtype) for v in reversed(np.mgrid[tuple(slice(n) for n in expected[:-1])])]

    def warp_one(image: jax.Array, flow: jax.Array) -> jax.Array:
        points = [position + take_coordinate(flow, i).astype(dtype) for i, position in enumerate(positions)]
        return sample_pixels(image, points, options, batch)

    return over_batch(warp_one, arrays, (d + 1, d + 1), name="warp_flow", arguments="image and flow")


def _warp(
    name: str,
    image: jax.Array,
    transform: jax.Array,
    argument: str,
    displace: Callable[..., tuple[jax.Array, ...]],
    shape: Sequence[int] | None,
    options: SamplingOptions,
    *,
    dimensions: int = 2,
) -> jax.Array:
    arrays, dtype = (image, transform), working_dtype(image, transform)
    batch = batch_size(arrays, (dimensions + 1, 2))
    size_in = image.shape[-1 - dimensions : -1]
    size = check_positive_shape(name, "shape", size_in if shape is None else shape, SPATIAL_AXES[dimensions])
    points = pixel_grid(name, size, options.align_corners, dtype, dimensions=dimensions)
    starts, halves = [], []
    for axis in reversed(range(dimensions)):
        along_axis = jnp.asarray(_matching_pixels(size[axis], size_in[axis], options.align_corners), dtype)
        starts.append(jax.lax.broadcast_in_dim(along_axis, size, (axis,)))
        halves.append((size_in[axis] - 1) / 2 if options.align_corners else size_in[axis] / 2)

    def warp_one(image: jax.Array, transform: jax.Array) -> jax.Array:
        transform = transform.astype(dtype)
        displacements = displace(transform, *points)
        positions = [_displace(p, half, d) for p, half, d in zip(starts, halves, displacements, strict=True)]
        steps = None
        if options.antialias and 1 in size:
            displace_by = functools.partial(displace, transform)
            steps = [_step_along(axis, displace_by, points, displacements, halves) for axis in (1, 0)]
        return sample_pixels(image, positions, options, batch, steps=steps)

    return over_batch(warp_one, arrays, (dimensions + 1, 2), name=name, arguments=f"image and {argument}")


def _displace(start: jax.Array, half: float, displacement: jax.Array) -> jax.Array:
    """Adds a normalized displacement to positions in pixels."""
    if half > 0:
        return start + half * displacement
    # An axis of one pixel with ``align_corners`` has no extent, but what was sent outside of the image stays there.
    return jnp.where(displacement >= OUTSIDE - 1, displacement, start + half * displacement)


def _step_along(
    axis: int,
    displace: Callable[..., tuple[jax.Array, ...]],
    points: Sequence[jax.Array],
    displacements: Sequence[jax.Array],
    halves: Sequence[float],
) -> list[jax.Array]:
    """Computes how far from the first pixel the next one along an axis is read, if one output pixel spans the image."""
    moved = displace(*(p + 2 if i == axis else p for i, p in enumerate(points)))
    width = [2 * half if i == axis else 0 for i, half in enumerate(halves)]
    return [(n + half * (m - d))[0, 0] for n, half, m, d in zip(width, halves, moved, displacements, strict=True)]


def _matching_pixels(size_out: int, size_in: int, align_corners: bool) -> np.ndarray:
    """Returns where the pixels of an output axis lie on the input axis; exact integers if the sizes are equal."""
    if size_out == size_in:
        return np.arange(size_out, dtype=np.float64)
    if align_corners:
        return np.linspace(0, size_in - 1, size_out) if size_out > 1 else np.full(1, (size_in - 1) / 2)
    return (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
