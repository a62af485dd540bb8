"""Every augmentation: dtypes, shapes, identity, reproducible draws, gradients, channels, error messages."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment, ops
from tests.augment.functions import (
    ALL,
    FAMILIES,
    FLAT,
    IMAGE,
    KEY,
    NOTHING,
    P,
    as_uint8,
    function,
    photograph,
)
from tests.support.public import public
from tests.support.selection import daily
from tests.support.untyped import untyped


def test_every_random_function_is_here():
    names = {p.name for p in public("augment") if p.name.startswith("random_") and p.name != "random_apply"}
    assert names | {"center_crop"} == set(ALL)
    assert set(ALL) - set(NOTHING) == {"random_shot_noise", "random_cutout"}  # which have no draw that does nothing


@pytest.mark.parametrize("name", daily(ALL, FAMILIES - {"random_tps"} | {"random_shot_noise"}))
def test_dtypes_shapes_and_draws(name):
    """The key of example i of a batch is folded from the batch's; draws differ between keys, not between dtypes."""
    f = function(name)
    batch = jax.jit(augment.batched(f))(KEY, jnp.stack([IMAGE] * 6))
    key, narrow = jax.random.fold_in(KEY, 5), IMAGE.astype(jnp.bfloat16)
    result, levels, rounded = jax.jit(lambda key, *images: [f(key, image) for image in images])(
        key, IMAGE, as_uint8(IMAGE), narrow
    )
    assert result.dtype == IMAGE.dtype and result.ndim == 3 and result.shape[-1] == 3
    assert result.shape == IMAGE.shape or "crop" in name
    assert float(result.min()) >= 0 and float(result.max()) <= 1 + 1e-6
    assert not np.array_equal(result, IMAGE)
    np.testing.assert_allclose(batch[5], result, atol=1e-5)
    same = [np.array_equal(batch[0], other) for other in batch[1:]]
    fixed = {"random_flip_left_right", "random_flip_up_down", "random_grayscale", "random_invert", "random_solarize"}
    fixed |= {"random_equalize", "random_autocontrast", "center_crop"}
    assert all(same) if name in fixed else not all(same)
    assert levels.dtype == jnp.uint8 and levels.shape == result.shape
    near = np.abs(np.asarray(levels, np.float32) / 255 - np.asarray(result))
    if name in FLAT | {"random_shot_noise"}:
        assert np.mean(near > 2.5 / 255) < 0.1  # a rounded level may fall on the other side of a jump
    else:
        assert near.max() < 2.5 / 255, name
    assert rounded.dtype == jnp.bfloat16
    assert np.mean(np.abs(np.asarray(rounded, np.float32) - np.asarray(result)) > 0.05) < 0.12


@pytest.mark.parametrize(
    "name", daily(NOTHING, ("random_affine", "random_gaussian_blur", "random_erasing"))
)  # all of them in one, see TestSequence
def test_options_that_change_nothing_return_the_image(name):
    f, images = function(name, NOTHING), (IMAGE, as_uint8(IMAGE))
    results = jax.jit(lambda key, *images: [f(key, image) for image in images])(KEY, *images)
    for result, image in zip(results, images, strict=True):
        np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize(
    "name",
    daily(["random_affine", "random_hue", "random_rotate_90", "random_gaussian_noise"], ["random_affine"]),
)
def test_without_jit_results_are_the_same(name):
    np.testing.assert_allclose(function(name)(KEY, IMAGE), jax.jit(function(name))(KEY, IMAGE), atol=1e-5)
    np.testing.assert_array_equal(function(name, NOTHING)(KEY, IMAGE), IMAGE)


