"""Sampling with a gradient to the grid that reaches further than the neighboring pixels."""

import functools

import jax
import jax.numpy as jnp

from jaxcnn._check import as_array, check, check_floating, shape_text
from jaxcnn._typing import AnyArray, Array, FillValue, Float
from jaxcnn.ops._batching import over_batch, working_dtype
from jaxcnn.ops._sampling.transforms import adjugate
from jaxcnn.ops.grids import check_vectors
from jaxcnn.ops.sampling import PaddingMode, check_image, check_options, grid_sample

__all__ = ["linearized_grid_sample"]

_RIDGE = 1e-6


def linearized_grid_sample(
    image: Float[AnyArray, "*batch_and_size c"],
    grid: Float[AnyArray, "*batch_and_shape d"],
    offsets: Float[AnyArray, "*shape_and_k d"],
    *,
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    align_corners: bool = False,
) -> Float[Array, "*batch_and_out c"]:
    """Samples as ``grid_sample``, with the slope of a plane fitted to samples around a point as gradient to the grid.

    Bilinear gradients see only neighboring pixels. Where these say little about where to go, for example when
    an image is made much smaller, the gradient is noise. Here k more points are read around each point and
    a plane through the point itself is fitted to the differences by least squares; its slope is the
    gradient. Values, and the gradient to the image, are those of ``grid_sample``.

    Convention:
        ``offsets`` are added to points, in the units of the grid. They should reach as far as the transform
        may be off; if they are drawn anew in every step, they average over the steps.

    Args:
        image: Images (*batch, h, w, c) or volumes (*batch, d, h, w, c).
        grid: Where to read them, (*batch, h_out, w_out, 2) or (*batch, d_out, h_out, w_out, 3).
        offsets: (k, 2) or (k, 3), the same at all points, or (h_out, w_out, k, 2) or (d_out, h_out, w_out, k, 3)
            of every point; at least as many as there are coordinates, not on one line (in one plane).
        padding_mode: As in ``grid_sample``.
        fill_value: As in ``grid_sample``.
        align_corners: As in ``grid_sample``.

    Returns:
        The values read, in the dtype of ``image``. The second derivative in the grid is zero.

    Raises:
        ValueError: If a shape, dtype or option is wrong.

    Example:
        An edge two pixels away has no bilinear slope at the point, but the linearized gradient points to it.

        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> image = jnp.repeat(jnp.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0]), 2).reshape(1, 12, 1)
        >>> grid, reach = jnp.zeros((1, 1, 2)), jnp.array([[-0.8, 0.1], [0.8, 0.1], [0.8, -0.1]])
        >>> jax.grad(lambda g: ops.grid_sample(image, g, padding_mode="border").sum())(grid)[0, 0, 0].item()
        0.0
        >>> read = lambda g: ops.linearized_grid_sample(image, g, reach, padding_mode="border").sum()
        >>> jax.grad(read)(grid)[0, 0, 0].item() > 0.5
        True

    References:
        Jiang et al. 2019, "Linearized multi-sampling for differentiable image transformation",
        arXiv:1901.07124.
    """
    name = "linearized_grid_sample"
    grid, d = check_vectors(name, "grid", grid)
    image, offsets = check_image(name, image, d), as_array(name, "offsets", offsets)
    check_floating(name, "offsets", offsets)
    out = grid.shape[-1 - d : -1]
    shapes = offsets.shape[:-2] in ((), out) and offsets.ndim >= 2 and offsets.shape[-1] == d
    expected = f"of shape (k, {d}) or {(*out, 'k', d)}".replace("'", "")
    check(shapes, name, "offsets", expected, shape_text(offsets))
    check(offsets.shape[-2] >= d, name, "offsets", f"at least {d} points", shape_text(offsets))
    check_options(name, image, "bilinear", padding_mode, fill_value, align_corners, False)
    fill = as_array(name, "fill_value", fill_value) if padding_mode == "fill" else jnp.float32(0)
    dtype = working_dtype(image, grid, offsets)
    offsets = jax.lax.stop_gradient(offsets.astype(dtype))
    inverse = _inverse_moments(offsets)

    def sample_one(image: jax.Array, grid: jax.Array) -> jax.Array:
        fixed_grid = jax.lax.stop_gradient(grid.astype(dtype))
        values = _sample(image, fixed_grid, fill, padding_mode, align_corners)
        fixed = [jax.lax.stop_gradient(v) for v in (image, values)]
        sums = _sum_differences(*fixed, fixed_grid, offsets, fill, padding_mode, align_corners)
        slopes = [sum(_expand(inverse[i][j], sums[j]) * sums[j] for j in range(d)) for i in range(d)]
        return _attach_slopes(values.astype(dtype), slopes, grid.astype(dtype)).astype(image.dtype)

    return over_batch(sample_one, (image, grid), (d + 1, d + 1), name=name, arguments="image and grid")


