"""MobileNetV2: inverted residuals with linear bottlenecks, in the variants of torchvision and Keras."""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple, Unpack

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check, check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.layers.convolution import Conv, DepthwiseConv
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import NormConstants
from jaxcnn.models._residual import add_shortcut

__all__ = ["MobileNetV2"]

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


class Framework(NamedTuple):
    """Settings in which the frameworks' versions of the network differ."""

    norm: NormConstants
    padding: int | Literal["SAME"]  # of the 3x3 convolutions at stride 2
    floor_width: bool  # whether alpha times filters is rounded down before it is rounded to a multiple of 8
    dropout: float


_FRAMEWORKS = {
    "torchvision": Framework(NormConstants(momentum=0.9, epsilon=1e-5), padding=1, floor_width=False, dropout=0.2),
    # Keras pads (0, 1) even and (1, 1) odd sizes, which is SAME.
    "keras": Framework(NormConstants(momentum=0.999, epsilon=1e-3), padding="SAME", floor_width=True, dropout=0.0),
}


class InvertedResidual(nn.Module):
    """Expands by a 1x1 convolution, filters each channel, projects by a 1x1 convolution without activation.

    The input is added where it has the shape of the output (residual).

    Args:
        filters: Channels of the output.
        expansion: Channels of the depthwise convolution, as a multiple of the input's; 1 leaves the expansion out.
        stride: Stride of the depthwise convolution.
        framework: Batch norm and padding.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    expansion: int
    stride: int
    framework: Framework
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        conv = functools.partial(Conv, kernel_size=(1, 1), use_bias=False, kernel_init=_he, **dtypes)
        norm = _make_norm(self.framework, train, **dtypes)
        y = x
        if self.expansion != 1:
            y = conv(self.expansion * x.shape[-1], name="expand")(y)
            y = nn.relu6(norm(name="expand_bn")(y))
        y = DepthwiseConv(
            (3, 3),
            strides=self.stride,
            padding="SAME" if self.stride == 1 else self.framework.padding,
            use_bias=False,
            kernel_init=_depthwise_he,
            name="depthwise",
            **dtypes,
        )(y)
        y = nn.relu6(norm(name="depthwise_bn")(y))
        y = norm(name="project_bn")(conv(self.filters, name="project")(y))
        return add_shortcut(y, x) if self.stride == 1 and x.shape[-1] == self.filters else y


class MobileNetV2(nn.Module):
    """MobileNetV2: a convolution, 17 inverted residuals, a 1x1 convolution.

    Convention:
        - ``variant`` chooses the implementation to match. ``"torchvision"``: padding by one pixel on every side,
          batch norm with epsilon 1e-5 and momentum 0.9, dropout 0.2. ``"keras"``: ``SAME`` padding, epsilon 1e-3,
          momentum 0.999, no dropout. Names and shapes of the parameters are the same at all widths in use.
        - The tree is numbered as in Keras: its ``block_3_expand`` is ``block3/expand``, and its
          ``expanded_conv_`` is ``block0``. torchvision's ``features.i`` is ``block{i - 1}``.
        - The running variance is the mean of biased ones, where PyTorch's are n / (n - 1) times as large.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        alpha: Width multiplier: numbers of filters are multiplied by it, then rounded to multiples of 8.
            Below 1 the last convolution keeps its number.
        variant: ``"torchvision"`` or ``"keras"``.
        stem: Filters of the first convolution, before ``alpha``.
        blocks: Expansion, filters before ``alpha``, number, and stride of the first, of each group of blocks.
        last: Filters of the last convolution, before ``alpha``.
        dropout: Rate of dropout before the head; None is the variant's default.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If ``alpha`` is not above 0 or the variant unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("mobilenet_v2", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        3504872

    Parity:
        Logits equal ``torchvision.models.mobilenet_v2(width_mult=alpha)``, axes moved, or
        ``keras.applications.MobileNetV2(alpha=alpha, classifier_activation=None)``.

    References:
        Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks", arXiv:1801.04381.
    """

    num_classes: int | None = 10
    alpha: float = 1.0
    variant: Literal["torchvision", "keras"] = "torchvision"
    stem: int = 32
    blocks: Sequence[tuple[int, int, int, int]] = _BLOCKS
    last: int = 1280
    dropout: float | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("mobilenet_v2", "variant", self.variant, tuple(_FRAMEWORKS))
        check(self.alpha > 0, "mobilenet_v2", "alpha", "above 0", self.alpha)
        check_images("mobilenet_v2", x)
        framework = _FRAMEWORKS[self.variant]
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        conv = functools.partial(Conv, use_bias=False, kernel_init=_he, **dtypes)
        norm = _make_norm(framework, train, **dtypes)
        stem = conv(round_to_eight(self.alpha * self.stem), (3, 3), strides=2, padding=framework.padding, name="conv1")
        x = nn.relu6(norm(name="conv1_bn")(stem(x)))
        number = 0
        for expansion, filters, repeats, stride in self.blocks:
            width = int(self.alpha * filters) if framework.floor_width else self.alpha * filters
            for i in range(repeats):
                x = InvertedResidual(
                    round_to_eight(width),
                    expansion,
                    stride if i == 0 else 1,
                    framework,
                    name=f"block{number}",
                    **dtypes,
                )(x, train=train)
                number += 1
        x = conv(round_to_eight(max(self.alpha, 1.0) * self.last), (1, 1), name="conv_last")(x)
        x = nn.relu6(norm(name="conv_last_bn")(x))
        rate = framework.dropout if self.dropout is None else self.dropout
        return pool_and_classify(x, self.num_classes, dropout=rate, train=train, **dtypes)


def round_to_eight(width: float | int) -> int:
    """Rounds ``width`` to the nearest multiple of 8 that is at least 8 and at least nine tenths of it."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def _make_norm(framework: Framework, train: bool, **dtypes: Unpack[Dtypes]) -> functools.partial[nn.BatchNorm]:
    """Returns a framework's batch norm as a function of its name."""
    return functools.partial(nn.BatchNorm, use_running_average=not train, **framework.norm, **dtypes)


_he = nn.initializers.he_normal()
_depthwise_he = depthwise_variance_scaling(2.0)
