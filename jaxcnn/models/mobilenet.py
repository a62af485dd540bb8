"""MobileNet, the first: a plain stack of depthwise and pointwise convolutions."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check, check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float, Number, Padding
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.layers.convolution import Conv, DepthwiseConv
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dilation import dilate_strides
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import KERAS_NORM, NormConstants

__all__ = ["ARCHITECTURES", "MobileNet"]

_BLOCKS = (
    # filters, stride
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


class MobileNetVariant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    norm: NormConstants
    padding: Padding  # of the depthwise convolutions at stride 2
    narrowest: int  # filters that every layer has at least


_VARIANTS = {
    # Not SAME, which pads an odd size on both sides.
    "keras": MobileNetVariant(KERAS_NORM, padding=((0, 1), (0, 1)), narrowest=1),
    "tensorflow": MobileNetVariant(NormConstants(momentum=0.9997, epsilon=1e-3), padding="SAME", narrowest=8),
}


class MobileNetBlock(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, each with batch norm and ReLU6.

    Args:
        filters: Filters of the pointwise convolution.
        stride: Stride of the depthwise one.
        dilation: Step between the taps of the depthwise one.
        depth_multiplier: Depthwise kernels per channel.
        variant: What differs between sources.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    stride: int
    dilation: int
    depth_multiplier: int
    variant: MobileNetVariant
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **self.variant.norm, **dtypes)
        x = DepthwiseConv(
            (3, 3),
            depth_multiplier=self.depth_multiplier,
            strides=self.stride,
            kernel_dilation=self.dilation,
            padding="SAME" if self.stride == 1 else self.variant.padding,
            use_bias=False,
            kernel_init=_depthwise_he,
            name="conv_dw",
            **dtypes,
        )(x)
        x = nn.relu6(norm(name="conv_dw_bn")(x))
        x = Conv(self.filters, (1, 1), use_bias=False, kernel_init=_he, name="conv_pw", **dtypes)(x)
        return nn.relu6(norm(name="conv_pw_bn")(x))


class MobileNet(nn.Module):
    """MobileNet (v1): a convolution, then 13 blocks of a depthwise and a pointwise convolution.

    Convention:
        - The tree follows Keras's names, one level per block: Keras's ``conv_dw_3`` and slim's
          ``Conv2d_3_depthwise`` are ``block3/conv_dw``, the 1x1 convolution at the end of both is the dense ``head``.
        - ``variant`` chooses the implementation to match. ``"keras"``: depthwise convolutions at stride 2 are padded at
          the end only, whatever the size; batch norm with momentum 0.99. ``"tensorflow"``, slim's: ``SAME`` padding,
          momentum 0.9997, at least 8 filters in every layer.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        alpha: Width multiplier: every number of filters is multiplied by it, then rounded down.
        depth_multiplier: Depthwise kernels per channel.
        variant: ``"keras"`` or ``"tensorflow"``.
        stem: Filters of the first convolution, before ``alpha``.
        blocks: Filters, before ``alpha``, and stride of each block.
        output_stride: Pixels of the image per pixel of the last maps: 32, or 16 or 8, which dilates instead of
            striding in the last blocks.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, ``alpha`` leaves a layer without filters, or the image is too small for the
            strides.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("mobilenet", num_classes=1000, alpha=0.25)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        470072

    Parity:
        Logits equal ``keras.applications.MobileNet(classifier_activation=None)`` and slim's ``mobilenet_v1`` with
        ``global_pool=True`` (without it slim averages at most 7 x 7 pixels), where pixels are in [-1, 1].

    References:
        Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision
        applications", arXiv:1704.04861, table 1.
    """

    num_classes: int | None = 10
    alpha: Number = 1.0
    depth_multiplier: int = 1
    variant: Literal["keras", "tensorflow"] = "keras"
    stem: int = 32
    blocks: Sequence[tuple[int, int]] = _BLOCKS
    output_stride: Literal[8, 16, 32] = 32
    dropout: float = 1e-3
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def widths(self) -> dict[str, int]:
        """Lists the filters of the layers that ``alpha`` makes wider or narrower."""
        named = {"conv1": self.stem} | {f"block{i}/conv_pw": filters for i, (filters, _) in enumerate(self.blocks, 1)}
        least = _VARIANTS[self.variant].narrowest
        return {layer: max(int(self.alpha * filters), least) for layer, filters in named.items()}

    def table(self) -> list[dict[str, Any]]:
        """Lists filters, stride and dilation of every block."""
        strides = dilate_strides([stride for _, stride in self.blocks], self.output_stride, before=2)
        filters = list(self.widths().values())[1:]
        return [
            {"filters": width, "stride": stride, "dilation": dilation}
            for width, (stride, dilation) in zip(filters, strides, strict=True)
        ]

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("mobilenet", "variant", self.variant, tuple(_VARIANTS))
        check_choice("mobilenet", "output_stride", self.output_stride, (8, 16, 32))
        narrowest = min(self.stem, *(filters for filters, _ in self.blocks))
        check(bool(self.alpha * narrowest >= 1), "mobilenet", "alpha", f"at least 1 / {narrowest}", self.alpha)
        variant, table = _VARIANTS[self.variant], self.table()
        # The stem's maps are half of the image, rounded up; Keras's blocks halve those and round down.
        strides = math.prod(block["stride"] for block in table) if variant.padding != "SAME" else 1
        check_images("mobilenet", x, smallest=2 * strides - 1)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = nn.BatchNorm(use_running_average=not train, name="conv1_bn", **variant.norm, **dtypes)
        stem = self.widths()["conv1"]
        x = nn.relu6(norm(Conv(stem, (3, 3), strides=2, use_bias=False, kernel_init=_he, name="conv1", **dtypes)(x)))
        block = nn.remat(MobileNetBlock, static_argnums=(2,)) if self.remat else MobileNetBlock
        for i, options in enumerate(table, 1):
            options |= {"depth_multiplier": self.depth_multiplier, "variant": variant}
            x = block(**options, name=f"block{i}", **dtypes)(x, train)
        return pool_and_classify(x, self.num_classes, dropout=self.dropout, train=train, **dtypes)


_he = nn.initializers.he_normal()
_depthwise_he = depthwise_variance_scaling(2.0)

ARCHITECTURES: Mapping[str, Architecture] = {
    "mobilenet": Architecture(MobileNet, {}, 4_231_976, source="keras"),
    "tensorflow/mobilenet_v1": Architecture(MobileNet, {"variant": "tensorflow"}, 4_233_001, classes=1001),
}
"""The named networks."""
