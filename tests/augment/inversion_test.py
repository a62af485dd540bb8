"""Inverses of geometric augmentations."""

import jax
import numpy as np
import pytest

from jaxcnn import augment
from tests.augment.functions import IMAGE, KEY, MOVING, SIZE, P, function, photograph
from tests.support.selection import daily
from tests.support.untyped import untyped


class TestInverse:
    @pytest.mark.parametrize(
        "name",
        daily(
            sorted(set(MOVING) - {"random_crop", "center_crop", "random_resized_crop"}),
            {"random_affine", "random_elastic", "random_flip_left_right"},
        ),
    )
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

    @pytest.mark.nightly
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

    def test_of_crops_invents_nothing(self):
        """What a crop left out is zero or filled as asked, also in masks, and an image of ones tells where."""
        example = {"image": IMAGE, "mask": np.ones((SIZE, SIZE), np.uint8)}
        crop = P(augment.center_crop, shape=(8, 8))
        cut = crop(KEY, example)
        inside = np.zeros((SIZE, SIZE), bool)
        inside[2:10, 2:10] = True
        back = augment.inverse(crop)(KEY, cut, shape=(SIZE, SIZE))
        np.testing.assert_allclose(back["image"], np.where(inside[..., None], IMAGE, 0), atol=1e-6)
        np.testing.assert_array_equal(back["mask"], inside)
        filled = augment.inverse(crop, padding_mode="fill", fill_value=[0.1, 0.2, 0.3], mask_fill_value=255)
        back = filled(KEY, cut, shape=(SIZE, SIZE))
        np.testing.assert_allclose(back["image"], np.where(inside[..., None], IMAGE, [0.1, 0.2, 0.3]), atol=1e-6)
        np.testing.assert_array_equal(back["mask"], np.where(inside, 1, 255))
        border = augment.inverse(crop, padding_mode="border")(KEY, cut["image"], shape=(SIZE, SIZE))
        np.testing.assert_allclose(border[0, 0], IMAGE[2, 2], atol=1e-6)

    def test_padding_of_the_function_is_kept_or_replaced(self):
        turn = P(augment.random_rotation, degrees=(45.0, 45.0), padding_mode="border")
        known = augment.inverse(turn, padding_mode="zeros")(KEY, np.ones((SIZE, SIZE, 1), np.float32))
        assert float(augment.inverse(turn)(KEY, np.ones((SIZE, SIZE, 1), np.float32)).min()) > 0.99
        assert float(known[0, 0, 0]) == 0 and abs(float(known[6, 6, 0]) - 1) < 1e-6

    def test_error_for_another_padding(self):
        turn = P(augment.random_rotation, degrees=(45.0, 45.0))
        with pytest.raises(ValueError, match="inverse: padding_mode must be one of"):
            augment.inverse(turn, padding_mode=untyped("edge"))
