"""Crops of an example, at random places and of random parts."""

import jax
import jax.numpy as jnp

from jaxcnn._check import as_array, check, check_positive_shape, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._argument_checks import Limits, RangeOption, check_limits, range_about
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import augmentation
from jaxcnn.augment._draws import draw_box, draw_uniforms, to_integer
from jaxcnn.augment._examples import round_to_dtype
from jaxcnn.augment._pixel_maps import FillValue, PixelMap, SamplingRequest
from jaxcnn.ops._sampling.pixel_matrices import Matrix
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["center_crop", "random_crop", "random_pad_and_crop", "random_resized_crop"]

_PAD = {"zeros": "constant", "fill": "constant", "border": "edge", "reflection": "reflect"}


@augmentation(geometric=True)
def center_crop(key: PRNGKey, image: Chain, *, shape: tuple[int, int]) -> Chain:
    """Crops the center of an example.

    Args:
        key: Not used, but every augmentation takes one.
        image: The example.
        shape: Height and width of the result, not larger than the image.

    Returns:
        The example in that shape, of the same dtype. Pixels are copied, not interpolated.

    Raises:
        ValueError: If ``image`` is not an example, or smaller than ``shape``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.center_crop(jax.random.key(0), jnp.arange(5.0).reshape(1, 5, 1), shape=(1, 3))[0, :, 0].tolist()
        [1.0, 2.0, 3.0]

    Parity:
        torchvision's ``CenterCrop``, exactly, where it does not pad.
    """
    del key
    h, w = _check_crop("center_crop", shape, image.shape)
    # Half a pixel is rounded as in torchvision: Python rounds halves to even.
    top, left = (round((n - m) / 2) for n, m in zip(image.shape, (h, w), strict=True))
    return _crop(image, jnp.int32(left), jnp.int32(top), (h, w))


@augmentation(geometric=True)
def random_crop(key: PRNGKey, image: Chain, *, shape: tuple[int, int]) -> Chain:
    """Crops an example to a fixed shape at a random position, all equally likely.

    Args:
        key: Key of the draw.
        image: The example.
        shape: Height and width of the result, not larger than the image.

    Returns:
        The example in that shape, of the same dtype. Pixels are copied, not interpolated.

    Raises:
        ValueError: If ``image`` is not an example, or smaller than ``shape``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_crop(jax.random.key(0), jnp.ones((8, 8, 3)), shape=(4, 6)).shape
        (4, 6, 3)

    Parity:
        torchvision's ``RandomCrop`` without padding.
    """
    h, w = _check_crop("random_crop", shape, image.shape)
    numbers = draw_uniforms(key, 2)
    left, top = (to_integer(u, n - m + 1) for u, n, m in zip(numbers, image.shape[::-1], (w, h), strict=True))
    return _crop(image, left, top, (h, w))


