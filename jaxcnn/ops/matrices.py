"""Applying, composing, inverting and fitting affine and projective matrices and thin-plate splines."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, check_floating, check_min_rank, is_size_at_least, shape_text
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.ops._batching import over_batch, working_dtype
from jaxcnn.ops._sampling.transforms import FAR_OUTSIDE, adjugate, projective_points, tps_coefficients, tps_points
from jaxcnn.ops.grids import check_matrix, check_points

__all__ = [
    "apply_matrix",
    "apply_tps",
    "compose_matrices",
    "fit_affine",
    "fit_homography",
    "fit_tps",
    "invert_matrix",
]

_HIGHEST = jax.lax.Precision.HIGHEST
_SHAPES = ((2, 3), (3, 3), (3, 4))


def apply_matrix(
    matrix: Float[AnyArray, "*#batch rows columns"], points: Float[AnyArray, "*#batch k d"]
) -> Float[Array, "*batch_and_k d"]:
    """Maps points by an affine (2x3, for volumes 3x4) or a projective (3x3) matrix.

    Convention:
        Points (x, y) or (x, y, z), in the units of the matrix: [-1, 1] for those of ``warp_affine``
        and ``warp_perspective``, which map output points to input points. Projective points with w <= 0
        have no image and are sent to (1e10, 1e10): outside of an image of any size, also in pixels.

    Args:
        matrix: The matrix.
        points: k points.

    Returns:
        Where they lie afterwards, float32 or float64.

    Raises:
        ValueError: If a shape or dtype is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxcnn import ops
        >>> half = jnp.array([[0.5, 0.0, 0.1], [0.0, 0.5, 0.0]])
        >>> np.round(ops.apply_matrix(half, jnp.array([[1.0, -1.0]])), 3).tolist()
        [[0.6000000238418579, -0.5]]
    """
    matrix = check_matrix("apply_matrix", "matrix", matrix, *_SHAPES)
    d = matrix.shape[-1] - 1
    points = _check_point_list("apply_matrix", "points", points, d, 1)
    dtype = working_dtype(matrix, points)

    def map_one(matrix: jax.Array, points: jax.Array) -> jax.Array:
        matrix, points = matrix.astype(dtype), points.astype(dtype)
        if matrix.shape == (3, 3):
            return jnp.stack(projective_points(matrix, points[:, 0], points[:, 1], outside=FAR_OUTSIDE), -1)
        return _apply_affine(matrix, points)

    return over_batch(map_one, (matrix, points), (2, 2), name="apply_matrix", arguments="matrix and points")


def compose_matrices(
    first: Float[AnyArray, "*#batch rows columns"], second: Float[AnyArray, "*#batch rows2 columns2"]
) -> Float[Array, "*batch rows3 columns3"]:
    """Composes two transforms: warping by the result equals warping by ``first``, then by ``second``.

    Convention:
        Matrices map output points to input points, so points pass ``second`` before ``first``: the result is
        their product. Two affine matrices (2x3 or 3x4) give an affine one; with a projective one (3x3) the
        result is projective. The product of two projective ones knows only its own horizon: points behind that of
        ``second`` may lie in front of it.

    Args:
        first: The transform of the image.
        second: The transform of the result of ``first``.

    Returns:
        The matrix, float32 or float64.

    Raises:
        ValueError: If a shape or dtype is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> zoom = jnp.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
        >>> right = jnp.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]])
        >>> ops.compose_matrices(zoom, right).tolist()
        [[0.5, 0.0, 0.25], [0.0, 0.5, 0.0]]
    """
    first = check_matrix("compose_matrices", "first", first, *_SHAPES)
    second = check_matrix("compose_matrices", "second", second, *_SHAPES)
    alike = first.shape[-1] == second.shape[-1]
    got = f"{shape_text(first)} and {shape_text(second)}"
    check(alike, "compose_matrices", "first and second", "both of images or both of volumes", got)
    dtype, d = working_dtype(first, second), first.shape[-1] - 1

    def multiply(first: jax.Array, second: jax.Array) -> jax.Array:
        first, second = first.astype(dtype), second.astype(dtype)
        if second.shape[0] == d:
            last = jnp.asarray(np.eye(d + 1)[-1:], dtype)
            return jnp.matmul(first[:, :d], second, precision=_HIGHEST) + first[:, d:] * last
        product = jnp.matmul(first, second, precision=_HIGHEST)
        return product if first.shape[0] > d else jnp.concatenate([product, second[-1:]])

    return over_batch(multiply, (first, second), (2, 2), name="compose_matrices", arguments="first and second")


def invert_matrix(matrix: Float[AnyArray, "*batch rows columns"]) -> Float[Array, "*batch rows columns"]:
    """Inverts an affine (2x3, for volumes 3x4) or a projective (3x3) transform.

    Convention:
        The inverse of a matrix that maps output to input points maps input to output points; warping by
        it undoes the warp, except for what left the image. Points in front of the horizon of a projective
        one (w > 0) are in front of that of its inverse, too.

    Args:
        matrix: The matrix.

    Returns:
        The inverse, of the same shape, float32 or float64. A singular matrix gives inf, NaN or huge numbers.

    Raises:
        ValueError: If ``matrix`` has the wrong shape or dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> (ops.invert_matrix(jnp.array([[2.0, 0.0, 1.0], [0.0, 4.0, 0.0]])) + 0.0).tolist()
        [[0.5, 0.0, -0.5], [0.0, 0.25, 0.0]]
    """
    matrix = check_matrix("invert_matrix", "matrix", matrix, *_SHAPES)
    dtype = working_dtype(matrix)

    def invert_one(matrix: jax.Array) -> jax.Array:
        matrix = matrix.astype(dtype)
        d = matrix.shape[1] - 1
        entries, determinant = adjugate([list(row) for row in matrix[:, : matrix.shape[0]]])
        inverse = jnp.stack([jnp.stack(row) for row in entries]) / determinant
        if matrix.shape[0] == d + 1:
            return inverse
        return jnp.concatenate([inverse, -jnp.matmul(inverse, matrix[:, d:], precision=_HIGHEST)], 1)

    return over_batch(invert_one, (matrix,), (2,), name="invert_matrix", arguments="matrix")


def fit_affine(
    points: Float[AnyArray, "*#batch k d"], targets: Float[AnyArray, "*#batch k d"]
) -> Float[Array, "*batch d d1"]:
    """Fits the affine transform that maps points as close as possible to their targets, by least squares.

    Args:
        points: k points (x, y), at least 3, not on one line; for volumes (x, y, z), at least 4, not in a plane.
        targets: Where each should be mapped.

    Returns:
        The matrix, 2x3 or 3x4, float32 or float64; differentiable in both. For ``warp_affine`` the points
        lie in the output, the targets in the input. Degenerate points give inf, NaN or huge numbers.

    Raises:
        ValueError: If a shape or dtype is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxcnn import ops
        >>> corners = jnp.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
        >>> (np.round(ops.fit_affine(corners, corners * 2 + 0.5), 3) + 0.0).tolist()
        [[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]]
    """
    points, targets, dtype = _check_pairs("fit_affine", points, targets, (2, 3), lambda d: d + 1)

    def fit_one(points: jax.Array, targets: jax.Array) -> jax.Array:
        return _fit_affine(points.astype(dtype), targets.astype(dtype))

    return over_batch(fit_one, (points, targets), (2, 2), name="fit_affine", arguments="points and targets")


def fit_homography(
    points: Float[AnyArray, "*#batch k xy=2"], targets: Float[AnyArray, "*#batch k xy=2"]
) -> Float[Array, "*batch 3 3"]:
    """Fits the projective transform that maps points to their targets.

    Four pairs are mapped exactly; more by least squares of the linear equations in normalized coordinates.

    Args:
        points: k points (x, y), at least 4, no three on one line.
        targets: Where each should be mapped.

    Returns:
        The matrix, float32 or float64, scaled to w = 1 in the middle of the points; differentiable in both.
        For ``warp_perspective`` the points lie in the output, the targets in the input. Degenerate points
        give inf, NaN or a meaningless matrix.

    Raises:
        ValueError: If a shape or dtype is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxcnn import ops
        >>> corners = jnp.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        >>> matrix = ops.fit_homography(corners, corners * jnp.array([[1.0], [1.0], [0.5], [0.5]]))
        >>> np.round(ops.apply_matrix(matrix, corners), 3).tolist()
        [[-1.0, -1.0], [1.0, -1.0], [0.5, 0.5], [-0.5, 0.5]]

    References:
        Hartley and Zisserman 2004, "Multiple view geometry in computer vision", algorithms 4.1 and 4.2.
    """
    points, targets, dtype = _check_pairs("fit_homography", points, targets, (2,), lambda _: 4)

    def fit_one(points: jax.Array, targets: jax.Array) -> jax.Array:
        points, targets = points.astype(dtype), targets.astype(dtype)
        (middle, scale), (middle2, scale2) = _mean_and_scale(points), _mean_and_scale(targets)
        x, y = ((points - middle[None]) * scale).T
        u, v = ((targets - middle2[None]) * scale2).T
        zero = 0 * x  # sharded as x is, which a new array would not be
        unit = zero + 1
        first = jnp.stack([x, y, unit, zero, zero, zero, -u * x, -u * y], -1)
        second = jnp.stack([zero, zero, zero, x, y, unit, -v * x, -v * y], -1)
        entries = _least_squares(jnp.concatenate([first, second]), jnp.concatenate([u, v])[:, None])[:, 0]
        normal = jnp.concatenate([entries, jnp.ones_like(entries[:1])]).reshape(3, 3)
        linear = normal[:, :2] * scale
        matrix = jnp.concatenate([linear, normal[:, 2:] - jnp.matmul(linear, middle[:, None], precision=_HIGHEST)], 1)
        return jnp.concatenate([matrix[:2] / scale2 + middle2[:, None] * matrix[2:], matrix[2:]])

    return over_batch(fit_one, (points, targets), (2, 2), name="fit_homography", arguments="points and targets")


def fit_tps(
    points: Float[AnyArray, "*batch k xy=2"],
    control_points: Float[AnyArray, "k xy=2"],
    *,
    regularization: float | Float[AnyArray, ""] = 0.0,
) -> Float[Array, "*batch k3 xy=2"]:
    """Fits the thin-plate spline that maps control points to points.

    An affine map is fitted first, and the spline to the residuals, so large displacements cost no precision.

    Args:
        points: Where the control points should be mapped.
        control_points: k points (x, y), at least 3, distinct and not on one line.
        regularization: 0 interpolates; larger values bend less.

    Returns:
        Coefficients for ``apply_tps``: those of the k radial functions, then those of 1, x and y; float32 or
        float64, differentiable in all arguments.

    Raises:
        ValueError: As ``tps_grid``.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxcnn import ops
        >>> corners = jnp.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
        >>> moved = corners.at[4, 0].set(0.5)
        >>> coefficients = ops.fit_tps(moved, corners)
        >>> np.round(ops.apply_tps(coefficients, corners, corners[4:]), 3).tolist()
        [[0.5, 0.0]]

    References:
        Bookstein 1989, "Principal warps: thin-plate splines and the decomposition of deformations".
    """
    points, control, strength = check_points("fit_tps", points, control_points, regularization)
    dtype = working_dtype(points)
    inverse = tps_coefficients(control, strength, name="fit_tps", dtype=dtype)
    centers = jnp.asarray(control, dtype)

    def fit_one(points: jax.Array) -> jax.Array:
        points = points.astype(dtype)
        theta = _fit_affine(centers, points)
        rest = points - _apply_affine(theta, centers)
        bend = jnp.matmul(inverse, rest, precision=_HIGHEST)
        return bend + jnp.concatenate([jnp.zeros_like(centers), theta[:, 2:].T, theta[:, :2].T])

    return over_batch(fit_one, (points,), (2,), name="fit_tps", arguments="points")


def apply_tps(
    coefficients: Float[AnyArray, "*#batch k3 xy=2"],
    control_points: Float[AnyArray, "k xy=2"],
    points: Float[AnyArray, "*#batch n xy=2"],
) -> Float[Array, "*batch n xy=2"]:
    """Maps points by a thin-plate spline fitted by ``fit_tps``.

    Args:
        coefficients: What ``fit_tps`` returned.
        control_points: The k control points that were passed to it.
        points: Points (x, y) to map.

    Returns:
        Where they lie afterwards, float32 or float64.

    Raises:
        ValueError: If a shape or dtype is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxcnn import ops
        >>> corners = jnp.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
        >>> twice = ops.fit_tps(2 * corners, corners)
        >>> np.round(ops.apply_tps(twice, corners, jnp.array([[0.25, 0.5]])), 3).tolist()
        [[0.5, 1.0]]
    """
    control = _check_point_list("apply_tps", "control_points", control_points, 2, 3)
    points = _check_point_list("apply_tps", "points", points, 2, 1)
    coefficients = _check_point_list("apply_tps", "coefficients", coefficients, 2, 1)
    k = control.shape[-2]
    expected = f"of shape (..., {k + 3}, 2), as there are {k} control points"
    check(coefficients.shape[-2] == k + 3, "apply_tps", "coefficients", expected, shape_text(coefficients))
    check(control.ndim == 2, "apply_tps", "control_points", "of shape (k, 2)", shape_text(control))
    dtype = working_dtype(coefficients, points)

    def map_one(coefficients: jax.Array, points: jax.Array) -> jax.Array:
        points = points.astype(dtype)
        return jnp.stack(tps_points(coefficients.astype(dtype), control, None, points[:, 0], points[:, 1]), -1)

    return over_batch(map_one, (coefficients, points), (2, 2), name="apply_tps", arguments="coefficients and points")


def _check_point_list(function: str, argument: str, points: AnyArray, dimensions: int, least: int) -> jax.Array:
    """Returns points (..., k, dimensions) as a JAX array; refuses other shapes and fewer than ``least`` points."""
    points = as_array(function, argument, points)
    check_floating(function, argument, points)
    check_min_rank(function, argument, points, f"k {dimensions}")
    valid = points.shape[-1] == dimensions and is_size_at_least(points.shape[-2], least)
    check(valid, function, argument, f"of shape (..., k, {dimensions}) with k >= {least}", shape_text(points))
    return points


def _check_pairs(
    function: str,
    points: AnyArray,
    targets: AnyArray,
    dimensions: Sequence[int],
    least: Callable[[int], int],
) -> tuple[jax.Array, jax.Array, Dtype]:
    """Returns points, their targets and the dtype to fit in; refuses wrong shapes."""
    points = as_array(function, "points", points)
    d = points.shape[-1] if points.ndim and points.shape[-1] in dimensions else dimensions[0]
    points = _check_point_list(function, "points", points, d, least(d))
    targets = _check_point_list(function, "targets", targets, d, least(d))
    got = f"{shape_text(points)} and {shape_text(targets)}"
    check(points.shape[-2] == targets.shape[-2], function, "points and targets", "as many", got)
    return points, targets, working_dtype(points, targets)


def _apply_affine(theta: jax.Array, points: jax.Array) -> jax.Array:
    d = points.shape[1]
    return jnp.matmul(points, theta[:, :d].T, precision=_HIGHEST) + theta[None, :, d]


def _mean_and_scale(points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean of points and the factor that scales their mean square distance from it to 1 per axis."""
    middle = jnp.mean(points, 0)
    return middle, jax.lax.rsqrt(jnp.mean((points - middle[None]) ** 2))


