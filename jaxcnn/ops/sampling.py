"""Reading an image at arbitrary points."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import array, at_least_rank, check, choice, floating, shape_text
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.ops._batching import over_batch, working_dtype

__all__ = ["Mode", "PaddingMode", "check_image", "check_options", "grid_sample", "sample_pixels"]

Mode = Literal["bilinear", "nearest"]
PaddingMode = Literal["zeros", "border", "reflection", "fill"]


def grid_sample(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    grid: Float[AnyArray, "*#batch h_out w_out xy=2"],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
) -> Float[Array, "*#batch h_out w_out c"]:
    """Reads an image at the points of a grid.

    With ``mode="bilinear"`` every output pixel is a weighted mean of the four input pixels around its
    point, and the result is differentiable in image, grid and fill value, forward and reverse. When
    the image is not differentiated, the compiled gradient holds no scatter.

    Convention:
        - Axes: channels last; any number of leading axes, also none, broadcast as in NumPy.
        - Points: ``grid[..., 0]`` is x (column, rightwards), ``grid[..., 1]`` is y (row, downwards).
          Both span [-1, 1] over the image: its outer edges or, under ``align_corners``, the centres
          of its border pixels.
        - At a point on a pixel centre the slope is the right-hand one, as in PyTorch.
        - A NaN coordinate gives NaN. An infinite one lies outside (under ``"reflection"``: NaN).

    Args:
        image: Values to read.
        grid: Where to read them; float32 is used for narrower coordinates.
        mode: ``"bilinear"`` mixes the 4 nearest pixels, ``"nearest"`` takes one (half-way points go to
            the even index; the gradient to the grid is zero).
        padding_mode: What lies outside: ``"zeros"``, the nearest ``"border"`` pixel, the image mirrored
            at its edges (``"reflection"``), or ``"fill"``. Zeros and fill blend over one pixel.
        fill_value: With ``"fill"``: one value, or one per channel, that lies outside.
        align_corners: What -1 and 1 stand for, see Convention.

    Returns:
        The values read, in the dtype of ``image``.

    Raises:
        ValueError: If an option is unknown, a rank, dtype or the last axis of the grid is wrong, the
            leading axes do not broadcast, or image or grid has an empty spatial axis.

    Example:
        Midway between two pixels lies their mean.

        >>> image = jnp.array([[[10.0], [20.0]]])  # h_in=1, w_in=2, c=1
        >>> ops.grid_sample(image, jnp.zeros((1, 1, 2))).item()
        15.0

    Parity:
        Values and both gradients equal ``torch.nn.functional.grid_sample`` (axes moved), except for
        NaN coordinates and ``"fill"``, which it does not have.

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.3.
    """
    image, grid = check_image("grid_sample", image), array("grid_sample", "grid", grid)
    floating("grid_sample", "grid", grid)
    at_least_rank("grid_sample", "grid", grid, "h_out w_out 2")
    check(grid.shape[-1] == 2, "grid_sample", "grid", "of shape (..., h_out, w_out, 2)", shape_text(grid))
    check(0 not in grid.shape[-3:-1], "grid_sample", "grid", "at least 1 x 1 points", shape_text(grid))
    fill = check_options("grid_sample", image, mode, padding_mode, fill_value)
    dtype = working_dtype(image, grid)
    h, w = image.shape[-3:-1]

    def one(image: Any, grid: Any) -> Any:
        x = _to_pixels(grid[..., 0].astype(dtype), w, align_corners)
        y = _to_pixels(grid[..., 1].astype(dtype), h, align_corners)
        return sample_pixels(image, x, y, mode, padding_mode, fill, align_corners)

    return over_batch(one, (image, grid), (3, 3), name="grid_sample", arguments="image and grid")


def check_image(function: str, image: Any) -> jax.Array:
    """Returns the image as a JAX array, or refuses what is not a floating one of at least one pixel."""
    image = array(function, "image", image)
    at_least_rank(function, "image", image, "h w c")
    floating(function, "image", image)
    check(0 not in image.shape[-3:-1], function, "image", "at least 1 x 1 pixels", shape_text(image))
    return image


def check_options(function: str, image: Any, mode: Any, padding_mode: Any, fill_value: Any) -> Any:
    """Refuses unknown options and returns the value outside: None, or one value per channel."""
    choice(function, "mode", mode, ("bilinear", "nearest"))
    choice(function, "padding_mode", padding_mode, ("zeros", "border", "reflection", "fill"))
    if padding_mode != "fill":
        unused = isinstance(fill_value, int | float | np.number) and fill_value == 0
        check(unused, function, "fill_value", 'left alone unless padding_mode="fill"', repr(fill_value))
        return 0.0 if padding_mode == "zeros" else None
    fill = array(function, "fill_value", fill_value)
    c = image.shape[-1]
    check(fill.shape in ((), (c,)), function, "fill_value", f"one value or {c}, one per channel", shape_text(fill))
    return fill


def sample_pixels(
    image: Any, x: Any, y: Any, mode: str, padding_mode: str, fill: Any, align_corners: bool
) -> jax.Array:
    """Reads one image (h, w, c) at points given in pixels, the first pixel's centre being 0."""
    h, w, c = image.shape
    dtype = x.dtype
    x = _fold(x, w, padding_mode, align_corners)
    y = _fold(y, h, padding_mode, align_corners)
    if fill is not None:
        fill = jnp.asarray(fill, dtype)
        fill = jnp.broadcast_to(fill, (*(1,) * x.ndim, c)) if fill.ndim else fill
    # One index per pixel: XLA gathers, and above all scatters, faster along one axis than along two.
    pixels = image.reshape(h * w, c)

    def read(row: Any, column: Any) -> jax.Array:
        i = jnp.clip(row.astype(jnp.int32), 0, h - 1)
        j = jnp.clip(column.astype(jnp.int32), 0, w - 1)
        values = pixels.at[i * w + j].get(mode="promise_in_bounds").astype(dtype)
        if fill is None:
            return values
        inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
        return jnp.where(inside[..., None], values, fill)

    if mode == "nearest":
        row, column = (jax.lax.round(jax.lax.stop_gradient(v), jax.lax.RoundingMethod.TO_NEAREST_EVEN) for v in (y, x))
        lost = jnp.isnan(row) | jnp.isnan(column)
        return jnp.where(lost[..., None], jnp.nan, read(row, column)).astype(image.dtype)

    left, top = jnp.floor(jax.lax.stop_gradient(x)), jnp.floor(jax.lax.stop_gradient(y))
    across, down = x - left, y - top
    result = read(top, left) * ((1 - across) * (1 - down))[..., None]
    result += read(top, left + 1) * (across * (1 - down))[..., None]
    result += read(top + 1, left) * ((1 - across) * down)[..., None]
    result += read(top + 1, left + 1) * (across * down)[..., None]
    return result.astype(image.dtype)