@augmentation(geometric=True)
def random_pad_and_crop(
    key: PRNGKey,
    image: Chain,
    *,
    padding: int = 4,
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> Chain:
    """Pads an example on all sides and crops it to its own shape at random: a shift by whole pixels.

    Args:
        key: Key of the draw.
        image: The example.
        padding: Pixels on each side; with ``"reflection"`` fewer than height and width.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` (about the border pixels' centers) or ``"fill"``.
        fill_value: With ``"fill"``: the value of the padding, in [0, 1].
        mask_fill_value: The value of a mask there, and where the image is 0 (``"zeros"``); 255 is usual.

    Returns:
        The example, with the same shape and dtype. Pixels are copied, not interpolated.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_pad_and_crop(jax.random.key(0), jnp.ones((8, 8, 3)), padding=2).shape
        (8, 8, 3)

    Parity:
        torchvision's ``RandomCrop(size, padding=...)`` for an image of that size, the usual CIFAR baseline.
    """
    name, shape = "random_pad_and_crop", image.shape
    check(is_integer_at_least(padding, 0), name, "padding", "an integer of at least 0", repr(padding))
    check(padding_mode in _PAD, name, "padding_mode", f"one of {tuple(_PAD)}", repr(padding_mode))
    room = padding < min(shape) or padding_mode != "reflection"
    check(room, name, "padding", "below height and width to be mirrored", f"{padding} and {shape}")
    sampling = SamplingRequest(None, padding_mode, fill_value, mask_fill_value, align_corners=True)
    fits = as_array(name, "fill_value", fill_value).shape in ((), (image.channels,)) or image.source is None
    expected = f"one value or {image.channels}, one per channel"
    check(fits, name, "fill_value", expected, repr(fill_value))
    x, y = (to_integer(u, 2 * padding + 1) for u in draw_uniforms(key, 2))

    def pad_and_crop(pixels: jax.Array) -> jax.Array:
        edges = [(0, 0)] * (pixels.ndim - 3) + [(padding, padding)] * 2 + [(0, 0)]
        if padding_mode == "fill":
            fill = jnp.asarray(fill_value, jnp.float32) * (255 if pixels.dtype == jnp.uint8 else 1)
            inside = jnp.pad(jnp.ones((*shape, 1), bool), edges[-3:])
            padded = jnp.where(inside, jnp.pad(pixels, edges), round_to_dtype(fill, pixels.dtype))
        else:
            padded = jnp.pad(pixels, edges, mode=_PAD[padding_mode])
        return _slice(padded, x, y, shape)

    shift = _shift_matrix(x.astype(jnp.float32) - padding, y.astype(jnp.float32) - padding)
    return image.sample(PixelMap(shape, shape, (shift,), sampling, pad_and_crop))


@augmentation(geometric=True)
def random_resized_crop(
    key: PRNGKey,
    image: Chain,
    *,
    shape: tuple[int, int],
    scale: RangeOption = (0.08, 1.0),
    ratio: RangeOption = (3 / 4, 4 / 3),
    mode: Mode = "bilinear",
    antialias: bool = True,
) -> Chain:
    """Crops a part of random area and aspect ratio and resizes it to a fixed shape.

    Args:
        key: Key of the draw.
        image: The example.
        shape: Height and width of the result.
        scale: Range of the part's area as a fraction of the image's.
        ratio: Range of the part's width over its height, drawn uniformly in the logarithm.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        antialias: Whether pixels that cover several pixels are averages of them; with ``"bilinear"`` only.

    Returns:
        The example in that shape, of the same dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_resized_crop(jax.random.key(0), jnp.ones((30, 40, 3)), shape=(16, 16)).shape
        (16, 16, 3)

    Parity:
        Drawn as by torchvision's ``RandomResizedCrop``: ten tries of whole pixels, then the largest central part of an
        allowed ratio; sampled as by ``ops.crop_and_resize``.
    """
    name = "random_resized_crop"
    h, w = check_positive_shape(name, "shape", shape, "h w")
    areas, ratios = (range_about(name, n, v, least=0.0) for n, v in (("scale", scale), ("ratio", ratio)))
    for argument, limits, value in (("scale", areas, scale), ("ratio", ratios, ratio)):
        check_limits(name, argument, limits, "above 0", lambda v: v > 0, value)
    left, top, width, height = _draw_part(key, image.shape, areas, ratios)
    # The edges of the part, half a pixel before its first pixel, map to the edges of the result.
    wide, high = width / w, height / h
    matrix = (wide, 0.0, left + (0.5 * wide - 0.5)), (0.0, high, top + (0.5 * high - 0.5)), (0.0, 0.0, 1.0)
    sampling = SamplingRequest(mode, antialias=antialias and mode == "bilinear")
    return image.sample(PixelMap(image.shape, (h, w), (matrix,), sampling))


def _draw_part(
    key: PRNGKey, shape: tuple[int, int], areas: Limits, ratios: Limits
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draws left, top, width and height of a part, whole numbers in float32."""
    h, w = shape
    width, height, found, place = draw_box(
        key, shape, areas, ratios, lambda width, height: (width >= 1) & (width <= w) & (height >= 1) & (height <= h)
    )
    # If none fits, the largest part in the center.
    wide, high = (jnp.float32(n) for n in (w, h))
    narrowed = jnp.clip(jnp.round(h * ratios[1]), 1, w), jnp.clip(jnp.round(w / ratios[0]), 1, h)
    middle = (
        jnp.where(w / h > ratios[1], narrowed[0], wide),
        jnp.where(w / h < ratios[0], narrowed[1], high),
    )
    width, height = (jnp.where(found, v, m) for v, m in zip((width, height), middle, strict=True))
    left, top = (
        jnp.where(found, jnp.floor(u * (n - v + 1)), jnp.floor((n - v) / 2))
        for u, n, v in zip(place, (w, h), (width, height), strict=True)
    )
    return left, top, width, height


def _check_crop(name: str, shape: tuple[int, int], image: tuple[int, int]) -> tuple[int, int]:
    h, w = check_positive_shape(name, "shape", shape, "h w")
    check(h <= image[0] and w <= image[1], name, "shape", f"within the image's {image}", repr(shape))
    return h, w


def _shift_matrix(x: jax.Array, y: jax.Array) -> Matrix:
    return (1.0, 0.0, x), (0.0, 1.0, y), (0.0, 0.0, 1.0)


def _crop(image: Chain, left: jax.Array, top: jax.Array, shape: tuple[int, int]) -> Chain:
    def crop(pixels: jax.Array) -> jax.Array:
        return _slice(pixels, left, top, shape)

    matrix = _shift_matrix(left.astype(jnp.float32), top.astype(jnp.float32))
    return image.sample(PixelMap(image.shape, shape, (matrix,), exact=crop))


def _slice(pixels: jax.Array, left: jax.Array, top: jax.Array, shape: tuple[int, int]) -> jax.Array:
    rows = jax.lax.dynamic_slice_in_dim(pixels, top, shape[0], axis=-3)
    return jax.lax.dynamic_slice_in_dim(rows, left, shape[1], axis=-2)