def _fit_affine(points: jax.Array, targets: jax.Array) -> jax.Array:
    """Fits in centered and scaled coordinates."""
    middle, scale = _mean_and_scale(points)
    middle2 = jnp.mean(targets, 0)
    linear = _least_squares((points - middle[None]) * scale, targets - middle2[None]).T * scale
    return jnp.concatenate([linear, (middle2 - jnp.matmul(linear, middle, precision=_HIGHEST))[:, None]], 1)


def _least_squares(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solves (m, n) x = (m, k) by modified Gram-Schmidt of both sides, which is as stable as Householder's.

    Written out, as n is small: matrix units would round, and JAX's own QR cannot run on a part of a sharded batch.
    """
    rows, values, norms = [], [], []
    for _ in range(matrix.shape[1]):  # the first column is taken off all others at once
        column, matrix = matrix[:, 0], matrix[:, 1:]
        norms.append(jnp.sqrt(jnp.sum(column**2)))
        unit = (column / norms[-1])[:, None]
        rows.append(jnp.sum(unit * matrix, 0))
        values.append(jnp.sum(unit * right, 0))
        matrix, right = matrix - unit * rows[-1][None], right - unit * values[-1][None]
    solved: list[jax.Array] = []  # last one first
    for row, value, norm in zip(reversed(rows), reversed(values), reversed(norms), strict=True):
        for i, known in enumerate(reversed(solved)):
            value = value - row[i] * known
        solved.append(value / norm)
    return jnp.stack(solved[::-1])
