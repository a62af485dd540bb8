"""Random affine and projective transforms of an example."""

from typing import Any

import jax

from jaxcnn._check import check
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Chain, Example, augmentation, chain_of
from jaxcnn.augment._draws import between, pair, probability, span, uniforms
from jaxcnn.augment._geometry import Geometry, Reading
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
    image: Example,
    *,
    degrees: float | tuple[float, float] = 15.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
    antialias: bool = False,
) -> Example:
    """Rotates an example about its centre.

    Convention:
        Positive angles turn clockwise, as in ``random_affine``.

    Args:
        key: The draw.
        image: The example.
        degrees: Range of the angle, or d for (-d, d).
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].
        antialias: Whether pixels that cover several are means over them, as in ``ops.grid_sample``.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> image = jnp.ones((8, 8, 3))
        >>> augment.random_rotation(jax.random.key(0), image, degrees=30.0).shape
        (8, 8, 3)

    Parity:
        ``ops.affine``, drawn as by torchvision's ``RandomRotation`` (whose positive angles turn the other way).
    """
    reading = Reading(mode, padding_mode, fill_value, False, antialias)
    (angle,) = uniforms(key, 1)
    return _affine(image, reading, degrees=between(angle, span("random_rotation", "degrees", degrees)))


@augmentation(geometric=True)
def random_translation(
    key: PRNGKey,
    image: Example,
    *,
    translate: float | tuple[float, float] = 0.1,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
) -> Example:
    """Moves an example by fractions of pixels.

    Args:
        key: The draw.
        image: The example.
        translate: Largest distance to either side as a share of width and height, one number or (x, y).
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_translation(jax.random.key(0), jnp.ones((8, 8, 3)), translate=0.0).min().item()
        1.0

    Parity:
        ``ops.affine``; torchvision's ``RandomAffine`` draws whole pixels.
    """
    reading = Reading(mode, padding_mode, fill_value)
    shares = pair("random_translation", "translate", translate)
    return _affine(image, reading, translate=_shift(chain_of(image), shares, uniforms(key, 2)))


@augmentation(geometric=True)
def random_scale(
    key: PRNGKey,
    image: Example,
    *,
    scale: tuple[float, float] = (0.8, 1.2),
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
    antialias: bool = False,
) -> Example:
    """Makes what an example shows smaller or larger about its centre; the frame stays.

    Args:
        key: The draw.
        image: The example.
        scale: Range of the factor of size.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].
        antialias: Whether pixels that cover several are means over them, as in ``ops.grid_sample``.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_scale(jax.random.key(0), jnp.ones((8, 8, 3)), scale=(1.0, 1.0)).min().item()
        1.0

    Parity:
        ``ops.affine``, drawn as by torchvision's ``RandomAffine(scale=...)``.
    """
    reading = Reading(mode, padding_mode, fill_value, False, antialias)
    (number,) = uniforms(key, 1)
    return _affine(image, reading, scale=between(number, _factors("random_scale", scale)))


@augmentation(geometric=True)
def random_shear(
    key: PRNGKey,
    image: Example,
    *,
    degrees: float | tuple[float, float] = 10.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
) -> Example:
    """Shears an example about its centre along both axes.

    Args:
        key: The draw.
        image: The example.
        degrees: Largest shear to either side, one number or (along x, along y), below 90.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_shear(jax.random.key(0), jnp.ones((8, 8, 3)), degrees=0.0).min().item()
        1.0

    Parity:
        ``ops.affine``, drawn as by torchvision's ``RandomAffine(shear=(-x, x, -y, y))``.
    """
    reading, limits = Reading(mode, padding_mode, fill_value), pair("random_shear", "degrees", degrees)
    check(max(limits) < 90, "random_shear", "degrees", "below 90", repr(degrees))
    x, y = (between(u, (-d, d)) for u, d in zip(uniforms(key, 2), limits, strict=True))
    return _affine(image, reading, shear=(x, y))


