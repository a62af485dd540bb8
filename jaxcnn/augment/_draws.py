"""Random numbers of one augmentation: a few per example, all from one request for random words."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._typing import PRNGKey
from jaxcnn.augment._argument_checks import Limits, NumberOption, Scalar, check_probability, is_known_number

__all__ = [
    "RandomBox",
    "draw_box",
    "draw_uniforms",
    "log",
    "lookup",
    "to_integer",
    "to_range",
    "to_sign",
    "to_threefry_key",
    "to_unit_interval",
    "with_probability",
]

_TRIES = 10  # boxes that are drawn before giving up


def to_unit_interval(words: jax.Array) -> jax.Array:
    """Converts random words of 32 bits to numbers in [0, 1), float32."""
    return (words >> 8).astype(jnp.float32) * 2.0**-24


def to_threefry_key(key: PRNGKey) -> jax.Array:
    """Returns a key of any implementation as a threefry key, whose draws under ``vmap`` do not depend on the batch."""
    if jax.random.key_impl(key) == "threefry2x32":
        return key
    words = jax.random.key_data(key).astype(jnp.uint32).reshape(-1)
    threefry = jax.random.wrap_key_data(jnp.resize(words[:2], (2,)), impl="threefry2x32")
    for i in range(2, words.shape[0]):
        threefry = jax.random.fold_in(threefry, words[i])
    return threefry


def draw_uniforms(key: PRNGKey, count: int) -> list[jax.Array]:
    """Draws numbers in [0, 1), float32 scalars. Every further request would cost more than all its numbers."""
    numbers = to_unit_interval(jax.random.bits(key, (count,), jnp.uint32))
    return [numbers[i] for i in range(count)]


def to_integer(number: jax.Array, count: int) -> jax.Array:
    """Maps a number in [0, 1) to 0, 1, ..., count - 1, all equally likely."""
    return jnp.minimum(number * count, count - 1.0).astype(jnp.int32)


def to_sign(number: jax.Array) -> jax.Array:
    """Maps a number in [0, 1) to -1 or 1."""
    return jnp.where(number < 0.5, -1.0, 1.0)


def log(value: Scalar) -> Scalar:
    """Returns the natural logarithm, in Python's precision of a number that is known."""
    return math.log(value) if isinstance(value, float) else jnp.log(value)


def to_range(number: jax.Array, limits: Limits) -> jax.Array:
    """Maps a number in [0, 1) to a range; exact where both limits are equal."""
    low, high = limits
    return low + number * (high - low)


class RandomBox(NamedTuple):
    """A box of random area and aspect ratio, in whole pixels, float32."""

    width: jax.Array
    height: jax.Array
    found: jax.Array
    """Whether one of the tries was accepted; width and height mean nothing otherwise."""
    place: jax.Array
    """Two numbers in [0, 1) to draw the position from, (x, y)."""


def draw_box(
    key: PRNGKey,
    shape: tuple[int, int],
    areas: Limits,
    ratios: Limits,
    accept: Callable[[jax.Array, jax.Array], jax.Array],
) -> RandomBox:
    """Draws a box of random area, aspect ratio and position: of ten tries the first that is accepted.

    Args:
        key: Key of the draw.
        shape: (h, w) of the image.
        areas: Range of its area as a fraction of the image's.
        ratios: Range of its width over its height, drawn uniformly in the logarithm.
        accept: Returns for widths and heights which of them are accepted.

    Returns:
        The box.
    """
    h, w = shape
    numbers = to_unit_interval(jax.random.bits(key, (_TRIES + 1, 2), jnp.uint32))
    area = h * w * to_range(numbers[:_TRIES, 0], areas)
    ratio = jnp.exp(to_range(numbers[:_TRIES, 1], (log(ratios[0]), log(ratios[1]))))
    width, height = jnp.round(jnp.sqrt(area * ratio)), jnp.round(jnp.sqrt(area / ratio))
    accepted = accept(width, height)
    first = jnp.argmax(accepted)
    return RandomBox(width[first], height[first], accepted[first], numbers[_TRIES])


def lookup(table: np.ndarray, index: jax.Array) -> jax.Array:
    """Looks a number up in a short table without a gather: on an explicit mesh ``index`` may be sharded."""
    return jnp.sum(jnp.where(np.arange(len(table)) == index, table, np.zeros_like(table)), dtype=table.dtype)


def with_probability(
    function: str, key: PRNGKey, p: NumberOption, change: Callable[[jax.Array], jax.Array]
) -> Callable[[jax.Array], jax.Array]:
    """Makes a change of images that happens with probability ``p``, and is computed only then where possible."""
    check_probability(function, "p", p)
    (number,) = draw_uniforms(key, 1)
    if is_known_number(p) and p == 1:
        return change

    def change_or_not(image: jax.Array) -> jax.Array:
        return jax.lax.cond(number < p, lambda v: change(v), lambda v: v, jnp.asarray(image))

    return change_or_not
