"""Checks and reshaping of the images that a model gets."""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jaxcnn._check import check, check_floating, check_known_sizes, check_min_rank, is_size_at_least, shape_text
from jaxcnn._typing import AnyArray, Array, Float

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "check_images", "flatten_maps", "normalize_pixels", "undo_normalization"]


def check_images(model: str, x: AnyArray, *, smallest: int = 1) -> None:
    """Checks that ``x`` is floating images (*b, h, w, c) of at least ``smallest`` x ``smallest`` pixels.

    A lower rank would otherwise pass silently: an image without its channel axis, say, is
    convolved along the wrong axes.
    """
    check_min_rank(model, "x", x, "h w c")
    check_floating(model, "x", x)
    large = all(is_size_at_least(n, smallest) for n in x.shape[-3:-1])
    check(large, model, "x", f"at least {smallest} x {smallest} pixels", shape_text(x))


def flatten_maps(x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b hwc"]:
    """Flattens the last three axes into one, also in an empty batch, where reshape could not infer the size."""
    check_known_sizes("models", "x", x, "h w", x.shape[-3:-1])  # the weights behind belong to one size
    return jnp.reshape(x, (*x.shape[:-3], math.prod(x.shape[-3:])))


def normalize_pixels(
    x: Float[AnyArray, "*b h w c"], mean: AnyArray | Sequence[float], std: AnyArray | Sequence[float]
) -> Float[Array, "*b h w c"]:
    """Computes (x / 255 - mean) / std per channel, in float32 at least; returns the dtype of ``x``."""
    exact = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    mean, std = (jnp.asarray(one, exact.dtype).reshape((1,) * (x.ndim - 1) + (-1,)) for one in (mean, std))
    return ((exact / 255 - mean) / std).astype(x.dtype)


def undo_normalization(model: str, x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Turns images normalized by ImageNet's mean and standard deviation into images in [-1, 1]."""
    check(x.shape[-1] == 3, model, "x", "of 3 channels, as transform_input is set", shape_text(x))
    mean, std = (jnp.asarray(one, x.dtype).reshape((1,) * (x.ndim - 1) + (3,)) for one in (IMAGENET_MEAN, IMAGENET_STD))
    return jnp.asarray(x) * (std / 0.5) + (mean - 0.5) / 0.5


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels in [0, 1], red, green and blue."""
