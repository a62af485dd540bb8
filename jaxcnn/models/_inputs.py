"""Checks and reshaping of the images that a model gets."""

import math

import jax.numpy as jnp

from jaxcnn._check import check, check_floating, check_min_rank, shape_text
from jaxcnn._typing import AnyArray, Array, Float

__all__ = ["check_images", "flatten_maps"]


def check_images(model: str, x: AnyArray, *, smallest: int = 1) -> None:
    """Checks that ``x`` is floating images (*b, h, w, c) of at least ``smallest`` x ``smallest`` pixels.

    A lower rank would otherwise pass silently: an image without its channel axis, say, is
    convolved along the wrong axes.
    """
    check_min_rank(model, "x", x, "h w c")
    check_floating(model, "x", x)
    check(min(x.shape[-3:-1]) >= smallest, model, "x", f"at least {smallest} x {smallest} pixels", shape_text(x))


def flatten_maps(x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b hwc"]:
    """Flattens the last three axes into one, also in an empty batch, where reshape could not infer the size."""
    return jnp.reshape(x, (*x.shape[:-3], math.prod(x.shape[-3:])))
