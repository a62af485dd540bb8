"""What spatial transformers share: from the features of a localizer to a warp, its grid and its frame."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn._check import check, check_floating, check_min_rank, check_positive_shape
from jaxcnn._typing import AnyArray, Dtype
from jaxcnn.ops._sampling.transforms import (
    OUTSIDE,
    affine_points,
    projective_points,
    regular_points,
    tps_coefficients,
    tps_points,
)

__all__ = [
    "IDENTITIES",
    "LinearTransform",
    "Transform",
    "TransformFamily",
    "build_regression",
    "extract_features",
    "identity_parameters",
    "make_transform",
    "prepare_input",
    "sow_transform",
]

LinearTransform = Literal["attention", "translation", "similarity", "affine", "projective"]
Transform = Literal["attention", "translation", "similarity", "affine", "projective", "tps"]

IDENTITIES: dict[LinearTransform, tuple[int, ...]] = {
    "attention": (1, 0, 0),
    "translation": (0, 0),
    "similarity": (1, 0, 0, 0),
    "affine": (1, 0, 0, 0, 1, 0),
    "projective": (1, 0, 0, 0, 1, 0, 0, 0),
}
"""Parameters of the identity, for every family except thin-plate splines."""

_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


class TransformFamily(NamedTuple):
    """A transform in the form that ``ops`` takes, and the functions that use one of its family."""

    transform: jax.Array
    warp: Callable[..., jax.Array]  # (image, transform, **options) -> image
    grid: Callable[..., jax.Array]  # (transform, shape, **options) -> grid
    frame: Callable[[jax.Array], jax.Array]  # transform -> the corners (*b, 4, 2) of what is read


def prepare_input(
    name: str, x: AnyArray, output_shape: Sequence[int] | None, dtype: Dtype | None, axes: str = "h w"
) -> tuple[jax.Array, tuple[int, ...]]:
    """Checks the input of a transformer; returns it in the dtype of the computation, and the shape of the output."""
    check_min_rank(name, "x", x, f"{axes} c")
    check_floating(name, "x", x)
    size = x.shape[-1 - len(axes.split()) : -1] if output_shape is None else output_shape
    size = check_positive_shape(name, "output_shape", size, axes)
    return jnp.asarray(x, dtype), size


def extract_features(localizer: nn.Module, x: jax.Array, train: bool, name: str, dimensions: int = 2) -> jax.Array:
    """Runs a localizer and flattens its output behind the leading axes of ``x``."""
    if not callable(localizer):
        raise ValueError(f"{name}: localizer must be a module with __call__, got {type(localizer).__name__}.")
    takes_train = "train" in inspect.signature(type(localizer).__call__).parameters
    found = localizer(x, train=train) if takes_train else localizer(x)
    leading = x.shape[: x.ndim - dimensions - 1]
    check(found.shape[: len(leading)] == leading, name, "localizer", f"one that keeps {leading}", found.shape)
    return found.reshape(*leading, math.prod(found.shape[len(leading) :]))


def build_regression(bias: np.ndarray, dtype: Dtype, param_dtype: Dtype) -> nn.Dense:
    """Builds the layer from features to parameters; before training it returns ``bias`` whatever the features."""

    def initialize_bias(key: jax.Array, shape: Sequence[int], dtype: Dtype = jnp.float32) -> jax.Array:
        del key, shape
        return jnp.asarray(bias.ravel(), dtype)

    return nn.Dense(
        bias.size,
        kernel_init=nn.initializers.zeros,
        bias_init=initialize_bias,
        dtype=jnp.float64 if dtype == jnp.float64 else jnp.float32,
        param_dtype=param_dtype,
        precision=jax.lax.Precision.HIGHEST,
        name="regression",
    )


def identity_parameters(name: str, transform: Transform, control_points: tuple[int, int] = (4, 4)) -> np.ndarray:
    """Returns the parameters of the identity."""
    if transform == "tps":
        rows, columns = check_positive_shape(name, "control_points", control_points, "rows columns")
        check(min(rows, columns) >= 2, name, "control_points", "at least (2, 2)", control_points)
        return regular_points(rows, columns).ravel()
    return np.array(IDENTITIES[transform], np.float64)


def make_transform(transform: Transform, theta: jax.Array, control_points: tuple[int, int] = (4, 4)) -> TransformFamily:
    """Builds the transform of parameters (*b, n)."""
    x, y = (jnp.asarray(v, theta.dtype) for v in _CORNERS.T)
    if transform == "tps":
        return _make_spline(theta, regular_points(*control_points), x, y)
    if transform == "projective":
        return TransformFamily(
            _projective_matrix(theta),
            ops.warp_perspective,
            ops.projective_grid,
            lambda m: _map_batch(lambda one: jnp.stack(projective_points(one, x, y, outside=OUTSIDE), -1), m),
        )
    return TransformFamily(
        _affine_matrix(theta, transform),
        ops.warp_affine,
        ops.affine_grid,
        lambda m: _map_batch(lambda one: jnp.stack(affine_points(one, x, y), -1), m),
    )


def _make_spline(theta: jax.Array, control: np.ndarray, x: jax.Array, y: jax.Array) -> TransformFamily:
    """Builds a thin-plate spline of control points (k, 2); x and y are the corners of its frame."""
    coefficients = tps_coefficients(control, 0.0, name="SpatialTransformer", dtype=theta.dtype)

    def map_corners(points: jax.Array) -> jax.Array:
        offsets = points - jnp.asarray(control, theta.dtype)
        dx, dy = tps_points(offsets, control, coefficients, x, y)
        return jnp.stack([x + dx, y + dy], -1)

    return TransformFamily(
        theta.reshape(*theta.shape[:-1], len(control), 2),
        functools.partial(ops.warp_tps, control_points=control),
        functools.partial(ops.tps_grid, control_points=control),
        lambda points: _map_batch(map_corners, points),
    )


def sow_transform(
    module: nn.Module, theta: jax.Array, found: TransformFamily, size: tuple[int, ...], align_corners: bool
) -> None:
    """Sows the parameters, the grid and the frame of a transform, if the caller collects intermediates."""
    if module.is_mutable_collection("intermediates"):
        module.sow("intermediates", "theta", theta)
        module.sow("intermediates", "grid", found.grid(found.transform, size, align_corners=align_corners))
        module.sow("intermediates", "frame", found.frame(found.transform))


def _projective_matrix(theta: jax.Array) -> jax.Array:
    """Builds 3x3 matrices from parameters (*b, 8)."""
    entries = jnp.concatenate([theta, jnp.ones_like(theta[..., :1])], -1)
    return entries.reshape(*theta.shape[:-1], 3, 3)


def _affine_matrix(theta: jax.Array, transform: Transform) -> jax.Array:
    """Builds 2x3 matrices from parameters (*b, n)."""
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


def _map_batch(function: Callable[[jax.Array], jax.Array], batched: jax.Array) -> jax.Array:
    """Applies a function of (rows, columns) to an array (*b, rows, columns)."""
    for _ in range(batched.ndim - 2):
        function = jax.vmap(function)
    return function(batched)
