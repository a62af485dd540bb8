"""MobileNetV2: inverted residuals with linear bottlenecks, as torchvision, Keras and TensorFlow slim have them."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Unpack

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check, check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float, Number, Padding
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.layers.convolution import Conv, DepthwiseConv
from jaxcnn.layers.dropout import DropPath
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dilation import dilate_strides
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import TORCH_NORM, NormConstants
from jaxcnn.models._residual import add_shortcut
from jaxcnn.models._widths import round_to_multiple

__all__ = ["ARCHITECTURES", "MobileNetV2"]

_BLOCKS = (
    # expansion, filters, repeats, stride of the first: table 2 of the paper
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2Variant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    norm: NormConstants
    padding: Padding  # of the 3x3 convolutions at stride 2
    floor_width: bool  # whether alpha times filters is rounded down before it is rounded to a multiple of 8
    dropout: float


_VARIANTS = {
    "torchvision": MobileNetV2Variant(TORCH_NORM, padding=1, floor_width=False, dropout=0.2),
    # Keras pads (0, 1) even and (1, 1) odd sizes, which is SAME.
    "keras": MobileNetV2Variant(
        NormConstants(momentum=0.999, epsilon=1e-3), padding="SAME", floor_width=True, dropout=0.0
    ),
    "tensorflow": MobileNetV2Variant(
        NormConstants(momentum=0.997, epsilon=1e-3), padding="SAME", floor_width=False, dropout=0.2
    ),
}


class InvertedResidual(nn.Module):
    """Expands by a 1x1 convolution, filters each channel, projects by a 1x1 convolution without activation.

    The input is added where it has the shape of the output (residual).

    Args:
        filters: Channels of the output.
        expansion: Channels of the depthwise convolution, as a multiple of the input's; 1 leaves the expansion out.
        stride: Stride of the depthwise convolution.
        dilation: Step between the taps of the depthwise convolution.
        variant: What differs between sources.
        drop_path: Probability of dropping the branch.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    expansion: int
    stride: int
    dilation: int
    variant: MobileNetV2Variant
    drop_path: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        conv = functools.partial(Conv, kernel_size=(1, 1), use_bias=False, kernel_init=_he, **dtypes)
        norm = _make_norm(self.variant, train, **dtypes)
        y = jnp.asarray(x)
        if self.expansion != 1:
            y = nn.relu6(norm(name="expand_bn")(conv(self.expansion * x.shape[-1], name="expand")(y)))
        y = DepthwiseConv(
            (3, 3),
            strides=self.stride,
            kernel_dilation=self.dilation,
            padding="SAME" if self.stride == 1 else self.variant.padding,
            use_bias=False,
            kernel_init=_depthwise_he,
            name="depthwise",
            **dtypes,
        )(y)
        y = nn.relu6(norm(name="depthwise_bn")(y))
        y = norm(name="project_bn")(conv(self.filters, name="project")(y))
        if self.stride != 1 or x.shape[-1] != self.filters:
            return y
        y = DropPath(self.drop_path, name="drop_path")(y, train=train) if self.drop_path else y
        return add_shortcut(y, x)


