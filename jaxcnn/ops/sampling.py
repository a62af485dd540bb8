"""Reading an image at arbitrary points.

From ``grid_sample`` to its gradient: ``sample_pixels`` below computes weights along every axis
(``_sampling/interpolation.py``: ``interpolate_axis``, whose ``_cubic_weights`` JAX differentiates) and sums pixels by
them (``_sampling/gather.py``: ``weighted_gather``, a primitive whose gradients to the image and to the weights are
``image_gradient`` and ``weight_gradient`` of ``_sampling/gather_xla.py`` or ``_sampling/gather_native.py``). With
``antialias`` it is ``_sampling/antialias.py``.
"""

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim

from jaxcnn._check import as_array, check, check_choice, check_floating, check_known_sizes, check_min_rank, shape_text
from jaxcnn._typing import AnyArray, Array, FillValue, Float
from jaxcnn.ops._batching import apply_in_chunks, batch_size, over_batch, working_dtype
from jaxcnn.ops._sampling.antialias import Steps, sample_antialiased
from jaxcnn.ops._sampling.gather import weighted_gather
from jaxcnn.ops._sampling.interpolation import (
    KERNEL_WIDTHS,
    Mode,
    PaddingMode,
    flat_index,
    interpolate_axis,
    take_coordinate,
)
from jaxcnn.ops.grids import SPATIAL_AXES, check_vectors

__all__ = [
    "Mode",
    "PaddingMode",
    "SamplingOptions",
    "check_image",
    "check_options",
    "grid_sample",
    "is_zero",
    "sample_pixels",
]


def grid_sample(
    image: Float[AnyArray, "*batch_and_size c"],
    grid: Float[AnyArray, "*batch_and_shape d"],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "*batch_and_out c"]:
    """Reads images (*batch, h, w, c) at points (*batch, h_out, w_out, 2), or volumes (*batch, d, h, w, c) at (..., 3).

    Every output pixel is a weighted sum of the input pixels around its point. The result is differentiable
    in image, grid and fill value, in forward and reverse mode, to any order. If the image is not
    differentiated, the compiled gradient contains no scatter.

    Convention:
        - Axes: channels last; any number of leading axes, also none, broadcast as in NumPy.
        - Points: ``grid[..., 0]`` is x (column, rightwards), ``grid[..., 1]`` is y (row, downwards), and of
          volumes ``grid[..., 2]`` is z (along the first spatial axis). All span [-1, 1] over the image:
          its outer edges or, with ``align_corners``, the centers of its border pixels (along an axis of one pixel
          every finite coordinate then is that pixel).
        - At a point on a pixel center the slope of ``"bilinear"`` is the right-hand one, as in PyTorch.
        - A NaN coordinate gives NaN. An infinite one lies outside (with ``"reflection"``: NaN).
        - Pixels of weight zero are not read, so infinite and NaN pixels do not spread to points that do not
          see them (the gradient to the grid at a point beside one may be NaN).
        - The last axis of the grid decides whether the input is an image or a volume.

    Args:
        image: Values to read.
        grid: Where to read them; float32 is used for narrower coordinates.
        mode: ``"bilinear"`` interpolates between the 4 nearest pixels (8 of a volume: trilinear), ``"bicubic"``
            between 16 (64) by cubic convolution with a = -0.75, ``"nearest"`` takes one (half-way points go to
            the even index; the gradient to the grid is zero).
        padding_mode: What lies outside: ``"zeros"``, the nearest ``"border"`` pixel, the image mirrored
            at its edges (``"reflection"``), or ``"fill"``. Zeros and fill blend in over one pixel.
        fill_value: With ``"fill"``: the value outside, one for all channels or one per channel.
        align_corners: What -1 and 1 stand for, see Convention.
        antialias: Whether to average over all input pixels that an output pixel covers (images and
            ``"bilinear"`` only). The covered area follows from the distances to the neighboring grid points
            (zero along an axis of one point). Where the grid does not shrink the image, nothing changes. Zeros and
            fill count by the share of the covered area that lies outside; with ``align_corners`` the image ends
            half a covered area beyond the centers of its border pixels. Resizing a constant image so leaves it
            constant.

    Returns:
        The values read, in the dtype of ``image``.

    Raises:
        ValueError: If an option is unknown, a rank, dtype or the last axis of the grid is wrong, the
            leading axes do not broadcast, or image or grid has an empty spatial axis.

    Example:
        Midway between two pixels the result is their mean.

        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.array([[[10.0], [20.0]]])  # h_in=1, w_in=2, c=1
        >>> ops.grid_sample(image, jnp.zeros((1, 1, 2))).item()
        15.0

    Parity:
        Values and both gradients equal ``torch.nn.functional.grid_sample`` (axes moved), except for
        NaN coordinates and pixels that are not finite. PyTorch has neither ``"fill"`` nor ``"bicubic"``
        of volumes.

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.3; Keys 1981, "Cubic convolution interpolation
        for digital image processing".
    """
    grid, d = check_vectors("grid_sample", "grid", grid)
    image = check_image("grid_sample", image, d)
    options = check_options("grid_sample", image, mode, padding_mode, fill_value, align_corners, antialias, d)
    arrays, dtype = (image, grid), working_dtype(image, grid)
    batch = batch_size(arrays, (d + 1, d + 1))
    size = image.shape[-1 - d : -1]

    def sample_one(image: jax.Array, grid: jax.Array) -> jax.Array:
        points = [
            _to_pixels(take_coordinate(grid, i).astype(dtype), n, align_corners) for i, n in enumerate(reversed(size))
        ]
        return sample_pixels(image, points, options, batch)

    return over_batch(sample_one, arrays, (d + 1, d + 1), name="grid_sample", arguments="image and grid")


