"""Values that are computed once and stored, for the programs of XLA's CPU backend.

There, what reads an array is fused with what made it, even if that is costly and read more than once, or in another
order of axes (``benchmarks/speed/augment_forms.py``). No barrier keeps the backend from it (they are gone before it
fuses), a branch does.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["stored", "stored_planes"]


def stored(function: Callable[..., Any], *args: Any) -> Any:
    """Returns what ``function`` computes; on CPU it is stored before anything reads it. All are trees of arrays."""
    # Always true, which the compiler for CPU cannot know, and others see; were the branches alike, it would drop both.
    drawn = jax.lax.platform_dependent(cpu=_drawn, default=lambda: jnp.float32(0))
    made = jax.eval_shape(function, *args)
    return jax.lax.cond(drawn >= -1, function, lambda *_: jax.tree.map(_zeros, made), *args)


def stored_planes(x: Any) -> jax.Array:
    """Returns an image (..., h, w, c) that was made plane by plane, and is better stored so."""
    return jnp.moveaxis(stored(lambda x: x, jnp.moveaxis(x, -1, -3)), -3, -1)


def _drawn() -> jax.Array:
    return jax.lax.rng_uniform(jnp.float32(0), jnp.float32(1), ())


def _zeros(form: jax.ShapeDtypeStruct) -> jax.Array:
    return jnp.zeros(form.shape, form.dtype)
