"""Tone: maps of single values, by a formula or by the histogram of the channel."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn._check import as_array, check, is_integer_at_least, shape_text
from jaxcnn._typing import AnyArray, Array, Float, Int, UInt8
from jaxcnn.ops._batching import over_batch, working_dtype
from jaxcnn.ops._images import (
    TOP,
    align_amounts,
    as_amount,
    check_pixels,
    clip_to_unit,
    from_planes,
    substitute_exact,
    to_planes,
)

__all__ = ["adjust_gamma", "autocontrast", "equalize", "invert", "posterize", "solarize"]


def adjust_gamma(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"],
    gamma: float | Float[AnyArray, "*#b"],
    *,
    gain: float | Float[AnyArray, "*#b"] = 1.0,
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Raises all values to a power: gain x^gamma.

    Args:
        image: Floating in [0, 1], or uint8, with any number of channels; computed in float32 or wider. Values
            below 0 count as 0.
        gamma: Below 1 brightens dark parts, above 1 darkens them, 1 returns the image unchanged; one number, or one
            per example.
        gain: Factor of the result, which is limited to [0, 1]; one number, or one per example.

    Returns:
        The image in its dtype; uint8 is rounded to the nearest level. Differentiable in all arguments; the
        gradient at a value of 0 is 0, although it is infinite for a power below 1.

    Raises:
        ValueError: If a shape or dtype is wrong, leading axes do not broadcast, or ``gamma`` or ``gain`` is a
            negative number.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.adjust_gamma(jnp.array([[[0.0, 0.25, 1.0]]]), 0.5).round(4).tolist()
        [[[0.0, 0.5, 1.0]]]

    Parity:
        torchvision 0.28 ``v2.functional.adjust_gamma``, on photographs: float32 within 3e-7; uint8 within 1 level, as
        torchvision cuts fractions off.
    """
    name = "adjust_gamma"
    image = check_pixels(name, image)
    dtype = working_dtype(image)
    power, factor = as_amount(name, "gamma", gamma, dtype, low=0.0), as_amount(name, "gain", gain, dtype, low=0.0)
    image, power, factor = align_amounts(name, "gamma and gain", image, power, factor)
    x = to_planes(image)
    positive = x > 0
    raised = jnp.exp(power * jnp.log(jnp.where(positive, x, 1.0)))
    zero = jnp.where(power == 0, 1.0, 0.0).astype(dtype)
    raised = substitute_exact(power == 1, jnp.where(positive, x, 0.0), jnp.where(positive, raised, zero))
    return from_planes(clip_to_unit(factor * raised), image.dtype)


