"""Blur, sharpness, erasing and flips: against plain NumPy and SciPy, shapes, dtypes, gradients, messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.test_util import check_grads

from jaxcnn import ops
from tests.support.untyped import untyped

RNG = np.random.default_rng(5)
IMAGE = RNG.uniform(size=(2, 9, 8, 3)).astype(np.float32)
BYTES = RNG.integers(0, 256, (2, 9, 8, 2)).astype(np.uint8)


@pytest.mark.parametrize("sigma", [0.3, 0.8, 1.1])
def test_blur_is_that_of_scipy(sigma):
    blur = jax.jit(lambda image: ops.gaussian_blur(image, sigma))
    got = blur(IMAGE)
    radius = int(np.ceil(3 * sigma))
    want = scipy.ndimage.gaussian_filter(IMAGE, sigma, axes=(1, 2), mode="mirror", radius=radius)
    np.testing.assert_allclose(got, want, atol=1e-6)
    level = np.asarray(blur(jnp.asarray(np.round(IMAGE * 255), jnp.uint8)))
    assert np.abs(level - want * 255).max() < 1.01


def test_blur_per_example_and_per_axis():
    sigma = jnp.array([0.5, 1.5])
    got = jax.jit(lambda x, s: ops.gaussian_blur(x, s, kernel_size=(1, 5)))(IMAGE, sigma)
    for i in range(2):
        want = scipy.ndimage.gaussian_filter1d(IMAGE[i], float(sigma[i]), axis=1, mode="mirror", radius=2)
        np.testing.assert_allclose(got[i], want, atol=1e-6)


def test_blur_gradients():
    image, sigma = jnp.asarray(IMAGE[:, :5, :4, :1]), jnp.array([0.6, 1.2])
    blur = jax.jit(lambda x, s: ops.gaussian_blur(x, s, kernel_size=5))
    check_grads(blur, (image, sigma), order=1, modes=("fwd", "rev"), atol=1e-2, rtol=1e-2)
    none = jax.jit(jax.grad(lambda s: jnp.sum(blur(image, s) ** 2)))(jnp.zeros(2))
    np.testing.assert_array_equal(none, 0)


@pytest.mark.nightly
def test_second_derivatives_of_blur():
    image, sigma = jnp.asarray(IMAGE[:, :5, :4, :1]), jnp.array([0.6, 1.2])
    blur = jax.jit(lambda x: ops.gaussian_blur(x, sigma, kernel_size=5))
    check_grads(blur, (image,), order=2, atol=1e-2, rtol=1e-2)


def test_sharpness_keeps_the_border_and_blends_with_the_smooth_image():
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = scipy.ndimage.convolve(IMAGE, kernel[None, :, :, None])
    sharpen = jax.jit(ops.adjust_sharpness)
    for factor in (0.0, 0.5, 2.5):
        got = np.asarray(sharpen(IMAGE, factor))
        want = IMAGE.copy()
        inner = (slice(None), slice(1, -1), slice(1, -1))
        want[inner] = np.clip(factor * IMAGE[inner] + (1 - factor) * smooth[inner], 0, 1)
        np.testing.assert_allclose(got, want, atol=1e-6)
    np.testing.assert_array_equal(sharpen(IMAGE[:, :2], 0.2), IMAGE[:, :2])
    assert jax.eval_shape(sharpen, IMAGE[0, :2], jnp.ones(3)).shape == (3, 2, 8, 3)


def test_erase_numbers_channels_and_images():
    boxes = jnp.array([[1, 2, 4, 5], [-3, 7, 100, 100]])
    inside = np.zeros((2, 9, 8, 1), bool)
    inside[0, 2:5, 1:4], inside[1, 7:] = True, True
    noise = RNG.uniform(size=IMAGE.shape).astype(np.float32)
    for value in (0.25, jnp.array([0.1, 0.2, 0.3]), noise, noise[0], noise[:, :1, :1]):
        got = jax.jit(ops.erase)(IMAGE, boxes, value=value)
        np.testing.assert_array_equal(got, np.where(inside, np.broadcast_to(value, IMAGE.shape), IMAGE))
    got = jax.jit(ops.erase)(BYTES, boxes, value=jnp.array([300.0, 2.6]))
    np.testing.assert_array_equal(got, np.where(inside, np.array([255, 3]), BYTES))
    np.testing.assert_array_equal(ops.erase(IMAGE, (3, 3, 3, 9)), IMAGE)  # empty
    assert jax.eval_shape(ops.erase, IMAGE[0], boxes).shape == IMAGE.shape


def test_erase_gradients():
    given, value = jnp.asarray(IMAGE), jnp.float32(0.5)
    slopes = jax.jit(jax.grad(lambda x, v: jnp.sum(ops.erase(x, (1, 2, 4, 5), value=v)), (0, 1)))
    by_image, by_value = slopes(given, value)
    assert by_value == 2 * 3 * 3 * 3
    np.testing.assert_array_equal(by_image, ops.erase(jnp.ones_like(given), untyped((1, 2, 4, 5))))


@pytest.mark.parametrize(("period", "ratio", "offset"), [(4.0, 0.5, (0, 0)), (5.0, 0.6, (-2, 3)), (3.0, 0.0, (1, 1))])
def test_grid_mask_drops_squares(period, ratio, offset):
    kept = int(period * ratio + 0.5)
    rows, columns = [(np.arange(n) - o) % period >= kept for n, o in ((9, offset[1]), (8, offset[0]))]
    dropped = (rows[:, None] & columns[None])[..., None]
    for image in (IMAGE, BYTES):
        got = jax.jit(lambda image: ops.grid_mask(image, period=period, ratio=ratio, offset=offset))(image)
        np.testing.assert_array_equal(got, np.where(dropped, 0, image))


def test_grid_mask_per_example():
    options = {
        "period": np.array([3, 5], np.float32),
        "ratio": np.array([0.5, 1], np.float32),
        "offset": np.array([[1, 0], [0, 2]], np.float32),
    }
    mask = jax.jit(ops.grid_mask)
    got = mask(IMAGE, **options)
    np.testing.assert_array_equal(got[0], mask(IMAGE[0], period=3.0, ratio=0.5, offset=(1.0, 0.0)))
    np.testing.assert_array_equal(got[1], IMAGE[1])


@pytest.mark.parametrize("image", [IMAGE, BYTES], ids=["float32", "uint8"])
def test_flips_and_turns_are_those_of_numpy(image):
    np.testing.assert_array_equal(ops.flip_left_right(image), np.flip(image, -2))
    np.testing.assert_array_equal(ops.flip_up_down(image), np.flip(image, -3))
    for turns in range(-5, 6):
        np.testing.assert_array_equal(ops.rotate_90(image, turns), np.rot90(image, turns, (-3, -2)))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.gaussian_blur(IMAGE, jnp.ones(2)), "kernel_size must be given, as sigma is an array, got None."),
        (lambda: ops.gaussian_blur(IMAGE, 1.0, kernel_size=4), "kernel_size must be one or two odd positive integers"),
        (lambda: ops.gaussian_blur(IMAGE, 9.0), r"kernel_size must be below twice height and width.*got \(55, 55\)"),
        (lambda: ops.gaussian_blur(IMAGE, -1.0), "gaussian_blur: sigma must be at least 0, got -1.0."),
        (lambda: ops.adjust_sharpness(IMAGE, -1), "adjust_sharpness: factor must be at least 0"),
        (lambda: ops.erase(IMAGE, untyped((1, 2, 3))), r"erase: box must be numbers of shape \(..., 4\)"),
        (
            lambda: ops.erase(IMAGE, untyped((1, 2, 3, 4)), value=jnp.ones(2)),
            r"erase: value must be a number, of shape \(3,\)",
        ),
        (lambda: ops.grid_mask(IMAGE, period=0), "grid_mask: period must be at least 1, got 0."),
        (lambda: ops.grid_mask(IMAGE, period=3, ratio=2), r"grid_mask: ratio must be in \[0, 1\], got 2."),
        (lambda: ops.grid_mask(IMAGE, period=3, offset=untyped(1.0)), r"offset must be numbers of shape \(..., 2\)"),
        (lambda: ops.rotate_90(IMAGE, untyped(1.0)), "rotate_90: turns must be an integer, got 1.0."),
        (lambda: ops.flip_left_right(IMAGE[0, 0]), r"flip_left_right: image must be of shape"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()
