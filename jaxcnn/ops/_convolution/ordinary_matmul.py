"""A convolution in space and the adjoints of any as a few matrix products, for CPU, where XLA is slow at some of them.

Which ones was measured (``benchmarks/speed/conv.py``): all volumes, images that are smaller than the kernel that
slides over them, which XLA runs as scalar loops, and products of one or two to four columns.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxcnn.ops._conv_shape import Geometry

__all__ = ["replicated", "suits_input", "suits_kernel", "to_input", "to_kernel"]

_MOST_TAPS = 100  # that are unrolled into a program
_MOST_BYTES = 32 * 2**20  # of intermediate results


def suits_input(g: Any, kernel: Any, geometry: Geometry) -> bool:
    """Tells if ``to_input`` is the faster form for g (*batch, *outputs, f)."""
    c, taps = kernel.shape[-2], math.prod(geometry.kernel)
    size = math.prod(g.shape[:-1]) * taps * c * g.dtype.itemsize
    smaller = any(o < k for o, k in zip(geometry.outputs, geometry.kernel, strict=True))
    return taps <= _MOST_TAPS and size <= _MOST_BYTES and (smaller or c <= 2 or geometry.rank == 3)


def suits_kernel(x: Any, geometry: Geometry) -> bool:
    """Tells if ``to_kernel`` is the faster form for x (*batch, *size, c)."""
    taps, rank = math.prod(geometry.kernel), geometry.rank
    small = math.prod(geometry.strides) > 1 and taps < 25
    return taps <= _MOST_TAPS and (rank == 3 or (rank == 2 and x.shape[-1] <= 4 and not small))


def to_input(g: Any, kernel: Any, geometry: Geometry, precision: Any) -> Any:
    """Multiplies g (*batch, *outputs, f) by all taps of a kernel (*kernel, c, f), then adds what falls on one pixel."""
    rank, (*taps, c, f) = geometry.rank, kernel.shape
    lead = g.ndim - 1 - rank
    parts = lax.dot_general(g, kernel.reshape(-1, f), (((g.ndim - 1,), (1,)), ((), ())), precision=precision)
    parts = parts.reshape(*g.shape[:-1], *taps, c)
    zero = jnp.zeros((), g.dtype)
    x: Any = 0
    for tap in itertools.product(*map(range, taps)):
        part = parts[(..., *tap, slice(None))]
        widths = [(0, 0, 0)] * lead
        for t, d, s, n, o, (low, _) in zip(
            tap, geometry.dilation, geometry.strides, geometry.spread, geometry.outputs, geometry.padding, strict=True
        ):
            first = t * d - low
            widths.append((first, n - first - (o - 1) * s - 1, s - 1))
        x = x + lax.pad(part, zero, [*widths, (0, 0, 0)])
    steps = (*(1,) * lead, *geometry.input_dilation, 1)
    return lax.slice(x, (0,) * x.ndim, x.shape, steps)


def to_kernel(x: Any, g: Any, geometry: Geometry, precision: Any) -> Any:
    """Multiplies shifted copies of x (*batch, *size, c) by g (*batch, *outputs, f), one row of the kernel at a time."""
    rank, lead = geometry.rank, x.ndim - 1 - geometry.rank
    pads = [(*pair, d - 1) for pair, d in zip(geometry.padding, geometry.input_dilation, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * lead + pads + [(0, 0, 0)])

    def shifted(array: Any, axis: int, tap: int) -> Any:
        start, s = tap * geometry.dilation[axis], geometry.strides[axis]
        return lax.slice_in_dim(array, start, start + (geometry.outputs[axis] - 1) * s + 1, s, lead + axis)

    columns = jnp.concatenate([shifted(x, rank - 1, tap) for tap in range(geometry.kernel[-1])], -1)
    summed = tuple(range(g.ndim - 1))
    rows = []
    for tap in itertools.product(*map(range, geometry.kernel[:-1])):
        row = columns
        for axis, t in enumerate(tap):
            row = shifted(row, axis, t)
        dimensions: Any = ((summed, summed), ((), ()))
        rows.append(lax.dot_general(row, g, dimensions, precision=precision, out_sharding=replicated(x, 2)))
    return jnp.stack(rows).reshape(*geometry.kernel, -1, g.shape[-1])


def replicated(x: Any, rank: int) -> Any:
    """Gives the sharding of a sum over axes of x that an explicit mesh may have sharded: it lies on every device."""
    sharding = jax.typeof(x).sharding
    return sharding.update(spec=P(*[None] * rank)) if sharding.mesh.explicit_axes else None