class SamplingOptions(NamedTuple):
    """Checked options of ``grid_sample``."""

    mode: Mode
    padding_mode: PaddingMode
    fill: jax.Array | None  # one value (per channel) that lies outside; None unless padding_mode is "fill"
    align_corners: bool
    antialias: bool
    finite: bool = False  # whether all pixels are known to be finite

    def count_pieces(self, image: jax.Array, points: int, dimensions: int, batch: int) -> int:
        """Returns in how many pieces to read ``points`` per image, to limit the temporary memory of a gradient.

        It is to stay below 8 times that of input and output, or 64 MB. What a point takes was measured
        (``benchmarks/speed/grid_sample_memory.py``). A batch of symbolic size, in an exported program, may be large.
        """
        c, width = 1 if is_symbolic_dim(image.shape[-1]) else image.shape[-1], image.dtype.itemsize
        if is_symbolic_dim(points):
            return 1
        pixels = math.prod(image.shape[-1 - dimensions : -1])
        if self.antialias:
            numbers = 128 + 2 * c
        else:
            numbers = 3 * KERNEL_WIDTHS[self.mode] ** dimensions + 3 + (3 * c if self.fill is not None else 0)
        needed = points * numbers * max(width, 4)
        share = 0 if is_symbolic_dim(batch) else 64_000_000 / max(batch, 1)
        allowed = max(8 * width * c * (pixels + points), share)
        return math.ceil(4 * needed / allowed) if needed > allowed else 1


def check_image(function: str, image: AnyArray, dimensions: int = 2) -> jax.Array:
    """Returns the image as a JAX array; refuses anything but a floating one of at least one pixel."""
    image = as_array(function, "image", image)
    check_min_rank(function, "image", image, f"{SPATIAL_AXES[dimensions]} c")
    check_floating(function, "image", image)
    size = image.shape[-1 - dimensions : -1]
    check_known_sizes(function, "image", image, SPATIAL_AXES[dimensions], size)
    check(0 not in size, function, "image", "at least 1 x 1 pixels", shape_text(image))
    return image


