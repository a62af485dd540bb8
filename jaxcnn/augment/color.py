"""Random changes of brightness, contrast, saturation and hue of an image."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._argument_checks import (
    Limits,
    NumberOption,
    PairOption,
    RangeOption,
    check_limits,
    is_known_to_be,
    is_pair,
    range_about,
)
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import augmentation
from jaxcnn.augment._draws import draw_uniforms, log, to_range, with_probability
from jaxcnn.augment._pixel_maps import ImageFunction

__all__ = [
    "random_brightness",
    "random_channel_shuffle",
    "random_color_jitter",
    "random_contrast",
    "random_gamma",
    "random_grayscale",
    "random_hue",
    "random_saturation",
]


@augmentation(geometric=False)
def random_brightness(key: PRNGKey, image: Chain, *, brightness: RangeOption = 0.4) -> Chain:
    """Multiplies an image by a random factor.

    Args:
        key: Key of the draw.
        image: The example.
        brightness: Range of the factor, or b for (max(0, 1 - b), 1 + b).

    Returns:
        The example, with the same shape and dtype, clipped to its range.

    Raises:
        ValueError: If ``image`` is not an example, or ``brightness`` is not a range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_brightness(jax.random.key(0), jnp.ones((2, 2, 3)), brightness=(0.5, 0.5)).max().item()
        0.5

    Parity:
        ``ops.adjust_brightness``, drawn as by torchvision's ``ColorJitter``.
    """
    return _adjust("random_brightness", key, image, "brightness", brightness, ops.adjust_brightness)


@augmentation(geometric=False)
def random_contrast(key: PRNGKey, image: Chain, *, contrast: RangeOption = 0.4) -> Chain:
    """Moves an image away from its mean gray level, or toward it.

    Args:
        key: Key of the draw.
        image: The example.
        contrast: Range of the factor, or c for (max(0, 1 - c), 1 + c).

    Returns:
        The example, with the same shape and dtype, clipped to its range.

    Raises:
        ValueError: If ``image`` is not an example, or ``contrast`` is not a range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_contrast(jax.random.key(0), jnp.ones((2, 2, 3)), contrast=0.0).min().item()
        1.0

    Parity:
        ``ops.adjust_contrast``, drawn as by torchvision's ``ColorJitter``.
    """
    return _adjust("random_contrast", key, image, "contrast", contrast, ops.adjust_contrast)


@augmentation(geometric=False)
def random_saturation(key: PRNGKey, image: Chain, *, saturation: RangeOption = 0.4) -> Chain:
    """Moves every pixel away from its gray level, or toward it.

    Args:
        key: Key of the draw.
        image: The example, with 3 channels; an image with 1 channel is not changed.
        saturation: Range of the factor, or s for (max(0, 1 - s), 1 + s).

    Returns:
        The example, with the same shape and dtype, clipped to its range.

    Raises:
        ValueError: If ``image`` is not an example, or ``saturation`` is not a range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_saturation(jax.random.key(0), jnp.ones((2, 2, 3)), saturation=0.0).min().item()
        1.0

    Parity:
        ``ops.adjust_saturation``, drawn as by torchvision's ``ColorJitter``.
    """
    return _adjust("random_saturation", key, image, "saturation", saturation, ops.adjust_saturation)


@augmentation(geometric=False)
def random_hue(key: PRNGKey, image: Chain, *, hue: RangeOption = 0.1) -> Chain:
    """Shifts the hue of every pixel.

    Args:
        key: Key of the draw.
        image: The example, with 3 channels; an image with 1 channel is not changed.
        hue: Range of the shift within [-0.5, 0.5], 1 being the full circle, or h for (-h, h).

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or ``hue`` is not a range within [-0.5, 0.5].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_hue(jax.random.key(0), jnp.ones((2, 2, 3)), hue=0.0).min().item()
        1.0

    Parity:
        ``ops.adjust_hue``, drawn as by torchvision's ``ColorJitter``.
    """
    limits = _hue_range("random_hue", hue)
    (number,) = draw_uniforms(key, 1)
    return image.change(functools.partial(ops.adjust_hue, delta=to_range(number, limits)))


@augmentation(geometric=False)
def random_color_jitter(
    key: PRNGKey,
    image: Chain,
    *,
    brightness: RangeOption = 0.0,
    contrast: RangeOption = 0.0,
    saturation: RangeOption = 0.0,
    hue: RangeOption = 0.0,
) -> Chain:
    """Changes brightness, contrast, saturation and hue, in this order.

    Args:
        key: Key of the draw.
        image: The example; saturation and hue need 3 channels, and do not change an image with 1.
        brightness: Range of the factor, or b for (max(0, 1 - b), 1 + b).
        contrast: The same for the contrast.
        saturation: The same for the saturation.
        hue: Range of the shift within [-0.5, 0.5], or h for (-h, h).

    Returns:
        The example, with the same shape and dtype. Changes that do nothing are not computed; with
        the defaults the input is returned.

    Raises:
        ValueError: If ``image`` is not an example, or a range is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_color_jitter(jax.random.key(0), jnp.ones((2, 2, 3)), brightness=0.4, hue=0.1).shape
        (2, 2, 3)

    Parity:
        torchvision's ``ColorJitter``, which also draws the order of the four changes.
    """
    name = "random_color_jitter"
    factors = (("brightness", brightness, ops.adjust_brightness), ("contrast", contrast, ops.adjust_contrast),
               ("saturation", saturation, ops.adjust_saturation))  # fmt: skip
    numbers = draw_uniforms(key, 4)
    steps: list[ImageFunction] = []
    for number, (argument, value, adjust) in zip(numbers, factors, strict=False):
        limits = range_about(name, argument, value, center=1.0, least=0.0)
        if not is_known_to_be(limits, 1.0):
            steps.append(functools.partial(adjust, factor=to_range(number, limits)))
    limits = _hue_range(name, hue)
    if not is_known_to_be(limits, 0.0):
        steps.append(functools.partial(ops.adjust_hue, delta=to_range(numbers[3], limits)))

    def jitter(pixels: jax.Array) -> jax.Array:
        for step in steps:
            pixels = step(pixels)
        return pixels

    return image.change(jitter) if steps else image


@augmentation(geometric=False)
def random_gamma(key: PRNGKey, image: Chain, *, gamma: PairOption = (0.7, 1.5)) -> Chain:
    """Raises an image to a random power.

    Args:
        key: Key of the draw.
        image: The example.
        gamma: Range of the exponent, above 0, drawn uniformly in the logarithm.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or ``gamma`` is not a range above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_gamma(jax.random.key(0), jnp.ones((2, 2, 3))).max().item()
        1.0

    Parity:
        ``ops.adjust_gamma``, as torchvision's ``adjust_gamma``.
    """
    name, expected = "random_gamma", "(low, high) above 0"
    check(is_pair(gamma), name, "gamma", expected, repr(gamma))
    low, high = range_about(name, "gamma", gamma, least=0.0)
    check_limits(name, "gamma", (low, high), expected, lambda v: v > 0, gamma)
    (number,) = draw_uniforms(key, 1)
    exponent = jnp.exp(to_range(number, (log(low), log(high))))
    return image.change(functools.partial(ops.adjust_gamma, gamma=exponent))


@augmentation(geometric=False)
def random_grayscale(key: PRNGKey, image: Chain, *, p: NumberOption = 0.1) -> Chain:
    """Converts an image to gray with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example, with 3 channels; an image with 1 channel is not changed.
        p: Probability.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or ``p`` is outside of [0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> red = jnp.array([1.0, 0.0, 0.0]).reshape(1, 1, 3)
        >>> bool(jnp.allclose(augment.random_grayscale(jax.random.key(0), red, p=1.0), 0.2989))
        True

    Parity:
        ``ops.to_grayscale``, drawn as by torchvision's ``RandomGrayscale``.
    """
    return image.change(with_probability("random_grayscale", key, p, ops.to_grayscale))


@augmentation(geometric=False)
def random_channel_shuffle(key: PRNGKey, image: Chain, *, p: NumberOption = 1.0) -> Chain:
    """Shuffles the channels of an image with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example, with any number of channels.
        p: Probability.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or ``p`` is outside of [0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> image = jnp.arange(3.0).reshape(1, 1, 3)
        >>> sorted(augment.random_channel_shuffle(jax.random.key(0), image)[0, 0].tolist())
        [0.0, 1.0, 2.0]

    Parity:
        ``ops.permute_channels``, drawn as by torchvision's ``RandomChannelPermutation``.
    """
    order = jax.random.permutation(jax.random.fold_in(key, 1), image.channels)
    shuffle = functools.partial(ops.permute_channels, permutation=order)
    change = with_probability("random_channel_shuffle", jax.random.fold_in(key, 0), p, shuffle)
    return image.change(change)


def _adjust(
    name: str, key: PRNGKey, image: Chain, argument: str, value: object, adjust: Callable[..., jax.Array]
) -> Chain:
    limits = range_about(name, argument, value, center=1.0, least=0.0)
    (number,) = draw_uniforms(key, 1)
    return image.change(functools.partial(adjust, factor=to_range(number, limits)))


def _hue_range(name: str, hue: object) -> Limits:
    limits = range_about(name, "hue", hue)
    check_limits(name, "hue", limits, "within [-0.5, 0.5]", lambda v: -0.5 <= v <= 0.5, hue)
    return limits
