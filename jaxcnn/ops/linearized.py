"""Reading with a gradient to the grid that reaches further than the neighbouring pixels."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn._check import as_array, check, check_floating, shape_text
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.ops._batching import over_batch, working_dtype
from jaxcnn.ops._sampling.transforms import adjugate
from jaxcnn.ops.grids import check_vectors
from jaxcnn.ops.sampling import PaddingMode, check_image, grid_sample

__all__ = ["linearized_grid_sample"]

_RIDGE = 1e-6


def linearized_grid_sample(
    image: Float[AnyArray, "*batch_and_size c"],
    grid: Float[AnyArray, "*batch_and_shape d"],
    offsets: Float[AnyArray, "*shape_and_k d"],
    *,
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
) -> Float[Array, "*batch_and_out c"]:
    """Reads as ``grid_sample`` does, with the slope of a plane through samples around a point as gradient to the grid.

    Bilinear reading sees as far as the next pixel. Where neighbouring pixels say little of where to go, as when
    an image is made much smaller, its gradient is noise. Here k more points are read around each point and
    a plane is fitted to what they differ by, least squares, through the point itself; its slope is the
    gradient. Values, and the gradient to the image, are those of ``grid_sample``.

    Convention:
        ``offsets`` are added to points, in the units of the grid. Points of good reach lie as far out as
        the transform may be wrong; drawn anew in every step, they average over the steps.

    Args:
        image: Images (*batch, h, w, c) or volumes (*batch, d, h, w, c).
        grid: Where to read them, (*batch, h_out, w_out, 2) or (*batch, d_out, h_out, w_out, 3).
        offsets: (k, 2) or (k, 3), the same at all points, or (h_out, w_out, k, 2) or (d_out, h_out, w_out, k, 3)
            of every point; at least as many as there are coordinates, not on one line (in one plane).
        padding_mode: As in ``grid_sample``.
        fill_value: As in ``grid_sample``.
        align_corners: As in ``grid_sample``.

    Returns:
        The values read, in the dtype of ``image``. Not differentiated twice in the grid: that gradient is zero.

    Raises:
        ValueError: If a form, dtype or option is wrong.

    Example:
        A step that lies two pixels away has no slope here, but it draws the point nearer.

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
    options: dict[str, Any] = {
        "padding_mode": padding_mode,
        "fill_value": fill_value,
        "align_corners": align_corners,
    }
    dtype = working_dtype(image, grid, offsets)
    offsets = jax.lax.stop_gradient(offsets.astype(dtype))
    inverse = _inverse_moments(offsets)

    def one(image: Any, grid: Any) -> Any:
        fixed = jax.lax.stop_gradient(grid.astype(dtype))
        values = grid_sample(image, fixed, **options)
        still = jax.lax.stop_gradient(image)
        here = jax.lax.stop_gradient(values).astype(dtype)

        def add(sums: Any, offset: Any) -> Any:
            offset = jnp.broadcast_to(offset, fixed.shape)
            step = grid_sample(still, fixed + offset, **options).astype(dtype) - here
            return tuple(total + offset[..., i, None] * step for i, total in enumerate(sums)), None

        start = tuple(here * 0 for _ in range(d))
        sums, _ = jax.lax.scan(add, start, jnp.moveaxis(offsets, -2, 0))
        slopes = [sum(_spread(inverse[i][j], sums[j]) * sums[j] for j in range(d)) for i in range(d)]
        return _sloped(values.astype(dtype), slopes, grid.astype(dtype)).astype(image.dtype)

    return over_batch(one, (image, grid), (d + 1, d + 1), name=name, arguments="image and grid")


@jax.custom_jvp
def _sloped(values: Any, slopes: list[Any], grid: Any) -> Any:
    """Gives the values, and to a change of the grid the given slopes."""
    del slopes, grid
    return values


@_sloped.defjvp
def _sloped_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    values, slopes, grid = primals
    change, _, moved = tangents
    for i, slope in enumerate(slopes):
        change += jax.lax.stop_gradient(slope) * moved[..., i, None]
    return _sloped(values, slopes, grid), change


def _spread(value: Any, like: Any) -> Any:
    return jnp.broadcast_to(value[..., None], like.shape)


def _inverse_moments(offsets: Any) -> list[list[Any]]:
    """Inverts the second moments of offsets (*points, k, d), entry by entry, each (*points)."""
    d = offsets.shape[-1]
    moments = [[jnp.sum(offsets[..., i] * offsets[..., j], -1) for j in range(d)] for i in range(d)]
    size = functools.reduce(jnp.maximum, (moments[i][i] for i in range(d)))
    for i in range(d):
        moments[i][i] = moments[i][i] + _RIDGE * size
    entries, determinant = adjugate(moments)
    return [[entry / determinant for entry in row] for row in entries]
