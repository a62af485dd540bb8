"""ConvNeXt: a convolutional network with the proportions of a transformer, in the variants of torchvision and Keras."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from jaxcnn import ops
from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv, DepthwiseConv
from jaxcnn.layers.dropout import DropPath
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import compute_logits
from jaxcnn.models._inputs import IMAGENET_MEAN, IMAGENET_STD, check_images, normalize_pixels
from jaxcnn.models._residual import add_shortcut

__all__ = ["ARCHITECTURES", "ConvNeXt"]


class ConvNeXtVariant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    normalizes: bool  # whether images of three channels are normalized inside, from [0, 255]


_VARIANTS = {"torchvision": ConvNeXtVariant(normalizes=False), "keras": ConvNeXtVariant(normalizes=True)}

Variant = Literal["torchvision", "keras"]


class ConvNeXtBlock(nn.Module):
    """A depthwise 7x7 convolution, layer norm, and two dense layers per pixel, four times wider between them.

    Args:
        layer_scale: First value of the factors of the branch.
        drop_path: Probability of dropping the branch.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        Liu et al. 2022, arXiv:2201.03545, figure 4.
    """

    layer_scale: float = 1e-6
    drop_path: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h w c"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        dense = functools.partial(nn.Dense, kernel_init=_normal, **dtypes)
        c = x.shape[-1]
        y = DepthwiseConv((7, 7), padding=3, kernel_init=_normal, name="depthwise", **dtypes)(x)
        y = nn.LayerNorm(epsilon=_EPSILON, name="norm", **dtypes)(y)
        y = nn.gelu(dense(4 * c, name="expand")(y), approximate=False)
        y = LayerScale(self.layer_scale, name="layer_scale", **dtypes)(dense(c, name="project")(y))
        y = DropPath(self.drop_path, name="drop_path")(y, train=train) if self.drop_path else y
        return add_shortcut(y, x)


class LayerScale(nn.Module):
    """Multiplies channels by factors that are small at first. Parameter: ``gamma``.

    Args:
        initial: First value of the factors.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        Touvron et al. 2021, arXiv:2103.17239, section 2.
    """

    initial: float
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b c"]) -> Float[Array, "*b c"]:
        """Returns ``x`` with its channels scaled."""
        gamma = self.param("gamma", nn.initializers.constant(self.initial), x.shape[-1:], self.param_dtype)
        x, gamma = promote_dtype(x, gamma, dtype=self.dtype)
        return x * gamma.reshape((1,) * (x.ndim - 1) + (-1,))


class ConvNeXtStage(nn.Module):
    """Blocks of one resolution, behind a layer norm and a 2x2 convolution that halve the one before.

    Args:
        filters: Channels.
        blocks: The options of the blocks, in order.
        downsample: Whether the resolution is halved first.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    blocks: tuple[Mapping[str, Any], ...]
    downsample: bool = True
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the last block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        y = jnp.asarray(x)
        if self.downsample:
            y = nn.LayerNorm(epsilon=_EPSILON, name="downsample_norm", **dtypes)(y)
            conv = Conv(self.filters, (2, 2), 2, "VALID", kernel_init=_normal, name="downsample", **dtypes)
            y = conv(y)
        block = nn.remat(ConvNeXtBlock, static_argnums=(2,)) if self.remat else ConvNeXtBlock
        for i, options in enumerate(self.blocks, 1):
            y = block(**options, name=f"block{i}", **dtypes)(y, train)
        return y


