"""Checks of what augmentations are called with: keys, probabilities, numbers and ranges to draw from.

Numbers may be traced, to be learned or mapped over. Then their values are not known and not checked, except for those
of JAX arrays in a call outside of ``jax.jit``, whose checks are collected and made by the caller of the program.
"""

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import SupportsFloat, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcnn._check import check
from jaxcnn._typing import AnyArray, Number

__all__ = [
    "Limits",
    "NumberOption",
    "PairOption",
    "RangeOption",
    "Scalar",
    "ValueCheck",
    "check_limits",
    "check_number",
    "check_pair",
    "check_probability",
    "check_range",
    "collect_checks",
    "is_below",
    "is_known_number",
    "is_known_to_be",
    "is_pair",
    "list_items",
    "range_about",
]

NumberOption = Number | AnyArray
"""An option that is one number, which may be traced."""

RangeOption = NumberOption | Sequence[NumberOption]
"""An option that is a number, or the two ends (low, high) of a range; each may be traced."""

PairOption = Sequence[NumberOption] | AnyArray
"""An option that is the two ends (low, high) of a range; each may be traced."""

Scalar = float | jax.Array
"""A number that is known, or a traced one in float32."""

Limits = tuple[Scalar, Scalar]
"""The ends of a range to draw from."""


@dataclasses.dataclass(frozen=True)
class ValueCheck:
    """A check of a number's value, which waits if the number is traced."""

    function: str
    argument: str
    expected: str
    valid: Callable[[float], bool] = dataclasses.field(compare=False)

    def __call__(self, value: object) -> None:
        """Raises a ``ValueError`` if the value is known and not valid."""
        if not isinstance(value, Tracer):
            number = float(value) if isinstance(value, SupportsFloat) else math.nan
            check(bool(self.valid(number)), self.function, self.argument, self.expected, repr(value))
            return
        waiting = _WAITING.get()
        if waiting is not None:
            waiting.append((value, self))


_WAITING: contextvars.ContextVar[list[tuple[Tracer, ValueCheck]] | None] = contextvars.ContextVar(
    "waiting", default=None
)


@contextlib.contextmanager
def collect_checks() -> Iterator[list[tuple[Tracer, ValueCheck]]]:
    """Collects the checks of traced values while a program is traced."""
    found: list[tuple[Tracer, ValueCheck]] = []
    token = _WAITING.set(found)
    try:
        yield found
    finally:
        _WAITING.reset(token)


def check_number(
    function: str, argument: str, value: object, expected: str, valid: Callable[[float], bool] = lambda v: True
) -> Scalar:
    """Returns a finite number as float, or a traced scalar in float32; refuses anything else.

    Args:
        function: The public function, for messages.
        argument: Its argument.
        value: What was passed for it.
        expected: What it must be.
        valid: Returns whether a value that is known is valid.

    Returns:
        The number.
    """
    value = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(value, Tracer):
        kinds = jnp.floating, jnp.integer
        real = value.ndim == 0 and any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
        check(real, function, argument, expected, repr(value))
        ValueCheck(function, argument, expected, lambda v: math.isfinite(v) and valid(v))(value)
        return value if value.dtype == jnp.float32 else value.astype(jnp.float32)
    if not is_known_number(value) or not math.isfinite(value) or not valid(float(value)):
        raise ValueError(f"{function}: {argument} must be {expected}, got {value!r}.")
    return float(value)


def range_about(
    function: str, argument: str, value: object, *, center: float = 0.0, least: float | None = None
) -> Limits:
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
    items = list_items(value)
    if items is not None:
        check(len(items) == 2, function, argument, "a number or (low, high)", repr(value))
        bound = "" if least is None else f" of at least {least}"
        expected = f"(low, high){bound} with low <= high"
        low, high = (
            check_number(function, argument, v, expected, lambda v: least is None or v >= least) for v in items
        )
        check(not is_below(high, low), function, argument, expected, repr(value))
        return low, high
    number = check_number(function, argument, value, "a number of at least 0, or (low, high)", lambda v: v >= 0)
    low = center - number
    if least is not None:
        low = max(low, least) if isinstance(low, float) else jnp.maximum(low, least)
    return low, center + number


def check_range(
    function: str, argument: str, value: object, *, positive: bool = False, most: float = math.inf
) -> Limits:
    """Returns the range (low, high) of at least 0 that an option is drawn from; both are equal for a number."""
    least = "positive" if positive else "at least 0"
    limit = "" if most == math.inf else f" and at most {most:g}"
    expected = f"a number or (low, high), finite, {least}{limit}"

    def valid(number: float) -> bool:
        return (number > 0 if positive else number >= 0) and number <= most

    items = list_items(value)
    check(items is None or len(items) == 2, function, argument, expected, repr(value))
    if items is None:
        number = check_number(function, argument, value, expected, valid)
        return number, number
    low, high = (check_number(function, argument, v, expected, valid) for v in items)
    check(not is_below(high, low), function, argument, expected, repr(value))
    return low, high


def check_pair(function: str, argument: str, value: object) -> Limits:
    """Turns one number of at least 0 into two, (x, y), or checks two."""
    expected = "a number of at least 0, or two (x, y)"
    items = list_items(value)
    check(items is None or len(items) == 2, function, argument, expected, repr(value))
    x, y = (check_number(function, argument, v, expected, lambda v: v >= 0) for v in items or (value, value))
    return x, y


def check_probability(function: str, argument: str, value: object) -> None:
    """Refuses anything but a number in [0, 1] or a traced scalar, whose value is not known."""
    check_number(function, argument, value, "in [0, 1]", lambda v: 0 <= v <= 1)


def is_known_number(value: object) -> TypeGuard[float]:
    """Returns whether a value is a number of Python, NumPy or JAX that is not traced."""
    other = isinstance(value, bool | np.bool_ | str | Tracer)
    return isinstance(value, SupportsFloat) and not other and getattr(value, "ndim", 0) == 0


def check_limits(
    function: str, argument: str, limits: Limits, expected: str, valid: Callable[[float], bool], value: object
) -> None:
    """Refuses a range that was passed as ``value`` if one of its ends is known and not valid."""
    for end in limits:
        if isinstance(end, float):
            check(valid(end), function, argument, expected, repr(value))
        else:
            ValueCheck(function, argument, expected, valid)(end)


def is_pair(value: object) -> bool:
    """Returns whether an option is a pair of numbers rather than one number."""
    items = list_items(value)
    return items is not None and len(items) == 2


def is_below(value: Scalar, limit: Scalar) -> bool:
    """Returns whether a number is known to be below another."""
    return isinstance(value, float) and isinstance(limit, float) and value < limit


def is_known_to_be(limits: Limits, value: Scalar) -> bool:
    """Returns whether both ends of a range are one number: the same traced one, or a known value."""
    return all(end is value or (isinstance(end, float) and isinstance(value, float) and end == value) for end in limits)


def list_items(value: object) -> tuple[object, ...] | None:
    """Returns the items of a tuple, a list or a vector, or None for anything else."""
    if isinstance(value, jax.Array | np.ndarray) and value.ndim == 1:
        return tuple(value[i] for i in range(value.shape[0]))
    return tuple(value) if isinstance(value, tuple | list) else None
