"""Noise on images from given random numbers, as sensors and transmission errors add it."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, check_floating, shape_text
from jaxcnn._typing import AnyArray, Array, Float, Num
from jaxcnn.ops._batching import over_batch, working_dtype
from jaxcnn.ops._images import check_pixels
from jaxcnn.ops._normal import normal_quantile

__all__ = ["add_gaussian_noise", "add_salt_and_pepper", "add_shot_noise", "add_speckle_noise"]

_FEW = 10.0  # mean up to which photons are counted one by one
_MOST = 32  # counts beyond have a probability below 2^-26 there
_NEVER = 2.0**-27  # probability below which a count does not occur


def add_gaussian_noise(
    image: Num[AnyArray, "*#batch h w c"],
    noise: Float[AnyArray, "*#batch h w #c"],
    sigma: float | Float[AnyArray, "*#batch"],
) -> Num[Array, "*batch h w c"]:
    """Adds noise of the same strength everywhere: image + sigma noise.

    Convention:
        Images are floating in [0, 1] or uint8 in [0, 255]. Results are computed in float32 or wider, clipped to
        that range and, for uint8, rounded to the nearest. Leading axes broadcast, also those of ``sigma``.

    Args:
        image: The image.
        noise: Standard normal numbers, of the shape of the image, or with one channel that is shared by all.
        sigma: Standard deviation, at least 0, in units of the full range, also for uint8. At 0 the image
            is returned bit for bit, if it is within the range.

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: If a shape or dtype is wrong, or ``sigma`` a negative number.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image, noise = jnp.full((1, 2, 1), 0.5), jnp.array([[[1.0], [-10.0]]])
        >>> ops.add_gaussian_noise(image, noise, 0.25)[0, :, 0].tolist()
        [0.75, 0.0]

    Parity:
        ``skimage.util.random_noise(image, "gaussian", var=sigma**2)`` with the same random numbers.
    """
    name = "add_gaussian_noise"
    _check_number(name, "sigma", sigma, 0.0, math.inf)
    return _apply_to_unit(name, image, ("noise", noise), {"sigma": sigma}, lambda x, n, s: x + s * n)


def add_speckle_noise(
    image: Num[AnyArray, "*#batch h w c"],
    noise: Float[AnyArray, "*#batch h w #c"],
    sigma: float | Float[AnyArray, "*#batch"],
) -> Num[Array, "*batch h w c"]:
    """Adds noise in proportion to the image: image (1 + sigma noise).

    Convention:
        As for ``add_gaussian_noise``.

    Args:
        image: The image.
        noise: Standard normal numbers, of the shape of the image, or with one channel that is shared by all.
        sigma: Standard deviation relative to the image, at least 0. At 0 the image is returned bit for bit, if
            it is within the range.

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: If a shape or dtype is wrong, or ``sigma`` a negative number.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image, noise = jnp.array([[[0.0], [0.5]]]), jnp.ones((1, 2, 1))
        >>> ops.add_speckle_noise(image, noise, 0.25)[0, :, 0].tolist()
        [0.0, 0.625]

    Parity:
        ``skimage.util.random_noise(image, "speckle", var=sigma**2)`` with the same random numbers.
    """
    name = "add_speckle_noise"
    _check_number(name, "sigma", sigma, 0.0, math.inf)
    return _apply_to_unit(name, image, ("noise", noise), {"sigma": sigma}, lambda x, n, s: x + x * (s * n))


def add_shot_noise(
    image: Num[AnyArray, "*#batch h w c"],
    uniform: Float[AnyArray, "*#batch h w #c"],
    photons: float | Float[AnyArray, "*#batch"],
) -> Num[Array, "*batch h w c"]:
    """Counts photons instead of measuring light: a Poisson number with mean image x photons, divided by photons.

    Convention:
        - Images, dtypes and leading axes as for ``add_gaussian_noise``.
        - A count is the quantile of the Poisson distribution at the uniform number: larger numbers never
          mean fewer photons. Up to a mean of 10 it is summed up in float32, to 1e-6 in total
          variation distance. Beyond, it is the expansion of the quantile about the normal one to order
          1 / mean, rounded down; its distance is largest at 10, 1.5e-4, and decreases with the mean; the mean
          of the counts is accurate to 1e-4. The uniform numbers represent cells of width 2^-24, so counts more
          than 5.4 deviations away do not occur, nor do counts with a probability below 2^-27.
        - Clipping darkens nearly white pixels a little: half of the counts of white are above 1.
        - A count is constant between its jumps, so no gradient reaches the image through it.

    Args:
        image: The image; values below 0 count as 0.
        uniform: Uniform numbers in [0, 1), of the image's shape or with one channel that all channels
            share. Use float32: fewer bits give fewer different counts.
        photons: Photons of a white pixel, positive and finite: the more, the less noise.

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: If a shape or dtype is wrong, or ``photons`` a number that is not positive and finite.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image, uniform = jnp.full((1, 3, 1), 0.5), jnp.array([[[0.2], [0.5], [0.9]]])
        >>> ops.add_shot_noise(image, uniform, 4.0)[0, :, 0].tolist()
        [0.25, 0.5, 1.0]

    Parity:
        Up to a mean of 10 the counts are those of ``scipy.stats.poisson.ppf``, except where rounding decides.
        ``skimage.util.random_noise(image, "poisson")`` uses for ``photons`` the number of different values in the
        image, rounded up to a power of two.

    References:
        Giles 2016, "Algorithm 955: approximation of the inverse Poisson cumulative distribution function"
        (the expansion, there of the normal approximation).
    """
    name = "add_shot_noise"
    _check_number(name, "photons", photons, 0.0, math.inf, inside=True)

    def count_photons(image: jax.Array, uniform: jax.Array, photons: jax.Array) -> jax.Array:
        return _poisson(jnp.maximum(image * photons, 0), uniform) / photons

    return _apply_to_unit(name, image, ("uniform", uniform), {"photons": photons}, count_photons)


def add_salt_and_pepper(
    image: Num[AnyArray, "*#batch h w c"],
    uniform: Float[AnyArray, "*#batch h w #c"],
    amount: float | Float[AnyArray, "*#batch"],
    *,
    salt: float | Float[AnyArray, "*#batch"] = 0.5,
) -> Num[Array, "*batch h w c"]:
    """Replaces single values with white or black.

    Convention:
        Where the uniform number is below amount x salt the image becomes 1, or 255; from there up to the amount, 0.
        Other values are returned bit for bit. Leading axes broadcast, also those of the parameters.

    Args:
        image: The image.
        uniform: Uniform numbers in [0, 1), of the image's shape; with one channel whole pixels are replaced.
        amount: Fraction of the values that are replaced, in [0, 1].
        salt: Fraction of the replaced values that become white, in [0, 1].

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: If a shape or dtype is wrong, or ``amount`` or ``salt`` a number outside of [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image, uniform = jnp.full((1, 3, 1), 0.5), jnp.array([[[0.1], [0.3], [0.4]]])
        >>> ops.add_salt_and_pepper(image, uniform, 0.4)[0, :, 0].tolist()
        [1.0, 0.0, 0.5]

    Parity:
        ``skimage.util.random_noise(image, "s&p", amount=amount, salt_vs_pepper=salt)`` in distribution.
    """
    name = "add_salt_and_pepper"
    _check_number(name, "amount", amount, 0.0, 1.0)
    _check_number(name, "salt", salt, 0.0, 1.0)

    def replace_values(image: jax.Array, uniform: jax.Array, amount: jax.Array, salt: jax.Array) -> jax.Array:
        white = jnp.asarray(255 if image.dtype == jnp.uint8 else 1, image.dtype)
        uniform = jnp.broadcast_to(uniform, image.shape)
        peppered = jnp.where(uniform < amount, jnp.zeros_like(image), image)
        return jnp.where(uniform < amount * salt, white, peppered)

    return _over_pixels(name, image, ("uniform", uniform), {"amount": amount, "salt": salt}, replace_values)


def _check_number(name: str, argument: str, value: object, low: float, high: float, *, inside: bool = False) -> None:
    """Refuses a number outside of its range; arrays may be traced and are not checked."""
    if isinstance(value, int | float | np.integer | np.floating):
        expected = f"between {low:g} and {high:g}" if inside else f"in [{low:g}, {high:g}]"
        if high == math.inf:
            expected = "positive and finite" if inside else "finite and at least 0"
        valid = (low < value < high) if inside else (low <= value <= high and value < math.inf)
        check(bool(valid), name, argument, expected, value)


def _apply_to_unit(
    name: str,
    image: AnyArray,
    draw: tuple[str, AnyArray],
    options: dict[str, float | AnyArray],
    function: Callable[..., jax.Array],
) -> jax.Array:
    """Applies a function of values in [0, 1] to images of either kind, clips and rounds."""

    def apply_one(image: jax.Array, draw: jax.Array, *values: jax.Array) -> jax.Array:
        whole = 255.0 if image.dtype == jnp.uint8 else 1.0
        result = jnp.clip(function(image.astype(draw.dtype) / whole, draw, *values), 0, 1) * whole
        return (jnp.round(result) if image.dtype == jnp.uint8 else result).astype(image.dtype)

    return _over_pixels(name, image, draw, options, apply_one)


def _over_pixels(
    name: str,
    image: AnyArray,
    draw: tuple[str, AnyArray],
    options: dict[str, float | AnyArray],
    function: Callable[..., jax.Array],
) -> jax.Array:
    """Checks image, random numbers and options, and applies a function to single examples of them all."""
    argument, numbers = draw[0], as_array(name, *draw)
    image = check_pixels(name, image)
    check_floating(name, argument, numbers)
    h, w, c = image.shape[-3:]
    fits = numbers.shape[-3:] in ((h, w, c), (h, w, 1))
    check(fits, name, argument, f"of shape (..., {h}, {w}, {c}) or (..., {h}, {w}, 1)", shape_text(numbers))
    values = [as_array(name, option, value) for option, value in options.items()]
    dtype = working_dtype(image, numbers, *(v for v in values if not v.weak_type))
    arrays = (image, numbers.astype(dtype), *(value.astype(dtype) for value in values))
    listed = f"image, {argument} and {' and '.join(options)}"
    return over_batch(function, arrays, (3, 3, *(0 for _ in values)), name=name, arguments=listed)


def _poisson(mean: jax.Array, uniform: jax.Array) -> jax.Array:
    """Returns the quantiles of Poisson distributions, see ``add_shot_noise``."""
    few = jnp.minimum(mean, _FEW)
    probability = cumulative = jnp.exp(-few)
    count = jnp.zeros_like(probability + uniform)
    for number in range(1, _MOST + 1):
        probability = probability * (few * (1 / number))
        # A cumulative sum that rounding keeps below 1 must not be mistaken for many photons.
        more = (uniform >= cumulative) & (probability > _NEVER)
        count = count + more.astype(count.dtype)
        cumulative = cumulative + probability
    z = normal_quantile(uniform).astype(count.dtype)
    many = jnp.maximum(mean, _FEW)
    square = z * z
    expansion = (-8 / 405 + square * (7 / 810) + square * square * (1 / 270)) / many
    expansion = expansion - z * (1 / 36 + square * (1 / 72)) / jnp.sqrt(many) + (1 / 3 + square * (1 / 6))
    large = jnp.floor(jnp.maximum(many + jnp.sqrt(many) * z + expansion, 0))
    # Not jnp.where: the compiler would branch and vectorize neither side.
    rest = (mean <= _FEW).astype(count.dtype)
    return count * rest + large * (1 - rest)
