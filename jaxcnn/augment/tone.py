"""Random changes of the levels of an image, and of its sharpness."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._argument_checks import NumberOption, RangeOption, check_range, range_about
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import augmentation
from jaxcnn.augment._draws import draw_uniforms, to_range, with_probability

__all__ = [
    "random_autocontrast",
    "random_equalize",
    "random_gaussian_blur",
    "random_invert",
    "random_posterize",
    "random_sharpness",
    "random_solarize",
]


@augmentation(geometric=False)
def random_invert(key: PRNGKey, image: Chain, *, p: NumberOption = 0.5) -> Chain:
    """Makes the negative of an image with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        p: Probability.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or ``p`` is outside of [0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_invert(jax.random.key(0), jnp.ones((2, 2, 3)), p=1.0).max().item()
        0.0

    Parity:
        ``ops.invert``, drawn as by torchvision's ``RandomInvert``.
    """
    return image.change(with_probability("random_invert", key, p, ops.invert))


@augmentation(geometric=False)
def random_posterize(
    key: PRNGKey, image: Chain, *, bits: int | tuple[int, int] = (4, 8), p: NumberOption = 0.5
) -> Chain:
    """Keeps only the highest bits of every value with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        bits: Bits to keep, 1 to 8, or (fewest, most), all equally likely.
        p: Probability.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_posterize(jax.random.key(0), jnp.full((1, 1, 1), 200, jnp.uint8), bits=2, p=1.0).item()
        192

    Parity:
        ``ops.posterize``, drawn as by torchvision's ``RandomPosterize``, which has a fixed number of bits.
    """
    name, limits = "random_posterize", tuple(bits) if isinstance(bits, tuple | list) else (bits, bits)
    good = len(limits) == 2 and all(is_integer_at_least(b, 1) and b <= 8 for b in limits) and limits[0] <= limits[1]
    check(good, name, "bits", "an integer of 1 to 8, or (fewest, most)", repr(bits))
    (number,) = draw_uniforms(jax.random.fold_in(key, 1), 1)
    kept = limits[0] + jnp.floor(number * (limits[1] - limits[0] + 1)).astype(jnp.int32)
    posterize = functools.partial(ops.posterize, bits=kept)
    return image.change(with_probability(name, jax.random.fold_in(key, 0), p, posterize))


@augmentation(geometric=False)
def random_solarize(key: PRNGKey, image: Chain, *, threshold: RangeOption = 0.5, p: NumberOption = 0.5) -> Chain:
    """Inverts all values above a threshold with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        threshold: In [0, 1], also for uint8, or (low, high).
        p: Probability.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_solarize(jax.random.key(0), jnp.array([[[0.25, 0.75]]]), p=1.0).tolist()
        [[[0.25, 0.25]]]

    Parity:
        ``ops.solarize``, drawn as by torchvision's ``RandomSolarize``.
    """
    name = "random_solarize"
    limits = check_range(name, "threshold", threshold)
    (number,) = draw_uniforms(jax.random.fold_in(key, 1), 1)
    solarize = functools.partial(ops.solarize, threshold=to_range(number, limits))
    return image.change(with_probability(name, jax.random.fold_in(key, 0), p, solarize))


@augmentation(geometric=False)
def random_equalize(key: PRNGKey, image: Chain, *, p: NumberOption = 0.5) -> Chain:
    """Equalizes the histogram of every channel with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        p: Probability.

    Returns:
        The example, with the same shape and dtype. Where it is equalized, the gradient is 0.

    Raises:
        ValueError: If ``image`` is not an example, or ``p`` is outside of [0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_equalize(jax.random.key(0), jnp.ones((2, 2, 3)), p=1.0).max().item()
        1.0

    Parity:
        ``ops.equalize``, drawn as by torchvision's ``RandomEqualize``.
    """
    return image.change(with_probability("random_equalize", key, p, ops.equalize), separate=True)


@augmentation(geometric=False)
def random_autocontrast(key: PRNGKey, image: Chain, *, p: NumberOption = 0.5) -> Chain:
    """Stretches every channel to the full range with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        p: Probability.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or ``p`` is outside of [0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_autocontrast(jax.random.key(0), jnp.array([[[0.25]], [[0.5]]]), p=1.0)[:, 0, 0].tolist()
        [0.0, 1.0]

    Parity:
        ``ops.autocontrast``, drawn as by torchvision's ``RandomAutocontrast``.
    """
    return image.change(with_probability("random_autocontrast", key, p, ops.autocontrast))


@augmentation(geometric=False)
def random_sharpness(
    key: PRNGKey, image: Chain, *, sharpness: RangeOption = (0.0, 2.0), p: NumberOption = 0.5
) -> Chain:
    """Blurs or sharpens an image a little with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        sharpness: Range of the factor: 0 is smooth, 1 unchanged, 2 sharper.
        p: Probability.

    Returns:
        The example, with the same shape and dtype, clipped to its range.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_sharpness(jax.random.key(0), jnp.ones((4, 4, 3)), p=1.0).shape
        (4, 4, 3)

    Parity:
        ``ops.adjust_sharpness``; torchvision's ``RandomAdjustSharpness`` has one factor.
    """
    name = "random_sharpness"
    limits = range_about(name, "sharpness", sharpness, center=1.0, least=0.0)
    (number,) = draw_uniforms(jax.random.fold_in(key, 1), 1)
    sharpen = functools.partial(ops.adjust_sharpness, factor=to_range(number, limits))
    return image.change(with_probability(name, jax.random.fold_in(key, 0), p, sharpen), separate=True)


@augmentation(geometric=False)
def random_gaussian_blur(
    key: PRNGKey,
    image: Chain,
    *,
    sigma: RangeOption = (0.1, 2.0),
    kernel_size: int | None = None,
    p: NumberOption = 1.0,
) -> Chain:
    """Blurs an image by a Gaussian of random width with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        sigma: Range of the standard deviation in pixels, above 0, or one number.
        kernel_size: Pixels of the kernel along each axis, odd; None: 3 times the largest deviation to either side,
            but at most the size of the image.
        p: Probability.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_gaussian_blur(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        ``ops.gaussian_blur``, drawn as by torchvision's ``GaussianBlur``.
    """
    name = "random_gaussian_blur"
    limits = check_range(name, "sigma", sigma, positive=True)
    if kernel_size is None:
        known = isinstance(limits[1], float)
        check(known, name, "kernel_size", "an integer where sigma is traced", repr(kernel_size))
        reach = min(math.ceil(3 * float(limits[1])), *(n - 1 for n in image.shape))
        kernel_size = 2 * reach + 1
    (number,) = draw_uniforms(jax.random.fold_in(key, 1), 1)
    blur = functools.partial(ops.gaussian_blur, sigma=to_range(number, limits), kernel_size=kernel_size)
    return image.change(with_probability(name, jax.random.fold_in(key, 0), p, blur), separate=True)
