"""Checks of arguments at trace time, with one format for all messages.

Every message names the function, the argument, what was expected and what was passed, and every one is
a ``ValueError``: ``grid_sample: mode must be one of ('bilinear', 'nearest'), got 'cubic'.``
Only static properties (shapes, dtypes, options) are checked, never the values of traced arrays.
"""

import operator
import os
import reprlib
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.errors import InconclusiveDimensionOperation
from jax.export import is_symbolic_dim

from jaxcnn._typing import Shaped

__all__ = [
    "as_array",
    "check_min_rank",
    "check",
    "check_choice",
    "check_file",
    "check_single_key",
    "describe_wrong_key",
    "repeat_per_axis",
    "check_floating",
    "check_known_sizes",
    "check_positive_shape",
    "shape_text",
    "is_integer_at_least",
    "is_size_at_least",
]

T = TypeVar("T")


def shape_text(x: Shaped) -> str:
    """Formats dtype and shape for a message, such as ``float32(2, 5, 5, 1)``."""
    return f"{x.dtype}{tuple(x.shape)}"


def check(condition: bool, function: str, argument: str, expected: str, got: object) -> None:
    """Raises a ``ValueError`` in the common format unless ``condition`` holds."""
    if not condition:
        raise ValueError(f"{function}: {argument} must be {expected}, got {got}.")


def as_array(function: str, argument: str, x: object) -> jax.Array:
    """Converts ``x`` to a JAX array and raises an error if that is impossible."""
    expected = "an array of numbers"
    check(not isinstance(x, str), function, argument, expected, reprlib.repr(x))  # JAX looks for a dtype of that name
    try:
        return jnp.asarray(x)
    except (TypeError, ValueError):
        got = reprlib.repr(x)
    raise ValueError(f"{function}: {argument} must be {expected}, got {got}.")


def is_integer_at_least(value: object, low: int) -> bool:
    """Returns whether a value is an integer of at least ``low``; Python and NumPy integers count, booleans do not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= low)


def is_size_at_least(size: int, low: int) -> bool:
    """Returns whether a size is known to be at least ``low``; a symbolic one, of an exported program, may not be."""
    try:
        return bool(size >= low)
    except InconclusiveDimensionOperation:
        return False


def check_known_sizes(function: str, argument: str, x: Shaped, names: str, sizes: Sequence[int]) -> None:
    """Raises an error if one of these sizes of ``x`` is symbolic, as in a program to be exported for any size."""
    expected = f"of known size along {' and '.join(names.split())} (only leading axes may be symbolic)"
    check(not any(map(is_symbolic_dim, sizes)), function, argument, expected, shape_text(x))


def repeat_per_axis(value: int | T, count: int) -> tuple[int, ...] | T:
    """Repeats an integer ``count`` times, once per axis; returns anything else unchanged."""
    if not isinstance(value, int | np.integer):
        return value
    return (value if isinstance(value, bool) else operator.index(value),) * count  # booleans are for callers to refuse


def check_choice(function: str, argument: str, value: object, allowed: Sequence[object]) -> None:
    """Raises an error unless the value is one of those allowed."""
    check(value in allowed, function, argument, f"one of {tuple(allowed)!r}", repr(value))


def check_file(function: str, argument: str, path: str | os.PathLike[str]) -> None:
    """Raises an error, of the kind that opening it would raise, unless a path is that of a file."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"{function}: {argument} must be a file, got {str(path)!r}, which is a folder.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{function}: {argument} must be a file, got {str(path)!r}, which does not exist.")


def check_floating(function: str, argument: str, x: Shaped) -> None:
    """Raises an error, which says how to convert it, unless the array has a floating dtype."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        got = shape_text(x)
        if x.dtype == jnp.uint8:
            got += f"; {argument}.astype('float32') / 255 converts images of bytes"
        elif not jnp.issubdtype(x.dtype, jnp.complexfloating):
            got += f"; {argument}.astype('float32') converts it"
        check(False, function, argument, "of a floating dtype", got)


def describe_wrong_key(key: object) -> str:
    """Describes what was passed in place of a typed key of ``jax.random``, and how to get one."""
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return f"{shape_text(key)}; jax.vmap maps over several keys"
    if isinstance(key, jax.Array | np.ndarray):
        old = key.dtype == jnp.uint32 and key.ndim > 0
        fix = ", an old-style key; jax.random.wrap_key_data(key) converts it, jax.random.key(seed) makes a new one"
        return shape_text(key) + (fix if old else "; jax.random.key(seed) makes one")
    return f"{reprlib.repr(key)}; jax.random.key({key if is_integer_at_least(key, 0) else 'seed'}) makes one"


def check_single_key(function: str, key: object) -> None:
    """Refuses anything that is not one typed key."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not (isinstance(key, jax.Array) and typed and key.ndim == 0):
        raise ValueError(f"{function}: key must be one typed key, got {describe_wrong_key(key)}.")


def check_min_rank(function: str, argument: str, x: Shaped, axes: str) -> None:
    """Raises an error if the array has fewer axes than ``axes`` names, e.g. ``"h w c"``."""
    check(
        x.ndim >= len(axes.split()),
        function,
        argument,
        f"of shape (..., {', '.join(axes.split())})",
        shape_text(x),
    )


def check_positive_shape(function: str, argument: str, shape: Sequence[int], axes: str) -> tuple[int, ...]:
    """Returns ``shape`` as a tuple and raises an error unless it has one positive integer per name in ``axes``."""
    names = axes.split()
    expected = f"({', '.join(names)}) of positive integers"
    try:
        sizes = tuple(shape)
        integers = tuple(int(size) for size in sizes)
    except (TypeError, ValueError, OverflowError, InconclusiveDimensionOperation):  # no sequence; nan; inf; a symbol
        raise ValueError(f"{function}: {argument} must be {expected}, got {shape!r}.") from None
    equal = all(i == s and i > 0 and not isinstance(s, bool) for i, s in zip(integers, sizes, strict=True))
    valid = equal and len(sizes) == len(names)
    check(valid, function, argument, expected, repr(shape))
    return integers
