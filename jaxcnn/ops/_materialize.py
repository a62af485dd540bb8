"""Values that are computed once and stored in memory, for the programs of XLA's CPU backend.

That backend fuses whatever reads an array with the code that produced it, even if that code is expensive and its
result is read more than once or in another order of axes (``benchmarks/speed/augment_forms.py``). An optimization
barrier does not prevent it, because barriers are removed before fusion; a branch does.
"""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import jax
import jax.numpy as jnp

from jaxcnn._typing import AnyArray

__all__ = ["materialize", "materialize_planes"]

Args = TypeVarTuple("Args")
Tree = TypeVar("Tree")


def materialize(function: Callable[[*Args], Tree], *args: *Args) -> Tree:
    """Calls ``function``; on CPU its result, a tree of arrays, is stored before anything reads it."""
    # The condition always holds, but the CPU compiler cannot know that; other compilers can. If both branches were
    # equal, it would remove the conditional.
    condition = jax.lax.platform_dependent(cpu=_draw_uniform, default=lambda: jnp.float32(0)) >= -1
    result = jax.eval_shape(function, *args)
    return jax.lax.cond(condition, function, lambda *_: jax.tree.map(_zeros_of, result), *args)


def materialize_planes(x: AnyArray) -> jax.Array:
    """Stores an image (..., h, w, c) plane by plane, which is faster if it was computed plane by plane."""
    return jnp.moveaxis(materialize(lambda x: x, jnp.moveaxis(x, -1, -3)), -3, -1)


def _draw_uniform() -> jax.Array:
    return jax.lax.rng_uniform(jnp.float32(0), jnp.float32(1), ())


def _zeros_of(leaf: jax.ShapeDtypeStruct) -> jax.Array:
    return jnp.zeros(leaf.shape, leaf.dtype)
