"""MobileNetV2: inverted residuals with linear bottlenecks, as torchvision and as Keras have them."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check, check_choice
from jaxcnn._typing import Array, Dtype, Float
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.layers.convolution import Conv, DepthwiseConv
from jaxcnn.models._head import pooled_logits
from jaxcnn.models._inputs import check_images

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
    """What the same network differs in from framework to framework."""

    momentum: float
    epsilon: float
    padding: Any  # of the 3x3 convolutions at stride 2
    whole_widths: bool  # whether alpha times filters is rounded down before it is rounded to a multiple of 8
    dropout: float


_FRAMEWORKS = {
    "torchvision": Framework(momentum=0.9, epsilon=1e-5, padding=1, whole_widths=False, dropout=0.2),
    # Keras pads (0, 1) even and (1, 1) odd sizes, which is SAME.
    "keras": Framework(momentum=0.999, epsilon=1e-3, padding="SAME", whole_widths=True, dropout=0.0),
}


class InvertedResidual(nn.Module):
    """Widens by a 1x1 convolution, filters each channel in space, narrows by a 1x1 convolution without activation.

    The input is added where it has the shape of the output.

    Args:
        filters: Channels of the output.
        expansion: Channels between, as a multiple of the input's; at 1 the widening is left out.
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
    def __call__(self, x: Float[Array, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        kinds: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = functools.partial(Conv, kernel_size=(1, 1), use_bias=False, kernel_init=_he, **kinds)
        norm = _norm(self.framework, train, **kinds)
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
            **kinds,
        )(y)
        y = nn.relu6(norm(name="depthwise_bn")(y))
        y = norm(name="project_bn")(conv(self.filters, name="project")(y))
        return x + y if self.stride == 1 and x.shape[-1] == self.filters else y


class MobileNetV2(nn.Module):
    """MobileNetV2: a convolution, 17 inverted residuals, a 1x1 convolution.

    Convention:
        - ``variant`` says whose network it is. ``"torchvision"``: padding by one pixel on every side, batch norm
          with epsilon 1e-5 and momentum 0.9, dropout 0.2. ``"keras"``: ``SAME`` padding, epsilon 1e-3, momentum
          0.999, no dropout. Names and shapes of the parameters are the same at all widths in use.
        - The tree has Keras's numbers: its ``block_3_expand`` is ``block3/expand``, and its
          ``expanded_conv_`` is ``block0``. torchvision's ``features.i`` is ``block{i - 1}``.
        - The running variance is the mean of biased ones, where PyTorch's are n / (n - 1) times as large.

    Args:
        num_classes: How many logits; None returns the pooled features.
        alpha: Width: what the numbers of filters are multiplied by, then rounded to multiples of 8.
            Below 1 the last convolution keeps its filters.
        variant: ``"torchvision"`` or ``"keras"``.
        stem: Filters of the first convolution, before ``alpha``.
        blocks: Expansion, filters before ``alpha``, number, and stride of the first, of each group of blocks.
        last: Filters of the last convolution, before ``alpha``.
        dropout: Rate of dropout before the head; None takes the variant's.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If ``alpha`` is not above 0 or the variant unknown.

    Example:
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
    def __call__(self, x: Float[Array, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("mobilenet_v2", "variant", self.variant, tuple(_FRAMEWORKS))
        check(self.alpha > 0, "mobilenet_v2", "alpha", "above 0", self.alpha)
        check_images("mobilenet_v2", x)
        framework = _FRAMEWORKS[self.variant]
        kinds: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = functools.partial(Conv, use_bias=False, kernel_init=_he, **kinds)
        norm = _norm(framework, train, **kinds)
        stem = conv(round_to_eight(self.alpha * self.stem), (3, 3), strides=2, padding=framework.padding, name="conv1")
        x = nn.relu6(norm(name="conv1_bn")(stem(x)))
        number = 0
        for expansion, filters, repeats, stride in self.blocks:
            width = int(self.alpha * filters) if framework.whole_widths else self.alpha * filters
            for i in range(repeats):
                x = InvertedResidual(
                    round_to_eight(width),
                    expansion,
                    stride if i == 0 else 1,
                    framework,
                    name=f"block{number}",
                    **kinds,
                )(x, train=train)
                number += 1
        x = conv(round_to_eight(max(self.alpha, 1.0) * self.last), (1, 1), name="conv_last")(x)
        x = nn.relu6(norm(name="conv_last_bn")(x))
        rate = framework.dropout if self.dropout is None else self.dropout
        return pooled_logits(x, self.num_classes, dropout=rate, train=train, **kinds)


def round_to_eight(width: float | int) -> int:
    """Gives the multiple of 8 nearest to ``width``, at least 8 and at least nine tenths of it."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


def _norm(framework: Framework, train: bool, **kinds: Any) -> Any:
    """Gives the batch norm of a framework, to be named."""
    constants = {"momentum": framework.momentum, "epsilon": framework.epsilon}
    return functools.partial(nn.BatchNorm, use_running_average=not train, **constants, **kinds)


_he = nn.initializers.he_normal()
_depthwise_he = depthwise_variance_scaling(2.0)
