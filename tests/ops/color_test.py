"""Color, hue, tone and color matrices: exact identities, shapes, dtypes, gradients at their edges, messages."""

import functools

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest

from jaxcnn import ops
from tests.support import released
from tests.support.selection import daily, daily_cases
from tests.support.untyped import untyped

RNG = np.random.default_rng(3)
IMAGE = RNG.uniform(size=(2, 9, 7, 3)).astype(np.float32)
BYTES = RNG.integers(0, 256, (2, 9, 7, 3)).astype(np.uint8)
# black, white, gray, primary colors, two equal channels, and hardly any color
EDGES = np.array(
    [
        *([0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.2], [0.2, 0.5, 0.5]),
        *([1e-30, 0, 0], [0.5, 0.5, 0.5 + 1e-7], [1e-20, 2e-20, 3e-20]),
    ],
    np.float32,
)[None]
ADJUSTED = {
    # function, its identity
    "brightness": (ops.adjust_brightness, 1.0),
    "contrast": (ops.adjust_contrast, 1.0),
    "gamma": (ops.adjust_gamma, 1.0),
    "hue": (ops.adjust_hue, 0.0),
    "saturation": (ops.adjust_saturation, 1.0),
    "sharpness": (ops.adjust_sharpness, 1.0),
    "posterize": (ops.posterize, 8),
    "blur": (lambda x, sigma: ops.gaussian_blur(x, sigma, kernel_size=3), 0.0),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    daily_cases(
        [(name, dtype) for name in ADJUSTED for dtype in ("float32", "uint8", "bfloat16")],
        [*((name, "float32") for name in ("contrast", "hue", "blur")), ("hue", "uint8"), ("contrast", "bfloat16")],
    ),
)
def test_the_identity_is_exact_also_traced(name, dtype):
    function, identity = ADJUSTED[name]
    image = jnp.asarray(BYTES) if dtype == "uint8" else jnp.asarray(IMAGE, dtype)
    traced = released.jit(function)(image, jnp.asarray(identity))
    static = released.jit(lambda x: function(x, identity))(image)
    for result in (traced, static):
        assert result.dtype == image.dtype
        np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("name", daily(ADJUSTED, ("contrast", "hue", "blur", "posterize")))
def test_one_amount_per_example(name):
    function, identity = jax.jit(ADJUSTED[name][0]), ADJUSTED[name][1]
    amounts = jnp.asarray([identity, 3]) if name == "posterize" else jnp.asarray([identity, 0.4])
    got = function(IMAGE, amounts)
    np.testing.assert_array_equal(got[0], IMAGE[0])
    np.testing.assert_allclose(got[1], function(IMAGE[1], amounts[1]), atol=1e-6)
    assert np.abs(np.asarray(got[1]) - IMAGE[1]).max() > 0.01
    many = function(IMAGE[0], amounts)  # one image, two amounts
    np.testing.assert_allclose(many[1], function(IMAGE[0], amounts[1]), atol=1e-6)
    nested = function(IMAGE[:, None], amounts[None])
    assert nested.shape == (2, 2, 9, 7, 3)
    np.testing.assert_allclose(nested[1, 1], got[1], atol=1e-6)


@pytest.mark.parametrize("name", ADJUSTED)
def test_uint8_is_the_rounded_result_of_floats(name):
    function, _ = ADJUSTED[name]
    some = 3 if name == "posterize" else 0.4
    got = jax.jit(function)(BYTES, some)
    want = np.asarray(jax.jit(function)(jnp.asarray(BYTES, jnp.float32) / 255, some)) * 255
    assert got.dtype == jnp.uint8
    assert np.abs(np.asarray(got, np.float32) - want).max() <= 0.501


def test_gray_weights_and_channels():
    gray = ops.rgb_to_grayscale(IMAGE)
    assert gray.shape == (2, 9, 7, 1)
    np.testing.assert_allclose(gray[..., 0], IMAGE @ np.array([0.2989, 0.587, 0.114], np.float32), rtol=1e-6)
    np.testing.assert_array_equal(ops.to_grayscale(IMAGE), np.repeat(gray, 3, -1))
    for function in (ops.to_grayscale, lambda x: ops.adjust_saturation(x, 0.2), lambda x: ops.adjust_hue(x, 0.2)):
        np.testing.assert_array_equal(function(IMAGE[..., :1]), IMAGE[..., :1])


