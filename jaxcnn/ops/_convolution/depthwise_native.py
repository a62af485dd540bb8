"""Depthwise convolution and its adjoints by compiled CPU kernels, from the optional package ``jaxcnn-native``.

They keep several outputs times two vectors of channels in registers while they loop over the taps. XLA's fusions
cannot, as they have one result and two loads per multiply-add. The kernels need no padded copy either.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray

from jaxcnn.ops._convolution.shape import ConvShape

__all__ = ["forward", "supports", "to_input", "to_kernel"]


def supports(a: ShapedArray, conv: ConvShape) -> bool:
    """Returns whether there are kernels for these operands: float32, one or two spatial axes."""
    is_whole = not a.sharding.mesh.explicit_axes  # they cannot compute on shards of an array
    return a.dtype == jnp.float32 and conv.rank <= 2 and is_whole


def forward(x: jax.Array, kernel: jax.Array, conv: ConvShape) -> jax.Array:
    """Convolves x (*x_mapped, *batch, *input_size, c) by a kernel (*mapped, *kernel_size, c, m)."""
    x, is_mapped = _map_all_or_none(x, kernel.shape[: len(conv.x_is_mapped)], conv)
    return _correlate(
        x,
        kernel,
        is_mapped=is_mapped,
        output_size=conv.output_size,
        strides=conv.strides,
        dilation=conv.dilation,
        padding=[low for low, _ in conv.padding],
        gaps=(1,) * conv.rank,
    )


def to_input(g: jax.Array, kernel: jax.Array, conv: ConvShape) -> jax.Array:
    """Applies the adjoint in x to g: the mapped axes of both or of neither, which the result has, too."""
    rank = conv.rank
    kernel = jnp.flip(kernel, tuple(range(kernel.ndim - 2 - rank, kernel.ndim - 2)))
    *leading, c, m = kernel.shape
    x = _correlate(
        g,
        kernel.reshape(*leading, c * m, 1),  # one result per output channel; they are added below
        is_mapped=True,
        output_size=conv.input_size,
        strides=(1,) * rank,
        dilation=conv.dilation,
        padding=[low for low, _ in conv.to_input_padding],
        gaps=conv.strides,
    )
    if m == 1:
        return x
    return functools.reduce(operator.add, (lax.slice_in_dim(x, j, None, m, x.ndim - 1) for j in range(m)))


def to_kernel(x: jax.Array, g: jax.Array, conv: ConvShape) -> jax.Array:
    """Applies the adjoint in the kernel to g (*mapped, *batch, *output_size, c)."""
    c, mapped = g.shape[-1], g.shape[: len(conv.x_is_mapped)]
    m = c // x.shape[-1]
    x, _ = _map_all_or_none(x, mapped, conv)
    padding = [low for low, _ in conv.padding]
    options = _pad_options(conv.rank, strides=conv.strides, dilation=conv.dilation, padding=padding)
    call = _ffi_call("jaxcnn_kernel_gradient", (math.prod(mapped), *_pad_to_plane(conv.kernel_size), c))
    kernel = call(_as_images(x, conv.input_size), _as_images(g, conv.output_size), **options)
    return kernel.reshape(*mapped, *conv.kernel_size, c // m, m)


def _map_all_or_none(x: jax.Array, mapped: tuple[int, ...], conv: ConvShape) -> tuple[jax.Array, bool]:
    """Returns x with all of the mapped axes or with none, and which: the kernels accept no x with only some of them."""
    is_mapped = any(conv.x_is_mapped)
    if is_mapped and not all(conv.x_is_mapped):
        missing = [i for i, x_is_mapped in enumerate(conv.x_is_mapped) if not x_is_mapped]
        x = jnp.expand_dims(x, missing)
        x = jnp.broadcast_to(x, (*mapped, *x.shape[len(mapped) :]))
    return x, is_mapped


def _correlate(
    x: jax.Array,
    kernel: jax.Array,
    *,
    is_mapped: bool,
    output_size: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: list[int],
    gaps: tuple[int, ...],
) -> jax.Array:
    """Sums inputs times taps: input (output * stride + tap * dilation - padding) / gap, where that is an integer."""
    rank, c = len(output_size), kernel.shape[-2] * kernel.shape[-1]
    mapped, kernel_size = kernel.shape[: kernel.ndim - 2 - rank], kernel.shape[kernel.ndim - 2 - rank : -2]
    lead, input_size = x.shape[: x.ndim - 1 - rank], x.shape[x.ndim - 1 - rank : -1]
    lead = lead if is_mapped else (*mapped, *lead)
    options = _pad_options(rank, strides=strides, dilation=dilation, padding=padding, gaps=gaps)
    call = _ffi_call("jaxcnn_correlate", (math.prod(lead), *_pad_to_plane(output_size), c))
    images = _as_images(x, input_size)
    kernels = kernel.reshape(math.prod(mapped), *_pad_to_plane(kernel_size), c)
    return call(images, kernels, **options).reshape(*lead, *output_size, c)


def _ffi_call(target: str, shape: tuple[int, ...]) -> Callable[..., jax.Array]:
    return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, jnp.float32), vmap_method="sequential")


def _pad_options(rank: int, **options: Sequence[int]) -> dict[str, np.ndarray]:
    """Extends options of one axis to two: a line is a plane of height 1."""
    neutral = {"padding": 0}
    return {k: np.array([neutral.get(k, 1)] * (2 - rank) + list(v), np.int64) for k, v in options.items()}


def _pad_to_plane(size: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (2 - len(size)) + size


def _as_images(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    lead = x.shape[: x.ndim - 1 - len(size)]
    return x.reshape(math.prod(lead), *_pad_to_plane(size), x.shape[-1])
