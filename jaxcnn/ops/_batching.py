"""Lifts a function of single examples over any number of leading axes by nested ``vmap``.

Leading axes are never flattened or indexed: a mesh may have sharded them, and gathers across a
sharded axis are refused under explicit sharding, while gathers under ``vmap`` are not.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, shape_text

__all__ = ["over_batch", "working_dtype"]


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
    leading = [a.shape[: a.ndim - rank] for a, rank in zip(arrays, core_ranks, strict=True)]
    try:
        np.broadcast_shapes(*leading)
        compatible = True
    except ValueError:
        compatible = False
    got = " and ".join(shape_text(a) for a in arrays)
    check(compatible, name, arguments, "of leading axes that broadcast", got)

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
