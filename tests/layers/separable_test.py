"""Depthwise and separable layers: parameters and their number, formulas, initial variance, dtypes, errors."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.layers.convolution import DepthwiseConv, SeparableConv
from tests.support.selection import daily
from tests.support.untyped import untyped


def images(*shape, seed=0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def trained(layer, x, seed=1):
    """Draws random variables, so that biases are not 0."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), shapes)


def count(layer, shape) -> int:
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


MAPS = (1, 8, 8, 32)
"""The convolutions map 32 channels to 64 by 3x3 filters."""


def test_parameters_of_the_full_convolution():
    assert count(nn.Conv(64, (3, 3)), MAPS) == 18_496


@pytest.mark.parametrize("m", range(1, 10))
def test_parameter_counts(m):
    counts = {}
    for shared in (True, False):
        for between in (True, False):
            layer = SeparableConv(64, (3, 3), depth_multiplier=m, shared=shared, use_depthwise_bias=between)
            counts[shared, between] = count(layer, MAPS)
    assert counts[True, True] == m * (9 + 1) + 64 * (32 * m + 1) == 2058 * m + 64
    assert counts[True, False] == 2057 * m + 64
    assert counts[False, False] == 2336 * m + 64
    assert counts[False, True] == 2368 * m + 64
    assert (counts[True, True] < 18_496) == (m <= 8)
    assert (counts[False, False] < 18_496) == (counts[False, True] < 18_496) == (m <= 7)


def shapes(x, layer):
    return {name: leaf.shape for name, leaf in jax.eval_shape(layer.init, jax.random.key(0), x)["params"].items()}


def test_parameters_and_their_shapes():
    x = images(2, 6, 5, 3)
    assert shapes(x, DepthwiseConv((3, 2), depth_multiplier=2)) == {"kernel": (3, 2, 3, 2), "bias": (6,)}
    assert shapes(x, DepthwiseConv(3, use_bias=False)) == {"kernel": (3, 3, 3, 1)}
    plain = {"depthwise_kernel": (3, 3, 3, 2), "pointwise_kernel": (1, 1, 6, 4), "bias": (4,)}
    assert shapes(x, SeparableConv(4, 3, depth_multiplier=2)) == plain
    shared = {**plain, "depthwise_kernel": (3, 3, 1, 2), "depthwise_bias": (2,)}
    assert shapes(x, SeparableConv(4, 3, depth_multiplier=2, shared=True, use_depthwise_bias=True)) == shared
    both = {**plain, "depthwise_bias": (6,)}
    assert shapes(x, SeparableConv(4, 3, depth_multiplier=2, use_depthwise_bias=True)) == both
    line = {"depthwise_kernel": (5, 3, 1), "pointwise_kernel": (1, 3, 4)}
    assert shapes(x, SeparableConv(4, (5,), use_bias=False)) == line
    volume = {"depthwise_kernel": (1, 3, 2, 3, 1), "pointwise_kernel": (1, 1, 1, 3, 4), "bias": (4,)}
    assert shapes(images(2, 3, 6, 5, 3), SeparableConv(4, (1, 3, 2))) == volume


@pytest.mark.parametrize("shared", [False, True])
def test_biases_and_order_of_channels(shared):
    """Input channel i and filter j make channel i m + j, which gets bias i m + j, or j where filters are shared."""
    x, c, m = images(2, 6, 5, 3), 3, 2
    layer = SeparableConv(4, (3, 2), depth_multiplier=m, shared=shared, use_depthwise_bias=True, strides=2)
    variables = trained(layer, x)
    p = variables["params"]
    pointwise = p["pointwise_kernel"][0, 0]
    expected = p["bias"][None, None, None]
    for i in range(c):
        for j in range(m):
            own = p["depthwise_kernel"][:, :, 0 if shared else i, j]
            maps = ops.depthwise_conv(x[..., i : i + 1], own[..., None, None], strides=2)
            maps = maps + p["depthwise_bias"][j if shared else i * m + j]
            expected = expected + maps * pointwise[i * m + j][None, None, None]
    np.testing.assert_allclose(untyped(layer.apply(variables, x)), expected, rtol=1e-4, atol=1e-5)


def test_shared_is_separable_with_repeated_filters():
    x, options = images(2, 6, 5, 3), {"depth_multiplier": 2, "use_depthwise_bias": True, "padding": "REFLECT"}
    layer = SeparableConv(4, 3, shared=True, **options)
    variables = trained(layer, x)
    repeated = dict(variables["params"])
    repeated["depthwise_kernel"] = jnp.repeat(repeated["depthwise_kernel"], 3, axis=-2)
    repeated["depthwise_bias"] = jnp.tile(repeated["depthwise_bias"], 3)
    same: Any = SeparableConv(4, 3, **options).apply({"params": repeated}, x)
    np.testing.assert_allclose(untyped(layer.apply(variables, x)), same, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(3,), (3, 2), (2, 1, 3)], ids=str)
def test_options_reach_the_op(size):
    x = images(2, *(7, 6, 5)[: len(size)], 3)
    options = {"strides": (2, 1, 2)[: len(size)], "padding": 2}
    layer = DepthwiseConv(size, depth_multiplier=2, kernel_dilation=2, **options)
    variables = trained(layer, x)
    p = variables["params"]
    y = ops.depthwise_conv(x, p["kernel"], dilation=2, **options)
    np.testing.assert_allclose(
        untyped(layer.apply(variables, x)), y + p["bias"].reshape((1,) * (y.ndim - 1) + (-1,)), rtol=1e-6
    )
    layer = SeparableConv(4, size, depth_multiplier=2, kernel_dilation=2, **options)
    variables = trained(layer, x)
    p = variables["params"]
    y = ops.separable_conv(x, p["depthwise_kernel"], p["pointwise_kernel"], dilation=2, **options)
    expected = y + p["bias"].reshape((1,) * (y.ndim - 1) + (-1,))
    np.testing.assert_allclose(untyped(layer.apply(variables, x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 5, 3), (2, 3, 6, 5, 3), (0, 6, 5, 3)], ids=str)
