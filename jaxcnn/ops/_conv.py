"""Ordinary convolution: XLA's, but a pointwise one is a matrix product.

On CPU the gradient of a 1x1 convolution is several times slower as a convolution than as the product that it is, and
mapped over kernels (``vmap``) it becomes a grouped convolution, while a product stays a batched product.
"""

from collections.abc import Sequence
from typing import Any

from jax import lax

__all__ = ["convolve"]


def convolve(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Any:
    """Does what ``lax.conv_general_dilated`` does, for x (b, *spatial, c) and kernel (*spatial, c // groups, f)."""
    rank = lhs.ndim - 2
    padded = not isinstance(padding, str) and any(p != 0 for pair in padding for p in pair)
    spread = lhs_dilation is not None and any(d != 1 for d in lhs_dilation)
    if rhs.shape[:rank] == (1,) * rank and feature_group_count == 1 and not padded and not spread:
        if any(s != 1 for s in window_strides):
            lhs = lax.slice(lhs, (0,) * lhs.ndim, lhs.shape, (1, *window_strides, 1))
        kernel = lax.squeeze(rhs, range(rank))
        return lax.dot_general(lhs, kernel, (((rank + 1,), (0,)), ((), ())), precision=precision)
    space = {1: "W", 2: "HW", 3: "DHW"}.get(rank)
    if dimension_numbers is None:
        dimension_numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
    )
