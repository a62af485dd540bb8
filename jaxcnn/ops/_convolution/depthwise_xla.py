"""Depthwise convolution and its adjoints by XLA's grouped convolutions, as JAX itself derives them.

The adjoints are written out: a transposition inside of a lowering does not know which arrays vary over the
devices of a ``shard_map``.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxcnn.ops._conv_shape import Geometry

__all__ = ["forward", "to_input", "to_kernel"]

_SPACE = {1: "W", 2: "HW", 3: "DHW"}


def forward(x: Any, kernel: Any, geometry: Geometry) -> Any:
    """Convolves x (*batch, *size, c) by a kernel (*kernel, c, m)."""
    *taps, c, m = kernel.shape
    return _grouped(x, kernel.reshape(*taps, 1, c * m), geometry, geometry.strides, geometry.padding, None)


def to_input(g: Any, kernel: Any, geometry: Geometry) -> Any:
    """Applies the adjoint in x to g."""
    kernel = jnp.swapaxes(jnp.flip(kernel, tuple(range(geometry.rank))), -1, -2)
    return _grouped(g, kernel, geometry, (1,) * geometry.rank, geometry.adjoint_padding, geometry.strides)


def to_kernel(x: Any, g: Any, geometry: Geometry) -> Any:
    """Applies the adjoint in the kernel to g."""
    space = _SPACE[geometry.rank]
    c = x.shape[-1]
    kernel = lax.conv_general_dilated(
        _one_batch_axis(x, geometry),
        _one_batch_axis(g, geometry),
        geometry.dilation,
        geometry.kernel_padding,
        rhs_dilation=geometry.strides,
        dimension_numbers=(f"C{space}N", f"I{space}O", f"{space}NC"),
        batch_group_count=c,
        out_sharding=_summed(x, geometry),
    )
    return kernel.reshape(*geometry.kernel, c, g.shape[-1] // c)


def _grouped(x: Any, kernel: Any, geometry: Geometry, strides: Any, padding: Any, gaps: Any) -> Any:
    """Convolves in as many groups as the kernel (*kernel, c per group, outputs) asks for."""
    space = _SPACE[geometry.rank]
    lead = x.ndim - 1 - geometry.rank
    y = lax.conv_general_dilated(
        _one_batch_axis(x, geometry),
        kernel,
        strides,
        padding,
        lhs_dilation=gaps,
        rhs_dilation=geometry.dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=x.shape[-1] // kernel.shape[-2],
    )
    return y if lead == 1 else y.reshape(*x.shape[:lead], *y.shape[1:])


def _summed(x: Any, geometry: Geometry) -> Any:
    """Gives the sharding of a sum over a batch that an explicit mesh has sharded: it lies on every device."""
    sharding = jax.typeof(x).sharding
    return sharding.update(spec=P(*[None] * (geometry.rank + 2))) if sharding.mesh.explicit_axes else None


def _one_batch_axis(x: Any, geometry: Geometry) -> Any:
    lead = x.ndim - 1 - geometry.rank
    return x if lead == 1 else x.reshape(math.prod(x.shape[:lead]), *x.shape[lead:])
