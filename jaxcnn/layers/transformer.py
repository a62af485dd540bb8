"""The spatial transformer: a network that decides where the next network looks."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import AnyArray, Array, Dtype, FillValue, Float
from jaxcnn.layers._transforms import (
    IDENTITIES,
    Transform,
    build_regression,
    extract_features,
    identity_parameters,
    make_transform,
    prepare_input,
    sow_transform,
)
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["SpatialTransformer", "Transform"]


class SpatialTransformer(nn.Module):
    """Predicts a transform from its input and warps the input by it.

    The localizer turns the input into features; a dense layer named ``regression``, owned by this
    module, turns these into the transform's parameters. It starts with zero weights and the identity
    as bias, so a new transformer returns its input unchanged (bit for bit, if the output has its size).
    Train a transformer with a learning rate of its own, about a tenth of the classifier's: at the same
    rate its frame easily leaves the image, where all gradients are zero.

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
        localizer: Linen module, input to features; is called with ``train`` if it accepts it.
        transform: The family of transforms, see Convention.
        output_shape: Height and width of the output; None keeps the input's.
        mode: ``"bilinear"``, ``"bicubic"`` or ``"nearest"`` (no gradient to the localizer).
        padding_mode: What lies outside the input: ``"zeros"``, ``"border"``, ``"reflection"``, ``"fill"``.
        fill_value: With ``"fill"``: the value outside, one for all channels or one per channel.
        align_corners: Whether -1 and 1 are the centers of the border pixels or the outer edges.
        antialias: Whether to average over all input pixels that an output pixel covers, as in ``ops.grid_sample``.
        auxiliary_samples: With 2 or more, the gradient to the localizer in training is that of
            ``ops.linearized_grid_sample``, from this many samples around every point. They are drawn anew in every
            call, the same for all examples, from the rng collection ``"dropout"``. Requires ``"bilinear"`` without
            ``antialias``.
        auxiliary_reach: Standard deviation of their distances from the point, the input spanning [-1, 1].
        control_points: With ``"tps"``: rows and columns of the regular grid of control points.
        dtype: Dtype of the output; None keeps the input's.
        param_dtype: Dtype of the regression's parameters.

    Raises:
        ValueError: If an option is unknown, or the input has the wrong rank or dtype.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp, numpy as np
        >>> from jaxcnn import layers
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
    fill_value: FillValue = 0.0
    align_corners: bool = False
    antialias: bool = False
    auxiliary_samples: int = 0
    auxiliary_reach: float = 0.2
    control_points: tuple[int, int] = (4, 4)
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h_out w_out c"]:
        """Warps ``x`` by the transform that is predicted from it."""
        name = "SpatialTransformer"
        check_choice(name, "transform", self.transform, (*IDENTITIES, "tps"))
        x, size = prepare_input(name, x, self.output_shape, self.dtype)

        linearized = self.auxiliary_samples != 0
        check(
            is_integer_at_least(self.auxiliary_samples, 0) and self.auxiliary_samples != 1,
            name,
            "auxiliary_samples",
            "0, or an integer of at least 2",
            repr(self.auxiliary_samples),
        )
        plain = self.mode == "bilinear" and not self.antialias
        got = f"mode {self.mode!r}, antialias={self.antialias}"
        check(plain or not linearized, name, "auxiliary_samples", 'with mode "bilinear" and without antialias', got)
        start = identity_parameters(name, self.transform, self.control_points)
        regression = build_regression(start, x.dtype, self.param_dtype)
        theta = regression(extract_features(self.localizer, x, train, name))
        options: dict[str, Any] = {"align_corners": self.align_corners}
        sampling = options | {"padding_mode": self.padding_mode, "fill_value": self.fill_value}
        found = make_transform(self.transform, theta, self.control_points)
        sow_transform(self, theta, found, size, self.align_corners)
        if train and linearized:
            shape = (*size, self.auxiliary_samples, 2)
            offsets = self.auxiliary_reach * jax.random.normal(self.make_rng("dropout"), shape, theta.dtype)
            return ops.linearized_grid_sample(x, found.grid(found.transform, size, **options), offsets, **sampling)
        return found.warp(x, found.transform, shape=size, mode=self.mode, antialias=self.antialias, **sampling)
