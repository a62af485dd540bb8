"""Image and transform in one call, composed in pixel units: the identity gives the image back exactly.

Normalised float32 coordinates cannot hit the pixel centres exactly (off by about 3e-5 of the range
at 224 pixels). A warp therefore starts from exact pixel positions and adds the transform's
displacement, which is exactly zero for the identity.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, check_positive_shape, shape_text
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.ops._batching import batch_size, over_batch, working_dtype
from jaxcnn.ops._sampling.interpolation import coordinate
from jaxcnn.ops._sampling.transforms import affine_points, projective_points, tps_coefficients, tps_points
from jaxcnn.ops.grids import AFFINE, SPATIAL, check_matrix, check_points, check_vectors, mesh
from jaxcnn.ops.sampling import Mode, PaddingMode, check_image, check_options, sample_pixels

__all__ = ["warp_affine", "warp_flow", "warp_perspective", "warp_tps"]


def warp_affine(
    image: Float[AnyArray, "*batch_and_size c"],
    theta: Float[AnyArray, "*#batch d d1"],
    *,
    shape: tuple[int, ...] | None = None,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
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
        fill_value: With ``"fill"``: what lies outside.
        align_corners: What -1 and 1 stand for.
        antialias: Whether pixels that cover several input pixels are means over them, as in ``grid_sample``.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: As ``affine_grid`` and ``grid_sample``.

    Example:
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> mirror = jnp.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> ops.warp_affine(image, mirror)[0, :, 0].tolist()
        [2.0, 1.0, 0.0]

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.2.
    """
    theta = check_matrix("warp_affine", "theta", theta, *AFFINE)
    displace = functools.partial(affine_points, relative=True)
    options = (mode, padding_mode, fill_value, align_corners, antialias)
    return _warp("warp_affine", image, theta, "theta", displace, shape, *options, dimensions=theta.shape[-2])


