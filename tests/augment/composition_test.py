"""Sequences, random application and choices of augmentations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment
from jaxcnn.augment._pixel_maps import PixelMap
from jaxcnn.ops._sampling.pixel_matrices import from_array
from tests.augment.functions import (
    COLORING,
    IMAGE,
    KEY,
    MOVING,
    NOTHING,
    P,
    as_uint8,
    function,
    photograph,
)


class TestSequence:
    def test_is_sampled_once(self):
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
        together = jax.jit(augment.sequence(steps))(KEY, image)
        assert (
            str(jax.make_jaxpr(augment.sequence(steps))(KEY, image)).count("sampling_gather") == 2
        )  # the field, the image
        apart = image
        for i, step in enumerate(steps):
            apart = jax.jit(step)(jax.random.fold_in(KEY, i), apart)
        difference = np.abs(together - apart)[10:-10, 10:-10]
        assert difference.max() < 0.02 and float(np.abs(together - image).max()) > 0.3

    def test_of_two_perspectives_keeps_the_horizon_of_either(self):
        """In the product of the two matrices w is positive everywhere."""
        rows = jnp.array([[1.0, 0, 0], [0, 1.0, 0], [-0.5, 0, 1.0]])  # w = 1 - x / 2
        step, back = (PixelMap((9, 9), (9, 9), (from_array(m),)) for m in (rows, jnp.linalg.inv(rows)))
        both = back.then(step)
        assert both is not None
        found = jnp.stack(both.forward(jnp.array([1.0, 2.0, 5.0]), jnp.array([3.0, 3.0, 3.0])))
        np.testing.assert_allclose(found[:, 0], [1.0, 3.0], atol=1e-5)
        assert jnp.all(found[:, 1:] > 1e8)

    def test_of_colors_equals_the_steps(self):
        steps = [function(name) for name in list(COLORING)[::3]]
        apart = IMAGE
        for i, step in enumerate(steps):
            apart = jax.jit(step)(jax.random.fold_in(KEY, i), apart)
        np.testing.assert_allclose(jax.jit(augment.sequence(steps))(KEY, IMAGE), apart, atol=1e-5)

    @pytest.mark.nightly
    def test_of_nothing_is_exact(self):
        nothing = augment.sequence([function(name, NOTHING) for name in NOTHING])
        np.testing.assert_array_equal(jax.jit(nothing)(KEY, IMAGE), IMAGE)

    def test_without_reading_nothing_is_interpolated(self):
        steps = [function("random_flip_left_right"), function("random_rotate_90"), function("random_pad_and_crop"),
                 function("random_crop")]  # fmt: skip
        result = jax.jit(augment.sequence(steps))(KEY, as_uint8(IMAGE) | 1)
        assert set(np.unique(result)) <= set(np.unique(as_uint8(IMAGE) | 1)) | {0}
        assert "sampling_gather" not in str(jax.make_jaxpr(augment.sequence(steps))(KEY, IMAGE))

    def test_runs_functions_of_others(self):
        def darker(key, image):
            return image * jax.random.uniform(key)

        f = augment.sequence([function("random_rotation"), darker, function("random_flip_left_right")])
        turned = function("random_rotation")(jax.random.fold_in(KEY, 0), IMAGE)
        expected = darker(jax.random.fold_in(KEY, 1), turned)[:, ::-1]
        np.testing.assert_allclose(f(KEY, IMAGE), expected, atol=1e-6)

    def test_runs_wrapped_functions_of_its_own(self):
        @functools.wraps(augment.random_hue)
        def darker(key, image):
            return augment.random_hue(key, image) * 0.5

        f = augment.sequence([jax.jit(augment.random_flip_left_right), jax.checkpoint(augment.random_hue), darker])
        plain = augment.sequence([augment.random_flip_left_right, augment.random_hue, augment.random_hue])
        np.testing.assert_allclose(f(KEY, IMAGE), 0.5 * plain(KEY, IMAGE), atol=1e-6)

    def test_contradicting_options_are_sampled_one_after_another(self):
        steps = [P(augment.random_rotation, padding_mode="border"), P(augment.random_scale, padding_mode="zeros")]
        assert str(jax.make_jaxpr(augment.sequence(steps))(KEY, IMAGE)).count("sampling_gather") == 2

    def test_rotating_there_and_back_restores_the_corners(self):
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
        f = augment.batched(augment.one_of(kinds, weights=[1.0, 0.0, 3.0]))
        means = np.asarray(jax.jit(f)(KEY, jnp.ones((400, 2, 2, 1)))).mean((1, 2, 3))
        assert set(means) == {0.0, 1.0} and abs(means.mean() - 0.75) < 0.1

    def test_one_of_geometric_is_one_of_them(self):
        kinds = [P(augment.random_flip_left_right, p=1.0), P(augment.random_flip_up_down, p=1.0)]
        f = augment.batched(augment.one_of(kinds))
        results = np.asarray(jax.jit(f)(KEY, jnp.stack([IMAGE] * 40)))
        left, up = np.asarray(IMAGE[:, ::-1]), np.asarray(IMAGE[::-1])
        count = [sum(np.array_equal(r, expected) for r in results) for expected in (left, up)]
        assert sum(count) == 40 and min(count) > 5
