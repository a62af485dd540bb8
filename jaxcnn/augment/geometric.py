"""Random affine and projective transforms of an example."""

import jax

from jaxcnn._check import check
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._argument_checks import (
    Limits,
    NumberOption,
    PairOption,
    RangeOption,
    Scalar,
    check_limits,
    check_number,
    check_pair,
    check_probability,
    is_pair,
    list_items,
    range_about,
)
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import augmentation
from jaxcnn.augment._draws import draw_uniforms, to_range
from jaxcnn.augment._pixel_maps import FillValue, PixelMap, SamplingRequest
from jaxcnn.ops._sampling import pixel_matrices as matrices
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = [
    "random_affine",
    "random_perspective",
    "random_rotation",
    "random_scale",
    "random_shear",
    "random_translation",
]


@augmentation(geometric=True)
def random_rotation(
    key: PRNGKey,
    image: Chain,
    *,
    degrees: RangeOption = 15.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
    antialias: bool = False,
) -> Chain:
    """Rotates an example about its center.

    Convention:
        Positive angles rotate clockwise, as in ``random_affine``.

    Args:
        key: Key of the draw.
        image: The example.
        degrees: Range of the angle, or d for (-d, d).
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What is outside of the image: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside, in [0, 1].
        mask_fill_value: The value of a mask there, and where the image is 0 (``"zeros"``); 255 is usual.
        antialias: Whether pixels that cover several pixels are averages of them, as in ``ops.grid_sample``.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> image = jnp.ones((8, 8, 3))
        >>> augment.random_rotation(jax.random.key(0), image, degrees=30.0).shape
        (8, 8, 3)

    Parity:
        ``ops.affine``, drawn as by torchvision's ``RandomRotation`` (whose positive angles rotate the other way).
    """
    sampling = SamplingRequest(mode, padding_mode, fill_value, mask_fill_value, antialias=antialias)
    (angle,) = draw_uniforms(key, 1)
    return _affine(image, sampling, degrees=to_range(angle, range_about("random_rotation", "degrees", degrees)))


