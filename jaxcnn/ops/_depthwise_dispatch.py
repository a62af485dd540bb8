"""Which form of a depthwise convolution runs where.

Decided from the results in ``benchmarks/results/depthwise-*``:

- On CPU the stencil, everywhere: stock XLA was slower at every shape measured.
- Elsewhere XLA's grouped convolution, until a measurement on the device says otherwise.

The primitives keep the choice open until they are lowered, so an exported program can hold one form per platform.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax

from jaxcnn.ops import _depthwise_stencil, _depthwise_stock
from jaxcnn.ops._depthwise_geometry import Geometry

__all__ = ["IMPLEMENTATIONS", "choose"]

IMPLEMENTATIONS = ("auto", "stencil", "xla")

_FORMS: dict[str, ModuleType] = {"stencil": _depthwise_stencil, "xla": _depthwise_stock}


def choose(
    function: str, a: Any, b: Any, geometry: Geometry, implementation: str, platform: str | None
) -> Callable[..., Any]:
    """Gives the function that computes a primitive on a platform, lifted over its shared axes."""
    if implementation == "auto":
        implementation = "stencil" if platform == "cpu" else "xla"
    form = functools.partial(getattr(_FORMS[implementation], function), geometry=geometry)
    for _ in range(geometry.shared):
        form = jax.vmap(form)
    return form
