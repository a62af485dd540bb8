"""Inverses of geometric augmentations."""

import jax
import numpy as np
import pytest

from jaxcnn import augment
from tests.augment.functions import IMAGE, KEY, MOVING, SIZE, P, function, photograph


class TestInverse:
    @pytest.mark.parametrize("name", sorted(set(MOVING) - {"random_crop", "center_crop", "random_resized_crop"}))
    def test_brings_the_middle_back(self, name):
        image = photograph(48)
        f = function(name)
        back = jax.jit(lambda image: augment.inverse(f)(KEY, f(KEY, image)))(image)
        np.testing.assert_allclose(back[20:28, 20:28], image[20:28, 20:28], atol=0.03)

    def test_of_crops_knows_the_original(self):
        crop = function("random_crop")
        back = augment.inverse(crop)(KEY, crop(KEY, IMAGE), shape=(SIZE, SIZE))
        equal = np.all(np.isclose(back, IMAGE, atol=1e-6), axis=-1)
        assert back.shape == IMAGE.shape and equal.sum() >= 8 * 9

    def test_of_choices_knows_what_was_chosen(self):
        flip = augment.sequence([function("random_flip_left_right"), function("random_invert")])
        chosen = [
            augment.random_apply(flip, p=1.0),
            augment.one_of([function("random_invert"), flip], weights=[0.0, 1.0]),
        ]
        for f in chosen:
            np.testing.assert_allclose(augment.inverse(f)(KEY, f(KEY, IMAGE)), 1 - IMAGE, atol=1e-6)

    def test_of_choices_between_contradicting_options(self):
        turns = [P(augment.random_rotation, degrees=(90.0, 90.0), padding_mode=mode) for mode in ("border", "zeros")]
        for f in (augment.one_of(turns), augment.sequence([turns[0], augment.random_apply(turns[1], p=0.0)])):
            np.testing.assert_allclose(augment.inverse(f)(KEY, f(KEY, IMAGE)), IMAGE, atol=1e-5)

    def test_does_not_undo_colors(self):
        f = augment.sequence([function("random_flip_left_right"), function("random_invert")])
        np.testing.assert_allclose(augment.inverse(f)(KEY, f(KEY, IMAGE)), 1 - IMAGE, atol=1e-6)

    def test_errors(self):
        with pytest.raises(ValueError, match="inverse: function must be made of augment's functions"):
            augment.inverse(lambda key, image: image)
        with pytest.raises(ValueError, match="inverse: image must be of"):
            augment.inverse(function("random_crop"))(KEY, IMAGE)