class MobileNetV2(nn.Module):
    """MobileNetV2: a convolution, 17 inverted residuals, a 1x1 convolution.

    Convention:
        - ``variant`` chooses the implementation to match. ``"torchvision"``: padding by one pixel on every side,
          batch norm with epsilon 1e-5 and momentum 0.9, dropout 0.2. ``"keras"``: ``SAME`` padding, epsilon 1e-3,
          momentum 0.999, no dropout. ``"tensorflow"``, slim's: ``SAME``, 1e-3, 0.997, 0.2. Names and shapes of the
          parameters are the same at all widths in use.
        - The tree is numbered as in Keras: its ``block_3_expand`` is ``block3/expand``, and its
          ``expanded_conv_`` is ``block0``. torchvision's ``features.i`` is ``block{i - 1}``, slim's
          ``expanded_conv_3`` ``block3``.
        - The running variance is the mean of biased ones, where PyTorch's and slim's are n / (n - 1) times as large.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        alpha: Width multiplier: numbers of filters are multiplied by it, then rounded to multiples of 8.
            Below 1 the last convolution keeps its number.
        variant: ``"torchvision"``, ``"keras"`` or ``"tensorflow"``.
        stem: Filters of the first convolution, before ``alpha``.
        blocks: Expansion, filters before ``alpha``, number, and stride of the first, of each group of blocks.
        last: Filters of the last convolution, before ``alpha``.
        any_size: Whether to pad like Keras's network that was built for no size, whose depthwise convolutions at
            stride 2 pad odd sizes as if they were even.
        output_stride: Pixels of the image per pixel of the last maps: 32, or 16 or 8, which dilates instead of
            striding in the last blocks.
        drop_path: Probability of dropping the last block's branch; of earlier ones proportionally less.
        dropout: Rate of dropout before the head; None is the variant's default.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If ``alpha`` is not above 0 or another option wrong.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("mobilenet_v2", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        3504872

    Parity:
        Logits equal ``torchvision.models.mobilenet_v2(width_mult=alpha)``, axes moved,
        ``keras.applications.MobileNetV2(alpha=alpha, classifier_activation=None)``, or slim's ``mobilenet_v2`` with
        ``finegrain_classification_mode`` below alpha 1.

    References:
        Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", arXiv:1801.04381, table 2.
    """

    num_classes: int | None = 10
    alpha: Number = 1.0
    variant: Literal["torchvision", "keras", "tensorflow"] = "torchvision"
    stem: int = 32
    blocks: Sequence[tuple[int, int, int, int]] = _BLOCKS
    last: int = 1280
    any_size: bool = False
    output_stride: Literal[8, 16, 32] = 32
    drop_path: float = 0.0
    dropout: float | None = None
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def widths(self) -> dict[str, int]:
        """Lists the filters of the layers that ``alpha`` makes wider or narrower."""
        alpha, floors = float(self.alpha), _VARIANTS[self.variant].floor_width
        repeated = [filters for _, filters, repeats, _ in self.blocks for _ in range(repeats)]
        scaled = [int(alpha * filters) if floors else alpha * filters for filters in repeated]
        return {
            "conv1": round_to_multiple(alpha * self.stem, 8),
            **{f"block{i}/project": round_to_multiple(filters, 8) for i, filters in enumerate(scaled)},
            "conv_last": round_to_multiple(max(alpha, 1.0) * self.last, 8),
        }

    def table(self) -> list[dict[str, Any]]:
        """Lists the options of every block."""
        layers = [
            (expansion, stride if i == 0 else 1)
            for expansion, _, repeats, stride in self.blocks
            for i in range(repeats)
        ]
        filters = list(self.widths().values())[1:-1]
        strides = dilate_strides([stride for _, stride in layers], self.output_stride, before=2)
        return [
            {
                "filters": width,
                "expansion": expansion,
                "stride": stride,
                "dilation": dilation,
                "drop_path": self.drop_path * i / max(len(layers) - 1, 1),
            }
            for i, ((expansion, _), width, (stride, dilation)) in enumerate(zip(layers, filters, strides, strict=True))
        ]

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("mobilenet_v2", "variant", self.variant, tuple(_VARIANTS))
        check_choice("mobilenet_v2", "output_stride", self.output_stride, (8, 16, 32))
        check(bool(self.alpha > 0), "mobilenet_v2", "alpha", "above 0", self.alpha)
        check(not self.any_size or self.variant == "keras", "mobilenet_v2", "any_size", "False, except of Keras", True)
        variant, widths, table = _VARIANTS[self.variant], self.widths(), self.table()
        # The stem's maps are half of the image, rounded up; with any_size the blocks halve those and round down.
        strides = math.prod(block["stride"] for block in table) if self.any_size else 1
        check_images("mobilenet_v2", x, smallest=2 * strides - 1)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        conv = functools.partial(Conv, use_bias=False, kernel_init=_he, **dtypes)
        norm = _make_norm(variant, train, **dtypes)
        stem = conv(widths["conv1"], (3, 3), strides=2, padding=variant.padding, name="conv1")
        x = nn.relu6(norm(name="conv1_bn")(stem(x)))
        if self.any_size:
            variant = variant._replace(padding=((0, 1), (0, 1)))
        block = nn.remat(InvertedResidual, static_argnums=(2,)) if self.remat else InvertedResidual
        for i, options in enumerate(table):
            x = block(**options, variant=variant, name=f"block{i}", **dtypes)(x, train)
        x = nn.relu6(norm(name="conv_last_bn")(conv(widths["conv_last"], (1, 1), name="conv_last")(x)))
        rate = variant.dropout if self.dropout is None else self.dropout
        return pool_and_classify(x, self.num_classes, dropout=rate, train=train, **dtypes)


def _make_norm(variant: MobileNetV2Variant, train: bool, **dtypes: Unpack[Dtypes]) -> functools.partial[nn.BatchNorm]:
    """Returns a variant's batch norm as a function of its name."""
    return functools.partial(nn.BatchNorm, use_running_average=not train, **variant.norm, **dtypes)


_he = nn.initializers.he_normal()
_depthwise_he = depthwise_variance_scaling(2.0)

ARCHITECTURES: Mapping[str, Architecture] = {
    "mobilenet_v2": Architecture(MobileNetV2, {}, 3_504_872),
    "keras/mobilenet_v2": Architecture(MobileNetV2, {"variant": "keras"}, 3_504_872),
    "tensorflow/mobilenet_v2": Architecture(MobileNetV2, {"variant": "tensorflow"}, 3_506_153, classes=1001),
}
"""The named networks."""
