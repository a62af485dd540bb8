"""What spatial transformers share: from a localizer's features to a warp, its grid and its frame."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn._check import check, check_floating, check_min_rank, check_positive_shape
from jaxcnn.ops._sampling.transforms import (
    affine_points,
    projective_points,
    regular_points,
    tps_coefficients,
    tps_points,
)

__all__ = ["IDENTITIES", "features", "geometry", "identity", "prepare", "record", "regression"]

IDENTITIES = {
    "attention": (1, 0, 0),
    "translation": (0, 0),
    "similarity": (1, 0, 0, 0),
    "affine": (1, 0, 0, 0, 1, 0),
    "projective": (1, 0, 0, 0, 1, 0, 0, 0),
}
"""Parameters that do nothing, of every family but thin-plate splines."""

_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


class Geometry(NamedTuple):
    """A transform as ``ops`` take it, and what can be done with it or another of its family."""

    transform: jax.Array
    warp: Callable[..., Any]
    grid: Callable[..., Any]
    frame: Callable[..., Any]


def prepare(name: str, x: Any, output_shape: Any, dtype: Any, axes: str = "h w") -> tuple[Any, tuple[int, ...]]:
    """Checks the input of a transformer and gives it in the dtype of the computation, with the shape of the output."""
    check_min_rank(name, "x", x, f"{axes} c")
    check_floating(name, "x", x)
    size = x.shape[-1 - len(axes.split()) : -1] if output_shape is None else output_shape
    size = check_positive_shape(name, "output_shape", size, axes)
    return (x if dtype is None else x.astype(dtype)), size


def features(localizer: nn.Module, x: Any, train: bool, name: str, spatial: int = 3) -> Any:
    """Runs a localizer and flattens what it gives behind the leading axes of ``x``."""
    takes = "train" in inspect.signature(type(localizer).__call__).parameters
    found = localizer(x, train=train) if takes else localizer(x)  # pyright: ignore[reportCallIssue]
    leading = x.shape[: x.ndim - spatial]
    check(found.shape[: len(leading)] == leading, name, "localizer", f"one that keeps {leading}", found.shape)
    return found.reshape(*leading, math.prod(found.shape[len(leading) :]))


def regression(bias: np.ndarray, dtype: Any, param_dtype: Any) -> nn.Dense:
    """Makes the layer from features to parameters: at first, whatever the features, these are ``bias``."""
    return nn.Dense(
        bias.size,
        kernel_init=nn.initializers.zeros,
        bias_init=lambda key, shape, dtype=jnp.float32: jnp.asarray(bias.ravel(), dtype),
        dtype=jnp.float64 if dtype == jnp.float64 else jnp.float32,
        param_dtype=param_dtype,
        precision=jax.lax.Precision.HIGHEST,
        name="regression",
    )


def identity(transform: str, control_points: Any, name: str) -> np.ndarray:
    """Gives the parameters that do nothing."""
    if transform == "tps":
        rows, columns = check_positive_shape(name, "control_points", control_points, "rows columns")
        check(min(rows, columns) >= 2, name, "control_points", "at least (2, 2)", control_points)
        return regular_points(rows, columns).ravel()
    return np.array(IDENTITIES[transform], np.float64)


def geometry(transform: str, theta: jax.Array, control_points: Any) -> Geometry:
    """Makes the transform of parameters (*b, n)."""
    x, y = (jnp.asarray(v, theta.dtype) for v in _CORNERS.T)
    if transform == "tps":
        control = regular_points(*control_points)
        coefficients = tps_coefficients(control, 0.0, name="SpatialTransformer", dtype=theta.dtype)

        def corners(points: Any) -> Any:
            offsets = points - jnp.asarray(control, theta.dtype)
            dx, dy = tps_points(offsets, control, coefficients, x, y)
            return jnp.stack([x + dx, y + dy], -1)

        def warp(image: Any, points: Any, **options: Any) -> Any:
            return ops.warp_tps(image, points, control_points=control, **options)

        def grid(points: Any, shape: Any, **options: Any) -> Any:
            return ops.tps_grid(points, shape, control_points=control, **options)

        points = theta.reshape(*theta.shape[:-1], len(control), 2)
        return Geometry(points, warp, grid, lambda p: _each(corners, p))
    if transform == "projective":
        return Geometry(
            _projective_matrix(theta),
            ops.warp_perspective,
            ops.projective_grid,
            lambda m: _each(lambda one: jnp.stack(projective_points(one, x, y), -1), m),
        )
    return Geometry(
        _affine_matrix(theta, transform),
        ops.warp_affine,
        ops.affine_grid,
        lambda m: _each(lambda one: jnp.stack(affine_points(one, x, y), -1), m),
    )


def record(module: nn.Module, theta: Any, found: Geometry, size: tuple[int, ...], align_corners: bool) -> None:
    """Sows the parameters, the grid and the frame of a transform, where somebody wants to know."""
    if module.is_mutable_collection("intermediates"):
        module.sow("intermediates", "theta", theta)
        module.sow("intermediates", "grid", found.grid(found.transform, size, align_corners=align_corners))
        module.sow("intermediates", "frame", found.frame(found.transform))


def _projective_matrix(theta: jax.Array) -> jax.Array:
    """Makes 3x3 matrices of parameters (*b, 8)."""
    entries = jnp.concatenate([theta, jnp.ones_like(theta[..., :1])], -1)
    return entries.reshape(*theta.shape[:-1], 3, 3)


def _affine_matrix(theta: jax.Array, transform: str) -> jax.Array:
    """Makes 2x3 matrices of parameters (*b, n)."""
    zero, one = jnp.zeros_like(theta[..., 0]), jnp.ones_like(theta[..., 0])
    p = [theta[..., i] for i in range(theta.shape[-1])]
    if transform == "affine":
        entries = p
    elif transform == "attention":
        entries = [p[0], zero, p[1], zero, p[0], p[2]]
    elif transform == "similarity":
        entries = [p[0], -p[1], p[2], p[1], p[0], p[3]]
    else:
        entries = [one, zero, p[0], zero, one, p[1]]
    return jnp.stack(entries, -1).reshape(*theta.shape[:-1], 2, 3)


def _each(function: Callable[[Any], Any], batched: jax.Array) -> Any:
    for _ in range(batched.ndim - 2):
        function = jax.vmap(function)
    return function(batched)
