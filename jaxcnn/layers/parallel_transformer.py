"""Several spatial transformers side by side."""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import Array, Dtype, Float
from jaxcnn.layers._transforms import IDENTITIES, features, geometry, identity, prepare, record, regression
from jaxcnn.layers.transformer import Transform
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["ParallelTransformer"]


class ParallelTransformer(nn.Module):
    """Looks at its input in several places at once: one localizer, several transforms, as many outputs.

    Each transform may find an object or a part of its own. For the paper's channels side by side, move the
    axis of the transforms next to the channels and reshape. They start as the identity, all alike; unless
    the features tell them apart (they do once the regression's weights, zero at first, have learned from
    outputs that are used differently) give each a start of its own with ``starts``.

    Convention:
        As ``SpatialTransformer``. Input (*b, h, w, c), output (*b, count, h_out, w_out, c).

    Sows into ``"intermediates"``: ``theta`` (*b, count, n), ``grid`` (*b, count, h_out, w_out, 2) and ``frame``
    (*b, count, 4, 2).

    Args:
        localizer: Linen module, input to features; is given ``train`` if it takes it.
        count: Number of transforms.
        transform: The family of transforms, as in ``SpatialTransformer``.
        starts: Parameters that each starts with, count of them; None stands for the identity.
        output_shape: Height and width of the output; None keeps the input's.
        mode: ``"bilinear"``, ``"bicubic"`` or ``"nearest"`` (no gradient to the localizer).
        padding_mode: What lies outside of the input: ``"zeros"``, ``"border"``, ``"reflection"``, ``"fill"``.
        fill_value: With ``"fill"``: what lies outside.
        align_corners: Whether -1 and 1 are the centres of the border pixels or the outer edges.
        antialias: Whether pixels that cover several input pixels are means over them, as in ``ops.grid_sample``.
        control_points: With ``"tps"``: rows and columns of the regular grid of control points.
        dtype: Dtype of the output; None keeps the input's.
        param_dtype: Dtype of the regression's parameters.

    Raises:
        ValueError: If an option is unknown, ``starts`` has the wrong form, or the input the wrong rank or dtype.

    Example:
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
    fill_value: float = 0.0
    align_corners: bool = False
    antialias: bool = False
    control_points: tuple[int, int] = (4, 4)
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"], *, train: bool = False) -> Float[Array, "*b count h_out w_out c"]:
        """Warps ``x`` by every transform that is predicted from it."""
        name = "ParallelTransformer"
        check_choice(name, "transform", self.transform, (*IDENTITIES, "tps"))
        check(is_integer_at_least(self.count, 1), name, "count", "a positive integer", repr(self.count))
        x, size = prepare(name, x, self.output_shape, self.dtype)

        start = identity(self.transform, self.control_points, name)
        starts = np.broadcast_to(start, (self.count, start.size))
        if self.starts is not None:
            lengths = [len(own) for own in self.starts]
            expected = f"{self.count} times {start.size} parameters"
            check(lengths == [start.size] * self.count, name, "starts", expected, f"{lengths} of them")
            starts = np.array([list(own) for own in self.starts], np.float64)
        theta = regression(starts, x.dtype, self.param_dtype)(features(self.localizer, x, train, name))
        theta = theta.reshape(*theta.shape[:-1], self.count, start.size)
        found = geometry(self.transform, theta, self.control_points)
        record(self, theta, found, size, self.align_corners)
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
