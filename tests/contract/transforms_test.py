"""Every public op, layer and model under jit, pmap, vmap, grad, jvp, in bfloat16, and lowered for all platforms."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from tests.contract import items

NAMES = items.NAMES
EPSILON = 1e-6  # of the central differences, in float64


def close(got, want, tolerance=1e-5):
    """Compares trees by max|difference| / max|reference|."""
    for value, true in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        value, true = np.asarray(value, np.float64), np.asarray(true, np.float64)
        np.testing.assert_allclose(value, true, rtol=0, atol=tolerance * max(np.abs(true).max(), 1e-3))


class VariantsTest(chex.TestCase):
    @chex.variants(without_jit=True, with_pmap=True)
    @parameterized.parameters(*items.FIRST)
    def test_same_as_under_jit(self, name):
        item = items.get(name)
        with item.strict():
            arrays = jax.tree.map(jnp.asarray, item.arrays)
            close(self.variant(item.function, n_devices=2)(*arrays), jax.jit(item.function)(*arrays))


@pytest.mark.parametrize("name", NAMES)
def test_traced_once_per_shape(name):
    item = items.get(name)
    chex.clear_trace_counter()
    with item.strict():
        jitted = jax.jit(chex.assert_max_traces(lambda *arrays: item.function(*arrays), n=1))
        first = jitted(*item.arrays)
        other = jax.tree.map(lambda a: np.asarray(a * np.float32(0.9)), item.arrays)
        second = jitted(*other)
    chex.assert_trees_all_equal_shapes_and_dtypes(first, second)
    chex.assert_tree_all_finite((first, second))


@pytest.mark.parametrize("name", NAMES)
def test_vmap_is_loop(name):
    item = items.get(name)
    arrays = item.loop_arrays()
    axes = tuple(0 if batched else None for batched in item.batched)
    with item.strict():
        got = jax.jit(jax.vmap(item.function, axes))(*arrays)
        single = jax.jit(item.function)
        members = [[a[i] if b else a for a, b in zip(arrays, item.batched, strict=True)] for i in range(2)]
        want = np.stack([single(*member) for member in members])
    close(got, want)


@pytest.mark.parametrize("name", NAMES)
def test_empty_batch_gives_an_empty_result(name):
    item = items.get(name)
    whole = jax.eval_shape(item.function, *item.arrays)
    arrays = [jax.tree.map(lambda a: a[:0], a) if b else a for a, b in zip(item.arrays, item.batched, strict=True)]
    with item.strict():
        result = jax.jit(item.function)(*arrays)
    assert (result.shape, result.dtype) == ((0, *whole.shape[1:]), whole.dtype)


@pytest.mark.parametrize("name", [name for name in NAMES if name[:6] != "models" or name in items.FIRST])
def test_derivatives_agree_with_differences(name):
    item = items.get(name)
    random = np.random.default_rng(5)
    with jax.enable_x64(True), item.strict():
        wide = jax.tree.map(lambda a: np.asarray(a, np.float64), item.arrays)
        shape = jax.eval_shape(item.function, *wide)
        assert shape.dtype == jnp.float64
        weights = random.standard_normal(shape.shape)
        directions = jax.tree.map(lambda a: random.standard_normal(a.shape), wide)

        @jax.jit
        def compare(arrays, directions):
            def total(*chosen):
                given = list(arrays)
                for position, array in zip(item.differentiable, chosen, strict=True):
                    given[position] = array
                return jnp.vdot(item.function(*given), weights)

            point = tuple(arrays[position] for position in item.differentiable)
            gradients = jax.grad(total, argnums=tuple(range(len(point))))(*point)
            found = []
            for i, position in enumerate(item.differentiable):
                way = [jax.tree.map(jnp.zeros_like, array) for array in point]
                way[i] = directions[position]
                forward = jax.jvp(total, point, tuple(way))[1]
                reverse = sum(map(jnp.vdot, jax.tree.leaves(gradients[i]), jax.tree.leaves(way[i])))
                ends = [jax.tree.map(lambda a, d, s=s: a + s * EPSILON * d, point, tuple(way)) for s in (1, -1)]
                found.append((forward, reverse, (total(*ends[0]) - total(*ends[1])) / (2 * EPSILON)))
            return found, gradients

        found, gradients = compare(wide, directions)
        for forward, reverse, difference in found:
            np.testing.assert_allclose([forward, reverse], float(difference), rtol=1e-5, atol=1e-7)
    if not name.startswith(("ops.", "losses.")) and item.differentiable[0] == 0:
        reached = jax.tree_util.tree_leaves_with_path(gradients[0])
        lost = [jax.tree_util.keystr(path) for path, gradient in reached if not np.any(gradient)]
        assert not lost, f"no gradient reaches {lost}"


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16(name):
    item = items.get(name)
    with item.strict():
        function = jax.jit(item.function)
        if item.bfloat16 is None:
            narrow = jax.tree.map(lambda a: a.astype(jnp.bfloat16), item.arrays)
            rounded = jax.tree.map(lambda a: a.astype(np.float32), narrow)
            got, want = function(*narrow), function(*rounded)
        else:
            got, want = jax.jit(item.bfloat16)(*item.arrays), function(*item.arrays)
    # Coordinates and losses stay float32 at least.
    coordinates = r"ops\.(?!apply_color)(\w+_(grid|matrix)|(apply|compose|invert|fit)_\w+)(\[\d+\])?"
    wide = re.fullmatch(coordinates, name) or name.startswith("losses.")
    assert got.dtype == (jnp.float32 if wide else jnp.bfloat16)
    chex.assert_tree_all_finite(got)
    close(got, want, 0.1 if item.bfloat16 else 0.02)


@pytest.mark.parametrize("name", items.FIRST)
def test_lowers_for_every_platform(name):
    item = items.get(name)

    def with_gradients(*arrays):
        value, pullback = jax.vjp(item.function, *arrays)
        return value, pullback(jnp.ones_like(value))

    with item.strict():
        exported = jax.export.export(jax.jit(with_gradients), platforms=("cpu", "cuda", "tpu"))(*item.arrays)
    assert exported.platforms == ("cpu", "cuda", "tpu")
