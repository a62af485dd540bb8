"""Digests of functions: what a run that is continued must have in common with the one before."""

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxcnn.train.state import is_key

__all__ = ["describe_computation", "digest_computation"]

Description = dict[str, Any]

_PLAIN = (str, int, float, bool, complex, type(None), np.dtype, np.generic)
"""Types of parameters of an operation that count; names and functions do not."""

_NAMES = ("name", "jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd", "debug_info", "func_name", "inline")
"""Parameters that say how an operation is called, or how it is derived."""


def describe_computation(
    function: Callable[..., Any], *examples: Any, traced: Callable[..., Any] | None = None
) -> Description:
    """Describes a function by its name and by what it computes.

    Args:
        function: The function.
        examples: Its arguments: arrays, or shapes and dtypes.
        traced: What to trace in place of the function.

    Returns:
        ``"name"`` and ``"digest"``, which is None where the function cannot be traced.
    """
    named = getattr(function, "func", function)  # a partial function
    address = getattr(named, "__qualname__", type(named).__qualname__)
    module = getattr(named, "__module__", None) or type(named).__module__
    return {"name": f"{module}:{address}", "digest": digest_computation(traced or function, *examples)}


def digest_computation(function: Callable[..., Any], *examples: Any) -> str | None:
    """Computes a digest of what a function computes: operations, shapes, constants; names do not count.

    Two functions with one digest compute the same. The same function has another digest under another version of JAX
    or of a library that it calls.

    Returns:
        The digest, None if the function cannot be traced.
    """
    try:
        closed = jax.make_jaxpr(function)(*examples)
    except Exception:  # of any kind: the training itself shows it with its place
        return None
    digest = hashlib.blake2b(digest_size=16)
    _add_jaxpr(digest, closed.jaxpr, closed.consts)
    return digest.hexdigest()


def _add_jaxpr(digest: Any, jaxpr: Any, consts: Any) -> None:
    numbers: dict[Any, int] = {}

    def add(value: Any) -> str:
        if isinstance(value, core.Literal):
            return f"{value.aval.str_short()}={_text(value.val)}"
        return f"{numbers.setdefault(value, len(numbers))}:{value.aval.str_short()}"

    head = [add(v) for v in (*jaxpr.constvars, *jaxpr.invars)]
    digest.update("|".join([*head, *map(_text, consts)]).encode())
    for equation in jaxpr.eqns:
        inputs = ",".join(map(add, equation.invars))
        outputs = ",".join(map(add, equation.outvars))
        digest.update(f"\n{equation.primitive.name}({inputs})->{outputs} ".encode())
        for name, value in sorted(equation.params.items()):
            if name not in _NAMES:
                digest.update(name.encode())
                _add_parameter(digest, value)
    digest.update("|".join(map(add, jaxpr.outvars)).encode())


def _add_parameter(digest: Any, value: Any) -> None:
    if isinstance(value, core.ClosedJaxpr):
        _add_jaxpr(digest, value.jaxpr, value.consts)
    elif isinstance(value, core.Jaxpr):
        _add_jaxpr(digest, value, ())
    elif isinstance(value, tuple | list):
        digest.update(b"(")
        for item in value:
            _add_parameter(digest, item)
        digest.update(b")")
    elif isinstance(value, _PLAIN) or hasattr(value, "dtype"):
        digest.update(_text(value).encode())


def _text(value: Any) -> str:
    """Formats a constant; of an array its digest."""
    if is_key(value):
        value = jax.random.key_data(value)
    if isinstance(value, jax.Array | np.ndarray):
        array = np.asarray(value)
        content = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()
        return f"{array.dtype}{array.shape}{content}"
    return repr(value) if isinstance(value, _PLAIN) or inspect.isclass(value) else type(value).__name__
