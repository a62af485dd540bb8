"""What augmentations draw: a few numbers per example, in one request for random words."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcnn._check import check
from jaxcnn._typing import PRNGKey

__all__ = [
    "between",
    "box",
    "ends",
    "entry",
    "integer",
    "pair",
    "perhaps",
    "probability",
    "sign",
    "span",
    "unit",
    "uniforms",
]

_TRIES = 10  # boxes that are drawn before none is taken


def unit(words: jax.Array) -> jax.Array:
    """Turns random words of 32 bits into numbers in [0, 1), float32."""
    return (words >> 8).astype(jnp.float32) * 2.0**-24


def uniforms(key: PRNGKey, count: int) -> list[jax.Array]:
    """Draws numbers in [0, 1), float32 scalars. Every further request would cost more than all its numbers."""
    numbers = unit(jax.random.bits(key, (count,), jnp.uint32))
    return [numbers[i] for i in range(count)]


def integer(number: jax.Array, count: int) -> jax.Array:
    """Carries a number of [0, 1) to 0, 1, ..., count - 1, each as likely."""
    return jnp.minimum(number * count, count - 1.0).astype(jnp.int32)


def sign(number: jax.Array) -> jax.Array:
    """Carries a number of [0, 1) to -1 or 1."""
    return jnp.where(number < 0.5, -1.0, 1.0)


def between(number: jax.Array, limits: tuple[Any, Any]) -> jax.Array:
    """Carries a number of [0, 1) to a range, whose ends are exact if they are equal."""
    low, high = limits
    return low + number * (high - low)


def box(key: PRNGKey, shape: tuple[int, int], areas: Any, ratios: Any, fits: Any) -> tuple[Any, Any, Any, Any]:
    """Draws a box of random area, aspect ratio and place, in whole pixels.

    Args:
        key: The draw.
        shape: (h, w) of the image.
        areas: Range of its area as a share of the image's.
        ratios: Range of its width over its height, drawn evenly in the logarithm.
        fits: Tells of widths and heights which are taken.

    Returns:
        Of ten tries the first that fits, its width and height, float32; whether one does; and two numbers in [0, 1)
        to draw its place from, (x, y).
    """
    h, w = shape
    numbers = unit(jax.random.bits(key, (_TRIES + 1, 2), jnp.uint32))
    area = h * w * between(numbers[:_TRIES, 0], areas)
    ratio = jnp.exp(between(numbers[:_TRIES, 1], (math.log(ratios[0]), math.log(ratios[1]))))
    width, height = jnp.round(jnp.sqrt(area * ratio)), jnp.round(jnp.sqrt(area / ratio))
    fitting = fits(width, height)
    first = jnp.argmax(fitting)
    return width[first], height[first], fitting[first], numbers[_TRIES]


def entry(table: Any, index: Any) -> jax.Array:
    """Looks a number up in a short table of NumPy's, without a gather: on an explicit mesh ``index`` may be sharded."""
    return jnp.sum(jnp.where(np.arange(len(table)) == index, table, np.zeros_like(table)), dtype=table.dtype)


def span(function: str, argument: str, value: Any, *, about: float = 0.0, least: float | None = None) -> Any:
    """Turns a number x into the range (about - x, about + x), or checks the range (low, high) that was given.

    Args:
        function: The public function, for messages.
        argument: Its argument.
        value: A number of at least 0, or a pair.
        about: The middle of the range that a number means.
        least: What the range must not go below; that of a number is cut there.
    """
    if isinstance(value, tuple | list):
        check(len(value) == 2, function, argument, "a number or (low, high)", repr(value))
        low, high = value
        ordered = low <= high and (least is None or low >= least)
        bound = "" if least is None else f" of at least {least}"
        check(bool(ordered), function, argument, f"(low, high){bound} with low <= high", repr(value))
        return float(low), float(high)
    check(_is_number(value) and value >= 0, function, argument, "a number of at least 0, or (low, high)", repr(value))
    low = about - value if least is None else max(about - value, least)
    return float(low), float(about + value)


def ends(
    function: str, argument: str, value: Any, *, positive: bool = False, most: float = math.inf
) -> tuple[float, float]:
    """Gives the range (low, high) that an option is drawn from, of at least 0; of a number both ends are equal."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    valid = len(both) == 2 and all(isinstance(end, int | float | np.number) and math.isfinite(end) for end in both)
    valid = valid and both[0] <= both[1] <= most and (both[0] > 0 if positive else both[0] >= 0)
    least = "positive" if positive else "at least 0"
    limit = "" if most == math.inf else f" and at most {most:g}"
    check(bool(valid), function, argument, f"a number or (low, high), finite, {least}{limit}", repr(value))
    return float(both[0]), float(both[1])


def pair(function: str, argument: str, value: Any) -> tuple[float, float]:
    """Turns one number of at least 0 into two, (x, y), or checks two."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    good = len(both) == 2 and all(_is_number(v) and v >= 0 for v in both)
    check(good, function, argument, "a number of at least 0, or two (x, y)", repr(value))
    return float(both[0]), float(both[1])


def probability(function: str, argument: str, value: Any) -> Any:
    """Refuses what is no number of [0, 1], if it is known."""
    traced = isinstance(value, Tracer) and value.ndim == 0
    check(traced or (_is_number(value) and bool(0 <= value <= 1)), function, argument, "in [0, 1]", repr(value))
    return value


def _is_number(value: Any) -> bool:
    other = isinstance(value, bool | str | Tracer)
    return hasattr(value, "__float__") and not other and getattr(value, "ndim", 0) == 0


def perhaps(function: str, key: PRNGKey, p: Any, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Makes a change of images one that is drawn with probability ``p``, and computed only then where it can be."""
    probability(function, "p", p)
    (number,) = uniforms(key, 1)

    def perhaps(image: Any) -> Any:
        image = jnp.asarray(image)
        return jax.lax.cond(number < p, lambda v: change(v), lambda v: v, image)

    return change if _is_number(p) and p == 1 else perhaps
