"""linearized_grid_sample: values of grid_sample, slopes of planes, both ranks, meshes, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from tests.support.selection import daily, daily_cases


def case(d=2, seed=0):
    rng = np.random.default_rng(seed)
    image = jnp.asarray(rng.normal(size=(2, *(6, 7, 5)[:d], 3)), jnp.float32)
    grid = jnp.asarray(rng.uniform(-1.2, 1.2, (2, *(3, 4, 2)[:d], d)), jnp.float32)
    return image, grid, jnp.asarray(rng.normal(scale=0.3, size=(8, d)), jnp.float32)


@pytest.mark.parametrize("d", daily([2, 3], [2]))
def test_values_and_image_gradient_are_those_of_grid_sample(d):
    image, grid, offsets = case(d)
    for options in ({"padding_mode": "border", "align_corners": True}, {"padding_mode": "fill", "fill_value": 2.0}):
        ours = lambda i, o=options: ops.linearized_grid_sample(i, grid, offsets, **o)
        plain = lambda i, o=options: ops.grid_sample(i, grid, **o)
        np.testing.assert_allclose(jax.jit(ours)(image), jax.jit(plain)(image), atol=1e-6)
        gradients = [jax.jit(jax.grad(lambda i, f=f: jnp.sum(f(i) ** 2)))(image) for f in (ours, plain)]
        np.testing.assert_allclose(*gradients, atol=1e-5)


@pytest.mark.parametrize(("d", "each"), daily_cases([(2, False), (2, True), (3, False), (3, True)], [(2, True)]))
def test_the_gradient_is_the_slope_of_the_plane_by_least_squares(d, each):
    image, grid, offsets = case(d)
    image, grid = image[0], grid[0]
    if each:
        offsets = jnp.asarray(np.random.default_rng(1).normal(scale=0.3, size=(*grid.shape[:-1], 8, d)), jnp.float32)
    jacobian = jax.jit(jax.jacfwd(lambda g: ops.linearized_grid_sample(image, g, offsets)))(grid)
    sample = jax.jit(ops.grid_sample)
    here = sample(image, grid)
    around = np.broadcast_to(offsets, (*grid.shape[:-1], 8, d))
    for point in np.ndindex(grid.shape[:-1]):
        shifted = (np.asarray(grid[point]) + around[point]).reshape(*(1,) * (d - 1), 8, d)
        steps = np.asarray(sample(image, shifted)).reshape(8, 3) - np.asarray(here[point])
        slope = np.linalg.lstsq(around[point], steps, rcond=None)[0]
        row = np.asarray(jacobian)[point]  # (c, *out, d)
        np.testing.assert_allclose(row[(slice(None), *point)], slope.T, atol=2e-3)
        assert np.count_nonzero(row) <= slope.size  # no other point contributes


def test_a_plane_has_its_own_slope():
    y, x = np.mgrid[:9, :9] / 4 - 1
    plane = jnp.asarray(3 * x - 2 * y, jnp.float32)[..., None]
    grid, offsets = jnp.zeros((2, 2, 2)), jnp.array([[0.3, 0.1], [-0.2, 0.4], [0.1, -0.5]])
    read = lambda g: ops.linearized_grid_sample(plane, g, offsets, align_corners=True).sum()
    np.testing.assert_allclose(jax.jit(jax.grad(read))(grid), np.broadcast_to([3, -2], (2, 2, 2)), atol=1e-4)


def test_pixels_that_only_the_extra_samples_read_do_not_affect_the_values():
    image = jnp.ones((16, 16, 1)).at[9, 12].set(jnp.inf)
    grid, offsets = jnp.array([[[0.1, 0.1], [jnp.inf, 0.0]]]), jnp.array([[-0.5, 0.1], [0.5, 0.1], [0.5, -0.4]])
    both = jax.jit(lambda i, g, o: (ops.linearized_grid_sample(i, g, o), ops.grid_sample(i, g)))
    np.testing.assert_array_equal(*both(image, grid, offsets))


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (jnp.ones((1, 2)), "offsets must be at least 2 points"),
        (jnp.ones((4, 3)), r"offsets must be of shape \(k, 2\) or \(3, 4, k, 2\), got float32\(4, 3\)"),
        (jnp.ones((2, 4, 8, 2)), "offsets must be of shape"),
        (jnp.ones((4, 2), jnp.int32), "offsets must be of a floating dtype"),
    ],
)
def test_errors(offsets, message):
    image, grid, _ = case()
    with pytest.raises(ValueError, match=message):
        ops.linearized_grid_sample(image, grid, offsets)
