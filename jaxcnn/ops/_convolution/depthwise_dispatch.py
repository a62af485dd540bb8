"""Which implementation of a depthwise convolution runs where.

Decided by ``benchmarks/speed/depthwise.py``:

- On CPU the stencil: XLA's grouped convolution was slower at every shape.
- With the environment variable ``JAXCNN_NATIVE=1``, on CPU the kernels of the package ``jaxcnn-native`` where it
  has any for the operands.
- On other platforms XLA's grouped convolution, until the stencil is benchmarked there.
"""

import functools
import operator
from types import ModuleType
from typing import Literal, get_args

import jax
from jax import lax
from jax.core import ShapedArray

from jaxcnn.ops import _native
from jaxcnn.ops._convolution import depthwise_native, depthwise_stencil, depthwise_xla
from jaxcnn.ops._convolution.primitives import Direction
from jaxcnn.ops._convolution.shape import ConvShape
from jaxcnn.ops._primitives import ArrayFunction, LoweringTarget

__all__ = ["IMPLEMENTATIONS", "Implementation", "choose_depthwise"]

Implementation = Literal["auto", "stencil", "xla", "native"]
IMPLEMENTATIONS: tuple[str, ...] = get_args(Implementation)

_MAX_UNROLLED_KERNELS = 16

_MODULES: dict[str, ModuleType] = {
    "stencil": depthwise_stencil,
    "xla": depthwise_xla,
    "native": depthwise_native,
}


def choose_depthwise(
    target: LoweringTarget, direction: Direction, a: ShapedArray, b: ShapedArray, conv: ConvShape, implementation: str
) -> ArrayFunction:
    """Returns the function that computes a primitive on a target, lifted over its mapped axes.

    An exported program may run elsewhere, so it gets native kernels only if they are requested by name.
    """
    if implementation == "auto" and not target.is_exported and _native.is_requested():
        implementation = "native"
    if implementation == "native" and target.platform == "cpu" and depthwise_native.supports(a, conv):
        _native.import_kernels("depthwise_conv")
    elif implementation in ("auto", "native"):
        implementation = "stencil" if target.platform == "cpu" else "xla"
    function = functools.partial(getattr(_MODULES[implementation], direction), conv=conv)
    if _handles_mapped_axes(implementation, direction, conv):
        return function
    for axis, x_is_mapped in reversed(list(enumerate(conv.x_is_mapped))):
        if direction == "to_input" and not x_is_mapped:
            function = functools.partial(_sum_over_kernels, function, b.shape[axis])
        else:
            function = jax.vmap(function, (0 if x_is_mapped else None, 0))
    return function


def _handles_mapped_axes(implementation: str, direction: Direction, conv: ConvShape) -> bool:
    """Returns whether an implementation loops over the mapped axes itself."""
    if implementation == "native":
        return direction != "to_input" or all(conv.x_is_mapped)
    return implementation == "stencil" and direction == "to_kernel"


def _sum_over_kernels(function: ArrayFunction, n: int, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Adds the results for n kernels one after another: XLA fuses additions, a reduction would store all n of them."""
    if n > _MAX_UNROLLED_KERNELS:
        at = functools.partial(lax.dynamic_index_in_dim, axis=0, keepdims=False)
        return lax.fori_loop(1, n, lambda i, x: x + function(at(g, i), at(kernel, i)), function(g[0], kernel[0]))
    return functools.reduce(operator.add, (function(g[i], kernel[i]) for i in range(n)))