def check_options(
    function: str,
    image: jax.Array,
    mode: Mode,
    padding_mode: PaddingMode,
    fill_value: FillValue,
    align_corners: bool,
    antialias: bool,
    dimensions: int = 2,
) -> SamplingOptions:
    """Refuses unknown options and returns them."""
    check_choice(function, "mode", mode, ("bilinear", "nearest", "bicubic"))
    check_choice(function, "padding_mode", padding_mode, ("zeros", "border", "reflection", "fill"))
    fill = None
    if padding_mode != "fill":
        unused = not isinstance(fill_value, str) and is_zero(fill_value)
        check(unused, function, "fill_value", 'left at 0 unless padding_mode="fill"', repr(fill_value))
    else:
        fill, c = as_array(function, "fill_value", fill_value), image.shape[-1]
        expected = f"one value or {c}, one per channel"
        check(fill.shape in ((), (c,)), function, "fill_value", expected, shape_text(fill))
    able = not antialias or (mode == "bilinear" and dimensions == 2)
    got = f"mode {mode!r} in {dimensions} dimensions"
    check(able, function, "antialias", 'False except for images and mode "bilinear"', got)
    return SamplingOptions(mode, padding_mode, fill, align_corners, antialias)


def is_zero(value: FillValue) -> bool:
    """Returns whether all numbers are known to be zero."""
    try:
        return not np.any(np.asarray(value))
    except (TypeError, ValueError, jax.errors.TracerArrayConversionError):
        return False


def sample_pixels(
    image: jax.Array,
    coordinates: Sequence[jax.Array],
    options: SamplingOptions,
    batch: int,
    *,
    steps: Steps | None = None,
) -> jax.Array:
    """Reads one image (*size, c) of a batch at points in pixels, x first; the center of the first pixel is 0.

    Antialiasing takes from ``steps`` how (x, y) change to the next row and to the next column where there is none.
    """
    dimensions = image.ndim - 1
    count = options.count_pieces(image, math.prod(coordinates[0].shape), dimensions, batch)
    if options.antialias:
        x, y = coordinates
        padding_mode, fill, align_corners = options.padding_mode, options.fill, options.align_corners
        return sample_antialiased(image, x, y, padding_mode, fill, align_corners, count, steps)
    read = _read_in_pieces if count > 1 else _read_points
    return read(image, tuple(coordinates), options.fill, options._replace(fill=None), count)


def _read_points(
    image: jax.Array,
    coordinates: tuple[jax.Array, ...],
    fill: jax.Array | None,
    options: SamplingOptions,
    count: int,
) -> jax.Array:
    *size, c = image.shape
    dtype = coordinates[0].dtype
    # One index per pixel: XLA gathers, and above all scatters, faster along one axis than along several.
    pixels = image.reshape(math.prod(size), c).astype(dtype)
    strides = [math.prod(size[i + 1 :]) for i in range(len(size))]

    def read_piece(*coordinates: jax.Array) -> jax.Array:
        axes = [
            interpolate_axis(position, n, options.mode, options.padding_mode, options.align_corners)
            for position, n in zip(reversed(coordinates), size, strict=True)
        ]
        base_index = flat_index([axis.base_index for axis in axes], strides, len(pixels))
        *outer, inner = axes
        row_offsets = [
            sum(k * stride for k, stride in zip(taps, strides, strict=False))
            for taps in itertools.product(*(range(len(axis.weights)) for axis in outer))
        ]
        weights = [functools.reduce(operator.mul, taps) for taps in itertools.product(*(axis.weights for axis in axes))]
        width, finite = len(inner.weights), options.finite
        values = weighted_gather(pixels, weights, base_index, row_offsets=row_offsets, row_width=width, finite=finite)
        if fill is not None:
            # Exactly zero where all is inside, so that even an infinite fill does not leak in.
            inside = functools.reduce(operator.mul, (1 - axis.outside for axis in axes))
            outside = (1 - inside)[..., None]
            filled = jnp.broadcast_to(jnp.asarray(fill, dtype), values.shape)
            values += jnp.where(outside == 0, 0, outside * filled)
        return values.astype(image.dtype)

    return apply_in_chunks(read_piece, coordinates, count)


# One program, which is found again: outside of ``jax.jit`` a loop over new functions would be compiled in every call.
_read_in_pieces = jax.jit(_read_points, static_argnames=("options", "count"))


def _to_pixels(coordinate: jax.Array, size: int, align_corners: bool) -> jax.Array:
    if align_corners:
        position = (coordinate + 1) * (0.5 * (size - 1))
        # An axis of one pixel has no extent: every number times zero, except that infinity stays outside.
        return jnp.where(jnp.isinf(coordinate), coordinate, position) if size == 1 else position
    return ((coordinate + 1) * size - 1) * 0.5
