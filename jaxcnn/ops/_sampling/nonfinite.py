"""Infinite and NaN pixels as finite numbers, while they are read.

Zero times infinity is NaN, so a sum of pixels times weights has to compare every weight with zero, which takes half as
long again. Numbers that are larger than anything else in the result need one comparison per result instead.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["replace_nonfinite"]

_HUGE = 2.0**127
_LIMIT = 2.0**60  # beyond which a result has read one of them, with a weight of at least 2^-67


def replace_nonfinite(image: jax.Array) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
    """Returns a finite image, and the function that restores in what was read from it what was replaced.

    What has read an infinite pixel is infinite. If there are NaN pixels, what has read one, or an infinite one, is NaN.
    Where all pixels are finite nothing changes, whatever their values. The image is float32 or wider.
    """
    huge = jnp.asarray(_HUGE, image.dtype)
    replaced = jnp.where(image == image, lax.clamp(-huge, image, huge), huge)
    largest = jnp.max(jnp.abs(lax.stop_gradient(image)))  # NaN if any pixel is
    limit = jnp.where(jnp.isfinite(largest), jnp.asarray(jnp.inf, image.dtype), jnp.asarray(_LIMIT, image.dtype))

    def restore(result: jax.Array) -> jax.Array:
        return jnp.where(jnp.abs(result) > limit, result * largest, result)

    return replaced, restore
