"""VGG: stages of 3x3 convolutions, each followed by max pooling, and three fully connected layers."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._fully_connected import classify_windows
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import TORCH_NORM

__all__ = ["ARCHITECTURES", "VGG"]


class VGGVariant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    window: Literal["averaged", "entire", "sliding"]  # what of the last maps the first dense layer is connected to
    dropout: float


_VARIANTS = {
    "torchvision": VGGVariant("averaged", 0.5),
    "keras": VGGVariant("entire", 0.0),
    "tensorflow": VGGVariant("sliding", 0.5),
}

_WINDOW = 7  # pixels of the last maps, at 224 x 224 pixels


class VGGStage(nn.Module):
    """3x3 convolutions of one resolution, then max pooling.

    Args:
        filters: Channels.
        convolutions: Number of convolutions.
        batch_norm: Whether a batch norm follows each.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    convolutions: int
    batch_norm: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps behind the pooling."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **TORCH_NORM, **dtypes)
        y = jnp.asarray(x)
        for i in range(1, self.convolutions + 1):
            y = Conv(self.filters, (3, 3), padding=1, kernel_init=_he, name=f"conv{i}", **dtypes)(y)
            y = nn.relu(norm(name=f"bn{i}")(y) if self.batch_norm else y)
        return ops.max_pool(y, 2)


class VGG(nn.Module):
    """VGG: five stages of 3x3 convolutions and max pooling, two hidden fully connected layers, a classifier.

    Convention:
        - The tree reads like the paper's table 1: ``stage3/conv2`` is its second convolution of 256 channels, ``fc1``
          and ``fc2`` are the layers of 4096 units, ``head`` is the last. Rows of ``fc1`` are in the order row,
          column, channel.
        - Without classes there are no fully connected layers: features are the means of the last maps, as from
          Keras's networks without top, pooled, and from ``features`` of torchvision's.
        - What images of other sizes do is the source's: torchvision averages the last maps to 7 x 7 pixels; Keras
          connects ``fc1`` to all of them, so that its parameters belong to one size; TensorFlow slim slides it over
          them like a convolution (at least 224 x 224 pixels), and logits are the mean over all places.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        convolutions: Number of convolutions of each stage.
        filters: Channels of each stage.
        batch_norm: Whether a batch norm follows each convolution.
        hidden: Units of each hidden fully connected layer.
        variant: ``"torchvision"``, ``"keras"`` or ``"tensorflow"``: other sizes of images, and the rate of dropout.
        dropout: Rate of dropout behind each hidden fully connected layer; None is the variant's: 0.5, Keras's 0.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, or the image too small.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("vgg16", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        138357544

    Parity:
        Logits equal ``torchvision.models.vgg16`` (axes moved), ``keras.applications.VGG16(classifier_activation=None)``
        and TensorFlow slim's ``vgg.vgg_16``, each for its own pre-processing.

    References:
        Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale image recognition",
        arXiv:1409.1556, table 1, configurations A, B, D and E; its section 3.2 is what ``"tensorflow"`` does with
        larger images.
    """

    num_classes: int | None = 10
    convolutions: Sequence[int] = (2, 2, 3, 3, 3)
    filters: Sequence[int] = (64, 128, 256, 512, 512)
    batch_norm: bool = False
    hidden: Sequence[int] = (4096, 4096)
    variant: Literal["torchvision", "keras", "tensorflow"] = "torchvision"
    dropout: float | None = None
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("vgg", "variant", self.variant, tuple(_VARIANTS))
        same = len(self.filters) == len(self.convolutions)
        check(same, "vgg", "filters", f"one number per stage, as convolutions is {self.convolutions}", self.filters)
        variant = _VARIANTS[self.variant]
        slides = variant.window == "sliding" and self.num_classes is not None
        check_images("vgg", x, smallest=2 ** len(self.filters) * (_WINDOW if slides else 1))
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        stage = nn.remat(VGGStage, static_argnums=(2,)) if self.remat else VGGStage
        y = jnp.asarray(x)
        for i, (filters, convolutions) in enumerate(zip(self.filters, self.convolutions, strict=True), 1):
            y = stage(filters, convolutions, self.batch_norm, name=f"stage{i}", **dtypes)(y, train)
        if self.num_classes is None:
            return ops.global_average_pool(y)
        if variant.window == "averaged":
            y = ops.adaptive_avg_pool(y, (_WINDOW, _WINDOW))
        window = (y.shape[-3], y.shape[-2]) if variant.window == "entire" else (_WINDOW, _WINDOW)
        rate = variant.dropout if self.dropout is None else self.dropout
        return classify_windows(y, self.hidden, self.num_classes, window=window, dropout=rate, train=train, **dtypes)


_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

_A: dict[str, Any] = {"convolutions": (1, 1, 2, 2, 2)}
_B: dict[str, Any] = {"convolutions": (2, 2, 2, 2, 2)}
_D: dict[str, Any] = {"convolutions": (2, 2, 3, 3, 3)}
_E: dict[str, Any] = {"convolutions": (2, 2, 4, 4, 4)}

_BN = {"batch_norm": True}
_KERAS = {"variant": "keras"}
_SLIM = {"variant": "tensorflow"}

ARCHITECTURES: Mapping[str, Architecture] = {
    "vgg11": Architecture(VGG, _A, 132_863_336),
    "vgg13": Architecture(VGG, _B, 133_047_848),
    "vgg16": Architecture(VGG, _D, 138_357_544),
    "vgg19": Architecture(VGG, _E, 143_667_240),
    "vgg11_bn": Architecture(VGG, _A | _BN, 132_868_840),
    "vgg13_bn": Architecture(VGG, _B | _BN, 133_053_736),
    "vgg16_bn": Architecture(VGG, _D | _BN, 138_365_992),
    "vgg19_bn": Architecture(VGG, _E | _BN, 143_678_248),
    "keras/vgg16": Architecture(VGG, _D | _KERAS, 138_357_544),
    "keras/vgg19": Architecture(VGG, _E | _KERAS, 143_667_240),
    "tensorflow/vgg_a": Architecture(VGG, _A | _SLIM, 132_863_336),
    "tensorflow/vgg_16": Architecture(VGG, _D | _SLIM, 138_357_544),
    "tensorflow/vgg_19": Architecture(VGG, _E | _SLIM, 143_667_240),
}
"""The named networks."""