@augmentation(geometric=True)
def random_affine(
    key: PRNGKey,
    image: Example,
    *,
    degrees: float | tuple[float, float] = 0.0,
    translate: float | tuple[float, float] = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shear: float | tuple[float, ...] = 0.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
    antialias: bool = False,
) -> Example:
    """Rotates, moves, scales and shears an example about its centre, in one reading.

    Args:
        key: The draw.
        image: The example.
        degrees: Range of the rotation, clockwise, or d for (-d, d).
        translate: Largest distance to either side as a share of width and height, one number or (x, y).
        scale: Range of the factor of size.
        shear: Range of the shear along x in degrees, or s for (-s, s); four numbers are both ranges, along x and y.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].
        antialias: Whether pixels that cover several are means over them, as in ``ops.grid_sample``.

    Returns:
        The example, of the same shape and dtype. With the defaults it is the input exactly.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> image = jnp.ones((8, 8, 3))
        >>> augment.random_affine(jax.random.key(0), image, degrees=15.0, translate=0.1, scale=(0.9, 1.1)).shape
        (8, 8, 3)

    Parity:
        ``ops.affine``, with the meanings of torchvision's ``RandomAffine``; it draws whole pixels of translation.
    """
    name, reading = "random_affine", Reading(mode, padding_mode, fill_value, False, antialias)
    four = isinstance(shear, tuple | list) and len(shear) == 4
    shears = (shear[:2], shear[2:]) if four else (shear, 0.0)  # type: ignore[index]
    limits = [span(name, "degrees", degrees), _factors(name, scale), *(span(name, "shear", s) for s in shears)]
    upright = all(low > -90 and high < 90 for low, high in limits[2:])
    check(upright, name, "shear", "between -90 and 90 degrees", repr(shear))
    angle, factor, shear_x, shear_y = (
        between(u, v) for u, v in zip(uniforms(jax.random.fold_in(key, 0), 4), limits, strict=True)
    )
    moved = _shift(chain_of(image), pair(name, "translate", translate), uniforms(jax.random.fold_in(key, 1), 2))
    return _affine(image, reading, degrees=angle, translate=moved, scale=factor, shear=(shear_x, shear_y))


@augmentation(geometric=True)
def random_perspective(
    key: PRNGKey,
    image: Example,
    *,
    distortion: float = 0.5,
    p: float = 0.5,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
) -> Example:
    """Moves every corner of an example inwards, as if seen at an angle, with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        distortion: Largest way of a corner as a share of half the width and half the height, in [0, 1).
        p: Probability.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_perspective(jax.random.key(0), jnp.ones((8, 8, 3)), distortion=0.0).min().item()
        1.0

    Parity:
        ``ops.perspective``, drawn as by torchvision's ``RandomPerspective``, which draws whole pixels.
    """
    chain, reading = chain_of(image), Reading(mode, padding_mode, fill_value)
    check(0 <= distortion < 1, "random_perspective", "distortion", "in [0, 1)", repr(distortion))
    h, w = chain.shape
    number, *ways = uniforms(key, 9)
    reach = distortion * (w - 1) / 2, distortion * (h - 1) / 2
    corners = []
    for i, (x, y) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
        dx, dy = ways[2 * i] * reach[0], ways[2 * i + 1] * reach[1]
        corners.append((dx if x == 0 else w - 1 - dx, dy if y == 0 else h - 1 - dy))
    line = h == 1 or w == 1  # which has no four corners
    matrix = matrices.IDENTITY if line else matrices.invert_entries(matrices.matrix_from_corners((h, w), corners))
    applied = number < probability("random_perspective", "p", p)
    matrix = matrices.select_entries(applied, matrix, matrices.IDENTITY)
    return chain.read(Geometry(chain.shape, chain.shape, (matrix,), reading))  # type: ignore[return-value]


def _affine(image: Any, reading: Reading, **numbers: Any) -> Any:
    chain = chain_of(image)
    numbers = {"degrees": 0.0, "translate": (0.0, 0.0), "scale": 1.0, "shear": (0.0, 0.0)} | numbers
    return chain.read(
        Geometry(chain.shape, chain.shape, (matrices.matrix_from_affine(**numbers, shape=chain.shape),), reading)
    )


def _shift(chain: Chain, shares: tuple[float, float], numbers: list[Any]) -> tuple[Any, Any]:
    h, w = chain.shape
    x, y = (between(u, (-share * n, share * n)) for u, share, n in zip(numbers, shares, (w, h), strict=True))
    return x, y


def _factors(name: str, scale: Any) -> tuple[float, float]:
    limits = span(name, "scale", scale, least=0.0)
    check(isinstance(scale, tuple | list) and limits[0] > 0, name, "scale", "(low, high) above 0", repr(scale))
    return limits
