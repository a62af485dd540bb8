"""The check of keys."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check

__all__ = ["one_key"]


def one_key(function: str, key: Any) -> None:
    """Refuses what is not one typed key."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    got = f"{key.dtype}{tuple(key.shape)}" if isinstance(key, jax.Array | np.ndarray) else repr(key)
    check(typed and key.ndim == 0, function, "key", "one typed key", got)
