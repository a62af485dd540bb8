"""Initializers: the variance of kernels, and that of the resulting outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import initializers, ops
from tests.support.untyped import untyped


@pytest.mark.parametrize(
    ("mode", "fan"), [("fan_in", 5 * 3), ("fan_out", 5 * 3 * 4), ("fan_avg", (5 * 3 + 5 * 3 * 4) / 2)]
)
@pytest.mark.parametrize("distribution", ["truncated_normal", "normal", "uniform"])
def test_depthwise_fans(key, mode, fan, distribution):
    init = initializers.depthwise_variance_scaling(2.0, mode=mode, distribution=distribution)
    kernel = init(key, (5, 3, 512, 4), jnp.float32)
    np.testing.assert_allclose(kernel.var(), 2 / fan, rtol=0.05)
    assert abs(kernel.mean()) < 0.01


def test_depthwise_keeps_the_variance(key):
    x = jax.random.normal(jax.random.key(1), (4, 12, 12, 64))
    kernel = initializers.depthwise_variance_scaling(1.0)(key, (3, 3, 64, 2), jnp.float32)
    y = ops.depthwise_conv(x, kernel, padding="VALID")
    np.testing.assert_allclose(y.var(), 1, rtol=0.1)


@pytest.mark.errors
def test_errors():
    with pytest.raises(ValueError, match="scale must be above 0, got -1"):
        initializers.depthwise_variance_scaling(-1.0)
    with pytest.raises(ValueError, match="mode must be one of"):
        initializers.depthwise_variance_scaling(1.0, mode=untyped("fan"))
    with pytest.raises(ValueError, match="distribution must be one of"):
        initializers.depthwise_variance_scaling(1.0, distribution=untyped("gauss"))
