"""The spatial transformer for volumes."""

import dataclasses
import itertools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Dtype, FillValue, Float
from jaxcnn.layers._transforms import build_regression, extract_features, prepare_input
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["VolumeTransformer"]


class VolumeTransformer(nn.Module):
    """Predicts an affine transform of 12 parameters from a volume and warps the volume by it.

    This is ``SpatialTransformer`` in three dimensions; it, too, starts as the exact identity and needs a
    learning rate of its own, about a tenth of that of the layers behind it.

    Convention:
        - Input (*b, d, h, w, c), output (*b, d_out, h_out, w_out, c); any number of leading axes.
        - Parameters: the 3x4 matrix row by row; it maps output points to input points, (x, y, z) in [-1, 1].

    Sows into ``"intermediates"``: ``theta`` (*b, 12), ``grid`` (*b, d_out, h_out, w_out, 3) and ``frame``, where in
    the input the output's corners lie (*b, 8, 3), x changing first, z last.

    Args:
        localizer: Linen module, volume to features; is called with ``train`` if it accepts it.
        output_shape: Depth, height and width of the output; None keeps the input's.
        mode: ``"bilinear"`` (of 8 voxels), ``"bicubic"`` (of 64) or ``"nearest"`` (no gradient to the localizer).
        padding_mode: What lies outside the input: ``"zeros"``, ``"border"``, ``"reflection"``, ``"fill"``.
        fill_value: With ``"fill"``: the value outside, one for all channels or one per channel.
        align_corners: Whether -1 and 1 are the centers of the border voxels or the outer faces.
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
        ...         return nn.relu(nn.Dense(8)(x.reshape(*x.shape[:-4], np.prod(x.shape[-4:]))))
        >>> layer = layers.VolumeTransformer(Localizer(), output_shape=(2, 4, 4))
        >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 4, 6, 6, 1)))
        >>> y.shape, variables["params"]["regression"]["bias"].shape
        ((1, 2, 4, 4, 1), (12,))

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, appendix A.3.
    """

    localizer: nn.Module
    _: dataclasses.KW_ONLY
    output_shape: tuple[int, int, int] | None = None
    mode: Mode = "bilinear"
    padding_mode: PaddingMode = "zeros"
    fill_value: FillValue = 0.0
    align_corners: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "*b d h w c"], *, train: bool = False
    ) -> Float[Array, "*b d_out h_out w_out c"]:
        """Warps ``x`` by the transform that is predicted from it."""
        name = "VolumeTransformer"
        x, size = prepare_input(name, x, self.output_shape, self.dtype, "d h w")
        regression = build_regression(np.eye(3, 4), x.dtype, self.param_dtype)
        theta = regression(extract_features(self.localizer, x, train, name, dimensions=3))
        matrix = theta.reshape(*theta.shape[:-1], 3, 4)
        if self.is_mutable_collection("intermediates"):
            corners = [corner[::-1] for corner in itertools.product((-1.0, 1.0), repeat=3)]
            self.sow("intermediates", "theta", theta)
            self.sow("intermediates", "grid", ops.affine_grid(matrix, size, align_corners=self.align_corners))
            self.sow("intermediates", "frame", ops.apply_matrix(matrix, jnp.asarray(corners, theta.dtype)))
        return ops.warp_affine(
            x,
            matrix,
            shape=size,
            mode=self.mode,
            padding_mode=self.padding_mode,
            fill_value=self.fill_value,
            align_corners=self.align_corners,
        )
