"""Classifiers behind a spatial transformer, and its localization networks."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.layers.transformer import SpatialTransformer
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._inputs import check_images, flatten_maps

__all__ = ["ConvLocalizer", "DenseLocalizer", "TransformedClassifier"]


class DenseLocalizer(nn.Module):
    """Dense layers with ReLU on the flattened image; the transformer adds the regression.

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 4.1.
    """

    units: Sequence[int] = (32, 32)
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b features"]:
        """Returns the features that the transform is regressed from."""
        x = flatten_maps(x)
        for i, width in enumerate(self.units, 1):
            dense = nn.Dense(width, dtype=self.dtype, param_dtype=self.param_dtype, name=f"dense{i}")
            x = nn.relu(dense(x))
        return x


class ConvLocalizer(nn.Module):
    """Valid 5x5 convolutions on the downsampled image, with 2x2 max pooling, then one dense layer.

    Args:
        features: Filters of each convolution.
        units: Width of the dense layer.
        downsample: Factor of average pooling before the first convolution.
        pool_last: Whether max pooling also follows the last convolution.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 4.1.
    """

    features: Sequence[int] = (20, 20)
    units: int = 20
    downsample: int = 2
    pool_last: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b features"]:
        """Returns the features that the transform is regressed from."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        last = len(self.features)
        smallest = 1
        for i in range(last, 0, -1):
            smallest = smallest * (2 if i < last or self.pool_last else 1) + 4
        check_images("localizer", x, smallest=smallest * self.downsample)
        if self.downsample > 1:
            x = ops.avg_pool(x, self.downsample)
        for i, filters in enumerate(self.features, 1):
            x = nn.relu(Conv(filters, (5, 5), padding="VALID", name=f"conv{i}", **dtypes)(x))
            if i < last or self.pool_last:
                x = ops.max_pool(x, 2)
        x = flatten_maps(x)
        return nn.relu(nn.Dense(self.units, name="dense", **dtypes)(x))


class TransformedClassifier(nn.Module):
    """A spatial transformer on the input, then a classifier.

    Args:
        transformer: The transformer; its ``theta``, ``grid`` and ``frame`` are sown below its name.
        classifier: The network that gets the transformed images.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("st_fcn", transform="affine", units=(16,))
        >>> variables = model.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
        >>> sorted(variables["params"])
        ['classifier', 'transformer']

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 4.1.
    """

    transformer: SpatialTransformer
    classifier: nn.Module

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns the classifier's output for the transformed images."""
        check_images("transformed classifier", x)
        return self.classifier(self.transformer(x, train=train), train=train)
