"""Laws that hold for all inputs, on generated ones."""

import functools

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import losses, ops
from tests.support.selection import times

CHOICES = {"mode": st.sampled_from(["bilinear", "nearest"]), "align_corners": st.booleans()}
PADDING = st.sampled_from(["zeros", "border", "reflection"])


def floats(low, high):
    """Draws numbers that neither XLA nor NumPy flushes to zero."""
    return st.floats(low, high, width=32, allow_subnormal=False)


def arrays(low, high, *shapes):
    """Draws float32 arrays of one of a few shapes: every further one has to be compiled."""
    return st.sampled_from(shapes).flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=floats(low, high)))


def call(function, *arrays, **options):
    """Calls a function compiled, once for equal options and shapes."""
    return compiled(function, tuple(sorted(options.items())))(*arrays)


@functools.cache
def compiled(function, options):
    """Keeps the compiled functions."""
    return jax.jit(functools.partial(function, **dict(options)))


IMAGES = arrays(0, 1, (1, 4, 2), (5, 3, 2))
GRIDS = arrays(-3, 3, (3, 4, 2))


def all_warps(image, *transforms, **options):
    """Applies every warp to an image."""
    warps = (ops.warp_affine, ops.warp_perspective, ops.warp_flow, ops.warp_tps)
    return [warp(image, transform, **options) for warp, transform in zip(warps, transforms, strict=True)]


@given(image=arrays(0, 1, (5, 3, 2)), padding_mode=PADDING, **CHOICES)
@settings(max_examples=times(10))
def test_identity_warp_is_exact(image, padding_mode, mode, align_corners):
    options = {"padding_mode": padding_mode, "mode": mode, "align_corners": align_corners}
    eye = np.eye(3, dtype=np.float32)
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]], np.float32)
    transforms = (eye[:2], eye, np.zeros((*image.shape[:2], 2), np.float32), corners)
    for warped in call(all_warps, image, *transforms, **options):
        np.testing.assert_array_equal(warped, image)


@given(image=IMAGES, mode=CHOICES["mode"], align_corners=CHOICES["align_corners"])
def test_identity_grid_returns_the_image(image, mode, align_corners):
    grid = call(ops.affine_grid, jnp.eye(3)[:2], shape=image.shape[:2], align_corners=align_corners)
    options = {"mode": mode, "align_corners": align_corners, "padding_mode": "border"}
    np.testing.assert_allclose(call(ops.grid_sample, image, grid, **options), image, atol=6 * 2**-22)


