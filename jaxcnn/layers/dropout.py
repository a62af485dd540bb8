"""Dropout for feature maps: entire channels, blocks of pixels, entire branches."""

from typing import Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, check_floating, check_min_rank, shape_text
from jaxcnn._typing import AnyArray, Array, Float

__all__ = ["DropBlock", "DropPath", "SpatialDropout"]


class SpatialDropout(nn.Module):
    """Drops entire channels: neighboring pixels are so correlated that dropping single ones changes little.

    Kept channels are divided by the keep probability. Draws from the rng collection ``"dropout"``; if ``train`` is
    False or the rate is 0, the input is returned unchanged.

    Args:
        rate: Fraction of the channels to drop, per example, in [0, 1].

    Raises:
        ValueError: If the rate is outside [0, 1] or the input has the wrong rank or dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import layers
        >>> x = jnp.ones((2, 4, 4, 8))
        >>> y = layers.SpatialDropout(0.5).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
        >>> bool((y == y[:, :1, :1]).all()), sorted(set(y.ravel().tolist()))
        (True, [0.0, 2.0])

    References:
        Tompson et al. 2015, arXiv:1411.4280.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h w c"]:
        """Drops channels of ``x`` in training."""
        return _drop(self, x, (*x.shape[:-3], 1, 1, x.shape[-1]), train)


class DropPath(nn.Module):
    """Drops the entire branch of an example (stochastic depth), with one draw per example.

    Put it at the end of a residual branch, before the sum. Kept branches are divided by the keep probability,
    so that evaluation needs no scaling. Draws from the rng collection ``"dropout"``; if ``train`` is False or the
    rate is 0, the input is returned unchanged.

    Args:
        rate: Probability of dropping a branch, in [0, 1].

    Raises:
        ValueError: If the rate is outside [0, 1] or the input has the wrong rank or dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import layers
        >>> x = jnp.ones((3, 2, 2, 1))
        >>> layers.DropPath(1.0).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)}).sum().item()
        0.0

    References:
        Huang et al. 2016, "Deep networks with stochastic depth", arXiv:1603.09382.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h w c"]:
        """Drops entire examples of ``x`` in training."""
        return _drop(self, x, (*x.shape[:-3], 1, 1, 1), train)


class DropBlock(nn.Module):
    """Drops square blocks of pixels, independently in each channel.

    Blocks lie entirely inside the map. Their corners are drawn with probability
    gamma = rate / b^2 * h w / ((h - b + 1) (w - b + 1)); as blocks may overlap, the dropped fraction is
    slightly below the rate. Kept pixels are multiplied by (pixels / pixels kept), counted over all maps of
    an example, which preserves the mean of a constant input. Draws from the rng collection ``"dropout"``; if
    ``train`` is False or the rate is 0, the input is returned unchanged. At rate 1 the result is 0.

    Args:
        rate: Fraction of the pixels to drop, in [0, 1].
        block_size: Side b of the blocks, at most height and width of the input.

    Raises:
        ValueError: If the rate is outside [0, 1], the block is not a positive integer or larger
            than the map, or the input has the wrong rank or dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import layers
        >>> x = jnp.ones((1, 8, 8, 4))
        >>> y = layers.DropBlock(0.3, 3).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
        >>> float(y.mean().round(3)), bool((y == 0).any())
        (1.0, True)

    References:
        Ghiasi, Lin and Le 2018, arXiv:1810.12890; they count kept pixels over the batch, so that the result
        for one example depends on the others.
    """

    rate: float
    block_size: int

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h w c"]:
        """Drops blocks of ``x`` in training."""
        _check_input(self, x)
        b = self.block_size
        positive = isinstance(b, int) and not isinstance(b, bool) and b > 0
        check(positive, "DropBlock", "block_size", "a positive integer", repr(b))
        h, w, c = x.shape[-3:]
        check(b <= min(h, w), "DropBlock", "block_size", f"at most height and width of x, {shape_text(x)}", b)
        if not train or self.rate == 0:
            return jnp.asarray(x)
        if self.rate == 1:
            return jnp.zeros_like(x)
        rows, columns = h - b + 1, w - b + 1
        gamma = self.rate / b**2 * (h * w) / (rows * columns)
        seeds = jax.random.bernoulli(self.make_rng("dropout"), gamma, (*x.shape[:-3], rows, columns, c))
        dropped = ops.max_pool(seeds.astype(jnp.float32), b, strides=1, padding=b - 1)
        kept = 1 - dropped + jnp.zeros_like(x, jnp.float32)  # sharded as x
        scale = h * w * c / jnp.maximum(jnp.sum(kept, (-3, -2, -1), keepdims=True), 1)
        return jnp.multiply(x, (kept * scale).astype(x.dtype))  # not jnp.where: a mesh may shard x, but not the draw


@runtime_checkable
class DropoutLayer(Protocol):
    """A Linen module with a rate."""

    @property
    def rate(self) -> float:
        """Probability of dropping."""
        ...

    def make_rng(self, name: str) -> Array:
        """Returns a key of a collection of generators."""
        ...


def _drop(layer: DropoutLayer, x: AnyArray, shape: tuple[int, ...], train: bool) -> Array:
    """Drops the parts of ``x`` that a mask of this shape distinguishes."""
    _check_input(layer, x)
    if not train or layer.rate == 0:
        return jnp.asarray(x)
    if layer.rate == 1:
        return jnp.zeros_like(x)
    keep = 1 - layer.rate
    kept = jax.random.bernoulli(layer.make_rng("dropout"), keep, shape) | jnp.zeros_like(x, jnp.bool)  # sharded as x
    return jnp.where(kept, x / keep, jnp.zeros_like(x))


def _check_input(layer: DropoutLayer, x: AnyArray) -> None:
    name = type(layer).__name__
    check(0 <= layer.rate <= 1, name, "rate", "in [0, 1]", layer.rate)
    check_min_rank(name, "x", x, "h w c")
    check_floating(name, "x", x)
