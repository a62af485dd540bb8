"""Depthwise and separable layers against Keras: results and gradients with the same kernels, copied unchanged."""

import os

import jax
import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

from jaxcnn.layers.convolution import DepthwiseConv, SeparableConv
from tests.support.selection import daily_cases
from tests.support.untyped import untyped

keras = pytest.importorskip("keras")

OPTIONS = [
    {},
    {"strides": 2},
    {"dilation_rate": 2},
    {"depth_multiplier": 2},
    {"strides": 2, "depth_multiplier": 2, "use_bias": False},
    {"dilation_rate": 2, "depth_multiplier": 3},
]
PADDINGS = pytest.mark.parametrize("padding", ["same", "valid"])


def each(*chosen):
    """Every option and padding; daily those with an option of these numbers, padded one way and the other."""
    cases = [(options, padding) for options in OPTIONS for padding in ("same", "valid")]
    some = [(OPTIONS[number], ("same", "valid")[place % 2]) for place, number in enumerate(chosen)]
    return pytest.mark.parametrize(("options", "padding"), daily_cases(cases, some), ids=str)


def images(rank):
    return np.random.default_rng(0).normal(size=(2, 9, 8, 3)[-1 - rank - 1 :]).astype(np.float32)


def ours(options):
    """Converts Keras's options to jaxcnn's."""
    names = {"dilation_rate": "kernel_dilation"}
    return {names.get(name, name): value for name, value in options.items()}


def compare(theirs, own, x, names):
    """Copies the weights without transposing and compares outputs and gradients."""
    theirs.build(x.shape)
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=w.shape).astype(np.float32) for w in theirs.weights]
    theirs.set_weights(weights)
    names = names[: len(weights)]
    shapes = jax.eval_shape(own.init, jax.random.key(0), x)["params"]
    assert {name: leaf.shape for name, leaf in shapes.items()} == {
        n: w.shape for n, w in zip(names, weights, strict=True)
    }

    def of_keras(values, x):
        return theirs.stateless_call(values, [], x)[0]

    def of_ours(values, x):
        return own.apply({"params": dict(zip(names, values, strict=True))}, x)

    def with_gradients(function):
        return jax.jit(lambda w, x, cotangent: (function(w, x), jax.vjp(function, w, x)[1](cotangent)))

    cotangent = rng.normal(size=jax.eval_shape(of_ours, weights, x).shape).astype(np.float32)
    with jax.numpy_rank_promotion("allow"):  # Keras's
        expected, expected_gradients = with_gradients(of_keras)(weights, x, cotangent)
    got, gradients = with_gradients(of_ours)(weights, x, cotangent)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-5)
    check = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=5e-5)
    jax.tree.map(check, gradients, expected_gradients)


@each(4, 5)
def test_separable_conv_2d(options, padding):
    theirs = keras.layers.SeparableConv2D(4, (3, 2), padding=padding, **options)
    own = SeparableConv(4, (3, 2), padding=padding.upper(), **untyped(ours(options)))
    compare(theirs, own, images(2), ["depthwise_kernel", "pointwise_kernel", "bias"])


@each(2, 4)
def test_separable_conv_1d(options, padding):
    theirs = keras.layers.SeparableConv1D(4, 3, padding=padding, **options)
    own = SeparableConv(4, (3,), padding=padding.upper(), **untyped(ours(options)))
    compare(theirs, own, images(1), ["depthwise_kernel", "pointwise_kernel", "bias"])


@each(4, 5)
def test_depthwise_conv_2d(options, padding):
    theirs = keras.layers.DepthwiseConv2D((3, 2), padding=padding, **options)
    own = DepthwiseConv((3, 2), padding=padding.upper(), **untyped(ours(options)))
    compare(theirs, own, images(2), ["kernel", "bias"])


@PADDINGS
def test_depthwise_conv_1d(padding):
    theirs = keras.layers.DepthwiseConv1D(4, strides=2, depth_multiplier=2, padding=padding)
    own = DepthwiseConv((4,), strides=2, depth_multiplier=2, padding=padding.upper())
    compare(theirs, own, images(1), ["kernel", "bias"])


@pytest.mark.parametrize("m", [1, 7, 8])
def test_parameter_counts(m):
    theirs = keras.layers.SeparableConv2D(64, 3, depth_multiplier=m)
    theirs.build((None, 8, 8, 32))
    assert theirs.count_params() == 2336 * m + 64
