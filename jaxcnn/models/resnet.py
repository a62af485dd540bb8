"""ResNet and its kin: ResNeXt in groups, and Wide ResNet."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.layers.dropout import DropPath
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import TORCH_NORM, NormConstants
from jaxcnn.models._residual import BOTTLENECKS, BlockStage, StridePlace, add_shortcut, place_strides, spread_drop_path

__all__ = ["ARCHITECTURES", "ResNet"]


class ResNetVariant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    norm: NormConstants
    stride_at: Literal["1x1", "3x3"] = "3x3"  # the convolution of a bottleneck that has the stride
    stride_block: StridePlace = "first"  # in the last one the shortcut takes every second pixel
    use_bias: bool = False  # of the convolutions
    projects_first: bool = False  # in the first block of a stage, also where the channels stay the same
    pool_padding: int | Literal["SAME"] = 1


_VARIANTS = {
    "torchvision": ResNetVariant(TORCH_NORM),
    "keras": ResNetVariant(
        NormConstants(momentum=0.99, epsilon=1.001e-5), stride_at="1x1", use_bias=True, projects_first=True
    ),
    "tensorflow": ResNetVariant(NormConstants(momentum=0.997, epsilon=1e-5), stride_block="last", pool_padding="SAME"),
}

Variant = Literal["torchvision", "keras", "tensorflow"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or a bottleneck of a 1x1, a 3x3 and a 1x1 convolution, with a shortcut around them.

    Args:
        filters: Channels of the output.
        width: Channels between the convolutions of a bottleneck.
        bottleneck: Whether it is one.
        stride: Stride of the block.
        dilation: Step between the taps of the 3x3 convolution of a bottleneck.
        groups: Groups of that convolution.
        projects: Whether the shortcut is a projection even where the channels and the size stay the same.
        variant: What differs between sources.
        drop_path: Probability of dropping the branch.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        He et al. 2015, arXiv:1512.03385, figure 5; Xie et al. 2016, arXiv:1611.05431, figure 3 c.
    """

    filters: int
    width: int
    bottleneck: bool
    stride: int
    dilation: int
    groups: int
    projects: bool
    variant: ResNetVariant
    drop_path: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **self.variant.norm, **dtypes)
        conv = functools.partial(Conv, use_bias=self.variant.use_bias, kernel_init=_he, **dtypes)
        y = jnp.asarray(x)
        if self.bottleneck:
            first, second = (self.stride, 1) if self.variant.stride_at == "1x1" else (1, self.stride)
            y = nn.relu(norm(name="bn1")(conv(self.width, (1, 1), first, name="conv1")(y)))
            y = conv(
                self.width,
                (3, 3),
                second,
                padding=self.dilation,
                kernel_dilation=self.dilation,
                feature_group_count=self.groups,
                name="conv2",
            )(y)
            y = nn.relu(norm(name="bn2")(y))
            y = norm(name="bn3")(conv(self.filters, (1, 1), name="conv3")(y))
        else:
            y = nn.relu(norm(name="bn1")(conv(self.filters, (3, 3), self.stride, padding=1, name="conv1")(y)))
            y = norm(name="bn2")(conv(self.filters, (3, 3), padding=1, name="conv2")(y))
        strides = self.stride != 1 and self.variant.stride_block == "first"
        if self.projects or strides or x.shape[-1] != self.filters:
            x = norm(name="shortcut_bn")(conv(self.filters, (1, 1), self.stride, name="shortcut")(x))
        else:
            x = x[..., :: self.stride, :: self.stride, :]
        y = DropPath(self.drop_path, name="drop_path")(y, train=train) if self.drop_path else y
        return nn.relu(add_shortcut(y, x))


