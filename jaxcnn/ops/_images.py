"""Images of either kind, floating in [0, 1] or uint8, and how color operations process them.

They work on planes: the channel axis comes before height and width, so that inner loops run over pixels and
not over three channels. XLA cancels the transposes between operations that follow each other, as long as nothing is
between them: dtypes are converted inside.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcnn._check import as_array, check, check_min_rank, shape_text
from jaxcnn._typing import Dtype
from jaxcnn.ops._batching import broadcast_leading, working_dtype

__all__ = [
    "align_leading",
    "as_amount",
    "check_channels",
    "check_pixels",
    "from_planes",
    "substitute_exact",
    "clip_to_unit",
    "to_planes",
    "align_amounts",
]

TOP = 255.0
"""The largest level of uint8, which represents 1."""


def check_pixels(function: str, image: ArrayLike) -> jax.Array:
    """Returns the image as a JAX array, or refuses one that is neither floating nor uint8 or has no pixels."""
    image = as_array(function, "image", image)
    check_min_rank(function, "image", image, "h w c")
    known = jnp.issubdtype(image.dtype, jnp.floating) or image.dtype == jnp.uint8
    fix = "; image.astype('uint8') converts levels of 0 to 255" if jnp.issubdtype(image.dtype, jnp.integer) else ""
    check(known, function, "image", "of a floating dtype or uint8", shape_text(image) + fix)
    check(0 not in image.shape[-3:], function, "image", "at least 1 x 1 pixels of one channel", shape_text(image))
    return image


def check_channels(function: str, image: jax.Array, *allowed: int) -> None:
    """Refuses an image with another number of channels."""
    expected = f"of {' or '.join(map(str, allowed))} channels"
    check(image.shape[-1] in allowed, function, "image", expected, shape_text(image))


def as_amount(
    function: str,
    argument: str,
    value: ArrayLike,
    dtype: Dtype,
    low: float = -np.inf,
    high: float = np.inf,
) -> jax.Array:
    """Returns a number, or an array of one number per example, in the dtype of computation.

    Only plain numbers are compared with the limits: an array may be traced.
    """
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        expected = f"in [{low:g}, {high:g}]" if high < np.inf else f"at least {low:g}"
        check(bool(low <= value <= high), function, argument, expected, f"{value}")
        return jnp.asarray(value, dtype)
    array = as_array(function, argument, value)
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    check(real, function, argument, "of a floating or integer dtype", shape_text(array))
    return array.astype(dtype)


def align_leading(
    function: str, arguments: str, arrays: tuple[jax.Array, ...], cores: tuple[int, ...]
) -> list[jax.Array]:
    """Returns the arrays with equally many leading axes, which broadcast; ``cores`` counts the other axes of each."""
    leads = [a.shape[: a.ndim - core] for a, core in zip(arrays, cores, strict=True)]
    got = " and ".join(shape_text(a) for a in arrays)
    check(broadcast_leading(leads) is not None, function, arguments, "of leading axes that broadcast", got)
    depth = max(map(len, leads))
    return [jnp.expand_dims(a, range(depth - len(lead))) for a, lead in zip(arrays, leads, strict=True)]


def align_amounts(function: str, arguments: str, image: jax.Array, *amounts: jax.Array) -> list[jax.Array]:
    """Returns the image and the amounts of its examples with ranks that broadcast."""
    image, *rest = align_leading(function, f"image and {arguments}", (image, *amounts), (3, *[0] * len(amounts)))
    return [image, *[jnp.expand_dims(a, (-3, -2, -1)) for a in rest]]


def to_planes(image: jax.Array) -> jax.Array:
    """Returns planes (*b, c, h, w) in [0, 1], float32 or float64."""
    planes = jnp.moveaxis(image, -1, -3)
    wide = planes.astype(working_dtype(image))
    return wide * (1 / TOP) if image.dtype == jnp.uint8 else wide


def from_planes(planes: jax.Array, dtype: Dtype) -> jax.Array:
    """Returns the image of planes; for uint8 it is rounded to the nearest level."""
    if dtype == jnp.uint8:
        planes = jnp.floor(jnp.clip(planes * TOP, 0, TOP) + 0.5)
    return jnp.moveaxis(planes.astype(dtype), -3, -1)


def clip_to_unit(x: jax.Array, clip: bool = True) -> jax.Array:
    """Clips values to [0, 1]; values at a limit, such as black and white, keep their whole gradient."""
    return jnp.where(x < 0, 0.0, jnp.where(x > 1, 1.0, x)) if clip else x


def substitute_exact(known: jax.Array, exact: jax.Array, computed: jax.Array) -> jax.Array:
    """Returns ``computed`` with the value, but not the derivative, of ``exact`` where that is ``known``."""
    substituted = jax.lax.stop_gradient(exact) + (computed - jax.lax.stop_gradient(computed))
    return jnp.where(known, substituted, computed)