def _sample(
    image: jax.Array, grid: jax.Array, fill: jax.Array, padding_mode: PaddingMode, align_corners: bool
) -> jax.Array:
    value = fill if padding_mode == "fill" else 0.0
    return grid_sample(image, grid, padding_mode=padding_mode, fill_value=value, align_corners=align_corners)


# One program, which is found again: outside of ``jax.jit`` a loop over a new function would be compiled in every call.
@functools.partial(jax.jit, static_argnames=("padding_mode", "align_corners"))
def _sum_differences(
    image: jax.Array,
    values: jax.Array,
    grid: jax.Array,
    offsets: jax.Array,
    fill: jax.Array,
    padding_mode: PaddingMode,
    align_corners: bool,
) -> tuple[jax.Array, ...]:
    """Sums the differences of the samples around points from those at them, times each coordinate of the offsets."""
    values = values.astype(grid.dtype)

    def add_sample(sums: tuple[jax.Array, ...], offset: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        offset = jnp.broadcast_to(offset, grid.shape)
        sample = _sample(image, grid + offset, fill, padding_mode, align_corners)
        step = sample.astype(grid.dtype) - values
        return tuple(total + offset[..., i, None] * step for i, total in enumerate(sums)), None

    start = tuple(values * 0 for _ in range(grid.shape[-1]))
    return jax.lax.scan(add_sample, start, jnp.moveaxis(offsets, -2, 0))[0]


@jax.custom_jvp
def _attach_slopes(values: jax.Array, slopes: list[jax.Array], grid: jax.Array) -> jax.Array:
    """Returns the values, with the given slopes as their derivative in the grid."""
    del slopes, grid
    return values


@_attach_slopes.defjvp
def _attach_slopes_jvp(
    primals: tuple[jax.Array, list[jax.Array], jax.Array], tangents: tuple[jax.Array, list[jax.Array], jax.Array]
) -> tuple[jax.Array, jax.Array]:
    values, slopes, grid = primals
    change, _, moved = tangents
    for i, slope in enumerate(slopes):
        change += jax.lax.stop_gradient(slope) * moved[..., i, None]
    return _attach_slopes(values, slopes, grid), change


def _expand(value: jax.Array, like: jax.Array) -> jax.Array:
    return jnp.broadcast_to(value[..., None], like.shape)


def _inverse_moments(offsets: jax.Array) -> list[list[jax.Array]]:
    """Inverts the second moments of offsets (*points, k, d), entry by entry, each (*points)."""
    d = offsets.shape[-1]
    moments = [[jnp.sum(offsets[..., i] * offsets[..., j], -1) for j in range(d)] for i in range(d)]
    size = functools.reduce(jnp.maximum, (moments[i][i] for i in range(d)))
    for i in range(d):
        moments[i][i] = moments[i][i] + _RIDGE * size
    entries, determinant = adjugate(moments)
    return [[entry / determinant for entry in row] for row in entries]
