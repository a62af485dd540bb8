"""3x3 matrices in pixel units, stored entry by entry, so that entries known at trace time cost nothing.

A matrix is a tuple of three rows of three entries, each a Python number or a traced scalar. Entries that are the
numbers 0 and 1 drop out of products: an affine matrix needs no division, a flip no rotation, and the identity is exact.
The center of the first pixel is (0, 0), as everywhere in pixel units.
"""

import math
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from jaxcnn._typing import Dtype
from jaxcnn.ops._sampling.transforms import FAR_OUTSIDE, adjugate, is_far_outside, projective_points

__all__ = [
    "IDENTITY",
    "Entry",
    "Matrix",
    "compose_entries",
    "from_array",
    "invert_entries",
    "is_affine",
    "map_points",
    "matrix_from_affine",
    "matrix_from_corners",
    "select_entries",
    "to_array",
]

Entry = float | jax.Array
"""A number that is known when a program is traced, or a traced scalar."""

MatrixRow = tuple[Entry, Entry, Entry]
Matrix = tuple[MatrixRow, MatrixRow, MatrixRow]

_LAST = (0.0, 0.0, 1.0)
IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), _LAST)


def matrix_from_affine(
    degrees: Entry, translate: tuple[Entry, Entry], scale: Entry, shear: tuple[Entry, Entry], shape: tuple[int, int]
) -> Matrix:
    """Builds the output-to-input matrix of an affine transform about the center of the image.

    Args:
        degrees: Rotation, clockwise as displayed.
        translate: (x, y) in pixels.
        scale: Scale factor.
        shear: (x, y) in degrees.
        shape: (h, w) of the image.

    Returns:
        The matrix, the inverse of rotation, shear, scale and translation in this order.
    """
    h, w = shape
    angle, shear_x, shear_y = (v * (math.pi / 180) for v in (degrees, *shear))
    cosine, sine = jnp.cos(angle - shear_y) / jnp.cos(shear_y), jnp.sin(angle - shear_y) / jnp.cos(shear_y)
    tangent = jnp.tan(shear_x)
    a, b = cosine, -cosine * tangent - jnp.sin(angle)
    c, d = sine, -sine * tangent + jnp.cos(angle)
    rows = ((d / scale, -b / scale), (-c / scale, a / scale))  # the inverse; the determinant is that of the scale
    center = (w - 1) / 2, (h - 1) / 2
    start = center[0] + translate[0], center[1] + translate[1]
    first, second = (
        (p, q, middle - (p * start[0] + q * start[1])) for (p, q), middle in zip(rows, center, strict=True)
    )
    return first, second, _LAST


def matrix_from_corners(shape: tuple[int, int], corners: Sequence[tuple[Entry, Entry]]) -> Matrix:
    """Builds the matrix that maps the centers of an image's corner pixels to four points, clockwise from (0, 0).

    It is exactly the identity where no corner moves. Both sides of the image must be at least two pixels long.

    Source: P. Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section 2.2.3.
    """
    h, w = shape
    p0, p1, p2, p3 = corners
    a, b = [p - q for p, q in zip(p1, p2, strict=True)], [p - q for p, q in zip(p3, p2, strict=True)]
    s = [p - q + r - t for p, q, r, t in zip(p0, p1, p2, p3, strict=True)]
    area = a[0] * b[1] - a[1] * b[0]
    g, f = (s[0] * b[1] - s[1] * b[0]) / area, (a[0] * s[1] - a[1] * s[0]) / area
    # Only the difference from the identity is divided: XLA divides by multiplying, after which n / n need not be 1.
    first, second = (
        (unit[0] + (p1[i] - p0[i] - unit[0] * (w - 1) + g * p1[i]) / (w - 1),
         unit[1] + (p3[i] - p0[i] - unit[1] * (h - 1) + f * p3[i]) / (h - 1), p0[i])
        for i, unit in enumerate(((1, 0), (0, 1)))
    )  # fmt: skip
    return first, second, (g / (w - 1), f / (h - 1), 1.0)


