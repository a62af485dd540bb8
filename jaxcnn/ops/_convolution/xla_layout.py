"""Axes and sharding in calls of XLA's convolution, which takes exactly one batch axis."""

import math

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

__all__ = ["SPATIAL_LETTERS", "dimension_numbers", "merge_batch_axes", "replicated_sharding"]

SPATIAL_LETTERS = {1: "W", 2: "HW", 3: "DHW"}
"""Number of spatial axes -> their letters in dimension numbers."""


def dimension_numbers(rank: int, kernel_channels: str = "IO") -> tuple[str, str, str]:
    """Returns the axes of images NHWC and of kernels HW and these channels."""
    letters = SPATIAL_LETTERS[rank]
    return f"N{letters}C", f"{letters}{kernel_channels}", f"N{letters}C"


def merge_batch_axes(x: jax.Array, rank: int) -> jax.Array:
    """Reshapes images (*batch, *spatial, c) so that they have one batch axis."""
    lead = x.ndim - 1 - rank
    return x if lead == 1 else x.reshape(math.prod(x.shape[:lead]), *x.shape[lead:])


def replicated_sharding(x: jax.Array, rank: int) -> NamedSharding | None:
    """Returns the sharding of a result of ``rank`` axes, a sum over axes of x that an explicit mesh may shard.

    Every device gets the whole sum. Without an explicit mesh the compiler decides, and the result is None.
    """
    sharding = jax.typeof(x).sharding
    return sharding.update(spec=P(*[None] * rank)) if sharding.mesh.explicit_axes else None
