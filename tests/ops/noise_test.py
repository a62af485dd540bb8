"""Noise on images from given numbers: the formulas, Poisson's law, uint8, broadcasting, no noise, wrong input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.support.compiled import ops
from tests.support.selection import daily

RNG = np.random.default_rng(0)
IMAGE = RNG.uniform(0, 1, (2, 7, 5, 3)).astype(np.float32)
BYTES = RNG.integers(0, 256, (2, 7, 5, 3), np.uint8)
NORMAL = RNG.standard_normal((2, 7, 5, 3)).astype(np.float32)
UNIFORM = (RNG.integers(0, 2**24, (2, 7, 5, 3)) / 2**24).astype(np.float32)
ALL = [
    (ops.add_gaussian_noise, NORMAL, 0.3),
    (ops.add_speckle_noise, NORMAL, 0.3),
    (ops.add_shot_noise, UNIFORM, 20.0),
    (ops.add_salt_and_pepper, UNIFORM, 0.3),
]
BY_NAME = pytest.mark.parametrize(("function", "draw", "value"), ALL, ids=lambda x: getattr(x, "__name__", ""))


def quantiles(mean, uniform):
    """Returns the counts of a mean at uniform numbers, through an image of that share of many photons."""
    photons = 4.0 * mean + 200
    image = jnp.full((uniform.size, 1, 1), mean / photons, jnp.float32)
    counts = jax.jit(ops.add_shot_noise)(image, jnp.asarray(uniform, jnp.float32).reshape(-1, 1, 1), photons)
    return np.round(np.asarray(counts, np.float64).ravel() * photons).astype(np.int64)


def test_gaussian_formula():
    want = np.clip(IMAGE + np.float32(0.3) * NORMAL, 0, 1)
    np.testing.assert_allclose(ops.add_gaussian_noise(IMAGE, NORMAL, 0.3), want, atol=1e-6)
    assert (want == 0).any() and (want == 1).any()


def test_speckle_formula():
    want = np.clip(IMAGE * (1 + np.float32(0.3) * NORMAL), 0, 1)
    np.testing.assert_allclose(ops.add_speckle_noise(IMAGE, NORMAL, 0.3), want, atol=1e-6)


def test_salt_and_pepper_formula():
    got = ops.add_salt_and_pepper(IMAGE, UNIFORM, 0.5, salt=0.3)
    want = np.where(UNIFORM < 0.15, 1, np.where(UNIFORM < 0.5, 0, IMAGE))
    np.testing.assert_array_equal(got, want.astype(np.float32))
    pixels = ops.add_salt_and_pepper(BYTES, UNIFORM[..., :1], 0.5, salt=1.0)
    np.testing.assert_array_equal(pixels, np.where(UNIFORM[..., :1] < 0.5, np.uint8(255), BYTES))


@pytest.mark.parametrize("mean", daily([0.003, 0.1, 1.0, 3.7, 9.99], [3.7]))
def test_few_photons_are_counted_exactly(mean):
    """The counts are the quantiles, save where the sum of float32 numbers and the exact one differ."""
    uniform = np.arange(0, 2**24, 61) / 2**24
    got, want = quantiles(mean, uniform), stats.poisson.ppf(uniform, np.float32(mean)).clip(0)
    wrong = got != want
    assert wrong.mean() < 2e-5
    assert np.abs(got - want).max() <= 1


@pytest.mark.parametrize(("mean", "distance"), [(10.01, 2e-4), (20.0, 1e-4), (50.0, 1e-4), (300.0, 2e-4)])
def test_many_photons_follow_the_law(mean, distance):
    """Total variation distance from Poisson's law, of counts at evenly spread numbers; the mean and the variance."""
    number = 2**18
    uniform = (np.arange(number) + 0.5) / number
    counts = quantiles(mean, uniform)
    assert (np.diff(counts) >= 0).all()
    shares = np.bincount(counts, minlength=int(3 * mean) + 40) / number
    exact = stats.poisson.pmf(np.arange(shares.size), mean)
    assert 0.5 * np.abs(shares - exact).sum() < distance
    np.testing.assert_allclose([counts.mean(), counts.var()], mean, rtol=5e-4)


def test_black_has_no_photons_and_tails_end():
    edges = np.array([0.0, 2.0**-24, 0.5, 1 - 2.0**-24], np.float32)
    np.testing.assert_array_equal(quantiles(0.0, edges), 0)
    for mean in (0.01, 0.5, 5.0, 9.5, 12.0, 100.0):
        counts = quantiles(mean, edges)
        assert (np.diff(counts) >= 0).all()
        low, high = stats.poisson.ppf([2.0**-26, 1 - 2.0**-26], mean)
        assert low - 1 <= counts[0] and counts[-1] <= high + 1


