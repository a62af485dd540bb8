"""The spatial transformer: a network that decides where the next one looks."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn._check import at_least_rank, check, choice, floating, positive_shape
from jaxcnn._typing import Array, Dtype, Float
from jaxcnn.ops._transforms import affine_points, projective_points, regular_points, tps_coefficients, tps_points
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["SpatialTransformer"]

Transform = Literal["attention", "translation", "similarity", "affine", "projective", "tps"]

_IDENTITY = {
    "attention": (1, 0, 0),
    "translation": (0, 0),
    "similarity": (1, 0, 0, 0),
    "affine": (1, 0, 0, 0, 1, 0),
    "projective": (1, 0, 0, 0, 1, 0, 0, 0),
}

_CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


class SpatialTransformer(nn.Module):
    """Predicts a transform from its input and warps the input by it.

    The localizer turns the input into features; a dense layer named ``regression``, owned by this
    module, turns these into the transform's parameters. It starts with zero weights and the identity
    as bias, so a new transformer passes its input on unchanged (exactly, if the output is as large).
    A transformer trains with a learning rate of its own, about a tenth of the classifier's: with the
    same rate its frame easily leaves the image, where all gradients are zero.

    Convention:
        - Input (*b, h, w, c), output (*b, h_out, w_out, c); any number of leading axes.
        - The transform maps output points to input points, (x, y) in [-1, 1].
        - Parameters, in order: ``"attention"`` (s, tx, ty); ``"translation"`` (tx, ty);
          ``"similarity"`` (a, b, tx, ty), the matrix [[a, -b, tx], [b, a, ty]]; ``"affine"`` the 2x3
          matrix row by row; ``"projective"`` the 3x3 matrix row by row, without its last entry, which
          is 1; ``"tps"`` (x, y) of every control point, row by row.
        - Parameters and coordinates are float32 or wider, whatever ``dtype`` is.

    Sows into ``"intermediates"``: ``theta``, the parameters (*b, n); ``grid``, the points that are read
    (*b, h_out, w_out, 2); ``frame``, where in the input the output's corners (-1, -1), (1, -1), (1, 1),
    (-1, 1) lie (*b, 4, 2).

    Args:
        localizer: Linen module, input to features; is given ``train`` if it takes it.
        transform: The family of transforms, see Convention.
        output_shape: Height and width of the output; None keeps the input's.
        mode: ``"bilinear"`` or ``"nearest"`` (no gradient to the localizer).
        padding_mode: What lies outside of the input: ``"zeros"``, ``"border"``, ``"reflection"``, ``"fill"``.
        fill_value: With ``"fill"``: what lies outside.
        align_corners: Whether -1 and 1 are the centres of the border pixels or the outer edges.
        control_points: With ``"tps"``: rows and columns of the regular grid of control points.
        dtype: Dtype of the output; None keeps the input's.
        param_dtype: Dtype of the regression's parameters.

    Raises:
        ValueError: If an option is unknown, or the input has the wrong rank or dtype.

    Example:
        >>> class Localizer(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         return nn.relu(nn.Dense(8)(x.reshape(*x.shape[:-3], np.prod(x.shape[-3:]))))
        >>> layer = layers.SpatialTransformer(Localizer(), "affine", output_shape=(4, 4))
        >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 6, 6, 1)))
        >>> layer.apply(variables, jnp.ones((2, 6, 6, 1))).shape
        (2, 4, 4, 1)
        >>> variables["params"]["regression"]["bias"].tolist()
        [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]

    References:
        Jaderberg et al. 2015, arXiv:1506.02025.
    """

    localizer: nn.Module
    transform: Transform = "affine"
    _: dataclasses.KW_ONLY
    output_shape: tuple[int, int] | None = None
    mode: Mode = "bilinear"
    padding_mode: PaddingMode = "zeros"
    fill_value: float = 0.0
    align_corners: bool = False
    control_points: tuple[int, int] = (4, 4)
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h_out w_out c"]:
        """Warps ``x`` by the transform that is predicted from it."""
        name = "SpatialTransformer"
        choice(name, "transform", self.transform, (*_IDENTITY, "tps"))
        at_least_rank(name, "x", x, "h w c")
        floating(name, "x", x)
        size = x.shape[-3:-1] if self.output_shape is None else self.output_shape
        size = positive_shape(name, "output_shape", size, "h w")
        x = x if self.dtype is None else x.astype(self.dtype)

        features = self.localizer(x, train=train) if _takes_train(self.localizer) else self.localizer(x)
        leading = x.shape[:-3]
        check(features.shape[: len(leading)] == leading, name, "localizer", f"one that keeps {leading}", features.shape)
        wide = jnp.float64 if x.dtype == jnp.float64 else jnp.float32
        theta = nn.Dense(
            len(self._identity()),
            kernel_init=nn.initializers.zeros,
            bias_init=self._identity_bias,
            dtype=wide,
            param_dtype=self.param_dtype,
            precision=jax.lax.Precision.HIGHEST,
            name="regression",
        )(features.reshape(*leading, math.prod(features.shape[len(leading) :])))

        options: dict[str, Any] = {"align_corners": self.align_corners}
        sampling = options | {"mode": self.mode, "padding_mode": self.padding_mode, "fill_value": self.fill_value}
        transform, warp, grid, frame = self._geometry(theta)
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "theta", theta)
            self.sow("intermediates", "grid", grid(transform, size, **options))
            self.sow("intermediates", "frame", frame(transform))
        return warp(x, transform, shape=size, **sampling)

    def _identity(self) -> np.ndarray:
        if self.transform == "tps":
            rows, columns = positive_shape("SpatialTransformer", "control_points", self.control_points, "rows columns")
            enough = min(rows, columns) >= 2
            check(enough, "SpatialTransformer", "control_points", "at least (2, 2)", self.control_points)
            return regular_points(rows, columns).ravel()
        return np.array(_IDENTITY[self.transform], np.float64)

    def _identity_bias(self, key: Any, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        del key, shape
        return jnp.asarray(self._identity(), dtype)

    def _geometry(self, theta: jax.Array) -> tuple[jax.Array, Callable[..., Any], Callable[..., Any], Any]:
        """Returns the transform as ops takes it, its warp and its grid, and what gives the frame."""
        x, y = (jnp.asarray(v, theta.dtype) for v in _CORNERS.T)
        if self.transform == "tps":
            control = regular_points(*self.control_points)
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
            return points, warp, grid, lambda p: _each(corners, p)
        if self.transform == "projective":
            matrix = jnp.concatenate([theta, jnp.ones_like(theta[..., :1])], -1)
            matrix = matrix.reshape(*theta.shape[:-1], 3, 3)
            return (
                matrix,
                ops.warp_perspective,
                ops.projective_grid,
                lambda m: _each(lambda one: jnp.stack(projective_points(one, x, y), -1), m),
            )
        return (
            _affine_matrix(theta, self.transform),
            ops.warp_affine,
            ops.affine_grid,
            lambda m: _each(lambda one: jnp.stack(affine_points(one, x, y), -1), m),
        )


def _affine_matrix(theta: jax.Array, transform: str) -> jax.Array:
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


def _takes_train(module: nn.Module) -> bool:
    return "train" in inspect.signature(type(module).__call__).parameters
