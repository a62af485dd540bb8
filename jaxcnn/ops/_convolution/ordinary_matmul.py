"""The adjoints of an ordinary convolution as a few matrix products, for CPU, where XLA is slow at some of them.

Which ones was measured (``benchmarks/speed/conv.py``): all volumes; images that are smaller than the kernel that
slides over them, which XLA runs as scalar loops; and products with only one to four columns.
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops._batching import exceeds
from jaxcnn.ops._convolution.ordinary_xla import GroupedConvShape
from jaxcnn.ops._convolution.xla_layout import replicated_sharding

__all__ = ["suits_to_input", "suits_to_kernel", "to_input", "to_kernel"]

_MAX_TAPS = 100  # that are unrolled into a program
_MAX_BYTES = 32 * 2**20  # of intermediate results


def suits_to_input(g: jax.Array, kernel: jax.Array, conv: GroupedConvShape) -> bool:
    """Returns whether ``to_input`` is the faster implementation for g (*batch, *output_size, f)."""
    c, taps = kernel.shape[-2], math.prod(conv.kernel_size)
    size = math.prod(g.shape[:-1]) * taps * c * g.dtype.itemsize
    is_smaller = any(o < k for o, k in zip(conv.output_size, conv.kernel_size, strict=True))
    return taps <= _MAX_TAPS and not exceeds(size, _MAX_BYTES) and (is_smaller or c <= 2 or conv.rank == 3)


def suits_to_kernel(x: jax.Array, conv: GroupedConvShape) -> bool:
    """Returns whether ``to_kernel`` is the faster implementation for x (*batch, *input_size, c)."""
    taps, rank = math.prod(conv.kernel_size), conv.rank
    small = math.prod(conv.strides) > 1 and taps < 25
    return taps <= _MAX_TAPS and (rank == 3 or (rank == 2 and x.shape[-1] <= 4 and not small))


def to_input(g: jax.Array, kernel: jax.Array, conv: GroupedConvShape) -> jax.Array:
    """Multiplies g (*batch, *output_size, f) by all taps of a kernel (*kernel_size, c, f), then adds up every pixel."""
    rank, (*kernel_size, c, f) = conv.rank, kernel.shape
    lead = g.ndim - 1 - rank
    dimensions = (([g.ndim - 1], [1]), ([], []))
    products = lax.dot_general(g, kernel.reshape(-1, f), dimensions, precision=conv.precision)
    products = products.reshape(*g.shape[:-1], *kernel_size, c)
    zero = jnp.zeros((), g.dtype)
    total: jax.Array | int = 0
    for tap in itertools.product(*map(range, kernel_size)):
        widths = [(0, 0, 0)] * lead
        for t, d, s, n, o, (low, _) in zip(
            tap, conv.dilation, conv.strides, conv.dilated_input_size, conv.output_size, conv.padding, strict=True
        ):
            first = t * d - low
            widths.append((first, n - first - (o - 1) * s - 1, s - 1))
        total = total + lax.pad(products[(..., *tap, slice(None))], zero, [*widths, (0, 0, 0)])
    x = jnp.asarray(total)
    return lax.slice(x, (0,) * x.ndim, x.shape, (*(1,) * lead, *conv.input_dilation, 1))


def to_kernel(x: jax.Array, g: jax.Array, conv: GroupedConvShape) -> jax.Array:
    """Multiplies shifted x (*batch, *input_size, c) by g (*batch, *output_size, f), one row of the kernel at a time."""
    rank, lead = conv.rank, x.ndim - 1 - conv.rank
    pads = [(*pair, d - 1) for pair, d in zip(conv.padding, conv.input_dilation, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * lead + pads + [(0, 0, 0)])

    def shift(array: jax.Array, axis: int, tap: int) -> jax.Array:
        start, s = tap * conv.dilation[axis], conv.strides[axis]
        return lax.slice_in_dim(array, start, start + (conv.output_size[axis] - 1) * s + 1, s, lead + axis)

    columns = jnp.concatenate([shift(x, rank - 1, tap) for tap in range(conv.kernel_size[-1])], -1)
    summed = range(g.ndim - 1)
    sharding = replicated_sharding(x, 2)
    rows = []
    for tap in itertools.product(*map(range, conv.kernel_size[:-1])):
        row = columns
        for axis, t in enumerate(tap):
            row = shift(row, axis, t)
        dimensions = ((summed, summed), ([], []))
        rows.append(lax.dot_general(row, g, dimensions, precision=conv.precision, out_sharding=sharding))
    return jnp.stack(rows).reshape(*conv.kernel_size, -1, g.shape[-1])
