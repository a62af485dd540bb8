"""Checks of what augmentations are called with: keys, probabilities and ranges to draw from."""

import math
from typing import SupportsFloat, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcnn._check import check

__all__ = ["check_single_key", "check_pair", "check_probability", "check_range", "is_known_number", "range_about"]


def check_single_key(function: str, key: object) -> None:
    """Refuses anything that is not one typed key."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    got = f"{key.dtype}{tuple(key.shape)}" if isinstance(key, jax.Array | np.ndarray) else repr(key)
    check(isinstance(key, jax.Array) and typed and key.ndim == 0, function, "key", "one typed key", got)


def range_about(
    function: str, argument: str, value: object, *, center: float = 0.0, least: float | None = None
) -> tuple[float, float]:
    """Turns a number x into the range (center - x, center + x), or checks a range (low, high).

    Args:
        function: The public function, for messages.
        argument: Its argument.
        value: A number of at least 0, or a pair.
        center: The middle of the range that a number stands for.
        least: Lower bound of the range; the range of a number is clipped to it.

    Returns:
        The range.
    """
    if isinstance(value, tuple | list):
        check(len(value) == 2, function, argument, "a number or (low, high)", repr(value))
        low, high = value
        ordered = low <= high and (least is None or low >= least)
        bound = "" if least is None else f" of at least {least}"
        check(bool(ordered), function, argument, f"(low, high){bound} with low <= high", repr(value))
        return float(low), float(high)
    if not is_known_number(value) or value < 0:
        raise ValueError(f"{function}: {argument} must be a number of at least 0, or (low, high), got {value!r}.")
    low = center - value if least is None else max(center - value, least)
    return float(low), float(center + value)


def check_range(
    function: str, argument: str, value: object, *, positive: bool = False, most: float = math.inf
) -> tuple[float, float]:
    """Returns the range (low, high) of at least 0 that an option is drawn from; both are equal for a number."""
    low, high = _two(value)
    if not _is_finite(low) or not _is_finite(high) or not low <= high <= most or low < 0 or (positive and low == 0):
        least = "positive" if positive else "at least 0"
        limit = "" if most == math.inf else f" and at most {most:g}"
        expected = f"a number or (low, high), finite, {least}{limit}"
        raise ValueError(f"{function}: {argument} must be {expected}, got {value!r}.")
    return float(low), float(high)


def check_pair(function: str, argument: str, value: object) -> tuple[float, float]:
    """Turns one number of at least 0 into two, (x, y), or checks two."""
    x, y = _two(value)
    if not is_known_number(x) or not is_known_number(y) or x < 0 or y < 0:
        raise ValueError(f"{function}: {argument} must be a number of at least 0, or two (x, y), got {value!r}.")
    return float(x), float(y)


def check_probability(function: str, argument: str, value: object) -> None:
    """Refuses anything but a number in [0, 1] or a traced scalar, whose value is not known."""
    traced = isinstance(value, Tracer) and value.ndim == 0
    valid = traced or (is_known_number(value) and bool(0 <= value <= 1))
    check(valid, function, argument, "in [0, 1]", repr(value))


def is_known_number(value: object) -> TypeGuard[float]:
    """Returns whether a value is a number of Python, NumPy or JAX that is not traced."""
    other = isinstance(value, bool | str | Tracer)
    return isinstance(value, SupportsFloat) and not other and getattr(value, "ndim", 0) == 0


def _two(value: object) -> tuple[object, object]:
    """Returns the two items of a pair, the same number twice, or None twice for another sequence."""
    items = tuple(value) if isinstance(value, tuple | list) else (value, value)
    return (items[0], items[1]) if len(items) == 2 else (None, None)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value)
