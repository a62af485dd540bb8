"""Random parts of an example left out."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Example, augmentation, chain_of
from jaxcnn.augment._draws import between, box, perhaps, span, uniforms
from jaxcnn.augment.counter import counter_uniform

__all__ = ["random_cutout", "random_erasing", "random_grid_mask"]


@augmentation(geometric=False)
def random_erasing(
    key: PRNGKey,
    image: Example,
    *,
    p: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    value: Any = 0.0,
) -> Example:
    """Overwrites a box of random area, aspect ratio and place with probability ``p``.

    Args:
        key: The draw.
        image: The example; masks, key points and boxes stay as they are.
        p: Probability.
        scale: Range of the box's area as a share of the image's.
        ratio: Range of the box's width over its height, drawn evenly in the logarithm.
        value: What is written: a number or one per channel, in [0, 1], or ``"random"`` for noise.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> erased = augment.random_erasing(jax.random.key(0), jnp.ones((20, 20, 1)), p=1.0)
        >>> 0.01 < float((erased == 0).mean()) < 0.35
        True

    Parity:
        ``ops.erase``, drawn as by torchvision's ``RandomErasing``: ten tries, then nothing is erased; its
        ``"random"`` is normal noise, here it is even.

    References:
        Zhong et al. 2017, arXiv:1708.04896.
    """
    name, chain = "random_erasing", chain_of(image)
    areas, ratios = (span(name, n, v, least=0.0) for n, v in (("scale", scale), ("ratio", ratio)))
    check(areas[1] <= 1, name, "scale", "a range within [0, 1]", repr(scale))
    check(ratios[0] > 0, name, "ratio", "a range above 0", repr(ratio))
    check(not isinstance(value, str) or value == "random", name, "value", 'numbers or "random"', repr(value))
    h, w = chain.shape
    width, height, found, places = box(
        jax.random.fold_in(key, 1), (h, w), areas, ratios, lambda width, height: (width < w) & (height < h)
    )
    width, height = (jnp.where(found, v, 0.0) for v in (width, height))
    left, top = (jnp.floor(u * (n - v + 1)) for u, n, v in zip(places, (w, h), (width, height), strict=True))
    corners = jnp.stack([left, top, left + width, top + height])

    def erase(image: Any) -> Any:
        if isinstance(value, str):
            fill = counter_uniform(jax.random.fold_in(key, 2), image.shape) + jnp.zeros_like(image, jnp.float32)
        else:
            fill = jnp.asarray(value, jnp.float32)
        return ops.erase(image, corners, value=fill.astype(image.dtype))

    return chain.change(perhaps(name, jax.random.fold_in(key, 0), p, erase))  # type: ignore[return-value]


@augmentation(geometric=False)
def random_cutout(key: PRNGKey, image: Example, *, size: int = 16, value: Any = 0.0) -> Example:
    """Overwrites a square whose centre is any pixel; what leaves the image is cut off.

    Args:
        key: The draw.
        image: The example; masks, key points and boxes stay as they are.
        size: Edge of the square in pixels.
        value: What is written: a number or one per channel, in [0, 1].

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> cut = augment.random_cutout(jax.random.key(0), jnp.ones((32, 32, 1)), size=8)
        >>> 16 <= int((cut == 0).sum()) <= 64
        True

    Parity:
        ``ops.erase``; 16 of CIFAR-10's 32 pixels in the paper.

    References:
        DeVries and Taylor 2017, arXiv:1708.04552.
    """
    chain = chain_of(image)
    check(is_integer_at_least(size, 1), "random_cutout", "size", "an integer of at least 1", repr(size))
    h, w = chain.shape
    x, y = (jnp.floor(u * n) - size // 2 for u, n in zip(uniforms(key, 2), (w, h), strict=True))
    square = jnp.stack([x, y, x + size, y + size])

    def cut(image: Any) -> Any:
        return ops.erase(image, square, value=jnp.asarray(value, image.dtype))

    return chain.change(cut)  # type: ignore[return-value]


@augmentation(geometric=False)
def random_grid_mask(
    key: PRNGKey,
    image: Example,
    *,
    period: tuple[float, float] = (0.4, 1.0),
    ratio: float = 0.6,
    p: float = 1.0,
) -> Example:
    """Sets the squares of a regular grid of random period and place to 0 with probability ``p``.

    Args:
        key: The draw.
        image: The example; masks, key points and boxes stay as they are.
        period: Range of the grid's period as a share of the shorter side.
        ratio: What part of a period is kept along each axis.
        p: Probability.

    Returns:
        The example, of the same shape and dtype.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> masked = augment.random_grid_mask(jax.random.key(0), jnp.ones((32, 32, 1)))
        >>> 0.0 < float((masked == 0).mean()) < 0.4
        True

    Parity:
        ``ops.grid_mask``; the paper's 96 to 224 of 224 pixels and ratio 0.6 for ImageNet are the defaults, without
        its turning of the grid.

    References:
        Chen et al. 2020, "GridMask data augmentation", arXiv:2001.04086.
    """
    name, chain = "random_grid_mask", chain_of(image)
    limits = span(name, "period", period, least=0.0)
    check(limits[0] > 0, name, "period", "a range above 0", repr(period))
    number, x, y = uniforms(jax.random.fold_in(key, 1), 3)
    length = jnp.maximum(jnp.round(between(number, limits) * min(chain.shape)), 1.0)
    offset = jnp.stack([jnp.floor(x * length), jnp.floor(y * length)])

    def mask(image: Any) -> Any:
        return ops.grid_mask(image, period=length, ratio=ratio, offset=offset)

    return chain.change(perhaps(name, jax.random.fold_in(key, 0), p, mask))  # type: ignore[return-value]
