"""Random noise on one example, as sensors and transmission errors add it."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._argument_checks import RangeOption, Scalar, check_range, is_known_to_be
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import augmentation
from jaxcnn.augment.counter import counter_normal, counter_uniform

__all__ = ["random_gaussian_noise", "random_salt_and_pepper", "random_shot_noise", "random_speckle_noise"]


@augmentation(geometric=False)
def random_gaussian_noise(key: PRNGKey, image: Chain, *, sigma: RangeOption = 0.05) -> Chain:
    """Adds normal noise of the same strength everywhere, independent for every value.

    Convention:
        The first of the two keys that ``split`` returns for ``key`` is for the pixels, ``counter_normal`` of the
        image's shape, the second for the strength, ``counter_uniform`` of shape (). Leading axes share one
        strength; for separate examples use ``vmap`` over keys and images.

    Args:
        key: A typed key.
        image: The example.
        sigma: Standard deviation in units of the full range, or (low, high) to draw it from, uniformly.

    Returns:
        The noisy image, clipped to its range, in the dtype of ``image``.

    Raises:
        ValueError: As for ``ops.add_gaussian_noise``, and if ``sigma`` is neither a number nor a range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> images, keys = jnp.full((4, 32, 32, 3), 0.5), jax.random.split(jax.random.key(0), 4)
        >>> noisy = jax.vmap(lambda key, image: augment.random_gaussian_noise(key, image, sigma=0.1))(keys, images)
        >>> noisy.shape, round(float(noisy.std()), 2)
        ((4, 32, 32, 3), 0.1)
    """
    return _add_noise("random_gaussian_noise", key, image, {"sigma": sigma}, counter_normal, ops.add_gaussian_noise)


@augmentation(geometric=False)
def random_speckle_noise(key: PRNGKey, image: Chain, *, sigma: RangeOption = 0.1) -> Chain:
    """Adds normal noise in proportion to the image, independent for every value.

    Convention:
        Keys and leading axes as for ``random_gaussian_noise``.

    Args:
        key: A typed key.
        image: The example.
        sigma: Standard deviation relative to the image, or (low, high) to draw it from, uniformly.

    Returns:
        The noisy image, clipped to its range, in the dtype of ``image``.

    Raises:
        ValueError: As for ``ops.add_speckle_noise``, and if ``sigma`` is neither a number nor a range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> noisy = augment.random_speckle_noise(jax.random.key(0), jnp.full((64, 64, 3), 0.5), sigma=0.2)
        >>> round(float(noisy.std()), 2)
        0.1
    """
    return _add_noise("random_speckle_noise", key, image, {"sigma": sigma}, counter_normal, ops.add_speckle_noise)


@augmentation(geometric=False)
def random_shot_noise(key: PRNGKey, image: Chain, *, photons: RangeOption = (30.0, 300.0)) -> Chain:
    """Adds shot noise: counts photons instead of measuring light, independently for every value.

    Convention:
        Keys and leading axes as for ``random_gaussian_noise``, with ``counter_uniform`` for the pixels.

    Args:
        key: A typed key.
        image: The example.
        photons: Photons of a white pixel, or (low, high) to draw them from, uniformly. The deviation is
            sqrt(image / photons).

    Returns:
        The noisy image, clipped to its range, in the dtype of ``image``.

    Raises:
        ValueError: As for ``ops.add_shot_noise``, and if ``photons`` is neither a number nor a range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> noisy = augment.random_shot_noise(jax.random.key(0), jnp.full((64, 64, 3), 0.5), photons=50.0)
        >>> round(float(noisy.std()), 2)
        0.1
    """
    options = {"photons": photons}
    return _add_noise("random_shot_noise", key, image, options, counter_uniform, ops.add_shot_noise, positive=True)


@augmentation(geometric=False)
def random_salt_and_pepper(
    key: PRNGKey,
    image: Chain,
    *,
    amount: RangeOption = 0.02,
    salt: RangeOption = 0.5,
) -> Chain:
    """Replaces single values with white or black, independently.

    Convention:
        Keys and leading axes as for ``random_gaussian_noise``, with ``counter_uniform`` for the pixels. The
        second key's numbers, of shape (2,), are for ``amount`` and ``salt``.

    Args:
        key: A typed key.
        image: The example.
        amount: Fraction of the values that are replaced, or (low, high) to draw it from, uniformly.
        salt: Fraction of the replaced values that become white, or (low, high) to draw it from, uniformly.

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: As for ``ops.add_salt_and_pepper``, and if ``amount`` or ``salt`` is neither a number nor a range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> noisy = augment.random_salt_and_pepper(jax.random.key(0), jnp.full((64, 64, 3), 0.5), amount=0.1)
        >>> round(float((noisy != 0.5).mean()), 1)
        0.1
    """
    name, options = "random_salt_and_pepper", {"amount": amount, "salt": salt}
    return _add_noise(name, key, image, options, counter_uniform, ops.add_salt_and_pepper, most=1.0)


def _add_noise(
    name: str,
    key: PRNGKey,
    image: Chain,
    options: dict[str, RangeOption],
    draw: Callable[[PRNGKey, tuple[int, ...]], jax.Array],
    add: Callable[..., jax.Array],
    *,
    positive: bool = False,
    most: float = math.inf,
) -> Chain:
    """Draws the options and the numbers of the pixels, and adds the noise."""
    pixels, rest = jax.random.split(key)
    positions = counter_uniform(rest, (len(options),))
    values: dict[str, Scalar] = {}
    for i, (option, value) in enumerate(options.items()):
        low, high = check_range(name, option, value, positive=positive, most=most)
        values[option] = low if is_known_to_be((low, high), low) else low + (high - low) * positions[i]
    first, *others = values

    def add_noise(image: jax.Array) -> jax.Array:
        # Added to zeros of the image's shape: a mesh may have sharded it, but not the draw.
        numbers = draw(pixels, image.shape) + jnp.zeros_like(image, jnp.float32)
        return add(image, numbers, values[first], **{option: values[option] for option in others})

    return image.change(add_noise, separate=True)