def test_contrast_of_any_number_of_channels_keeps_the_mean():
    five = RNG.uniform(0.4, 0.6, (6, 5, 5)).astype(np.float32)
    got = np.asarray(ops.adjust_contrast(five, 1.5))
    np.testing.assert_allclose(got.mean(), five.mean(), rtol=1e-6)
    np.testing.assert_allclose(got - five.mean(), 1.5 * (five - five.mean()), atol=1e-6)


def test_without_clipping_values_leave_the_range():
    for function in (ops.adjust_brightness, ops.adjust_contrast, ops.adjust_saturation):
        free = np.asarray(function(IMAGE, 3.0, clip=False))
        assert max(free.max() - 1, -free.min()) > 0.1
        np.testing.assert_array_equal(function(IMAGE, 3.0), free.clip(0, 1))


def test_hsv_against_matplotlib_and_back():
    to_hsv, to_rgb = jax.jit(ops.rgb_to_hsv), jax.jit(ops.hsv_to_rgb)
    image = np.concatenate([IMAGE.reshape(-1, 1, 3), EDGES[0, :8, None]])
    got = np.asarray(to_hsv(image))
    np.testing.assert_allclose(got, matplotlib.colors.rgb_to_hsv(image), atol=1e-6)
    assert got[..., 0].max() < 1
    np.testing.assert_allclose(to_rgb(got), image, atol=1e-6)
    hues = np.linspace(0, 1, 50, dtype=np.float32)[None, :, None]
    wheel = hues * np.array([1, 0, 0], np.float32) + np.array([0, 0.7, 0.9], np.float32)
    np.testing.assert_allclose(to_rgb(wheel), matplotlib.colors.hsv_to_rgb(wheel), atol=1e-6)
    np.testing.assert_allclose(to_rgb(wheel - np.array([2, 0, 0], np.float32)), to_rgb(wheel), atol=5e-6)


def test_hue_rotations_add_up_and_keep_the_extremes():
    adjust_hue = jax.jit(ops.adjust_hue)
    third = adjust_hue(IMAGE, 1 / 3)
    np.testing.assert_allclose(third, np.roll(IMAGE, 1, -1), atol=2e-6)
    twice = adjust_hue(adjust_hue(IMAGE, 0.15), 0.2)
    np.testing.assert_allclose(twice, adjust_hue(IMAGE, 0.35), atol=5e-6)
    np.testing.assert_allclose(np.max(third, -1), IMAGE.max(-1), atol=1e-6)


EDGE_CASES = [*ADJUSTED, "hsv", "rgb", "autocontrast", "equalize", "solarize"]


@pytest.mark.parametrize("name", daily(EDGE_CASES, ("hue", "contrast", "sharpness", "gamma", "hsv", "equalize")))
def test_gradients_are_finite_at_the_edges(name):
    conversions = {"hsv": ops.rgb_to_hsv, "rgb": ops.hsv_to_rgb}
    conversions |= {"autocontrast": ops.autocontrast, "equalize": ops.equalize}
    edges = jnp.asarray(np.broadcast_to(EDGES, (3, *EDGES.shape[1:])))
    if name in conversions or name in ("solarize", "posterize"):
        stepped = {"solarize": lambda x: ops.solarize(x, 0.5), "posterize": lambda x: ops.posterize(x, 4)}
        function = (conversions | stepped)[name]
        found = [jax.jit(jax.grad(lambda x: jnp.sum(function(x) ** 2)))(edges)]
    else:
        function, identity = ADJUSTED[name]
        slopes = jax.jit(jax.grad(lambda x, a: jnp.sum(function(x, a) ** 2), (0, 1)))
        found = [slope for value in (identity, 0.0, 0.3) for slope in slopes(edges, jnp.float32(value))]
    for gradient in found:
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma", "hue", "saturation"])
def test_the_identity_passes_gradients_on(name):
    """Also of black and white, and the amount has its own."""
    function, identity = ADJUSTED[name]
    image = jnp.asarray(np.concatenate([IMAGE[0], np.zeros((1, 7, 3)), np.ones((1, 7, 3))]), jnp.float32)
    weights = jnp.asarray(RNG.normal(size=image.shape), jnp.float32)
    total = jax.jit(lambda x, a: jnp.sum(weights[: len(x)] * function(x, a)))
    by_image, by_amount = jax.jit(jax.grad(total, (0, 1)))(image, jnp.float32(identity))
    inner = slice(0, 9) if name == "gamma" else slice(None)  # x^g at 0 has the gradient 0
    inner = slice(0, 9) if name == "hue" else inner  # the hue of gray is arbitrary
    np.testing.assert_allclose(by_image[inner], weights[inner], atol=2e-5)
    assert np.abs(by_amount) > 1e-3
    if name in ("gamma", "hue"):
        high, low = (total(image[:9], identity + step) for step in (1e-3, -1e-3))
        np.testing.assert_allclose(by_amount, (high - low) / 2e-3, rtol=0.05, atol=0.05)


