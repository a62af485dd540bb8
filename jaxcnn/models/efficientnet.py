"""EfficientNet, first and second version: inverted residuals with squeeze and excitation, scaled in width and depth."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check, check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.layers.convolution import Conv, DepthwiseConv
from jaxcnn.layers.dropout import DropPath
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import IMAGENET_MEAN, IMAGENET_STD, check_images, normalize_pixels
from jaxcnn.models._norms import KERAS_NORM, TORCH_NORM, NormConstants
from jaxcnn.models._residual import BlockStage, add_shortcut
from jaxcnn.models._squeeze import SqueezeExcite
from jaxcnn.models._widths import round_to_multiple

__all__ = ["ARCHITECTURES", "EfficientNet"]


class EfficientNetRow(NamedTuple):
    """One stage, a row of the paper's table."""

    kind: str  # "plain", or "fused": one dense convolution expands and filters
    expansion: int
    kernel: int
    stride: int
    filters: int
    blocks: int


class EfficientNetVariant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    norm: NormConstants
    padding: Literal["symmetric", "same"] = "symmetric"
    pixels: Literal["as given", "stored", "imagenet", "signed"] = "as given"  # how they are normalized inside
    scaled_version_2: bool = False  # Keras's: no width is rounded up by more than half a step, rates of drop path grow


_NORM_V2 = NormConstants(momentum=0.9, epsilon=1e-3)

_VARIANTS = {
    "torchvision": EfficientNetVariant(TORCH_NORM),
    "torchvision_large": EfficientNetVariant(KERAS_NORM),
    "torchvision_v2": EfficientNetVariant(_NORM_V2),
    "tensorflow": EfficientNetVariant(_NORM_V2, "same"),
    "tensorflow_v2": EfficientNetVariant(_NORM_V2, "same", scaled_version_2=True),
    "keras": EfficientNetVariant(KERAS_NORM, "same", "stored"),
    "keras_v2": EfficientNetVariant(_NORM_V2, "same", "imagenet", scaled_version_2=True),
    "keras_v2_large": EfficientNetVariant(_NORM_V2, "same", "signed", scaled_version_2=True),
}

Variant = Literal[
    "torchvision",
    "torchvision_large",
    "torchvision_v2",
    "tensorflow",
    "tensorflow_v2",
    "keras",
    "keras_v2",
    "keras_v2_large",
]


class PixelNormalization(nn.Module):
    """Normalizes pixels in [0, 255] by a mean and a variance that are stored with the weights, as Keras does.

    Statistics: ``mean`` and ``var`` of pixels in [0, 1]. Training does not change them.
    """

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b h w c"]:
        """Returns normalized pixels."""
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:], jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, x.shape[-1:], jnp.float32)
        return normalize_pixels(x, mean.value, jnp.maximum(jnp.sqrt(var.value), 1e-7))