def invert(
    image: Float[AnyArray, "*b h w c"] | UInt8[AnyArray, "*b h w c"],
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Subtracts all values from the largest one: 1 - x, and 255 - x for uint8.

    Args:
        image: Floating in [0, 1], or uint8, with any number of channels.

    Returns:
        The image in its dtype.

    Raises:
        ValueError: If the shape or dtype of the image is wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.invert(jnp.array([[[0, 100, 255]]], jnp.uint8)).tolist()
        [[[255, 155, 0]]]

    Parity:
        torchvision 0.28 ``v2.functional.invert``: float32 and uint8 equal.
    """
    image = check_pixels("invert", image)
    return jnp.subtract(_largest_value(image.dtype), image)


def posterize(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"], bits: int | Int[AnyArray, "*#b"]
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Keeps the highest bits of the 8 bits of every value, and clears the others.

    Convention:
        The result for a floating image is that for the uint8 image, divided by 255: a value x represents the level
        floor(255.999 x), as in torchvision's conversion, of which 0, 1/255, ... 1 are fixed points.

    Args:
        image: Floating in [0, 1], or uint8, with any number of channels.
        bits: 0 (black) to 8, which returns the image unchanged; one integer, or one per example.

    Returns:
        The image in its dtype. The gradient is 0 (1 with 8 bits), as for every step function.

    Raises:
        ValueError: If a shape or dtype is wrong, leading axes do not broadcast, or ``bits`` is not an integer
            from 0 to 8.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.posterize(jnp.array([[[0, 100, 255]]], jnp.uint8), 2).tolist()
        [[[0, 64, 192]]]

    Parity:
        torchvision 0.28 ``v2.functional.posterize`` of uint8: equal. For floats torchvision computes
        floor(2^bits x) / 2^bits, which differs from its own result for uint8, and from this one, by up to 1/255.
    """
    name = "posterize"
    image = check_pixels(name, image)
    if not hasattr(bits, "dtype"):  # arrays may be traced
        static = isinstance(bits, int) and is_integer_at_least(bits, 0) and bits <= 8
        check(static, name, "bits", "an integer from 0 to 8", repr(bits))
    numbers = as_array(name, "bits", bits)
    check(jnp.issubdtype(numbers.dtype, jnp.integer), name, "bits", "of an integer dtype", shape_text(numbers))
    image, count = align_amounts(name, "bits", image, numbers.astype(jnp.int32))
    if image.dtype == jnp.uint8:
        mask = jnp.left_shift(np.int32(255), 8 - count) & np.int32(255)
        return jnp.bitwise_and(image, mask.astype(jnp.uint8))
    x = image.astype(working_dtype(image))
    step = jnp.left_shift(np.int32(1), 8 - count).astype(x.dtype)
    kept = jnp.floor(_to_levels(x) / step) * (step * (1 / TOP))
    return jnp.where(count >= 8, image, kept.astype(image.dtype))


def solarize(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"], threshold: float | Float[AnyArray, "*#b"]
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Inverts all values at or above a threshold.

    Args:
        image: Floating in [0, 1], or uint8, with any number of channels.
        threshold: The smallest value that is inverted, in the units of the image, [0, 1] or [0, 255]: 0 inverts
            everything, more than 1 or 255 nothing; one number, or one per example.

    Returns:
        The image in its dtype. Differentiable in the image, not in the threshold.

    Raises:
        ValueError: If a shape or dtype is wrong, or leading axes do not broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.solarize(jnp.array([[[0, 100, 255]]], jnp.uint8), 100.0).tolist()
        [[[0, 155, 0]]]

    Parity:
        torchvision 0.28 ``v2.functional.solarize``: float32 and uint8 equal.
    """
    name = "solarize"
    image = check_pixels(name, image)
    dtype = working_dtype(image)
    image, least = align_amounts(name, "threshold", image, as_amount(name, "threshold", threshold, dtype))
    return jnp.where(image.astype(dtype) >= least, _largest_value(image.dtype) - image, image)


def autocontrast(
    image: Float[AnyArray, "*b h w c"] | UInt8[AnyArray, "*b h w c"],
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Stretches every channel so that its smallest value becomes 0 and its largest 1.

    Args:
        image: Floating in [0, 1], or uint8, with any number of channels; computed in float32 or wider. A constant
            channel is not changed.

    Returns:
        The image in its dtype; fractions of uint8 are truncated, as by Pillow and torchvision. Differentiable.

    Raises:
        ValueError: If the shape or dtype of the image is wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.autocontrast(jnp.array([[[0.25], [0.375], [0.75]]])).tolist()
        [[[0.0], [0.25], [1.0]]]

    Parity:
        torchvision 0.28 ``v2.functional.autocontrast`` (of one or three channels), on photographs: uint8 equal, float32
        within 2e-7. Pillow 13 ``ImageOps.autocontrast``: within 1 level.
    """
    image = check_pixels("autocontrast", image)
    top = TOP if image.dtype == jnp.uint8 else 1.0
    x = jnp.moveaxis(image, -1, -3).astype(working_dtype(image))
    low, high = (f(x, (-2, -1), keepdims=True) for f in (jnp.min, jnp.max))
    flat = low == high
    width = jnp.where(flat, 1.0, (high - low) * (1 / top))
    apart = x - jnp.where(flat, 0.0, low)
    if image.dtype == jnp.uint8:  # XLA multiplies by the inverse of a repeated divisor, which rounds differently
        width = lax.optimization_barrier(width + jnp.zeros_like(apart))
    stretched = apart / width
    stretched = jnp.where(stretched < 0, 0.0, jnp.where(stretched > top, top, stretched))
    return jnp.moveaxis(stretched.astype(image.dtype), -3, -1)


def equalize(
    image: Float[AnyArray, "*b h w c"] | UInt8[AnyArray, "*b h w c"],
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Equalizes the histogram of every channel.

    Convention:
        There are 256 levels; the result for a floating image is that for the uint8 image, divided by 255: a value x
        represents the level floor(255.999 x), as in torchvision's conversion.

    Args:
        image: Floating in [0, 1], or uint8, with any number of channels. A channel with fewer than 255 pixels
            below its largest level is not changed.

    Returns:
        The image in its dtype. The gradient is 0, as for every step function.

    Raises:
        ValueError: If the shape or dtype of the image is wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.arange(100, 116, dtype=jnp.uint8).repeat(30).reshape(1, 480, 1)
        >>> ops.equalize(image)[0, ::120, 0].tolist()
        [0, 120, 240, 255]

    Parity:
        torchvision 0.28 ``v2.functional.equalize``: uint8 equal, float32 within 1e-7; Pillow 13
        ``ImageOps.equalize``: equal.
    """
    image = check_pixels("equalize", image)
    floats = image.dtype != jnp.uint8
    x = jnp.moveaxis(image, -1, -3)
    level = _to_levels(x.astype(working_dtype(image))).astype(jnp.int32) if floats else x.astype(jnp.int32)
    mapped = over_batch(_equalize_levels, (level,), (3,), name="equalize", arguments="image")
    if floats:
        mapped = mapped.astype(working_dtype(image)) * (1 / TOP)
    return jnp.moveaxis(mapped.astype(image.dtype), -3, -1)


def _equalize_levels(level: jax.Array) -> jax.Array:
    """Maps the levels of one example (c, h, w).

    The histogram is one scatter with one index for all channels: on CPU 2 ns a value, where a scatter per channel takes
    12, sorting 39, products of one-hot halves 115, and comparison with all levels 580.
    """
    c = level.shape[0]
    index = level + 256 * lax.broadcasted_iota(jnp.int32, (c, 1, 1), 0)
    start = jnp.zeros(256 * c, jnp.int32)
    histogram = start.at[index].add(1, mode="promise_in_bounds").reshape(c, 256)
    below = jnp.cumsum(histogram, -1) - histogram
    # The number of pixels below the largest level that occurs.
    rest = jnp.max(jnp.where(histogram > 0, below, 0), -1, keepdims=True)
    step = rest // 255
    table = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), 255)
    table = jnp.where(step == 0, lax.broadcasted_iota(jnp.int32, (c, 256), 1), table)
    # The table is sorted already; but a sort is not fused into the lookup, where XLA would otherwise recompute the
    # entry, divisions and all, for every pixel.
    table = lax.sort(table, dimension=1)
    return table.reshape(256 * c).at[index].get(mode="promise_in_bounds")


def _largest_value(dtype: np.dtype) -> np.ndarray:
    """Returns the largest value of an image of that dtype."""
    return np.asarray(TOP if dtype == jnp.uint8 else 1.0, dtype)


def _to_levels(x: jax.Array) -> jax.Array:
    """Returns the levels, 0 to 255, of values in [0, 1]."""
    return lax.stop_gradient(jnp.clip(jnp.floor(x * (TOP + 0.999)), 0, TOP))
