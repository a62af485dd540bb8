"""ResNet v2: batch norm and ReLU before every convolution of a block, so that the shortcuts change nothing."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.layers.dropout import DropPath
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import NormConstants
from jaxcnn.models._residual import BOTTLENECKS, BlockStage, add_shortcut, place_strides, spread_drop_path

__all__ = ["ARCHITECTURES", "ResNetV2"]


class ResNetV2Variant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    norm: NormConstants
    pool_padding: Literal["zeros", "SAME"]  # zeros are maxima where all pixels are negative
    projects_first: bool  # in the first block of a stage, also where the channels stay the same


_VARIANTS = {
    "keras": ResNetV2Variant(NormConstants(momentum=0.99, epsilon=1.001e-5), "zeros", projects_first=True),
    "tensorflow": ResNetV2Variant(NormConstants(momentum=0.997, epsilon=1e-5), "SAME", projects_first=False),
}


class PreactivationBlock(nn.Module):
    """A bottleneck of a 1x1, a 3x3 and a 1x1 convolution, each behind batch norm and ReLU, and a shortcut around them.

    Args:
        filters: Channels of the output.
        width: Channels between the convolutions.
        stride: Stride of the 3x3 convolution and of the shortcut.
        dilation: Step between the taps of the 3x3 convolution.
        projects: Whether the shortcut is a projection even where the channels stay the same.
        norm: Constants of batch norm.
        drop_path: Probability of dropping the branch.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        He et al. 2016, arXiv:1603.05027, figure 4 e.
    """

    filters: int
    width: int
    stride: int
    dilation: int
    projects: bool
    norm: NormConstants
    drop_path: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **self.norm, **dtypes)
        conv = functools.partial(Conv, kernel_init=_he, **dtypes)
        size: dict[str, Any] = {"padding": self.dilation, "kernel_dilation": self.dilation}
        before = nn.relu(norm(name="bn1")(x))
        y = conv(self.width, (1, 1), use_bias=False, name="conv1")(before)
        y = nn.relu(norm(name="bn2")(y))
        y = conv(self.width, (3, 3), self.stride, use_bias=False, name="conv2", **size)(y)
        y = nn.relu(norm(name="bn3")(y))
        y = conv(self.filters, (1, 1), name="conv3")(y)
        if self.projects or x.shape[-1] != self.filters:
            x = conv(self.filters, (1, 1), self.stride, name="shortcut")(before)
        else:
            x = x[..., :: self.stride, :: self.stride, :]
        y = DropPath(self.drop_path, name="drop_path")(y, train=train) if self.drop_path else y
        return add_shortcut(y, x)


class ResNetV2(nn.Module):
    """ResNet v2: a 7x7 convolution, max pooling, four stages of pre-activation bottlenecks, batch norm and ReLU.

    Convention:
        - The last block of a stage has the stride, except in the last stage.
        - The tree reads like the paper's figure: ``stage2/block1/bn1`` comes before ``conv1`` and so on, ``shortcut``
          is a projection, and ``bn`` comes behind the last stage. Keras's ``conv2_block1_preact_bn`` and slim's
          ``block1/unit_1/bottleneck_v2/preact`` are ``stage1/block1/bn1``.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        blocks: Number of blocks of each stage.
        variant: ``"keras"`` or ``"tensorflow"``: batch norm's constants and the padding of max pooling.
        stem: Filters of the first convolution.
        filters: Filters of the first convolution of a block in the first stage, twice as many in each later stage;
            None: as many as ``stem``.
        output_stride: Pixels of the image per pixel of the last maps: 32, or 16, 8 or 4, which dilates instead
            of striding in the last stages.
        drop_path: Probability of dropping the last block's branch; of earlier ones proportionally less.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("resnet50_v2", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        25568360

    Parity:
        Logits equal ``keras.applications.ResNet50V2(classifier_activation=None)``, where pixels are in [-1, 1], and
        ``tensorflow/resnet_v2_50`` equals ``tf_slim.nets.resnet_v2.resnet_v2_50``.

    References:
        He et al. 2016, "Identity mappings in deep residual networks", arXiv:1603.05027.
    """

    num_classes: int | None = 10
    blocks: Sequence[int] = (3, 4, 6, 3)
    variant: Literal["keras", "tensorflow"] = "keras"
    stem: int = 64
    filters: int | None = None
    output_stride: Literal[4, 8, 16, 32] = 32
    drop_path: float = 0.0
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[list[dict[str, Any]]]:
        """Lists the options of every block, stage by stage."""
        strides = [2] * (len(self.blocks) - 1) + [1]
        places = place_strides(self.blocks, strides, before=4, output_stride=self.output_stride, place="last")
        rates = spread_drop_path(self.drop_path, self.blocks)
        filters = self.stem if self.filters is None else self.filters
        return [
            [
                {
                    "filters": filters * 2**i * 4,
                    "width": filters * 2**i,
                    "stride": stride,
                    "dilation": dilation,
                    "projects": _VARIANTS[self.variant].projects_first and j == 0,
                    "drop_path": rate,
                }
                for j, ((stride, dilation), rate) in enumerate(zip(places[i], rates[i], strict=True))
            ]
            for i in range(len(self.blocks))
        ]

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("resnet_v2", "variant", self.variant, tuple(_VARIANTS))
        check_choice("resnet_v2", "output_stride", self.output_stride, (4, 8, 16, 32))
        check_images("resnet_v2", x)
        variant = _VARIANTS[self.variant]
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        y = Conv(self.stem, (7, 7), 2, 3, kernel_init=_he, name="conv1", **dtypes)(x)
        if variant.pool_padding == "zeros":
            y = ops.max_pool(jnp.pad(y, [(0, 0)] * (y.ndim - 3) + [(1, 1), (1, 1), (0, 0)]), 3, strides=2)
        else:
            y = ops.max_pool(y, 3, strides=2, padding="SAME")
        for i, stage in enumerate(self.table(), 1):
            blocks = tuple({**options, "norm": variant.norm, **dtypes} for options in stage)
            y = BlockStage(PreactivationBlock, blocks, self.remat, name=f"stage{i}")(y, train)
        y = nn.relu(nn.BatchNorm(use_running_average=not train, name="bn", **variant.norm, **dtypes)(y))
        return pool_and_classify(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

_SLIM = {"variant": "tensorflow"}
_TRAINED: dict[str, Any] = {"size": 299, "classes": 1001}  # the first class of slim's is the background

ARCHITECTURES: Mapping[str, Architecture] = {
    "resnet50_v2": Architecture(ResNetV2, {"blocks": BOTTLENECKS[50]}, 25_568_360, source="keras"),
    "resnet101_v2": Architecture(ResNetV2, {"blocks": BOTTLENECKS[101]}, 44_577_896, source="keras"),
    "resnet152_v2": Architecture(ResNetV2, {"blocks": BOTTLENECKS[152]}, 60_236_904, source="keras"),
    "tensorflow/resnet_v2_50": Architecture(ResNetV2, {"blocks": BOTTLENECKS[50]} | _SLIM, 25_570_409, **_TRAINED),
    "tensorflow/resnet_v2_101": Architecture(ResNetV2, {"blocks": BOTTLENECKS[101]} | _SLIM, 44_579_945, **_TRAINED),
    "tensorflow/resnet_v2_152": Architecture(ResNetV2, {"blocks": BOTTLENECKS[152]} | _SLIM, 60_238_953, **_TRAINED),
    "tensorflow/resnet_v2_200": Architecture(ResNetV2, {"blocks": BOTTLENECKS[200]} | _SLIM, 64_728_169, **_TRAINED),
}
"""The named networks."""
