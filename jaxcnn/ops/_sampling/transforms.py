"""Where a transform sends single points: the arithmetic behind grids, warps and frames.

Everything here works on one example. Points are passed as arrays ``x`` and ``y`` (and ``z``) of one shape,
normalized to [-1, 1], and every function returns their coordinates in the source image. With
``relative=True`` it returns the displacement from the point instead, computed so that the identity
transform displaces by exactly zero; warps add that to exact pixel positions.
"""

import functools
import operator
from collections.abc import Sequence
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check
from jaxcnn._typing import AnyArray, Dtype

__all__ = [
    "FAR_OUTSIDE",
    "OUTSIDE",
    "adjugate",
    "affine_points",
    "is_far_outside",
    "pixel_centers",
    "projective_points",
    "regular_points",
    "tps_coefficients",
    "tps_points",
]

OUTSIDE = 1e3
"""Normalized coordinate of a point that has no image in the source: far outside of it, yet finite."""

FAR_OUTSIDE = 1e10
"""The same in pixels, or where the unit is not known: outside of an image of any size."""

_LARGEST = 1e8  # pixels: no image is as large


def is_far_outside(x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns which points were sent to ``FAR_OUTSIDE``, or near it since; False for NaN."""
    return (jnp.abs(x) > _LARGEST) | (jnp.abs(y) > _LARGEST)


def pixel_centers(size: int, align_corners: bool, dtype: Dtype) -> jax.Array:
    """Returns the normalized centers of ``size`` pixels along an axis; a single pixel lies at 0."""
    if align_corners:
        centers = np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1)
    else:
        centers = (2 * np.arange(size) + 1) / size - 1
    return jnp.asarray(centers, dtype)


def affine_points(theta: jax.Array, *points: jax.Array, relative: bool = False) -> tuple[jax.Array, ...]:
    """Maps points by a matrix of d x (d + 1): (x, y) by 2x3, (x, y, z) by 3x4."""
    d = len(points)
    if relative:
        theta = theta - jnp.eye(d, d + 1, dtype=theta.dtype)
    terms = [[row[i] * points[i] for i in range(d)] for row in theta]
    return tuple(functools.reduce(operator.add, [*term, row[d]]) for term, row in zip(terms, theta, strict=True))


def projective_points(
    matrix: jax.Array, x: jax.Array, y: jax.Array, *, outside: float, relative: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Maps points by a 3x3 matrix; those on or behind the horizon (w <= 0) go to ``outside``, but NaN stays NaN."""
    u, v, w = (matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in range(3))
    if relative:
        u, v = u - w * x, v - w * y
    # A w that is zero up to rounding counts as zero; matrices are scale-free, so compare with their size.
    # NaN counts neither as size nor as behind: a w that is NaN makes its point NaN.
    size = jnp.max(jnp.abs(jax.lax.stop_gradient(matrix)), initial=0.0, where=~jnp.isnan(matrix))
    visible = ~(w <= jnp.finfo(w.dtype).eps ** 2 * size)
    w = jnp.where(visible, w, 1.0)
    far_x, far_y = (outside - x, outside - y) if relative else (outside, outside)
    return jnp.where(visible, u / w, far_x), jnp.where(visible, v / w, far_y)


def adjugate(matrix: Sequence[Sequence[jax.Array]]) -> tuple[list[list[jax.Array]], jax.Array]:
    """Returns the adjugate and the determinant of 2x2 or 3x3 entries; their quotient is the inverse."""
    if len(matrix) == 2:
        (a, b), (c, d) = matrix
        return [[d, -b], [-c, a]], a * d - b * c
    first, second, third = matrix
    columns = [_cross(second, third), _cross(third, first), _cross(first, second)]
    determinant = functools.reduce(operator.add, (p * q for p, q in zip(first, columns[0], strict=True)))
    return [list(row) for row in zip(*columns, strict=True)], determinant


def _cross(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> list[jax.Array]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def regular_points(rows: int, columns: int) -> np.ndarray:
    """Returns a regular grid of control points over [-1, 1], row by row, as (rows * columns, 2)."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    return np.stack([x.ravel(), y.ravel()], -1)


def _radial(squared: AnyArray, xp: ModuleType) -> AnyArray:
    """Evaluates the kernel of the thin plate, r^2 log r^2, continued by 0 at r = 0."""
    positive = squared > 0
    return xp.where(positive, squared * xp.log(xp.where(positive, squared, 1.0)), 0.0)


def tps_coefficients(control: AnyArray, regularization: float | jax.Array, *, name: str, dtype: Dtype) -> jax.Array:
    """Returns the (k + 3, k) matrix that turns values at the control points into spline coefficients.

    Control points that are known at trace time are checked and, if the regularization is known too, the
    system is inverted in float64. For traced ones it is inverted in ``dtype``, and degenerate ones give NaN.
    """
    try:
        control, known = np.asarray(control, np.float64), True
    except jax.errors.TracerArrayConversionError:
        known = False
    if known:
        check(bool(np.all(np.isfinite(control))), name, "control_points", "finite", "inf or nan")
        apart, broad = _distinct_and_broad(control, np)
        check(bool(apart), name, "control_points", "distinct", "points that coincide")
        check(bool(broad), name, "control_points", "not on one line", "collinear points")
    xp = np if known and isinstance(regularization, float) else jnp
    if xp is jnp:
        control, regularization = jnp.asarray(control, dtype), jnp.asarray(regularization, dtype)
    k = control.shape[0]
    squared = xp.sum((control[:, None, :] - control[None, :, :]) ** 2, -1)
    affine = xp.concatenate([xp.ones((k, 1), control.dtype), control], 1)
    upper = xp.concatenate([_radial(squared, xp) + regularization * xp.eye(k, dtype=control.dtype), affine], 1)
    lower = xp.concatenate([affine.T, xp.zeros((3, 3), control.dtype)], 1)
    inverse = xp.linalg.inv(xp.concatenate([upper, lower], 0))
    if not known:
        apart, broad = _distinct_and_broad(jax.lax.stop_gradient(control), jnp)
        # A factor, so that the gradients are NaN as well.
        inverse = inverse * jnp.where(apart & broad, jnp.ones((), dtype), jnp.full((), jnp.nan, dtype))
    return jnp.asarray(inverse[:, :k], dtype)


def _distinct_and_broad(control: AnyArray, xp: ModuleType) -> tuple[jax.Array | np.bool_, jax.Array | np.bool_]:
    """Returns whether all control points are distinct, and whether they leave their line of best fit.

    Lengths are compared, not the condition of the system, which depends on the unit of length. Lengths below 1e-6 of
    the points' extent, or within the rounding of their coordinates, count as zero.
    """
    k, roundings = control.shape[0], 32 * float(np.finfo(control.dtype).eps)
    centered = control - xp.mean(control, 0, keepdims=True)
    negligible = 1e-6 * xp.max(xp.abs(centered)) + roundings * xp.max(xp.abs(control))
    distance = xp.max(xp.abs(control[:, None, :] - control[None, :, :]), -1)
    distance = xp.where(xp.eye(k, dtype=bool), xp.asarray(np.inf, control.dtype), distance)
    # From the axis of the second moments: the distance keeps the digits that a singular value computed from them loses.
    x, y = centered[:, 0], centered[:, 1]
    angle = xp.arctan2(2 * xp.sum(x * y), xp.sum(x * x) - xp.sum(y * y)) / 2
    off = xp.abs(y * xp.cos(angle) - x * xp.sin(angle))
    return xp.min(distance) > negligible, xp.max(off) > negligible


def tps_points(
    values: jax.Array, control: AnyArray, coefficients: jax.Array | None, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Evaluates a spline at points.

    Args:
        values: The spline's values (k, 2) at the control points; without ``coefficients`` its weights (k + 3, 2).
        control: The control points (k, 2).
        coefficients: From ``tps_coefficients``.
        x: First coordinate of the points.
        y: Second coordinate.

    Returns:
        Both coordinates of the spline.
    """
    # Coordinates must not pass through the reduced-precision matrix units of accelerators.
    weights = values
    if coefficients is not None:
        weights = jnp.matmul(coefficients, values, precision=jax.lax.Precision.HIGHEST)
    k = weights.shape[0] - 3
    centers = jnp.asarray(control, values.dtype)
    ones = (1,) * x.ndim
    squared = (x[..., None] - centers[:, 0].reshape(*ones, k)) ** 2 + (
        y[..., None] - centers[:, 1].reshape(*ones, k)
    ) ** 2
    bend = jnp.matmul(_radial(squared, jnp), weights[:k], precision=jax.lax.Precision.HIGHEST)
    return (
        bend[..., 0] + weights[k, 0] + weights[k + 1, 0] * x + weights[k + 2, 0] * y,
        bend[..., 1] + weights[k, 1] + weights[k + 1, 1] * x + weights[k + 2, 1] * y,
    )
