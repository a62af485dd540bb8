"""Where a map of the plane takes given values: the inverse of a deformation, point by point."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn.ops._sampling.transforms import FAR_OUTSIDE, is_far_outside

__all__ = ["Points", "invert_points"]

Points = tuple[jax.Array, jax.Array]
"""x and y, of one shape."""

PointFunction = Callable[[Points], Points]

_NODES = 17  # places along each axis; the nearest is where a search begins
_MARGIN = 0.25  # by which they exceed the frame, as a fraction of its size
_STEPS = 60
_STOP, _TOLERANCE = 1e-3, 0.02  # pixels: when a search ends, and what counts as found


class _Search(NamedTuple):
    """The state of the search for every point."""

    at: Points
    distance: jax.Array  # from the value that is wanted
    move: Points  # Newton's, from there
    length: jax.Array  # the fraction of it that is tried next


def invert_points(forward: PointFunction, values: Points, shape: tuple[int, int]) -> Points:
    """Finds the points that a map takes to given values, by Newton's method with steps that always come closer.

    Where the map has no folds, the distance from a value has no other minimum than the solution, so the search ends
    there, however much the map stretches. Derivatives are those of the implicit function.

    Args:
        forward: The map, continuous and point by point.
        values: What it takes the points to.
        shape: (h, w) of the frame near which they lie.

    Returns:
        The points: one of several where the map has folds, far outside where none is found.
    """
    unknown = jnp.isnan(values[0]) | jnp.isnan(values[1])
    known = ~is_far_outside(*values) & ~unknown
    target = jnp.where(known, values[0], 0.0), jnp.where(known, values[1], 0.0)

    def residual(at: Points) -> Points:
        x, y = forward(at)
        return x - target[0], y - target[1]

    def solve(residual: PointFunction, start: Points) -> Points:
        return _search(residual, start, max(_STOP, 4e-6 * max(shape)))

    start = jax.lax.stop_gradient(_nearest_nodes(forward, target, shape))
    found = jax.lax.custom_root(residual, start, solve, _solve_linear)
    lost = ~known | (jnp.hypot(*residual(found)) > _TOLERANCE)
    x, y = (jnp.where(unknown, jnp.nan, jnp.where(lost, FAR_OUTSIDE, v)) for v in found)
    return x, y


def _search(residual: PointFunction, start: Points, stop: float) -> Points:
    def far(state: tuple[_Search, jax.Array]) -> jax.Array:
        return (state[1] < _STEPS) & jnp.any(state[0].distance > stop)

    def step(state: tuple[_Search, jax.Array]) -> tuple[_Search, jax.Array]:
        old, count = state
        new = _begin(residual, (old.at[0] - old.length * old.move[0], old.at[1] - old.length * old.move[1]))
        closer = new.distance < old.distance
        length = jnp.where(closer, jnp.minimum(2 * old.length, 1.0), old.length / 4)
        kept = jax.tree.map(lambda a, b: jnp.where(closer, a, b), new, old)
        return kept._replace(length=length), count + 1

    return jax.lax.while_loop(far, step, (_begin(residual, start), jnp.int32(0)))[0].at


def _begin(residual: PointFunction, at: Points) -> _Search:
    ones, zeros = jnp.ones_like(at[0]), jnp.zeros_like(at[0])
    left, along_x = jax.jvp(residual, (at,), ((ones, zeros),))
    _, along_y = jax.jvp(residual, (at,), ((zeros, ones),))
    return _Search(at, jnp.hypot(*left), _solve_pair(along_x, along_y, left), ones)


def _solve_linear(function: PointFunction, values: Points) -> Points:
    """Solves a linear equation that is one of two unknowns at every point."""
    ones, zeros = jnp.ones_like(values[0]), jnp.zeros_like(values[0])
    return _solve_pair(function((ones, zeros)), function((zeros, ones)), values)


def _solve_pair(along_x: Points, along_y: Points, values: Points) -> Points:
    determinant = along_x[0] * along_y[1] - along_x[1] * along_y[0]
    determinant = jnp.where(jnp.abs(determinant) < 1e-6, 1e-6, determinant)  # at a fold
    x = (along_y[1] * values[0] - along_y[0] * values[1]) / determinant
    y = (along_x[0] * values[1] - along_x[1] * values[0]) / determinant
    return x, y


def _nearest_nodes(forward: PointFunction, target: Points, shape: tuple[int, int]) -> Points:
    """Returns for every value the point of a coarse grid that the map takes nearest to it."""
    y, x = (jnp.linspace(-_MARGIN * n, (1 + _MARGIN) * n, _NODES, dtype=target[0].dtype) for n in shape)
    nodes = jnp.tile(x, _NODES), jnp.repeat(y, _NODES)
    reached = forward(nodes)
    distance = sum(
        (a[..., None] - jnp.expand_dims(b, range(a.ndim))) ** 2 for a, b in zip(target, reached, strict=True)
    )
    nearest = jnp.argmin(distance, -1)
    return x[nearest % _NODES], y[nearest // _NODES]
