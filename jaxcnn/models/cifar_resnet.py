"""ResNet for CIFAR-10: three stages of basic blocks, shortcuts without parameters."""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import TORCH_NORM
from jaxcnn.models._residual import add_shortcut

__all__ = ["ARCHITECTURES", "CifarResNet"]


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters.

    Args:
        filters: Channels.
        stride: Stride of the first convolution.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    stride: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **TORCH_NORM, **dtypes)
        conv = functools.partial(Conv, self.filters, (3, 3), padding=1, use_bias=False, kernel_init=_he, **dtypes)
        x = jnp.asarray(x)
        y = nn.relu(norm(name="bn1")(conv(strides=self.stride, name="conv1")(x)))
        y = norm(name="bn2")(conv(name="conv2")(y))
        new = self.filters - x.shape[-1]
        if self.stride != 1 or new:
            x = x[..., :: self.stride, :: self.stride, :]
            x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(new // 2, new - new // 2)])
        return nn.relu(add_shortcut(y, x))


class CifarStage(nn.Module):
    """Basic blocks of one resolution, with shortcuts that have no parameters.

    Args:
        filters: Channels.
        blocks: Number of blocks.
        stride: Stride of the first block.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    blocks: int
    stride: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the last block."""
        y = jnp.asarray(x)
        for i in range(self.blocks):
            block = CifarBlock(
                self.filters, self.stride if i == 0 else 1, self.dtype, self.param_dtype, name=f"block{i + 1}"
            )
            y = block(y, train)
        return y


class CifarResNet(nn.Module):
    """ResNet for images of 32 x 32 pixels: a 3x3 convolution and three stages of basic blocks.

    Where the resolution halves, shortcuts take every second pixel and fill new channels with zeros (option A of the
    paper), so that they have no parameters.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        blocks: Blocks per stage; the network has 6 * blocks + 2 layers.
        stem: Filters of the first convolution and stage.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("cifar_resnet20")
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        269722

    Parity:
        Logits equal the networks of akamaster/pytorch_resnet_cifar10.

    References:
        He et al. 2015, arXiv:1512.03385, section 4.2.
    """

    num_classes: int | None = 10
    blocks: int = 3
    stem: int = 16
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_images("cifar_resnet", x)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = nn.BatchNorm(use_running_average=not train, name="bn1", **TORCH_NORM, **dtypes)
        y = nn.relu(
            norm(Conv(self.stem, (3, 3), padding=1, use_bias=False, kernel_init=_he, name="conv1", **dtypes)(x))
        )
        for i in range(3):
            y = CifarStage(self.stem * 2**i, self.blocks, 1 if i == 0 else 2, name=f"stage{i + 1}", **dtypes)(y, train)
        return pool_and_classify(y, self.num_classes, dropout=0.0, train=train, **dtypes)


_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

ARCHITECTURES: Mapping[str, Architecture] = {
    "cifar_resnet20": Architecture(CifarResNet, {"blocks": 3}, 269_722, size=32, classes=10),
    "cifar_resnet32": Architecture(CifarResNet, {"blocks": 5}, 464_154, size=32, classes=10),
    "cifar_resnet44": Architecture(CifarResNet, {"blocks": 7}, 658_586, size=32, classes=10),
    "cifar_resnet56": Architecture(CifarResNet, {"blocks": 9}, 853_018, size=32, classes=10),
    "cifar_resnet110": Architecture(CifarResNet, {"blocks": 18}, 1_727_962, size=32, classes=10),
}
"""The named networks."""
