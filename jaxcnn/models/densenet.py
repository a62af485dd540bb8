"""DenseNet: every layer of a stage reads the maps of all layers before it."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.layers.dropout import SpatialDropout
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import TORCH_NORM, NormConstants

__all__ = ["ARCHITECTURES", "DenseNet"]

_VARIANTS = {"torchvision": TORCH_NORM, "keras": NormConstants(momentum=0.99, epsilon=1.001e-5)}


class DenseLayer(nn.Module):
    """A 1x1 and a 3x3 convolution, each behind batch norm and ReLU.

    Args:
        growth: Filters of the 3x3 convolution.
        expansion: Filters of the 1x1 convolution, as a multiple of those.
        norm: Constants of batch norm.
        dropout: Rate of dropout of single values behind it.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    growth: int
    expansion: int
    norm: NormConstants
    dropout: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h w growth"]:
        """Returns the new maps."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **self.norm, **dtypes)
        conv = functools.partial(Conv, use_bias=False, kernel_init=_he, **dtypes)
        y = conv(self.expansion * self.growth, (1, 1), name="conv1")(nn.relu(norm(name="bn1")(x)))
        y = conv(self.growth, (3, 3), padding=1, name="conv2")(nn.relu(norm(name="bn2")(y)))
        if self.dropout == 0:
            return y
        values = y.reshape(*y.shape[:-3], 1, 1, math.prod(y.shape[-3:]))  # each is dropped on its own, not whole maps
        return SpatialDropout(self.dropout, name="dropout")(values, train=train).reshape(y.shape)


class DenseStage(nn.Module):
    """Layers of one resolution: ``layer1``, ``layer2`` and so on, whose maps are joined to those before.

    Args:
        layers: Number of layers.
        options: Those of each.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
    """

    layers: int
    options: Mapping[str, Any]
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h w f"]:
        """Returns the maps of all layers behind the input's."""
        layer = nn.remat(DenseLayer, static_argnums=(2,)) if self.remat else DenseLayer
        x = jnp.asarray(x)
        for i in range(1, self.layers + 1):
            x = jnp.concatenate([x, layer(**self.options, name=f"layer{i}")(x, train)], -1)
        return x


class Transition(nn.Module):
    """Batch norm, ReLU, a 1x1 convolution to half of the channels, and average pooling to half of the size.

    Args:
        norm: Constants of batch norm.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    norm: NormConstants
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the smaller maps."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = nn.BatchNorm(use_running_average=not train, name="bn", **self.norm, **dtypes)
        conv = Conv(x.shape[-1] // 2, (1, 1), use_bias=False, kernel_init=_he, name="conv", **dtypes)
        return ops.avg_pool(conv(nn.relu(norm(x))), 2)


class DenseNet(nn.Module):
    """DenseNet: a 7x7 convolution, max pooling, and four stages of dense layers with transitions in between.

    Convention:
        The tree reads like the paper's table: ``stage2/layer1/conv1`` is in the second dense block, behind it is
        ``transition2``, and behind the last one ``bn``. torchvision's ``features.denseblock2.denselayer1`` and Keras's
        ``conv3_block1`` are ``stage2/layer1``.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        layers: Number of layers of each stage.
        growth: Channels that every layer adds.
        stem: Filters of the first convolution.
        expansion: Filters of the 1x1 convolution of a layer, as a multiple of ``growth``.
        variant: ``"torchvision"`` or ``"keras"``: batch norm's constants.
        dropout: Rate of dropout behind every layer.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If the variant is unknown, or the image is too small for the transitions.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("densenet121", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        7978856

    Parity:
        Logits equal ``torchvision.models.densenet121``, axes moved; ``keras/densenet121`` those of
        ``keras.applications.DenseNet121(classifier_activation=None)``.

    References:
        Huang et al. 2016, "Densely connected convolutional networks", arXiv:1608.06993, table 1.
    """

    num_classes: int | None = 10
    layers: Sequence[int] = (6, 12, 24, 16)
    growth: int = 32
    stem: int = 64
    expansion: int = 4
    variant: Literal["torchvision", "keras"] = "torchvision"
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("densenet", "variant", self.variant, tuple(_VARIANTS))
        last = len(self.layers)
        check_images("densenet", x, smallest=4 * (2 ** (last - 1) - 1) + 1)
        constants = _VARIANTS[self.variant]
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **constants, **dtypes)
        y = Conv(self.stem, (7, 7), 2, 3, use_bias=False, kernel_init=_he, name="conv1", **dtypes)(x)
        y = ops.max_pool(nn.relu(norm(name="bn1")(y)), 3, strides=2, padding=1)
        options: dict[str, Any] = {
            "growth": self.growth,
            "expansion": self.expansion,
            "norm": constants,
            "dropout": self.dropout,
            **dtypes,
        }
        for i, layers in enumerate(self.layers, 1):
            y = DenseStage(layers, options, self.remat, name=f"stage{i}")(y, train)
            if i != last:
                y = Transition(constants, name=f"transition{i}", **dtypes)(y, train)
        return pool_and_classify(nn.relu(norm(name="bn")(y)), self.num_classes, dropout=0.0, train=train, **dtypes)


_he = nn.initializers.he_normal()

_LAYERS: Mapping[int, tuple[int, ...]] = {
    121: (6, 12, 24, 16),
    161: (6, 12, 36, 24),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
}

ARCHITECTURES: Mapping[str, Architecture] = {
    "densenet121": Architecture(DenseNet, {"layers": _LAYERS[121]}, 7_978_856),
    "densenet161": Architecture(DenseNet, {"layers": _LAYERS[161], "growth": 48, "stem": 96}, 28_681_000),
    "densenet169": Architecture(DenseNet, {"layers": _LAYERS[169]}, 14_149_480),
    "densenet201": Architecture(DenseNet, {"layers": _LAYERS[201]}, 20_013_928),
    "keras/densenet121": Architecture(DenseNet, {"layers": _LAYERS[121], "variant": "keras"}, 7_978_856),
    "keras/densenet169": Architecture(DenseNet, {"layers": _LAYERS[169], "variant": "keras"}, 14_149_480),
    "keras/densenet201": Architecture(DenseNet, {"layers": _LAYERS[201], "variant": "keras"}, 20_013_928),
}
"""The named networks."""
