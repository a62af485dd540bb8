"""Checks of arguments at trace time, with one form of message.

Every message names the function, the argument, what was expected and what came, and every one is
a ``ValueError``: ``grid_sample: mode must be one of ('bilinear', 'nearest'), got 'cubic'.``
Only static facts (shapes, dtypes, options) are checked, never the values of traced arrays.
"""

import reprlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "as_array",
    "check_min_rank",
    "check",
    "check_choice",
    "repeat_per_axis",
    "check_floating",
    "check_positive_shape",
    "shape_text",
    "is_integer_at_least",
]


def shape_text(x: Any) -> str:
    """Gives dtype and shape for a message, such as ``float32(2, 5, 5, 1)``."""
    return f"{x.dtype}{tuple(x.shape)}"


def check(condition: bool, function: str, argument: str, expected: str, got: Any) -> None:
    """Raises ``ValueError`` with the common form of message unless ``condition`` holds."""
    if not condition:
        raise ValueError(f"{function}: {argument} must be {expected}, got {got}.")


def as_array(function: str, argument: str, x: Any) -> jax.Array:
    """Returns ``x`` as a JAX array, or refuses what is none."""
    expected = "an array of numbers"
    check(not isinstance(x, str), function, argument, expected, reprlib.repr(x))  # JAX looks for a dtype of that name
    try:
        return jnp.asarray(x)
    except (TypeError, ValueError):
        got = reprlib.repr(x)
    raise ValueError(f"{function}: {argument} must be {expected}, got {got}.")


def is_integer_at_least(value: Any, low: int) -> bool:
    """Says whether a value is an integer, Python's or NumPy's but no boolean, of at least ``low``."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= low)


def repeat_per_axis(value: Any, count: int) -> Any:
    """Repeats an integer ``count`` times, one per axis; anything else is returned as it is."""
    return (value,) * count if isinstance(value, int | np.integer) else value


def check_choice(function: str, argument: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuses a value that is not among the allowed ones."""
    check(value in allowed, function, argument, f"one of {tuple(allowed)!r}", repr(value))


def check_floating(function: str, argument: str, x: Any) -> None:
    """Refuses an array whose dtype is not a floating one."""
    check(jnp.issubdtype(x.dtype, jnp.floating), function, argument, "of a floating dtype", shape_text(x))


def check_min_rank(function: str, argument: str, x: Any, axes: str) -> None:
    """Refuses an array with fewer axes than ``axes`` names, e.g. ``"h w c"``."""
    check(
        x.ndim >= len(axes.split()),
        function,
        argument,
        f"of shape (..., {', '.join(axes.split())})",
        shape_text(x),
    )


def check_positive_shape(function: str, argument: str, shape: Any, axes: str) -> tuple[int, ...]:
    """Returns ``shape`` as a tuple of positive integers, one per name in ``axes``, or refuses it."""
    names = axes.split()
    expected = f"({', '.join(names)}) of positive integers"
    try:
        sizes = tuple(shape)
        integers = tuple(int(size) for size in sizes)
    except (TypeError, ValueError, OverflowError):  # of what is no sequence, of nan and text, of inf
        raise ValueError(f"{function}: {argument} must be {expected}, got {shape!r}.") from None
    equal = all(i == s and i > 0 and not isinstance(s, bool) for i, s in zip(integers, sizes, strict=True))
    valid = equal and len(sizes) == len(names)
    check(valid, function, argument, expected, repr(shape))
    return integers
