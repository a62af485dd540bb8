"""Filters: blur and sharpness."""

import functools
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn._check import check, check_known_sizes, is_integer_at_least, is_size_at_least, repeat_per_axis, shape_text
from jaxcnn._typing import AnyArray, Array, Float, UInt8
from jaxcnn.ops._batching import over_batch, working_dtype
from jaxcnn.ops._images import align_amounts, as_amount, check_pixels, clip_to_unit, from_planes, to_planes
from jaxcnn.ops.convolution import depthwise_conv

__all__ = ["adjust_sharpness", "gaussian_blur"]

Tangent = jax.Array | jax.custom_derivatives.SymbolicZero

_LEAST = 0.02  # such a narrow Gaussian is 1 and zeros, also in float64; below, its gradient would overflow


def gaussian_blur(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"],
    sigma: float | Float[AnyArray, "*#b"],
    *,
    kernel_size: int | tuple[int, int] | None = None,
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Blurs an image by a truncated Gaussian that sums to 1, first along columns, then along rows.

    Beyond its border the image is reflected; the border pixels are not repeated.

    Args:
        image: Floating, or uint8, with any number of channels; computed in float32 or wider.
        sigma: Standard deviation in pixels; 0 does not blur. One number, or one per example, also traced.
        kernel_size: Height and width of the kernel, or one number for both, odd and below twice the size of the image.
            None is 2 ceil(3 sigma) + 1, for which ``sigma`` must be a number.

    Returns:
        The image in its dtype; uint8 is rounded to the nearest level. Differentiable in image and sigma.

    Raises:
        ValueError: If a shape or dtype is wrong, leading axes do not broadcast, ``sigma`` is a negative number, or
            ``kernel_size`` is not odd, too large for the image, or None with an array as ``sigma``.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.zeros((5, 5, 1)).at[2, 2].set(1.0)
        >>> [round(v, 3) for v in ops.gaussian_blur(image, 0.5, kernel_size=3)[2, :, 0].tolist()]
        [0.0, 0.084, 0.619, 0.084, 0.0]

    Parity:
        torchvision 0.28 ``v2.functional.gaussian_blur`` of the same kernel size and sigma, on photographs: float32
        within 1e-6, uint8 within 1 level (sums that end in a half).
    """
    name = "gaussian_blur"
    image = check_pixels(name, image)
    dtype = working_dtype(image)
    width = as_amount(name, "sigma", sigma, dtype, low=0.0)
    if kernel_size is None:
        if not isinstance(sigma, int | float | np.integer | np.floating):
            raise ValueError(f"{name}: kernel_size must be given, as sigma is an array, got None.")
        sizes = repeat_per_axis(2 * math.ceil(3 * float(sigma)) + 1, 2)
    else:
        sizes = repeat_per_axis(kernel_size, 2)
    pair = isinstance(sizes, tuple | list) and len(sizes) == 2
    valid = pair and all(is_integer_at_least(size, 1) and size % 2 == 1 for size in sizes)
    check(valid, name, "kernel_size", "one or two odd positive integers", repr(kernel_size))
    small = all(is_size_at_least(edge, size // 2 + 1) for size, edge in zip(sizes, image.shape[-3:-1], strict=True))
    expected = f"below twice height and width, as image is {shape_text(image)}"
    check(small, name, "kernel_size", expected, repr(tuple(sizes)))
    high, wide = (_gaussian(width, int(size)) for size in sizes)

    def blur_one(x: jax.Array, high: jax.Array, wide: jax.Array) -> jax.Array:
        planes = jnp.moveaxis(x, -1, 0).astype(dtype)
        planes = _correlate(1, _correlate(0, planes, high), wide)
        if image.dtype == jnp.uint8:
            planes = jnp.floor(jnp.clip(planes, 0, 255) + 0.5)
        return jnp.moveaxis(planes.astype(image.dtype), 0, -1)

    return over_batch(blur_one, (image, high, wide), (3, 1, 1), name=name, arguments="image and sigma")


def adjust_sharpness(
    image: Float[AnyArray, "*#b h w c"] | UInt8[AnyArray, "*#b h w c"], factor: float | Float[AnyArray, "*#b"]
) -> Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"]:
    """Moves all pixels away from the mean of their 3 x 3 neighborhood, the pixel weighted five times, or toward it.

    Args:
        image: Floating in [0, 1], or uint8, with any number of channels; computed in float32 or wider. Its border
            pixels are not changed.
        factor: 0 is smooth, 1 returns the image unchanged, 2 is twice as sharp; one number, or one per example.

    Returns:
        The image in its dtype, limited to [0, 1]; uint8 is rounded to the nearest level. Differentiable in image
        and factor.

    Raises:
        ValueError: If a shape or dtype is wrong, leading axes do not broadcast, or ``factor`` is a negative number.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.zeros((3, 3, 1)).at[1, 1].set(0.5)
        >>> round(ops.adjust_sharpness(image, 0.0)[1, 1, 0].item(), 4)  # 5 / 13 of it
        0.1923

    Parity:
        torchvision 0.28 ``v2.functional.adjust_sharpness`` (of one or three channels), on photographs: float32 within
        2e-7; uint8 within 1 level, as torchvision rounds the mean and cuts fractions off.
    """
    name = "adjust_sharpness"
    image = check_pixels(name, image)
    strength = as_amount(name, "factor", factor, working_dtype(image), low=0.0)
    image, strength = align_amounts(name, "factor", image, strength)
    x = to_planes(image)
    h, w = x.shape[-2:]
    if not is_size_at_least(h, 3) or not is_size_at_least(w, 3):
        check_known_sizes(name, "image", image, "h w", (h, w))
        return from_planes(clip_to_unit(x + 0 * strength), image.dtype)
    high = x[..., : h - 2, :] + x[..., 1 : h - 1, :] + x[..., 2:, :]
    box = high[..., : w - 2] + high[..., 1 : w - 1] + high[..., 2:]
    middle = x[..., 1 : h - 1, 1 : w - 1]
    apart = (box + 4 * middle) * (1 / 13) - middle
    edges = [(0, 0, 0)] * (x.ndim - 2) + [(1, 1, 0)] * 2
    return from_planes(clip_to_unit(x + (1 - strength) * lax.pad(apart, np.zeros((), x.dtype), edges)), image.dtype)


def _gaussian(sigma: jax.Array, size: int) -> jax.Array:
    """Returns kernels (*b, size)."""
    sigma = sigma[..., None]
    narrow = sigma < _LEAST
    places = np.arange(size, dtype=sigma.dtype) - size // 2
    places = places.reshape((1,) * (sigma.ndim - 1) + (size,))
    weights = jnp.exp(-0.5 * (places / jnp.where(narrow, _LEAST, sigma)) ** 2)
    return weights / jnp.sum(weights, -1, keepdims=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _correlate(axis: int, planes: jax.Array, kernel: jax.Array) -> jax.Array:
    """Correlates planes (c, h, w) with a kernel along one of h and w, in one vectorised pass over shifted slices.

    The barrier keeps XLA from recomputing the padding in every term. Derivatives use ``depthwise_conv``, whose
    adjoints are such sums again: the adjoint of slices is a sum of padded planes, ten times as slow on CPU.
    """
    size, n = kernel.shape[0], planes.shape[1 + axis]
    edges = [(0, 0), (0, 0), (0, 0)]
    edges[1 + axis] = (size // 2, size // 2)
    padded = lax.optimization_barrier(jnp.pad(planes, edges, mode="reflect"))
    terms = [kernel[i, None, None, None] * lax.slice_in_dim(padded, i, i + n, axis=1 + axis) for i in range(size)]
    return functools.reduce(operator.add, terms)


@functools.partial(_correlate.defjvp, symbolic_zeros=True)
def _correlate_jvp(
    axis: int, primals: tuple[jax.Array, jax.Array], tangents: tuple[Tangent, Tangent]
) -> tuple[jax.Array, jax.Array]:
    planes, kernel = primals
    parts = []
    for x, k in ((tangents[0], kernel), (planes, tangents[1])):
        if isinstance(x, jax.Array) and isinstance(k, jax.Array):  # else one is a symbolic zero
            taps = k[:, None, None, None] if axis == 0 else k[None, :, None, None]
            parts.append(depthwise_conv(x[..., None], taps, padding="REFLECT")[..., 0])
    value = _correlate(axis, planes, kernel)
    return value, functools.reduce(operator.add, parts) if parts else jnp.zeros_like(value)
