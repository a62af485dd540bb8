"""A map over members that runs a few of them side by side."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._primitives import ArrayFunction

__all__ = ["map_in_steps"]


def map_in_steps(function: ArrayFunction, a: jax.Array, b: jax.Array, *, unrolled: int) -> jax.Array:
    """Computes the members along the first axes of two arrays, some at a time.

    Unrolled ones run in parallel on CPU, but take longer to compile.

    Args:
        function: Computes one member.
        a: The first operands (n, ...).
        b: The second ones (n, ...).
        unrolled: Members in each step of a loop; up to twice as many need no loop.

    Returns:
        The results (n, ...).
    """
    n = a.shape[0]

    def unroll(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.stack([function(a[i], b[i]) for i in range(a.shape[0])])

    looped = n - n % unrolled if n > 2 * unrolled else 0
    parts = []
    if looped:
        steps = [array[:looped].reshape(looped // unrolled, unrolled, *array.shape[1:]) for array in (a, b)]
        part = lax.map(lambda pair: unroll(*pair), tuple(steps))
        parts.append(part.reshape(looped, *part.shape[2:]))
    if looped < n:
        parts.append(unroll(a[looped:], b[looped:]))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)