class ConvNeXt(nn.Module):
    """ConvNeXt: a 4x4 convolution with stride 4 and four stages of depthwise 7x7 convolutions and dense layers.

    Convention:
        - The tree reads ``stem``, ``stem_norm``, ``stage2/downsample``, ``stage2/block1/depthwise``, ``norm``,
          ``expand``, ``project``, ``layer_scale``, and at the end ``head_norm`` and ``head``. torchvision's
          ``features.3.0`` is ``stage2/block1``.
        - ``variant="keras"`` takes pixels in [0, 255] and normalizes images of three channels inside, as Keras does.
        - Pooled features are those behind the last layer norm.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        blocks: Number of blocks of each stage.
        filters: Channels of each stage.
        variant: ``"torchvision"`` or ``"keras"``: whether the images are normalized inside.
        layer_scale: First value of the factors of the branches.
        drop_path: Probability of dropping the last block's branch; of earlier ones proportionally less.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, or an image has fewer than 4 x 4 pixels.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("convnext_tiny", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        28589128

    Parity:
        Logits equal ``torchvision.models.convnext_tiny``, axes moved, or
        ``keras.applications.ConvNeXtTiny(classifier_activation=None)``.

    References:
        Liu et al. 2022, "A ConvNet for the 2020s", arXiv:2201.03545, table 9.
    """

    num_classes: int | None = 10
    blocks: Sequence[int] = (3, 3, 9, 3)
    filters: Sequence[int] = (96, 192, 384, 768)
    variant: Variant = "torchvision"
    layer_scale: float = 1e-6
    drop_path: float = 0.0
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[list[dict[str, Any]]]:
        """Lists the options of every block, stage by stage."""
        last = max(sum(self.blocks) - 1, 1)
        starts = [sum(self.blocks[:i]) for i in range(len(self.blocks))]
        return [
            [
                {"layer_scale": self.layer_scale, "drop_path": self.drop_path * place / last}
                for place in range(start, start + number)
            ]
            for start, number in zip(starts, self.blocks, strict=True)
        ]

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("convnext", "variant", self.variant, tuple(_VARIANTS))
        fits = len(self.blocks) == len(self.filters) and all(is_integer_at_least(n, 1) for n in self.blocks)
        check(fits, "convnext", "blocks", "a positive integer for each number of filters", tuple(self.blocks))
        check_images("convnext", x, smallest=2 ** (len(self.blocks) + 1))
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        y = jnp.asarray(x)
        if _VARIANTS[self.variant].normalizes and x.shape[-1] == 3:
            y = normalize_pixels(y, IMAGENET_MEAN, IMAGENET_STD)
        y = Conv(self.filters[0], (4, 4), 4, "VALID", kernel_init=_normal, name="stem", **dtypes)(y)
        y = nn.LayerNorm(epsilon=_EPSILON, name="stem_norm", **dtypes)(y)
        for i, (filters, blocks) in enumerate(zip(self.filters, self.table(), strict=True), 1):
            y = ConvNeXtStage(filters, tuple(blocks), i > 1, self.remat, name=f"stage{i}", **dtypes)(y, train)
        y = nn.LayerNorm(epsilon=_EPSILON, name="head_norm", **dtypes)(ops.global_average_pool(y))
        return compute_logits(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


_EPSILON = 1e-6
_normal = nn.initializers.truncated_normal(0.02)

_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {"blocks": (3, 3, 27, 3)},
    "base": {"blocks": (3, 3, 27, 3), "filters": (128, 256, 512, 1024)},
    "large": {"blocks": (3, 3, 27, 3), "filters": (192, 384, 768, 1536)},
    "xlarge": {"blocks": (3, 3, 27, 3), "filters": (256, 512, 1024, 2048)},
}

_KERAS = {"variant": "keras"}

ARCHITECTURES: Mapping[str, Architecture] = {
    "convnext_tiny": Architecture(ConvNeXt, _SIZES["tiny"] | {"drop_path": 0.1}, 28_589_128),
    "convnext_small": Architecture(ConvNeXt, _SIZES["small"] | {"drop_path": 0.4}, 50_223_688),
    "convnext_base": Architecture(ConvNeXt, _SIZES["base"] | {"drop_path": 0.5}, 88_591_464),
    "convnext_large": Architecture(ConvNeXt, _SIZES["large"] | {"drop_path": 0.5}, 197_767_336),
    "keras/convnext_tiny": Architecture(ConvNeXt, _SIZES["tiny"] | _KERAS, 28_589_128),
    "keras/convnext_small": Architecture(ConvNeXt, _SIZES["small"] | _KERAS, 50_223_688),
    "keras/convnext_base": Architecture(ConvNeXt, _SIZES["base"] | _KERAS, 88_591_464),
    "keras/convnext_large": Architecture(ConvNeXt, _SIZES["large"] | _KERAS, 197_767_336),
    "keras/convnext_xlarge": Architecture(ConvNeXt, _SIZES["xlarge"] | _KERAS, 350_196_968),
}
"""The named networks."""
