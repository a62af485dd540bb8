"""Xception and mini-Xception: residual modules of separable convolutions."""

import functools
from collections.abc import Mapping, Sequence
from typing import Literal, Unpack

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv, SeparableConv
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import KERAS_NORM
from jaxcnn.models._residual import add_shortcut

__all__ = ["ARCHITECTURES", "MiniXception", "Xception"]

Shortcut = Literal["projection", "identity", "none"]


class SeparableModule(nn.Module):
    """Separable 3x3 convolutions with batch norm, and a shortcut around them.

    Args:
        filters: Filters of each convolution; with ReLU in between.
        shortcut: ``"projection"`` halves height and width by max pooling and adds a 1x1 convolution at stride 2,
            ``"identity"`` adds the input, ``"none"`` adds nothing.
        activate_first: Whether ReLU also precedes the first convolution; the shortcut bypasses it.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        Chollet 2017, arXiv:1610.02357, figure 5.
    """

    filters: Sequence[int]
    shortcut: Shortcut
    activate_first: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the module."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **KERAS_NORM, **dtypes)
        y = jnp.asarray(x)
        for i, filters in enumerate(self.filters, 1):
            if i > 1 or self.activate_first:
                y = nn.relu(y)
            y = SeparableConv(filters, (3, 3), use_bias=False, name=f"sepconv{i}", **dtypes)(y)
            y = norm(name=f"sepconv{i}_bn")(y)
        if self.shortcut == "none":
            return y
        if self.shortcut == "identity":
            return add_shortcut(y, x)
        projection = Conv(self.filters[-1], (1, 1), strides=2, use_bias=False, name="shortcut", **dtypes)
        return add_shortcut(ops.max_pool(y, 3, strides=2, padding="SAME"), norm(name="shortcut_bn")(projection(x)))


class Xception(nn.Module):
    """Xception: two convolutions, then 12 residual modules and a last one of separable convolutions.

    Convention:
        The tree follows Keras's names, one level per block: ``block2/sepconv1/depthwise_kernel``,
        ``block2/sepconv1_bn``, and ``shortcut``, ``shortcut_bn`` for the projections, which Keras
        only numbers. ``conv1`` and ``conv2`` are Keras's block 1, ``head`` its ``predictions``.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        stem: Filters of the two convolutions of block 1; the first one has stride 2.
        entry: Filters of the modules of the entry flow, each of which halves height and width.
        middle_blocks: Number of modules of the middle flow, as wide as the entry flow's last.
        exit: Filters of the exit flow: its downsampling module, then the two convolutions of the last block.
        dropout: Rate of dropout before the head; 0.5 in the paper, none in Keras.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("xception", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 299, 299, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        22855952

    Parity:
        Logits equal ``keras.applications.Xception(classifier_activation=None)``, where pixels are in [-1, 1].

    References:
        Chollet 2017, "Xception: deep learning with depthwise separable convolutions", arXiv:1610.02357.
    """

    num_classes: int | None = 10
    stem: tuple[int, int] = (32, 64)
    entry: Sequence[int] = (128, 256, 728)
    middle_blocks: int = 8
    exit: tuple[int, int, int] = (1024, 1536, 2048)
    dropout: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[tuple[tuple[int, ...], Shortcut]]:
        """Lists filters and shortcut of every module from block 2 on."""
        wide = self.entry[-1]
        entry: list[tuple[tuple[int, ...], Shortcut]] = [((filters, filters), "projection") for filters in self.entry]
        middle: list[tuple[tuple[int, ...], Shortcut]] = [((wide, wide, wide), "identity")] * self.middle_blocks
        return [*entry, *middle, ((wide, self.exit[0]), "projection"), (self.exit[1:], "none")]

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_images("xception", x, smallest=7)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        x = _apply_stem(x, self.stem, strides=2, train=train, **dtypes)
        for i, (filters, shortcut) in enumerate(self.table(), 2):
            # No ReLU after the stem, nor after the addition that ends the residual modules.
            first = i > 2 and shortcut != "none"
            x = SeparableModule(filters, shortcut, activate_first=first, name=f"block{i}", **dtypes)(x, train=train)
        return pool_and_classify(nn.relu(x), self.num_classes, dropout=self.dropout, train=train, **dtypes)


class MiniXception(nn.Module):
    """Mini-Xception: two small convolutions, four downsampling modules, a convolution whose mean is the logits.

    There is no dense layer: the head predicts a map per class, whose mean is the logit. The defaults, apart from
    ``num_classes``, are those of the network for 7 emotions in gray images of 64 x 64 pixels.

    Args:
        num_classes: Number of logits; None returns the pooled features instead.
        stem: Filters of the two convolutions at the start.
        features: Filters of the modules, each of which halves height and width.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("mini_xception", num_classes=7)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 64, 64, 1)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        56951

    Parity:
        Logits equal the Keras network of the authors before its softmax; pixels are in [-1, 1].

    References:
        Arriaga et al. 2017, "Real-time convolutional neural networks for emotion and gender
        classification", arXiv:1710.07557.
    """

    num_classes: int | None = 10
    stem: tuple[int, int] = (8, 8)
    features: Sequence[int] = (16, 32, 64, 128)
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_images("mini_xception", x, smallest=5)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        x = _apply_stem(x, self.stem, strides=1, train=train, **dtypes)
        for i, filters in enumerate(self.features, 1):
            block = SeparableModule((filters, filters), "projection", activate_first=False, name=f"block{i}", **dtypes)
            x = block(x, train=train)
        if self.num_classes is not None:
            x = Conv(self.num_classes, (3, 3), name="head", **dtypes)(x)
        return ops.global_average_pool(x)


def _apply_stem(
    x: Float[AnyArray, "*b h w c"], features: tuple[int, int], *, strides: int, train: bool, **dtypes: Unpack[Dtypes]
) -> Float[Array, "*b h_out w_out f"]:
    """Applies two valid 3x3 convolutions with batch norm and ReLU; ``strides`` are those of the first."""
    y = jnp.asarray(x)
    for i, filters in enumerate(features, 1):
        step = strides if i == 1 else 1
        y = Conv(filters, (3, 3), step, padding="VALID", use_bias=False, kernel_init=_he, name=f"conv{i}", **dtypes)(y)
        y = nn.relu(nn.BatchNorm(use_running_average=not train, name=f"conv{i}_bn", **KERAS_NORM, **dtypes)(y))
    return y


_he = nn.initializers.he_normal()

ARCHITECTURES: Mapping[str, Architecture] = {
    "xception": Architecture(Xception, {}, 22_855_952, size=299, source="keras"),
}
"""The named networks."""