@BY_NAME
def test_uint8_is_the_rounded_float(function, draw, value):
    got = jax.jit(function)(BYTES, draw, value)
    assert got.dtype == jnp.uint8
    want = np.asarray(jax.jit(function)((BYTES / np.float32(255)).astype(np.float32), draw, value)) * np.float32(255)
    np.testing.assert_allclose(got.astype(np.float32), np.round(want), atol=0 if function is not ALL[2][0] else 1)


@pytest.mark.parametrize("function", [ops.add_gaussian_noise, ops.add_speckle_noise, ops.add_salt_and_pepper])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16", "float16"])
def test_nothing_gives_the_image_back(function, dtype):
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    image = jnp.asarray(every) if dtype == "uint8" else jnp.asarray(every / 255.0, dtype)
    draw = jnp.zeros((1, 16, 16, 1)) if function is ops.add_salt_and_pepper else jnp.full((1, 16, 16, 1), -3.0)
    got = jax.jit(function)(image, draw, 0.0)
    assert got.dtype == image.dtype
    np.testing.assert_array_equal(got, image)


@BY_NAME
def test_leading_axes_broadcast(function, draw, value):
    function = jax.jit(function)
    values = np.array([[0.5 * value], [value], [0.9 * value]], np.float32)
    got = function(IMAGE, draw[:1], values)
    assert got.shape == (3, 2, 7, 5, 3)
    for i in range(3):
        for j in range(2):
            one = function(IMAGE[j], draw[0], float(values[i, 0]))
            np.testing.assert_allclose(got[i, j], one, atol=1e-6)
    shared = function(IMAGE, draw[..., :1], value)
    whole = function(IMAGE, np.broadcast_to(draw[..., :1], IMAGE.shape), value)
    np.testing.assert_array_equal(shared, whole)
    assert jax.eval_shape(function, IMAGE[:0], draw[:0], value).shape == (0, 7, 5, 3)


@BY_NAME
def test_a_nan_stays_where_it_is(function, draw, value):
    image = IMAGE.copy()
    image[0, 1, 2, 0] = np.nan
    value = 0.0 if function is ops.add_salt_and_pepper else value
    np.testing.assert_array_equal(np.isnan(jax.jit(function)(image, draw, value)), np.isnan(image))


def test_slope_of_gaussian_noise_is_one_where_nothing_is_clipped():
    image = jnp.asarray(IMAGE)
    noisy = image + 0.3 * NORMAL
    slope = jax.jit(jax.grad(lambda image: ops.add_gaussian_noise(image, NORMAL, 0.3).sum()))(image)
    np.testing.assert_array_equal(slope, ((noisy > 0) & (noisy < 1)).astype(np.float32))
    slope = jax.jit(jax.grad(lambda image: ops.add_shot_noise(image, UNIFORM, 20.0).sum()))(image)
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.errors
@BY_NAME
def test_errors(function, draw, value):
    name = function.__name__
    numbers = "uniform" if draw is UNIFORM else "noise"
    with pytest.raises(ValueError, match=rf"{name}: image must be of a floating dtype or uint8, got int32\(2"):
        function(BYTES.astype(np.int32), draw, value)
    with pytest.raises(ValueError, match=rf"{name}: image must be of shape \(\.\.\., h, w, c\), got float32\(5, 3\)"):
        function(IMAGE[0, 0], draw, value)
    with pytest.raises(ValueError, match=rf"{name}: {numbers} must be of shape \(\.\.\., 7, 5, 3\) or "):
        function(IMAGE, draw[..., :2], value)
    with pytest.raises(ValueError, match=f"{name}: {numbers} must be of a floating dtype"):
        function(IMAGE, BYTES, value)
    with pytest.raises(ValueError, match=f"{name}: image, {numbers} and .* must be of leading axes that broadcast"):
        function(IMAGE, draw, np.full(3, value, np.float32))
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"{name}: (sigma|photons|amount) must be .*, got {wrong}\."):
            function(IMAGE, draw, wrong)


@pytest.mark.errors
def test_errors_of_shares():
    for options in ({"amount": 1.1}, {"amount": 0.1, "salt": -0.1}):
        with pytest.raises(ValueError, match=r"add_salt_and_pepper: (amount|salt) must be in \[0, 1\], got"):
            ops.add_salt_and_pepper(IMAGE, UNIFORM, **options)
    with pytest.raises(ValueError, match="add_shot_noise: photons must be positive and finite, got 0"):
        ops.add_shot_noise(IMAGE, UNIFORM, 0)
