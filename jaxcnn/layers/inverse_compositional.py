"""The inverse-compositional spatial transformer: refines its transform step by step, on the original image."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import AnyArray, Array, Dtype, FillValue, Float
from jaxcnn.layers._transforms import (
    IDENTITIES,
    LinearTransform,
    build_regression,
    extract_features,
    identity_parameters,
    make_transform,
    prepare_input,
    sow_transform,
)
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["InverseCompositionalTransformer"]


class InverseCompositionalTransformer(nn.Module):
    """Refines its transform in several steps, always sampling the original image.

    Every step sees the image as warped so far, predicts an increment with the same network, and composes it
    with the transform: what one step has cropped the next can see again, and no image is resampled twice.
    The increments start as the identity. Train it with a learning rate of its own, smaller than that of a
    transformer with one step.

    Convention:
        - Input (*b, h, w, c), output (*b, h_out, w_out, c); any number of leading axes.
        - Increments have the parameters of the family as in ``SpatialTransformer``; the transform after a
          step is the product of that before it and the increment, 2x3 or 3x3 as ``ops.warp_affine`` and
          ``ops.warp_perspective`` take it.

    Sows into ``"intermediates"``: ``theta``, the matrix after every step (*b, steps, rows, 3), ``grid``
    (*b, h_out, w_out, 2) and ``frame`` (*b, 4, 2) of the last.

    Args:
        localizer: Linen module, warped image (of the output's shape) to features; is called with ``train`` if it
            accepts it.
        transform: ``"attention"``, ``"translation"``, ``"similarity"``, ``"affine"`` or ``"projective"``.
        steps: Number of increments.
        output_shape: Height and width of the output; None keeps the input's.
        mode: ``"bilinear"``, ``"bicubic"`` or ``"nearest"`` (no gradient to the localizer).
        padding_mode: What lies outside the input: ``"zeros"``, ``"border"``, ``"reflection"``, ``"fill"``.
        fill_value: With ``"fill"``: the value outside, one for all channels or one per channel.
        align_corners: Whether -1 and 1 are the centers of the border pixels or the outer edges.
        antialias: Whether to average over all input pixels that an output pixel covers, as in ``ops.grid_sample``.
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
        >>> layer = layers.InverseCompositionalTransformer(Localizer(), "projective", steps=3)
        >>> image = jnp.arange(36.0).reshape(1, 6, 6, 1)
        >>> y, variables = layer.init_with_output(jax.random.key(0), image)
        >>> bool(jnp.all(y == image)), sorted(variables["params"])
        (True, ['localizer', 'regression'])

    References:
        Lin and Lucey 2017, "Inverse compositional spatial transformer networks", arXiv:1612.03897.
    """

    localizer: nn.Module
    transform: LinearTransform = "affine"
    _: dataclasses.KW_ONLY
    steps: int = 4
    output_shape: tuple[int, int] | None = None
    mode: Mode = "bilinear"
    padding_mode: PaddingMode = "zeros"
    fill_value: FillValue = 0.0
    align_corners: bool = False
    antialias: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h_out w_out c"]:
        """Warps ``x`` by the transform after the last step."""
        name = "InverseCompositionalTransformer"
        check_choice(name, "transform", self.transform, tuple(IDENTITIES))
        check(is_integer_at_least(self.steps, 1), name, "steps", "a positive integer", repr(self.steps))
        x, size = prepare_input(name, x, self.output_shape, self.dtype)

        start = identity_parameters(name, self.transform)
        regression = build_regression(start, x.dtype, self.param_dtype)
        found = make_transform(self.transform, jnp.asarray(start, jnp.float32))
        options: dict[str, Any] = {
            "shape": size,
            "mode": self.mode,
            "padding_mode": self.padding_mode,
            "fill_value": self.fill_value,
            "align_corners": self.align_corners,
            "antialias": self.antialias,
        }
        matrices = []
        for _ in range(self.steps):
            warped = found.warp(x, found.transform, **options)
            theta = regression(extract_features(self.localizer, warped, train, name))
            increment = make_transform(self.transform, theta)
            found = found._replace(transform=ops.compose_matrices(found.transform, increment.transform))
            matrices.append(found.transform)
        sow_transform(self, jnp.stack(matrices, -3), found, size, self.align_corners)
        return found.warp(x, found.transform, **options)
