"""Dropout for feature maps: whole channels, blocks of pixels, whole branches."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, check_floating, check_min_rank, shape_text
from jaxcnn._typing import Array, Float

__all__ = ["DropBlock", "DropPath", "SpatialDropout"]


class SpatialDropout(nn.Module):
    """Drops whole channels: neighbouring pixels agree so much that dropping single ones changes little.

    What is kept is divided by the share kept. Draws from the rng collection ``"dropout"``, unless
    ``train`` is False or the rate 0: then the input is passed on.

    Args:
        rate: Share of the channels that are dropped, per example, in [0, 1].

    Raises:
        ValueError: If the rate lies outside of [0, 1] or the input has the wrong rank or dtype.

    Example:
        >>> x = jnp.ones((2, 4, 4, 8))
        >>> y = layers.SpatialDropout(0.5).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
        >>> bool((y == y[:, :1, :1]).all()), sorted(set(y.ravel().tolist()))
        (True, [0.0, 2.0])

    References:
        Tompson et al. 2015, arXiv:1411.4280.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h w c"]:
        """Drops channels of ``x`` in training."""
        return _drop(self, x, (*x.shape[:-3], 1, 1, x.shape[-1]), train)


class DropPath(nn.Module):
    """Drops the whole branch of an example (stochastic depth): one draw per example.

    Put it at the end of a residual branch, before the sum. What is kept is divided by the share kept,
    so that evaluation needs no scale. Draws from the rng collection ``"dropout"``, unless ``train`` is
    False or the rate 0: then the input is passed on.

    Args:
        rate: Probability of dropping, in [0, 1].

    Raises:
        ValueError: If the rate lies outside of [0, 1] or the input has the wrong rank or dtype.

    Example:
        >>> x = jnp.ones((3, 2, 2, 1))
        >>> layers.DropPath(1.0).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)}).sum().item()
        0.0

    References:
        Huang et al. 2016, "Deep networks with stochastic depth", arXiv:1603.09382.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h w c"]:
        """Drops whole examples of ``x`` in training."""
        return _drop(self, x, (*x.shape[:-3], 1, 1, 1), train)


class DropBlock(nn.Module):
    """Drops square blocks of pixels, in each channel others.

    Blocks lie wholly inside of the map. Their corners are drawn with probability
    gamma = rate / b^2 * h w / ((h - b + 1) (w - b + 1)); as blocks may overlap, the share that is dropped
    is somewhat below the rate. What is kept is multiplied by (pixels / pixels kept), counted over all
    maps of an example, so the mean of a constant input stays what it was. Draws from the rng
    collection ``"dropout"``, unless ``train`` is False or the rate 0: then the input is passed on. At
    rate 1 nothing is left.

    Args:
        rate: Share of the pixels that are to be dropped, in [0, 1].
        block_size: Side b of the blocks, at most height and width of the input.

    Raises:
        ValueError: If the rate lies outside of [0, 1], the block is not a positive integer or larger
            than the map, or the input has the wrong rank or dtype.

    Example:
        >>> x = jnp.ones((1, 8, 8, 4))
        >>> y = layers.DropBlock(0.3, 3).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
        >>> float(y.mean().round(3)), bool((y == 0).any())
        (1.0, True)

    References:
        Ghiasi, Lin and Le 2018, arXiv:1810.12890; they count kept pixels over the batch, which would
        make the result of one example depend on the others.
    """

    rate: float
    block_size: int

    @nn.compact
    def __call__(self, x: Float[Array, "*b h w c"], *, train: bool = False) -> Float[Array, "*b h w c"]:
        """Drops blocks of ``x`` in training."""
        _check_input(self, x)
        b = self.block_size
        positive = isinstance(b, int) and not isinstance(b, bool) and b > 0
        check(positive, "DropBlock", "block_size", "a positive integer", repr(b))
        h, w, c = x.shape[-3:]
        check(b <= min(h, w), "DropBlock", "block_size", f"at most height and width of x, {shape_text(x)}", b)
        if not train or self.rate == 0:
            return x
        if self.rate == 1:
            return jnp.zeros_like(x)
        rows, columns = h - b + 1, w - b + 1
        gamma = self.rate / b**2 * (h * w) / (rows * columns)
        seeds = jax.random.bernoulli(self.make_rng("dropout"), gamma, (*x.shape[:-3], rows, columns, c))
        dropped = ops.max_pool(seeds.astype(jnp.float32), b, strides=1, padding=b - 1)
        kept = 1 - dropped + jnp.zeros_like(x, jnp.float32)  # sharded as x
        scale = h * w * c / jnp.maximum(jnp.sum(kept, (-3, -2, -1), keepdims=True), 1)
        return x * (kept * scale).astype(x.dtype)  # no jnp.where: a mesh may have sharded x, but not the draw


def _drop(layer: Any, x: Array, shape: tuple[int, ...], train: bool) -> Array:
    _check_input(layer, x)
    if not train or layer.rate == 0:
        return x
    if layer.rate == 1:
        return jnp.zeros_like(x)
    keep = 1 - layer.rate
    kept = jax.random.bernoulli(layer.make_rng("dropout"), keep, shape) | jnp.zeros_like(x, jnp.bool)  # sharded as x
    return jnp.where(kept, x / keep, jnp.zeros_like(x))


def _check_input(layer: Any, x: Array) -> None:
    name = type(layer).__name__
    check(0 <= layer.rate <= 1, name, "rate", "in [0, 1]", layer.rate)
    check_min_rank(name, "x", x, "h w c")
    check_floating(name, "x", x)
