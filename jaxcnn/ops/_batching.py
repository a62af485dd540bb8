"""Lifts a function of single examples over any number of leading axes by nested ``vmap``.

Leading axes are never flattened or indexed: a mesh may shard them, and explicit sharding rejects gathers across a
sharded axis, but accepts gathers under ``vmap``.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim

from jaxcnn._check import check, shape_text
from jaxcnn._typing import AnyArray, Dtype, Shaped

__all__ = ["apply_in_chunks", "batch_size", "broadcast_leading", "exceeds", "over_batch", "working_dtype"]

Tree = TypeVar("Tree")


def working_dtype(*arrays: Shaped) -> Dtype:
    """Returns float64 if any array has that dtype, else float32: coordinates and sums are never narrower."""
    return jnp.float64 if any(a.dtype == jnp.float64 for a in arrays) else jnp.float32


def over_batch(
    function: Callable[..., Tree], arrays: Sequence[AnyArray], core_ranks: Sequence[int], *, name: str, arguments: str
) -> Tree:
    """Applies ``function`` to the trailing axes of all arrays, leading axes broadcast as in NumPy.

    Args:
        function: Maps single examples, one per array, to an array or a tree of arrays.
        arrays: The batched arguments.
        core_ranks: How many trailing axes of each array belong to one example.
        name: Public function that is named in the error message.
        arguments: Names of its batched arguments for the error message.

    Returns:
        What ``function`` returns, behind the broadcast leading axes.

    Raises:
        ValueError: If the leading axes do not broadcast.
    """
    got = " and ".join(shape_text(a) for a in arrays)
    check(
        _broadcast_leading_axes(arrays, core_ranks) is not None, name, arguments, "of leading axes that broadcast", got
    )

    def lift(*args: AnyArray) -> Tree:
        ranks = [a.ndim - rank for a, rank in zip(args, core_ranks, strict=True)]
        depth = max(ranks)
        if depth == 0:
            return function(*args)
        sizes = [a.shape[0] for a, rank in zip(args, ranks, strict=True) if rank == depth]
        size = next((n for n in sizes if n != 1), 1)
        axes, mapped = [], []
        for a, rank in zip(args, ranks, strict=True):
            is_shared = rank < depth
            is_single = not is_shared and a.shape[0] == 1 and size != 1
            axes.append(None if is_shared or is_single else 0)
            mapped.append(jax.lax.squeeze(a, (0,)) if is_single else a)
        return jax.vmap(lift, in_axes=tuple(axes))(*mapped)

    return lift(*arrays)


def batch_size(arrays: Sequence[Shaped], core_ranks: Sequence[int]) -> int:
    """Counts the examples, a symbolic number if the batch is; leading axes that do not broadcast count as one."""
    return math.prod(_broadcast_leading_axes(arrays, core_ranks) or ())


def exceeds(size: int, limit: int) -> bool:
    """Returns whether a size is above a limit; one that is symbolic, as in an exported program, may be."""
    return is_symbolic_dim(size) or size > limit


def broadcast_leading(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """Broadcasts leading axes, which may be symbolic; None if they do not broadcast."""
    try:
        return jax.lax.broadcast_shapes(*shapes)
    except ValueError:
        return None


def _broadcast_leading_axes(arrays: Sequence[Shaped], core_ranks: Sequence[int]) -> tuple[int, ...] | None:
    """Computes the broadcast leading axes of all arrays, or None if they do not broadcast."""
    return broadcast_leading([a.shape[: a.ndim - rank] for a, rank in zip(arrays, core_ranks, strict=True)])


def apply_in_chunks(function: Callable[..., jax.Array], arrays: Sequence[jax.Array], count: int) -> jax.Array:
    """Applies a pointwise function of arrays of one shape to ``count`` chunks, one after another.

    The intermediate results of a chunk are recomputed for its gradient, so only one chunk at a time takes memory.

    Args:
        function: Maps arrays of any shape to an array of that shape, possibly with further axes.
        arrays: Its arguments, all of one shape.
        count: Number of chunks; 1 applies the function to the arrays as they are.

    Returns:
        The result of ``function`` for the whole arrays.
    """
    if count <= 1:
        return function(*arrays)
    shape = arrays[0].shape
    n = math.prod(shape)
    length = -(-n // count)
    flat = [a.reshape(n) for a in arrays]
    on_chunk = jax.checkpoint(function)
    end = n // length * length
    chunks = jax.lax.map(lambda args: on_chunk(*args), [a[:end].reshape(-1, length) for a in flat])
    result = chunks.reshape(end, *chunks.shape[2:])
    if end < n:
        result = jnp.concatenate([result, on_chunk(*(a[end:] for a in flat))])
    return result.reshape(*shape, *result.shape[1:])
