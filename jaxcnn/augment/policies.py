"""Published policies: random choices among many augmentations."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._argument_checks import NumberOption, Scalar, check_number
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import augmentation
from jaxcnn.augment._draws import draw_uniforms, lookup, to_integer, to_sign
from jaxcnn.augment._pixel_maps import FillValue, SamplingRequest
from jaxcnn.augment._policy_operations import AUGMIX, AUTO, FACTORS, RANDOM, Magnitudes, apply_op, make_magnitudes
from jaxcnn.augment._policy_tables import TABLES
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["aug_mix", "auto_augment", "rand_augment", "trivial_augment"]

_TRANSLATION = 150 / 331  # of the size: the paper's 150 pixels of ImageNet's 331


@augmentation(geometric=False, branches=True)
def rand_augment(
    key: PRNGKey,
    image: Chain,
    *,
    num_ops: int = 2,
    magnitude: NumberOption = 9,
    num_bins: int = 31,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> Chain:
    """Applies a few operations of the same strength, each drawn from 14.

    Convention:
        Identity, shear (to 0.3) and translation (to 150/331 of the size) along x and y, rotation (to 30 degrees),
        brightness, saturation, contrast and sharpness (factors 1 -+ 0.9), posterize (8 to 4 bits), solarize (threshold
        1 to 0), autocontrast, equalize. Operations with two directions go in either.

    Args:
        key: Key of the draw.
        image: The example.
        num_ops: Number of operations, one after another, N in the paper.
        magnitude: Their strength, M: from 0 to ``num_bins - 1``, the full strength given above; may be traced.
        num_bins: Number of steps of the strength.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What is outside of the image: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside, in [0, 1].
        mask_fill_value: The value of a mask there, and where the image is 0 (``"zeros"``); 255 is usual.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.rand_augment(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        torchvision's ``RandAugment``, whose default is ``mode="nearest"``; strengths are the same, translations not
        rounded to whole pixels, images of uint8 rounded once, at the end.

    References:
        Cubuk et al. 2019, "RandAugment: practical automated data augmentation", arXiv:1909.13719.
    """
    name = "rand_augment"
    check(is_integer_at_least(num_ops, 1), name, "num_ops", "an integer of at least 1", repr(num_ops))
    check(is_integer_at_least(num_bins, 2), name, "num_bins", "an integer of at least 2", repr(num_bins))
    most = num_bins - 1
    magnitude = check_number(name, "magnitude", magnitude, f"in [0, {most}]", lambda v: 0 <= v <= most)
    sampling = SamplingRequest(mode, padding_mode, fill_value, mask_fill_value)
    fraction = jnp.asarray(magnitude, jnp.float32) / (num_bins - 1)
    for i in range(num_ops):
        index, sign = _draw_operation(jax.random.fold_in(key, i), len(RANDOM))
        image = apply_op(image, index, RANDOM, _standard_magnitudes(image.shape, fraction, sign), sampling)
    return image


@augmentation(geometric=False, branches=True)
def trivial_augment(
    key: PRNGKey,
    image: Chain,
    *,
    num_bins: int = 31,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> Chain:
    """Applies one operation, drawn from 14, with a strength that is drawn from a wide range.

    Convention:
        The operations of ``rand_augment``, with shear to 0.99, translation to 32 pixels, rotation to 135 degrees,
        factors 1 -+ 0.99, posterize 8 to 2 bits ("wide").

    Args:
        key: Key of the draw.
        image: The example.
        num_bins: Number of strengths, from 0 to the full one.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What is outside of the image: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside, in [0, 1].
        mask_fill_value: The value of a mask there, and where the image is 0 (``"zeros"``); 255 is usual.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.trivial_augment(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        torchvision's ``TrivialAugmentWide``, whose default is ``mode="nearest"``; otherwise as ``rand_augment``.

    References:
        Mueller and Hutter 2021, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", arXiv:2103.10158.
    """
    check(is_integer_at_least(num_bins, 2), "trivial_augment", "num_bins", "an integer of at least 2", repr(num_bins))
    index, sign = _draw_operation(jax.random.fold_in(key, 0), len(RANDOM))
    (number,) = draw_uniforms(jax.random.fold_in(key, 1), 1)
    fraction = jnp.floor(number * num_bins) / (num_bins - 1)
    bits = 8 - jnp.round(fraction * 6)
    magnitudes = make_magnitudes(
        fraction, sign, shear=0.99, translate=(32.0, 32.0), degrees=135.0, factor=0.99, bits=bits
    )
    return apply_op(image, index, RANDOM, magnitudes, SamplingRequest(mode, padding_mode, fill_value, mask_fill_value))


@augmentation(geometric=False, branches=True)
def auto_augment(
    key: PRNGKey,
    image: Chain,
    *,
    policy: str = "imagenet",
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> Chain:
    """Applies one of 25 pairs of operations that were found by search, each of the two with its own probability.

    Args:
        key: Key of the draw.
        image: The example.
        policy: ``"imagenet"`` or ``"cifar10"``, the data set that it was found for.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What is outside of the image: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside, in [0, 1].
        mask_fill_value: The value of a mask there, and where the image is 0 (``"zeros"``); 255 is usual.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.auto_augment(jax.random.key(0), jnp.ones((8, 8, 3)), policy="cifar10").shape
        (8, 8, 3)

    Parity:
        The tables and strengths of torchvision's ``AutoAugment``; otherwise as ``rand_augment``.

    References:
        Cubuk et al. 2019, "AutoAugment: learning augmentation policies from data", arXiv:1805.09501.
    """
    check_choice("auto_augment", "policy", policy, tuple(TABLES))
    sampling, table = SamplingRequest(mode, padding_mode, fill_value, mask_fill_value), TABLES[policy]
    used = tuple(name for name in AUTO if name == "identity" or any(name == step[0] for pair in table for step in pair))
    indices = np.array([[used.index(step[0]) for step in pair] for pair in table], np.int32)
    chances = np.array([[step[1] for step in pair] for pair in table], np.float32)
    fractions = np.array([[step[2] / 9 for step in pair] for pair in table], np.float32)
    number, *rest = draw_uniforms(key, 5)
    pair = to_integer(number, len(table))
    for i in range(2):
        drawn = rest[i] < lookup(chances[:, i], pair)
        index = jnp.where(drawn, lookup(indices[:, i], pair), used.index("identity"))
        magnitudes = _standard_magnitudes(image.shape, lookup(fractions[:, i], pair), to_sign(rest[2 + i]))
        image = apply_op(image, index, used, magnitudes, sampling)
    return image


@augmentation(geometric=False, branches=True)
def aug_mix(
    key: PRNGKey,
    image: Chain,
    *,
    severity: NumberOption = 3.0,
    width: int = 3,
    depth: int | None = None,
    alpha: NumberOption = 1.0,
    all_ops: bool = False,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
) -> Chain:
    """Mixes an image with a mixture of the results of several chains of operations.

    Convention:
        Operations: autocontrast, equalize, posterize, rotation, solarize, shear and translation along x and y. Each
        has its own level, drawn uniformly from (0.1, severity): a tenth of shear 0.3, 30 degrees, a third of the
        size, the whole range of the threshold. Chains are weighted by a draw from Dirichlet(alpha), and mixed with the
        image by one from Beta(alpha, alpha). ``losses.jensen_shannon`` is the loss that goes with it.

    Args:
        key: Key of the draw.
        image: The example, without ``"mask"``, ``"keypoints"`` or ``"boxes"``, which cannot be mixed.
        severity: Highest level, above 0.1 and at most 10.
        width: Number of chains.
        depth: Operations per chain; None: 1 to 3, drawn for each.
        alpha: Above 0; 1 draws uniformly.
        all_ops: Whether brightness, saturation, contrast and sharpness are also among the operations.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What is outside of the image: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside, in [0, 1].

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.aug_mix(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        The ranges of the authors' code (google-research/augmix).

    References:
        Hendrycks et al. 2020, "AugMix: a simple data processing method to improve robustness and uncertainty",
        arXiv:1912.02781.
    """
    name = "aug_mix"
    severity = check_number(name, "severity", severity, "above 0.1 and at most 10", lambda v: 0.1 < v <= 10)
    check(is_integer_at_least(width, 1), name, "width", "an integer of at least 1", repr(width))
    check(
        depth is None or is_integer_at_least(depth, 1), name, "depth", "an integer of at least 1, or None", repr(depth)
    )
    alpha = check_number(name, "alpha", alpha, "above 0", lambda v: v > 0)
    tied = [v for v in ("mask", "keypoints", "boxes") if isinstance(image.source, Mapping) and v in image.source]
    check(not tied, name, "image", 'an example without "mask", "keypoints" and "boxes"', f"one with {tied}")
    check(image.source is not None, "inverse", "every function", "one that has an inverse", name)
    names = (*AUGMIX[:-1], *FACTORS, "identity") if all_ops else AUGMIX
    sampling, start = SamplingRequest(mode, padding_mode, fill_value), image.to_float()
    shares = jax.random.dirichlet(jax.random.fold_in(key, 0), jnp.full(width, alpha, jnp.float32))
    if isinstance(alpha, float) and alpha == 1:
        (share,) = draw_uniforms(jax.random.fold_in(key, 1), 1)
    else:
        share = jax.random.beta(jax.random.fold_in(key, 1), alpha, alpha, (), jnp.float32)
    branches = [
        _augmix_chain(jax.random.fold_in(key, 2 + i), start, names, severity, depth, sampling).pixels
        for i in range(width)
    ]

    def mix(pixels: jax.Array) -> jax.Array:
        mixture = sum(shares[i].astype(pixels.dtype) * branch for i, branch in enumerate(branches))
        part = share.astype(pixels.dtype)
        return (1 - part) * pixels + part * mixture

    return start.change(mix)


def _augmix_chain(
    key: PRNGKey,
    chain: Chain,
    names: Sequence[str],
    severity: Scalar,
    depth: int | None,
    sampling: SamplingRequest,
) -> Chain:
    steps = 3 if depth is None else depth
    length, *numbers = draw_uniforms(key, 1 + 3 * steps)
    count = jnp.floor(length * 3) + 1 if depth is None else depth
    h, w = chain.shape
    for i in range(steps):
        number, level, side = numbers[3 * i : 3 * i + 3]
        index = jnp.where(i < count, to_integer(number, len(names) - 1), len(names) - 1)
        fraction = (0.1 + level * (severity - 0.1)) / 10
        sign, bits = to_sign(side), 4 - jnp.floor(4 * fraction)
        magnitudes = make_magnitudes(fraction, sign, shear=0.3, translate=(w / 3, h / 3), degrees=30.0, bits=bits)
        magnitudes |= dict.fromkeys(FACTORS, 0.1 + 1.8 * fraction)
        chain = apply_op(chain, index, names, magnitudes, sampling)
    return chain


def _standard_magnitudes(shape: tuple[int, int], fraction: jax.Array, sign: jax.Array) -> Magnitudes:
    """Returns the magnitudes of RandAugment and AutoAugment."""
    h, w = shape
    translate = _TRANSLATION * w, _TRANSLATION * h
    bits = 8 - jnp.round(fraction * 4)
    return make_magnitudes(fraction, sign, shear=0.3, translate=translate, degrees=30.0, factor=0.9, bits=bits)


def _draw_operation(key: PRNGKey, count: int) -> tuple[jax.Array, jax.Array]:
    """Draws the number of an operation, and a sign."""
    number, sign = draw_uniforms(key, 2)
    return to_integer(number, count), to_sign(sign)
