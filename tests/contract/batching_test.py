"""Every public op, loss, layer and model under vmap, and of no examples at all."""

import jax
import numpy as np
import pytest

from tests.contract import items
from tests.contract.compare import close
from tests.support.selection import daily


@pytest.mark.parametrize("name", daily(items.NAMES, items.ENGINES))
def test_vmap_is_loop(name):
    item = items.get(name)
    arrays = item.loop_arrays()
    with item.strict():
        got = jax.jit(jax.vmap(item.function, item.axes))(*arrays)
        want = np.stack([items.compiled(name)(*item.member(arrays, i)) for i in range(2)])
    close(got, want)


@pytest.mark.parametrize("name", daily(items.NAMES, items.ENGINES))
def test_empty_batch_gives_an_empty_result(name):
    item = items.get(name)
    whole = jax.eval_shape(item.function, *item.arrays)
    arrays = [jax.tree.map(lambda a: a[:0], a) if b else a for a, b in zip(item.arrays, item.batched, strict=True)]
    with item.strict():
        result = jax.jit(item.function)(*arrays)
    assert (result.shape, result.dtype) == ((0, *whole.shape[1:]), whole.dtype)
