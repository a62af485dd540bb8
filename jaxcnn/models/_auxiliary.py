"""The auxiliary classifier of the later Inception networks."""

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.models._branches import Pool, Unit, UnitChain, UnitVariant
from jaxcnn.models._dtypes import Dtypes

__all__ = ["AuxiliaryHead"]


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier: a pool, a 1x1 and a 5x5 convolution, a dense layer.

    Args:
        num_classes: Number of logits.
        widths: Filters of the convolutions.
        variant: What differs between sources.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    num_classes: int
    widths: tuple[int, int]
    variant: UnitVariant
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b classes"]:
        """Returns the logits."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        steps = (Pool("avg", 5, 3, "VALID"), Unit(self.widths[0]), Unit(self.widths[1], (5, 5), 1, "VALID"))
        y = UnitChain(steps, self.variant, name="convs", **dtypes)(x, train)
        return nn.Dense(self.num_classes, name="logits", **dtypes)(ops.global_average_pool(y))
