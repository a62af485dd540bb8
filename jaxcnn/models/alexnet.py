"""AlexNet in its second version: five convolutions, three poolings, three fully connected layers."""

import functools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

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

__all__ = ["ARCHITECTURES", "AlexNet"]

_LAYERS = (
    # kernel, stride, padding, whether pooling follows
    (11, 4, 2, True),
    (5, 1, 2, True),
    (3, 1, 1, False),
    (3, 1, 1, False),
    (3, 1, 1, True),
)


class AlexNetVariant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    first_padding: int  # of the first convolution
    window: int  # pixels of the last maps that the first dense layer is connected to, in either direction
    slides: bool  # whether it slides over larger maps, instead of averaging all to the window
    dropout_first: bool  # whether dropout precedes each hidden dense layer instead of following it


_VARIANTS = {
    "torchvision": AlexNetVariant(first_padding=2, window=6, slides=False, dropout_first=True),
    "tensorflow": AlexNetVariant(first_padding=0, window=5, slides=True, dropout_first=False),
}


class AlexNet(nn.Module):
    """AlexNet for one device, without response normalization: the network of "One weird trick".

    Convention:
        - The tree is the paper's: ``conv1`` to ``conv5``, ``fc1``, ``fc2`` and ``head``. Rows of ``fc1`` are in the
          order row, column, channel.
        - Without classes there are no fully connected layers: features are the means of the last maps.
        - What images of other sizes do is the source's: torchvision averages the last maps to 6 x 6 pixels;
          TensorFlow slim slides ``fc1``, of 5 x 5 pixels, over them like a convolution (at least 195 x 195 pixels),
          and logits are the mean over all places.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        filters: Channels of each convolution.
        hidden: Units of each hidden fully connected layer.
        variant: ``"torchvision"`` or ``"tensorflow"``: padding of the first convolution, other sizes of images, and
            the place of dropout.
        dropout: Rate of dropout at each hidden fully connected layer.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, or the image too small.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("alexnet", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        61100840

    Parity:
        Logits equal ``torchvision.models.alexnet`` (axes moved) and TensorFlow slim's ``alexnet.alexnet_v2``, each
        for its own pre-processing.

    References:
        Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997; the first
        version is Krizhevsky, Sutskever & Hinton 2012, NeurIPS.
    """

    num_classes: int | None = 10
    filters: Sequence[int] = (64, 192, 384, 256, 256)
    hidden: Sequence[int] = (4096, 4096)
    variant: Literal["torchvision", "tensorflow"] = "torchvision"
    dropout: float = 0.5
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("alexnet", "variant", self.variant, tuple(_VARIANTS))
        check(len(self.filters) == len(_LAYERS), "alexnet", "filters", f"{len(_LAYERS)} numbers", self.filters)
        variant = _VARIANTS[self.variant]
        slides = variant.slides and self.num_classes is not None
        check_images("alexnet", x, smallest=_smallest_image(variant.first_padding, variant.window if slides else 1))
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        y = jnp.asarray(x)
        for i, (filters, (kernel, stride, padding, pools)) in enumerate(zip(self.filters, _LAYERS, strict=True), 1):
            padding = variant.first_padding if i == 1 else padding
            conv = functools.partial(
                Conv, filters, (kernel, kernel), stride, padding, kernel_init=_he, name=f"conv{i}", **dtypes
            )
            layer = functools.partial(_convolve, conv=conv, pools=pools)
            y = (nn.remat(layer) if self.remat else layer)(self, y)
        if self.num_classes is None:
            return ops.global_average_pool(y)
        window = (variant.window, variant.window)
        return classify_windows(
            y if variant.slides else ops.adaptive_avg_pool(y, window),
            self.hidden,
            self.num_classes,
            window=window,
            dropout=self.dropout,
            dropout_first=variant.dropout_first,
            train=train,
            **dtypes,
        )


def _convolve(
    parent: nn.Module, x: Float[AnyArray, "*b h w c"], *, conv: functools.partial[Conv], pools: bool
) -> Float[Array, "*b h_out w_out f"]:
    """Convolves, and where a layer pools takes maxima of overlapping windows."""
    y = nn.relu(conv(parent=parent)(x))
    return ops.max_pool(y, 3, strides=2) if pools else y


def _smallest_image(first_padding: int, last: int) -> int:
    """Returns the size of the smallest images whose last maps have ``last`` pixels in either direction."""
    size = last
    for i, (kernel, stride, padding, pools) in reversed([*enumerate(_LAYERS)]):
        size = 2 * (size - 1) + 3 if pools else size
        size = stride * (size - 1) + kernel - 2 * (padding if i else first_padding)
    return size


_he = nn.initializers.he_uniform()

ARCHITECTURES: Mapping[str, Architecture] = {
    "alexnet": Architecture(AlexNet, {}, 61_100_840),
    "tensorflow/alexnet_v2": Architecture(
        AlexNet, {"filters": (64, 192, 384, 384, 256), "variant": "tensorflow"}, 50_303_912
    ),
}
"""The named networks."""
