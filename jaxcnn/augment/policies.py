"""Policies: random choices among many augmentations, as published."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Example, augmentation, chain_of
from jaxcnn.augment._draws import entry, integer, sign, uniforms
from jaxcnn.augment._geometry import Reading
from jaxcnn.augment._operations import AUGMIX, AUTO, FACTORS, RANDOM, amounts, operate
from jaxcnn.augment._policy_tables import TABLES
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["aug_mix", "auto_augment", "rand_augment", "trivial_augment"]

_SHARE = 150 / 331  # of the size: the paper's 150 pixels of ImageNet's 331


@augmentation(geometric=False, branches=True)
def rand_augment(
    key: PRNGKey,
    image: Example,
    *,
    num_ops: int = 2,
    magnitude: Any = 9,
    num_bins: int = 31,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
) -> Example:
    """Does a few operations of one strength, each drawn from 14.

    Convention:
        Identity, shear (to 0.3) and translation (to 150/331 of the size) along x and y, rotation (to 30 degrees),
        brightness, saturation, contrast and sharpness (factors 1 -+ 0.9), posterize (8 to 4 bits), solarize (threshold
        1 to 0), autocontrast, equalize. What can go two ways goes either.

    Args:
        key: The draw.
        image: The example.
        num_ops: Operations in turn, N in the paper.
        magnitude: Their strength, M: 0 to ``num_bins - 1``, the strength given above; may be traced.
        num_bins: Into how many steps strengths are divided.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.rand_augment(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        torchvision's ``RandAugment``, whose default is ``mode="nearest"``; strengths are the same, translations not
        rounded to whole pixels, images of uint8 rounded once, at the end.

    References:
        Cubuk et al. 2019, "RandAugment: practical automated data augmentation", arXiv:1909.13719.
    """
    chain, name = chain_of(image), "rand_augment"
    check(is_integer_at_least(num_ops, 1), name, "num_ops", "an integer of at least 1", repr(num_ops))
    check(is_integer_at_least(num_bins, 2), name, "num_bins", "an integer of at least 2", repr(num_bins))
    known = not isinstance(magnitude, Tracer)
    check(
        not known or bool(0 <= magnitude <= num_bins - 1), name, "magnitude", f"in [0, {num_bins - 1}]", repr(magnitude)
    )
    reading = Reading(mode, padding_mode, fill_value)
    fraction = jnp.asarray(magnitude, jnp.float32) / (num_bins - 1)
    for i in range(num_ops):
        index, side = _drawn(jax.random.fold_in(key, i), len(RANDOM))
        chain = operate(chain, index, RANDOM, _usual(chain.shape, fraction, side), reading)
    return chain  # type: ignore[return-value]


@augmentation(geometric=False, branches=True)
def trivial_augment(
    key: PRNGKey,
    image: Example,
    *,
    num_bins: int = 31,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
) -> Example:
    """Does one operation, drawn from 14, of a strength that is drawn as well, over a wide range.

    Convention:
        The operations of ``rand_augment``, with shear to 0.99, translation to 32 pixels, rotation to 135 degrees,
        factors 1 -+ 0.99, posterize 8 to 2 bits ("wide").

    Args:
        key: The draw.
        image: The example.
        num_bins: How many strengths there are, from 0 to the full one.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.trivial_augment(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        torchvision's ``TrivialAugmentWide``, whose default is ``mode="nearest"``; else as ``rand_augment``.

    References:
        Mueller and Hutter 2021, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", arXiv:2103.10158.
    """
    chain = chain_of(image)
    check(is_integer_at_least(num_bins, 2), "trivial_augment", "num_bins", "an integer of at least 2", repr(num_bins))
    index, side = _drawn(jax.random.fold_in(key, 0), len(RANDOM))
    (number,) = uniforms(jax.random.fold_in(key, 1), 1)
    fraction = jnp.floor(number * num_bins) / (num_bins - 1)
    told = amounts(
        fraction, side, shear=0.99, translate=(32.0, 32.0), degrees=135.0, colour=0.99, bits=8 - jnp.round(fraction * 6)
    )
    return operate(chain, index, RANDOM, told, Reading(mode, padding_mode, fill_value))  # type: ignore[return-value]


@augmentation(geometric=False, branches=True)
def auto_augment(
    key: PRNGKey,
    image: Example,
    *,
    policy: str = "imagenet",
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
) -> Example:
    """Does one of 25 pairs of operations that were found by search, each of the two with its own probability.

    Args:
        key: The draw.
        image: The example.
        policy: ``"imagenet"`` or ``"cifar10"``, the data set that it was found for.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.auto_augment(jax.random.key(0), jnp.ones((8, 8, 3)), policy="cifar10").shape
        (8, 8, 3)

    Parity:
        The tables and strengths of torchvision's ``AutoAugment``; else as ``rand_augment``.

    References:
        Cubuk et al. 2019, "AutoAugment: learning augmentation policies from data", arXiv:1805.09501.
    """
    check_choice("auto_augment", "policy", policy, tuple(TABLES))
    chain, reading, table = chain_of(image), Reading(mode, padding_mode, fill_value), TABLES[policy]
    used = tuple(name for name in AUTO if name == "identity" or any(name == step[0] for pair in table for step in pair))
    indices = np.array([[used.index(step[0]) for step in pair] for pair in table], np.int32)
    chances = np.array([[step[1] for step in pair] for pair in table], np.float32)
    fractions = np.array([[step[2] / 9 for step in pair] for pair in table], np.float32)
    number, *rest = uniforms(key, 5)
    pair = integer(number, len(table))
    for i in range(2):
        applied = rest[i] < entry(chances[:, i], pair)
        index = jnp.where(applied, entry(indices[:, i], pair), used.index("identity"))
        told = _usual(chain.shape, entry(fractions[:, i], pair), sign(rest[2 + i]))
        chain = operate(chain, index, used, told, reading)
    return chain  # type: ignore[return-value]


@augmentation(geometric=False, branches=True)
def aug_mix(
    key: PRNGKey,
    image: Example,
    *,
    severity: float = 3.0,
    width: int = 3,
    depth: int | None = None,
    alpha: float = 1.0,
    all_ops: bool = False,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
) -> Example:
    """Mixes an image with a mixture of what several chains of operations make of it.

    Convention:
        Operations: autocontrast, equalize, posterize, rotation, solarize, shear and translation along x and y. Each
        has a level of its own, drawn evenly from (0.1, severity): a tenth of shear 0.3, 30 degrees, a third of the
        size, the whole range of the threshold. Chains are weighed by a draw from Dirichlet(alpha), and mixed with the
        image by one from Beta(alpha, alpha). ``losses.jensen_shannon`` is the loss that goes with it.

    Args:
        key: The draw.
        image: The example, without ``"mask"``, ``"keypoints"`` or ``"boxes"``, of which there is no mixture.
        severity: Highest level, above 0.1 and at most 10.
        width: Chains.
        depth: Operations of a chain; None: 1 to 3, drawn for each.
        alpha: Above 0; 1 draws evenly.
        all_ops: Whether brightness, saturation, contrast and sharpness are among the operations, too.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.aug_mix(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        The ranges of the authors' code (google-research/augmix).

    References:
        Hendrycks et al. 2020, "AugMix: a simple data processing method to improve robustness and uncertainty",
        arXiv:1912.02781.
    """
    chain, name = chain_of(image), "aug_mix"
    check(0.1 < severity <= 10, name, "severity", "above 0.1 and at most 10", repr(severity))
    check(is_integer_at_least(width, 1), name, "width", "an integer of at least 1", repr(width))
    check(
        depth is None or is_integer_at_least(depth, 1), name, "depth", "an integer of at least 1, or None", repr(depth)
    )
    check(alpha > 0, name, "alpha", "above 0", repr(alpha))
    tied = [v for v in ("mask", "keypoints", "boxes") if isinstance(chain.example, Mapping) and v in chain.example]
    check(not tied, name, "image", 'an example without "mask", "keypoints" and "boxes"', f"one with {tied}")
    check(chain.example is not None, "inverse", "every function", "one that has an inverse", name)
    names = (*AUGMIX[:-1], *FACTORS, "identity") if all_ops else AUGMIX
    reading, start = Reading(mode, padding_mode, fill_value), chain.floating()
    shares = jax.random.dirichlet(jax.random.fold_in(key, 0), jnp.full(width, alpha, jnp.float32))
    (share,) = (
        uniforms(jax.random.fold_in(key, 1), 1)
        if alpha == 1
        else (jax.random.beta(jax.random.fold_in(key, 1), alpha, alpha, (), jnp.float32),)
    )
    branches = [
        _augmix_chain(jax.random.fold_in(key, 2 + i), start, names, severity, depth, reading).pixels
        for i in range(width)
    ]

    def mix(image: Any) -> Any:
        mixed = sum(shares[i].astype(image.dtype) * branch for i, branch in enumerate(branches))
        part = share.astype(image.dtype)
        return (1 - part) * image + part * mixed

    return start.change(mix)  # type: ignore[return-value]


def _augmix_chain(key: PRNGKey, chain: Any, names: Any, severity: float, depth: int | None, reading: Reading) -> Any:
    steps = 3 if depth is None else depth
    length, *numbers = uniforms(key, 1 + 3 * steps)
    count = jnp.floor(length * 3) + 1 if depth is None else depth
    h, w = chain.shape
    for i in range(steps):
        number, level, side = numbers[3 * i : 3 * i + 3]
        index = jnp.where(i < count, integer(number, len(names) - 1), len(names) - 1)
        fraction = (0.1 + level * (severity - 0.1)) / 10
        told = amounts(
            fraction,
            sign(side),
            shear=0.3,
            translate=(w / 3, h / 3),
            degrees=30.0,
            bits=4 - jnp.floor(4 * fraction),
        )
        told |= dict.fromkeys(FACTORS, 0.1 + 1.8 * fraction)
        chain = operate(chain, index, names, told, reading)
    return chain


def _usual(shape: tuple[int, int], fraction: Any, side: Any) -> dict[str, Any]:
    """Tells the operations of RandAugment and AutoAugment."""
    h, w = shape
    bits = 8 - jnp.round(fraction * 4)
    return amounts(fraction, side, shear=0.3, translate=(_SHARE * w, _SHARE * h), degrees=30.0, colour=0.9, bits=bits)


def _drawn(key: PRNGKey, count: int) -> tuple[jax.Array, jax.Array]:
    """Draws the number of an operation, and a sign."""
    number, side = uniforms(key, 2)
    return integer(number, count), sign(side)