class MBConv(nn.Module):
    """An inverted residual: expands, filters each channel, weights the channels, projects.

    Args:
        filters: Channels of the output.
        row: Its stage, with the block's own stride.
        variant: What differs between sources.
        drop_path: Probability of dropping the branch.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        Tan & Le 2021, arXiv:2104.00298, figure 2; fused blocks have a 3x3 convolution in the place of the first two.
    """

    filters: int
    row: EfficientNetRow
    variant: EfficientNetVariant
    drop_path: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **self.variant.norm, **dtypes)
        conv = functools.partial(Conv, use_bias=False, kernel_init=_he, **dtypes)
        size, stride = (self.row.kernel, self.row.kernel), self.row.stride
        padding = _pad(self.row.kernel, self.variant)
        c, wide = x.shape[-1], x.shape[-1] * self.row.expansion
        y = jnp.asarray(x)
        if self.row.kind == "fused":
            if self.row.expansion != 1:
                y = nn.silu(norm(name="expand_bn")(conv(wide, size, stride, padding, name="expand")(y)))
                y = norm(name="project_bn")(conv(self.filters, (1, 1), name="project")(y))
            else:
                y = nn.silu(norm(name="project_bn")(conv(self.filters, size, stride, padding, name="project")(y)))
        else:
            if self.row.expansion != 1:
                y = nn.silu(norm(name="expand_bn")(conv(wide, (1, 1), name="expand")(y)))
            depthwise = DepthwiseConv(
                size,
                strides=stride,
                padding=padding,
                use_bias=False,
                kernel_init=_depthwise_he,
                name="depthwise",
                **dtypes,
            )
            y = nn.silu(norm(name="depthwise_bn")(depthwise(y)))
            y = SqueezeExcite(max(1, c // 4), activation=nn.silu, name="squeeze", **dtypes)(y)
            y = norm(name="project_bn")(conv(self.filters, (1, 1), name="project")(y))
        if stride != 1 or c != self.filters:
            return y
        y = DropPath(self.drop_path, name="drop_path")(y, train=train) if self.drop_path else y
        return add_shortcut(y, x)


_B0 = (
    # expansion, kernel, stride, filters, blocks: table 1 of the first paper
    EfficientNetRow("plain", 1, 3, 1, 16, 1),
    EfficientNetRow("plain", 6, 3, 2, 24, 2),
    EfficientNetRow("plain", 6, 5, 2, 40, 2),
    EfficientNetRow("plain", 6, 3, 2, 80, 3),
    EfficientNetRow("plain", 6, 5, 1, 112, 3),
    EfficientNetRow("plain", 6, 5, 2, 192, 4),
    EfficientNetRow("plain", 6, 3, 1, 320, 1),
)


class EfficientNet(nn.Module):
    """EfficientNet: a 3x3 convolution, stages of inverted residuals, a 1x1 convolution.

    Convention:
        - The tree reads ``stem``, ``stage2/block1/expand``, ``depthwise``, ``squeeze``, ``project``, then ``last`` and
          ``head``; every convolution has its batch norm beside it, such as ``stem_bn``. Fused blocks have no
          ``depthwise`` and no ``squeeze``; those that do not expand have ``project`` only. torchvision's
          ``features.2.0`` is ``stage2/block1``.
        - ``variant`` states whose network it is. ``"torchvision"`` pads alike on all sides; ``"torchvision_large"``
          (B5 to B7) and ``"torchvision_v2"`` differ in batch norm. ``"keras"`` pads as ``SAME`` and takes pixels in
          [0, 255], which it normalizes by a stored mean and variance; ``"keras_v2"`` by ImageNet's, where images have
          three channels, and ``"keras_v2_large"`` (S, M and L) to [-1, 1). ``"tensorflow"`` and
          ``"tensorflow_v2"`` take normalized images instead: timm's ``tf_efficientnet`` and ``tf_efficientnetv2``.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        blocks: Of each stage: ``"plain"`` or ``"fused"``, expansion, size of the kernel, stride of the first block,
            filters before ``width``, number of blocks before ``depth``.
        width: Multiplier of filters, which are rounded to multiples of 8.
        depth: Multiplier of numbers of blocks, which are rounded up.
        variant: Whose network it is, see above.
        stem: Filters of the first convolution, before ``width``.
        last: Filters of the last convolution, before ``width``.
        drop_path: Probability of dropping a branch behind the last block; of earlier ones proportionally less.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("efficientnet_b0", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        5288548

    Parity:
        Logits equal ``torchvision.models.efficientnet_b0`` or ``efficientnet_v2_s``, axes moved, or
        ``keras.applications.EfficientNetB0(classifier_activation=None)`` or ``EfficientNetV2B0``.

    References:
        Tan & Le 2019, "EfficientNet", arXiv:1905.11946, table 1; 2021, "EfficientNetV2", arXiv:2104.00298, table 4.
    """

    num_classes: int | None = 10
    blocks: Sequence[tuple[str, int, int, int, int, int]] = _B0
    width: float = 1.0
    depth: float = 1.0
    variant: Variant = "torchvision"
    stem: int = 32
    last: int = 1280
    drop_path: float = 0.2
    dropout: float = 0.2
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[list[dict[str, Any]]]:
        """Lists the options of every block, stage by stage."""
        variant = _VARIANTS[self.variant]
        rows = [EfficientNetRow(*row) for row in self.blocks]
        numbers = [math.ceil(self.depth * row.blocks) for row in rows]
        total = sum(row.blocks for row in rows) if variant.scaled_version_2 else sum(numbers)
        stages, place = [], 0
        for row, number in zip(rows, numbers, strict=True):
            stage = []
            for i in range(number):
                own = row if i == 0 else row._replace(stride=1)
                rate = self.drop_path * place / total
                stage.append({"filters": self._scale(row.filters), "row": own, "variant": variant, "drop_path": rate})
                place += 1
            stages.append(stage)
        return stages

    def _scale(self, filters: int) -> int:
        """Scales a number of filters and rounds it to a multiple of 8."""
        if _VARIANTS[self.variant].scaled_version_2:
            return max(8, int(self.width * filters + 4) // 8 * 8)
        return round_to_multiple(self.width * filters, 8)

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("efficientnet", "variant", self.variant, tuple(_VARIANTS))
        check(self.width > 0, "efficientnet", "width", "above 0", self.width)
        check(self.depth > 0, "efficientnet", "depth", "above 0", self.depth)
        kinds = [row[0] for row in self.blocks]
        known = all(kind in ("plain", "fused") for kind in kinds)
        check(known, "efficientnet", "blocks", "of the kinds 'plain' and 'fused'", kinds)
        check_images("efficientnet", x)
        variant = _VARIANTS[self.variant]
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **variant.norm, **dtypes)
        conv = functools.partial(Conv, use_bias=False, kernel_init=_he, **dtypes)
        y = self._normalize(jnp.asarray(x))
        stem = conv(self._scale(self.stem), (3, 3), 2, _pad(3, variant), name="stem")
        y = nn.silu(norm(name="stem_bn")(stem(y)))
        for i, stage in enumerate(self.table(), 1):
            blocks = tuple({**options, **dtypes} for options in stage)
            y = BlockStage(MBConv, blocks, self.remat, name=f"stage{i}")(y, train)
        y = nn.silu(norm(name="last_bn")(conv(self._scale(self.last), (1, 1), name="last")(y)))
        return pool_and_classify(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)

    def _normalize(self, x: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
        """Normalizes the pixels as the variant does."""
        pixels = _VARIANTS[self.variant].pixels
        if pixels == "as given":
            return x
        if pixels == "stored":
            return PixelNormalization(name="normalization")(x)
        if pixels == "imagenet" and x.shape[-1] == 3:
            return normalize_pixels(x, IMAGENET_MEAN, IMAGENET_STD)
        return normalize_pixels(x, (128 / 255,), (128 / 255,))


def _pad(kernel: int, variant: EfficientNetVariant) -> int | Literal["SAME"]:
    """Returns the padding of a convolution."""
    # Keras pads even sizes by (k // 2 - 1, k // 2) and odd ones by (k // 2, k // 2) at stride 2, which is SAME.
    return "SAME" if variant.padding == "same" else kernel // 2


_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_depthwise_he = depthwise_variance_scaling(2.0)

_V2 = {
    # tables 4 and 7 of the second paper
    "s": (
        EfficientNetRow("fused", 1, 3, 1, 24, 2),
        EfficientNetRow("fused", 4, 3, 2, 48, 4),
        EfficientNetRow("fused", 4, 3, 2, 64, 4),
        EfficientNetRow("plain", 4, 3, 2, 128, 6),
        EfficientNetRow("plain", 6, 3, 1, 160, 9),
        EfficientNetRow("plain", 6, 3, 2, 256, 15),
    ),
    "m": (
        EfficientNetRow("fused", 1, 3, 1, 24, 3),
        EfficientNetRow("fused", 4, 3, 2, 48, 5),
        EfficientNetRow("fused", 4, 3, 2, 80, 5),
        EfficientNetRow("plain", 4, 3, 2, 160, 7),
        EfficientNetRow("plain", 6, 3, 1, 176, 14),
        EfficientNetRow("plain", 6, 3, 2, 304, 18),
        EfficientNetRow("plain", 6, 3, 1, 512, 5),
    ),
    "l": (
        EfficientNetRow("fused", 1, 3, 1, 32, 4),
        EfficientNetRow("fused", 4, 3, 2, 64, 7),
        EfficientNetRow("fused", 4, 3, 2, 96, 7),
        EfficientNetRow("plain", 4, 3, 2, 192, 10),
        EfficientNetRow("plain", 6, 3, 1, 224, 19),
        EfficientNetRow("plain", 6, 3, 2, 384, 25),
        EfficientNetRow("plain", 6, 3, 1, 640, 7),
    ),
    "b": (
        EfficientNetRow("fused", 1, 3, 1, 16, 1),
        EfficientNetRow("fused", 4, 3, 2, 32, 2),
        EfficientNetRow("fused", 4, 3, 2, 48, 2),
        EfficientNetRow("plain", 4, 3, 2, 96, 3),
        EfficientNetRow("plain", 6, 3, 1, 112, 5),
        EfficientNetRow("plain", 6, 3, 2, 192, 8),
    ),
}


def _scale(size: str) -> tuple[dict[str, Any], int, int]:
    """Returns options, parameters and size of the images of a network of the first paper."""
    width, depth, dropout, parameters, image = {
        "b0": (1.0, 1.0, 0.2, 5_288_548, 224),
        "b1": (1.0, 1.1, 0.2, 7_794_184, 240),
        "b2": (1.1, 1.2, 0.3, 9_109_994, 260),
        "b3": (1.2, 1.4, 0.3, 12_233_232, 300),
        "b4": (1.4, 1.8, 0.4, 19_341_616, 380),
        "b5": (1.6, 2.2, 0.4, 30_389_784, 456),
        "b6": (1.8, 2.6, 0.5, 43_040_704, 528),
        "b7": (2.0, 3.1, 0.5, 66_347_960, 600),
    }[size]
    return {"width": width, "depth": depth, "dropout": dropout}, parameters, image


def _version_1(size: str, variant: str, image: int | None = None) -> Architecture:
    options, parameters, standard = _scale(size)
    return Architecture(EfficientNet, options | {"variant": variant}, parameters, image or standard)


def _version_2(size: str, variant: str, parameters: int, image: int, **options: float) -> Architecture:
    stem = 24 if size in ("s", "m") else 32
    own = {"blocks": _V2[size], "variant": variant, "stem": stem}
    return Architecture(EfficientNet, own | options, parameters, image)


ARCHITECTURES: Mapping[str, Architecture] = {
    **{f"efficientnet_{size}": _version_1(size, "torchvision") for size in ("b0", "b1")},
    "efficientnet_b2": _version_1("b2", "torchvision", 288),
    **{f"efficientnet_{size}": _version_1(size, "torchvision") for size in ("b3", "b4")},
    **{f"efficientnet_{size}": _version_1(size, "torchvision_large") for size in ("b5", "b6", "b7")},
    **{f"keras/efficientnet_b{i}": _version_1(f"b{i}", "keras") for i in range(8)},
    "efficientnet_v2_s": _version_2("s", "torchvision_v2", 21_458_488, 384, dropout=0.2),
    "efficientnet_v2_m": _version_2("m", "torchvision_v2", 54_139_356, 480, dropout=0.3),
    "efficientnet_v2_l": _version_2("l", "torchvision_v2", 118_515_272, 480, dropout=0.4),
    "keras/efficientnet_v2_b0": _version_2("b", "keras_v2", 7_139_704, 224),
    "keras/efficientnet_v2_b1": _version_2("b", "keras_v2", 8_141_052, 240, depth=1.1),
    "keras/efficientnet_v2_b2": _version_2("b", "keras_v2", 10_096_086, 260, width=1.1, depth=1.2),
    "keras/efficientnet_v2_b3": _version_2("b", "keras_v2", 14_358_406, 300, width=1.2, depth=1.4),
    "keras/efficientnet_v2_s": _version_2("s", "keras_v2_large", 21_458_488, 384),
    "keras/efficientnet_v2_m": _version_2("m", "keras_v2_large", 54_139_356, 480),
    "keras/efficientnet_v2_l": _version_2("l", "keras_v2_large", 118_515_272, 480),
}
"""The named networks."""
