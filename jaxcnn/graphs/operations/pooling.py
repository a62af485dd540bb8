"""Pooling of graphs."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import repeat_per_axis
from jaxcnn.graphs.operations.registry import REQUIRED, Step, operation
from jaxcnn.graphs.operations.spatial import pad_spatial
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._padding import same_padding

__all__ = ["fit_window"]

_POOL = {"strides": None, "padding": "VALID", "ceil_mode": False}


def fit_window(
    x: jax.Array, window: Sequence[int], strides: Sequence[int] | None, padding: str | int | Sequence[tuple[int, int]]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Shrinks windows that are larger than the padded map to it, and resolves the padding.

    Networks declare such windows to pool whatever is left of a small image.

    Args:
        x: Feature maps.
        window: Size of the window per axis.
        strides: Strides; None uses ``window``.
        padding: ``"SAME"``, ``"VALID"``, an integer or pairs.

    Returns:
        Windows and pairs.

    Raises:
        ValueError: If the padding is another text.
    """
    rank = len(window)
    size = x.shape[-1 - rank : -1]
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding must be 'SAME', 'VALID' or numbers, got {padding!r}.")
        pairs = same_padding(size, window, strides or window) if padding == "SAME" else [(0, 0)] * rank
    else:
        pairs = [(padding, padding)] * rank if isinstance(padding, int) else [(low, high) for low, high in padding]
    shrunk = [min(w, n + low + high) for w, n, (low, high) in zip(window, size, pairs, strict=True)]
    return shrunk, pairs


def _windows(step: Step) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    window = list(repeat_per_axis(step["window"], 2))
    steps = window if step["strides"] is None else list(repeat_per_axis(step["strides"], len(window)))
    shrunk, pairs = fit_window(step.x, window, steps, step["padding"])
    return shrunk, steps, pairs


def _too_wide(window: Sequence[int], pairs: Sequence[tuple[int, int]]) -> bool:
    return any(max(pair) >= w for w, pair in zip(window, pairs, strict=True))


@operation("max_pool", window=REQUIRED, **_POOL)
def _pool_maximum(step: Step) -> jax.Array:
    """Computes the maximum of every window; padding is never the maximum."""
    window, strides, pairs = _windows(step)
    x = step.x
    if _too_wide(window, pairs):
        x, pairs = pad_spatial(x, pairs, value=-jnp.inf), [(0, 0)] * len(window)
    return ops.max_pool(x, window, strides=strides, padding=pairs, ceil_mode=step["ceil_mode"])


@operation("avg_pool", window=REQUIRED, **_POOL, count_include_pad=False)
def _pool_average(step: Step) -> jax.Array:
    """Computes the mean of every window; ``count_include_pad``: whether the padding's zeros count."""
    window, strides, pairs = _windows(step)
    include, ceil = step["count_include_pad"], step["ceil_mode"]
    if not _too_wide(window, pairs):
        return ops.avg_pool(step.x, window, strides=strides, padding=pairs, ceil_mode=ceil, count_include_pad=include)
    inner = [(0, 0)] * len(window)
    x = pad_spatial(step.x, pairs)
    mean = ops.avg_pool(x, window, strides=strides, padding=inner, ceil_mode=ceil)
    if include:
        return mean
    ones = pad_spatial(jnp.ones_like(step.x), pairs)
    share = ops.avg_pool(ones, window, strides=strides, padding=inner, ceil_mode=ceil)
    return jnp.where(share > 0, mean / jnp.where(share > 0, share, 1), 0)


def _reduce_maps(step: Step, reduce: str) -> jax.Array:
    spatial = tuple(range(-1 - (step.x.ndim - step.leading - 1), -1))
    wide = step.x.astype(working_dtype(step.x))
    y = getattr(jnp, reduce)(wide, axis=spatial, keepdims=step["keepdims"])
    return y.astype(step.x.dtype)


@operation("global_avg_pool", keepdims=False)
def _pool_global_average(step: Step) -> jax.Array:
    """Computes the mean of every map."""
    return _reduce_maps(step, "mean")


@operation("global_max_pool", keepdims=False)
def _pool_global_maximum(step: Step) -> jax.Array:
    """Computes the maximum of every map."""
    return _reduce_maps(step, "max")
