"""Images of either kind, floating in [0, 1] or uint8, and how colour operations work on them.

They work on planes: the channel axis stands before height and width, so that inner loops run over pixels and
not over three channels. XLA cancels the transposes between operations that follow each other, as long as nothing stands
between them: dtypes are changed inside.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, check_min_rank, shape_text
from jaxcnn.ops._batching import working_dtype

__all__ = [
    "aligned",
    "amount",
    "check_channels",
    "check_pixels",
    "from_planes",
    "kept_where",
    "limited",
    "to_planes",
    "with_amounts",
]

TOP = 255.0
"""The largest level of uint8, which stands for 1."""


def check_pixels(function: str, image: Any) -> jax.Array:
    """Returns the image as a JAX array, or refuses what is neither floating nor uint8, or has no pixel."""
    image = as_array(function, "image", image)
    check_min_rank(function, "image", image, "h w c")
    known = jnp.issubdtype(image.dtype, jnp.floating) or image.dtype == jnp.uint8
    check(known, function, "image", "of a floating dtype or uint8", shape_text(image))
    check(0 not in image.shape[-3:], function, "image", "at least 1 x 1 pixels of one channel", shape_text(image))
    return image


def check_channels(function: str, image: Any, *allowed: int) -> None:
    """Refuses an image of another number of channels."""
    expected = f"of {' or '.join(map(str, allowed))} channels"
    check(image.shape[-1] in allowed, function, "image", expected, shape_text(image))


def amount(function: str, argument: str, value: Any, dtype: Any, low: float = -np.inf, high: float = np.inf) -> Any:
    """Returns a number, or an array of one number per example, in the dtype of computation.

    Only plain numbers can be held against the limits: an array may be traced.
    """
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        expected = f"in [{low:g}, {high:g}]" if high < np.inf else f"at least {low:g}"
        check(bool(low <= value <= high), function, argument, expected, f"{value}")
        return jnp.asarray(value, dtype)
    value = as_array(function, argument, value)
    real = jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
    check(real, function, argument, "of a floating or integer dtype", shape_text(value))
    return value.astype(dtype)


def aligned(function: str, arguments: str, arrays: tuple[Any, ...], cores: tuple[int, ...]) -> list[Any]:
    """Gives all arrays as many leading axes, of length 1 where one has fewer; ``cores`` axes of each are its own."""
    leads = [a.shape[: a.ndim - core] for a, core in zip(arrays, cores, strict=True)]
    try:
        np.broadcast_shapes(*leads)
    except ValueError:
        got = " and ".join(shape_text(a) for a in arrays)
        raise ValueError(f"{function}: {arguments} must be of leading axes that broadcast, got {got}.") from None
    depth = max(map(len, leads))
    return [jnp.expand_dims(a, range(depth - len(lead))) for a, lead in zip(arrays, leads, strict=True)]


def with_amounts(function: str, arguments: str, image: Any, *amounts: Any) -> list[Any]:
    """Gives the image and the amounts of its examples in ranks that broadcast."""
    image, *rest = aligned(function, f"image and {arguments}", (image, *amounts), (3, *[0] * len(amounts)))
    return [image, *[jnp.expand_dims(a, (-3, -2, -1)) for a in rest]]


def to_planes(image: Any) -> Any:
    """Gives planes (*b, c, h, w) in [0, 1], float32 or float64."""
    planes = jnp.moveaxis(image, -1, -3)
    wide = planes.astype(working_dtype(image))
    return wide * (1 / TOP) if image.dtype == jnp.uint8 else wide


def from_planes(planes: Any, dtype: Any) -> Any:
    """Gives the image of planes; uint8 takes the nearest level."""
    if dtype == jnp.uint8:
        planes = jnp.floor(jnp.clip(planes * TOP, 0, TOP) + 0.5)
    return jnp.moveaxis(planes.astype(dtype), -3, -1)


def limited(x: Any, clip: bool = True) -> Any:
    """Limits values to [0, 1]; those at a limit, as of black and of white, pass their whole gradient on."""
    return jnp.where(x < 0, 0.0, jnp.where(x > 1, 1.0, x)) if clip else x


def kept_where(unchanged: Any, x: Any, y: Any) -> Any:
    """Gives y, whose value, but not whose derivative, is replaced by x where that is known to be the exact one."""
    return jnp.where(unchanged, jax.lax.stop_gradient(x) + (y - jax.lax.stop_gradient(y)), y)
