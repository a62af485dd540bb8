"""Antialiased reading: identity, error against supersampling, footprints, gradients, meshes, memory, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from sklearn.datasets import load_sample_images

from jaxcnn import ops
from jaxcnn.ops import sampling
from tests.support.selection import daily, daily_cases
from tests.support.untyped import untyped

sample = jax.jit(ops.grid_sample, static_argnames=("mode", "padding_mode", "align_corners", "antialias"))
warp = jax.jit(ops.warp_affine, static_argnames=("shape", "padding_mode", "align_corners", "antialias"))


def scaled(scale, degrees=0.0):
    angle = np.deg2rad(degrees)
    rotation = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]
    return jnp.asarray(np.array(rotation) * scale, jnp.float32)


@functools.cache
def photographs():
    return np.stack([i[:288, :288] for i in load_sample_images().images]).astype(np.float32) / 255


def supersampled(images, theta, side, n=8):
    return ops.avg_pool(warp(images, theta, shape=(n * side, n * side)), n)


def error(images, theta, side, reference, **options):
    return float(jnp.sqrt(jnp.mean((warp(images, theta, shape=(side, side), **options) - reference) ** 2)))


@pytest.mark.parametrize("scale", daily([3, 7], [7]))
def test_supersampling_is_met_four_times_as_closely_as_by_plain_reading(scale):
    images, gains = photographs(), []
    side = int(288 / scale / np.sqrt(2)) - 2
    for degrees in (0.0, 25.0):
        theta = scaled(side * scale / 288, degrees)
        reference = supersampled(images, theta, side)
        plain, ours = (error(images, theta, side, reference, antialias=a) for a in (False, True))
        gains.append(plain / ours)
    assert np.mean(gains) > 4


@pytest.mark.parametrize("degrees", daily([0.0, 25.0], [25.0]))
@pytest.mark.nightly
def test_no_worse_at_half_the_size_or_near_it(degrees):
    images = photographs()
    for scale in (1.2, 2):
        side = int(288 / scale / np.sqrt(2)) - 2
        theta = scaled(side * scale / 288, degrees)
        reference = supersampled(images, theta, side)
        plain, ours = (error(images, theta, side, reference, antialias=a) for a in (False, True))
        assert ours < 1.0001 * plain  # equal where the samples stay between the same pixels


@pytest.mark.parametrize(
    ("padding_mode", "align_corners"),
    daily_cases(
        [(mode, corners) for mode in ("zeros", "border", "reflection", "fill") for corners in (False, True)],
        [("zeros", False)],
    ),
)
def test_nothing_changes_where_the_warp_does_not_shrink(align_corners, padding_mode):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(7, 6, 2)), jnp.float32)
    options = {"padding_mode": padding_mode, "align_corners": align_corners}
    identity = ops.warp_affine(image, jnp.eye(2, 3), antialias=True, **options)
    np.testing.assert_array_equal(identity, image)
    for theta in (
        scaled(0.4, 20.0),
        jnp.array([[1.0, 0, 0.7], [0, 1.0, -0.6]]),
        jnp.array([[0.5, 0, 1.0], [0, 0.9, 0]]),
    ):
        plain, ours = (warp(image, theta, antialias=a, **options) for a in (False, True))
        np.testing.assert_allclose(ours, plain, atol=1e-5)


@pytest.mark.nightly
def test_an_image_shrunk_to_a_point_is_its_mean():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(64, 64, 1)), jnp.float32)
    result = warp(image, scaled(1.0), shape=(2, 2), antialias=True)
    means = image.reshape(2, 32, 2, 32).mean((1, 3))
    assert np.abs(result[..., 0] - means).max() < 0.03
    constant = warp(jnp.ones((37, 53, 1)), scaled(0.7, 33.0), shape=(4, 5), antialias=True)
    np.testing.assert_allclose(constant, 1, atol=1e-6)


def test_the_mean_includes_the_outside():
    image, outside = jnp.ones((32, 32, 1)), scaled(4.0)  # the image fills a quarter of either side
    for padding_mode, value in (("zeros", 0.0), ("fill", 3.0), ("border", 1.0), ("reflection", 1.0)):
        options = {"fill_value": value} if padding_mode == "fill" else {}
        result = warp(image, outside, shape=(8, 8), padding_mode=padding_mode, antialias=True, **options)
        assert float(result[0, 0, 0]) == value
        np.testing.assert_allclose(result[3:5, 3:5], 1, atol=0.35 * abs(value - 1))


@pytest.mark.parametrize("align_corners", daily([False, True], [False]))
def test_a_constant_image_stays_constant_when_it_is_resized(align_corners):
    """The outside counts only where a footprint reaches it; PyTorch's antialiased resizing leaves ones alone, too."""
    options = {"padding_mode": "fill", "fill_value": -3.0, "align_corners": align_corners, "antialias": True}
    shape, end = (19, 56), int(align_corners)

    @jax.jit
    def resize(image):
        h, w = image.shape[:2]
        return (
            ops.warp_affine(image, jnp.eye(2, 3), shape=shape, **untyped(options)),
            ops.grid_sample(
                image, ops.affine_grid(jnp.eye(2, 3), shape, align_corners=align_corners), **untyped(options)
            ),
            ops.crop_and_resize(
                image, jnp.array([[0, 0, w - end, h - end], [w - end, 0, 0, h - end]]), shape, **untyped(options)
            ),
        )

    for result in resize(jnp.full((25, 225, 1), 2.0)):
        np.testing.assert_array_equal(result, np.full(result.shape, 2.0))


