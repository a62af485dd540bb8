"""MobileNet, the first: a plain stack of depthwise and pointwise convolutions."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.layers.convolution import Conv, DepthwiseConv
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import KERAS_NORM

__all__ = ["MobileNet"]

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


class MobileNetBlock(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, each with batch norm and ReLU6.

    Args:
        filters: Filters of the pointwise convolution.
        stride: Stride of the depthwise one; at 2 it is padded at the end only, whatever the size.
        depth_multiplier: Depthwise kernels per channel.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    stride: int = 1
    depth_multiplier: int = 1
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **KERAS_NORM, **dtypes)
        x = DepthwiseConv(
            (3, 3),
            depth_multiplier=self.depth_multiplier,
            strides=self.stride,
            # Not SAME, which pads an odd size on both sides.
            padding="SAME" if self.stride == 1 else ((0, 1), (0, 1)),
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
        The tree follows Keras's names, one level per block: Keras's ``conv_dw_3`` is ``block3/conv_dw``,
        its ``conv_preds``, a 1x1 convolution, the dense ``head``.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        alpha: Width multiplier: every number of filters is multiplied by it, then rounded down.
        depth_multiplier: Depthwise kernels per channel.
        stem: Filters of the first convolution, before ``alpha``.
        blocks: Filters, before ``alpha``, and stride of each block.
        dropout: Rate of dropout before the head.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If ``alpha`` leaves a layer without filters, or the image is too small for the strides.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("mobilenet", num_classes=1000, alpha=0.25)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        470072

    Parity:
        Logits equal ``keras.applications.MobileNet(classifier_activation=None)``, where pixels are in [-1, 1].

    References:
        Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision
        applications", arXiv:1704.04861.
    """

    num_classes: int | None = 10
    alpha: float = 1.0
    depth_multiplier: int = 1
    stem: int = 32
    blocks: Sequence[tuple[int, int]] = _BLOCKS
    dropout: float = 1e-3
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        narrowest = min(self.stem, *(filters for filters, _ in self.blocks))
        check(self.alpha * narrowest >= 1, "mobilenet", "alpha", f"at least 1 / {narrowest}", self.alpha)
        # The stem's maps are half of the image, rounded up; a block's are half of those, rounded down.
        strides = 1
        for _, stride in self.blocks:
            strides *= stride
        check_images("mobilenet", x, smallest=2 * strides - 1)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = nn.BatchNorm(use_running_average=not train, name="conv1_bn", **KERAS_NORM, **dtypes)
        filters = int(self.alpha * self.stem)
        x = Conv(filters, (3, 3), strides=2, use_bias=False, kernel_init=_he, name="conv1", **dtypes)(x)
        x = nn.relu6(norm(x))
        for i, (filters, stride) in enumerate(self.blocks, 1):
            filters = int(self.alpha * filters)
            x = MobileNetBlock(filters, stride, self.depth_multiplier, name=f"block{i}", **dtypes)(x, train=train)
        return pool_and_classify(x, self.num_classes, dropout=self.dropout, train=train, **dtypes)


_he = nn.initializers.he_normal()
_depthwise_he = depthwise_variance_scaling(2.0)
