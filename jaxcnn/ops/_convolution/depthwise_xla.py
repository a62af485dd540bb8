"""Depthwise convolution and its adjoints by XLA's grouped convolutions, as JAX itself derives them.

The adjoints are written out because a transposition inside a lowering rule does not know which arrays vary over the
devices of a ``shard_map``.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._convolution.shape import ConvShape
from jaxcnn.ops._convolution.xla_layout import (
    SPATIAL_LETTERS,
    dimension_numbers,
    merge_batch_axes,
    replicated_sharding,
)

__all__ = ["forward", "to_input", "to_kernel"]


def forward(x: jax.Array, kernel: jax.Array, conv: ConvShape) -> jax.Array:
    """Convolves x (*batch, *input_size, c) by a kernel (*kernel_size, c, m)."""
    *kernel_size, c, m = kernel.shape
    return _convolve_groups(x, kernel.reshape(*kernel_size, 1, c * m), conv, conv.strides, conv.padding, None)


def to_input(g: jax.Array, kernel: jax.Array, conv: ConvShape) -> jax.Array:
    """Applies the adjoint in x to g."""
    kernel = jnp.swapaxes(jnp.flip(kernel, tuple(range(conv.rank))), -1, -2)
    return _convolve_groups(g, kernel, conv, (1,) * conv.rank, conv.to_input_padding, conv.strides)


def to_kernel(x: jax.Array, g: jax.Array, conv: ConvShape) -> jax.Array:
    """Applies the adjoint in the kernel to g."""
    letters = SPATIAL_LETTERS[conv.rank]
    c = x.shape[-1]
    kernel = lax.conv_general_dilated(
        merge_batch_axes(x, conv.rank),
        merge_batch_axes(g, conv.rank),
        conv.dilation,
        conv.to_kernel_padding,
        rhs_dilation=conv.strides,
        dimension_numbers=(f"C{letters}N", f"I{letters}O", f"{letters}NC"),
        batch_group_count=c,
        out_sharding=replicated_sharding(x, conv.rank + 2),
    )
    return kernel.reshape(*conv.kernel_size, c, g.shape[-1] // c)


def _convolve_groups(
    x: jax.Array,
    kernel: jax.Array,
    conv: ConvShape,
    strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    input_dilation: tuple[int, ...] | None,
) -> jax.Array:
    """Convolves in as many groups as the kernel (*kernel_size, c per group, outputs) implies."""
    lead = x.ndim - 1 - conv.rank
    y = lax.conv_general_dilated(
        merge_batch_axes(x, conv.rank),
        kernel,
        strides,
        padding,
        lhs_dilation=input_dilation,
        rhs_dilation=conv.dilation,
        dimension_numbers=dimension_numbers(conv.rank),
        feature_group_count=x.shape[-1] // kernel.shape[-2],
    )
    return y if lead == 1 else y.reshape(*x.shape[:lead], *y.shape[1:])
