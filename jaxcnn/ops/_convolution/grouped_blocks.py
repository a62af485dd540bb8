"""A grouped convolution as several dense ones, for CPU, where XLA runs a grouped convolution as scalar loops.

Groups are packed into blocks of about 32 channels, each with a dense kernel that is zero between groups: the redundant
multiplications cost less than convolutions of few channels. Measured forms: ``benchmarks/speed/conv.py``.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxcnn.ops._convolution.ordinary_xla import GroupedConvShape
from jaxcnn.ops._convolution.primitives import Direction
from jaxcnn.ops._convolution.unrolled_map import map_in_steps
from jaxcnn.ops._primitives import ArrayFunction

__all__ = ["over_blocks"]

_BLOCK_CHANNELS = 32
_UNROLLED_BLOCKS = 8
"""Blocks that run side by side in each step of a loop, or twice as many without one."""


def over_blocks(dense: ArrayFunction, direction: Direction, conv: GroupedConvShape) -> ArrayFunction:
    """Builds a grouped convolution, or an adjoint of one, from the dense one.

    A value that is not finite spreads to the other groups of its block, as 0 * inf is NaN.

    Args:
        dense: Computes the same direction for one group; a keyword ``conv`` describes it.
        direction: What is computed.
        conv: The grouped convolution.

    Returns:
        The function of the same two arrays as the primitive.
    """
    return functools.partial(_apply, dense, direction, conv)


def _apply(dense: ArrayFunction, direction: Direction, conv: GroupedConvShape, a: jax.Array, b: jax.Array) -> jax.Array:
    function = functools.partial(dense, conv=dataclasses.replace(conv, groups=1))
    of_input = a.shape[-1] // conv.groups if direction != "to_input" else b.shape[-2]
    packed = min(max(1, _BLOCK_CHANNELS // of_input), conv.groups)
    rest = conv.groups % packed  # of the groups, in a block of their own
    if not rest:
        return _apply_packed(function, direction, conv.groups // packed, packed, a, b)
    at = conv.groups - rest
    (a_first, a_rest), (b_first, b_rest) = (_cut_channels(array, at, conv.groups) for array in (a, b))
    first = _apply_packed(function, direction, at // packed, packed, a_first, b_first)
    return jnp.concatenate([first, _apply_packed(function, direction, 1, rest, a_rest, b_rest)], -1)


def _apply_packed(
    function: ArrayFunction, direction: Direction, blocks: int, packed: int, a: jax.Array, b: jax.Array
) -> jax.Array:
    """Computes blocks of equally many groups."""
    first = _split_channels(a, blocks)
    second = _split_channels(b, blocks) if direction == "to_kernel" else _pack_kernel(b, blocks, packed)
    result = map_in_steps(function, first, second, unrolled=_UNROLLED_BLOCKS)
    if direction == "to_kernel":
        return _unpack_kernel(result, packed)
    result = jnp.moveaxis(result, 0, -2)
    return result.reshape(*result.shape[:-2], result.shape[-2] * result.shape[-1])


def _cut_channels(x: jax.Array, at: int, groups: int) -> tuple[jax.Array, jax.Array]:
    """Cuts the last axis, which the groups share equally, before group ``at``."""
    place = x.shape[-1] // groups * at
    return x[..., :place], x[..., place:]


def _split_channels(x: jax.Array, blocks: int) -> jax.Array:
    """Reshapes (..., blocks * c) to (blocks, ..., c)."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, x.shape[-1] // blocks), -2, 0)


def _pack_kernel(kernel: jax.Array, blocks: int, packed: int) -> jax.Array:
    """Builds dense kernels (blocks, *kernel_size, packed * c, packed * f) of (*kernel_size, c, groups * f)."""
    *size, c, _ = kernel.shape
    parts = jnp.moveaxis(kernel.reshape(*size, c, blocks, packed, -1), -3, 0)
    if packed > 1:
        same = jnp.eye(packed, dtype=bool)[:, None, :, None]
        parts = jnp.where(same, parts[..., None, :, :, :], jnp.zeros((), kernel.dtype))
    return parts.reshape(blocks, *size, packed * c, -1)


def _unpack_kernel(kernels: jax.Array, packed: int) -> jax.Array:
    """Takes the kernel (*kernel_size, c, groups * f) out of dense ones (blocks, *kernel_size, packed * c, ...)."""
    blocks, *size, rows, columns = kernels.shape
    parts = kernels.reshape(blocks, *size, packed, rows // packed, packed, columns // packed)
    same = jnp.eye(packed, dtype=bool)[:, None, :, None]
    parts = jnp.where(same, parts, jnp.zeros((), kernels.dtype)).sum(-4) if packed > 1 else parts.squeeze(-4)
    parts = jnp.moveaxis(parts, 0, -3)
    return parts.reshape(*size, rows // packed, -1)
