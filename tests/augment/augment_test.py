"""Every augmentation: dtypes, shapes, identity, replay, gradients; chains, batches, examples of more than images."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcnn import augment, ops
from jaxcnn.augment import pipeline
from tests.support.public import public

P = functools.partial
KEY = jax.random.key(3)
SIZE = 12


def photograph(size=SIZE, channels=3):
    """Makes something smooth in [0.05, 0.95], in every channel something else."""
    y, x = np.mgrid[:size, :size] / (size - 1)
    waves = [np.sin(3 * x + (1 + i) * y + i) * np.cos(2 * y * (i + 1) - x) for i in range(channels)]
    return jnp.asarray(0.5 + 0.45 * np.stack(waves, -1), jnp.float32)


IMAGE = photograph()

MOVING = {
    "random_flip_left_right": {"p": 1.0},
    "random_flip_up_down": {"p": 1.0},
    "random_rotate_90": {"turns": (1, 3)},
    "random_rotation": {"degrees": 30.0},
    "random_translation": {},
    "random_scale": {},
    "random_shear": {},
    "random_affine": {"degrees": 20.0, "translate": 0.1, "scale": (0.8, 1.2), "shear": 5.0},
    "random_perspective": {"p": 1.0},
    "random_tps": {},
    "random_elastic": {"alpha": 10.0, "sigma": 2.0},
    "random_pad_and_crop": {},
    "random_crop": {"shape": (8, 9)},
    "center_crop": {"shape": (8, 9)},
    "random_resized_crop": {"shape": (8, 9)},
}
COLOURING = {
    "random_brightness": {},
    "random_contrast": {},
    "random_saturation": {},
    "random_hue": {},
    "random_color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "random_gamma": {},
    "random_grayscale": {"p": 1.0},
    "random_channel_shuffle": {},
    "random_invert": {"p": 1.0},
    "random_posterize": {"bits": (3, 5), "p": 1.0},
    "random_solarize": {"p": 1.0},
    "random_equalize": {"p": 1.0},
    "random_autocontrast": {"p": 1.0},
    "random_sharpness": {"p": 1.0, "sharpness": (1.5, 3.0)},
    "random_gaussian_blur": {"sigma": (1.0, 2.0)},
    "random_gaussian_noise": {},
    "random_speckle_noise": {},
    "random_shot_noise": {},
    "random_salt_and_pepper": {"amount": 0.2},
    "random_erasing": {"p": 1.0},
    "random_cutout": {"size": 4},
    "random_grid_mask": {},
}
ALL = MOVING | COLOURING
FLAT = {"random_posterize", "random_solarize", "random_equalize", "random_salt_and_pepper"}  # no or a jumping gradient

NOTHING = {
    "random_flip_left_right": {"p": 0.0},
    "random_flip_up_down": {"p": 0.0},
    "random_rotate_90": {"turns": (0,)},
    "random_rotation": {"degrees": 0.0},
    "random_translation": {"translate": 0.0},
    "random_scale": {"scale": (1.0, 1.0)},
    "random_shear": {"degrees": 0.0},
    "random_affine": {},
    "random_perspective": {"distortion": 0.0, "p": 1.0},
    "random_tps": {"strength": 0.0},
    "random_elastic": {"alpha": 0.0},
    "random_pad_and_crop": {"padding": 0},
    "random_crop": {"shape": (SIZE, SIZE)},
    "center_crop": {"shape": (SIZE, SIZE)},
    "random_resized_crop": {"shape": (SIZE, SIZE), "scale": (1.0, 1.0), "ratio": (1.0, 1.0)},
    "random_brightness": {"brightness": 0.0},
    "random_contrast": {"contrast": 0.0},
    "random_saturation": {"saturation": 0.0},
    "random_hue": {"hue": 0.0},
    "random_color_jitter": {},
    "random_gamma": {"gamma": (1.0, 1.0)},
    "random_grayscale": {"p": 0.0},
    "random_channel_shuffle": {"p": 0.0},
    "random_invert": {"p": 0.0},
    "random_posterize": {"p": 0.0},
    "random_solarize": {"p": 0.0},
    "random_equalize": {"p": 0.0},
    "random_autocontrast": {"p": 0.0},
    "random_sharpness": {"sharpness": (1.0, 1.0), "p": 1.0},
    "random_gaussian_blur": {"p": 0.0},
    "random_gaussian_noise": {"sigma": 0.0},
    "random_speckle_noise": {"sigma": 0.0},
    "random_salt_and_pepper": {"amount": 0.0},
    "random_erasing": {"p": 0.0},
    "random_grid_mask": {"p": 0.0},
}


def function(name, options=ALL):
    return P(getattr(augment, name), **options[name])


def as_uint8(image):
    return jnp.round(image * 255).astype(jnp.uint8)


def test_every_random_function_is_here():
    names = {p.name for p in public("augment") if p.name.startswith("random_") and p.name != "random_apply"}
    assert names | {"center_crop"} == set(ALL)
    assert set(ALL) - set(NOTHING) == {"random_shot_noise", "random_cutout"}  # which have no draw that does nothing


@pytest.mark.parametrize("name", ALL)
def test_dtypes_shapes_and_replay(name):
    f = function(name)
    result = jax.jit(f)(KEY, IMAGE)
    assert result.dtype == IMAGE.dtype and result.ndim == 3 and result.shape[-1] == 3
    assert result.shape == IMAGE.shape or "crop" in name
    assert float(result.min()) >= 0 and float(result.max()) <= 1 + 1e-6
    assert not np.array_equal(result, IMAGE)
    np.testing.assert_allclose(f(KEY, IMAGE), result, atol=1e-5)
    levels = jax.jit(f)(KEY, as_uint8(IMAGE))
    assert levels.dtype == jnp.uint8 and levels.shape == result.shape
    near = np.abs(np.asarray(levels, np.float32) / 255 - np.asarray(result))
    if name in FLAT | {"random_shot_noise"}:
        assert np.mean(near > 2.5 / 255) < 0.1  # a rounded level may fall on the other side of a jump
    else:
        assert near.max() < 2.5 / 255, name
    narrow = jax.jit(f)(KEY, IMAGE.astype(jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    assert np.mean(np.abs(np.asarray(narrow, np.float32) - np.asarray(result)) > 0.05) < 0.12


@pytest.mark.parametrize("name", NOTHING)
def test_draw_of_nothing_gives_the_image_back(name):
    f = function(name, NOTHING)
    for image in (IMAGE, as_uint8(IMAGE)):
        np.testing.assert_array_equal(jax.jit(f)(KEY, image), image)
    np.testing.assert_array_equal(f(KEY, IMAGE), IMAGE)


@pytest.mark.parametrize(("count", "cached", "at_once"), [(6, 0.5, 1), (6, 2, 2), (6, 5, 3), (6, 6, 6), (7, 3, 3)])
def test_a_large_batch_is_done_in_parts_to_the_same_result(monkeypatch, count, cached, at_once):
    f = augment.batched(augment.sequence([function("random_affine"), function("random_color_jitter")]))
    batch = jnp.stack([IMAGE] * count)
    whole = jax.jit(lambda key, images: f(key, images, start=2))(KEY, batch)
    monkeypatch.setattr(pipeline, "_LARGE", batch.size)
    monkeypatch.setattr(pipeline, "_CACHED", cached * IMAGE.size)
    assert pipeline._at_once(count, batch.size) == at_once
    parts = jax.jit(lambda key, images: f(key, images, start=2))(KEY, batch)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_examples_of_policies_are_done_in_turn_whatever_their_number(monkeypatch, count):
    """Together all branches would be computed, and one selected."""
    turns, of_jax = [], jax.lax.map
    monkeypatch.setattr(jax.lax, "map", lambda *args, **options: turns.append(args) or of_jax(*args, **options))
    batch = jnp.stack([IMAGE] * count) if count else jnp.zeros((0, *IMAGE.shape))
    assert augment.batched(augment.trivial_augment)(KEY, batch).shape == batch.shape
    assert len(turns) == (count > 0)


@pytest.mark.parametrize("name", ALL)
def test_draws_differ_between_keys_and_not_within_a_batch(name):
    f = function(name)
    batch = jnp.stack([IMAGE] * 6)
    whole = jax.jit(augment.batched(f))(KEY, batch)
    part = jax.jit(augment.batched(f))(KEY, batch[:2], start=3)
    np.testing.assert_allclose(part, whole[3:5], atol=1e-5)
    same = [np.array_equal(whole[0], other) for other in whole[1:]]
    fixed = {"random_flip_left_right", "random_flip_up_down", "random_grayscale", "random_invert", "random_solarize"}
    fixed |= {"random_equalize", "random_autocontrast", "center_crop"}
    assert all(same) if name in fixed else not all(same)


@pytest.mark.parametrize("name", sorted(set(ALL) - FLAT - {"random_autocontrast", "random_shot_noise"}))
def test_gradients_are_those_of_differences(name):
    f = function(name)
    image = 0.3 + 0.4 * IMAGE  # away from where colours are clipped
    weights, direction = np.random.default_rng(0).normal(size=(2, *IMAGE.shape)).astype(np.float32)
    shape = jax.eval_shape(f, KEY, image).shape

    @jax.jit
    def total(image):
        return jnp.sum(f(KEY, image) * weights[: shape[0], : shape[1]])

    slope, step = jnp.vdot(jax.grad(total)(image), direction), 1e-3
    difference = (total(image + step * direction) - total(image - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=0.05, atol=0.15)


COLOURED = {"random_saturation", "random_hue", "random_color_jitter", "random_grayscale"}


@pytest.mark.parametrize("name", ALL)
def test_any_number_of_channels(name):
    if name in COLOURED:
        with pytest.raises(ValueError, match="channel"):
            function(name)(KEY, photograph(channels=2))
    else:
        assert function(name)(KEY, photograph(channels=2)).shape[-1] == 2


@pytest.mark.parametrize("name", sorted(COLOURED))
def test_grey_has_no_colours(name):
    options = {} if name == "random_color_jitter" else ALL[name]
    np.testing.assert_array_equal(
        P(getattr(augment, name), **options)(KEY, photograph(channels=1)), photograph(channels=1)
    )


class TestSequence:
    def test_is_read_once(self):
        chain = augment.sequence([function(name) for name in list(MOVING)[:9]])
        assert str(jax.make_jaxpr(chain)(KEY, IMAGE)).count("sampling_gather") == 1
        two = augment.sequence([function("random_rotation"), function("random_hue"), function("random_scale")])
        assert str(jax.make_jaxpr(two)(KEY, IMAGE)).count("sampling_gather") == 2

    def test_padding_joins_its_neighbours(self):
        f = augment.sequence([augment.random_pad_and_crop, P(augment.random_translation, translate=0.0)])
        back = augment.inverse(augment.random_pad_and_crop)
        there = augment.sequence([augment.random_pad_and_crop, lambda key, image: image])(KEY, IMAGE)
        np.testing.assert_array_equal(f(KEY, IMAGE), there)
        both = augment.sequence([function("random_rotation"), augment.random_pad_and_crop])
        assert str(jax.make_jaxpr(both)(KEY, IMAGE)).count("sampling_gather") == 1
        assert back(KEY, there).shape == IMAGE.shape

    def test_equals_steps_within_interpolation(self):
        image = photograph(64)
        steps = [P(augment.random_rotation, degrees=8.0, padding_mode="border"),
                 P(augment.random_scale, scale=(1.1, 1.2), padding_mode="border"),
                 P(augment.random_tps, strength=0.02, padding_mode="border"),
                 P(augment.random_flip_left_right, p=1.0),
                 P(augment.random_elastic, alpha=8.0, sigma=6.0),
                 P(augment.random_shear, degrees=5.0, padding_mode="border"),
                 P(augment.random_perspective, distortion=0.2, p=1.0, padding_mode="border")]  # fmt: skip
        together = augment.sequence(steps)(KEY, image)
        program = str(jax.make_jaxpr(augment.sequence(steps))(KEY, image))
        assert program.count("sampling_gather") == 2  # the field, the image
        apart = image
        for i, step in enumerate(steps):
            apart = step(jax.random.fold_in(KEY, i), apart)
        difference = np.abs(together - apart)[10:-10, 10:-10]
        assert difference.max() < 0.02 and float(np.abs(together - image).max()) > 0.3

    def test_of_colours_is_the_chain(self):
        steps = [function(name) for name in list(COLOURING)[::3]]
        apart = IMAGE
        for i, step in enumerate(steps):
            apart = step(jax.random.fold_in(KEY, i), apart)
        np.testing.assert_allclose(augment.sequence(steps)(KEY, IMAGE), apart, atol=1e-6)

    def test_of_nothing_is_exact(self):
        nothing = augment.sequence([function(name, NOTHING) for name in NOTHING])
        np.testing.assert_array_equal(jax.jit(nothing)(KEY, IMAGE), IMAGE)

    def test_without_reading_nothing_is_interpolated(self):
        steps = [function("random_flip_left_right"), function("random_rotate_90"), function("random_pad_and_crop"),
                 function("random_crop")]  # fmt: skip
        result = augment.sequence(steps)(KEY, as_uint8(IMAGE) | 1)
        assert set(np.unique(result)) <= set(np.unique(as_uint8(IMAGE) | 1)) | {0}
        assert "sampling_gather" not in str(jax.make_jaxpr(augment.sequence(steps))(KEY, IMAGE))

    def test_runs_what_it_does_not_know(self):
        def darker(key, image):
            return image * jax.random.uniform(key)

        f = augment.sequence([function("random_rotation"), darker, function("random_flip_left_right")])
        turned = function("random_rotation")(jax.random.fold_in(KEY, 0), IMAGE)
        expected = darker(jax.random.fold_in(KEY, 1), turned)[:, ::-1]
        np.testing.assert_allclose(f(KEY, IMAGE), expected, atol=1e-6)

    def test_runs_what_wraps_its_own_functions(self):
        @functools.wraps(augment.random_hue)
        def darker(key, image):
            return augment.random_hue(key, image) * 0.5

        f = augment.sequence([jax.jit(augment.random_flip_left_right), jax.checkpoint(augment.random_hue), darker])
        plain = augment.sequence([augment.random_flip_left_right, augment.random_hue, augment.random_hue])
        np.testing.assert_allclose(f(KEY, IMAGE), 0.5 * plain(KEY, IMAGE), atol=1e-6)

    def test_readings_that_contradict_are_done_in_turn(self):
        steps = [P(augment.random_rotation, padding_mode="border"), P(augment.random_scale, padding_mode="zeros")]
        assert str(jax.make_jaxpr(augment.sequence(steps))(KEY, IMAGE)).count("sampling_gather") == 2

    def test_a_turn_there_and_back_loses_no_corner(self):
        turns = [P(augment.random_rotation, degrees=(d, d)) for d in (40.0, -40.0)]
        np.testing.assert_allclose(augment.sequence(turns)(KEY, IMAGE), IMAGE, atol=1e-5)


class TestChoices:
    def test_random_apply_is_drawn(self):
        f = augment.batched(augment.random_apply(P(augment.random_invert, p=1.0), p=0.3))
        batch = jnp.stack([IMAGE] * 400)
        changed = np.any(np.asarray(jax.jit(f)(KEY, batch)) != np.asarray(IMAGE), axis=(1, 2, 3))
        assert abs(changed.mean() - 0.3) < 4 * np.sqrt(0.21 / 400)

    @pytest.mark.parametrize("f", [augment.random_flip_left_right, augment.random_invert])
    def test_probability_may_be_traced(self, f):
        changed = jax.jit(lambda p: (f(KEY, IMAGE, p=p), augment.random_apply(P(f, p=1.0), p=p)(KEY, IMAGE)))
        for result in changed(1.0):
            np.testing.assert_allclose(result, f(KEY, IMAGE, p=1.0), atol=1e-6)
        for result in changed(0.0):
            np.testing.assert_array_equal(result, IMAGE)

    def test_random_apply_and_one_of_join_their_neighbours(self):
        inner = [function("random_rotation"), function("random_scale"), function("random_tps")]
        f = augment.sequence([augment.random_apply(inner[0], p=0.5), augment.one_of(inner), function("random_shear")])
        assert str(jax.make_jaxpr(f)(KEY, IMAGE)).count("sampling_gather") == 1

    def test_one_of_draws_by_weight(self):
        kinds = [P(augment.random_brightness, brightness=(b, b)) for b in (0.0, 0.5, 1.0)]
        f = augment.batched(augment.one_of(kinds, weights=[1, 0, 3]))
        means = np.asarray(jax.jit(f)(KEY, jnp.ones((400, 2, 2, 1)))).mean((1, 2, 3))
        assert set(means) == {0.0, 1.0} and abs(means.mean() - 0.75) < 0.1

    def test_one_of_geometric_is_one_of_them(self):
        kinds = [P(augment.random_flip_left_right, p=1.0), P(augment.random_flip_up_down, p=1.0)]
        f = augment.batched(augment.one_of(kinds))
        results = np.asarray(jax.jit(f)(KEY, jnp.stack([IMAGE] * 40)))
        left, up = np.asarray(IMAGE[:, ::-1]), np.asarray(IMAGE[::-1])
        count = [sum(np.array_equal(r, expected) for r in results) for expected in (left, up)]
        assert sum(count) == 40 and min(count) > 5


class TestExamples:
    example: ClassVar = {
        "image": IMAGE,
        "mask": jnp.asarray(np.random.default_rng(1).integers(0, 5, (SIZE, SIZE)), jnp.int32),
        "keypoints": jnp.array([[2.0, 3.0], [7.0, 8.0]]),
        "boxes": jnp.array([[2.0, 3.0, 5.0, 7.0]]),
        "label": jnp.int32(4),
    }

    @pytest.mark.parametrize("name", MOVING)
    def test_key_points_lie_where_the_image_shows_them(self, name):
        """A spot around a key point is moved with it."""
        y, x = np.mgrid[:40, :40]
        points = np.array([[18.0, 21.0], [22.0, 17.0]], np.float32)
        spots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in points]
        options = MOVING[name] | ({"shape": (30, 32)} if "crop" in name and "pad" not in name else {})
        options |= {"scale": (0.8, 1.0)} if name == "random_resized_crop" else {}
        example = {"image": jnp.asarray(np.stack(spots, -1), jnp.float32), "keypoints": points}
        moved = P(getattr(augment, name), **options)(KEY, example)
        yy, xx = np.mgrid[: moved["image"].shape[0], : moved["image"].shape[1]]
        for i, point in enumerate(np.asarray(moved["keypoints"])):
            spot = np.asarray(moved["image"][..., i])
            centre = (np.sum(spot * xx) / spot.sum(), np.sum(spot * yy) / spot.sum())
            np.testing.assert_allclose(centre, point, atol=0.45)

    @pytest.mark.parametrize("name", MOVING)
    def test_masks_are_read_by_nearest_pixel(self, name):
        result = function(name)(KEY, self.example)
        assert result["mask"].dtype == jnp.int32 and result["mask"].shape == result["image"].shape[:2]
        assert set(np.unique(result["mask"])) <= set(range(5)) and result["label"] == 4
        np.testing.assert_allclose(result["image"], function(name)(KEY, IMAGE), atol=1e-6)
        layered = function(name)(KEY, {**self.example, "mask": self.example["mask"][..., None]})
        np.testing.assert_array_equal(layered["mask"][..., 0], result["mask"])

    @pytest.mark.parametrize("dtype", [jnp.uint8, jnp.bool_, jnp.int32])
    def test_masks_are_0_where_the_image_is_filled(self, dtype):
        example = {"image": IMAGE, "mask": jnp.ones((SIZE, SIZE), dtype)}
        pad = P(augment.random_pad_and_crop, padding=6, padding_mode="fill", fill_value=(0.5, 1.0, 1.0))
        result = pad(KEY, example)
        filled = np.all(np.asarray(result["image"]) == [0.5, 1.0, 1.0], -1)
        np.testing.assert_array_equal(result["mask"], np.where(filled, 0, 1))
        assert filled.any() and result["mask"].dtype == dtype
        levels = pad(KEY, {**example, "image": as_uint8(IMAGE)})
        assert set(np.unique(np.asarray(levels["image"])[filled])) == {128, 255}

    @pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
    def test_masks_show_outside_what_the_image_shows(self, padding_mode):
        mask = jnp.asarray(np.arange(SIZE**2).reshape(SIZE, SIZE), jnp.int32)
        example = {"image": mask[..., None] / SIZE**2, "mask": mask}
        f = P(augment.random_translation, translate=0.5, mode="nearest", padding_mode=padding_mode)
        result = f(KEY, example)
        np.testing.assert_array_equal(result["mask"], jnp.round(result["image"][..., 0] * SIZE**2))

    def test_places_may_be_integers(self):
        example = {"image": IMAGE, "keypoints": jnp.array([[2, 3]]), "boxes": [[2, 3, 5, 7]]}
        flip = augment.sequence([P(augment.random_flip_left_right, p=1.0), P(augment.random_invert, p=1.0)])
        for p, x in ((0.0, 2.0), (1.0, SIZE - 3.0)):
            result = augment.random_apply(flip, p=p)(KEY, example)
            np.testing.assert_array_equal(result["keypoints"], [[x, 3.0]])
        np.testing.assert_array_equal(result["boxes"], [[SIZE - 5.0, 3.0, SIZE - 2.0, 7.0]])
        assert augment.trivial_augment(KEY, example)["keypoints"].shape == (1, 2)

    def test_places_keep_their_dtype_where_float64_is_allowed(self):
        with jax.enable_x64(True):
            result = jax.eval_shape(P(augment.random_translation, translate=0.2), KEY, self.example)
        assert result["keypoints"].dtype == result["boxes"].dtype == jnp.float32

    def test_boxes_hold_what_they_held(self):
        flipped = function("random_flip_left_right")(KEY, self.example)
        np.testing.assert_array_equal(flipped["boxes"], [[SIZE - 5.0, 3.0, SIZE - 2.0, 7.0]])
        turned = P(augment.random_rotation, degrees=(90.0, 90.0))(KEY, self.example)  # clockwise
        np.testing.assert_allclose(turned["boxes"], [[SIZE - 7.0, 2.0, SIZE - 3.0, 5.0]], atol=1e-4)
        cut = P(augment.random_translation, translate=0.0)(
            KEY, {**self.example, "boxes": jnp.array([[-3.0, 2, 99, 5]])}
        )
        np.testing.assert_array_equal(cut["boxes"], [[0.0, 2.0, SIZE, 5.0]])

    def test_colours_leave_the_rest_alone(self):
        result = augment.sequence([function("random_color_jitter"), function("random_erasing")])(KEY, self.example)
        for name in ("mask", "keypoints", "boxes", "label"):
            np.testing.assert_array_equal(result[name], self.example[name])

    def test_batches_of_dictionaries(self):
        batch = jax.tree.map(lambda v: jnp.stack([v] * 3), self.example)
        result = augment.batched(function("random_affine"))(KEY, batch)
        one = function("random_affine")(jax.random.fold_in(KEY, 2), self.example)
        np.testing.assert_allclose(result["keypoints"][2], one["keypoints"], atol=1e-5)

    def test_a_clip_is_changed_as_one(self):
        clip = jnp.stack([IMAGE, IMAGE[::-1]])
        for name in ("random_affine", "random_flip_left_right", "random_pad_and_crop", "random_color_jitter"):
            changed = function(name)(KEY, clip)
            np.testing.assert_allclose(changed[0], function(name)(KEY, IMAGE), atol=1e-6)


class TestInverse:
    @pytest.mark.parametrize("name", sorted(set(MOVING) - {"random_crop", "center_crop", "random_resized_crop"}))
    def test_brings_the_middle_back(self, name):
        image = photograph(48)
        f = function(name)
        back = augment.inverse(f)(KEY, f(KEY, image))
        np.testing.assert_allclose(back[20:28, 20:28], image[20:28, 20:28], atol=0.03)

    def test_of_crops_knows_the_original(self):
        crop = function("random_crop")
        back = augment.inverse(crop)(KEY, crop(KEY, IMAGE), shape=(SIZE, SIZE))
        equal = np.all(np.isclose(back, IMAGE, atol=1e-6), axis=-1)
        assert back.shape == IMAGE.shape and equal.sum() >= 8 * 9

    def test_of_choices_knows_what_was_chosen(self):
        flip = augment.sequence([function("random_flip_left_right"), function("random_invert")])
        chosen = [augment.random_apply(flip, p=1.0), augment.one_of([function("random_invert"), flip], weights=[0, 1])]
        for f in chosen:
            np.testing.assert_allclose(augment.inverse(f)(KEY, f(KEY, IMAGE)), 1 - IMAGE, atol=1e-6)

    def test_of_choices_between_contradicting_readings(self):
        turns = [P(augment.random_rotation, degrees=(90.0, 90.0), padding_mode=mode) for mode in ("border", "zeros")]
        for f in (augment.one_of(turns), augment.sequence([turns[0], augment.random_apply(turns[1], p=0.0)])):
            np.testing.assert_allclose(augment.inverse(f)(KEY, f(KEY, IMAGE)), IMAGE, atol=1e-5)

    def test_passes_over_colours(self):
        f = augment.sequence([function("random_flip_left_right"), function("random_invert")])
        np.testing.assert_allclose(augment.inverse(f)(KEY, f(KEY, IMAGE)), 1 - IMAGE, atol=1e-6)

    def test_errors(self):
        with pytest.raises(ValueError, match="inverse: function must be made of augment's functions"):
            augment.inverse(lambda key, image: image)
        with pytest.raises(ValueError, match="inverse: image must be of"):
            augment.inverse(function("random_crop"))(KEY, IMAGE)


class TestMixing:
    images = jnp.stack([photograph() * (i + 1) / 4 for i in range(4)])
    labels = jnp.arange(4)

    @pytest.mark.parametrize("mix", [augment.mixup, augment.cutmix])
    @pytest.mark.parametrize("alpha", [1.0, 0.3])
    def test_labels_are_mixed_as_the_images(self, mix, alpha):
        images = jnp.stack([jnp.full((16, 16, 4), 0.0).at[..., i].set(1) for i in range(4)])
        mixed, soft = mix(KEY, images, self.labels, num_classes=4, alpha=alpha)
        np.testing.assert_allclose(mixed.mean((1, 2)), soft, atol=1e-5)
        np.testing.assert_allclose(soft.sum(-1), 1, atol=1e-6)
        assert len(np.unique(np.round(np.asarray(soft).max(-1), 4))) == 4  # each pair has its own
        again, _ = mix(KEY, as_uint8(images), soft, num_classes=4, alpha=alpha)
        np.testing.assert_allclose(np.asarray(again, np.float32) / 255, mixed, atol=0.51 / 255)

    @pytest.mark.parametrize("mix", [augment.mixup, augment.cutmix])
    def test_batches_may_be_sharded_on_an_explicit_mesh(self, mix):
        alone = mix(KEY, self.images, self.labels, num_classes=4)
        mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
        with jax.set_mesh(mesh):
            batch = jax.device_put((self.images, self.labels), NamedSharding(mesh, PartitionSpec("data")))
            mixed = jax.jit(functools.partial(mix, num_classes=4))(KEY, *batch)
        for result, expected in zip(mixed, alone, strict=True):
            assert result.sharding.spec[0] == "data"
            np.testing.assert_allclose(jax.device_get(result), expected, atol=1e-6)

    @pytest.mark.parametrize("mix", [augment.mixup, augment.cutmix])
    def test_labels_are_float32_where_float64_is_allowed(self, mix):
        with jax.enable_x64(True):
            _, soft = jax.eval_shape(functools.partial(mix, num_classes=4), KEY, self.images, self.labels)
        assert soft.dtype == jnp.float32

    @pytest.mark.errors
    def test_errors(self):
        with pytest.raises(ValueError, match=r"mixup: labels must be \(4,\) numbers or \(4, 3\)"):
            augment.mixup(KEY, self.images, jnp.ones((4, 2)), num_classes=3)
        with pytest.raises(ValueError, match="cutmix: alpha must be above 0"):
            augment.cutmix(KEY, self.images, self.labels, num_classes=4, alpha=0.0)


def test_resized_crops_are_drawn_as_torchvision_draws_them():
    """Area and aspect ratio of the part, seen in the image of the coordinates."""
    h, w = 60, 80
    y, x = np.mgrid[:h, :w].astype(np.float32)
    image = jnp.asarray(np.stack([x, y], -1))
    crop = augment.batched(P(augment.random_resized_crop, shape=(4, 4), antialias=False, scale=(0.2, 0.8)))
    parts = np.asarray(jax.jit(crop)(KEY, jnp.stack([image] * 300)))
    width = (parts[:, 0, 3, 0] - parts[:, 0, 0, 0]) / 3 * 4
    height = (parts[:, 3, 0, 1] - parts[:, 0, 0, 1]) / 3 * 4
    area, ratio = width * height / (h * w), width / height
    assert 0.19 < area.min() < 0.25 and 0.7 < area.max() < 0.83
    assert 0.72 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.4
    assert abs(np.log(ratio).mean()) < 0.05


@pytest.mark.errors
class TestErrors:
    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: augment.random_rotation(KEY, jnp.ones((4, 4, 1), jnp.int32)), "random_rotation: image must be"),
            (lambda: augment.random_rotation(KEY, jnp.ones((4, 4))), r"uint8 or floating.*got float32\(4, 4\)"),
            (lambda: augment.random_rotation(KEY, {"mask": IMAGE}), 'a dictionary with "image"'),
            (lambda: augment.random_rotation(KEY, IMAGE, degrees=-1.0), "degrees must be a number of at least 0"),
            (lambda: augment.random_rotation(KEY, IMAGE, mode="cubic"), "mode must be one of"),
            (lambda: augment.random_hue(KEY, IMAGE, hue=0.7), r"hue must be within \[-0.5, 0.5\]"),
            (lambda: augment.random_flip_left_right(KEY, IMAGE, p=1.5), r"p must be in \[0, 1\]"),
            (lambda: augment.random_crop(KEY, IMAGE, shape=(99, 4)), "shape must be within the image's"),
            (lambda: augment.random_rotate_90(KEY, jnp.ones((4, 6, 1))), "turns must be even, or the image square"),
            (lambda: augment.random_affine(KEY, IMAGE, scale=(0.0, 1.0)), r"scale must be \(low, high\) above 0"),
            (lambda: augment.random_affine(KEY, IMAGE, shear=90.0), "shear must be between -90 and 90 degrees"),
            (lambda: augment.random_hue(0, IMAGE), "random_hue: key must be one typed key, got 0"),
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
                lambda: augment.batched(augment.random_hue)(KEY, IMAGE[None], start=0.5),
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
            (lambda: augment.random_rotate_90(KEY, IMAGE, turns=1), "turns must be a tuple of at least one integer"),
            (lambda: augment.random_invert(KEY, IMAGE, p="half"), r"p must be in \[0, 1\]"),
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


def test_a_training_step_takes_it():
    import optax

    from jaxcnn import models, train

    chain = augment.sequence([function("random_flip_left_right"), function("random_pad_and_crop")])
    batch = {"image": jnp.stack([IMAGE] * 4), "label": jnp.arange(4)}
    model, tx = models.create("gwap_cnn", num_classes=4), optax.sgd(0.1)
    state = train.create_state(KEY, model, tx, batch)
    step = train.make_train_step(model, tx, augment=augment.batched(chain))
    _, metrics = jax.jit(step)(state, batch)
    assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize("policy", [augment.trivial_augment, augment.rand_augment])
def test_a_training_step_with_a_policy_repeats_bit_for_bit(policy):
    import optax

    from jaxcnn import models, train

    batch = {"image": jnp.stack([IMAGE] * 4), "label": jnp.arange(4)}
    model, tx = models.create("gwap_cnn", num_classes=4), optax.sgd(0.1)
    state = train.create_state(KEY, model, tx, batch)
    step = jax.jit(train.make_train_step(model, tx, augment=augment.batched(policy)))
    first, *others = [jax.tree.leaves(step(state, batch)[0].params) for _ in range(4)]
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_positive_angles_turn_clockwise():
    np.testing.assert_allclose(ops.affine(IMAGE, degrees=90.0), jnp.rot90(IMAGE, -1), atol=1e-5)
    np.testing.assert_allclose(ops.affine(IMAGE, translate=(2.0, -1.0))[:-1, 2:], IMAGE[1:, :-2], atol=1e-6)
