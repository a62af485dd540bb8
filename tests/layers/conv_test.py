"""``layers.Conv`` against Flax's ``nn.Conv``."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import layers
from tests.support.selection import daily_cases
from tests.support.untyped import untyped

CASES = {
    "pointwise": ((2, 6, 7, 5), (1, 1), {}),
    "pointwise, strides": ((2, 6, 7, 5), (1, 1), {"strides": (2, 3)}),
    "pointwise, same and strides": ((2, 6, 7, 5), (1, 1), {"strides": 2, "padding": "SAME", "use_bias": False}),
    "pointwise, padded": ((2, 6, 7, 5), (1, 1), {"padding": 1}),
    "pointwise, spread": ((2, 6, 7, 5), (1, 1), {"input_dilation": 2, "padding": 0}),
    "pointwise, groups": ((2, 6, 7, 6), (1, 1), {"feature_group_count": 3}),
    "pointwise, 1-D": ((2, 3, 7, 5), (1,), {"padding": "CAUSAL"}),
    "pointwise, 3-D": ((4, 3, 5, 2), (1, 1, 1), {"strides": (1, 2, 1), "padding": "REFLECT"}),
    "pointwise, no batch": ((6, 7, 5), (1, 1), {"padding": [(0, 0), (0, 0)]}),
    "pointwise, bfloat16": ((2, 6, 7, 5), (1, 1), {"dtype": jnp.bfloat16}),
    "plane": ((2, 6, 7, 4), (3, 2), {"strides": 2, "kernel_dilation": 2, "feature_group_count": 2}),
    "circular": ((2, 6, 7, 4), (3, 3), {"padding": "CIRCULAR"}),
    "masked": ((2, 6, 7, 4), (1, 1), {"mask": jnp.tri(4, 6)[None, None], "precision": "highest"}),
}


@pytest.mark.parametrize(
    ("shape", "kernel", "options"), daily_cases(CASES.values(), list(CASES.values())[::2]), ids=CASES
)
def test_equals_flax(shape, kernel, options):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    ours, theirs = (kind(6, kernel, **options) for kind in (layers.Conv, nn.Conv))
    variables = ours.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, theirs.init(jax.random.key(0), x))

    def with_gradients(layer):
        value, pull = jax.vjp(lambda v, x: layer.apply(v, x), variables, x)
        return value, pull(jnp.cos(jnp.arange(value.size)).reshape(value.shape).astype(value.dtype))

    tolerance = 2e-2 if options.get("dtype") == jnp.bfloat16 else 1e-5
    found, expected = (jax.jit(functools.partial(with_gradients, layer))() for layer in (ours, theirs))

    def close(got, wanted):
        assert got.shape == wanted.shape and got.dtype == wanted.dtype
        got, wanted = (np.asarray(a, np.float64) for a in (got, wanted))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * (1 + np.abs(wanted).max()))

    jax.tree.map(close, found, expected)


@pytest.mark.parametrize("strides", [1, 2])
def test_pointwise_convolutions_are_products_also_when_mapped_over_kernels(strides):
    layer, x = layers.Conv(6, (1, 1), strides=strides), jnp.ones((2, 6, 7, 5))
    keys = jax.random.split(jax.random.key(0), 3)
    variables = jax.vmap(layer.init, (0, None))(keys, x)
    loss = lambda variables, x: jnp.sum(untyped(layer.apply(variables, x)) ** 2)
    program = jax.jit(jax.vmap(jax.grad(loss, (0, 1)), (0, None))).lower(variables, x).as_text()
    assert "convolution" not in program and "dot_general" in program


def test_names_are_those_of_flax():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layers.Conv(3, (1, 1))(layers.Conv(2, (3, 3))(x))

    variables = jax.eval_shape(Net().init, jax.random.key(0), jnp.ones((1, 4, 4, 1)))
    assert set(variables["params"]) == {"Conv_0", "Conv_1"}