@augmentation(geometric=True)
def random_translation(
    key: PRNGKey,
    image: Chain,
    *,
    translate: RangeOption = 0.1,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> Chain:
    """Translates an example, also by fractions of a pixel.

    Args:
        key: Key of the draw.
        image: The example.
        translate: Largest shift in either direction as a fraction of width and height, one number or (x, y).
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
        >>> augment.random_translation(jax.random.key(0), jnp.ones((8, 8, 3)), translate=0.0).min().item()
        1.0

    Parity:
        ``ops.affine``; torchvision's ``RandomAffine`` draws whole pixels.
    """
    sampling = SamplingRequest(mode, padding_mode, fill_value, mask_fill_value)
    shares = check_pair("random_translation", "translate", translate)
    return _affine(image, sampling, translate=_shift(image, shares, draw_uniforms(key, 2)))


@augmentation(geometric=True)
def random_scale(
    key: PRNGKey,
    image: Chain,
    *,
    scale: PairOption = (0.8, 1.2),
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
    antialias: bool = False,
) -> Chain:
    """Scales the content of an example about its center; the frame keeps its size.

    Args:
        key: Key of the draw.
        image: The example.
        scale: Range of the scale factor.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What is outside of the image: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside, in [0, 1].
        mask_fill_value: The value of a mask there, and where the image is 0 (``"zeros"``); 255 is usual.
        antialias: Whether pixels that cover several pixels are averages of them, as in ``ops.grid_sample``.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_scale(jax.random.key(0), jnp.ones((8, 8, 3)), scale=(1.0, 1.0)).min().item()
        1.0

    Parity:
        ``ops.affine``, drawn as by torchvision's ``RandomAffine(scale=...)``.
    """
    sampling = SamplingRequest(mode, padding_mode, fill_value, mask_fill_value, antialias=antialias)
    (number,) = draw_uniforms(key, 1)
    return _affine(image, sampling, scale=to_range(number, _factors("random_scale", scale)))


@augmentation(geometric=True)
def random_shear(
    key: PRNGKey,
    image: Chain,
    *,
    degrees: RangeOption = 10.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> Chain:
    """Shears an example about its center along both axes.

    Args:
        key: Key of the draw.
        image: The example.
        degrees: Largest shear in either direction, one number or (along x, along y), below 90.
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
        >>> augment.random_shear(jax.random.key(0), jnp.ones((8, 8, 3)), degrees=0.0).min().item()
        1.0

    Parity:
        ``ops.affine``, drawn as by torchvision's ``RandomAffine(shear=(-x, x, -y, y))``.
    """
    sampling = SamplingRequest(mode, padding_mode, fill_value, mask_fill_value)
    limits = check_pair("random_shear", "degrees", degrees)
    check_limits("random_shear", "degrees", limits, "below 90", lambda v: v < 90, degrees)
    x, y = (to_range(u, (-d, d)) for u, d in zip(draw_uniforms(key, 2), limits, strict=True))
    return _affine(image, sampling, shear=(x, y))


@augmentation(geometric=True)
def random_affine(
    key: PRNGKey,
    image: Chain,
    *,
    degrees: RangeOption = 0.0,
    translate: RangeOption = 0.0,
    scale: PairOption = (1.0, 1.0),
    shear: RangeOption = 0.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
    antialias: bool = False,
) -> Chain:
    """Rotates, translates, scales and shears an example about its center, sampling it once.

    Args:
        key: Key of the draw.
        image: The example.
        degrees: Range of the rotation, clockwise, or d for (-d, d).
        translate: Largest shift in either direction as a fraction of width and height, one number or (x, y).
        scale: Range of the scale factor.
        shear: Range of the shear along x in degrees, or s for (-s, s); four numbers are both ranges, along x and y.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What is outside of the image: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside, in [0, 1].
        mask_fill_value: The value of a mask there, and where the image is 0 (``"zeros"``); 255 is usual.
        antialias: Whether pixels that cover several pixels are averages of them, as in ``ops.grid_sample``.

    Returns:
        The example, with the same shape and dtype. With the defaults it is exactly the input.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> image = jnp.ones((8, 8, 3))
        >>> augment.random_affine(jax.random.key(0), image, degrees=15.0, translate=0.1, scale=(0.9, 1.1)).shape
        (8, 8, 3)

    Parity:
        ``ops.affine``, with the options of torchvision's ``RandomAffine``, which draws translations in whole pixels.
    """
    name = "random_affine"
    sampling = SamplingRequest(mode, padding_mode, fill_value, mask_fill_value, antialias=antialias)
    ends = list_items(shear) or ()
    shears = (ends[:2], ends[2:]) if len(ends) == 4 else (shear, 0.0)
    limits = [
        range_about(name, "degrees", degrees),
        _factors(name, scale),
        *(range_about(name, "shear", s) for s in shears),
    ]
    for pair in limits[2:]:
        check_limits(name, "shear", pair, "between -90 and 90 degrees", lambda v: -90 < v < 90, shear)
    angle, factor, shear_x, shear_y = (
        to_range(u, v) for u, v in zip(draw_uniforms(jax.random.fold_in(key, 0), 4), limits, strict=True)
    )
    shift = _shift(image, check_pair(name, "translate", translate), draw_uniforms(jax.random.fold_in(key, 1), 2))
    return _affine(image, sampling, degrees=angle, translate=shift, scale=factor, shear=(shear_x, shear_y))


@augmentation(geometric=True)
def random_perspective(
    key: PRNGKey,
    image: Chain,
    *,
    distortion: NumberOption = 0.5,
    p: NumberOption = 0.5,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> Chain:
    """Moves every corner of an example inward, as if it were viewed at an angle, with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        distortion: Largest displacement of a corner as a fraction of half the width and half the height, in [0, 1).
        p: Probability.
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
        >>> augment.random_perspective(jax.random.key(0), jnp.ones((8, 8, 3)), distortion=0.0).min().item()
        1.0

    Parity:
        ``ops.perspective``, drawn as by torchvision's ``RandomPerspective``, which draws whole pixels.
    """
    distortion = check_number("random_perspective", "distortion", distortion, "in [0, 1)", lambda v: 0 <= v < 1)
    h, w = image.shape
    number, *distances = draw_uniforms(key, 9)
    reach = distortion * (w - 1) / 2, distortion * (h - 1) / 2
    corners = []
    for i, (x, y) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
        dx, dy = distances[2 * i] * reach[0], distances[2 * i + 1] * reach[1]
        corners.append((dx if x == 0 else w - 1 - dx, dy if y == 0 else h - 1 - dy))
    matrix = (
        matrices.IDENTITY
        if h == 1 or w == 1
        else matrices.invert_entries(matrices.matrix_from_corners((h, w), corners))
    )
    check_probability("random_perspective", "p", p)
    matrix = matrices.select_entries(number < p, matrix, matrices.IDENTITY)
    return image.sample(
        PixelMap(image.shape, image.shape, (matrix,), SamplingRequest(mode, padding_mode, fill_value, mask_fill_value))
    )


def _affine(
    image: Chain,
    sampling: SamplingRequest,
    *,
    degrees: Scalar = 0.0,
    translate: Limits = (0.0, 0.0),
    scale: Scalar = 1.0,
    shear: Limits = (0.0, 0.0),
) -> Chain:
    matrix = matrices.matrix_from_affine(degrees, translate, scale, shear, image.shape)
    return image.sample(PixelMap(image.shape, image.shape, (matrix,), sampling))


def _shift(image: Chain, fractions: Limits, numbers: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    h, w = image.shape
    x, y = (to_range(u, (-share * n, share * n)) for u, share, n in zip(numbers, fractions, (w, h), strict=True))
    return x, y


def _factors(name: str, scale: object) -> Limits:
    expected = "(low, high) above 0"
    check(is_pair(scale), name, "scale", expected, repr(scale))
    limits = range_about(name, "scale", scale, least=0.0)
    check_limits(name, "scale", limits, expected, lambda v: v > 0, scale)
    return limits
