"""Noise on images, the random numbers given: what a sensor or a bad line adds."""

import math
from collections.abc import Callable
from typing import Any

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
    """Adds noise of one strength everywhere: image + sigma noise.

    Convention:
        Images are floating in [0, 1] or uint8 in [0, 255]. Results are computed in float32 or wider, clipped to
        that range and, for uint8, rounded to the nearest. Leading axes broadcast, also those of ``sigma``.

    Args:
        image: The image.
        noise: Standard normal numbers, of the image's shape or with one channel that all channels share.
        sigma: Standard deviation, at least 0, in units of the whole range, also for uint8. At 0 the image
            comes back bit for bit, if it lies in the range.

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: If a form or dtype is wrong, or ``sigma`` a negative number.

    Example:
        >>> image, noise = jnp.full((1, 2, 1), 0.5), jnp.array([[[1.0], [-10.0]]])
        >>> ops.add_gaussian_noise(image, noise, 0.25)[0, :, 0].tolist()
        [0.75, 0.0]

    Parity:
        ``skimage.util.random_noise(image, "gaussian", var=sigma**2)`` with its numbers given.
    """
    name = "add_gaussian_noise"
    _number(name, "sigma", sigma, 0.0, math.inf)
    return _computed(name, image, ("noise", noise), {"sigma": sigma}, lambda x, n, s: x + s * n)


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
        noise: Standard normal numbers, of the image's shape or with one channel that all channels share.
        sigma: Standard deviation relative to the image, at least 0. At 0 the image comes back bit for bit, if
            it lies in the range.

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: If a form or dtype is wrong, or ``sigma`` a negative number.

    Example:
        >>> image, noise = jnp.array([[[0.0], [0.5]]]), jnp.ones((1, 2, 1))
        >>> ops.add_speckle_noise(image, noise, 0.25)[0, :, 0].tolist()
        [0.0, 0.625]

    Parity:
        ``skimage.util.random_noise(image, "speckle", var=sigma**2)`` with its numbers given.
    """
    name = "add_speckle_noise"
    _number(name, "sigma", sigma, 0.0, math.inf)
    return _computed(name, image, ("noise", noise), {"sigma": sigma}, lambda x, n, s: x + x * (s * n))


def add_shot_noise(
    image: Num[AnyArray, "*#batch h w c"],
    uniform: Float[AnyArray, "*#batch h w #c"],
    photons: float | Float[AnyArray, "*#batch"],
) -> Num[Array, "*batch h w c"]:
    """Counts photons instead of measuring light: a Poisson number of mean image x photons, over photons.

    Convention:
        - Images, dtypes and leading axes as for ``add_gaussian_noise``.
        - A count is the quantile of the Poisson distribution at the uniform number: larger numbers never
          give fewer photons. Up to a mean of 10 it is summed up in float32, to 1e-6 in total
          variation distance. Beyond, it is the expansion of the quantile about the normal one to order
          1 / mean, rounded down; its distance is largest at 10, 1.5e-4, falls with the mean, and the mean
          of the counts is right to 1e-4. The uniform numbers stand for cells of width 2^-24, so counts more
          than 5.4 deviations away do not occur, nor do those of a probability below 2^-27.
        - Clipping takes a little from what is nearly white: half of the counts of white lie above 1.
        - A count is constant between its jumps, so no gradient reaches the image through it.

    Args:
        image: The image; below 0 it counts as 0.
        uniform: Uniform numbers in [0, 1), of the image's shape or with one channel that all channels
            share. Use float32: few bits make few counts.
        photons: Photons that white stands for, positive and finite: the more, the less noise.

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: If a form or dtype is wrong, or ``photons`` a number that is not positive and finite.

    Example:
        >>> image, uniform = jnp.full((1, 3, 1), 0.5), jnp.array([[[0.2], [0.5], [0.9]]])
        >>> ops.add_shot_noise(image, uniform, 4.0)[0, :, 0].tolist()
        [0.25, 0.5, 1.0]

    Parity:
        Up to a mean of 10 the counts are those of ``scipy.stats.poisson.ppf``, save where rounding decides.
        ``skimage.util.random_noise(image, "poisson")`` takes for ``photons`` the number of values in the image,
        rounded up to a power of two.

    References:
        Giles 2016, "Algorithm 955: approximation of the inverse Poisson cumulative distribution function"
        (the expansion, there of the normal approximation).
    """
    name = "add_shot_noise"
    _number(name, "photons", photons, 0.0, math.inf, inside=True)

    def noisy(image: Any, uniform: Any, photons: Any) -> Any:
        return _poisson(jnp.maximum(image * photons, 0), uniform) / photons

    return _computed(name, image, ("uniform", uniform), {"photons": photons}, noisy)


def add_salt_and_pepper(
    image: Num[AnyArray, "*#batch h w c"],
    uniform: Float[AnyArray, "*#batch h w #c"],
    amount: float | Float[AnyArray, "*#batch"],
    *,
    salt: float | Float[AnyArray, "*#batch"] = 0.5,
) -> Num[Array, "*batch h w c"]:
    """Replaces single values by white or black.

    Convention:
        Where the uniform number is below amount x salt the image becomes 1, or 255; from there up to the amount, 0.
        The rest is passed on bit for bit. Leading axes broadcast, also those of the parameters.

    Args:
        image: The image.
        uniform: Uniform numbers in [0, 1), of the image's shape; with one channel whole pixels are replaced.
        amount: Share of the values that are replaced, in [0, 1].
        salt: Share of the replaced that become white, in [0, 1].

    Returns:
        The noisy image, in the dtype of ``image``.

    Raises:
        ValueError: If a form or dtype is wrong, or ``amount`` or ``salt`` a number outside of [0, 1].

    Example:
        >>> image, uniform = jnp.full((1, 3, 1), 0.5), jnp.array([[[0.1], [0.3], [0.4]]])
        >>> ops.add_salt_and_pepper(image, uniform, 0.4)[0, :, 0].tolist()
        [1.0, 0.0, 0.5]

    Parity:
        ``skimage.util.random_noise(image, "s&p", amount=amount, salt_vs_pepper=salt)`` in distribution.
    """
    name = "add_salt_and_pepper"
    _number(name, "amount", amount, 0.0, 1.0)
    _number(name, "salt", salt, 0.0, 1.0)

    def noisy(image: Any, uniform: Any, amount: Any, salt: Any) -> Any:
        white = jnp.asarray(255 if image.dtype == jnp.uint8 else 1, image.dtype)
        uniform = jnp.broadcast_to(uniform, image.shape)
        peppered = jnp.where(uniform < amount, jnp.zeros_like(image), image)
        return jnp.where(uniform < amount * salt, white, peppered)

    return _over_pixels(name, image, ("uniform", uniform), {"amount": amount, "salt": salt}, noisy)


def _number(name: str, argument: str, value: Any, low: float, high: float, *, inside: bool = False) -> None:
    """Refuses a Python number out of its range; arrays may be traced and are not looked at."""
    if isinstance(value, int | float | np.number):
        expected = f"between {low:g} and {high:g}" if inside else f"in [{low:g}, {high:g}]"
        if high == math.inf:
            expected = "positive and finite" if inside else "finite and at least 0"
        valid = (low < value < high) if inside else (low <= value <= high and value < math.inf)
        check(bool(valid), name, argument, expected, value)


def _computed(
    name: str, image: Any, draw: tuple[str, Any], options: dict[str, Any], function: Callable[..., Any]
) -> jax.Array:
    """Applies a function of values in [0, 1] to images of either kind, clips and rounds."""

    def one(image: Any, draw: Any, *values: Any) -> Any:
        whole = 255.0 if image.dtype == jnp.uint8 else 1.0
        result = jnp.clip(function(image.astype(draw.dtype) / whole, draw, *values), 0, 1) * whole
        return (jnp.round(result) if image.dtype == jnp.uint8 else result).astype(image.dtype)

    return _over_pixels(name, image, draw, options, one)


def _over_pixels(
    name: str, image: Any, draw: tuple[str, Any], options: dict[str, Any], function: Callable[..., Any]
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


def _poisson(mean: Any, uniform: Any) -> Any:
    """Gives the quantiles of Poisson distributions, see ``add_shot_noise``."""
    few = jnp.minimum(mean, _FEW)
    probability = cumulative = jnp.exp(-few)
    count = jnp.zeros_like(probability + uniform)
    for number in range(1, _MOST + 1):
        probability = probability * (few * (1 / number))
        # What rounding leaves of the cumulative sum below 1 must not be taken for many photons.
        more = (uniform >= cumulative) & (probability > _NEVER)
        count = count + more.astype(count.dtype)
        cumulative = cumulative + probability
    z = normal_quantile(uniform).astype(count.dtype)
    many = jnp.maximum(mean, _FEW)
    square = z * z
    expansion = (-8 / 405 + square * (7 / 810) + square * square * (1 / 270)) / many
    expansion = expansion - z * (1 / 36 + square * (1 / 72)) / jnp.sqrt(many) + (1 / 3 + square * (1 / 6))
    large = jnp.floor(jnp.maximum(many + jnp.sqrt(many) * z + expansion, 0))
    # No jnp.where: the compiler would branch around the one or the other, and vectorise neither.
    rest = (mean <= _FEW).astype(count.dtype)
    return count * rest + large * (1 - rest)
