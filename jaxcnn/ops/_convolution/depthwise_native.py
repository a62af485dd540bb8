"""Depthwise convolution and its adjoints by compiled CPU kernels, from the optional package ``jaxcnn-native``.

They hold several outputs times two vectors of channels in registers while the taps pass, which XLA's fusions,
with one result and two loads per multiply-add, cannot. They need no padded copy either.
"""

import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops._conv_shape import Geometry

__all__ = ["forward", "takes", "to_input", "to_kernel"]


def takes(function: str, a: Any, b: Any, geometry: Geometry) -> bool:
    """Tells if there are kernels for these operands: float32, one or two spatial axes."""
    del function, b
    whole = not jax.typeof(a).sharding.mesh.explicit_axes  # of parts of an array they know nothing
    return a.dtype == jnp.float32 and geometry.rank <= 2 and whole


def forward(x: Any, kernel: Any, geometry: Geometry) -> Any:
    """Convolves x (*own, *batch, *size, c) by a kernel (*shared, *kernel, c, m)."""
    low = [pair[0] for pair in geometry.padding]
    gaps = (1,) * geometry.rank
    x, own = _every_member(x, kernel.shape[: len(geometry.shared)], geometry)
    return _correlate(x, kernel, own, geometry.outputs, geometry.strides, geometry.dilation, low, gaps)


def to_input(g: Any, kernel: Any, geometry: Geometry) -> Any:
    """Applies the adjoint in x to g: both with or both without the shared axes, which the result has, too."""
    rank = geometry.rank
    kernel = jnp.flip(kernel, tuple(range(kernel.ndim - 2 - rank, kernel.ndim - 2)))
    low = [pair[0] for pair in geometry.adjoint_padding]
    *taps, c, m = kernel.shape
    kernel = kernel.reshape(*taps, c * m, 1)  # of every output channel, then added
    x = _correlate(g, kernel, True, geometry.size, (1,) * rank, geometry.dilation, low, geometry.strides)
    if m == 1:
        return x
    return functools.reduce(operator.add, (lax.slice_in_dim(x, j, None, m, x.ndim - 1) for j in range(m)))


def to_kernel(x: Any, g: Any, geometry: Geometry) -> Any:
    """Applies the adjoint in the kernel to g (*shared, *batch, *outputs, c)."""
    c, shared = g.shape[-1], g.shape[: len(geometry.shared)]
    m = c // x.shape[-1]
    x, _ = _every_member(x, shared, geometry)
    low = [pair[0] for pair in geometry.padding]
    options = _options(geometry.rank, strides=geometry.strides, dilation=geometry.dilation, padding=low)
    call = _call("jaxcnn_kernel_gradient", (math.prod(shared), *_plane(geometry.kernel), c))
    kernel = call(_images(x, geometry.size), _images(g, geometry.outputs), **options)
    return kernel.reshape(*shared, *geometry.kernel, c // m, m)


def _every_member(x: Any, shared: tuple[int, ...], geometry: Geometry) -> tuple[Any, bool]:
    """Gives x with all of the shared axes or with none, and which it is: the kernels take no x that has some."""
    own = any(geometry.shared)
    if own and not all(geometry.shared):
        missing = [i for i, has in enumerate(geometry.shared) if not has]
        x = jnp.expand_dims(x, missing)
        x = jnp.broadcast_to(x, (*shared, *x.shape[len(shared) :]))
    return x, own


def _correlate(
    x: Any, kernel: Any, own: bool, outputs: Any, strides: Any, dilation: Any, padding: Any, gaps: Any
) -> Any:
    """Sums the inputs at (output * stride + tap * dilation - padding) / gap, where that is whole, times the taps."""
    rank, c = len(outputs), kernel.shape[-2] * kernel.shape[-1]
    shared, taps = kernel.shape[: kernel.ndim - 2 - rank], kernel.shape[kernel.ndim - 2 - rank : -2]
    lead, size = x.shape[: x.ndim - 1 - rank], x.shape[x.ndim - 1 - rank : -1]
    lead = lead if own else (*shared, *lead)
    options = _options(rank, strides=strides, dilation=dilation, padding=padding, gaps=gaps)
    call = _call("jaxcnn_correlate", (math.prod(lead), *_plane(outputs), c))
    y = call(_images(x, size), kernel.reshape(math.prod(shared), *_plane(taps), c), **options)
    return y.reshape(*lead, *outputs, c)


def _call(target: str, shape: tuple[int, ...]) -> Any:
    return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, jnp.float32), vmap_method="sequential")


def _options(rank: int, **options: Any) -> dict[str, np.ndarray]:
    """Gives options of two axes, of one or two: a line is a plane of height 1."""
    usual = {"padding": 0}
    return {k: np.array([usual.get(k, 1)] * (2 - rank) + list(v), np.int64) for k, v in options.items()}


def _plane(axes: Any) -> tuple[int, ...]:
    return (1,) * (2 - len(axes)) + tuple(axes)


def _images(x: Any, size: Any) -> Any:
    lead = x.shape[: x.ndim - 1 - len(size)]
    return x.reshape(math.prod(lead), *_plane(size), x.shape[-1])
