"""Every public op, loss, layer and model with and without jit, and on several devices by pmap."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.contract import items
from tests.contract.compare import close
from tests.support.compilations import counted_compilations
from tests.support.selection import daily

ONE_OF_EACH_PRIMITIVE = ("ops.conv[0]", "ops.depthwise_conv[0]", "ops.grid_sample[0]", "ops.max_pool[0]")


@pytest.mark.parametrize("name", daily(items.NAMES, items.DAILY))
def test_traced_once_per_shape(name):
    item, function = items.get(name), items.compiled(name)
    with item.strict():
        first = function(*item.arrays)
        traces = items.TRACES[name]
        other = jax.tree.map(lambda a: np.asarray(a * np.float32(0.9)), item.arrays)
        second = function(*other)
    assert items.TRACES[name] == traces, "traced anew for other values"
    chex.assert_trees_all_equal_shapes_and_dtypes(first, second)
    chex.assert_tree_all_finite((first, second))


@pytest.mark.parametrize("name", daily(items.FIRST, ONE_OF_EACH_PRIMITIVE))
def test_without_jit(name):
    item = items.get(name)
    with item.strict():
        arrays = jax.tree.map(jnp.asarray, item.arrays)
        close(item.function(*arrays), items.compiled(name)(*arrays))


LOOPS = ("ops.grid_sample[5]", "ops.linearized_grid_sample")


@pytest.mark.parametrize("name", daily(items.NAMES, (*ONE_OF_EACH_PRIMITIVE, *LOOPS)))
def test_without_jit_nothing_is_compiled_twice(name):
    """A loop or branch over a function made in the call would be a new program every time, and stay in memory."""
    item = items.get(name)
    with item.strict():
        arrays = jax.tree.map(jnp.asarray, item.arrays)
        item.function(*arrays)
        with counted_compilations() as compiled:
            item.function(*arrays)
    assert not compiled


@pytest.mark.parametrize("name", daily(items.FIRST, ONE_OF_EACH_PRIMITIVE))
def test_pmap(name):
    """Every device has a batch of its own."""
    item = items.get(name)
    arrays = item.loop_arrays()
    with item.strict():
        got = jax.pmap(item.function, in_axes=item.axes, devices=jax.devices()[:2])(*arrays)
        close(got, np.stack([items.compiled(name)(*item.member(arrays, i)) for i in range(2)]))
