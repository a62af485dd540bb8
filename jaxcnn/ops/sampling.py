"""Reading an image at arbitrary points."""

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, check_choice, check_floating, check_min_rank, shape_text
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.ops._batching import batch_size, in_pieces, over_batch, working_dtype
from jaxcnn.ops._sampling.antialias import antialiased
from jaxcnn.ops._sampling.gather import read
from jaxcnn.ops._sampling.interpolation import WIDTHS, along, coordinate, pixel_numbers
from jaxcnn.ops.grids import SPATIAL, check_vectors

__all__ = ["Mode", "PaddingMode", "Sampling", "check_image", "check_options", "grid_sample", "sample_pixels"]

Mode = Literal["bilinear", "nearest", "bicubic"]
PaddingMode = Literal["zeros", "border", "reflection", "fill"]


def grid_sample(
    image: Float[AnyArray, "*batch_and_size c"],
    grid: Float[AnyArray, "*batch_and_shape d"],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*batch_and_out c"]:
    """Reads images (*batch, h, w, c) at points (*batch, h_out, w_out, 2), or volumes (*batch, d, h, w, c) at (..., 3).

    Every output pixel is a weighted sum of the input pixels around its point, and the result is
    differentiable in image, grid and fill value, forward and reverse, of any order. When the image is
    not differentiated, the compiled gradient holds no scatter.

    Convention:
        - Axes: channels last; any number of leading axes, also none, broadcast as in NumPy.
        - Points: ``grid[..., 0]`` is x (column, rightwards), ``grid[..., 1]`` is y (row, downwards), and of
          volumes ``grid[..., 2]`` is z (along the first spatial axis). All span [-1, 1] over the image:
          its outer edges or, under ``align_corners``, the centres of its border pixels.
        - At a point on a pixel centre the slope of ``"bilinear"`` is the right-hand one, as in PyTorch.
        - A NaN coordinate gives NaN. An infinite one lies outside (under ``"reflection"``: NaN).
        - A pixel of weight zero is not read: what is not finite stays where it is (in values; the gradient to the
          grid of a point beside it may be NaN).
        - The last axis of the grid alone says whether the image is one of pixels or of voxels.

    Args:
        image: Values to read.
        grid: Where to read them; float32 is used for narrower coordinates.
        mode: ``"bilinear"`` mixes the 4 nearest pixels (8 of a volume: trilinear), ``"bicubic"`` 16 (64) by
            cubic convolution with a = -0.75, ``"nearest"`` takes one (half-way points go to the even index;
            the gradient to the grid is zero).
        padding_mode: What lies outside: ``"zeros"``, the nearest ``"border"`` pixel, the image mirrored
            at its edges (``"reflection"``), or ``"fill"``. Zeros and fill blend over one pixel.
        fill_value: With ``"fill"``: one value, or one per channel, that lies outside.
        align_corners: What -1 and 1 stand for, see Convention.
        antialias: Whether an output pixel that covers more than one input pixel is a mean over what it covers
            (images and ``"bilinear"`` only). What it covers follows from the grid: the steps to the
            neighbouring points (none along an axis of one point). Where the grid does not shrink the image
            nothing changes.

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
        NaN coordinates, pixels that are not finite, and what it does not have: ``"fill"``, and
        ``"bicubic"`` of volumes.

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.3; Keys 1981, "Cubic convolution interpolation
        for digital image processing".
    """
    grid, d = check_vectors("grid_sample", "grid", grid)
    image = check_image("grid_sample", image, d)
    how = check_options("grid_sample", image, mode, padding_mode, fill_value, align_corners, antialias, d)
    arrays, dtype = (image, grid), working_dtype(image, grid)
    batch = batch_size(arrays, (d + 1, d + 1))
    size = image.shape[-1 - d : -1]

    def one(image: Any, grid: Any) -> Any:
        points = [_to_pixels(coordinate(grid, i).astype(dtype), n, align_corners) for i, n in enumerate(reversed(size))]
        return sample_pixels(image, points, how, batch)

    return over_batch(one, arrays, (d + 1, d + 1), name="grid_sample", arguments="image and grid")


class Sampling(NamedTuple):
    """Checked options of ``grid_sample``."""

    mode: str
    padding_mode: str
    fill: Any  # None for zero or nothing, or one value (per channel)
    align_corners: bool
    antialias: bool
    finite: bool = False  # whether all pixels are known to be finite

    def pieces(self, image: Any, points: int, dimensions: int, batch: int) -> int:
        """Tells in how many pieces to read ``points`` per image, for the memory that a gradient takes on the way.

        It is to stay below 8 times that of input and output, or 64 MB. What a point takes was measured
        (``benchmarks/speed/grid_sample_memory.py``).
        """
        c, width = image.shape[-1], image.dtype.itemsize
        pixels = math.prod(image.shape[-1 - dimensions : -1])
        if self.antialias:
            numbers = 128 + 2 * c
        else:
            numbers = 3 * WIDTHS[self.mode] ** dimensions + 3 + (3 * c if self.fill is not None else 0)
        needed = points * numbers * max(width, 4)
        allowed = max(8 * width * c * (pixels + points), 64_000_000 / max(batch, 1))
        return math.ceil(4 * needed / allowed) if needed > allowed else 1


def check_image(function: str, image: Any, dimensions: int = 2) -> jax.Array:
    """Returns the image as a JAX array, or refuses what is not a floating one of at least one pixel."""
    image = as_array(function, "image", image)
    check_min_rank(function, "image", image, f"{SPATIAL[dimensions]} c")
    check_floating(function, "image", image)
    empty = 0 in image.shape[-1 - dimensions : -1]
    check(not empty, function, "image", "at least 1 x 1 pixels", shape_text(image))
    return image


def check_options(
    function: str,
    image: Any,
    mode: Any,
    padding_mode: Any,
    fill_value: Any,
    align_corners: bool,
    antialias: bool,
    dimensions: int = 2,
) -> Sampling:
    """Refuses unknown options and returns them."""
    check_choice(function, "mode", mode, ("bilinear", "nearest", "bicubic"))
    check_choice(function, "padding_mode", padding_mode, ("zeros", "border", "reflection", "fill"))
    fill = None
    if padding_mode != "fill":
        unused = isinstance(fill_value, int | float | np.number) and fill_value == 0
        check(unused, function, "fill_value", 'left alone unless padding_mode="fill"', repr(fill_value))
    else:
        fill, c = as_array(function, "fill_value", fill_value), image.shape[-1]
        expected = f"one value or {c}, one per channel"
        check(fill.shape in ((), (c,)), function, "fill_value", expected, shape_text(fill))
    able = not antialias or (mode == "bilinear" and dimensions == 2)
    got = f"mode {mode!r} in {dimensions} dimensions"
    check(able, function, "antialias", 'False but for images and mode "bilinear"', got)
    return Sampling(mode, padding_mode, fill, align_corners, antialias)


def sample_pixels(image: Any, coordinates: Sequence[Any], how: Sampling, batch: int, *, steps: Any = None) -> jax.Array:
    """Reads one image (*size, c) of a batch at points given in pixels, x first, the first pixel's centre being 0.

    Antialiasing takes from ``steps`` how (x, y) change to the next row and to the next column where there is none.
    """
    *size, c = image.shape
    dtype = coordinates[0].dtype
    count = how.pieces(image, math.prod(coordinates[0].shape), len(size), batch)
    if how.antialias:
        x, y = coordinates
        return antialiased(image, x, y, how.padding_mode, how.fill, how.align_corners, count, steps)
    # One index per pixel: XLA gathers, and above all scatters, faster along one axis than along several.
    pixels = image.reshape(math.prod(size), c).astype(dtype)
    strides = [math.prod(size[i + 1 :]) for i in range(len(size))]

    def piece(*coordinates: Any) -> Any:
        axes = [
            along(position, n, how.mode, how.padding_mode, how.align_corners)
            for position, n in zip(reversed(coordinates), size, strict=True)
        ]
        first = pixel_numbers([axis.first for axis in axes], strides, len(pixels))
        *outer, inner = axes
        rows = [
            sum(k * stride for k, stride in zip(taps, strides, strict=False))
            for taps in itertools.product(*(range(len(axis.weights)) for axis in outer))
        ]
        weights = [functools.reduce(operator.mul, taps) for taps in itertools.product(*(axis.weights for axis in axes))]
        values = read(pixels, weights, first, rows=rows, width=len(inner.weights), finite=how.finite)
        if how.fill is not None:
            # Exactly zero where all is inside, so that even an infinite fill does not leak in.
            inside = functools.reduce(operator.mul, (1 - axis.outside for axis in axes))
            outside = (1 - inside)[..., None]
            fill = jnp.broadcast_to(jnp.asarray(how.fill, dtype), values.shape)
            values += jnp.where(outside == 0, 0, outside * fill)
        return values.astype(image.dtype)

    return in_pieces(piece, coordinates, count)


def _to_pixels(coordinate: Any, size: int, align_corners: bool) -> Any:
    if align_corners:
        return (coordinate + 1) * (0.5 * (size - 1))
    return ((coordinate + 1) * size - 1) * 0.5
