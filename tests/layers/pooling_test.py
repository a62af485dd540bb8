"""Global weighted average pooling: its formula, its initial values, what it sows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcnn import ops
from jaxcnn.layers.pooling import GlobalWeightedAveragePool
from tests.support.selection import daily
from tests.support.untyped import untyped

ACTIVATIONS = ["exp_sigmoid", "softmax", "sigmoid", "softplus", jnp.square]
EACH_KIND = pytest.mark.parametrize("features", [None, 5])
SPECIFIC = pytest.mark.parametrize("features", daily([None, 5], [5]))


def images(*leading) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(*leading, 4, 5, 3)).astype(np.float32)


def trained(layer, x, seed=1):
    """Draws random variables."""
    variables: Any = jax.jit(layer.init)(jax.random.key(0), x)
    rng = np.random.default_rng(seed)
    return {"params": jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), variables["params"])}


@pytest.mark.parametrize("activation", daily(ACTIVATIONS[:4], ACTIVATIONS[1:3]))
@EACH_KIND
def test_starts_as_average_pooling(activation, features):
    x = images(2)
    layer = GlobalWeightedAveragePool(activation=activation, features=features)
    pooled, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    expected = ops.global_average_pool(x)
    if features is not None:
        dense = untyped(variables)["params"]["classifier"]
        expected = expected @ dense["kernel"] + dense["bias"][None]
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)


@EACH_KIND
def test_parameters(features):
    params: Any = GlobalWeightedAveragePool(features=features).init(jax.random.key(0), images(2))["params"]
    k = features or 1
    shapes = {"scorer": {"kernel": (3, k), "bias": (k,)}}
    if features is not None:
        shapes["classifier"] = {"kernel": (3, k), "bias": (k,)}
    assert jax.tree.map(jnp.shape, dict(params)) == shapes


def test_class_agnostic_formula():
    x, layer = images(2), GlobalWeightedAveragePool()
    variables = trained(layer, x)
    scorer = variables["params"]["scorer"]
    w = np.exp(1 / (1 + np.exp(-(x @ np.asarray(scorer["kernel"]) + np.asarray(scorer["bias"])))))
    expected = (w * x).sum((1, 2)) / w.sum((1, 2))
    np.testing.assert_allclose(untyped(layer.apply(variables, x)), expected, rtol=1e-4, atol=1e-5)


def test_class_specific_formula():
    x, layer = images(2), GlobalWeightedAveragePool(features=5, activation="softmax")
    variables = trained(layer, x)
    scores, maps = (
        x @ np.asarray(variables["params"][name]["kernel"]) + np.asarray(variables["params"][name]["bias"])
        for name in ("scorer", "classifier")
    )
    expected = np.stack([(jax.nn.softmax(scores[..., i], (1, 2)) * maps[..., i]).sum((1, 2)) for i in range(5)], -1)
    np.testing.assert_allclose(untyped(layer.apply(variables, x)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@EACH_KIND
def test_sows_weights_and_scores(activation, features):
    x, layer = images(2), GlobalWeightedAveragePool(activation=activation, features=features)
    pooled, sown = layer.apply(trained(layer, x), x, mutable="intermediates")
    sown = {name: values[0] for name, values in untyped(sown)["intermediates"].items()}
    assert sown["weights"].shape == sown["scores"].shape == (2, 4, 5, features or 1)
    np.testing.assert_allclose(sown["weights"].sum((1, 2)), 1.0, rtol=1e-5)
    maps = x if features is None else sown["class_maps"]
    np.testing.assert_allclose((sown["weights"] * maps).sum((1, 2)), pooled, rtol=1e-4, atol=1e-5)


@SPECIFIC
def test_large_scores_do_not_overflow(features):
    x, layer = images(2), GlobalWeightedAveragePool(activation="softmax", features=features)
    variables = jax.tree.map(lambda p: 1e4 * p, trained(layer, x))
    value, gradient = jax.value_and_grad(lambda v: jnp.sum(untyped(layer.apply(v, x))))(variables)
    assert bool(jnp.isfinite(value))
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))


@EACH_KIND
def test_gradient_reaches_every_parameter(features):
    x, layer = images(2), GlobalWeightedAveragePool(features=features)
    gradient = jax.grad(lambda v: jnp.sum(untyped(layer.apply(v, x)) ** 2))(trained(layer, x))
    for g in jax.tree.leaves(gradient):
        assert bool((g != 0).any())


@SPECIFIC
def test_leading_axes_jit_and_vmap(features):
    x, layer = images(2, 3), GlobalWeightedAveragePool(features=features)
    variables = trained(layer, x)
    y: Any = layer.apply(variables, x)
    assert y.shape == (2, 3, features or 3)
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(untyped(layer.apply), (None, 0))(variables, x), y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(untyped(layer.apply(variables, x[1, 2])), y[1, 2], rtol=1e-5, atol=1e-6)


@SPECIFIC
def test_bfloat16(features):
    x = images(2)
    layer = GlobalWeightedAveragePool(features=features)
    half = GlobalWeightedAveragePool(features=features, dtype=jnp.bfloat16)
    variables = trained(layer, x)
    y: Any = half.apply(variables, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), untyped(layer.apply(variables, x)), rtol=0.05, atol=0.05)
    assert untyped(half.init(jax.random.key(0), x))["params"]["scorer"]["kernel"].dtype == jnp.float32


@SPECIFIC
@pytest.mark.parametrize("kind", daily([AxisType.Auto, AxisType.Explicit], [AxisType.Explicit]), ids=str)
def test_sharded_batch(features, kind):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
    x, layer = images(4), GlobalWeightedAveragePool(features=features)
    variables = trained(layer, x)
    gradient = jax.jit(jax.grad(lambda v, x: jnp.sum(untyped(layer.apply(v, x)) ** 2)))
    expected = gradient(variables, x)
    with jax.set_mesh(mesh):
        placed = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        replicated = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
        got = gradient(replicated, placed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


@EACH_KIND
@pytest.mark.nightly
def test_in_nnx(features):
    x, layer = jnp.asarray(images(2)), GlobalWeightedAveragePool(features=features)
    module = nnx.bridge.ToNNX(layer, rngs=nnx.Rngs(0)).lazy_init(x)
    assert module(x).shape == (2, features or 3)
    if features is None:
        np.testing.assert_allclose(module(x), ops.global_average_pool(x), rtol=1e-5, atol=1e-6)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        ({}, images()[0], r"x must be of shape \(\.\.\., h, w, c\)"),
        ({}, images().astype(int), "x must be of a floating dtype"),
        ({}, images()[:0], "x must be at least 1 x 1 pixels"),
        ({"features": 0}, images(), "features must be None or a positive integer"),
        ({"activation": "gelu"}, images(), "activation must be one of"),
        ({"activation": jnp.sum}, images(), "activation must be one that keeps"),
    ],
)
def test_errors(options, x, message):
    with pytest.raises(ValueError, match=f"^GlobalWeightedAveragePool: {message}"):
        GlobalWeightedAveragePool(**options).init(jax.random.key(0), x)
