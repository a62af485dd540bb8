"""Every public op, loss, layer and model lowers for all platforms, with its gradients."""

import jax
import jax.numpy as jnp
import pytest

from tests.contract import items
from tests.support.selection import daily


@pytest.mark.parametrize("name", daily(items.FIRST, items.OWN))
def test_lowers_for_every_platform(name):
    item = items.get(name)

    def with_gradients(*arrays):
        value, pullback = jax.vjp(item.function, *arrays)
        return value, pullback(jnp.ones_like(value))

    with item.strict():
        exported = jax.export.export(jax.jit(with_gradients), platforms=("cpu", "cuda", "tpu"))(*item.arrays)
    assert exported.platforms == ("cpu", "cuda", "tpu")
