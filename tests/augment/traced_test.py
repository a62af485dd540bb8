"""Options that are traced: learned, mapped over, or drawn in the program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment
from tests.augment.functions import FAMILIES, IMAGE, KEY, P
from tests.support.selection import daily
from tests.support.untyped import untyped

NUMBERS = {
    "random_rotation": {"degrees": 30.0},
    "random_translation": {"translate": 0.2},
    "random_scale": {"scale": (0.7, 1.3)},
    "random_shear": {"degrees": (10.0, 20.0)},
    "random_affine": {"degrees": 20.0, "translate": (0.1, 0.2), "scale": (0.8, 1.2), "shear": (-5.0, 5.0, 0.0, 9.0)},
    "random_perspective": {"distortion": 0.4, "p": 1.0},
    "random_tps": {"strength": 0.04},
    "random_elastic": {"alpha": 10.0},
    "random_brightness": {"brightness": 0.3},
    "random_contrast": {"contrast": (0.5, 1.5)},
    "random_saturation": {"saturation": 0.3},
    "random_hue": {"hue": 0.1},
    "random_color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": (-0.1, 0.1)},
    "random_gamma": {"gamma": (0.5, 2.0)},
    "random_grayscale": {"p": 1.0},
    "random_solarize": {"threshold": (0.2, 0.7), "p": 1.0},
    "random_sharpness": {"sharpness": (1.5, 3.0), "p": 1.0},
    "random_gaussian_noise": {"sigma": 0.1},
    "random_speckle_noise": {"sigma": (0.1, 0.2)},
    "random_shot_noise": {"photons": 50.0},
    "random_salt_and_pepper": {"amount": 0.2, "salt": (0.1, 0.4)},
    "random_erasing": {"p": 1.0, "scale": (0.1, 0.3), "ratio": (0.5, 2.0)},
    "random_grid_mask": {"period": (0.4, 0.9), "ratio": 0.5, "p": 1.0},
    "rand_augment": {"magnitude": 9.0},
    "aug_mix": {"severity": 3.0, "alpha": 0.7},
}
STATIC = {"random_gaussian_blur": {"kernel_size": 5}, "random_resized_crop": {"shape": (8, 8)}}
MORE = {
    "random_gaussian_blur": {"sigma": (0.5, 1.5), "p": 1.0},
    "random_resized_crop": {"scale": (0.2, 0.6), "ratio": (0.7, 1.4)},
}


@pytest.mark.parametrize("name", daily(NUMBERS | MORE, {*FAMILIES, "rand_augment", "random_shot_noise"}))
def test_numbers_may_be_traced(name):
    f = P(getattr(augment, name), **STATIC.get(name, {}))
    options = (NUMBERS | MORE)[name]
    jax.eval_shape(lambda options: f(KEY, IMAGE, **options), options)
    if any(isinstance(v, tuple) for v in options.values()):  # a vector is a range as well
        jax.eval_shape(lambda options: f(KEY, IMAGE, **options), {k: jnp.asarray(v) for k, v in options.items()})


def test_traced_numbers_have_the_result_of_known_ones():
    names = ("random_affine", "random_elastic", "random_gamma", "random_erasing", "random_color_jitter")
    tables = {name: (NUMBERS | MORE)[name] for name in names}
    traced = jax.jit(lambda tables: {n: getattr(augment, n)(KEY, IMAGE, **t) for n, t in tables.items()})(tables)
    known = jax.jit(lambda: {n: getattr(augment, n)(KEY, IMAGE, **t) for n, t in tables.items()})()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), traced, known)


def test_a_part_of_traced_shape_falls_back_to_the_largest_in_the_center():
    wide = jnp.tile(jnp.arange(40.0)[None, :, None], (4, 1, 1)) / 40
    for ratio in ((0.5, 0.75), (20.0, 30.0)):
        crop = P(augment.random_resized_crop, shape=(4, 4), scale=(1.0, 1.0))
        traced = jax.jit(lambda ratio, crop=crop: crop(KEY, wide, ratio=ratio))(ratio)
        np.testing.assert_allclose(traced, crop(KEY, wide, ratio=ratio), atol=1e-5)


def test_strengths_are_mapped_over_and_learned():
    angles = jnp.array([10.0, 20.0, 30.0])
    mapped = jax.vmap(lambda degrees: augment.random_rotation(KEY, IMAGE, degrees=degrees))(angles)
    np.testing.assert_allclose(mapped[1], augment.random_rotation(KEY, IMAGE, degrees=20.0), atol=1e-5)

    @jax.jit
    def total(strength):
        return jnp.sum(augment.random_tps(KEY, IMAGE, strength=strength) * IMAGE[::-1])

    difference = (total(0.0401) - total(0.0399)) / 2e-4
    np.testing.assert_allclose(jax.grad(total)(0.04), difference, rtol=0.05)


def test_weights_may_be_traced():
    f = [augment.random_invert, P(augment.random_flip_left_right, p=1.0)]

    def choose(weights):
        return augment.one_of(f, weights=weights)(KEY, IMAGE)

    np.testing.assert_array_equal(jax.jit(choose)(jnp.array([0.0, 2.0])), IMAGE[:, ::-1])


@pytest.mark.errors
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: augment.random_rotation(KEY, IMAGE, degrees=jnp.stack([v, v, v])), "degrees must be a number or"),
        (lambda v: augment.random_rotation(KEY, IMAGE, degrees=v > 0), "degrees must be a number of at least 0"),
        (lambda v: augment.random_elastic(KEY, IMAGE, sigma=v), "sigma must be above 0 and not traced"),
        (lambda v: augment.random_gaussian_blur(KEY, IMAGE, sigma=v), "kernel_size must be an integer where sigma is"),
        (lambda v: augment.rand_augment(KEY, IMAGE, num_ops=v), "num_ops must be an integer of at least 1"),
        (lambda v: augment.random_crop(KEY, IMAGE, shape=(v, 3)), r"shape must be \(h, w\) of positive integers"),
        (lambda v: augment.random_pad_and_crop(KEY, IMAGE, padding=v), "padding must be an integer of at least 0"),
        (lambda v: augment.random_posterize(KEY, IMAGE, bits=v), "bits must be an integer of 1 to 8"),
        (lambda v: augment.random_rotate_90(KEY, IMAGE, turns=(v,)), "turns must be a tuple of at least one integer"),
        (lambda v: augment.random_tps(KEY, IMAGE, points=v), "points must be an integer of at least 2"),
        (lambda v: augment.random_cutout(KEY, IMAGE, size=v), "size must be an integer of at least 1"),
        (lambda v: augment.random_scale(KEY, IMAGE, scale=untyped(v)), r"scale must be \(low, high\) above 0"),
    ],
)
def test_what_cannot_be_traced_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, jnp.int32(2))


@pytest.mark.errors
@pytest.mark.parametrize(
    "options", [{"degrees": jnp.float32(-3)}, {"degrees": (0.0, float("inf"))}, {"degrees": float("nan")}]
)
def test_errors_of_numbers_that_are_known(options):
    with pytest.raises(ValueError, match="random_rotation: degrees must be"):
        augment.random_rotation(KEY, IMAGE, **options)


def test_options_that_must_be_known_may_be_arrays_outside_of_jit():
    for value in (jnp.float32(2), np.float32(2)):
        blurred = augment.random_gaussian_blur(KEY, IMAGE, sigma=value)
        np.testing.assert_allclose(blurred, augment.random_gaussian_blur(KEY, IMAGE, sigma=2.0), atol=1e-5)
