"""Random changes of the levels of an example, and of its sharpness."""

import functools

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Example, augmentation, chain_of
from jaxcnn.augment._draws import between, ends, perhaps, span, uniforms

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
def random_invert(key: PRNGKey, image: Example, *, p: float = 0.5) -> Example:
    """Makes the negative of an image with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        p: Probability.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or ``p`` outside of [0, 1].

    Example:
        >>> augment.random_invert(jax.random.key(0), jnp.ones((2, 2, 3)), p=1.0).max().item()
        0.0

    Parity:
        ``ops.invert``, drawn as by torchvision's ``RandomInvert``.
    """
    return chain_of(image).change(perhaps("random_invert", key, p, ops.invert))  # type: ignore[return-value]


@augmentation(geometric=False)
def random_posterize(key: PRNGKey, image: Example, *, bits: int | tuple[int, int] = (4, 8), p: float = 0.5) -> Example:
    """Keeps only the highest bits of every level with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        bits: Bits to keep, 1 to 8, or (fewest, most), each as likely.
        p: Probability.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_posterize(jax.random.key(0), jnp.full((1, 1, 1), 200, jnp.uint8), bits=2, p=1.0).item()
        192

    Parity:
        ``ops.posterize``, drawn as by torchvision's ``RandomPosterize``, which has one number of bits.
    """
    name, limits = "random_posterize", tuple(bits) if isinstance(bits, tuple | list) else (bits, bits)
    good = len(limits) == 2 and all(is_integer_at_least(b, 1) and b <= 8 for b in limits) and limits[0] <= limits[1]
    check(good, name, "bits", "an integer of 1 to 8, or (fewest, most)", repr(bits))
    (number,) = uniforms(jax.random.fold_in(key, 1), 1)
    kept = limits[0] + jnp.floor(number * (limits[1] - limits[0] + 1)).astype(jnp.int32)
    posterize = functools.partial(ops.posterize, bits=kept)
    return chain_of(image).change(perhaps(name, jax.random.fold_in(key, 0), p, posterize))  # type: ignore


@augmentation(geometric=False)
def random_solarize(
    key: PRNGKey, image: Example, *, threshold: float | tuple[float, float] = 0.5, p: float = 0.5
) -> Example:
    """Inverts all levels from a threshold on with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        threshold: In [0, 1] also for uint8, or (low, high).
        p: Probability.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_solarize(jax.random.key(0), jnp.array([[[0.25, 0.75]]]), p=1.0).tolist()
        [[[0.25, 0.25]]]

    Parity:
        ``ops.solarize``, drawn as by torchvision's ``RandomSolarize``.
    """
    name = "random_solarize"
    limits = ends(name, "threshold", threshold)
    (number,) = uniforms(jax.random.fold_in(key, 1), 1)
    solarize = functools.partial(ops.solarize, threshold=between(number, limits))
    return chain_of(image).change(perhaps(name, jax.random.fold_in(key, 0), p, solarize))  # type: ignore


@augmentation(geometric=False)
def random_equalize(key: PRNGKey, image: Example, *, p: float = 0.5) -> Example:
    """Makes all levels of every channel about as frequent with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        p: Probability.

    Returns:
        The example, of the same shape and dtype. It has no gradient where it is equalized.

    Raises:
        ValueError: If ``image`` is no example, or ``p`` outside of [0, 1].

    Example:
        >>> augment.random_equalize(jax.random.key(0), jnp.ones((2, 2, 3)), p=1.0).max().item()
        1.0

    Parity:
        ``ops.equalize``, drawn as by torchvision's ``RandomEqualize``.
    """
    return chain_of(image).change(perhaps("random_equalize", key, p, ops.equalize), apart=True)  # type: ignore[return-value]


@augmentation(geometric=False)
def random_autocontrast(key: PRNGKey, image: Example, *, p: float = 0.5) -> Example:
    """Stretches every channel over the whole range with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        p: Probability.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or ``p`` outside of [0, 1].

    Example:
        >>> augment.random_autocontrast(jax.random.key(0), jnp.array([[[0.25]], [[0.5]]]), p=1.0)[:, 0, 0].tolist()
        [0.0, 1.0]

    Parity:
        ``ops.autocontrast``, drawn as by torchvision's ``RandomAutocontrast``.
    """
    return chain_of(image).change(perhaps("random_autocontrast", key, p, ops.autocontrast))  # type: ignore


@augmentation(geometric=False)
def random_sharpness(
    key: PRNGKey, image: Example, *, sharpness: tuple[float, float] = (0.0, 2.0), p: float = 0.5
) -> Example:
    """Blurs or sharpens an image a little with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        sharpness: Range of the factor: 0 is smooth, 1 as it is, 2 sharper.
        p: Probability.

    Returns:
        The example, of the same shape and dtype, clipped to its range.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_sharpness(jax.random.key(0), jnp.ones((4, 4, 3)), p=1.0).shape
        (4, 4, 3)

    Parity:
        ``ops.adjust_sharpness``; torchvision's ``RandomAdjustSharpness`` has one factor.
    """
    name = "random_sharpness"
    limits = span(name, "sharpness", sharpness, about=1.0, least=0.0)
    (number,) = uniforms(jax.random.fold_in(key, 1), 1)
    sharpen = functools.partial(ops.adjust_sharpness, factor=between(number, limits))
    return chain_of(image).change(perhaps(name, jax.random.fold_in(key, 0), p, sharpen), apart=True)  # type: ignore[return-value]


@augmentation(geometric=False)
def random_gaussian_blur(
    key: PRNGKey,
    image: Example,
    *,
    sigma: tuple[float, float] = (0.1, 2.0),
    kernel_size: int | None = None,
    p: float = 1.0,
) -> Example:
    """Smooths an image by a Gaussian of random width with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        sigma: Range of the standard deviation in pixels, above 0, or one number.
        kernel_size: Pixels of the kernel along each axis, odd; None: 3 of the largest deviations to either side, but
            not more than the image has.
        p: Probability.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_gaussian_blur(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        ``ops.gaussian_blur``, drawn as by torchvision's ``GaussianBlur``.
    """
    name, chain = "random_gaussian_blur", chain_of(image)
    limits = ends(name, "sigma", sigma, positive=True)
    if kernel_size is None:
        reach = min(int(-(-3 * limits[1] // 1)), *(n - 1 for n in chain.shape))
        kernel_size = 2 * reach + 1
    (number,) = uniforms(jax.random.fold_in(key, 1), 1)
    blur = functools.partial(ops.gaussian_blur, sigma=between(number, limits), kernel_size=kernel_size)
    return chain.change(perhaps(name, jax.random.fold_in(key, 0), p, blur), apart=True)  # type: ignore[return-value]