def test_posterize_and_equalize_of_floats_are_those_of_levels():
    floats, posterize, equalize = jnp.asarray(BYTES, jnp.float32) / 255, jax.jit(ops.posterize), jax.jit(ops.equalize)
    for bits in range(9):
        want = BYTES & (255 - (255 >> bits))
        np.testing.assert_array_equal(posterize(BYTES, bits), want)
        np.testing.assert_allclose(posterize(floats, bits), want / np.float32(255), atol=1e-7)
    big = RNG.integers(60, 90, (40, 30, 2)).astype(np.uint8)
    got = np.asarray(equalize(big))
    np.testing.assert_allclose(equalize(jnp.asarray(big, jnp.float32) / 255), got / np.float32(255), atol=1e-7)
    assert got.min() == 0
    assert got.max() == 255


def test_equalize_keeps_what_cannot_be_equalized():
    for image in (np.full((20, 30, 1), 77, np.uint8), BYTES[0]):  # one level; fewer than 255 pixels
        np.testing.assert_array_equal(jax.jit(ops.equalize)(image), image)


def test_autocontrast_spans_the_range_and_keeps_flat_channels():
    image = (0.2 + 0.5 * IMAGE).astype(np.float32)
    image[..., 2] = 0.3
    got = np.asarray(jax.jit(ops.autocontrast)(image))
    np.testing.assert_array_equal(got[..., :2].min((1, 2)), 0)
    np.testing.assert_allclose(got[..., :2].max((1, 2)), 1, atol=1e-6)
    np.testing.assert_array_equal(got[..., 2], image[..., 2])


def test_solarize_per_example():
    got = np.asarray(ops.solarize(BYTES, jnp.array([256.0, 100.0])))
    np.testing.assert_array_equal(got[0], BYTES[0])
    np.testing.assert_array_equal(got[1], np.where(BYTES[1] >= 100, 255 - BYTES[1], BYTES[1]))
    np.testing.assert_array_equal(ops.invert(ops.invert(BYTES)), BYTES)


def test_gamma_of_black_and_of_nothing():
    got = jax.jit(ops.adjust_gamma)(jnp.array([[[0.0, 0.25, -0.5]]]), jnp.array([0.0, 0.5, 2.0]), gain=2.0)
    np.testing.assert_allclose(got[:, 0, 0], [[1, 1, 1], [0, 1, 0], [0, 0.125, 0]], atol=1e-6)


def test_permutations_static_and_traced():
    for image in (IMAGE, BYTES):
        static = jax.jit(lambda image: ops.permute_channels(image, (1, 2, 0)))
        np.testing.assert_array_equal(static(image), image[..., [1, 2, 0]])
        orders = jnp.array([[2, 1, 0], [0, 0, 3]])
        got = jax.jit(ops.permute_channels)(image, orders)
        np.testing.assert_array_equal(got[0], image[0, ..., ::-1])
        np.testing.assert_array_equal(got[1, ..., :2], image[1, ..., [0, 0]].transpose(1, 2, 0))
        np.testing.assert_array_equal(got[1, ..., 2], 0)


