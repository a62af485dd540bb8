"""Sampling grids: where points land, degenerate transforms, gradients, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxcnn import ops
from tests.support.selection import daily
from tests.support.untyped import untyped

REGULAR = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 4)), -1).reshape(16, 2).astype(np.float32)


def test_affine_grid_moves_points_as_the_matrix_does():
    theta = np.array([[0.5, -0.25, 0.1], [0.3, 2.0, -0.4]], np.float32)
    grid = ops.affine_grid(theta, (3, 5), align_corners=True)
    np.testing.assert_allclose(grid[2, 4], theta @ [1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(grid[0, 2], theta @ [0, -1, 1], atol=1e-6)


def test_projective_grid_divides_by_w_and_ignores_a_positive_factor():
    matrix = np.array([[1, 0.1, 0.2], [0, 1.2, -0.1], [0.2, -0.3, 1]], np.float32)
    grid = ops.projective_grid(matrix, (3, 5), align_corners=True)
    u, v, w = matrix @ [1, 1, 1]
    np.testing.assert_allclose(grid[2, 4], [u / w, v / w], rtol=1e-6)
    np.testing.assert_allclose(ops.projective_grid(matrix * 1e-10, (3, 5), align_corners=True), grid, rtol=1e-5)


def test_an_affine_matrix_as_a_projective_one_makes_the_same_grid():
    theta = np.array([[0.5, -0.25, 0.1], [0.3, 2.0, -0.4]], np.float32)
    matrix = np.concatenate([theta, [[0, 0, 1]]]).astype(np.float32)
    np.testing.assert_allclose(ops.projective_grid(matrix, (4, 3)), ops.affine_grid(theta, (4, 3)), atol=1e-6)


def test_points_behind_the_horizon_lie_outside_with_a_finite_gradient():
    matrix = jnp.array([[1.0, 0, 0], [0, 1.0, 0], [-2.0, 0, 0]])  # w = -2x: the right half is behind, x = 0 on it
    grid = ops.projective_grid(matrix, (1, 3))
    np.testing.assert_array_equal(grid[0, 1:], np.full((2, 2), 1000.0))
    assert np.abs(grid[0, 0]).max() < 1
    image = jnp.ones((2, 3, 1))
    sample = jax.jit(lambda m: ops.grid_sample(image, ops.projective_grid(m, (1, 3))))
    np.testing.assert_array_equal(sample(matrix)[0, 1:, 0], [0, 0])
    assert np.all(np.isfinite(jax.jit(jax.grad(lambda m: sample(m).sum()))(matrix)))
    np.testing.assert_array_equal(sample(jnp.zeros((3, 3))), np.zeros((1, 3, 1)))


def test_nan_in_a_projective_matrix_reaches_the_points_that_depend_on_it():
    assert np.all(np.isnan(ops.projective_grid(jnp.eye(3) * jnp.nan, (2, 2))))
    # Of row x only x; of row w both, also where w would else be behind the horizon.
    for row, touched in ((0, [True, False]), (1, [False, True]), (2, [True, True])):
        for column in range(3):
            matrix = jnp.eye(3).at[row, column].set(jnp.nan)
            np.testing.assert_array_equal(np.isnan(ops.projective_grid(matrix, (2, 3))), np.full((2, 3, 2), touched))
    half = jnp.array([[1.0, 0, 0], [jnp.nan, 1.0, 0], [-2.0, 0, 0]])  # what lies behind is not looked at
    grid = ops.projective_grid(half, (1, 3))
    np.testing.assert_array_equal(np.isnan(grid[0]), [[False, True], [False, False], [False, False]])


def test_tps_passes_through_its_points():
    points = REGULAR + np.random.default_rng(0).normal(scale=0.1, size=(16, 2)).astype(np.float32)
    grid = ops.tps_grid(points, (4, 4), align_corners=True)
    np.testing.assert_allclose(grid.reshape(16, 2), points, atol=1e-5)


def test_tps_of_an_affine_map_is_that_map():
    theta = np.array([[0.5, -0.25, 0.1], [0.3, 1.5, -0.4]], np.float32)
    points = np.concatenate([REGULAR, np.ones((16, 1))], 1).astype(np.float32) @ theta.T
    np.testing.assert_allclose(ops.tps_grid(points, (7, 5)), ops.affine_grid(theta, (7, 5)), atol=1e-5)


def test_tps_with_custom_control_points_concrete_or_traced():
    rng = np.random.default_rng(1)
    control = rng.uniform(-1, 1, size=(6, 2)).astype(np.float32)
    points = (control + rng.normal(scale=0.1, size=(6, 2))).astype(np.float32)
    known = ops.tps_grid(points, (5, 5), control_points=control)
    traced = jax.jit(lambda p, c: ops.tps_grid(p, (5, 5), control_points=c))(points, control)
    np.testing.assert_allclose(known, traced, atol=1e-4)
    gradient = jax.jit(jax.grad(lambda c: ops.tps_grid(points, (3, 3), control_points=c).sum()))(control)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_traced_control_points_that_are_degenerate_give_nan(dtype):
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        grid = jax.jit(jax.vmap(lambda c: ops.tps_grid(jnp.asarray(REGULAR[:8], dtype), (3, 3), control_points=c)))
        t, angle = rng.uniform(-1, 1, (50, 8, 1)), rng.uniform(0, np.pi, (50, 1, 1))
        lines = t * np.concatenate([np.cos(angle), np.sin(angle)], -1) + rng.uniform(-1, 1, (50, 1, 2))
        assert np.all(np.isnan(grid(jnp.asarray(lines, dtype))))
        regular = rng.uniform(-1, 1, (50, 8, 2))
        repeated = regular.copy()
        repeated[:, 5] = repeated[:, 2]
        assert np.all(np.isnan(grid(jnp.asarray(repeated, dtype))))
        assert np.all(np.isnan(grid(jnp.full((1, 8, 2), jnp.nan, dtype))))
        for unit in (1e-3, 1.0, 1e3):
            assert np.all(np.isfinite(grid(jnp.asarray(unit * regular, dtype))))
        flat = regular * [1, 1e-3] + [0, 0.5]  # thin, yet no line
        assert np.all(np.isfinite(grid(jnp.asarray(flat, dtype))))


def test_regularization_may_be_traced():
    points = REGULAR + np.random.default_rng(0).normal(scale=0.2, size=(16, 2)).astype(np.float32)
    grid = lambda r, control=REGULAR: ops.tps_grid(points, (3, 4), regularization=r, control_points=control)
    known = grid(0.1)
    np.testing.assert_allclose(jax.jit(grid)(0.1), known, atol=1e-4)
    np.testing.assert_allclose(grid(jnp.float32(0.1)), known, atol=1e-4)
    np.testing.assert_allclose(jax.jit(grid)(0.1, REGULAR), known, atol=1e-4)
    with jax.enable_x64(True):
        total = lambda r: jnp.sum(
            ops.tps_grid(points.astype(np.float64), (3, 4), regularization=untyped(r))[..., 0] ** 2
        )
        check_grads(jax.jit(total), (0.1,), order=1, modes=("fwd", "rev"))


def test_regularization_reduces_bending():
    points = REGULAR + np.random.default_rng(0).normal(scale=0.2, size=(16, 2)).astype(np.float32)
    miss = [
        float(jnp.abs(ops.tps_grid(points, (4, 4), regularization=r, align_corners=True).reshape(16, 2) - points).max())
        for r in (0.0, 0.1, 10.0)
    ]
    assert miss[0] < 1e-5 < miss[1] < miss[2]


@pytest.mark.parametrize("align_corners", daily([False, True], [False]))
def test_flow_of_one_pixel_reads_the_neighbor(align_corners):
    image = jnp.arange(12.0).reshape(3, 4, 1)
    flow = jnp.broadcast_to(jnp.array([1.0, -1.0]), (3, 4, 2))
    grid = ops.flow_grid(flow, align_corners=align_corners)
    result = ops.grid_sample(image, grid, align_corners=align_corners)
    np.testing.assert_allclose(result[1:, :-1], image[:-1, 1:], atol=1e-4)


@pytest.mark.nightly
def test_second_derivatives_of_all_grids():
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        matrix = jnp.asarray(np.eye(3) + 0.1 * rng.normal(size=(3, 3)))
        checks = [
            (lambda t: ops.affine_grid(t, (3, 2)), matrix[:2]),
            (lambda m: ops.projective_grid(m, (3, 2)), matrix),
            (lambda p: ops.tps_grid(p, (3, 2)), jnp.asarray(REGULAR + 0.1 * rng.normal(size=(16, 2)))),
            (ops.flow_grid, jnp.asarray(rng.normal(size=(3, 2, 2)))),
        ]
        for function, argument in checks:
            check_grads(jax.jit(function), (argument,), order=2, modes=("fwd", "rev"))


LINE = np.stack([np.linspace(-1, 1, 4), np.linspace(-1, 1, 4)], -1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ops.affine_grid(jnp.ones((3, 3)), (2, 2)),
            r"theta must be of shape \(..., 2, 3\) or \(..., 3, 4\), got float32\(3, 3\)",
        ),
        (lambda: ops.affine_grid(jnp.ones((2, 3), int), (2, 2)), "theta must be of a floating dtype"),
        (
            lambda: ops.affine_grid(jnp.ones((2, 3)), (0, 2)),
            r"shape must be \(h, w\) of positive integers, got \(0, 2\)",
        ),
        (lambda: ops.affine_grid(jnp.ones((2, 3)), (2, 2, 2)), "shape must be"),
        (lambda: ops.affine_grid(jnp.ones((2, 3)), untyped(5)), "shape must be"),
        *[
            (
                lambda s=shape: ops.affine_grid(jnp.ones((2, 3)), untyped(s)),
                "affine_grid: shape must be .*positive integers, got",
            )
            for shape in ("ab", (np.nan, 3), (np.inf, 3), (True, 3), (2.5, 3), ("2", 3), None)
        ],
        (
            lambda: ops.affine_grid(untyped("theta"), (2, 2)),
            "affine_grid: theta must be an array of numbers, got 'theta'",
        ),
        (lambda: ops.flow_grid(untyped(None)), "flow_grid: flow must be an array of numbers, got None"),
        (lambda: ops.projective_grid(jnp.ones((2, 3)), (2, 2)), r"matrix must be of shape \(..., 3, 3\)"),
        (lambda: ops.tps_grid(jnp.ones((5, 2)), (2, 2)), "points must be a square number.*got k=5"),
        (lambda: ops.tps_grid(jnp.ones((2, 2)), (2, 2)), "k >= 3"),
        (lambda: ops.tps_grid(jnp.ones((4, 2)), (2, 2), control_points=LINE), "must be not on one line"),
        (lambda: ops.tps_grid(jnp.ones((4, 2)), (2, 2), control_points=LINE[[0, 1, 1, 2]]), "must be distinct"),
        (
            lambda: ops.tps_grid(jnp.ones((4, 2)), (2, 2), control_points=LINE[:3]),
            r"control_points must be of shape \(4",
        ),
        (
            lambda: ops.tps_grid(jnp.ones((4, 2)), (2, 2), regularization=-1.0),
            "regularization must be a number >= 0, got -1.0",
        ),
        *[
            (
                lambda r=r: ops.tps_grid(jnp.ones((4, 2)), (2, 2), regularization=untyped(r)),
                "tps_grid: regularization must be",
            )
            for r in ("a", None, np.nan, np.inf, np.ones(2), True)
        ],
        (lambda: ops.tps_grid(jnp.ones((4, 2)), (2, 2), control_points=LINE * np.nan), "control_points must be finite"),
        (
            lambda: ops.tps_grid(jnp.ones((4, 2)), (2, 2), control_points=untyped("ab")),
            "control_points must be an array",
        ),
        (lambda: ops.flow_grid(jnp.ones((4, 4, 3))), r"flow must be of shape \(..., h, w, 2\)"),
        (lambda: ops.flow_grid(jnp.ones((0, 4, 2))), "at least 1 x 1 points"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
