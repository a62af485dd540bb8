"""Random crops of an example."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn._check import as_array, check, check_positive_shape, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Chain, Example, as_dtype, augmentation, chain_of
from jaxcnn.augment._draws import box, integer, span, uniforms
from jaxcnn.augment._geometry import Geometry, Reading
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["center_crop", "random_crop", "random_pad_and_crop", "random_resized_crop"]

_PAD = {"zeros": "constant", "fill": "constant", "border": "edge", "reflection": "reflect"}


@augmentation(geometric=True)
def center_crop(key: PRNGKey, image: Example, *, shape: tuple[int, int]) -> Example:
    """Cuts the middle out of an example.

    Args:
        key: Not used; every augmentation takes one.
        image: The example.
        shape: Height and width of the result, not larger than the image.

    Returns:
        The example in that shape, of the same dtype. Nothing is interpolated.

    Raises:
        ValueError: If ``image`` is no example, or smaller than ``shape``.

    Example:
        >>> augment.center_crop(jax.random.key(0), jnp.arange(5.0).reshape(1, 5, 1), shape=(1, 3))[0, :, 0].tolist()
        [1.0, 2.0, 3.0]

    Parity:
        torchvision's ``CenterCrop``, exactly, where it does not pad.
    """
    del key
    chain = chain_of(image)
    h, w = _fitting("center_crop", shape, chain.shape)
    # Half a pixel goes where torchvision lets it go: Python rounds halves to even.
    top, left = (round((n - m) / 2) for n, m in zip(chain.shape, (h, w), strict=True))
    return _cut(chain, jnp.int32(left), jnp.int32(top), (h, w))


@augmentation(geometric=True)
def random_crop(key: PRNGKey, image: Example, *, shape: tuple[int, int]) -> Example:
    """Cuts a part of fixed shape out of an example, every place equally likely.

    Args:
        key: The draw.
        image: The example.
        shape: Height and width of the result, not larger than the image.

    Returns:
        The example in that shape, of the same dtype. Nothing is interpolated.

    Raises:
        ValueError: If ``image`` is no example, or smaller than ``shape``.

    Example:
        >>> augment.random_crop(jax.random.key(0), jnp.ones((8, 8, 3)), shape=(4, 6)).shape
        (4, 6, 3)

    Parity:
        torchvision's ``RandomCrop`` without padding.
    """
    chain = chain_of(image)
    h, w = _fitting("random_crop", shape, chain.shape)
    left, top = (integer(u, n - m + 1) for u, n, m in zip(uniforms(key, 2), chain.shape[::-1], (w, h), strict=True))
    return _cut(chain, left, top, (h, w))


@augmentation(geometric=True)
def random_pad_and_crop(
    key: PRNGKey,
    image: Example,
    *,
    padding: int = 4,
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
) -> Example:
    """Pads an example on all sides and cuts its own shape out at random: a move by whole pixels.

    Args:
        key: The draw.
        image: The example.
        padding: Pixels on each side; with ``"reflection"`` fewer than height and width.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` (about the border pixels' centres) or ``"fill"``.
        fill_value: With ``"fill"``: what is padded, in [0, 1].

    Returns:
        The example, of the same shape and dtype. Nothing is interpolated.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_pad_and_crop(jax.random.key(0), jnp.ones((8, 8, 3)), padding=2).shape
        (8, 8, 3)

    Parity:
        torchvision's ``RandomCrop(size, padding=...)`` with an image of that size, the usual baseline of CIFAR.
    """
    name, chain = "random_pad_and_crop", chain_of(image)
    check(is_integer_at_least(padding, 0), name, "padding", "an integer of at least 0", repr(padding))
    check(padding_mode in _PAD, name, "padding_mode", f"one of {tuple(_PAD)}", repr(padding_mode))
    room = padding < min(chain.shape) or padding_mode != "reflection"
    check(room, name, "padding", "below height and width to be mirrored", f"{padding} and {chain.shape}")
    reading = Reading(None, padding_mode, fill_value, align_corners=True)
    fits = as_array(name, "fill_value", fill_value).shape in ((), (chain.channels,)) or chain.example is None
    expected = f"one value or {chain.channels}, one per channel"
    check(fits, name, "fill_value", expected, repr(fill_value))
    x, y = (integer(u, 2 * padding + 1) for u in uniforms(key, 2))
    shape = chain.shape

    def exact(image: Any) -> Any:
        edges = [(0, 0)] * (image.ndim - 3) + [(padding, padding)] * 2 + [(0, 0)]
        if padding_mode == "fill":
            fill = jnp.asarray(fill_value, jnp.float32) * (255 if image.dtype == jnp.uint8 else 1)
            inside = jnp.pad(jnp.ones((*shape, 1), bool), edges[-3:])
            padded = jnp.where(inside, jnp.pad(image, edges), as_dtype(fill, image.dtype))
        else:
            padded = jnp.pad(image, edges, mode=_PAD[padding_mode])
        return _window(padded, x, y, shape)

    start = x.astype(jnp.float32) - padding, y.astype(jnp.float32) - padding
    return chain.read(Geometry(shape, shape, (_moved(*start),), reading, exact))  # type: ignore[return-value]


@augmentation(geometric=True)
def random_resized_crop(
    key: PRNGKey,
    image: Example,
    *,
    shape: tuple[int, int],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    mode: Mode = "bilinear",
    antialias: bool = True,
) -> Example:
    """Cuts out a part of random area and aspect ratio and brings it to one shape.

    Args:
        key: The draw.
        image: The example.
        shape: Height and width of the result.
        scale: Range of the part's area as a share of the image's.
        ratio: Range of the part's width over its height, drawn evenly in the logarithm.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        antialias: Whether pixels that cover several are means over them; with ``"bilinear"`` only.

    Returns:
        The example in that shape, of the same dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_resized_crop(jax.random.key(0), jnp.ones((30, 40, 3)), shape=(16, 16)).shape
        (16, 16, 3)

    Parity:
        Drawn as by torchvision's ``RandomResizedCrop``: ten tries of whole pixels, then the largest middle part of an
        allowed ratio; read as by ``ops.crop_and_resize``.
    """
    name, chain = "random_resized_crop", chain_of(image)
    h, w = check_positive_shape(name, "shape", shape, "h w")
    areas, ratios = (span(name, n, v, least=0.0) for n, v in (("scale", scale), ("ratio", ratio)))
    check(areas[0] > 0 and ratios[0] > 0, name, "scale and ratio", "above 0", f"{scale} and {ratio}")
    left, top, width, height = _part(key, chain.shape, areas, ratios)
    # The part's edges, half a pixel before its first pixel, lie on those of the result.
    wide, high = width / w, height / h
    row = (wide, 0.0, left + (0.5 * wide - 0.5)), (0.0, high, top + (0.5 * high - 0.5)), (0.0, 0.0, 1.0)
    reading = Reading(mode, antialias=antialias and mode == "bilinear")
    return chain.read(Geometry(chain.shape, (h, w), (row,), reading))  # type: ignore[return-value]


def _part(key: PRNGKey, shape: tuple[int, int], areas: Any, ratios: Any) -> tuple[Any, Any, Any, Any]:
    """Draws left, top, width and height of a part, whole numbers in float32."""
    h, w = shape
    width, height, found, places = box(
        key, shape, areas, ratios, lambda width, height: (width >= 1) & (width <= w) & (height >= 1) & (height <= h)
    )
    # None fits: the largest part in the middle.
    if w / h < ratios[0]:
        middle = (w, min(max(round(w / ratios[0]), 1), h))
    elif w / h > ratios[1]:
        middle = (min(max(round(h * ratios[1]), 1), w), h)
    else:
        middle = (w, h)
    width, height = (jnp.where(found, v, float(m)) for v, m in zip((width, height), middle, strict=True))
    left, top = (
        jnp.where(found, jnp.floor(u * (n - v + 1)), jnp.floor((n - v) / 2))
        for u, n, v in zip(places, (w, h), (width, height), strict=True)
    )
    return left, top, width, height


def _fitting(name: str, shape: Any, image: tuple[int, int]) -> tuple[int, int]:
    h, w = check_positive_shape(name, "shape", shape, "h w")
    check(h <= image[0] and w <= image[1], name, "shape", f"within the image's {image}", repr(shape))
    return h, w


def _moved(x: Any, y: Any) -> Any:
    return (1.0, 0.0, x), (0.0, 1.0, y), (0.0, 0.0, 1.0)


def _cut(chain: Chain, left: Any, top: Any, shape: tuple[int, int]) -> Any:
    def exact(image: Any) -> Any:
        return _window(image, left, top, shape)

    matrix = _moved(left.astype(jnp.float32), top.astype(jnp.float32))
    return chain.read(Geometry(chain.shape, shape, (matrix,), exact=exact))


def _window(image: Any, left: Any, top: Any, shape: tuple[int, int]) -> jax.Array:
    start = jax.lax.dynamic_slice_in_dim(image, top, shape[0], axis=-3)
    return jax.lax.dynamic_slice_in_dim(start, left, shape[1], axis=-2)
