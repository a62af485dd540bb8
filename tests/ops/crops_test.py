"""crop_and_resize: whole pixels, the whole image, fractions, mirrored and outside boxes, gradients, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tests.support.compiled import ops
from tests.support.selection import daily
from tests.support.untyped import untyped

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(9, 7, 2)), jnp.float32)


@pytest.mark.parametrize("mode", daily(["bilinear", "nearest", "bicubic"], ["bilinear"]))
def test_whole_pixels_are_cropped_exactly(mode):
    boxes = jnp.array([[0.0, 0, 7, 9], [2, 1, 5, 8], [6, 8, 7, 9]])
    np.testing.assert_array_equal(ops.crop_and_resize(IMAGE, boxes[:1], (9, 7), mode=mode)[0], IMAGE)
    np.testing.assert_array_equal(ops.crop_and_resize(IMAGE, boxes[1:2], (7, 3), mode=mode)[0], IMAGE[1:8, 2:5])
    np.testing.assert_array_equal(ops.crop_and_resize(IMAGE, boxes[2:], (1, 1), mode=mode)[0, 0, 0], IMAGE[8, 6])


def test_align_corners_counts_from_pixel_centers():
    options = {"align_corners": True}
    whole = ops.crop_and_resize(IMAGE, jnp.array([[0.0, 0, 6, 8]]), (9, 7), **untyped(options))
    np.testing.assert_array_equal(whole[0], IMAGE)
    twice = ops.crop_and_resize(IMAGE, jnp.array([[0.0, 0, 6, 8]]), (17, 13), **untyped(options))
    np.testing.assert_allclose(twice[0, ::2, ::2], IMAGE, atol=1e-5)
    middle = ops.crop_and_resize(IMAGE, jnp.array([[1.0, 2, 3, 4]]), (1, 1), **untyped(options))
    np.testing.assert_allclose(middle[0, 0, 0], IMAGE[3, 2], atol=1e-6)


def test_a_box_may_be_mirrored_fractional_or_outside():
    mirrored = ops.crop_and_resize(IMAGE, jnp.array([[7.0, 0, 0, 9]]), (9, 7))[0]
    np.testing.assert_allclose(mirrored, IMAGE[:, ::-1], atol=1e-6)
    half = ops.crop_and_resize(IMAGE, jnp.array([[1.5, 2.0, 2.5, 3.0]]), (1, 1))[0, 0, 0]
    np.testing.assert_allclose(half, (IMAGE[2, 1] + IMAGE[2, 2]) / 2, atol=1e-6)
    outside = jnp.array([[20.0, 20, 25, 25]])
    np.testing.assert_array_equal(ops.crop_and_resize(IMAGE, outside, (2, 2)), 0)
    corner = ops.crop_and_resize(IMAGE, outside, (2, 2), padding_mode="border")
    np.testing.assert_allclose(corner, jnp.broadcast_to(IMAGE[-1, -1], corner.shape), atol=1e-6)


def test_shrinking_with_antialias_takes_means():
    noise = jnp.asarray(np.random.default_rng(0).uniform(size=(64, 64, 1)), jnp.float32)
    means = noise.reshape(8, 8, 8, 8, 1).mean((1, 3))
    plain, ours = (
        ops.crop_and_resize(noise, jnp.array([[0.0, 0, 64, 64]]), (8, 8), antialias=a)[0] for a in (False, True)
    )
    assert jnp.abs(ours - means).mean() < 0.2 * jnp.abs(plain - means).mean()


@pytest.mark.parametrize("antialias", daily([False, True], [False]))
def test_batches_of_boxes(antialias):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(2, 9, 7, 2)), jnp.float32)
    boxes = jnp.asarray(rng.uniform(0, 7, size=(2, 3, 4)), jnp.float32)
    crop = jax.jit(functools.partial(ops.crop_and_resize, shape=(4, 5), antialias=antialias))
    result = crop(images, boxes)
    assert result.shape == (2, 3, 4, 5, 2)
    one = crop(images[1], boxes[1, 2:])
    np.testing.assert_allclose(result[1, 2:], one, atol=1e-5)
    assert ops.crop_and_resize(images, boxes[:, :0], (4, 5)).shape == (2, 0, 4, 5, 2)
    shared = crop(images[0], boxes)
    np.testing.assert_allclose(shared[0], result[0], atol=1e-5)


def test_gradients():
    with jax.enable_x64(True):
        image = jnp.asarray(IMAGE, jnp.float64)
        boxes = jnp.array([[0.3, 0.2, 5.2, 7.3], [1.1, 2.3, 8.2, 9.9]])
        check_grads(jax.jit(lambda i, b: ops.crop_and_resize(i, b, (3, 4))), (image, boxes), order=1, eps=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.crop_and_resize(IMAGE, jnp.ones((3, 5)), (2, 2)), r"boxes must be of shape \(..., k, 4\)"),
        (lambda: ops.crop_and_resize(IMAGE, jnp.ones((3, 4), bool), (2, 2)), "boxes must be of a floating dtype"),
        (lambda: ops.crop_and_resize(IMAGE, jnp.ones((3, 4)), (2, 0)), r"shape must be \(h, w\) of positive"),
        (lambda: ops.crop_and_resize(IMAGE, jnp.ones((3, 4)), (2, 2), mode=untyped("area")), "mode must be one of"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