@pytest.mark.parametrize(
    "name",
    daily(sorted(set(ALL) - FLAT - {"random_autocontrast", "random_shot_noise"}), ("random_affine", "random_erasing")),
)
def test_gradients_are_those_of_differences(name):
    f = function(name)
    image = 0.3 + 0.4 * IMAGE  # away from where colors are clipped
    weights, direction = np.random.default_rng(0).normal(size=(2, *IMAGE.shape)).astype(np.float32)
    shape = jax.eval_shape(f, KEY, image).shape

    @jax.jit
    def total(image):
        return jnp.sum(f(KEY, image) * weights[: shape[0], : shape[1]])

    slope, step = jnp.vdot(jax.grad(total)(image), direction), 1e-3
    difference = (total(image + step * direction) - total(image - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=0.05, atol=0.15)


COLORED = {"random_saturation", "random_hue", "random_color_jitter", "random_grayscale"}


@pytest.mark.parametrize("name", ALL)
def test_any_number_of_channels(name):
    if name in COLORED:
        with pytest.raises(ValueError, match="channel"):
            function(name)(KEY, photograph(channels=2))
    else:
        assert jax.eval_shape(function(name), KEY, photograph(channels=2)).shape[-1] == 2


@pytest.mark.parametrize("name", sorted(COLORED))
def test_gray_images_are_not_changed(name):
    options = {} if name == "random_color_jitter" else ALL[name]
    np.testing.assert_array_equal(
        P(getattr(augment, name), **options)(KEY, photograph(channels=1)), photograph(channels=1)
    )


def test_positive_angles_rotate_clockwise():
    np.testing.assert_allclose(ops.affine(IMAGE, degrees=90.0), jnp.rot90(IMAGE, -1), atol=1e-5)
    np.testing.assert_allclose(ops.affine(IMAGE, translate=(2.0, -1.0))[:-1, 2:], IMAGE[1:, :-2], atol=1e-6)


@pytest.mark.errors
class TestErrors:
    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: augment.random_rotation(KEY, jnp.ones((4, 4, 1), jnp.int32)), "random_rotation: image must be"),
            (lambda: augment.random_rotation(KEY, jnp.ones((4, 4))), r"uint8 or floating.*got float32\(4, 4\)"),
            (lambda: augment.random_rotation(KEY, {"mask": IMAGE}), 'a dictionary with "image"'),
            (lambda: augment.random_rotation(KEY, IMAGE, degrees=-1.0), "degrees must be a number of at least 0"),
            (lambda: augment.random_rotation(KEY, IMAGE, mode=untyped("cubic")), "mode must be one of"),
            (lambda: augment.random_hue(KEY, IMAGE, hue=0.7), r"hue must be within \[-0.5, 0.5\]"),
            (lambda: augment.random_flip_left_right(KEY, IMAGE, p=1.5), r"p must be in \[0, 1\]"),
            (lambda: augment.random_crop(KEY, IMAGE, shape=(99, 4)), "shape must be within the image's"),
            (lambda: augment.random_rotate_90(KEY, jnp.ones((4, 6, 1))), "turns must be even, or the image square"),
            (lambda: augment.random_affine(KEY, IMAGE, scale=(0.0, 1.0)), r"scale must be \(low, high\) above 0"),
            (lambda: augment.random_affine(KEY, IMAGE, shear=90.0), "shear must be between -90 and 90 degrees"),
            (lambda: augment.random_hue(untyped(0), IMAGE), "random_hue: key must be one typed key, got 0"),
            (
                lambda: augment.random_crop(jax.random.split(KEY), IMAGE, shape=(4, 4)),
                r"one typed key, got key<fry>\(2,\)",
            ),
            (
                lambda: augment.batched(augment.random_hue)(jax.random.PRNGKey(0), IMAGE[None]),
                r"batched: key must be one",
            ),
            (lambda: augment.batched(augment.random_hue)(KEY, IMAGE[None], start=-1), "start must be an integer of at"),
            (
                lambda: augment.batched(augment.random_hue)(KEY, IMAGE[None], start=untyped(0.5)),
                "start must be an integer of at",
            ),
            (
                lambda: augment.one_of([augment.random_hue, P(augment.random_crop, shape=(4, 4))])(KEY, IMAGE),
                r"one_of: functions must be such that all give float32\(12, 12, 3\), got float32\(4, 4, 3\)",
            ),
            (lambda: augment.sequence([]), "sequence: functions must be"),
            (
                lambda: augment.random_apply(
                    augment.sequence([P(augment.random_crop, shape=(4, 4)), augment.random_hue])
                )(KEY, IMAGE),
                r"random_apply: function must be one that keeps the shape, got one from \(12, 12\) to \(4, 4\)",
            ),
            (
                lambda: augment.random_rotate_90(KEY, IMAGE, turns=untyped(1)),
                "turns must be a tuple of at least one integer",
            ),
            (lambda: augment.random_invert(KEY, IMAGE, p=untyped("half")), r"p must be in \[0, 1\]"),
            (
                lambda: augment.random_rotation(KEY, {"image": IMAGE, "mask": IMAGE[:6, :6, 0]}),
                r"random_rotation: mask must be \(12, 12\) or \(12, 12, k\), as the image, got \(6, 6\)",
            ),
            (
                lambda: augment.random_pad_and_crop(KEY, IMAGE, padding_mode="fill", fill_value=(0.1, 0.2)),
                "fill_value must be one value or 3, one per channel",
            ),
            (lambda: augment.one_of([augment.random_hue], weights=[1, 2]), "weights must be 1 numbers"),
            (lambda: augment.batched(augment.random_hue)(KEY, {"a": jnp.ones(3), "b": jnp.ones(4)}), "one leading"),
        ],
    )
    def test_say_what_was_expected(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "name",
    daily(
        [*ALL, "rand_augment", "trivial_augment", "auto_augment", "aug_mix"],
        {*sorted(FAMILIES)[::2], "trivial_augment"},
    ),
)
def test_levels_and_integer_points_under_strict_promotion(name):
    f = function(name) if name in ALL else getattr(augment, name)
    examples: list[Any] = [as_uint8(IMAGE), IMAGE.astype(jnp.bfloat16)]
    if name != "aug_mix":
        points = {"keypoints": jnp.array([[2, 3, 1]]), "boxes": jnp.array([[2, 3, 5, 7]])}
        examples.append({"image": as_uint8(IMAGE), "mask": as_uint8(IMAGE)[..., 0], **points})
    with jax.numpy_dtype_promotion("strict"):
        results = jax.eval_shape(lambda examples: [f(KEY, example) for example in examples], examples)
    assert results[0].dtype == jnp.uint8 and results[1].dtype == jnp.bfloat16


