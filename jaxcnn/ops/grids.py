"""Sampling grids: for every output pixel, the point of the input that it is read from."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn._check import as_array, check, check_floating, check_min_rank, check_positive_shape, shape_text
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.ops._batching import over_batch, working_dtype
from jaxcnn.ops._sampling.transforms import (
    OUTSIDE,
    affine_points,
    pixel_centers,
    projective_points,
    regular_points,
    tps_coefficients,
    tps_points,
)

__all__ = [
    "AFFINE_SHAPES",
    "SPATIAL_AXES",
    "affine_grid",
    "check_matrix",
    "check_points",
    "check_vectors",
    "flow_grid",
    "pixel_grid",
    "projective_grid",
    "tps_grid",
]

SPATIAL_AXES = {2: "h w", 3: "d h w"}
"""The spatial axes of images and volumes."""

AFFINE_SHAPES = ((2, 3), (3, 4))
"""The shapes of their affine matrices."""


def affine_grid(
    theta: Float[AnyArray, "*batch d d1"], shape: tuple[int, ...], *, align_corners: bool = False
) -> Float[Array, "*batch_and_shape d"]:
    """Builds the sampling grid of an affine transform, of images or volumes.

    Convention:
        ``theta`` maps points (x, y, 1) of the output to points (x, y) of the input, both in [-1, 1]
        over their image; see ``grid_sample`` for what -1 and 1 stand for. For volumes it maps (x, y, z, 1)
        to (x, y, z).

    Args:
        theta: The matrix, 2x3 or 3x4; float32 is used for narrower ones.
        shape: Height and width of the output, in pixels; for a volume depth, height and width.
        align_corners: What -1 and 1 stand for.

    Returns:
        The grid, float32 or float64, ready for ``grid_sample``.

    Raises:
        ValueError: If ``theta`` or ``shape`` has the wrong shape or dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> identity = jnp.eye(2, 3)
        >>> ops.affine_grid(identity, (1, 2))[0, :, 0].tolist()
        [-0.5, 0.5]

    Parity:
        Equals ``torch.nn.functional.affine_grid`` to rounding, values and gradient.

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, equation 1.
    """
    theta = check_matrix("affine_grid", "theta", theta, *AFFINE_SHAPES)
    points = pixel_grid("affine_grid", shape, align_corners, working_dtype(theta), dimensions=theta.shape[-2])

    def map_grid(theta: jax.Array) -> jax.Array:
        return jnp.stack(affine_points(theta.astype(points[0].dtype), *points), -1)

    return over_batch(map_grid, (theta,), (2,), name="affine_grid", arguments="theta")


def projective_grid(
    matrix: Float[AnyArray, "*batch 3 3"], shape: tuple[int, int], *, align_corners: bool = False
) -> Float[Array, "*batch h w xy=2"]:
    """Builds the sampling grid of a projective transform (homography).

    Convention:
        ``matrix`` maps points (x, y, 1) of the output to (u, v, w); the input is read at (u/w, v/w),
        all in [-1, 1] over their image. Scaling the matrix by a positive factor changes nothing. Points with
        w <= 0 lie on or behind the horizon: they are sent to (1000, 1000), outside of an image of any size, with
        zero gradient. NaN in the matrix propagates to the coordinates that depend on it.

    Args:
        matrix: The matrix; float32 is used for narrower ones.
        shape: Height and width of the output, in pixels.
        align_corners: What -1 and 1 stand for.

    Returns:
        The grid, float32 or float64, ready for ``grid_sample``.

    Raises:
        ValueError: If ``matrix`` or ``shape`` has the wrong shape or dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> twice = jnp.diag(jnp.array([2.0, 2.0, 1.0]))
        >>> ops.projective_grid(twice, (1, 2))[0, :, 0].tolist()
        [-1.0, 1.0]

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.2.
    """
    matrix = check_matrix("projective_grid", "matrix", matrix, (3, 3))
    x, y = pixel_grid("projective_grid", shape, align_corners, working_dtype(matrix))

    def map_grid(matrix: jax.Array) -> jax.Array:
        return jnp.stack(projective_points(matrix.astype(x.dtype), x, y, outside=OUTSIDE), -1)

    return over_batch(map_grid, (matrix,), (2,), name="projective_grid", arguments="matrix")


def tps_grid(
    points: Float[AnyArray, "*batch k xy=2"],
    shape: tuple[int, int],
    *,
    control_points: Float[AnyArray, "k xy=2"] | None = None,
    regularization: float | Float[AnyArray, ""] = 0.0,
    align_corners: bool = False,
) -> Float[Array, "*batch h w xy=2"]:
    """Builds the sampling grid of a thin-plate spline.

    The spline sends every control point of the output to its point of the input and bends as little
    as possible in between; its radial function is r^2 log r^2.

    Convention:
        Control points and points are (x, y) in [-1, 1] over their image.

    Args:
        points: Where in the input the control points lie.
        shape: Height and width of the output, in pixels.
        control_points: Where they lie in the output, at least 3, distinct and not on one line. None
            stands for a regular square grid over [-1, 1], row by row.
        regularization: 0 interpolates the points; more bends less (added to the kernel's diagonal). May be
            traced and differentiated.
        align_corners: What -1 and 1 stand for.

    Returns:
        The grid, float32 or float64, ready for ``grid_sample``.

    Raises:
        ValueError: If a shape or dtype is wrong, if ``control_points`` is None and k is not a square,
            or if control points known at trace time are not finite, coincide or lie on one line. For traced
            ones the result is NaN in these cases; traced regularization is not checked.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxcnn import ops
        >>> regular = jnp.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
        >>> grid = ops.tps_grid(regular + jnp.array([[0.5, 0.0]]), (1, 2))
        >>> np.round(grid[0, :, 0], 3).tolist()
        [0.0, 1.0]

    References:
        Bookstein 1989, "Principal warps: thin-plate splines and the decomposition of deformations";
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.2.
    """
    points, control, strength = check_points("tps_grid", points, control_points, regularization)
    x, y = pixel_grid("tps_grid", shape, align_corners, working_dtype(points))
    coefficients = tps_coefficients(control, strength, name="tps_grid", dtype=x.dtype)

    def map_grid(points: jax.Array) -> jax.Array:
        offsets = points.astype(x.dtype) - jnp.asarray(control, x.dtype)
        dx, dy = tps_points(offsets, control, coefficients, x, y)
        return jnp.stack([x + dx, y + dy], -1)

    return over_batch(map_grid, (points,), (2,), name="tps_grid", arguments="points")


def flow_grid(
    flow: Float[AnyArray, "*batch_and_shape d"], *, align_corners: bool = False
) -> Float[Array, "*batch_and_shape d"]:
    """Builds the sampling grid of a displacement field, of images or volumes.

    Convention:
        ``flow`` is in pixels, (x, y): output pixel (i, j) is read at row i + y, column j + x. For a volume,
        (*batch, d, h, w, 3), it is (x, y, z).

    Args:
        flow: The displacement of every pixel; float32 is used for narrower ones.
        align_corners: What -1 and 1 of the grid stand for.

    Returns:
        The grid, float32 or float64, ready for ``grid_sample``. With ``align_corners`` an axis of one
        pixel has no extent, and its displacement is lost.

    Raises:
        ValueError: If ``flow`` has the wrong shape or dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.flow_grid(jnp.ones((1, 4, 2)))[0, :, 0].tolist()
        [-0.25, 0.25, 0.75, 1.25]
    """
    flow, d = check_vectors("flow_grid", "flow", flow)
    shape = flow.shape[-1 - d : -1]
    points = pixel_grid("flow_grid", shape, align_corners, working_dtype(flow), dimensions=d)
    per_pixel = [2 / max(n - 1, 1) if align_corners else 2 / n for n in reversed(shape)]

    def displace_grid(flow: jax.Array) -> jax.Array:
        flow = flow.astype(points[0].dtype)
        return jnp.stack([points[i] + per_pixel[i] * flow[..., i] for i in range(d)], -1)

    return over_batch(displace_grid, (flow,), (d + 1,), name="flow_grid", arguments="flow")


def pixel_grid(
    function: str, shape: Sequence[int], align_corners: bool, dtype: Dtype, *, dimensions: int = 2
) -> list[jax.Array]:
    """Returns the normalized x and y (and z) of every pixel center, each of the given shape."""
    size = check_positive_shape(function, "shape", shape, SPATIAL_AXES[dimensions])
    centers = [pixel_centers(n, align_corners, dtype) for n in size]
    return [jax.lax.broadcast_in_dim(v, size, (i,)) for i, v in reversed(list(enumerate(centers)))]


def check_vectors(function: str, argument: str, vectors: AnyArray) -> tuple[jax.Array, int]:
    """Returns a field of points or displacements as a JAX array, and its dimensions, 2 or 3; refuses anything else."""
    vectors = as_array(function, argument, vectors)
    check_floating(function, argument, vectors)
    d = vectors.shape[-1] if vectors.ndim else 0
    expected = "of shape (..., h, w, 2) or (..., d, h, w, 3)"
    check(d in SPATIAL_AXES and vectors.ndim > d, function, argument, expected, shape_text(vectors))
    check(0 not in vectors.shape[-1 - d : -1], function, argument, "at least 1 x 1 points", shape_text(vectors))
    return vectors, d


def check_matrix(function: str, argument: str, matrix: AnyArray, *shapes: tuple[int, int]) -> jax.Array:
    """Returns a JAX array; refuses anything but a floating one whose last two axes have one of the shapes."""
    matrix = as_array(function, argument, matrix)
    check_floating(function, argument, matrix)
    *others, last = [f"(..., {rows}, {columns})" for rows, columns in shapes]
    expected = f"of shape {', '.join(others)} or {last}" if others else f"of shape {last}"
    check(matrix.shape[-2:] in shapes, function, argument, expected, shape_text(matrix))
    return matrix


def check_points(
    function: str, points: AnyArray, control_points: AnyArray | None, regularization: float | AnyArray
) -> tuple[jax.Array, AnyArray, float | jax.Array]:
    """Returns points, control points (k, 2) and regularization (a float unless traced); refuses wrong shapes."""
    points = as_array(function, "points", points)
    check_floating(function, "points", points)
    check_min_rank(function, "points", points, "k 2")
    k = points.shape[-2]
    valid = points.shape[-1] == 2 and k >= 3
    check(valid, function, "points", "of shape (..., k, 2) with k >= 3", shape_text(points))
    regularization = _check_regularization(function, regularization)
    if control_points is None:
        side = round(k**0.5)
        check(side * side == k, function, "points", "a square number, or control_points given", f"k={k}")
        return points, regular_points(side, side), regularization
    shape = as_array(function, "control_points", control_points).shape
    check(shape == (k, 2), function, "control_points", f"of shape ({k}, 2), as points has {k}", shape)
    return points, control_points, regularization


def _check_regularization(function: str, value: float | AnyArray) -> float | jax.Array:
    name, expected = "regularization", "a number >= 0"
    number = as_array(function, name, value)
    real = jnp.issubdtype(number.dtype, jnp.floating) or jnp.issubdtype(number.dtype, jnp.integer)
    check(number.ndim == 0 and real, function, name, expected, shape_text(number))
    try:
        known = float(value)
    except jax.errors.ConcretizationTypeError:
        return number
    check(0 <= known < float("inf"), function, name, expected, value)
    return known
