"""Every public op, loss, layer and model in bfloat16."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.contract import items
from tests.contract.compare import close
from tests.support.selection import daily


@pytest.mark.parametrize("name", daily(items.NAMES, items.ENGINES))
def test_bfloat16(name):
    item = items.get(name)
    with item.strict():
        if item.bfloat16 is None:
            narrow = jax.tree.map(lambda a: a.astype(jnp.bfloat16), item.arrays)
            rounded = jax.tree.map(lambda a: a.astype(np.float32), narrow)
            got, want = jax.jit(item.function)(*narrow), items.compiled(name)(*rounded)
        else:
            got, want = jax.jit(item.bfloat16)(*item.arrays), items.compiled(name)(*item.arrays)
    # Coordinates and losses stay float32 at least.
    coordinates = r"ops\.(?!apply_color)(\w+_(grid|matrix)|(apply|compose|invert|fit)_\w+)(\[\d+\])?"
    wide = re.fullmatch(coordinates, name) or name.startswith("losses.")
    assert got.dtype == (jnp.float32 if wide else jnp.bfloat16)
    chex.assert_tree_all_finite(got)
    close(got, want, 0.1 if item.bfloat16 else 0.02)
