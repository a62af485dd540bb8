"""SqueezeNet: fire modules, which squeeze channels by 1x1 convolutions and expand them by 1x1 and 3x3 ones."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import drop_features
from jaxcnn.models._inputs import check_images

__all__ = ["ARCHITECTURES", "SqueezeNet"]


class SqueezeNetVariant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    ceil_mode: bool  # whether pooling includes a last window that extends beyond the end


_VARIANTS = {"torchvision": SqueezeNetVariant(ceil_mode=True), "keras": SqueezeNetVariant(ceil_mode=False)}


class Fire(nn.Module):
    """A 1x1 convolution of few filters, then 1x1 and 3x3 convolutions side by side, of four times as many each.

    Args:
        squeeze: Filters of the first convolution.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        Iandola et al. 2016, arXiv:1602.07360, figure 1.
    """

    squeeze: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b h w f"]:
        """Returns the maps of both sides, those of the 1x1 convolution first."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        conv = functools.partial(Conv, kernel_init=_he, **dtypes)
        y = nn.relu(conv(self.squeeze, (1, 1), name="squeeze")(x))
        pointwise = conv(4 * self.squeeze, (1, 1), name="expand1x1")(y)
        spatial = conv(4 * self.squeeze, (3, 3), padding=1, name="expand3x3")(y)
        return nn.relu(jnp.concatenate([pointwise, spatial], axis=-1))


class SqueezeNet(nn.Module):
    """SqueezeNet: a convolution, eight fire modules, a classifier of every pixel whose scores are averaged.

    Convention:
        - The tree is the paper's table 1: ``conv1``, ``fire2`` to ``fire9``, and ``head``, its ``conv10``, which is a
          dense layer of the pixels.
        - Logits are the means of rectified scores, as in the original, so that none is negative.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        stem: Filters of the first convolution.
        stem_kernel: Height and width of its kernel.
        fires: Filters of the first convolution of each fire module.
        pools: Numbers of the layers that pooling follows: 1 is the convolution, 2 the first fire module.
        variant: ``"torchvision"`` or ``"keras"``: whether pooling rounds up.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, or the image too small.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("squeezenet1_1", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        1235496

    Parity:
        Logits equal ``torchvision.models.squeezenet1_1``, axes moved, or those before the softmax of
        rcmalli/keras-squeezenet.

    References:
        Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
        arXiv:1602.07360; version 1.1 is of their repository.
    """

    num_classes: int | None = 10
    stem: int = 64
    stem_kernel: int = 3
    fires: Sequence[int] = (16, 16, 32, 32, 48, 48, 64, 64)
    pools: Sequence[int] = (1, 3, 5)
    variant: Literal["torchvision", "keras"] = "torchvision"
    dropout: float = 0.5
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("squeezenet", "variant", self.variant, tuple(_VARIANTS))
        ceil_mode = _VARIANTS[self.variant].ceil_mode
        check_images("squeezenet", x, smallest=self._smallest_image())
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        pool = functools.partial(ops.max_pool, window=3, strides=2, ceil_mode=ceil_mode)
        kernel = (self.stem_kernel, self.stem_kernel)
        y = nn.relu(Conv(self.stem, kernel, 2, "VALID", kernel_init=_he, name="conv1", **dtypes)(x))
        y = pool(y) if 1 in self.pools else y
        fire = nn.remat(Fire) if self.remat else Fire
        for i, squeeze in enumerate(self.fires, 2):
            y = fire(squeeze, name=f"fire{i}", **dtypes)(y)
            y = pool(y) if i in self.pools else y
        if self.num_classes is None:
            return ops.global_average_pool(y)
        y = drop_features(y, self.dropout, name="dropout", train=train)
        scores = nn.Dense(self.num_classes, kernel_init=_normal, name="head", **dtypes)(y)
        return ops.global_average_pool(nn.relu(scores))

    def _smallest_image(self) -> int:
        """Returns the size of the smallest images that every pooling can take."""
        size = 1
        for _ in self.pools:
            size = 2 * size + (0 if _VARIANTS[self.variant].ceil_mode else 1)
        return 2 * (size - 1) + self.stem_kernel


_he = nn.initializers.he_uniform()
_normal = nn.initializers.normal(0.01)

_1_0: dict[str, Any] = {"stem": 96, "stem_kernel": 7, "pools": (1, 4, 8)}

ARCHITECTURES: Mapping[str, Architecture] = {
    "squeezenet1_0": Architecture(SqueezeNet, _1_0, 1_248_424),
    "squeezenet1_1": Architecture(SqueezeNet, {}, 1_235_496),
    "keras/squeezenet1_1": Architecture(SqueezeNet, {"variant": "keras"}, 1_235_496, size=227),
}
"""The named networks."""
