"""MobileNetV3: inverted residuals with squeeze and excitation and hard swish, as torchvision and Keras have them."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Unpack

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float, Number
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.layers.convolution import Conv, DepthwiseConv
from jaxcnn.layers.dropout import DropPath
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dilation import dilate_strides
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import compute_logits
from jaxcnn.models._inputs import check_images, normalize_pixels
from jaxcnn.models._norms import NormConstants
from jaxcnn.models._residual import add_shortcut
from jaxcnn.models._squeeze import SqueezeExcite
from jaxcnn.models._widths import round_to_multiple

__all__ = ["ARCHITECTURES", "MobileNetV3"]

_ACTIVATIONS = {"relu": nn.relu, "hard_swish": nn.hard_swish}
_ReLU, _Swish = "relu", "hard_swish"

_LARGE = (
    # kernel, expanded channels, filters, squeeze and excitation, activation, stride: table 1 of the paper
    (3, 16, 16, False, _ReLU, 1),
    (3, 64, 24, False, _ReLU, 2),
    (3, 72, 24, False, _ReLU, 1),
    (5, 72, 40, True, _ReLU, 2),
    *[(5, 120, 40, True, _ReLU, 1)] * 2,
    (3, 240, 80, False, _Swish, 2),
    (3, 200, 80, False, _Swish, 1),
    *[(3, 184, 80, False, _Swish, 1)] * 2,
    (3, 480, 112, True, _Swish, 1),
    (3, 672, 112, True, _Swish, 1),
    (5, 672, 160, True, _Swish, 2),
    *[(5, 960, 160, True, _Swish, 1)] * 2,
)

_SMALL = (
    # the same, table 2
    (3, 16, 16, True, _ReLU, 2),
    (3, 72, 24, False, _ReLU, 2),
    (3, 88, 24, False, _ReLU, 1),
    (5, 96, 40, True, _Swish, 2),
    *[(5, 240, 40, True, _Swish, 1)] * 2,
    (5, 120, 48, True, _Swish, 1),
    (5, 144, 48, True, _Swish, 1),
    (5, 288, 96, True, _Swish, 2),
    *[(5, 576, 96, True, _Swish, 1)] * 2,
)


class MobileNetV3Variant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    norm: NormConstants
    same: bool  # whether convolutions at stride 2 pad like SAME, else by as much on every side
    rescales: bool  # whether it takes pixels in [0, 255] and brings them to [-1, 1]
    fixed_ends: bool  # whether alpha leaves the stem alone, and the hidden layer below 1; expansions follow the input


_VARIANTS = {
    "torchvision": MobileNetV3Variant(
        NormConstants(momentum=0.99, epsilon=1e-3), same=False, rescales=False, fixed_ends=False
    ),
    "keras": MobileNetV3Variant(NormConstants(momentum=0.999, epsilon=1e-3), same=True, rescales=True, fixed_ends=True),
}


class ExcitedResidual(nn.Module):
    """Expands by a 1x1 convolution, filters and weights each channel, projects by a 1x1 convolution.

    The input is added where the block is a residual one and keeps the number of channels.

    Args:
        kernel: Height and width of the depthwise convolution.
        expanded: Channels of the depthwise convolution.
        expands: Whether a 1x1 convolution makes them.
        filters: Channels of the output.
        squeezed: Channels of squeeze and excitation; 0 leaves it out.
        activation: ``"relu"`` or ``"hard_swish"``.
        stride: Stride of the depthwise convolution.
        dilation: Step between the taps of the depthwise convolution.
        residual: Whether it has no stride, not even one that dilation replaces.
        variant: What differs between sources.
        any_size: Whether odd sizes are padded as if they were even.
        drop_path: Probability of dropping the branch.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        Howard et al. 2019, arXiv:1905.02244, figure 4.
    """

    kernel: int
    expanded: int
    expands: bool
    filters: int
    squeezed: int
    activation: str
    stride: int
    dilation: int
    residual: bool
    variant: MobileNetV3Variant
    any_size: bool
    drop_path: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = _make_norm(self.variant, train, **dtypes)
        conv = functools.partial(Conv, kernel_size=(1, 1), use_bias=False, kernel_init=_he, **dtypes)
        activate = _ACTIVATIONS[self.activation]
        y = jnp.asarray(x)
        if self.expands:
            y = activate(norm(name="expand_bn")(conv(self.expanded, name="expand")(y)))
        half = self.kernel // 2
        strided = ((half - 1, half), (half - 1, half)) if self.any_size else "SAME" if self.variant.same else half
        y = DepthwiseConv(
            (self.kernel, self.kernel),
            strides=self.stride,
            kernel_dilation=self.dilation,
            padding="SAME" if self.stride == 1 else strided,
            use_bias=False,
            kernel_init=_depthwise_he,
            name="depthwise",
            **dtypes,
        )(y)
        y = activate(norm(name="depthwise_bn")(y))
        if self.squeezed:
            y = SqueezeExcite(self.squeezed, gate=nn.hard_sigmoid, name="squeeze_excite", **dtypes)(y)
        y = norm(name="project_bn")(conv(self.filters, name="project")(y))
        if not self.residual or x.shape[-1] != self.filters:
            return y
        y = DropPath(self.drop_path, name="drop_path")(y, train=train) if self.drop_path else y
        return add_shortcut(y, x)


class MobileNetV3(nn.Module):
    """MobileNetV3: a convolution, inverted residuals, a 1x1 convolution, and a classifier with a hidden layer.

    Convention:
        - ``variant`` chooses the implementation to match. ``"torchvision"``: padding by as much on every side, batch
          norm with momentum 0.99. ``"keras"``: pixels in [0, 255], momentum 0.999; ``alpha`` leaves the stem alone.
        - The tree is numbered as in Keras: its ``expanded_conv_3_expand`` is ``block3/expand``, and its
          ``expanded_conv_`` without a number ``block0``; ``hidden`` is its ``conv_2``, ``head`` its ``logits``.
          torchvision's ``features.i`` is ``block{i - 1}``.
        - The pooled features are those before the hidden layer.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        alpha: Width multiplier: numbers of filters are multiplied by it, then rounded to multiples of 8.
        variant: ``"torchvision"`` or ``"keras"``.
        minimalistic: Whether to leave out what is slow on accelerators: 5x5 kernels are 3x3, hard swish is ReLU, and
            there is no squeeze and excitation.
        stem: Filters of the first convolution, before ``alpha``.
        blocks: Kernel, expanded channels, filters (before ``alpha``), whether there is squeeze and excitation,
            activation (``"relu"`` or ``"hard_swish"``), and stride, of each block.
        hidden: Units of the hidden layer, before ``alpha``.
        rescale: Whether pixels are in [0, 255] and are brought to [-1, 1] inside; None: in Keras's.
        any_size: Whether to pad like Keras's network that was built for no size, as it is by default there: its
            depthwise convolutions at stride 2 pad odd sizes as if they were even. None: in Keras's. False matches a
            network that Keras built for the very size of the images.
        output_stride: Pixels of the image per pixel of the last maps: 32, or 16 or 8, which dilates instead of
            striding in the last blocks.
        drop_path: Probability of dropping the last block's branch; of earlier ones proportionally less.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, or the image too small.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("mobilenet_v3_large", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        5483032

    Parity:
        Logits equal ``torchvision.models.mobilenet_v3_large(width_mult=alpha)``, axes moved, with ``dilated=True`` for
        an output stride of 16, or ``keras.applications.MobileNetV3Large(alpha=alpha, classifier_activation=None)``.

    References:
        Howard et al. 2019, "Searching for MobileNetV3", arXiv:1905.02244, tables 1 and 2.
    """

    num_classes: int | None = 10
    alpha: Number = 1.0
    variant: Literal["torchvision", "keras"] = "torchvision"
    minimalistic: bool = False
    stem: int = 16
    blocks: Sequence[tuple[int, int, int, bool, str, int]] = _LARGE
    hidden: int = 1280
    rescale: bool | None = None
    any_size: bool | None = None
    output_stride: Literal[8, 16, 32] = 32
    drop_path: float = 0.0
    dropout: float = 0.2
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def widths(self) -> dict[str, int]:
        """Lists the filters of the layers that ``alpha`` makes wider or narrower."""
        alpha, fixed = float(self.alpha), _VARIANTS[self.variant].fixed_ends
        before = self.stem if fixed else round_to_multiple(alpha * self.stem, 8)
        found, unscaled = {"conv1": before}, self.stem
        for i, (_, expanded, filters, *_) in enumerate(self.blocks):
            wide = round_to_multiple(before * (expanded / unscaled) if fixed else alpha * expanded, 8)
            if wide != before:
                found[f"block{i}/expand"] = wide
            before, unscaled = round_to_multiple(alpha * filters, 8), filters
            found[f"block{i}/project"] = before
        found["conv_last"] = round_to_multiple(6 * before, 8)
        return found | {"hidden": round_to_multiple((max(alpha, 1.0) if fixed else alpha) * self.hidden, 8)}

    def table(self) -> list[dict[str, Any]]:
        """Lists the options of every block."""
        widths, before, found = self.widths(), self.widths()["conv1"], []
        strides = dilate_strides([block[-1] for block in self.blocks], self.output_stride, before=2, own=True)
        for i, (kernel, _, _, squeezes, activation, first_stride) in enumerate(self.blocks):
            expanded = widths.get(f"block{i}/expand", before)
            stride, dilation = strides[i]
            found.append(
                {
                    "kernel": 3 if self.minimalistic else kernel,
                    "expanded": expanded,
                    "expands": expanded != before,
                    "filters": widths[f"block{i}/project"],
                    "squeezed": round_to_multiple(expanded / 4, 8) if squeezes and not self.minimalistic else 0,
                    "activation": "relu" if self.minimalistic else activation,
                    "stride": stride,
                    "dilation": dilation,
                    "residual": first_stride == 1,
                    "drop_path": self.drop_path * i / max(len(self.blocks) - 1, 1),
                }
            )
            before = widths[f"block{i}/project"]
        return found

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("mobilenet_v3", "variant", self.variant, tuple(_VARIANTS))
        check_choice("mobilenet_v3", "output_stride", self.output_stride, (8, 16, 32))
        check(bool(self.alpha > 0), "mobilenet_v3", "alpha", "above 0", self.alpha)
        for *_, activation, _ in self.blocks:
            check_choice("mobilenet_v3", "activation of blocks", activation, tuple(_ACTIVATIONS))
        variant, widths, table = _VARIANTS[self.variant], self.widths(), self.table()
        any_size = variant.same if self.any_size is None else self.any_size
        check(not any_size or variant.same, "mobilenet_v3", "any_size", "False, except of Keras", True)
        # The stem's maps are half of the image, rounded up; with any_size the blocks halve those and round down.
        check_images("mobilenet_v3", x, smallest=2 * math.prod(b["stride"] for b in table) - 1 if any_size else 1)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = _make_norm(variant, train, **dtypes)
        conv = functools.partial(Conv, use_bias=False, kernel_init=_he, **dtypes)
        activate = nn.relu if self.minimalistic else nn.hard_swish
        if variant.rescales if self.rescale is None else self.rescale:
            x = normalize_pixels(x, (0.5,), (0.5,))
        padding = "SAME" if variant.same else 1
        y = conv(widths["conv1"], (3, 3), strides=2, padding=padding, name="conv1")(x)
        y = activate(norm(name="conv1_bn")(y))
        block = nn.remat(ExcitedResidual, static_argnums=(2,)) if self.remat else ExcitedResidual
        for i, options in enumerate(table):
            y = block(**options, variant=variant, any_size=any_size, name=f"block{i}", **dtypes)(y, train)
        y = activate(norm(name="conv_last_bn")(conv(widths["conv_last"], (1, 1), name="conv_last")(y)))
        y = ops.global_average_pool(y)
        if self.num_classes is not None:
            y = activate(nn.Dense(widths["hidden"], kernel_init=_he, name="hidden", **dtypes)(y))
        return compute_logits(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


def _make_norm(variant: MobileNetV3Variant, train: bool, **dtypes: Unpack[Dtypes]) -> functools.partial[nn.BatchNorm]:
    """Returns a variant's batch norm as a function of its name."""
    return functools.partial(nn.BatchNorm, use_running_average=not train, **variant.norm, **dtypes)


