"""ResNet and its kin: ResNeXt in groups, Wide ResNet, and the networks for CIFAR-10."""

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
from jaxcnn.models._residual import add_shortcut

__all__ = ["ARCHITECTURES", "CifarResNet", "ResNet"]


class ResNetVariant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    norm: NormConstants
    stride_at: Literal["1x1", "3x3"] = "3x3"  # the convolution of a bottleneck that has the stride
    use_bias: bool = False  # of the convolutions


_VARIANTS = {
    "torchvision": ResNetVariant(TORCH_NORM),
    "keras": ResNetVariant(NormConstants(momentum=0.99, epsilon=1.001e-5), stride_at="1x1", use_bias=True),
}

Variant = Literal["torchvision", "keras"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or a bottleneck of a 1x1, a 3x3 and a 1x1 convolution, with a shortcut around them.

    Args:
        filters: Channels of the output.
        width: Channels between the convolutions of a bottleneck.
        bottleneck: Whether it is one.
        stride: Stride of the block.
        dilation: Step between the taps of the 3x3 convolution of a bottleneck.
        groups: Groups of that convolution.
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
        if self.stride != 1 or x.shape[-1] != self.filters:
            x = norm(name="shortcut_bn")(conv(self.filters, (1, 1), self.stride, name="shortcut")(x))
        y = DropPath(self.drop_path, name="drop_path")(y, train=train) if self.drop_path else y
        return nn.relu(add_shortcut(y, x))


class ResNetStage(nn.Module):
    """Residual blocks of one resolution.

    Args:
        blocks: The blocks, in order.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
    """

    blocks: tuple[Mapping[str, Any], ...]
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the last block."""
        block = nn.remat(ResidualBlock, static_argnums=(2,)) if self.remat else ResidualBlock
        y = jnp.asarray(x)
        for i, options in enumerate(self.blocks, 1):
            y = block(**options, name=f"block{i}")(y, train)
        return y


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
        variant: ``"torchvision"`` or ``"keras"``: batch norm's constants, biases, and which convolution of a
            bottleneck has the stride.
        stem: Filters of the first convolution.
        output_stride: Pixels of the image per pixel of the last maps: 32, or 16 or 8, which dilates instead of
            striding in the last stages. For bottlenecks.
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
        Logits equal ``torchvision.models.resnet50``, axes moved, for images normalized by ImageNet's mean and
        standard deviation.

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
    output_stride: Literal[8, 16, 32] = 32
    drop_path: float = 0.0
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[list[dict[str, Any]]]:
        """Lists the options of every block, stage by stage."""
        stages, before, dilation = [], 4, 1
        total = sum(self.blocks)
        for i, number in enumerate(self.blocks):
            planes = self.stem * 2**i
            stride, first_dilation = (1 if i == 0 else 2), dilation
            if before * stride > self.output_stride:
                dilation, stride = dilation * stride, 1
            before *= stride
            stage = []
            for j in range(number):
                place = sum(len(one) for one in stages) + j
                stage.append(
                    {
                        "filters": planes * (4 if self.bottleneck else 1),
                        "width": planes * self.width_per_group // 64 * self.groups,
                        "bottleneck": self.bottleneck,
                        "stride": stride if j == 0 else 1,
                        "dilation": first_dilation if j == 0 else dilation,
                        "groups": self.groups,
                        "drop_path": self.drop_path * place / max(total - 1, 1),
                    }
                )
            stages.append(stage)
        return stages

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("resnet", "variant", self.variant, tuple(_VARIANTS))
        check_choice("resnet", "output_stride", self.output_stride, (8, 16, 32))
        dilates = self.output_stride == 32 or self.bottleneck
        check(dilates, "resnet", "output_stride", "32, as basic blocks do not dilate", self.output_stride)
        check_images("resnet", x)
        variant = _VARIANTS[self.variant]
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = nn.BatchNorm(use_running_average=not train, name="bn1", **variant.norm, **dtypes)
        conv = Conv(self.stem, (7, 7), 2, 3, use_bias=variant.use_bias, kernel_init=_he, name="conv1", **dtypes)
        y = nn.relu(norm(conv(x)))
        y = ops.max_pool(y, 3, strides=2, padding=1)
        for i, stage in enumerate(self.table(), 1):
            blocks = tuple({**options, "variant": variant, **dtypes} for options in stage)
            y = ResNetStage(blocks, self.remat, name=f"stage{i}")(y, train)
        return pool_and_classify(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


class CifarResNet(nn.Module):
    """ResNet for images of 32 x 32 pixels: a 3x3 convolution and three stages of basic blocks.

    Where the resolution halves, shortcuts take every second pixel and fill new channels with zeros (option A of the
    paper), so that they have no parameters.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        blocks: Blocks per stage; the network has 6 * blocks + 2 layers.
        stem: Filters of the first convolution and stage.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("cifar_resnet20")
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        269722

    Parity:
        Logits equal the networks of akamaster/pytorch_resnet_cifar10.

    References:
        He et al. 2015, arXiv:1512.03385, section 4.2.
    """

    num_classes: int | None = 10
    blocks: int = 3
    stem: int = 16
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_images("cifar_resnet", x)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = nn.BatchNorm(use_running_average=not train, name="bn1", **TORCH_NORM, **dtypes)
        y = nn.relu(
            norm(Conv(self.stem, (3, 3), padding=1, use_bias=False, kernel_init=_he, name="conv1", **dtypes)(x))
        )
        for i in range(3):
            y = CifarStage(self.stem * 2**i, self.blocks, 1 if i == 0 else 2, name=f"stage{i + 1}", **dtypes)(y, train)
        return pool_and_classify(y, self.num_classes, dropout=0.0, train=train, **dtypes)


class CifarStage(nn.Module):
    """Basic blocks of one resolution, with shortcuts that have no parameters.

    Args:
        filters: Channels.
        blocks: Number of blocks.
        stride: Stride of the first block.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    blocks: int
    stride: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the last block."""
        y = jnp.asarray(x)
        for i in range(self.blocks):
            block = CifarBlock(
                self.filters, self.stride if i == 0 else 1, self.dtype, self.param_dtype, name=f"block{i + 1}"
            )
            y = block(y, train)
        return y


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters.

    Args:
        filters: Channels.
        stride: Stride of the first convolution.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    stride: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **TORCH_NORM, **dtypes)
        conv = functools.partial(Conv, self.filters, (3, 3), padding=1, use_bias=False, kernel_init=_he, **dtypes)
        x = jnp.asarray(x)
        y = nn.relu(norm(name="bn1")(conv(strides=self.stride, name="conv1")(x)))
        y = norm(name="bn2")(conv(name="conv2")(y))
        new = self.filters - x.shape[-1]
        if self.stride != 1 or new:
            x = x[..., :: self.stride, :: self.stride, :]
            x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(new // 2, new - new // 2)])
        return nn.relu(add_shortcut(y, x))


_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

_SIZES: dict[str, dict[str, Any]] = {
    "18": {"blocks": (2, 2, 2, 2), "bottleneck": False},
    "34": {"blocks": (3, 4, 6, 3), "bottleneck": False},
    "50": {"blocks": (3, 4, 6, 3)},
    "101": {"blocks": (3, 4, 23, 3)},
    "152": {"blocks": (3, 8, 36, 3)},
}

_RESNEXT = {"groups": 32, "width_per_group": 4}
_KERAS = {"variant": "keras"}
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
    "cifar_resnet20": Architecture(CifarResNet, {"blocks": 3}, 269_722, size=32, classes=10),
    "cifar_resnet32": Architecture(CifarResNet, {"blocks": 5}, 464_154, size=32, classes=10),
    "cifar_resnet44": Architecture(CifarResNet, {"blocks": 7}, 658_586, size=32, classes=10),
    "cifar_resnet56": Architecture(CifarResNet, {"blocks": 9}, 853_018, size=32, classes=10),
    "cifar_resnet110": Architecture(CifarResNet, {"blocks": 18}, 1_727_962, size=32, classes=10),
}
"""The named networks."""