def compose_entries(outer: Matrix, inner: Matrix) -> Matrix:
    """Multiplies two matrices: points pass ``inner``, then ``outer``."""
    first, second, third = (_multiply_row(row, inner) for row in outer)
    return first, second, third


def _multiply_row(row: MatrixRow, matrix: Matrix) -> MatrixRow:
    a, b, c = (_sum(_product(p, line[j]) for p, line in zip(row, matrix, strict=True)) for j in range(3))
    return a, b, c


def map_points(matrix: Matrix, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maps points; those on or behind the horizon are sent outside, and what a matrix sent outside stays there."""
    if not is_affine(matrix):
        u, v = projective_points(to_array(matrix), x, y, outside=FAR_OUTSIDE)
        lost = is_far_outside(x, y)
        return jnp.where(lost, FAR_OUTSIDE, u), jnp.where(lost, FAR_OUTSIDE, v)
    u, v = (_sum((_product(a, x), _product(b, y), c)) for a, b, c in matrix[:2])
    return u + 0 * x, v + 0 * y  # of the shape of the points, whichever entries dropped out


def invert_entries(matrix: Matrix) -> Matrix:
    """Inverts a matrix; exact for the identity and for flips."""
    if matrix is IDENTITY:
        return IDENTITY
    dtype = _common_dtype(matrix)
    entries, determinant = adjugate([[jnp.asarray(v, dtype) for v in row] for row in matrix])
    first, second, third = ((a / determinant, b / determinant, c / determinant) for a, b, c in entries)
    return first, second, _LAST if is_affine(matrix) else third


def select_entries(condition: bool | jax.Array, matrix: Matrix, other: Matrix) -> Matrix:
    """Selects one of two matrices; entries that both share stay known."""
    first, second, third = (_select_row(condition, row, line) for row, line in zip(matrix, other, strict=True))
    return first, second, third


def _select_row(condition: bool | jax.Array, row: MatrixRow, other: MatrixRow) -> MatrixRow:
    a, b, c = (_select_entry(condition, p, q) for p, q in zip(row, other, strict=True))
    return a, b, c


def _select_entry(condition: bool | jax.Array, a: Entry, b: Entry) -> Entry:
    if a is b or (isinstance(a, float) and isinstance(b, float) and a == b):
        return a
    return jnp.where(condition, jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))


def is_affine(matrix: Matrix) -> bool:
    """Returns whether the last row is known to be (0, 0, 1)."""
    return all(_is_known(v, number) for v, number in zip(matrix[2], _LAST, strict=True))


def to_array(matrix: Matrix) -> jax.Array:
    """Stacks the entries to an array (3, 3)."""
    dtype = _common_dtype(matrix)
    return jnp.stack([jnp.stack([jnp.asarray(v, dtype) for v in row]) for row in matrix])


def from_array(array: jax.Array) -> Matrix:
    """Splits an array (3, 3) into its entries."""
    first, second, third = ((array[i, 0], array[i, 1], array[i, 2]) for i in range(3))
    return first, second, third


def _common_dtype(matrix: Matrix) -> Dtype:
    """Returns the widest dtype of the entries, at least float32."""
    wide = any(getattr(v, "dtype", None) == jnp.float64 for row in matrix for v in row)
    return jnp.float64 if wide else jnp.float32


def _is_known(value: Entry, number: float) -> bool:
    return isinstance(value, int | float) and value == number


def _product(a: Entry, b: Entry) -> Entry:
    if _is_known(a, 0.0) or _is_known(b, 0.0):
        return 0.0
    if _is_known(a, 1.0):
        return b
    return a if _is_known(b, 1.0) else a * b


def _sum(terms: Iterable[Entry]) -> Entry:
    total: Entry = 0.0
    for term in terms:
        total = term if _is_known(total, 0.0) else total if _is_known(term, 0.0) else total + term
    return total