@given(image=IMAGES, mode=CHOICES["mode"], align_corners=CHOICES["align_corners"])
def test_flip_is_exact_and_its_own_inverse(image, mode, align_corners):
    flip = jnp.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    options = {"mode": mode, "align_corners": align_corners, "padding_mode": "border"}
    once = call(ops.warp_affine, image, flip, **options)
    np.testing.assert_allclose(once, image[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(call(ops.warp_affine, once, flip, **options), image, atol=1e-6)


@given(
    value=floats(-8, 8),
    grid=GRIDS,
    padding_mode=st.sampled_from(["border", "reflection"]),
    **CHOICES,
)
def test_constant_image_stays_constant(value, grid, padding_mode, mode, align_corners):
    image = jnp.full((4, 3, 2), value, jnp.float32)
    got = call(ops.grid_sample, image, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)
    np.testing.assert_allclose(got, np.full_like(got, value), rtol=1e-6)


@given(image=IMAGES, grid=GRIDS, padding_mode=PADDING, **CHOICES)
def test_samples_stay_in_the_range_of_the_image(image, grid, padding_mode, mode, align_corners):
    got = call(ops.grid_sample, image, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)
    low = 0 if padding_mode == "zeros" else image.min()
    assert got.min() >= low - 1e-6 and got.max() <= image.max() + 1e-6


@given(
    image=arrays(-1, 1, (5, 4, 2)), other=arrays(-1, 1, (5, 4, 2)), factor=floats(-4, 4),
    grid=arrays(-2, 2, (3, 3, 2)), padding_mode=PADDING, **CHOICES,
)  # fmt: skip
def test_sampling_is_linear_in_the_image(image, other, factor, grid, padding_mode, mode, align_corners):
    def sample(image):
        return call(ops.grid_sample, image, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)

    got = sample(image + np.float32(factor) * other)
    np.testing.assert_allclose(got, sample(image) + factor * sample(other), atol=1e-5)


@given(image=IMAGES, dx=st.integers(-6, 6), dy=st.integers(-6, 6), **CHOICES)
def test_whole_pixel_flow_shifts(image, dx, dy, mode, align_corners):
    """A flow of whole pixels reads other pixels, and nothing in between: shift equivariance."""
    h, w = image.shape[:2]
    flow = jnp.broadcast_to(jnp.array([dx, dy], jnp.float32), (h, w, 2))
    rows, columns = np.arange(h) + dy, np.arange(w) + dx
    inside = ((rows >= 0) & (rows < h))[:, None] & ((columns >= 0) & (columns < w))[None]
    want = image[np.clip(rows, 0, h - 1)][:, np.clip(columns, 0, w - 1)] * inside[..., None]
    np.testing.assert_array_equal(call(ops.warp_flow, image, flow, mode=mode, align_corners=align_corners), want)


@given(
    angle=floats(-3, 3),
    scale=floats(0.5, 2),
    move=st.tuples(*[floats(-1, 1)] * 2),
)
def test_projective_without_perspective_is_affine(angle, scale, move):
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    theta = jnp.array([[c, -s, move[0]], [s, c, move[1]]], jnp.float32)
    matrix = jnp.concatenate([theta, jnp.array([[0.0, 0.0, 1.0]])])
    np.testing.assert_allclose(
        call(ops.projective_grid, matrix, shape=(3, 4)), call(ops.affine_grid, theta, shape=(3, 4)), atol=1e-5
    )


@given(image=IMAGES, value=floats(0.125, 8))
def test_constant_weights_give_the_average(image, value):
    weights = jnp.full((*image.shape[:2], 1), value, jnp.float32)
    got = call(ops.weighted_average_pool, image, weights)
    np.testing.assert_allclose(got, call(ops.global_average_pool, image), atol=1e-6)


@given(image=IMAGES, weights=arrays(0.125, 1, (5, 4, 1)))
def test_pooled_values_lie_between_the_extremes(image, weights):
    low, high = image.min((0, 1)) - 1e-6, call(ops.global_max_pool, image) + 1e-6
    pooled = [
        call(ops.weighted_average_pool, image, weights[: image.shape[0], : image.shape[1]]),
        call(ops.lse_pool, image, r=3.0),
        call(ops.gem_pool, image, p=3.0),
        call(ops.global_average_pool, image),
    ]
    for value in pooled:
        assert np.all(value >= low - 1e-3) and np.all(value <= high + 1e-3)


@given(image=arrays(0, 1, (5, 3, 2)), window=st.integers(1, 3), strides=st.integers(1, 3), ceil_mode=st.booleans())
@settings(max_examples=times(10))
def test_pooling_a_constant_returns_it(image, window, strides, ceil_mode):
    image = np.pad(image, ((0, 3), (0, 3), (0, 0)))
    constant = np.full_like(image, 0.5)
    options = {"window": window, "strides": strides, "ceil_mode": ceil_mode}
    np.testing.assert_array_equal(call(ops.avg_pool, constant, **options), call(ops.max_pool, constant, **options))
    assert np.all(call(ops.avg_pool, image, **options) <= call(ops.max_pool, image, **options) + 1e-6)


@given(logits=arrays(-20, 20, (3, 5)), label=st.integers(0, 4), smoothing=st.sampled_from([0.0, 0.1]))
def test_cross_entropy_of_hard_and_soft_labels(logits, label, smoothing):
    labels = np.full(len(logits), label, np.int32)
    soft = np.eye(5, dtype=np.float32)[labels]
    hard = call(losses.cross_entropy, logits, labels, label_smoothing=smoothing)
    np.testing.assert_allclose(
        hard, call(losses.cross_entropy, logits, soft, label_smoothing=smoothing), rtol=1e-5, atol=1e-5
    )
    assert np.all(hard >= -1e-6)
