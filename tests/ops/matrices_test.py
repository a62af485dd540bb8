"""Matrices and splines: composition and inversion as warps see them, fits from point pairs, precision, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxcnn import ops
from jaxcnn.ops._sampling import pixel_matrices
from tests.support.selection import daily, daily_cases

REGULAR = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 4)), -1).reshape(16, 2)


def affine(seed=0, d=2):
    return jnp.asarray(np.eye(d, d + 1) + np.random.default_rng(seed).uniform(-0.3, 0.3, (d, d + 1)), jnp.float32)


def projective(seed=0):
    return jnp.asarray(np.eye(3) + np.random.default_rng(seed).uniform(-0.15, 0.15, (3, 3)), jnp.float32)


def points(*shape, seed=1, d=2):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (*shape, d)), jnp.float32)


@pytest.mark.parametrize("pair", ["affine", "projective", "mixed", "volume"])
def test_composition_maps_points_one_after_the_other(pair):
    first, second = {
        "affine": (affine(0), affine(1)),
        "projective": (projective(0), projective(1)),
        "mixed": (affine(0), projective(1)),
        "volume": (affine(0, 3), affine(1, 3)),
    }[pair]
    p = points(7, d=first.shape[1] - 1)
    both = ops.compose_matrices(first, second)
    assert both.shape == (second.shape if pair == "mixed" else first.shape)
    expected = ops.apply_matrix(first, ops.apply_matrix(second, p))
    np.testing.assert_allclose(ops.apply_matrix(both, p), expected, atol=1e-5)


def test_composition_is_one_warp_instead_of_two():
    y, x = np.mgrid[:48, :40] / 40
    smooth = jnp.asarray(np.sin(3 * x + 2 * y)[..., None] + 2, jnp.float32)
    first, second = affine(0) * 0.6, affine(1) * 0.6  # stay inside
    twice = ops.warp_affine(ops.warp_affine(smooth, first), second)
    once = ops.warp_affine(smooth, ops.compose_matrices(first, second))
    np.testing.assert_allclose(once, twice, atol=1e-2)
    assert jnp.abs(once - ops.warp_affine(smooth, ops.compose_matrices(second, first))).max() > 0.1


@pytest.mark.parametrize("matrix", [affine(), affine(0, 3), projective()])
def test_inverse(matrix):
    d = matrix.shape[1] - 1
    inverse, p = ops.invert_matrix(matrix), points(9, d=d)
    assert inverse.shape == matrix.shape
    np.testing.assert_allclose(ops.apply_matrix(inverse, ops.apply_matrix(matrix, p)), p, atol=1e-5)
    square = np.eye(d + 1, dtype=np.float32)
    square[: matrix.shape[0]] = matrix
    true = np.linalg.inv(square.astype(np.float64))
    np.testing.assert_allclose(inverse, true[: matrix.shape[0]], atol=1e-5)


def test_the_inverse_of_a_mirrored_homography_keeps_points_before_the_horizon():
    mirror = projective() @ jnp.diag(jnp.array([-1.0, 1.0, 1.0]))
    p = points(5)
    np.testing.assert_allclose(ops.apply_matrix(ops.invert_matrix(mirror), ops.apply_matrix(mirror, p)), p, atol=1e-5)


@pytest.mark.parametrize("d", daily([2, 3], [3]))
def test_an_affine_fit_finds_the_matrix(d):
    theta, p = affine(3, d), points(5, 8, d=d)
    fit = lambda theta, p: ops.fit_affine(p, ops.apply_matrix(theta, p))
    found, exact = jax.jit(lambda theta, p: (fit(theta, p), fit(theta, p[0, : d + 1])))(theta, p)
    np.testing.assert_allclose(found, np.broadcast_to(theta, found.shape), atol=1e-5)
    np.testing.assert_allclose(exact, theta, atol=1e-4)


def test_an_affine_fit_solves_least_squares_wherever_the_points_lie():
    rng = np.random.default_rng(0)
    p, q = rng.uniform(size=(12, 2)) + 1000, rng.uniform(size=(12, 2)) * 3 - 500
    expected = np.linalg.lstsq(np.concatenate([p, np.ones((12, 1))], 1), q, rcond=None)[0]
    fit_and_apply = jax.jit(lambda p, q: ops.apply_matrix(ops.fit_affine(p, q), p))
    mapped = fit_and_apply(p.astype(np.float32), q.astype(np.float32))
    np.testing.assert_allclose(mapped, np.concatenate([p, np.ones((12, 1))], 1) @ expected, atol=2e-3)


@pytest.mark.parametrize("count", daily([4, 10], [10]))
@pytest.mark.parametrize("seed", daily(range(5), [0]))
def test_a_homography_fit_finds_the_matrix(count, seed):
    matrix, p = projective(seed), points(count, seed=seed + 10)
    if count == 4:
        p = jnp.asarray([[-1.0, -1.0], [1, -1], [1, 1], [-1, 1]]) + 0.3 * p
    probe = points(6, seed=99) * 0.8

    @jax.jit
    def fit(matrix, p):
        found = ops.fit_homography(p, ops.apply_matrix(matrix, p))
        return found, ops.apply_matrix(found, probe), ops.apply_matrix(matrix, probe)

    found, mapped, expected = fit(matrix, p)
    np.testing.assert_allclose(mapped, expected, atol=1e-4)
    w = np.asarray(found) @ np.array([*np.mean(p, 0), 1.0])
    np.testing.assert_allclose(w[2], 1, atol=1e-5)


def test_a_fitted_homography_warps_a_marked_square_onto_the_frame():
    corners = jnp.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    marked = jnp.array([[-0.5, -0.6], [0.6, -0.4], [0.5, 0.5], [-0.4, 0.6]])
    warp = jax.jit(lambda p, q: ops.projective_grid(ops.fit_homography(p, q), (5, 5), align_corners=True))
    grid = warp(corners, marked)
    found = grid[jnp.array([0, 0, -1, -1]), jnp.array([0, -1, -1, 0])]
    np.testing.assert_allclose(found, marked, atol=1e-5)


@pytest.mark.parametrize(
    ("known", "count"), daily_cases([(True, 4), (False, 4), (True, 20), (False, 20)], [(False, 4)])
)
def test_a_spline_of_16_points_is_accurate_in_float32(known, count):
    rng = np.random.default_rng(0)
    worst = 0.0
    fit = lambda p, c: ops.apply_tps(ops.fit_tps(p, c), c, points(200, seed=5))
    meet = jax.jit(lambda p, c: ops.apply_tps(ops.fit_tps(p, c), c, c))
    jitted = jax.jit(fit)
    for _ in range(count):
        control = (REGULAR + rng.uniform(-0.2, 0.2, (16, 2))).astype(np.float32)
        moved = (control @ rng.uniform(-1, 1, (2, 2)) + rng.normal(scale=0.2, size=(16, 2))).astype(np.float32)
        found = fit(jnp.asarray(moved), control) if known else jitted(moved, control)
        np.testing.assert_allclose(meet(moved, control), moved, atol=1e-4)
        with jax.enable_x64(True):
            true = jitted(jnp.asarray(moved, jnp.float64), control.astype(np.float64))
        worst = max(worst, float(np.abs(np.asarray(found) - np.asarray(true)).max()))
    assert worst < 1e-4


def test_a_fitted_spline_is_the_spline_of_the_grid():
    control = REGULAR.astype(np.float32)
    moved = control + np.random.default_rng(0).normal(scale=0.1, size=(16, 2)).astype(np.float32)
    grid = ops.tps_grid(moved, (4, 4), control_points=control, align_corners=True)
    found = ops.apply_tps(ops.fit_tps(moved, control), control, control)
    np.testing.assert_allclose(found, grid.reshape(16, 2), atol=1e-5)
    stiff = ops.apply_tps(ops.fit_tps(moved, control, regularization=1e6), control, control)
    np.testing.assert_allclose(stiff, ops.apply_matrix(ops.fit_affine(control, moved), control), atol=1e-3)


def test_fits_are_differentiable():
    with jax.enable_x64(True):
        p, q = (jnp.asarray(points(6, seed=s), jnp.float64) for s in (1, 2))
        corners = jnp.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        for f, args in (
            (ops.fit_affine, (p, q)),
            (ops.fit_homography, (corners, corners * 0.8 + 0.1 * q[:4])),
            (lambda a, b: ops.apply_tps(ops.fit_tps(a, b), b, p * 0.9), (q, p)),
            (lambda m: ops.invert_matrix(m), (jnp.asarray(affine(), jnp.float64),)),
        ):
            check_grads(jax.jit(f), args, order=1, modes=("rev",), eps=1e-6)


def test_points_behind_the_horizon_are_outside_of_an_image_of_any_size():
    matrix = jnp.array([[1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 1.0]])  # in pixels: the horizon is the row y = 1
    moved = ops.apply_matrix(matrix, jnp.array([[3.0, 0.5], [3.0, 1.0], [3.0, 7.0], [jnp.nan, 0.0]]))
    np.testing.assert_array_equal(moved, [[6, 1], [1e10, 1e10], [1e10, 1e10], [np.nan, np.nan]])


def test_what_a_matrix_sends_outside_stays_there_under_further_ones():
    """A projective matrix moves what is infinitely far to its vanishing point, which may lie inside."""
    first, second = jnp.array([[1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 1.0]]), projective(3) + jnp.eye(3) * 0.5
    x, y = jnp.array([3.0, 3.0]), jnp.array([0.5, 7.0])
    for matrix in (
        pixel_matrices.from_array(second),
        pixel_matrices.matrix_from_affine(30.0, (1.0, 2.0), 9.0, (0.0, 0.0), (9, 9)),
    ):
        found = pixel_matrices.map_points(matrix, *pixel_matrices.map_points(pixel_matrices.from_array(first), x, y))
        outside = np.abs(np.stack(found)).max(0) > 1e8
        np.testing.assert_array_equal(outside, [False, True])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.apply_matrix(jnp.ones((2, 2)), points(3)), r"apply_matrix: matrix must be of shape .*2, 3"),
        (lambda: ops.apply_matrix(affine(), points(3, d=3)), r"points must be of shape \(..., k, 2\) with k >= 1"),
        (lambda: ops.compose_matrices(affine(), affine(d=3)), "both of images or both of volumes"),
        (lambda: ops.fit_affine(points(2), points(2)), r"fit_affine: points must be .*k >= 3, got float32\(2, 2\)"),
        (lambda: ops.fit_affine(points(4), points(5)), "points and targets must be as many"),
        (lambda: ops.fit_homography(points(3), points(3)), "k >= 4"),
        (lambda: ops.fit_homography(points(4, d=3), points(4, d=3)), r"of shape \(..., k, 2\)"),
        (lambda: ops.apply_tps(points(6), points(4), points(3)), r"of shape \(..., 7, 2\), as there are 4 control"),
        (lambda: ops.fit_tps(points(4), points(5)), r"control_points must be of shape \(4, 2\)"),
        (lambda: ops.invert_matrix(jnp.ones((2, 3), jnp.int32)), "floating dtype"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
