"""Padding of the spatial axes of maps, which convolutions and pooling of graphs share."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn._typing import Number

__all__ = ["pad_spatial"]


def pad_spatial(
    x: jax.Array, pairs: Sequence[tuple[int, int]], *, value: Number = 0.0, strides: Sequence[int] | None = None
) -> jax.Array:
    """Pads the axes before the channels.

    Args:
        x: Maps.
        pairs: Width before and behind, per spatial axis; negative ones crop.
        value: What is filled in.
        strides: Distance of the pixels of ``x`` in the result, per spatial axis; None leaves them beside one another.

    Returns:
        The padded maps.
    """
    inner = [0] * len(pairs) if strides is None else [stride - 1 for stride in strides]
    spatial = [(low, high, between) for (low, high), between in zip(pairs, inner, strict=True)]
    config = [(0, 0, 0)] * (x.ndim - 1 - len(pairs)) + spatial + [(0, 0, 0)]
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), config)
