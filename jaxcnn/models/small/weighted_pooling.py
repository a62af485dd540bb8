"""A small convolutional network that pools with predicted weights, which show where it looks."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.layers.pooling import Activation, GlobalWeightedAveragePool
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._inputs import check_images

__all__ = ["WeightedPoolingCNN"]


class WeightedPoolingCNN(nn.Module):
    """Convolutions with batch norm, then global weighted average pooling, then logits.

    The weights (*b, h, w, 1), or (*b, h, w, classes) if class-specific, are sown below ``pool``: they
    show which positions the decision rests on.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        features: Filters of each stage; all but the last are followed by 2x2 max pooling.
        class_specific: Whether every class has a weight map of its own (then no dense head follows).
        activation: Function from scores to weights, see ``layers.GlobalWeightedAveragePool``.
        dropout: Rate of dropout before the head.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If ``num_classes`` is None in a class-specific network, which has no pooled features.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("gwap_cnn", num_classes=10, features=(8, 8))
        >>> variables = model.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
        >>> logits, sown = model.apply(variables, jnp.ones((1, 28, 28, 1)), mutable="intermediates")
        >>> logits.shape, sown["intermediates"]["pool"]["weights"][0].shape
        ((1, 10), (1, 14, 14, 1))

    References:
        Qiu 2018, "Global weighted average pooling bridges pixel-level localization and image-level
        classification", arXiv:1809.08264.
    """

    num_classes: int | None = 10
    features: Sequence[int] = (32, 64, 64)
    class_specific: bool = False
    activation: Activation | Callable[[jax.Array], jax.Array] = "exp_sigmoid"
    dropout: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_images("gwap_cnn", x, smallest=2 ** (len(self.features) - 1))
        if self.class_specific and self.num_classes is None:
            raise ValueError("gwap_cnn: num_classes must be given if class_specific, got None.")
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        for i, filters in enumerate(self.features, 1):
            x = Conv(filters, (3, 3), use_bias=False, kernel_init=_he, name=f"conv{i}", **dtypes)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name=f"norm{i}", **dtypes)(x))
            if i < len(self.features):
                x = ops.max_pool(x, 2)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        specific = self.num_classes if self.class_specific else None
        pool = GlobalWeightedAveragePool(activation=self.activation, features=specific, name="pool", **dtypes)
        x = pool(x, train=train)
        if self.num_classes is None or self.class_specific:
            return x
        return nn.Dense(self.num_classes, name="head", **dtypes)(x)


_he = nn.initializers.he_normal()
