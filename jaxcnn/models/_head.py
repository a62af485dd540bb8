"""The head of a classifier: global average pooling, dropout, a dense layer."""

from typing import Unpack

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.layers.dropout import SpatialDropout
from jaxcnn.models._dtypes import Dtypes

__all__ = ["compute_logits", "drop_features", "pool_and_classify"]


def pool_and_classify(
    x: Float[AnyArray, "*b h w c"], num_classes: int | None, *, dropout: float, train: bool, **dtypes: Unpack[Dtypes]
) -> Float[Array, "*b classes"]:
    """Computes logits from feature maps, or returns the pooled features where ``num_classes`` is None.

    Call it inside a compact method: ``dropout`` and ``head`` become submodules of that module.
    """
    return compute_logits(ops.global_average_pool(x), num_classes, dropout=dropout, train=train, **dtypes)


def compute_logits(
    x: Float[AnyArray, "*b c"], num_classes: int | None, *, dropout: float, train: bool, **dtypes: Unpack[Dtypes]
) -> Float[Array, "*b classes"]:
    """Computes logits from features, or returns these where ``num_classes`` is None.

    Call it inside a compact method: ``dropout`` and ``head`` become submodules of that module.
    """
    if num_classes is None:
        return jnp.asarray(x)
    x = drop_features(x, dropout, name="dropout", train=train)
    return nn.Dense(num_classes, name="head", **dtypes)(x)


def drop_features(x: Float[AnyArray, "*b c"], rate: float, *, name: str, train: bool) -> Float[Array, "*b c"]:
    """Drops single features; call it inside a compact method, whose submodule the dropout becomes.

    Unlike ``flax.linen.Dropout`` it also works where a mesh shards ``x``: features are channels of one pixel.
    """
    return SpatialDropout(rate, name=name)(x[..., None, None, :], train=train)[..., 0, 0, :]
