"""Random noise on one example, as sensors and bad lines add it."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Example, augmentation, chain_of
from jaxcnn.augment._draws import ends
from jaxcnn.augment.counter import counter_normal, counter_uniform

__all__ = ["random_gaussian_noise", "random_salt_and_pepper", "random_shot_noise", "random_speckle_noise"]


@augmentation(geometric=False)
def random_gaussian_noise(key: PRNGKey, image: Example, *, sigma: float | tuple[float, float] = 0.05) -> Example:
    """Adds normal noise of one strength everywhere, independent in every value.

    Convention:
        The first of the two keys that ``split`` makes of ``key`` is for the pixels, ``counter_normal`` of the
        image's shape, the second for the strength, ``counter_uniform`` of shape (). Leading axes share one
        strength; for examples of their own, lift by ``vmap`` over keys and images.

    Args:
        key: A typed key.
        image: The example.
        sigma: Standard deviation in units of the whole range, or (low, high) to draw it from, evenly.

    Returns:
        The noisy image, clipped to its range, in the dtype of ``image``.

    Raises:
        ValueError: As for ``ops.add_gaussian_noise``, and if ``sigma`` is neither of the two.

    Example:
        >>> images, keys = jnp.full((4, 32, 32, 3), 0.5), jax.random.split(jax.random.key(0), 4)
        >>> noisy = jax.vmap(lambda key, image: augment.random_gaussian_noise(key, image, sigma=0.1))(keys, images)
        >>> noisy.shape, round(float(noisy.std()), 2)
        ((4, 32, 32, 3), 0.1)
    """
    return _noisy("random_gaussian_noise", key, image, {"sigma": sigma}, counter_normal, ops.add_gaussian_noise)


@augmentation(geometric=False)
def random_speckle_noise(key: PRNGKey, image: Example, *, sigma: float | tuple[float, float] = 0.1) -> Example:
    """Adds normal noise in proportion to the image, independent in every value.

    Convention:
        Keys and leading axes as for ``random_gaussian_noise``.

    Args:
        key: A typed key.
        image: The example.
        sigma: Standard deviation relative to the image, or (low, high) to draw it from, evenly.

    Returns:
        The noisy image, clipped to its range, in the dtype of ``image``.

    Raises:
        ValueError: As for ``ops.add_speckle_noise``, and if ``sigma`` is neither of the two.

    Example:
        >>> noisy = augment.random_speckle_noise(jax.random.key(0), jnp.full((64, 64, 3), 0.5), sigma=0.2)
        >>> round(float(noisy.std()), 2)
        0.1
    """
    return _noisy("random_speckle_noise", key, image, {"sigma": sigma}, counter_normal, ops.add_speckle_noise)


@augmentation(geometric=False)
def random_shot_noise(key: PRNGKey, image: Example, *, photons: float | tuple[float, float] = (30.0, 300.0)) -> Example:
    """Counts photons instead of measuring light, independently in every value.

    Convention:
        Keys and leading axes as for ``random_gaussian_noise``, with ``counter_uniform`` for the pixels.

    Args:
        key: A typed key.
        image: The example.
        photons: Photons that white stands for, or (low, high) to draw them from, evenly. The deviation is
            sqrt(image / photons).

    Returns:
        The noisy image, clipped to its range, in the dtype of ``image``.

    Raises:
        ValueError: As for ``ops.add_shot_noise``, and if ``photons`` is neither of the two.

    Example:
        >>> noisy = augment.random_shot_noise(jax.random.key(0), jnp.full((64, 64, 3), 0.5), photons=50)
        >>> round(float(noisy.std()), 2)
        0.1
    """
    options = {"photons": photons}
    return _noisy("random_shot_noise", key, image, options, counter_uniform, ops.add_shot_noise, positive=True)


@augmentation(geometric=False)
def random_salt_and_pepper(
    key: PRNGKey,
    image: Example,
    *,
    amount: float | tuple[float, float] = 0.02,
    salt: float | tuple[float, float] = 0.5,
) -> Example:
    """Replaces single values by white or black, independently.

    Convention:
        Keys and leading axes as for ``random_gaussian_noise``, with ``counter_uniform`` for the pixels. The
        second key's numbers, of shape (2,), are for ``amount`` and ``salt``.

    Args:
        key: A typed key.
        image: The example.
        amount: Share of the values that are replaced, or (low, high) to draw it from, evenly.
        salt: Share of the replaced that become white, or (low, high) to draw it from, evenly.

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: As for ``ops.add_salt_and_pepper``, and if ``amount`` or ``salt`` is neither of the two.

    Example:
        >>> noisy = augment.random_salt_and_pepper(jax.random.key(0), jnp.full((64, 64, 3), 0.5), amount=0.1)
        >>> round(float((noisy != 0.5).mean()), 1)
        0.1
    """
    name, options = "random_salt_and_pepper", {"amount": amount, "salt": salt}
    return _noisy(name, key, image, options, counter_uniform, ops.add_salt_and_pepper, most=1.0)


def _noisy(
    name: str,
    key: Any,
    image: Any,
    options: dict[str, Any],
    draw: Callable[..., Any],
    add: Callable[..., Any],
    *,
    positive: bool = False,
    most: float = math.inf,
) -> Any:
    """Draws the options and the numbers of the pixels, and adds the noise."""
    chain = chain_of(image)
    pixels, rest = jax.random.split(key)
    positions = counter_uniform(rest, (len(options),))
    values = {}
    for i, (option, value) in enumerate(options.items()):
        low, high = ends(name, option, value, positive=positive, most=most)
        values[option] = low + (high - low) * positions[i] if low < high else low
    first, *others = values

    def noisy(image: Any) -> jax.Array:
        image = jnp.asarray(image)
        # Added to zeros in the form of the image: a mesh may have sharded it, but not the draw.
        numbers = draw(pixels, image.shape) + jnp.zeros_like(image, jnp.float32)
        return add(image, numbers, values[first], **{option: values[option] for option in others})

    return chain.change(noisy, apart=True)
