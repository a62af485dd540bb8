"""Warps: the identity is exact, and otherwise they equal sampling at the grid."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from tests.support import released
from tests.support.selection import daily, daily_cases
from tests.support.untyped import untyped

REGULAR = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 4)), -1).reshape(16, 2).astype(np.float32)
THETA = np.array([[0.813, -0.317, 0.129], [0.257, 0.931, -0.173]], np.float32)
HOMOGRAPHY = np.array([[0.917, 0.113, 0.129], [0.021, 1.113, -0.137], [0.119, -0.213, 1]], np.float32)
BENT = REGULAR + np.random.default_rng(0).normal(scale=0.1, size=(16, 2)).astype(np.float32)


def image_of(*shape):
    return jnp.asarray(np.random.default_rng(5).normal(size=shape), jnp.float32)


PADDINGS = ("zeros", "border", "reflection", "fill")

sample = jax.jit(ops.grid_sample, static_argnames="align_corners")


@pytest.mark.parametrize(
    ("jit", "align_corners", "padding_mode"),
    daily_cases(
        [(None, corners, padding) for corners in (False, True) for padding in PADDINGS]
        + [(released.jit, number % 2 == 0, padding) for number, padding in enumerate(PADDINGS)],
        [(released.jit, True, "reflection")],
    ),
)
def test_identity_is_exact(align_corners, padding_mode, jit):
    image = image_of(2, 37, 224, 3)
    warps = {
        ops.warp_affine: np.eye(2, 3, dtype=np.float32),
        ops.warp_perspective: 2 * np.eye(3, dtype=np.float32),
        ops.warp_tps: REGULAR,
        ops.warp_flow: np.zeros((37, 224, 2), np.float32),
    }
    for warp, identity in warps.items():
        for mode in ("bilinear", "nearest"):
            f = functools.partial(warp, mode=mode, padding_mode=padding_mode, align_corners=align_corners)
            np.testing.assert_array_equal((jit(f) if jit else f)(image, identity), image)


@pytest.mark.parametrize(
    ("align_corners", "step"), daily_cases([(False, 1), (True, 1), (False, 4), (True, 8)], [(False, 4)])
)
def test_identity_is_exact_under_reflection_at_any_size(align_corners, step):
    images = [image_of(n, 66 - n, 1) for n in range(2, 34, step)]  # every side from 2 to 64, or some
    for warp, identity, some in (
        (ops.warp_affine, np.eye(2, 3, dtype=np.float32), images),
        (ops.warp_perspective, np.eye(3, dtype=np.float32), images[::8]),
        (ops.warp_tps, REGULAR[[0, 3, 12, 15]], images[::8]),
    ):
        f = functools.partial(warp, padding_mode="reflection", align_corners=align_corners)
        warped = jax.jit(lambda images, t, f=f: [f(image, t) for image in images])(some, identity)
        for image, result in zip(some, warped, strict=True):
            np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize(
    ("align_corners", "shape"),
    daily_cases([(a, s) for a in (False, True) for s in (None, (9, 4))], [(False, (9, 4))]),
)
def test_warps_equal_sampling_at_the_grid(align_corners, shape):
    image = image_of(7, 6, 2)
    size = shape or (7, 6)
    pairs = [
        (ops.warp_affine, ops.affine_grid, THETA),
        (ops.warp_perspective, ops.projective_grid, HOMOGRAPHY),
        (ops.warp_tps, ops.tps_grid, BENT),
    ]
    for warp, make_grid, transform in pairs:
        f = lambda i, t, g=make_grid: ops.grid_sample(
            i, g(t, size, align_corners=align_corners), align_corners=align_corners
        )
        w = lambda i, t, w=warp: w(i, t, shape=shape, align_corners=align_corners)
        both = [jax.jit(lambda i, t, c, f=f: (f(i, t), *jax.vjp(f, i, t)[1](c))) for f in (w, f)]
        found, expected = (each(image, transform, image_of(*size, 2)) for each in both)
        np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
        for a, b in zip(found[1:], expected[1:], strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_points_behind_the_horizon_lie_outside():
    behind = jnp.array([[1.0, 0, 0], [0, 1.0, 0], [-2.0, 0, 0]])
    result = jax.jit(ops.warp_perspective)(jnp.ones((2, 3, 1)), behind)
    np.testing.assert_array_equal(result[:, 1:], np.zeros((2, 2, 1)))
    gradient = jax.jit(jax.grad(lambda m: ops.warp_perspective(image_of(2, 3, 1), m).sum()))(behind)
    assert np.all(np.isfinite(gradient))


def test_points_behind_the_horizon_lie_outside_of_large_images_in_pixels():
    image = jnp.zeros((1400, 1400, 1)).at[1000, 1000].set(1.0)
    start = jnp.array([[0.0, 0], [1399, 0], [1399, 1399], [0, 1399]])
    end = jnp.array([[686.0, 630], [714, 630], [1399, 1399], [0, 1399]])
    result = jax.jit(functools.partial(ops.perspective, mode="nearest"))(image, start, end)
    assert int(jnp.sum(result)) <= 4  # the pixel itself, wherever it is seen
    fill = jax.jit(functools.partial(ops.perspective, padding_mode="fill", fill_value=-1.0))
    behind = fill(jnp.ones((1400, 1400, 1)), start, end)[:600]
    np.testing.assert_array_equal(behind, np.full((600, 1400, 1), -1.0))


def test_points_behind_the_horizon_lie_outside_of_an_image_of_one_pixel():
    behind = jnp.diag(jnp.array([1.0, 1.0, -1.0]))
    for align_corners in (False, True):
        result = ops.warp_perspective(jnp.ones((1, 1, 1)), behind, shape=(2, 3), align_corners=align_corners)
        np.testing.assert_array_equal(result, np.zeros((2, 3, 1)))
        kept = ops.warp_perspective(jnp.ones((1, 1, 1)), -behind, shape=(1, 1), align_corners=align_corners)
        np.testing.assert_array_equal(kept, np.ones((1, 1, 1)))


def test_infinite_coordinates_lie_outside_also_along_an_axis_of_one_pixel():
    for d in (2, 3):
        for align_corners in (False, True):
            grid = np.zeros((*[1] * (d - 1), 4, d), np.float32)
            grid[..., 1, 0], grid[..., 2, d - 1] = np.inf, -np.inf
            result = sample(jnp.ones((*[1] * d, 1)), grid, align_corners=align_corners)
            np.testing.assert_array_equal(result.ravel(), [1, 0, 0, 1])


def test_nan_in_a_projective_matrix_is_not_hidden():
    for mode in ("bilinear", "nearest"):
        warp = jax.jit(functools.partial(ops.warp_perspective, mode=mode))
        for matrix in (jnp.eye(3) * jnp.nan, jnp.eye(3).at[2, 0].set(jnp.nan), jnp.eye(3).at[0, 2].set(jnp.nan)):
            assert np.all(np.isnan(warp(image_of(2, 3, 1), matrix)))


def test_one_transform_serves_a_batch():
    image = image_of(3, 5, 5, 2)
    for warp, transform in ((ops.warp_affine, THETA), (ops.warp_perspective, HOMOGRAPHY), (ops.warp_tps, BENT)):
        warp = jax.jit(warp)
        batch = warp(image, transform)
        np.testing.assert_allclose(batch[1], warp(image[1], transform), atol=1e-6)
        many = warp(image, jnp.broadcast_to(transform, (3, *transform.shape)))
        np.testing.assert_allclose(batch, many, atol=1e-6)


def test_quarter_turn():
    image = image_of(5, 5, 1)
    turn = jnp.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    np.testing.assert_allclose(ops.warp_affine(image, turn), np.rot90(image, -1), atol=1e-5)


def test_flow_in_whole_pixels_shifts_exactly():
    image = image_of(6, 7, 1)
    flow = jnp.broadcast_to(jnp.array([2.0, 1.0]), (6, 7, 2))
    np.testing.assert_array_equal(ops.warp_flow(image, flow)[:-1, :-2], image[1:, 2:])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: ops.warp_affine(i, np.eye(3)), r"warp_affine: theta must be of shape \(..., 2, 3\)"),
        (lambda i: ops.warp_affine(i, np.eye(2, 3), shape=(0, 1)), "warp_affine: shape must be"),
        (lambda i: ops.warp_affine(i, np.eye(2, 3), mode=untyped("cubic")), "warp_affine: mode must be one of"),
        (lambda i: ops.warp_affine(i[..., 0], np.eye(2, 3)), "warp_affine: image must be of shape"),
        (
            lambda i: ops.warp_affine(i[None].repeat(2, 0), np.ones((3, 2, 3))),
            "image and theta must be of leading axes",
        ),
        (lambda i: ops.warp_perspective(i, np.eye(2, 3)), "warp_perspective: matrix must be of shape"),
        (lambda i: ops.warp_tps(i, REGULAR[:5]), "warp_tps: points must be a square number"),
        (lambda i: ops.warp_flow(i, np.zeros((3, 3, 2))), r"warp_flow: flow must be of shape \(..., \(4, 4, 2\)\)"),
        (lambda i: ops.warp_flow(i.astype(jnp.int32), np.zeros((4, 4, 2))), "warp_flow: image must be of a floating"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((4, 4, 1)))


@pytest.mark.parametrize("align_corners", daily([False, True], [False]))
@pytest.mark.parametrize("mode", daily(["bilinear", "nearest", "bicubic"], ["bilinear"]))
def test_identity_of_volumes_is_exact(mode, align_corners):
    volume = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 6, 7, 2)), jnp.float32)
    options = {"mode": mode, "align_corners": align_corners}
    both = jax.jit(lambda v, m, f: (ops.warp_affine(v, m, **options), ops.warp_flow(v, f, **options)))
    for warped in both(volume, jnp.eye(3, 4), jnp.zeros((5, 6, 7, 3))):
        np.testing.assert_array_equal(warped, volume)


def test_a_flow_of_whole_voxels_shifts_a_volume():
    volume = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 7, 1)), jnp.float32)
    flow = jnp.broadcast_to(jnp.array([2.0, -1.0, 1.0]), (5, 6, 7, 3))  # x, y, z
    moved = ops.warp_flow(volume, flow)
    np.testing.assert_array_equal(moved[:-1, 1:, :-2], volume[1:, :-1, 2:])
    np.testing.assert_array_equal(moved[-1], 0)
