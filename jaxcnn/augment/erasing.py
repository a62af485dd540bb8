"""Random parts of an image overwritten."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import AnyArray, PRNGKey
from jaxcnn.augment._argument_checks import (
    NumberOption,
    PairOption,
    RangeOption,
    check_limits,
    check_number,
    is_pair,
    range_about,
)
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import augmentation
from jaxcnn.augment._draws import draw_box, draw_uniforms, to_range, with_probability
from jaxcnn.augment.counter import counter_uniform

__all__ = ["random_cutout", "random_erasing", "random_grid_mask"]


@augmentation(geometric=False)
def random_erasing(
    key: PRNGKey,
    image: Chain,
    *,
    p: NumberOption = 0.5,
    scale: RangeOption = (0.02, 0.33),
    ratio: RangeOption = (0.3, 3.3),
    value: float | Sequence[float] | AnyArray | str = 0.0,
) -> Chain:
    """Overwrites a box of random area, aspect ratio and position with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example; masks, key points and boxes are not changed.
        p: Probability.
        scale: Range of the box's area as a fraction of the image's.
        ratio: Range of the box's width over its height, drawn uniformly in the logarithm.
        value: What is written: a number or one per channel, in [0, 1], or ``"random"`` for noise.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> erased = augment.random_erasing(jax.random.key(0), jnp.ones((20, 20, 1)), p=1.0)
        >>> 0.01 < float((erased == 0).mean()) < 0.35
        True

    Parity:
        ``ops.erase``, drawn as by torchvision's ``RandomErasing``: ten tries, then nothing is erased; its
        ``"random"`` is normal noise, here it is uniform.

    References:
        Zhong et al. 2017, arXiv:1708.04896.
    """
    name = "random_erasing"
    areas, ratios = (range_about(name, n, v, least=0.0) for n, v in (("scale", scale), ("ratio", ratio)))
    check_limits(name, "scale", areas, "a range within [0, 1]", lambda v: v <= 1, scale)
    check_limits(name, "ratio", ratios, "a range above 0", lambda v: v > 0, ratio)
    check(not isinstance(value, str) or value == "random", name, "value", 'numbers or "random"', repr(value))
    h, w = image.shape
    width, height, found, place = draw_box(
        jax.random.fold_in(key, 1), (h, w), areas, ratios, lambda width, height: (width < w) & (height < h)
    )
    width, height = (jnp.where(found, v, 0.0) for v in (width, height))
    left, top = (jnp.floor(u * (n - v + 1)) for u, n, v in zip(place, (w, h), (width, height), strict=True))
    corners = jnp.stack([left, top, left + width, top + height])

    def erase(pixels: jax.Array) -> jax.Array:
        if isinstance(value, str):
            fill = counter_uniform(jax.random.fold_in(key, 2), pixels.shape) + jnp.zeros_like(pixels, jnp.float32)
        else:
            fill = jnp.asarray(value, jnp.float32)
        return ops.erase(pixels, corners, value=fill.astype(pixels.dtype))

    return image.change(with_probability(name, jax.random.fold_in(key, 0), p, erase))


@augmentation(geometric=False)
def random_cutout(
    key: PRNGKey, image: Chain, *, size: int = 16, value: float | Sequence[float] | AnyArray = 0.0
) -> Chain:
    """Overwrites a square centered on a random pixel; it is clipped at the border.

    Args:
        key: Key of the draw.
        image: The example; masks, key points and boxes are not changed.
        size: Edge of the square in pixels.
        value: What is written: a number or one per channel, in [0, 1].

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> cut = augment.random_cutout(jax.random.key(0), jnp.ones((32, 32, 1)), size=8)
        >>> 16 <= int((cut == 0).sum()) <= 64
        True

    Parity:
        ``ops.erase``; 16 of CIFAR-10's 32 pixels in the paper.

    References:
        DeVries and Taylor 2017, arXiv:1708.04552.
    """
    check(is_integer_at_least(size, 1), "random_cutout", "size", "an integer of at least 1", repr(size))
    h, w = image.shape
    x, y = (jnp.floor(u * n) - size // 2 for u, n in zip(draw_uniforms(key, 2), (w, h), strict=True))
    square = jnp.stack([x, y, x + size, y + size])

    def cut(pixels: jax.Array) -> jax.Array:
        return ops.erase(pixels, square, value=jnp.asarray(value, pixels.dtype))

    return image.change(cut)


@augmentation(geometric=False)
def random_grid_mask(
    key: PRNGKey,
    image: Chain,
    *,
    period: PairOption = (0.4, 1.0),
    ratio: NumberOption = 0.6,
    p: NumberOption = 1.0,
) -> Chain:
    """Sets the squares of a regular grid of random period and position to 0 with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example; masks, key points and boxes are not changed.
        period: Range of the grid's period as a fraction of the shorter side.
        ratio: Fraction of a period that is kept along each axis.
        p: Probability.

    Returns:
        The example, with the same shape and dtype.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> masked = augment.random_grid_mask(jax.random.key(0), jnp.ones((32, 32, 1)))
        >>> 0.0 < float((masked == 0).mean()) < 0.4
        True

    Parity:
        ``ops.grid_mask``; the paper's 96 to 224 of 224 pixels and ratio 0.6 for ImageNet are the defaults, without
        its rotation of the grid.

    References:
        Chen et al. 2020, "GridMask data augmentation", arXiv:2001.04086.
    """
    name = "random_grid_mask"
    check(is_pair(period), name, "period", "a range above 0", repr(period))
    limits = range_about(name, "period", period, least=0.0)
    check_limits(name, "period", limits, "a range above 0", lambda v: v > 0, period)
    ratio = check_number(name, "ratio", ratio, "in [0, 1]", lambda v: 0 <= v <= 1)
    number, x, y = draw_uniforms(jax.random.fold_in(key, 1), 3)
    length = jnp.maximum(jnp.round(to_range(number, limits) * min(image.shape)), 1.0)
    offset = jnp.stack([jnp.floor(x * length), jnp.floor(y * length)])

    def mask(pixels: jax.Array) -> jax.Array:
        return ops.grid_mask(pixels, period=length, ratio=ratio, offset=offset)

    return image.change(with_probability(name, jax.random.fold_in(key, 0), p, mask))
