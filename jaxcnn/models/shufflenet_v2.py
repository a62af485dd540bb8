"""ShuffleNet v2: units that compute on half of the channels and shuffle both halves."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.layers.convolution import Conv, DepthwiseConv
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import TORCH_NORM
from jaxcnn.models._residual import BlockStage

__all__ = ["ARCHITECTURES", "ShuffleNetV2"]


class ShuffleUnit(nn.Module):
    """A 1x1, a depthwise 3x3 and a 1x1 convolution of half of the channels; the other half joins it unchanged.

    At stride 2 both halves of the output are computed from all channels of the input: the other one by a depthwise 3x3
    and a 1x1 convolution.

    Args:
        filters: Channels of the output.
        stride: Stride of the depthwise convolutions.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        Ma et al. 2018, arXiv:1807.11164, figure 3 c and d.
    """

    filters: int
    stride: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of both halves, in turn."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **TORCH_NORM, **dtypes)
        conv = functools.partial(Conv, self.filters // 2, (1, 1), use_bias=False, kernel_init=_he, **dtypes)
        depthwise = functools.partial(
            DepthwiseConv,
            (3, 3),
            strides=self.stride,
            padding=1,
            use_bias=False,
            kernel_init=_depthwise_he,
            **dtypes,
        )
        x = jnp.asarray(x)
        if self.stride == 1:
            other, y = jnp.split(x, 2, -1)
        else:
            other, y = norm(name="shortcut_depthwise_bn")(depthwise(name="shortcut_depthwise")(x)), x
            other = nn.relu(norm(name="shortcut_bn")(conv(name="shortcut")(other)))
        y = nn.relu(norm(name="bn1")(conv(name="conv1")(y)))
        y = norm(name="depthwise_bn")(depthwise(name="depthwise")(y))
        y = nn.relu(norm(name="bn2")(conv(name="conv2")(y)))
        return jnp.stack([other, y], -1).reshape(*y.shape[:-1], self.filters)


class ShuffleNetV2(nn.Module):
    """ShuffleNet v2: a 3x3 convolution, max pooling, three stages of shuffle units, a 1x1 convolution.

    Convention:
        The tree is numbered like the paper's table: ``conv1``, ``stage2`` to ``stage4``, ``conv5``. In a unit,
        ``shortcut_depthwise`` and ``shortcut`` are the branch that only units of stride 2 have.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        blocks: Number of units of each stage.
        filters: Channels of each stage, even numbers.
        stem: Filters of the first convolution.
        last: Filters of the last convolution.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If a number of channels is odd.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("shufflenet_v2_x1_0", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        2278604

    Parity:
        Logits equal ``torchvision.models.shufflenet_v2_x1_0`` and so on, axes moved.

    References:
        Ma et al. 2018, "ShuffleNet V2: practical guidelines for efficient CNN architecture design",
        arXiv:1807.11164, table 5.
    """

    num_classes: int | None = 10
    blocks: Sequence[int] = (4, 8, 4)
    filters: Sequence[int] = (116, 232, 464)
    stem: int = 24
    last: int = 1024
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        even = all(number % 2 == 0 for number in self.filters)
        check(even, "shufflenet_v2", "filters", "even numbers", tuple(self.filters))
        check_images("shufflenet_v2", x)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **TORCH_NORM, **dtypes)
        conv = functools.partial(Conv, use_bias=False, kernel_init=_he, **dtypes)
        y = nn.relu(norm(name="bn1")(conv(self.stem, (3, 3), 2, 1, name="conv1")(x)))
        y = ops.max_pool(y, 3, strides=2, padding=1)
        for i, (blocks, width) in enumerate(zip(self.blocks, self.filters, strict=True), 2):
            units: list[dict[str, Any]] = [
                {"filters": width, "stride": 2 if j == 0 else 1, **dtypes} for j in range(blocks)
            ]
            y = BlockStage(ShuffleUnit, units, self.remat, name=f"stage{i}")(y, train)
        y = nn.relu(norm(name="bn5")(conv(self.last, (1, 1), name="conv5")(y)))
        return pool_and_classify(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_depthwise_he = depthwise_variance_scaling(2.0)

ARCHITECTURES: Mapping[str, Architecture] = {
    "shufflenet_v2_x0_5": Architecture(ShuffleNetV2, {"filters": (48, 96, 192)}, 1_366_792),
    "shufflenet_v2_x1_0": Architecture(ShuffleNetV2, {"filters": (116, 232, 464)}, 2_278_604),
    "shufflenet_v2_x1_5": Architecture(ShuffleNetV2, {"filters": (176, 352, 704)}, 3_503_624),
    "shufflenet_v2_x2_0": Architecture(ShuffleNetV2, {"filters": (244, 488, 976), "last": 2048}, 7_393_996),
}
"""The named networks."""