_he = nn.initializers.he_normal()
_depthwise_he = depthwise_variance_scaling(2.0)

_SIZES: dict[str, dict[str, Any]] = {"large": {}, "small": {"blocks": _SMALL, "hidden": 1024}}
_KERAS: dict[str, Any] = {"variant": "keras"}
_MINIMALISTIC: dict[str, Any] = {"variant": "keras", "minimalistic": True}

ARCHITECTURES: Mapping[str, Architecture] = {
    "mobilenet_v3_large": Architecture(MobileNetV3, _SIZES["large"], 5_483_032),
    "mobilenet_v3_small": Architecture(MobileNetV3, _SIZES["small"], 2_542_856),
    "keras/mobilenet_v3_large": Architecture(MobileNetV3, _SIZES["large"] | _KERAS, 5_483_032),
    "keras/mobilenet_v3_small": Architecture(MobileNetV3, _SIZES["small"] | _KERAS, 2_542_856),
    "keras/mobilenet_v3_large_minimalistic": Architecture(MobileNetV3, _SIZES["large"] | _MINIMALISTIC, 3_924_288),
    "keras/mobilenet_v3_small_minimalistic": Architecture(MobileNetV3, _SIZES["small"] | _MINIMALISTIC, 2_044_736),
}
"""The named networks."""