@pytest.mark.errors
class TestErrorsOfRanges:
    """Levels of 0 to 255 as floating values would be clipped to white."""

    def test_of_levels_as_floats(self):
        levels = IMAGE * 255
        for image in (levels, np.asarray(levels)):
            with pytest.raises(ValueError, match=r"random_hue: image must be in \[0, 1\].*divide levels by 255"):
                augment.random_hue(KEY, {"image": image})
        with pytest.raises(ValueError, match="batched: image must be in"):
            augment.batched(augment.random_hue)(KEY, levels[None])
        moved = augment.random_flip_left_right(KEY, levels, p=1.0)  # which clips nothing
        np.testing.assert_array_equal(moved, levels[:, ::-1])
        assert augment.random_erasing(KEY, 3 * IMAGE - 1).shape == IMAGE.shape  # normalized

    def test_of_functions_that_change_the_dtype(self):
        to_half = augment.random_apply(lambda key, image: image.astype(jnp.float16))
        with pytest.raises(ValueError, match=r"random_apply: function must be one that keeps float32\(12, 12, 3\)"):
            to_half(KEY, IMAGE)
        with pytest.raises(ValueError, match="one_of: functions must be such that all give"):
            augment.one_of([augment.random_hue, lambda key, image: image.astype(jnp.float16)])(KEY, IMAGE)
