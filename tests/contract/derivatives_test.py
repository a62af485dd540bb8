"""Every public op, loss, layer and model: both modes of differentiation agree with differences, in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.contract import items
from tests.support.selection import daily

EPSILON = 1e-6  # of the central differences
ITEMS = [name for name in items.NAMES if not name.startswith("models.") or name in items.FIRST]


@pytest.mark.parametrize("name", daily(ITEMS, [*items.ENGINES, "ops.adjust_hue"]))
def test_derivatives_agree_with_differences(name):
    item = items.get(name)
    random = np.random.default_rng(5)
    with jax.enable_x64(True), item.strict():
        wide = jax.tree.map(lambda a: np.asarray(a, np.float64), item.arrays)
        shape = jax.eval_shape(item.function, *wide)
        assert shape.dtype == jnp.float64
        weights = random.standard_normal(shape.shape)
        directions = jax.tree.map(lambda a: random.standard_normal(a.shape), wide)
        point = tuple(wide[position] for position in item.differentiable)

        def total(*chosen):
            given = list(wide)
            for position, array in zip(item.differentiable, chosen, strict=True):
                given[position] = array
            return jnp.vdot(item.function(*given), weights)

        @jax.jit
        def derivatives(point, way):
            """One program for all directions: value, derivative along the direction, gradients."""
            value, forward = jax.jvp(total, point, way)
            return value, forward, jax.grad(total, argnums=tuple(range(len(point))))(*point)

        gradients: Any = ()
        for i, position in enumerate(item.differentiable):
            way = tuple(
                directions[position] if i == j else jax.tree.map(np.zeros_like, array) for j, array in enumerate(point)
            )
            _, forward, gradients = derivatives(point, way)
            reverse = sum(map(np.vdot, jax.tree.leaves(gradients[i]), jax.tree.leaves(way[i])))
            ends = [jax.tree.map(lambda a, d, s=s: a + s * EPSILON * d, point, way) for s in (1, -1)]
            above, below = (derivatives(end, way)[0] for end in ends)
            difference = float(above - below) / (2 * EPSILON)
            np.testing.assert_allclose([forward, reverse], difference, rtol=1e-5, atol=1e-7)
    if not name.startswith(("ops.", "losses.")) and item.differentiable[0] == 0:
        reached = jax.tree_util.tree_leaves_with_path(gradients[0])
        lost = [jax.tree_util.keystr(path) for path, gradient in reached if not np.any(gradient)]
        assert not lost, f"no gradient reaches {lost}"
