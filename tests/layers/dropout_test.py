"""Dropout layers: what they drop, how much, and what they keep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcnn.layers.dropout import DropBlock, DropPath, SpatialDropout
from tests.support.selection import daily

LAYERS = {"spatial": SpatialDropout(0.3), "path": DropPath(0.3), "block": DropBlock(0.3, 3)}
EACH_LAYER = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


@functools.partial(jax.jit, static_argnums=0)
def drop(layer, x, seed=0):
    return layer.apply({}, x, train=True, rngs={"dropout": jax.random.key(seed)})


@EACH_LAYER
def test_identity_needs_no_key(layer):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 3)), jnp.float32)
    np.testing.assert_array_equal(layer.apply({}, x), x)
    np.testing.assert_array_equal(layer.clone(rate=0.0).apply({}, x, train=True), x)


@EACH_LAYER
def test_rate_one_leaves_nothing(layer):
    x = jnp.full((2, 6, 6, 3), jnp.inf)
    np.testing.assert_array_equal(layer.clone(rate=1.0).apply({}, x, train=True), 0)


@EACH_LAYER
def test_key_decides_and_jit_agrees(layer):
    x = jnp.ones((16, 6, 6, 4))
    y = drop(layer, x)
    np.testing.assert_array_equal(drop(layer, x), y)
    np.testing.assert_allclose(layer.apply({}, x, train=True, rngs={"dropout": jax.random.key(0)}), y, rtol=1e-6)
    assert bool((drop(layer, x, 1) != y).any())


@EACH_LAYER
def test_leading_axes_and_bfloat16(layer):
    assert drop(layer, jnp.ones((6, 6, 3))).shape == (6, 6, 3)
    y = drop(layer, jnp.ones((2, 5, 6, 6, 3), jnp.bfloat16))
    assert y.shape == (2, 5, 6, 6, 3) and y.dtype == jnp.bfloat16
    wide = drop(layer, jnp.ones((2, 5, 6, 6, 3)))
    np.testing.assert_allclose(y.astype(jnp.float32), wide, rtol=1e-2)
    assert bool((y[0] != y[1]).any())


@EACH_LAYER
def test_gradient_is_the_mask(layer):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 6, 6, 4)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(drop(layer, x))))(x)
    np.testing.assert_allclose(gradient, drop(layer, jnp.ones_like(x)), rtol=1e-6)
    kept = drop(layer, x) != 0
    assert 0 < int(kept.sum()) < x.size
    np.testing.assert_array_equal(gradient != 0, kept)


def test_spatial_dropout_drops_whole_channels():
    y = drop(LAYERS["spatial"], jnp.ones((200, 4, 4, 50)))
    np.testing.assert_array_equal(y, jnp.broadcast_to(y[:, :1, :1], y.shape))
    kept = (y[:, 0, 0] != 0).mean()
    np.testing.assert_allclose(kept, 0.7, atol=0.02)  # 4 standard errors of 10,000 draws
    np.testing.assert_allclose(y.mean(), 1.0, atol=0.03)
    np.testing.assert_allclose(y.max(), 1 / 0.7, rtol=1e-6)


def test_drop_path_drops_whole_examples():
    y = drop(LAYERS["path"], jnp.ones((100, 100, 2, 2, 2)))
    np.testing.assert_array_equal(y, jnp.broadcast_to(y[..., :1, :1, :1], y.shape))
    np.testing.assert_allclose((y != 0).mean(), 0.7, atol=0.02)
    np.testing.assert_allclose(y.mean(), 1.0, atol=0.03)


def test_drop_block_drops_blocks():
    y = np.asarray(drop(DropBlock(0.02, 3), jnp.ones((50, 12, 10, 8))))
    dropped = y == 0
    covered = np.zeros_like(dropped)
    for i in range(10):
        for j in range(8):
            block = dropped[:, i : i + 3, j : j + 3].all((1, 2), keepdims=True)
            covered[:, i : i + 3, j : j + 3] |= block
    np.testing.assert_array_equal(covered, dropped)  # every dropped pixel lies in a dropped block
    assert (dropped[..., 0] != dropped[..., 1]).any()  # each channel has its own
    np.testing.assert_allclose(dropped.mean(), 0.02, atol=0.004)


def test_drop_block_keeps_the_mean_of_each_example():
    y = drop(DropBlock(0.3, 3), jnp.ones((20, 12, 10, 8)))
    np.testing.assert_allclose(y.mean((1, 2, 3)), 1.0, rtol=1e-5)
    assert 0.18 < float((y == 0).mean()) <= 0.3  # overlapping blocks drop less than the rate


def test_drop_block_of_one_pixel_is_dropout():
    y = drop(DropBlock(0.3, 1), jnp.ones((20, 12, 10, 8)))
    np.testing.assert_allclose((y == 0).mean(), 0.3, atol=0.015)


def test_drop_block_as_large_as_the_map():
    y = drop(DropBlock(0.5, 4), jnp.ones((100, 4, 4, 10)))
    np.testing.assert_array_equal(y == 0, jnp.broadcast_to(y[:, :1, :1] == 0, y.shape))
    np.testing.assert_allclose((y == 0).mean(), 0.5, atol=0.07)
    everything = drop(DropBlock(0.999, 4), jnp.ones((50, 4, 4, 1)))  # nothing kept: no division by 0
    assert bool(jnp.isfinite(everything).all())


@EACH_LAYER
@pytest.mark.parametrize("kind", daily([AxisType.Auto, AxisType.Explicit], [AxisType.Explicit]), ids=str)
@pytest.mark.parametrize("side", daily([6, 3], [6]))
def test_sharded_batch(layer, kind, side):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
    x = jnp.ones((4, side, side, 3))
    expected = drop(layer, x)
    with jax.set_mesh(mesh):
        y = jax.jit(lambda x: drop(layer, x))(jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))))
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@EACH_LAYER
@pytest.mark.nightly
def test_in_nnx(layer):
    x = jnp.ones((8, 6, 6, 4))
    module = nnx.bridge.ToNNX(layer.clone(), rngs=nnx.Rngs(0, dropout=1)).lazy_init(x)
    np.testing.assert_array_equal(module(x), x)
    y = module(x, train=True)
    assert y.shape == x.shape and bool((y == 0).any()) and bool((y > 1).any())


@pytest.mark.errors
@EACH_LAYER
def test_errors(layer):
    name, x = type(layer).__name__, jnp.ones((6, 6, 3))
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=rf"^{name}: rate must be in \[0, 1\]"):
            layer.clone(rate=rate).apply({}, x)
    with pytest.raises(ValueError, match=f"^{name}: x must be of shape"):
        layer.apply({}, x[0])
    with pytest.raises(ValueError, match=f"^{name}: x must be of a floating dtype"):
        layer.apply({}, x.astype(int))


@pytest.mark.errors
@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_block_size_is_a_positive_integer(size):
    with pytest.raises(ValueError, match="^DropBlock: block_size must be a positive integer"):
        DropBlock(0.1, size).apply({}, jnp.ones((6, 6, 3)))


@pytest.mark.errors
def test_block_fits_the_map():
    with pytest.raises(ValueError, match=r"block_size must be at most height and width of x, .*\(6, 4, 3\), got 5"):
        DropBlock(0.1, 5).apply({}, jnp.ones((6, 4, 3)))
