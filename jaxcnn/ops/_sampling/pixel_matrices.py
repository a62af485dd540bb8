"""3x3 matrices in pixel units, entry by entry: what is known when a program is traced is never computed.

A matrix is a tuple of three rows of three entries, numbers or traced scalars. Entries that are the numbers 0 and 1
drop out of products, so an affine matrix needs no division, a flip no rotation, and the identity is exact.
The first pixel's centre is (0, 0), as everywhere in pixel units.
"""

import math
from typing import Any

import jax.numpy as jnp

from jaxcnn.ops._sampling.transforms import adjugate, projective_points

__all__ = [
    "IDENTITY",
    "Matrix",
    "affine",
    "compose",
    "dense",
    "from_rectangle",
    "invert",
    "is_affine",
    "map_points",
    "select",
]

Matrix = tuple[tuple[Any, Any, Any], tuple[Any, Any, Any], tuple[Any, Any, Any]]

_LAST = (0.0, 0.0, 1.0)
IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), _LAST)


def affine(degrees: Any, translate: Any, scale: Any, shear: Any, shape: tuple[int, int]) -> Matrix:
    """Makes the output-to-input matrix of an affine transform about the image's centre.

    Args:
        degrees: Rotation, clockwise as one sees it.
        translate: (x, y) in pixels.
        scale: Factor of size.
        shear: (x, y) in degrees.
        shape: (h, w) of the image.

    Returns:
        The matrix: rotation, shear, scale, then translation are undone.
    """
    h, w = shape
    turn, shear_x, shear_y = (v * (math.pi / 180) for v in (degrees, *shear))
    cosine, sine = jnp.cos(turn - shear_y) / jnp.cos(shear_y), jnp.sin(turn - shear_y) / jnp.cos(shear_y)
    tangent = jnp.tan(shear_x)
    a, b = cosine, -cosine * tangent - jnp.sin(turn)
    c, d = sine, -sine * tangent + jnp.cos(turn)
    rows = ((d / scale, -b / scale), (-c / scale, a / scale))  # the inverse, whose determinant is the scale's
    centre = (w - 1) / 2, (h - 1) / 2
    start = centre[0] + translate[0], centre[1] + translate[1]
    first, second = (
        (p, q, middle - (p * start[0] + q * start[1])) for (p, q), middle in zip(rows, centre, strict=True)
    )
    return first, second, _LAST


def from_rectangle(shape: tuple[int, int], corners: Any) -> Matrix:
    """Makes the matrix that sends the centres of an image's corner pixels to four points, clockwise from (0, 0).

    Exactly the identity where nothing moves. No side of the image may be one pixel long.

    Source: P. Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, section 2.2.3.
    """
    h, w = shape
    p0, p1, p2, p3 = corners
    a, b = [p - q for p, q in zip(p1, p2, strict=True)], [p - q for p, q in zip(p3, p2, strict=True)]
    s = [p - q + r - t for p, q, r, t in zip(p0, p1, p2, p3, strict=True)]
    area = a[0] * b[1] - a[1] * b[0]
    g, f = (s[0] * b[1] - s[1] * b[0]) / area, (a[0] * s[1] - a[1] * s[0]) / area
    # What differs from the identity is divided alone: XLA divides by multiplying, and n / n need not be 1 then.
    first, second = (
        (own[0] + (p1[i] - p0[i] - own[0] * (w - 1) + g * p1[i]) / (w - 1),
         own[1] + (p3[i] - p0[i] - own[1] * (h - 1) + f * p3[i]) / (h - 1), p0[i])
        for i, own in enumerate(((1, 0), (0, 1)))
    )  # fmt: skip
    return first, second, (g / (w - 1), f / (h - 1), 1.0)


def compose(outer: Matrix, inner: Matrix) -> Matrix:
    """Multiplies: points pass ``inner``, then ``outer``."""
    first, second, third = (_row(row, inner) for row in outer)
    return first, second, third


def _row(row: Any, inner: Matrix) -> tuple[Any, Any, Any]:
    a, b, c = (_sum(_product(p, line[j]) for p, line in zip(row, inner, strict=True)) for j in range(3))
    return a, b, c


def map_points(matrix: Matrix, x: Any, y: Any) -> tuple[Any, Any]:
    """Maps points; those on or behind the horizon go far outside."""
    if not is_affine(matrix):
        return projective_points(dense(matrix), x, y)
    u, v = (_sum((_product(a, x), _product(b, y), c)) for a, b, c in matrix[:2])
    return u + 0 * x, v + 0 * y  # of the points' shape, whatever dropped out


def invert(matrix: Matrix) -> Matrix:
    """Inverts; exact for the identity and for flips."""
    if matrix is IDENTITY:
        return IDENTITY
    dtype = _dtype(matrix)
    entries, determinant = adjugate([[jnp.asarray(v, dtype) for v in row] for row in matrix])
    first, second, third = ((a / determinant, b / determinant, c / determinant) for a, b, c in entries)
    return first, second, _LAST if is_affine(matrix) else third


def select(condition: Any, matrix: Matrix, other: Matrix) -> Matrix:
    """Chooses one of two matrices, entry by entry."""
    first, second, third = (
        tuple(_choose(condition, p, q) for p, q in zip(row, line, strict=True))
        for row, line in zip(matrix, other, strict=True)
    )
    return first, second, third  # type: ignore[return-value]


def is_affine(matrix: Matrix) -> bool:
    """Tells if the last row is known to be (0, 0, 1)."""
    return all(_is(v, number) for v, number in zip(matrix[2], _LAST, strict=True))


def dense(matrix: Matrix) -> Any:
    """Makes an array of it."""
    dtype = _dtype(matrix)
    return jnp.stack([jnp.stack([jnp.asarray(v, dtype) for v in row]) for row in matrix])


def _dtype(matrix: Matrix) -> Any:
    """Gives the widest dtype of the entries, at least float32."""
    wide = any(getattr(v, "dtype", None) == jnp.float64 for row in matrix for v in row)
    return jnp.float64 if wide else jnp.float32


def _choose(condition: Any, a: Any, b: Any) -> Any:
    if a is b or (isinstance(a, float) and isinstance(b, float) and a == b):
        return a
    return jnp.where(condition, jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))


def _is(value: Any, number: float) -> bool:
    return isinstance(value, int | float) and value == number


def _product(a: Any, b: Any) -> Any:
    if _is(a, 0) or _is(b, 0):
        return 0.0
    if _is(a, 1):
        return b
    return a if _is(b, 1) else a * b


def _sum(terms: Any) -> Any:
    total: Any = 0.0
    for term in terms:
        total = term if _is(total, 0) else total if _is(term, 0) else total + term
    return total
