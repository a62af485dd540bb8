"""Lifts a function of single examples over any number of leading axes by nested ``vmap``.

Leading axes are never flattened or indexed: a mesh may have sharded them, and gathers across a
sharded axis are refused under explicit sharding, while gathers under ``vmap`` are not.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, shape_text

__all__ = ["batch_size", "in_pieces", "over_batch", "working_dtype"]


def working_dtype(*arrays: Any) -> Any:
    """Returns float64 if any array has it, else float32: coordinates are never narrower."""
    return jnp.float64 if any(a.dtype == jnp.float64 for a in arrays) else jnp.float32


def over_batch(
    function: Callable[..., Any], arrays: Sequence[Any], core_ranks: Sequence[int], *, name: str, arguments: str
) -> Any:
    """Applies ``function`` to the trailing axes of all arrays, leading axes broadcast as in NumPy.

    Args:
        function: Maps single examples, one per array, to an array or a tree of arrays.
        arrays: The batched arguments.
        core_ranks: How many trailing axes of each array belong to one example.
        name: Public function that is named in the error message.
        arguments: Its batched arguments, as the message calls them.

    Returns:
        What ``function`` returns, behind the broadcast leading axes.

    Raises:
        ValueError: If the leading axes do not broadcast.
    """
    got = " and ".join(shape_text(a) for a in arrays)
    check(_leading(arrays, core_ranks) is not None, name, arguments, "of leading axes that broadcast", got)

    def lift(*args: Any) -> Any:
        ranks = [a.ndim - rank for a, rank in zip(args, core_ranks, strict=True)]
        depth = max(ranks)
        if depth == 0:
            return function(*args)
        size = max((a.shape[0] for a, r in zip(args, ranks, strict=True) if r == depth and a.shape[0] != 1), default=1)
        axes, mapped = [], []
        for a, rank in zip(args, ranks, strict=True):
            whole = rank < depth
            single = not whole and a.shape[0] == 1 and size != 1
            axes.append(None if whole or single else 0)
            mapped.append(jax.lax.squeeze(a, (0,)) if single else a)
        return jax.vmap(lift, in_axes=tuple(axes))(*mapped)

    return lift(*arrays)


def batch_size(arrays: Sequence[Any], core_ranks: Sequence[int]) -> int:
    """Tells how many examples there are, if leading axes that do not broadcast count as one."""
    return math.prod(_leading(arrays, core_ranks) or ())


def _leading(arrays: Sequence[Any], core_ranks: Sequence[int]) -> tuple[int, ...] | None:
    """Gives the leading axes of all arrays together, or None if they do not broadcast."""
    try:
        return np.broadcast_shapes(*(a.shape[: a.ndim - rank] for a, rank in zip(arrays, core_ranks, strict=True)))
    except ValueError:
        return None


def in_pieces(function: Callable[..., Any], arrays: Sequence[Any], count: int) -> Any:
    """Applies a function of arrays of one shape, of any number of points, to ``count`` pieces, one after another.

    What a piece computes on the way is computed anew for its gradient, so one piece at a time takes memory.

    Args:
        function: Maps as many arrays of any shape to one of that shape and further axes.
        arrays: Its arguments, all of one shape.
        count: Number of pieces; 1 applies it to the whole.

    Returns:
        What ``function`` would return.
    """
    if count <= 1:
        return function(*arrays)
    shape = arrays[0].shape
    n = math.prod(shape)
    length = -(-n // count)
    flat = [a.reshape(n) for a in arrays]
    piece = jax.checkpoint(function)
    whole = n // length * length
    parts = jax.lax.map(lambda args: piece(*args), [a[:whole].reshape(-1, length) for a in flat])
    result = parts.reshape(whole, *parts.shape[2:])
    if whole < n:
        result = jnp.concatenate([result, piece(*(a[whole:] for a in flat))])
    return result.reshape(*shape, *result.shape[1:])