def test_leading_axes(shape):
    layer = SeparableConv(4, 3, shared=True)
    variables = trained(layer, images(1, 6, 5, 3))
    x = images(*shape)
    y: Any = layer.apply(variables, x)
    assert y.shape == (*shape[:-1], 4)
    flat: Any = layer.apply(variables, x.reshape(-1, 6, 5, 3))
    np.testing.assert_allclose(y, flat.reshape(y.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", daily([None, jnp.bfloat16, jnp.float32], [jnp.bfloat16]), ids=str)
@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("layer", daily([DepthwiseConv, SeparableConv], [SeparableConv]))
def test_dtypes(layer, param_dtype, dtype):
    positional = (3,) if layer is DepthwiseConv else (4, 3)
    x = jnp.asarray(images(2, 5, 4, 3), jnp.bfloat16)
    model = layer(*positional, dtype=dtype, param_dtype=param_dtype)
    y, variables = model.init_with_output(jax.random.key(0), x)
    assert all(leaf.dtype == param_dtype for leaf in jax.tree.leaves(variables))
    assert y.dtype == (dtype or param_dtype)
    gradient = jax.grad(lambda v: jnp.sum(untyped(model.apply(v, x)).astype(jnp.float32)))(variables)
    assert all(leaf.dtype == param_dtype for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("m", [1, 4])
def test_depthwise_starts_with_variance_one(m):
    x = images(4, 12, 12, 64)
    y, _ = DepthwiseConv(3, depth_multiplier=m, padding="VALID").init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y.var(), 1.0, rtol=0.15)


@pytest.mark.parametrize("c,m,shared", [(64, 1, False), (16, 4, False), (16, 32, True)])
def test_separable_starts_with_variance_one(c, m, shared):
    layer = SeparableConv(256, 3, depth_multiplier=m, shared=shared, padding="VALID")
    y, variables = layer.init_with_output(jax.random.key(0), images(4, 10, 10, c))
    np.testing.assert_allclose(y.var(), 1.0, rtol=0.2)
    p = untyped(variables)["params"]
    np.testing.assert_allclose(p["pointwise_kernel"].var(), 1 / (c * m), rtol=0.1)
    np.testing.assert_allclose(p["depthwise_kernel"].var(), 1 / 9, rtol=0.2)
    assert not p["bias"].any()


def test_custom_initializers():
    options = {"depthwise_init": nn.initializers.ones, "pointwise_init": nn.initializers.constant(2.0)}
    layer = SeparableConv(1, 3, padding="VALID", bias_init=nn.initializers.constant(5.0), **options)
    y, _ = layer.init_with_output(jax.random.key(0), jnp.ones((1, 3, 3, 2)))
    assert y.item() == 2 * 9 * 2 + 5


X = np.zeros((2, 6, 5, 3), np.float32)


def build(layer, *args):
    """Calls a class with arguments of wrong types."""
    return layer(*args)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (lambda: DepthwiseConv(3, depth_multiplier=0), X, "DepthwiseConv: depth_multiplier must be a positive integer"),
        (lambda: DepthwiseConv(3, depth_multiplier=True), X, "DepthwiseConv: depth_multiplier must be"),
        (lambda: DepthwiseConv(0), X, "kernel_size must be a positive integer or 1 to 3 of them, got 0"),
        (lambda: DepthwiseConv((3, 3, 3, 3)), X, "kernel_size must be"),
        (lambda: DepthwiseConv(()), X, "kernel_size must be"),
        (lambda: DepthwiseConv(untyped((3, 1.5))), X, "kernel_size must be"),
        (lambda: DepthwiseConv(3), X[0, 0], r"x must be of shape \(..., h, w, c\), got float32\(5, 3\)"),
        (lambda: DepthwiseConv(3), X.astype(np.uint8), "x must be of a floating dtype, got uint8"),
        (lambda: DepthwiseConv(3), X[..., :0], "x must be of at least one channel"),
        (lambda: DepthwiseConv(3, kernel_dilation=0), X, "dilation must be"),
        (lambda: DepthwiseConv(7, padding="VALID"), X, "kernel must be no larger than the padded x"),
        (lambda: SeparableConv(0, 3), X, "SeparableConv: features must be a positive integer, got 0"),
        (functools.partial(build, SeparableConv, 4.0, 3), X, "SeparableConv: features must be"),
        (lambda: SeparableConv(4, 3, depth_multiplier=-1), X, "SeparableConv: depth_multiplier must be"),
        (lambda: SeparableConv(4, (3, -3)), X, "SeparableConv: kernel_size must be"),
        (lambda: SeparableConv(4, 3), X[0, 0], "SeparableConv: x must be of shape"),
        (lambda: SeparableConv(4, 3, strides=0), X, "strides must be"),
        (lambda: SeparableConv(4, 3, padding="same"), X, "padding must be"),
        (lambda: SeparableConv(4, 3, implementation=untyped("best")), X, "implementation must be one of"),
    ],
)
def test_errors(layer, x, message):
    with pytest.raises(ValueError, match=message):
        layer().init(jax.random.key(0), x)
