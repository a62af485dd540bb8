"""Small classifiers of digits: LeNet-5, and the plain networks of the spatial-transformer experiments."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._inputs import check_images, flatten_maps

__all__ = ["CNN", "FCN", "LeNet"]


class LeNet(nn.Module):
    """LeNet-5: two convolutions with average pooling, three dense layers.

    Differs from the original in three points, as later implementations do: the second convolution
    sees all maps, pooling has no weights, and the output is a dense layer of logits.

    Args:
        num_classes: Number of logits; None returns the last hidden layer.
        activation: Nonlinearity between layers; tanh in the original.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("lenet", num_classes=10)
        >>> variables = model.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
        >>> model.apply(variables, jnp.ones((1, 28, 28, 1))).shape
        (1, 10)

    References:
        LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.
    """

    num_classes: int | None = 10
    activation: Callable[[jax.Array], jax.Array] = nn.tanh
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or features where ``num_classes`` is None."""
        del train
        check_images("lenet", x, smallest=12)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        x = self.activation(Conv(6, (5, 5), padding="SAME", name="conv1", **dtypes)(x))
        x = ops.avg_pool(x, 2)
        x = self.activation(Conv(16, (5, 5), padding="VALID", name="conv2", **dtypes)(x))
        x = ops.avg_pool(x, 2)
        x = flatten_maps(x)
        x = self.activation(nn.Dense(120, name="dense1", **dtypes)(x))
        x = self.activation(nn.Dense(84, name="dense2", **dtypes)(x))
        return x if self.num_classes is None else nn.Dense(self.num_classes, name="head", **dtypes)(x)


class FCN(nn.Module):
    """Fully connected network of the spatial-transformer experiments: hidden layers, then logits.

    Args:
        num_classes: Number of logits; None returns the last hidden layer.
        units: Width of each hidden layer.
        downsample: Factor of average pooling before the first layer.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("fcn", num_classes=10, units=(32, 32))
        >>> variables = model.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
        >>> model.apply(variables, jnp.ones((1, 28, 28, 1))).shape
        (1, 10)

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 4.1.
    """

    num_classes: int | None = 10
    units: Sequence[int] = (256, 256)
    downsample: int = 1
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or features where ``num_classes`` is None."""
        del train
        check_images("fcn", x, smallest=self.downsample)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        x = _downsample(x, self.downsample)
        x = flatten_maps(x)
        for i, width in enumerate(self.units, 1):
            x = nn.relu(nn.Dense(width, kernel_init=_he, name=f"dense{i}", **dtypes)(x))
        return x if self.num_classes is None else nn.Dense(self.num_classes, name="head", **dtypes)(x)


class CNN(nn.Module):
    """Convolutional network of the spatial-transformer experiments.

    Each stage is a valid convolution, ReLU and 2x2 max pooling; a dense layer gives the logits.

    Args:
        num_classes: Number of logits; None returns the flattened last maps.
        features: Filters of each stage.
        kernel_sizes: Side of each stage's kernels, in pixels.
        downsample: Factor of average pooling before the first stage; the paper uses 2 against aliasing
            behind a transformer.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("cnn", num_classes=10, features=(8, 8), kernel_sizes=(5, 5))
        >>> variables = model.init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
        >>> model.apply(variables, jnp.ones((1, 28, 28, 1))).shape
        (1, 10)

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 4.1.
    """

    num_classes: int | None = 10
    features: Sequence[int] = (64, 64)
    kernel_sizes: Sequence[int] = (9, 7)
    downsample: int = 1
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or features where ``num_classes`` is None."""
        del train
        smallest = 1
        for kernel in reversed(self.kernel_sizes):
            smallest = 2 * smallest + kernel - 1
        check_images("cnn", x, smallest=smallest * self.downsample)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        x = _downsample(x, self.downsample)
        for i, (filters, kernel) in enumerate(zip(self.features, self.kernel_sizes, strict=True), 1):
            convolution = Conv(filters, (kernel, kernel), padding="VALID", kernel_init=_he, name=f"conv{i}", **dtypes)
            x = ops.max_pool(nn.relu(convolution(x)), 2)
        x = flatten_maps(x)
        return x if self.num_classes is None else nn.Dense(self.num_classes, name="head", **dtypes)(x)


_he = nn.initializers.he_normal()


def _downsample(x: Float[AnyArray, "*b h w c"], factor: int) -> Float[Array, "*b h_out w_out c"]:
    return ops.avg_pool(x, factor) if factor > 1 else jnp.asarray(x)