@pytest.mark.nightly
def test_footprints_that_are_turned_but_lie_inside_do_not_see_the_outside():
    result = warp(jnp.ones((50, 50, 1)), scaled(0.55, 45.0), shape=(9, 9), antialias=True)
    np.testing.assert_array_equal(result, np.ones((9, 9, 1)))


def test_the_outside_counts_by_its_share_of_the_footprint():
    # Footprints of 4 x 3 pixels, the left ones a quarter outside, the lowest a third; and of 40 x 36, around the image.
    boxes = jnp.array([[-1.0, 4, 7, 13], [-2, -50, 78, 58]])
    inside = np.stack([np.outer([1, 1, 2 / 3], [3 / 4, 1]), np.outer([0, 12 / 36, 0], [16 / 40, 0])])
    options = {"padding_mode": "fill", "fill_value": [0.0, 5.0, -jnp.inf], "antialias": True}
    found = ops.crop_and_resize(jnp.ones((12, 16, 3)), boxes, (3, 2), **untyped(options))
    np.testing.assert_allclose(found[..., 0], inside, atol=1e-5)
    np.testing.assert_allclose(found[..., 1], inside + 5 * (1 - inside), atol=1e-4)
    np.testing.assert_array_equal(found[..., 2], np.where(inside == 1, 1, -np.inf))


@pytest.mark.nightly
def test_borders_are_as_close_to_the_mean_of_the_covered_area_as_the_middle():
    noise = np.random.default_rng(0).normal(size=(97, 97))
    image = np.asarray(ops.gaussian_blur(jnp.asarray(noise[..., None], jnp.float32), 1.0))
    overlap = [[max(min(j + 1, (i + 1) * 1.94) - max(j, i * 1.94), 0) / 1.94 for j in range(97)] for i in range(50)]
    expected = np.array(overlap) @ image[..., 0] @ np.array(overlap).T
    off = np.abs(warp(image, jnp.eye(2, 3), shape=(50, 50), antialias=True)[..., 0] - expected)
    border = np.mean([off[0], off[-1], off[:, 0], off[:, -1]])
    assert border < 1.2 * off[2:-2, 2:-2].mean(), (border, off.mean())


@pytest.mark.nightly
def test_one_axis_may_shrink_alone():
    rows = jnp.asarray(np.random.default_rng(0).uniform(size=(40, 1, 1)), jnp.float32)
    image = jnp.broadcast_to(rows, (40, 40, 1))
    result = warp(image, jnp.eye(2, 3), shape=(10, 40), antialias=True)
    plain = warp(image, jnp.eye(2, 3), shape=(10, 40))
    true = rows.reshape(10, 4, 1).mean(1)[:, None]
    assert jnp.abs(result - true).mean() < 0.4 * jnp.abs(plain - true).mean()


def test_the_axis_that_does_not_shrink_keeps_its_contrast():
    stripes = jnp.tile(jnp.array([0.0, 0, 1, 1]), 16)[:, None, None] * jnp.ones((64, 64, 1))
    for theta, image, shape in ((jnp.eye(2, 3), stripes, (64, 8)), (jnp.eye(2, 3), stripes.swapaxes(0, 1), (8, 64))):
        result = warp(image, theta, shape=shape, antialias=True)
        result = result if shape[0] == 64 else result.swapaxes(0, 1)
        np.testing.assert_allclose(result[24:32, 4, 0], [0, 0, 1, 1, 0, 0, 1, 1], atol=1e-5)
    noise = jnp.asarray(np.random.default_rng(0).uniform(size=(16, 256, 1)), jnp.float32)
    true = noise.reshape(16, 32, 8, 1).mean(2)
    plain, ours = (warp(noise, jnp.eye(2, 3), shape=(16, 32), antialias=a) for a in (False, True))
    assert jnp.std(ours - true) < 0.2 * jnp.std(plain - true)


@pytest.mark.parametrize("h", daily([1, 2, 3], [2]))
def test_thin_images_shrink_along_their_length(h):
    noise = jnp.asarray(np.random.default_rng(0).uniform(size=(h, 512, 1)), jnp.float32)
    true = noise.reshape(h, 64, 8, 1).mean(2)
    plain, ours = (warp(noise, jnp.eye(2, 3), shape=(h, 64), padding_mode="border", antialias=a) for a in (False, True))
    assert jnp.std(ours - true) < 0.3 * jnp.std(plain - true)


