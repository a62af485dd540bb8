"""Which form of a depthwise convolution runs where.

Decided by ``benchmarks/speed/depthwise.py``:

- On CPU the stencil, everywhere: stock XLA was slower at every shape there.
- With the environment variable ``JAXCNN_NATIVE=1``, on CPU the kernels of the package ``jaxcnn-native`` where it
  has some for the operands.
- Elsewhere XLA's grouped convolution, until a measurement on the device says otherwise.

The primitives keep the choice open until they are lowered, so an exported program can hold one form per platform.
"""

import functools
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
from jax import lax

from jaxcnn.ops import _native
from jaxcnn.ops._conv_shape import Geometry
from jaxcnn.ops._convolution import depthwise_native, depthwise_stencil, depthwise_xla

__all__ = ["IMPLEMENTATIONS", "choose"]

IMPLEMENTATIONS = ("auto", "stencil", "xla", "native")

_MOST_ADDED = 16

_FORMS: dict[str, ModuleType] = {"stencil": depthwise_stencil, "xla": depthwise_xla, "native": depthwise_native}


def choose(
    function: str, a: Any, b: Any, geometry: Geometry, implementation: str, platform: str | None, exported: bool
) -> Callable[..., Any]:
    """Gives the function that computes a primitive on a platform, lifted over its shared axes.

    An exported program, which may run elsewhere, gets no native kernels unless it asks for them by name.
    """
    if implementation == "auto" and not exported and _native.wanted():
        implementation = "native"
    if implementation == "native" and platform == "cpu" and depthwise_native.takes(function, a, b, geometry):
        _native.load("depthwise_conv")
    elif implementation in ("auto", "native"):
        implementation = "stencil" if platform == "cpu" else "xla"
    form = functools.partial(getattr(_FORMS[implementation], function), geometry=geometry)
    if _takes_shared(implementation, function, geometry):
        return form
    for number, own in reversed(list(enumerate(geometry.shared))):
        if function == "to_input" and not own:
            form = functools.partial(_summed, form, b.shape[number])
        else:
            form = jax.vmap(form, (0 if own else None, 0))
    return form


def _takes_shared(implementation: str, function: str, geometry: Geometry) -> bool:
    """Tells if a form has the shared axes in its own loops."""
    if implementation == "native":
        return function != "to_input" or all(geometry.shared)
    return implementation == "stencil" and function == "to_kernel"


def _summed(form: Callable[..., Any], n: int, g: Any, kernel: Any) -> Any:
    """Adds what n kernels give, one after the other: XLA fuses additions, while a reduction would keep all n."""
    if n > _MOST_ADDED:
        at = functools.partial(lax.dynamic_index_in_dim, axis=0, keepdims=False)
        return lax.fori_loop(1, n, lambda i, x: x + form(at(g, i), at(kernel, i)), form(g[0], kernel[0]))
    return functools.reduce(operator.add, (form(g[i], kernel[i]) for i in range(n)))