def _to_pixels(coordinate: Any, size: int, align_corners: bool) -> Any:
    if align_corners:
        return (coordinate + 1) * (0.5 * (size - 1))
    return ((coordinate + 1) * size - 1) * 0.5


def _fold(position: Any, size: int, padding_mode: str, align_corners: bool) -> Any:
    """Brings positions of border and reflection into the image, others to where all is outside."""
    if padding_mode in ("zeros", "fill"):
        # One pixel beyond the last that touches the image nothing changes, and integers cannot overflow.
        return jax.lax.clamp(_scalar(-2.0, position), position, _scalar(size + 1.0, position))
    if padding_mode == "reflection":
        low, span = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
        if span == 0:
            return position * 0
        # A triangle wave about the nearest multiple of the period. Where division takes another multiple for the
        # nearest (XLA divides by multiplying), the point lies on an edge, which is as far from both.
        offset = position - low
        nearest = jax.lax.round(jax.lax.stop_gradient(offset) / (2 * span), jax.lax.RoundingMethod.TO_NEAREST_EVEN)
        position = jnp.abs(offset - nearest * (2 * span)) + low
    # Not jnp.clip: at the border itself the slope is zero, as in PyTorch.
    return jax.lax.clamp(_scalar(0.0, position), position, _scalar(size - 1.0, position))


def _scalar(value: float, like: Any) -> jax.Array:
    return jnp.asarray(value, like.dtype)
