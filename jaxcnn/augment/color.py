"""Random changes of brightness, contrast, saturation and hue of an example."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Example, augmentation, chain_of
from jaxcnn.augment._draws import between, perhaps, span, uniforms

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
def random_brightness(key: PRNGKey, image: Example, *, brightness: float | tuple[float, float] = 0.4) -> Example:
    """Multiplies an image by a random factor.

    Args:
        key: The draw.
        image: The example.
        brightness: Range of the factor, or b for (max(0, 1 - b), 1 + b).

    Returns:
        The example, of the same shape and dtype, clipped to its range.

    Raises:
        ValueError: If ``image`` is no example, or ``brightness`` no range.

    Example:
        >>> augment.random_brightness(jax.random.key(0), jnp.ones((2, 2, 3)), brightness=(0.5, 0.5)).max().item()
        0.5

    Parity:
        ``ops.adjust_brightness``, drawn as by torchvision's ``ColorJitter``.
    """
    return _adjusted("random_brightness", key, image, "brightness", brightness, ops.adjust_brightness)


@augmentation(geometric=False)
def random_contrast(key: PRNGKey, image: Example, *, contrast: float | tuple[float, float] = 0.4) -> Example:
    """Moves an image away from its mean grey, or towards it.

    Args:
        key: The draw.
        image: The example.
        contrast: Range of the factor, or c for (max(0, 1 - c), 1 + c).

    Returns:
        The example, of the same shape and dtype, clipped to its range.

    Raises:
        ValueError: If ``image`` is no example, or ``contrast`` no range.

    Example:
        >>> augment.random_contrast(jax.random.key(0), jnp.ones((2, 2, 3)), contrast=0.0).min().item()
        1.0

    Parity:
        ``ops.adjust_contrast``, drawn as by torchvision's ``ColorJitter``.
    """
    return _adjusted("random_contrast", key, image, "contrast", contrast, ops.adjust_contrast)


@augmentation(geometric=False)
def random_saturation(key: PRNGKey, image: Example, *, saturation: float | tuple[float, float] = 0.4) -> Example:
    """Moves every pixel away from its grey, or towards it.

    Args:
        key: The draw.
        image: The example, of 3 channels; one of 1 stays as it is.
        saturation: Range of the factor, or s for (max(0, 1 - s), 1 + s).

    Returns:
        The example, of the same shape and dtype, clipped to its range.

    Raises:
        ValueError: If ``image`` is no example, or ``saturation`` no range.

    Example:
        >>> augment.random_saturation(jax.random.key(0), jnp.ones((2, 2, 3)), saturation=0.0).min().item()
        1.0

    Parity:
        ``ops.adjust_saturation``, drawn as by torchvision's ``ColorJitter``.
    """
    return _adjusted("random_saturation", key, image, "saturation", saturation, ops.adjust_saturation)


@augmentation(geometric=False)
def random_hue(key: PRNGKey, image: Example, *, hue: float | tuple[float, float] = 0.1) -> Example:
    """Turns the hue of every pixel.

    Args:
        key: The draw.
        image: The example, of 3 channels; one of 1 stays as it is.
        hue: Range of the turn within [-0.5, 0.5], 1 being the whole circle, or h for (-h, h).

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or ``hue`` no range within [-0.5, 0.5].

    Example:
        >>> augment.random_hue(jax.random.key(0), jnp.ones((2, 2, 3)), hue=0.0).min().item()
        1.0

    Parity:
        ``ops.adjust_hue``, drawn as by torchvision's ``ColorJitter``.
    """
    limits = _hues("random_hue", hue)
    (number,) = uniforms(key, 1)
    return chain_of(image).change(functools.partial(ops.adjust_hue, delta=between(number, limits)))  # type: ignore


@augmentation(geometric=False)
def random_color_jitter(
    key: PRNGKey,
    image: Example,
    *,
    brightness: float | tuple[float, float] = 0.0,
    contrast: float | tuple[float, float] = 0.0,
    saturation: float | tuple[float, float] = 0.0,
    hue: float | tuple[float, float] = 0.0,
) -> Example:
    """Changes brightness, contrast, saturation and hue, in this order.

    Args:
        key: The draw.
        image: The example; saturation and hue are of 3 channels, and leave 1 as it is.
        brightness: Range of the factor, or b for (max(0, 1 - b), 1 + b).
        contrast: The same for the contrast.
        saturation: The same for the saturation.
        hue: Range of the turn within [-0.5, 0.5], or h for (-h, h).

    Returns:
        The example, of the same shape and dtype. What does nothing is not computed; with the defaults it is the input.

    Raises:
        ValueError: If ``image`` is no example, or a range is none.

    Example:
        >>> augment.random_color_jitter(jax.random.key(0), jnp.ones((2, 2, 3)), brightness=0.4, hue=0.1).shape
        (2, 2, 3)

    Parity:
        torchvision's ``ColorJitter``, which draws the order of the four as well.
    """
    name, chain = "random_color_jitter", chain_of(image)
    factors = (("brightness", brightness, ops.adjust_brightness), ("contrast", contrast, ops.adjust_contrast),
               ("saturation", saturation, ops.adjust_saturation))  # fmt: skip
    numbers = uniforms(key, 4)
    steps: list[Callable[[Any], Any]] = []
    for number, (argument, value, adjust) in zip(numbers, factors, strict=False):
        limits = span(name, argument, value, about=1.0, least=0.0)
        if limits != (1.0, 1.0):
            steps.append(functools.partial(adjust, factor=between(number, limits)))
    limits = _hues(name, hue)
    if limits != (0.0, 0.0):
        steps.append(functools.partial(ops.adjust_hue, delta=between(numbers[3], limits)))

    def jitter(image: Any) -> Any:
        for step in steps:
            image = step(image)
        return image

    return chain.change(jitter) if steps else chain  # type: ignore[return-value]


@augmentation(geometric=False)
def random_gamma(key: PRNGKey, image: Example, *, gamma: tuple[float, float] = (0.7, 1.5)) -> Example:
    """Raises an image to a random power.

    Args:
        key: The draw.
        image: The example.
        gamma: Range of the exponent, above 0, drawn evenly in the logarithm.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or ``gamma`` no range above 0.

    Example:
        >>> augment.random_gamma(jax.random.key(0), jnp.ones((2, 2, 3))).max().item()
        1.0

    Parity:
        ``ops.adjust_gamma``, as torchvision's ``adjust_gamma``.
    """
    low, high = span("random_gamma", "gamma", gamma, least=0.0)
    check(isinstance(gamma, tuple | list) and low > 0, "random_gamma", "gamma", "(low, high) above 0", repr(gamma))
    (number,) = uniforms(key, 1)
    exponent = jnp.exp(between(number, (math.log(low), math.log(high))))
    return chain_of(image).change(functools.partial(ops.adjust_gamma, gamma=exponent))  # type: ignore[return-value]


@augmentation(geometric=False)
def random_grayscale(key: PRNGKey, image: Example, *, p: float = 0.1) -> Example:
    """Takes the colours from an image with probability ``p``.

    Args:
        key: The draw.
        image: The example, of 3 channels; one of 1 stays as it is.
        p: Probability.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or ``p`` outside of [0, 1].

    Example:
        >>> red = jnp.array([1.0, 0.0, 0.0]).reshape(1, 1, 3)
        >>> bool(jnp.allclose(augment.random_grayscale(jax.random.key(0), red, p=1.0), 0.2989))
        True

    Parity:
        ``ops.to_grayscale``, drawn as by torchvision's ``RandomGrayscale``.
    """
    return chain_of(image).change(perhaps("random_grayscale", key, p, ops.to_grayscale))  # type: ignore[return-value]


@augmentation(geometric=False)
def random_channel_shuffle(key: PRNGKey, image: Example, *, p: float = 1.0) -> Example:
    """Brings the channels of an image into a random order with probability ``p``.

    Args:
        key: The draw.
        image: The example, of any number of channels.
        p: Probability.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or ``p`` outside of [0, 1].

    Example:
        >>> image = jnp.arange(3.0).reshape(1, 1, 3)
        >>> sorted(augment.random_channel_shuffle(jax.random.key(0), image)[0, 0].tolist())
        [0.0, 1.0, 2.0]

    Parity:
        ``ops.permute_channels``, drawn as by torchvision's ``RandomChannelPermutation``.
    """
    order = jax.random.permutation(jax.random.fold_in(key, 1), chain_of(image).channels)
    shuffle = functools.partial(ops.permute_channels, permutation=order)
    change = perhaps("random_channel_shuffle", jax.random.fold_in(key, 0), p, shuffle)
    return chain_of(image).change(change)  # type: ignore[return-value]


def _adjusted(name: str, key: PRNGKey, image: Any, argument: str, value: Any, adjust: Callable[..., Any]) -> Any:
    limits = span(name, argument, value, about=1.0, least=0.0)
    (number,) = uniforms(key, 1)
    return chain_of(image).change(functools.partial(adjust, factor=between(number, limits)))


def _hues(name: str, hue: Any) -> tuple[float, float]:
    limits = span(name, "hue", hue)
    check(limits[0] >= -0.5 and limits[1] <= 0.5, name, "hue", "within [-0.5, 0.5]", repr(hue))
    return limits
