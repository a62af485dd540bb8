"""Public ops as one program each: without ``jax.jit`` every operation in them is compiled by itself.

``from tests.support.compiled import ops`` offers the functions of ``jaxcnn.ops``; a call compiles the whole function
once for its shapes and options. Calls inside of a transform, on tracers, are those of ``jaxcnn.ops`` itself.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

import jaxcnn.ops


class Compiled:
    """A namespace whose functions are compiled when they are called.

    Args:
        namespace: The module whose public names are offered.
    """

    def __init__(self, namespace: object) -> None:
        self._namespace = namespace
        self._functions: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        """Returns a function of the module, compiled, or anything else that it offers."""
        value = getattr(self._namespace, name)
        if not callable(value) or isinstance(value, type):
            return value
        return self._functions.setdefault(name, compiled(value))


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a function: arrays among its arguments are traced, everything else is static."""
    programs: dict[object, Callable[..., Any]] = {}

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return function(*args, **kwargs)
        traced = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
        static = [None if is_array else leaf for leaf, is_array in zip(leaves, traced, strict=True)]

        def program(arrays: list[Any]) -> Any:
            given = iter(arrays)
            again = [next(given) if is_array else leaf for leaf, is_array in zip(static, traced, strict=True)]
            args, kwargs = jax.tree.unflatten(tree, again)
            return function(*args, **kwargs)

        key = (tree, tuple(traced), tuple((type(leaf), leaf) for leaf in static))
        jitted = programs.setdefault(key, jax.jit(program))
        return jitted([leaf for leaf, is_array in zip(leaves, traced, strict=True) if is_array])

    return call


ops = Compiled(jaxcnn.ops)
