"""Programs of augmentations: one for equal functions and options, however often and wherever they are called.

Outside of ``jax.jit`` a ``jax.lax.cond`` of new functions is compiled again in every call. So a call runs in a program
that is looked up by what it computes: functions by identity, options by value, JAX arrays among them as arguments.
Inside of another program it becomes part of that one.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import get_opaque_trace_state

from jaxcnn._typing import PyTree
from jaxcnn.augment._argument_checks import ValueCheck, collect_checks

__all__ = ["is_tracing", "run_program"]

_TOP = get_opaque_trace_state(convention="flax")
_PROGRAMS = 256  # that are kept
_SMALL = 16  # values of an array that is compared by them

Body = Callable[..., PyTree]


def run_program(body: Body, settings: PyTree, *args: PyTree, pure: bool = True) -> PyTree:
    """Calls ``body(settings, *args)``, a function of arrays, in a program that is compiled once for equal settings.

    Args:
        body: A function of a module, which is found by its identity.
        settings: A tree of functions and options.
        args: Trees of arrays.
        pure: Whether ``body`` reads nothing but its arguments. If it may, as functions of a user may read values of the
            program that is being traced, it becomes part of that one without a program of its own. So it does on an
            explicit mesh, where a nested program that is mapped would lose how its arguments are sharded.

    Returns:
        The result.
    """
    if is_tracing() and (not pure or jax.sharding.get_abstract_mesh().explicit_axes):
        return body(settings, *args)
    leaves, tree = jax.tree.flatten(settings)
    arrays: dict[Hashable, jax.Array] = {}
    keys: list[Hashable] = []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, jax.Array):
            slot = _array_key(leaf)
            arrays.setdefault(slot, leaf)
            keys.append(_Slot(list(arrays).index(slot)))
            leaves[i] = None  # a program must not keep it
        else:
            keys.append(_value_key(leaf))
    try:
        program = _find_program(_Request(body, tree, tuple(keys), tuple(leaves)))
    except TypeError:  # a setting that cannot be hashed
        return body(settings, *args)
    try:
        return program(tuple(arrays.values()), args)
    except ValueError:
        if not arrays or is_tracing():
            raise
    return body(settings, *args)  # arrays that must be known, such as sizes, are refused as arguments of a program


def is_tracing() -> bool:
    """Returns whether a program, derivative or map is being traced."""
    return get_opaque_trace_state(convention="flax") != _TOP


@dataclasses.dataclass(frozen=True)
class _Slot:
    """The place of a setting among the arrays that a program is called with."""

    index: int


@dataclasses.dataclass(frozen=True)
class _Request:
    """What a program computes: ``keys`` of the settings by which it is found, ``leaves`` to build it from."""

    body: Body
    tree: Any
    keys: tuple[Hashable, ...]
    leaves: tuple[Any, ...] = dataclasses.field(compare=False)


class _Program:
    """A compiled function of arrays, and the checks of those that are settings."""

    def __init__(self, request: _Request):
        self._checks: dict[tuple[int, ValueCheck], None] = {}

        def run(arrays: tuple[jax.Array, ...], args: tuple[PyTree, ...]) -> PyTree:
            pairs = zip(request.keys, request.leaves, strict=True)
            leaves = [arrays[key.index] if isinstance(key, _Slot) else leaf for key, leaf in pairs]
            with collect_checks() as found:
                result = request.body(jax.tree.unflatten(request.tree, leaves), *args)
            for value, check in found:
                self._checks |= {(i, check): None for i, array in enumerate(arrays) if array is value}
            return result

        self._run = jax.jit(run)

    def __call__(self, arrays: tuple[jax.Array, ...], args: tuple[PyTree, ...]) -> PyTree:
        result = self._run(arrays, args)
        for index, check in tuple(self._checks):
            check(arrays[index])
        return result


@functools.lru_cache(maxsize=_PROGRAMS)
def _find_program(request: _Request) -> _Program:
    return _Program(request)


def _array_key(array: jax.Array) -> Hashable:
    """Returns what makes two arrays one argument: their values if they are known and few, else their identity."""
    known = not isinstance(array, Tracer) and not jnp.issubdtype(array.dtype, jax.dtypes.extended)
    if known and array.size <= _SMALL and array.is_fully_addressable:
        return _value_key(np.asarray(array))
    return id(array)


def _value_key(value: object) -> Hashable:
    """Returns the type and value of a setting; 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(value, np.ndarray | np.generic):
        return type(value), str(value.dtype), value.shape, value.tobytes()
    return type(value), value.hex() if isinstance(value, float) else value
