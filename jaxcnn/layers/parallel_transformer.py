"""Several spatial transformers side by side."""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

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

__all__ = ["ParallelTransformer"]


class ParallelTransformer(nn.Module):
    """Predicts several transforms with one localizer and warps its input by each of them.

    Each transform can find an object or a part of its own. To concatenate the outputs along the channels, as in
    the paper, move the axis of the transforms next to the channels and reshape. All start as the identity. They
    diverge once the regression's weights, zero at first, have learned from outputs that are used differently;
    otherwise pass each its own initial parameters as ``starts``.

    Convention:
        As ``SpatialTransformer``. Input (*b, h, w, c), output (*b, count, h_out, w_out, c).

    Sows into ``"intermediates"``: ``theta`` (*b, count, n), ``grid`` (*b, count, h_out, w_out, 2) and ``frame``
    (*b, count, 4, 2).

    Args:
        localizer: Linen module, input to features; is called with ``train`` if it accepts it.
        count: Number of transforms.
        transform: The family of transforms, as in ``SpatialTransformer``.
        starts: Initial parameters of each of the ``count`` transforms; None stands for the identity.
        output_shape: Height and width of the output; None keeps the input's.
        mode: ``"bilinear"``, ``"bicubic"`` or ``"nearest"`` (no gradient to the localizer).
        padding_mode: What lies outside the input: ``"zeros"``, ``"border"``, ``"reflection"``, ``"fill"``.
        fill_value: With ``"fill"``: the value outside, one for all channels or one per channel.
        align_corners: Whether -1 and 1 are the centers of the border pixels or the outer edges.
        antialias: Whether to average over all input pixels that an output pixel covers, as in ``ops.grid_sample``.
        control_points: With ``"tps"``: rows and columns of the regular grid of control points.
        dtype: Dtype of the output; None keeps the input's.
        param_dtype: Dtype of the regression's parameters.

    Raises:
        ValueError: If an option is unknown, ``starts`` has the wrong shape, or the input the wrong rank or dtype.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp, numpy as np
        >>> from jaxcnn import layers
        >>> class Localizer(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         return nn.relu(nn.Dense(8)(x.reshape(*x.shape[:-3], np.prod(x.shape[-3:]))))
        >>> quarters = [(0.5, x, y) for y in (-0.5, 0.5) for x in (-0.5, 0.5)]
        >>> options = {"transform": "attention", "starts": quarters, "output_shape": (3, 3)}
        >>> layer = layers.ParallelTransformer(Localizer(), 4, **options)
        >>> image = jnp.arange(36.0).reshape(1, 6, 6, 1)
        >>> y, _ = layer.init_with_output(jax.random.key(0), image)
        >>> y.shape, bool(jnp.all(y[:, 1] == image[:, :3, 3:]))
        ((1, 4, 3, 3, 1), True)

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 4.3 and appendix A.1.
    """

    localizer: nn.Module
    count: int
    _: dataclasses.KW_ONLY
    transform: Transform = "affine"
    starts: Sequence[Sequence[float]] | None = None
    output_shape: tuple[int, int] | None = None
    mode: Mode = "bilinear"
    padding_mode: PaddingMode = "zeros"
    fill_value: FillValue = 0.0
    align_corners: bool = False
    antialias: bool = False
    control_points: tuple[int, int] = (4, 4)
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "*b h w c"], *, train: bool = False
    ) -> Float[Array, "*b count h_out w_out c"]:
        """Warps ``x`` by every transform that is predicted from it."""
        name = "ParallelTransformer"
        check_choice(name, "transform", self.transform, (*IDENTITIES, "tps"))
        check(is_integer_at_least(self.count, 1), name, "count", "a positive integer", repr(self.count))
        x, size = prepare_input(name, x, self.output_shape, self.dtype)

        start = identity_parameters(name, self.transform, self.control_points)
        starts = np.broadcast_to(start, (self.count, start.size))
        if self.starts is not None:
            lengths = [len(values) for values in self.starts]
            expected = f"{self.count} times {start.size} parameters"
            check(lengths == [start.size] * self.count, name, "starts", expected, f"{lengths} of them")
            starts = np.array([list(values) for values in self.starts], np.float64)
        regression = build_regression(starts, x.dtype, self.param_dtype)
        theta = regression(extract_features(self.localizer, x, train, name))
        theta = theta.reshape(*theta.shape[:-1], self.count, start.size)
        found = make_transform(self.transform, theta, self.control_points)
        sow_transform(self, theta, found, size, self.align_corners)
        return found.warp(
            jnp.expand_dims(x, -4),  # all transforms share the image
            found.transform,
            shape=size,
            mode=self.mode,
            padding_mode=self.padding_mode,
            fill_value=self.fill_value,
            align_corners=self.align_corners,
            antialias=self.antialias,
        )