def test_an_output_of_one_pixel_is_the_mean_of_the_covered_area():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(16, 16, 1)), jnp.float32)
    mean, sides = float(image.mean()), image.reshape(4, 4, 16, 1).mean((1, 2))

    @jax.jit
    def shrink(image):
        box = jnp.array([[0, 0, 16, 16]])
        return (
            ops.warp_affine(image, jnp.eye(2, 3), shape=(1, 1), antialias=True),
            ops.warp_perspective(image, jnp.eye(3), shape=(1, 1), antialias=True),
            ops.crop_and_resize(image, box, (1, 1), antialias=True),
            ops.crop_and_resize(image, box, (4, 1), antialias=True)[0, :, 0],
        )

    *found, column = shrink(image)
    np.testing.assert_allclose([float(f.ravel()[0]) for f in found], mean, atol=0.05)
    assert jnp.abs(column - sides).mean() < 0.08


def test_a_nan_point_does_not_affect_its_neighbors():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(16, 16, 1)), jnp.float32)
    grid = ops.affine_grid(jnp.eye(2, 3), (5, 5))
    expected = sample(image, grid, antialias=True)
    for value, own in ((jnp.nan, np.nan), (jnp.inf, 0.0)):
        found = np.array(sample(image, grid.at[2, 2, 0].set(value), antialias=True))
        assert np.array_equal(found[2, 2], [own], equal_nan=True)
        found[2, 2] = expected[2, 2]
        np.testing.assert_allclose(found, expected, atol=0.4)
        assert np.all(np.isfinite(found))


@pytest.mark.parametrize("how", daily([{"antialias": True}, {"mode": "bicubic"}, {}], [{"antialias": True}]), ids=str)
def test_pieces_equal_the_whole(monkeypatch, how):
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(2, 13, 11, 3)), jnp.float32)
    grid = jnp.asarray(rng.uniform(-1.3, 1.3, (2, 7, 6, 2)), jnp.float32)
    fill = jnp.array([1.0, -2.0, 0.5])
    results = []
    for count in (1, 3):
        monkeypatch.setattr(sampling.SamplingOptions, "count_pieces", lambda *_, count=count: count)
        read = lambda i, g, f: ops.grid_sample(i, g, padding_mode="fill", fill_value=f, **untyped(how))

        @jax.jit
        def value_and_gradients(*arguments, read=read):
            value, pullback = jax.vjp(read, *arguments)
            return value, *pullback(jnp.cos(value))

        results.append(value_and_gradients(image, grid, fill))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


@pytest.mark.nightly  # tests/contract/derivatives_test.py holds it daily
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_derivatives(padding_mode):
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        image = jnp.asarray(rng.normal(size=(9, 8, 2)))
        grid = ops.affine_grid(jnp.array([[1.0, 0.3, 0.02], [-0.2, 0.9, 0.01]]), (3, 2))
        grid = grid + jnp.asarray(rng.normal(size=grid.shape)) * 0.01
        f = jax.jit(lambda i, g: ops.grid_sample(i, g, padding_mode=untyped(padding_mode), antialias=True))
        check_grads(f, (image, grid), order=1, modes=("fwd", "rev"), eps=1e-6)


def test_gradients_are_finite_where_the_footprint_is_a_pixel():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(6, 6, 1)), jnp.float32)
    slope = jax.jit(jax.grad(lambda theta: jnp.sum(ops.warp_affine(image, theta, antialias=True) ** 2)))
    for factor in (1.0, 1.0 + 1e-6, 1.0 + 1e-3):
        gradient = slope(jnp.eye(2, 3) * factor)
        assert np.all(np.isfinite(gradient)) and np.abs(gradient).max() < 1e3


@pytest.mark.nightly
def test_batches_and_missing_batches():
    rng = np.random.default_rng(0)
    images, theta = jnp.asarray(rng.normal(size=(2, 3, 16, 16, 2)), jnp.float32), scaled(2.0, 10.0)
    result = warp(images, theta, shape=(5, 6), antialias=True)
    single = warp(images[1, 2], theta, shape=(5, 6), antialias=True)
    np.testing.assert_allclose(result[1, 2], single, atol=1e-6)
    assert warp(images[:0], theta, shape=(5, 6), antialias=True).shape == (0, 3, 5, 6, 2)


@pytest.mark.parametrize("size", daily([(1, 1), (1, 9), (2, 3)], [(1, 9)]))
def test_small_images_and_outputs(size):
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(*size, 1)), jnp.float32)
    for shape in ((1, 1), (1, 3), (4, 1)):
        result = warp(image, jnp.eye(2, 3), shape=shape, padding_mode="border", antialias=True)
        assert np.all(np.isfinite(result)) and result.min() >= image.min() and result.max() <= image.max() + 1e-6


def test_volumes_and_other_modes_are_refused():
    message = r'antialias must be False except for images and mode "bilinear", got mode '
    with pytest.raises(ValueError, match=message + "'nearest' in 2 dimensions"):
        ops.grid_sample(jnp.ones((4, 4, 1)), jnp.zeros((2, 2, 2)), mode="nearest", antialias=True)
    with pytest.raises(ValueError, match=message + "'bilinear' in 3 dimensions"):
        ops.grid_sample(jnp.ones((4, 4, 4, 1)), jnp.zeros((2, 2, 2, 3)), antialias=True)
