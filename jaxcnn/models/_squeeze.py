"""Squeeze and excitation: every channel is weighted by what the entire map holds."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.models._dtypes import Dtypes

__all__ = ["SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """Weights channels: global average, 1x1 convolution to few channels, 1x1 convolution back, gate.

    Parameters: ``reduce`` and ``expand``, 1x1 convolutions with bias.

    Args:
        reduced: Channels between the two convolutions.
        activation: Function between them.
        gate: Function of the result, which the input is multiplied by; ``nn.hard_sigmoid`` in MobileNet v3.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        Hu et al. 2017, "Squeeze-and-excitation networks", arXiv:1709.01507, figure 2.
    """

    reduced: int
    activation: Callable[[Array], Array] = nn.relu
    gate: Callable[[Array], Array] = nn.sigmoid
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b h w c"]:
        """Returns ``x`` with its channels weighted."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        y = ops.global_average_pool(x)[..., None, None, :]
        y = self.activation(Conv(self.reduced, (1, 1), kernel_init=init, name="reduce", **dtypes)(y))
        y = self.gate(Conv(x.shape[-1], (1, 1), kernel_init=init, name="expand", **dtypes)(y))
        return y * x
