"""A value that is computed once and stored, for the programs of XLA's CPU backend.

There, what reads an array is fused with what made it, even if that is costly and read more than once, or in another
order of axes (``benchmarks/speed/augment_forms.py``). No barrier keeps the backend from it (they are gone before it
fuses), a branch does.
"""

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["stored", "stored_planes"]


def stored(x: Any) -> jax.Array:
    """Returns ``x``; on CPU it is stored before anything reads it."""
    return jax.lax.platform_dependent(x, cpu=_behind_a_branch, default=lambda x: x)


def stored_planes(x: Any) -> jax.Array:
    """The same for an image (..., h, w, c) that was made plane by plane, and is better stored so."""
    return jnp.moveaxis(stored(jnp.moveaxis(x, -1, -3)), -3, -1)


def _behind_a_branch(x: Any) -> jax.Array:
    # Always true, which the compiler cannot know; were the branches alike, it would drop both.
    drawn = jax.lax.rng_uniform(jnp.float32(0), jnp.float32(1), ())
    return jax.lax.cond(drawn >= -1, lambda x: x, jnp.zeros_like, x)
