"""What stands behind the maps of a classifier: global average pooling, dropout, a dense layer."""

from typing import Any

import flax.linen as nn

from jaxcnn import ops
from jaxcnn.layers.dropout import SpatialDropout

__all__ = ["pooled_logits"]


def pooled_logits(x: Any, num_classes: int | None, *, dropout: float, train: bool, **kinds: Any) -> Any:
    """Gives the logits of maps (*b, h, w, c), or the pooled features where ``num_classes`` is None.

    Called inside of a compact method: ``dropout`` and ``head`` become submodules of its module.
    """
    x = ops.global_average_pool(x)
    if num_classes is None:
        return x
    # Channels of one pixel: plain dropout, which unlike flax.linen.Dropout also works where a mesh shards x.
    x = SpatialDropout(dropout, name="dropout")(x[..., None, None, :], train=train)[..., 0, 0, :]
    return nn.Dense(num_classes, name="head", **kinds)(x)