def test_color_matrices_are_the_operations_without_clipping():
    factors = jnp.array([0.4, 1.8])
    apply, brightness, contrast, saturation = (
        jax.jit(function, static_argnames="clip")
        for function in (ops.apply_color_matrix, ops.adjust_brightness, ops.adjust_contrast, ops.adjust_saturation)
    )
    for matrix, function in ((ops.brightness_matrix, brightness), (ops.saturation_matrix, saturation)):
        got = apply(IMAGE, matrix(factors), clip=False)
        np.testing.assert_allclose(got, function(IMAGE, factors, clip=False), atol=1e-6)
    means = jnp.mean(ops.rgb_to_grayscale(IMAGE), (1, 2, 3))
    contrasts, changed = ops.contrast_matrix(factors, means), contrast(IMAGE, factors, clip=False)
    np.testing.assert_allclose(apply(IMAGE, contrasts, clip=False), changed, atol=2e-6)
    both = jnp.matmul(ops.saturation_matrix(0.5), contrasts, precision="highest")
    chain = saturation(changed, 0.5, clip=False)
    np.testing.assert_allclose(apply(IMAGE, both, clip=False), chain, atol=2e-6)
    np.testing.assert_array_equal(apply(BYTES, both[:, :3]), apply(BYTES, both))


@pytest.mark.parametrize("image", [IMAGE, BYTES], ids=["float32", "uint8"])
def test_unit_matrices_are_exact(image):
    for matrix in (
        jnp.eye(3, 4),
        ops.brightness_matrix(1.0),
        ops.saturation_matrix(1.0),
        ops.contrast_matrix(1.0, 0.3),
    ):
        np.testing.assert_array_equal(released.jit(ops.apply_color_matrix)(image, matrix), image)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.adjust_hue(IMAGE, 0.6), r"adjust_hue: delta must be in \[-0.5, 0.5\], got 0.6."),
        (lambda: ops.adjust_gamma(IMAGE, -1), "adjust_gamma: gamma must be at least 0, got -1."),
        (lambda: ops.adjust_brightness(IMAGE, jnp.ones(3)), "image and factor must be of leading axes that broadcast"),
        (lambda: ops.adjust_brightness(IMAGE.astype(int), 1), "image must be of a floating dtype or uint8"),
        (lambda: ops.adjust_brightness(IMAGE[0, 0], 1), r"image must be of shape \(..., h, w, c\)"),
        (lambda: ops.adjust_contrast(IMAGE, untyped("1")), "adjust_contrast: factor must be an array of numbers"),
        (lambda: ops.adjust_saturation(IMAGE[..., :2], 1), "image must be of 1 or 3 channels"),
        (lambda: ops.rgb_to_hsv(IMAGE[..., :1]), "rgb_to_hsv: image must be of 3 channels"),
        (lambda: ops.posterize(IMAGE, 9), "posterize: bits must be an integer from 0 to 8, got 9."),
        (lambda: ops.posterize(IMAGE, jnp.ones(2)), "posterize: bits must be of an integer dtype"),
        (lambda: ops.permute_channels(IMAGE, (0, 0, 1)), "the numbers 0 to 2 in some order"),
        (lambda: ops.permute_channels(IMAGE, jnp.arange(2)), r"integers of shape \(..., 3\)"),
        (lambda: ops.apply_color_matrix(IMAGE, jnp.eye(3)), r"matrix must be of shape \(..., 3, 4\) or"),
        (lambda: ops.contrast_matrix(jnp.ones(2), jnp.ones(3)), "factor and mean must be of leading axes"),
        (lambda: ops.equalize(IMAGE[:, :0]), "image must be at least 1 x 1 pixels"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@jax.jit
@functools.partial(jax.jacfwd, argnums=1)
def slope_to_saturation(hue, saturation):
    return ops.hsv_to_rgb(jnp.stack([hue, saturation, jnp.float32(0.5)])[None, None])[0, 0]


@pytest.mark.parametrize("hue", [0.05, 0.3, 0.5, 0.9])
def test_the_gradient_to_saturation_does_not_change_at_none(hue):
    none, little = (slope_to_saturation(jnp.float32(hue), jnp.float32(saturation)) for saturation in (0.0, 1e-3))
    np.testing.assert_allclose(none, little, atol=1e-5)
    assert float(none.max()) <= 0


@jax.jit
@jax.jacrev
def slope_of_hue(image):
    return ops.adjust_hue(image, 0.2)


@pytest.mark.parametrize("value", daily([0.0, 0.5, 1.0], [0.5]))
def test_the_gradient_of_rotated_gray_is_like_that_of_red(value):
    """A mean of the channels, and none below zero: three equal values are a corner of the function."""
    jacobian = slope_of_hue(jnp.full((1, 1, 3), value)).reshape(3, 3)
    np.testing.assert_allclose(jacobian.sum(1), 1, atol=1e-6)
    assert float(jacobian.min()) >= 0
