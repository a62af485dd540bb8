"""The head of a classifier: global average pooling, dropout, a dense layer."""

from typing import Unpack

import flax.linen as nn

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.layers.dropout import SpatialDropout
from jaxcnn.models._dtypes import Dtypes

__all__ = ["pool_and_classify"]


def pool_and_classify(
    x: Float[AnyArray, "*b h w c"], num_classes: int | None, *, dropout: float, train: bool, **dtypes: Unpack[Dtypes]
) -> Float[Array, "*b classes"]:
    """Computes logits from feature maps, or returns the pooled features where ``num_classes`` is None.

    Call it inside a compact method: ``dropout`` and ``head`` become submodules of that module.
    """
    x = ops.global_average_pool(x)
    if num_classes is None:
        return x
    # Channels of one pixel: plain dropout, which unlike flax.linen.Dropout also works where a mesh shards x.
    x = SpatialDropout(dropout, name="dropout")(x[..., None, None, :], train=train)[..., 0, 0, :]
    return nn.Dense(num_classes, name="head", **dtypes)(x)
