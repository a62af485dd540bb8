"""Random noise: replay from the key, moments, ranges, batches, dtypes, wrong options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import stats

from jaxcnn import ops
from jaxcnn.augment.counter import counter_normal, counter_uniform
from jaxcnn.augment.noise import (
    random_gaussian_noise,
    random_salt_and_pepper,
    random_shot_noise,
    random_speckle_noise,
)
from tests.support.selection import daily, daily_cases

IMAGE = np.random.default_rng(0).uniform(0.2, 0.8, (9, 8, 3)).astype(np.float32)
ALL = [
    (random_gaussian_noise, ops.add_gaussian_noise, counter_normal, "sigma", (0.05, 0.2)),
    (random_speckle_noise, ops.add_speckle_noise, counter_normal, "sigma", (0.05, 0.2)),
    (random_shot_noise, ops.add_shot_noise, counter_uniform, "photons", (20.0, 50.0)),
    (random_salt_and_pepper, ops.add_salt_and_pepper, counter_uniform, "amount", (0.1, 0.4)),
]
EACH = pytest.mark.parametrize(
    ("function", "op", "draw", "option", "ends"), ALL, ids=[function.__name__ for function, *_ in ALL]
)

FEW = pytest.mark.parametrize(
    ("function", "op", "draw", "option", "ends"),
    daily_cases(ALL, ALL[2:3]),
    ids=[function.__name__ for function, *_ in ALL],
)


def close(got, want):
    """Compares images; the order of roundings may move a count of photons at its edge in a pixel or two."""
    difference = np.abs(np.asarray(got, np.float32) - np.asarray(want, np.float32))
    assert np.mean(difference > 1e-5) < 0.01, f"{np.mean(difference > 1e-5)} of the values differ"


@FEW
def test_replay(function, op, draw, option, ends, key):
    pixels, rest = jax.random.split(key)
    numbers = draw(pixels, IMAGE.shape)
    places = counter_uniform(rest, (2,))
    value = ends[0] + (ends[1] - ends[0]) * places[0]
    close(function(key, IMAGE, **{option: ends}), op(IMAGE, numbers, value))
    close(function(key, IMAGE, **{option: ends[1]}), op(IMAGE, numbers, ends[1]))
    if option == "amount":
        got = function(key, IMAGE, amount=ends, salt=(0.2, 0.9))
        close(got, op(IMAGE, numbers, value, salt=0.2 + 0.7 * places[1]))


@pytest.mark.nightly
@FEW
def test_an_example_does_not_depend_on_its_batch(function, op, draw, option, ends, key):
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(5))
    images = np.stack([IMAGE * (0.5 + 0.1 * i) for i in range(5)]).astype(np.float32)
    one = functools.partial(function, **{option: ends})
    batch = jax.jit(jax.vmap(one))(keys, images)
    close(jax.jit(jax.vmap(one))(keys[2:4], images[2:4]), batch[2:4])
    one = jax.jit(one)
    for i in range(5):
        close(one(keys[i], images[i]), batch[i])
    assert len({float(jnp.abs(noisy - image).sum()) for noisy, image in zip(batch, images, strict=True)}) == 5


@FEW
def test_leading_axes_have_one_strength_and_noise_of_their_own(function, op, draw, option, ends, key):
    images = np.stack([IMAGE, IMAGE])
    noisy = function(key, images, **{option: ends})
    assert noisy.shape == images.shape
    assert np.mean(np.asarray(noisy[0] != noisy[1])) > 0.15
    assert function(key, images[:0], **{option: ends}).shape == (0, 9, 8, 3)


@EACH
@pytest.mark.parametrize("dtype", daily(["uint8", "bfloat16", "float32"], ["uint8"]))
def test_dtypes(function, op, draw, option, ends, dtype, key):
    image = jnp.asarray(IMAGE * 255, jnp.uint8) if dtype == "uint8" else jnp.asarray(IMAGE, dtype)
    noisy = jax.jit(functools.partial(function, **{option: ends}))(key, image)
    assert noisy.dtype == image.dtype
    whole = 255 if dtype == "uint8" else 1
    values = np.asarray(noisy, np.float32) / whole
    want = np.asarray(function(key, np.asarray(image, np.float32) / whole, **{option: ends}))
    assert np.mean(np.abs(values - want) > 0.005) < 0.01
    assert values.min() >= 0 and values.max() <= 1


def test_gaussian_moments(key):
    noisy = np.asarray(random_gaussian_noise(key, jnp.full((200, 200, 3), 0.5), sigma=0.05), np.float64) - 0.5
    n = noisy.size
    assert abs(noisy.mean()) < 5 * 0.05 / np.sqrt(n)
    assert abs(noisy.var() / 0.05**2 - 1) < 5 * np.sqrt(2 / n)


def test_speckle_moments(key):
    noisy = np.asarray(random_speckle_noise(key, jnp.full((200, 200, 3), 0.4), sigma=0.1), np.float64) - 0.4
    n = noisy.size
    assert abs(noisy.mean()) < 5 * 0.04 / np.sqrt(n)
    assert abs(noisy.var() / 0.04**2 - 1) < 5 * np.sqrt(2 / n)


@pytest.mark.parametrize("photons", [8.0, 100.0])
def test_shot_counts_are_those_of_poisson(key, photons):
    noisy = random_shot_noise(key, jnp.full((200, 200, 3), 0.4), photons=photons)
    counts = np.round(np.asarray(noisy, np.float64) * photons).astype(int)
    law = stats.poisson(0.4 * photons)
    # Counts above white are clipped to white; what is rare goes into the first and the last cell.
    low, high = int(law.ppf(1e-3)), min(int(law.ppf(1 - 1e-3)), int(photons))
    seen = np.bincount(np.clip(counts, low, high).ravel() - low, minlength=high - low + 1)
    cells = np.diff([0, *law.cdf(np.arange(low, high)), 1])
    assert stats.chisquare(seen, cells * counts.size).pvalue > 1e-6


def test_shares_of_salt_and_pepper(key):
    noisy = np.asarray(random_salt_and_pepper(key, jnp.full((200, 200, 3), 0.5), amount=0.2, salt=0.25))
    for value, share in ((1.0, 0.05), (0.0, 0.15), (0.5, 0.8)):
        law = stats.binom(noisy.size, share)
        assert 1e-7 < law.cdf((noisy == value).sum()) < 1 - 1e-7


def test_strengths_fill_their_range(key):
    keys = jax.random.split(key, 400)
    noise = functools.partial(random_gaussian_noise, sigma=(0.05, 0.15))
    found = np.asarray(jax.jit(jax.vmap(noise, (0, None)))(keys, jnp.full((24, 24, 3), 0.5))).std((1, 2, 3))
    assert 0.045 < found.min() < 0.055 and 0.145 < found.max() < 0.16
    assert stats.kstest(found, stats.uniform(0.05, 0.1).cdf).pvalue > 1e-6


@FEW
def test_sharded_images(function, op, draw, option, ends, key):
    """A mesh with named axes may have cut the images, while the draw knows of no mesh."""
    images = np.stack([IMAGE, IMAGE])
    want = function(key, images, **{option: ends})
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
        with jax.set_mesh(mesh):
            placed = jax.device_put(images, NamedSharding(mesh, P("data")))
            close(jax.jit(functools.partial(function, **{option: ends}))(key, placed), want)


@pytest.mark.errors
@EACH
def test_errors(function, op, draw, option, ends, key):
    name = function.__name__
    for wrong in (-1.0, (0.3, 0.1), (0.1, 0.2, 0.3), float("nan"), "much", None):
        with pytest.raises(ValueError, match=rf"{name}: {option} must be a number or \(low, high\), finite, "):
            function(key, IMAGE, **{option: wrong})
    with pytest.raises(ValueError, match=rf"{name}: key must be one typed key, got uint32\(2,\)"):
        function(jnp.zeros(2, jnp.uint32), IMAGE)
    with pytest.raises(ValueError, match="image must be .*uint8 or floating.*, got int32"):
        function(key, np.ones((4, 4, 3), np.int32))