def warp_perspective(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    matrix: Float[AnyArray, "*#batch 3 3"],
    *,
    shape: tuple[int, int] | None = None,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*#batch h w c"]:
    """Warps an image by a projective transform (homography).

    Convention:
        As ``projective_grid`` and ``grid_sample``: ``matrix`` maps output points to input points, (x, y)
        in [-1, 1]; points with w <= 0 lie outside. Leading axes broadcast.

    Args:
        image: The image.
        matrix: The matrix; a positive factor changes nothing.
        shape: Height and width of the output; None keeps the image's.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside.
        align_corners: What -1 and 1 stand for.
        antialias: Whether pixels that cover several input pixels are means over them, as in ``grid_sample``.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: As ``projective_grid`` and ``grid_sample``.

    Example:
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> ops.warp_perspective(image, jnp.diag(jnp.array([-1.0, 1.0, 1.0])))[0, :, 0].tolist()
        [2.0, 1.0, 0.0]

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.2.
    """
    matrix = check_matrix("warp_perspective", "matrix", matrix, (3, 3))

    displace = functools.partial(projective_points, relative=True)
    options = (mode, padding_mode, fill_value, align_corners, antialias)
    return _warp("warp_perspective", image, matrix, "matrix", displace, shape, *options)


def warp_tps(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    points: Float[AnyArray, "*#batch k xy=2"],
    *,
    shape: tuple[int, int] | None = None,
    control_points: Float[AnyArray, "k xy=2"] | None = None,
    regularization: float | Float[AnyArray, ""] = 0.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
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
        fill_value: With ``"fill"``: what lies outside.
        align_corners: What -1 and 1 stand for.
        antialias: Whether pixels that cover several input pixels are means over them, as in ``grid_sample``.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: As ``tps_grid`` and ``grid_sample``.

    Example:
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

    def displace(points: Any, x: Any, y: Any) -> Any:
        return tps_points(points - jnp.asarray(control, dtype), control, coefficients, x, y)

    options = (mode, padding_mode, fill_value, align_corners, antialias)
    return _warp("warp_tps", image, points, "points", displace, shape, *options)


def warp_flow(
    image: Float[AnyArray, "*batch_and_size c"],
    flow: Float[AnyArray, "*batch_and_shape d"],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*batch_and_out c"]:
    """Warps images by displacements (*batch, h, w, 2), or volumes (*batch, d, h, w, c) by (*batch, d, h, w, 3).

    Convention:
        ``flow`` is in pixels, (x, y): output pixel (i, j) is read at row i + y, column j + x; of volumes
        (x, y, z). Leading axes broadcast.

    Args:
        image: The image or volume.
        flow: The displacement of every pixel.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside.
        align_corners: Matters for ``"reflection"`` only: mirrored at the border pixels' centres or edges.
        antialias: Whether pixels that cover several input pixels are means over them, as in ``grid_sample``.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: If a form, dtype or option is wrong, or if the two differ in their spatial axes.

    Example:
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> one_right = jnp.broadcast_to(jnp.array([1.0, 0.0]), (1, 3, 2))
        >>> ops.warp_flow(image, one_right, padding_mode="border")[0, :, 0].tolist()
        [1.0, 2.0, 2.0]
    """
    flow, d = check_vectors("warp_flow", "flow", flow)
    image = check_image("warp_flow", image, d)
    expected = (*image.shape[-1 - d : -1], d)
    check(flow.shape[-1 - d :] == expected, "warp_flow", "flow", f"of shape (..., {expected})", shape_text(flow))
    how = check_options("warp_flow", image, mode, padding_mode, fill_value, align_corners, antialias, d)
    arrays, dtype = (image, flow), working_dtype(image, flow)
    batch = batch_size(arrays, (d + 1, d + 1))
    places = [jnp.asarray(v, dtype) for v in reversed(np.mgrid[tuple(slice(n) for n in expected[:-1])])]

    def one(image: Any, flow: Any) -> Any:
        points = [place + coordinate(flow, i).astype(dtype) for i, place in enumerate(places)]
        return sample_pixels(image, points, how, batch)

    return over_batch(one, arrays, (d + 1, d + 1), name="warp_flow", arguments="image and flow")


def _warp(
    name: str,
    image: Any,
    transform: Any,
    argument: str,
    displace: Any,
    shape: Any,
    mode: Any,
    padding_mode: Any,
    fill_value: Any,
    align_corners: bool,
    antialias: bool,
    *,
    dimensions: int = 2,
) -> Any:
    image = check_image(name, image, dimensions)
    how = check_options(name, image, mode, padding_mode, fill_value, align_corners, antialias, dimensions)
    arrays, dtype = (image, transform), working_dtype(image, transform)
    batch = batch_size(arrays, (dimensions + 1, 2))
    before = image.shape[-1 - dimensions : -1]
    size = check_positive_shape(name, "shape", before if shape is None else shape, SPATIAL[dimensions])
    points = mesh(name, size, align_corners, dtype, dimensions=dimensions)
    places, halves = [], []
    for axis in reversed(range(dimensions)):
        along = jnp.asarray(_matching_pixels(size[axis], before[axis], align_corners), dtype)
        places.append(jax.lax.broadcast_in_dim(along, size, (axis,)))
        halves.append((before[axis] - 1) / 2 if align_corners else before[axis] / 2)

    def one(image: Any, transform: Any) -> Any:
        transform = transform.astype(dtype)
        moved = displace(transform, *points)
        positions = [p + half * m for p, half, m in zip(places, halves, moved, strict=True)]
        steps = None
        if how.antialias and 1 in size:
            steps = [_step(functools.partial(displace, transform), points, moved, i, halves) for i in (1, 0)]
        return sample_pixels(image, positions, how, batch, steps=steps)

    return over_batch(one, arrays, (dimensions + 1, 2), name=name, arguments=f"image and {argument}")


def _step(displace: Any, points: Any, moved: Any, axis: int, halves: Any) -> list[Any]:
    """Tells how far the next pixel along an axis would be read from the first, if the one there spans the image."""
    there = displace(*(p + 2 if i == axis else p for i, p in enumerate(points)))
    own = [2 * half if i == axis else 0 for i, half in enumerate(halves)]
    return [(o + half * (t - m))[0, 0] for o, half, t, m in zip(own, halves, there, moved, strict=True)]


def _matching_pixels(size_out: int, size_in: int, align_corners: bool) -> np.ndarray:
    """Returns where the pixels of an output axis lie on the input axis, exact integers if they are as many."""
    if size_out == size_in:
        return np.arange(size_out, dtype=np.float64)
    if align_corners:
        return np.linspace(0, size_in - 1, size_out) if size_out > 1 else np.full(1, (size_in - 1) / 2)
    return (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
