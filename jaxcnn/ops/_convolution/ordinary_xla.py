"""An ordinary convolution and its adjoints by XLA.

On CPU both adjoints are written as plain convolutions (images NHWC, kernel HWIO, output NHWC) of transposed arrays.
JAX's own adjoints rename the axes instead, and XLA reverts that only outside loops: inside a loop (a ``scan`` over
training steps, a ``map`` over members) it runs them as scalar loops, 20 to 30 times slower. On other platforms they
are JAX's, which the backends recognize.
"""

import dataclasses
import functools
from typing import NamedTuple

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

__all__ = ["GroupedConvShape", "forward", "to_input", "to_kernel"]


@dataclasses.dataclass(frozen=True)
class GroupedConvShape(ConvShape):
    """Describes a convolution by a kernel (*mapped, *kernel_size, c // groups, f)."""

    groups: int = 1
    precision: lax.PrecisionLike = None


def forward(x: jax.Array, kernel: jax.Array, conv: GroupedConvShape, on_cpu: bool) -> jax.Array:
    """Convolves x (*batch, *input_size, c) by a kernel (*kernel_size, c // groups, f)."""
    lead = x.ndim - 1 - conv.rank
    window = _Window(conv.strides, conv.padding, conv.input_dilation, conv.dilation)
    y = _convolve(merge_batch_axes(x, conv.rank), kernel, conv, window, on_cpu, "IO")
    return y.reshape(*x.shape[:lead], *y.shape[1:])


def to_input(g: jax.Array, kernel: jax.Array, conv: GroupedConvShape, on_cpu: bool) -> jax.Array:
    """Applies the adjoint in x to g: convolves g by the flipped kernel, strides and input dilation exchanged."""
    lead = g.ndim - 1 - conv.rank
    *kernel_size, c, _ = kernel.shape
    kernel = jnp.flip(kernel, tuple(range(conv.rank))).reshape(*kernel_size, c, conv.groups, -1)
    kernel = jnp.swapaxes(kernel, -3, -2).reshape(*kernel_size, conv.groups * c, -1)  # (c, f per group)
    kernel = jnp.swapaxes(kernel, -2, -1) if on_cpu else kernel
    window = _Window(conv.input_dilation, conv.to_input_padding, conv.strides, conv.dilation)
    x = _convolve(merge_batch_axes(g, conv.rank), kernel, conv, window, on_cpu, "IO" if on_cpu else "OI")
    return x.reshape(*g.shape[:lead], *x.shape[1:])


def to_kernel(x: jax.Array, g: jax.Array, conv: GroupedConvShape, on_cpu: bool) -> jax.Array:
    """Applies the adjoint in the kernel to g: convolves x by g, batch and channels exchanged."""
    rank, letters = conv.rank, SPATIAL_LETTERS[conv.rank]
    x, g = merge_batch_axes(x, rank), merge_batch_axes(g, rank)
    convolve = functools.partial(
        lax.conv_general_dilated,
        window_strides=conv.dilation,
        padding=conv.to_kernel_padding,
        lhs_dilation=conv.input_dilation,
        rhs_dilation=conv.strides,
        batch_group_count=conv.groups,
        precision=conv.precision,
        out_sharding=replicated_sharding(x, rank + 2),
    )
    if not on_cpu or conv.groups > 1:
        return convolve(x, g, dimension_numbers=(f"C{letters}N", f"I{letters}O", f"{letters}NC"))
    inner = tuple(range(1, rank + 1))
    x, g = jnp.transpose(x, (rank + 1, *inner, 0)), jnp.transpose(g, (*inner, 0, rank + 1))
    kernel = convolve(x, g, dimension_numbers=dimension_numbers(rank))
    return jnp.transpose(kernel, (*inner, 0, rank + 1))


class _Window(NamedTuple):
    """Where the taps of one call of XLA's convolution lie, one item per spatial axis."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    input_dilation: tuple[int, ...]
    dilation: tuple[int, ...]

    def drop_first_axis(self) -> "_Window":
        """Returns the window in the planes of a volume."""
        return _Window(self.strides[1:], self.padding[1:], self.input_dilation[1:], self.dilation[1:])


def _convolve(
    x: jax.Array, kernel: jax.Array, conv: GroupedConvShape, window: _Window, on_cpu: bool, kernel_channels: str
) -> jax.Array:
    """Convolves x (b, *spatial, c) by a kernel with its channels in this order; volumes plane by plane on CPU."""
    rank = len(window.strides)
    if rank == 3 and on_cpu:
        return _convolve_planes(x, kernel, conv, window)
    return lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.padding,
        lhs_dilation=window.input_dilation,
        rhs_dilation=window.dilation,
        dimension_numbers=dimension_numbers(rank, kernel_channels),
        feature_group_count=conv.groups,
        precision=conv.precision,
    )


def _convolve_planes(x: jax.Array, kernel: jax.Array, conv: GroupedConvShape, window: _Window) -> jax.Array:
    """Sums 2-D convolutions over the planes of the kernel: on CPU XLA's 3-D convolution is a scalar loop."""
    stride, dilation = window.strides[0], window.dilation[0]
    widths = [(0, 0, 0)] * 5
    widths[1] = (*window.padding[0], window.input_dilation[0] - 1)
    x = lax.pad(x, jnp.zeros((), x.dtype), widths)
    last = (x.shape[1] - (kernel.shape[0] - 1) * dilation - 1) // stride * stride
    total: jax.Array | int = 0
    for t in range(kernel.shape[0]):
        planes = lax.slice_in_dim(x, t * dilation, t * dilation + last + 1, stride, 1)
        flat = planes.reshape(planes.shape[0] * planes.shape[1], *planes.shape[2:])
        part = _convolve(flat, kernel[t], conv, window.drop_first_axis(), True, "IO")
        total = total + part.reshape(*planes.shape[:2], *part.shape[1:])
    return jnp.asarray(total)