class ResNet(nn.Module):
    """ResNet: a 7x7 convolution, max pooling, and four stages of residual blocks.

    Convention:
        The tree reads like the paper's table: ``stage2/block1/conv1``, ``bn1`` and so on, ``shortcut`` and
        ``shortcut_bn`` for projections, ``head``. torchvision's ``layer2.0`` is ``stage2/block1``.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        blocks: Number of blocks of each stage.
        bottleneck: Whether blocks are bottlenecks, with four times as many filters at their ends.
        groups: Groups of the 3x3 convolutions of bottlenecks (ResNeXt's cardinality).
        width_per_group: Channels per group in the first stage; 64 with one group is ResNet, 128 Wide ResNet-2.
        variant: ``"torchvision"``, ``"keras"`` or ``"tensorflow"``: batch norm's constants, biases, which convolution
            of a bottleneck and which block of a stage has the stride, and the padding of max pooling.
        stem: Filters of the first convolution.
        filters: Filters of the first convolution of a block in the first stage, twice as many in each later stage;
            None: as many as ``stem``.
        output_stride: Pixels of the image per pixel of the last maps: 32, or 16, 8 or 4, which dilates instead
            of striding in the last stages. For bottlenecks.
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
        >>> model = models.create("resnet50", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        25557032

    Parity:
        Logits equal ``torchvision.models.resnet50``, axes moved; ``keras/resnet50`` those of
        ``keras.applications.ResNet50(classifier_activation=None)``, and ``tensorflow/resnet_v1_50`` those of
        ``tf_slim.nets.resnet_v1.resnet_v1_50``.

    References:
        He et al. 2015, "Deep residual learning for image recognition", arXiv:1512.03385; Xie et al. 2016,
        arXiv:1611.05431; Zagoruyko & Komodakis 2016, arXiv:1605.07146.
    """

    num_classes: int | None = 10
    blocks: Sequence[int] = (3, 4, 6, 3)
    bottleneck: bool = True
    groups: int = 1
    width_per_group: int = 64
    variant: Variant = "torchvision"
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
        variant = _VARIANTS[self.variant]
        place = variant.stride_block
        strides = [1 if i == 0 else 2 for i in range(len(self.blocks))]
        strides = strides if place == "first" else strides[::-1]
        places = place_strides(self.blocks, strides, before=4, output_stride=self.output_stride, place=place)
        rates = spread_drop_path(self.drop_path, self.blocks)
        filters = self.stem if self.filters is None else self.filters
        return [
            [
                {
                    "filters": filters * 2**i * (4 if self.bottleneck else 1),
                    "width": filters * 2**i * self.width_per_group // 64 * self.groups,
                    "bottleneck": self.bottleneck,
                    "stride": stride,
                    "dilation": dilation,
                    "groups": self.groups,
                    "projects": variant.projects_first and j == 0,
                    "drop_path": rate,
                }
                for j, ((stride, dilation), rate) in enumerate(zip(places[i], rates[i], strict=True))
            ]
            for i in range(len(self.blocks))
        ]

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("resnet", "variant", self.variant, tuple(_VARIANTS))
        check_choice("resnet", "output_stride", self.output_stride, (4, 8, 16, 32))
        dilates = self.output_stride == 32 or self.bottleneck
        check(dilates, "resnet", "output_stride", "32, as basic blocks do not dilate", self.output_stride)
        check_images("resnet", x)
        variant = _VARIANTS[self.variant]
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = nn.BatchNorm(use_running_average=not train, name="bn1", **variant.norm, **dtypes)
        conv = Conv(self.stem, (7, 7), 2, 3, use_bias=variant.use_bias, kernel_init=_he, name="conv1", **dtypes)
        y = nn.relu(norm(conv(x)))
        y = ops.max_pool(y, 3, strides=2, padding=variant.pool_padding)
        for i, stage in enumerate(self.table(), 1):
            blocks = tuple({**options, "variant": variant, **dtypes} for options in stage)
            y = BlockStage(ResidualBlock, blocks, self.remat, name=f"stage{i}")(y, train)
        return pool_and_classify(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

_SIZES: dict[str, dict[str, Any]] = {
    "18": {"blocks": (2, 2, 2, 2), "bottleneck": False},
    "34": {"blocks": (3, 4, 6, 3), "bottleneck": False},
    **{str(layers): {"blocks": blocks} for layers, blocks in BOTTLENECKS.items()},
}

_RESNEXT = {"groups": 32, "width_per_group": 4}
_KERAS = {"variant": "keras"}
_SLIM = {"variant": "tensorflow"}
_WIDE = {"width_per_group": 128}

ARCHITECTURES: Mapping[str, Architecture] = {
    "resnet18": Architecture(ResNet, _SIZES["18"], 11_689_512),
    "resnet34": Architecture(ResNet, _SIZES["34"], 21_797_672),
    "resnet50": Architecture(ResNet, _SIZES["50"], 25_557_032),
    "resnet101": Architecture(ResNet, _SIZES["101"], 44_549_160),
    "resnet152": Architecture(ResNet, _SIZES["152"], 60_192_808),
    "resnext50_32x4d": Architecture(ResNet, _SIZES["50"] | _RESNEXT, 25_028_904),
    "resnext101_32x8d": Architecture(ResNet, _SIZES["101"] | _RESNEXT | {"width_per_group": 8}, 88_791_336),
    "resnext101_64x4d": Architecture(ResNet, _SIZES["101"] | _RESNEXT | {"groups": 64}, 83_455_272),
    "wide_resnet50_2": Architecture(ResNet, _SIZES["50"] | _WIDE, 68_883_240),
    "wide_resnet101_2": Architecture(ResNet, _SIZES["101"] | _WIDE, 126_886_696),
    "keras/resnet50": Architecture(ResNet, _SIZES["50"] | _KERAS, 25_583_592),
    "keras/resnet101": Architecture(ResNet, _SIZES["101"] | _KERAS, 44_601_832),
    "keras/resnet152": Architecture(ResNet, _SIZES["152"] | _KERAS, 60_268_520),
    "tensorflow/resnet_v1_50": Architecture(ResNet, _SIZES["50"] | _SLIM, 25_557_032),
    "tensorflow/resnet_v1_101": Architecture(ResNet, _SIZES["101"] | _SLIM, 44_549_160),
    "tensorflow/resnet_v1_152": Architecture(ResNet, _SIZES["152"] | _SLIM, 60_192_808),
    "tensorflow/resnet_v1_200": Architecture(ResNet, _SIZES["200"] | _SLIM, 64_673_832),
}
"""The named networks."""
